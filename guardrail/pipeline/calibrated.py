"""A scorer together with the calibrator that was fitted on it, for whole answers or for claims.

Knows nothing about policies, nor about where a score comes from.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from guardrail.calibration.origin import origin_of, through_of
from guardrail.calibration.provenance import (
    ExtractorIdentity,
    Provenance,
    check_compatible,
    check_scorer,
    check_unit,
    differences,
)
from guardrail.calibration.shipped import shipped_calibrator
from guardrail.errors import CalibrationError, CalibratorMismatchError, ScoringError
from guardrail.kernels.frozen import wiring
from guardrail.kernels.wiring import Wiring, changes
from guardrail.messages import as_messages
from guardrail.model.question_states import asked, states_of
from guardrail.scoring.registry import InvalidOptionsError, default_scorer, scorer_from
from guardrail.types import Confidence, Score, Trace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guardrail.calibration.isotonic import IsotonicCalibrator
    from guardrail.calibration.provenance import Unit
    from guardrail.calibration.record import ContextName
    from guardrail.model.local import LocalModel
    from guardrail.scoring.protocol import Scorer


_REMEMBERED = 64  # questions: each is asked about again for every pass, and for every claim of a stream


@dataclass(frozen=True, slots=True)
class Calibrated:
    """Score -> Confidence, of one unit. name: the calibrator's; both are None where there is none.

    model: the one that scores come from, looked at again for each confidence; None where nobody can say. wiring: what it
    computed with beside its weights when the calibrator was found to fit. contexts: the scorers of the kinds of conversation
    that have a curve of their own.
    """

    scorer: Scorer
    calibrator: IsotonicCalibrator | None
    name: str | None
    model: LocalModel | None = None
    extractor: ExtractorIdentity | None = None
    wiring: Wiring | None = None
    contexts: Mapping[ContextName, Scorer] = field(default_factory=dict)
    _seen: dict[str, float] = field(default_factory=dict, init=False, compare=False, repr=False)

    @property
    def origin(self) -> Provenance | None:
        """What the calibrator was fitted on."""
        return self.calibrator.provenance if self.calibrator else None

    @property
    def through(self) -> str | None:
        """The chain that asked the calibration's questions, so that the common curve is nobody's own; None where none did."""
        return through_of(self.origin)

    def source_of(self, context: ContextName) -> Mapping[str, Any]:
        """What the calibration of a context was made with, such as `passages`."""
        own = self.calibrator.contexts.get(context) if self.calibrator else None
        return own.source if own else {}

    def usual(self, option: str) -> Any:
        """A generation option of the calibration, such as `max_new_tokens`; None where it is not known."""
        return self.origin.generation.get(option) if self.origin else None

    def familiarity(self, question: str, trace: Trace) -> float | None:
        """How like the calibration's the question is, a p-value; None where the calibrator does not know its questions.

        The question alone is compared, in the calibration's prompt, whatever stands around it in the conversation.
        """
        known = self.calibrator.familiarity if self.calibrator else None
        if known is None or self.origin is None or self.model is None or not question.strip():
            return None
        if not self.model.has_weights:
            return None
        with self.model.lock:
            if question not in self._seen:
                while len(self._seen) >= _REMEMBERED:
                    del self._seen[next(iter(self._seen))]
                messages = as_messages(self.origin.prompt.replace("{question}", question), self.origin.system)
                prompt = tuple(self.model.encode_prompt(messages))
                alone = trace if prompt == asked(trace) else Trace(messages, prompt, (), "", "given")
                self._seen[question] = float(known.p_values(states_of(self.model, [alone], known.layer))[0])
            return self._seen[question]

    def confidence(
        self, score: Score, unlike: str = "", familiarity: float | None = None, context: ContextName | None = None
    ) -> Confidence:
        """unlike: how this case differs from those of the calibration, which makes its confidence `extrapolated`. familiarity:
        of the question. context: which of `contexts` the score is of.

        Raises `CalibratorMismatchError` where the model or the scorer has changed since the calibrator was found to fit, and
        for a score of another scorer.
        """
        if self.calibrator is None:
            return Confidence.none(f"unscored: {score.unscored}" if score.unscored else "there is no calibrator")
        if score.unscored is None:
            self._check(score, self.contexts[context] if context else self.scorer)
        confidence = self.calibrator.predict(score, familiarity, context)
        unlike = "; ".join(filter(None, [unlike, self._other_engine()]))
        if confidence.p_correct is not None and not 0.0 <= confidence.p_correct <= 1.0:
            return Confidence.none(f"the calibrator gave {confidence.p_correct}, which is no probability")
        if not unlike or score.unscored:
            return confidence
        return replace(confidence, basis="extrapolated", reason="; ".join(filter(None, [unlike, confidence.reason])))

    def _check(self, score: Score, scorer: Scorer) -> None:
        origin = self.origin
        if scorer is self.scorer:
            check_scorer(origin, score.name)
        if origin is None or self.model is None:
            return
        identity = self.model.identity
        found = differences(origin, identity, self.scorer.name, self.scorer.options, extractor=self.extractor)
        if found := [*found, *self._rewired(self.model)]:
            raise CalibratorMismatchError(
                f"{self.name} no longer fits: since this guard was made, the model or its scorer has changed "
                f"({'; '.join(found)}); put it back, or fit a calibrator for it and make a new guard"
            )

    def _other_engine(self) -> str:
        """How what generates the answers differs from the calibration's, in words; empty where it does not."""
        theirs = self.origin.model.engine if self.origin else ""
        # one that answers here has none, and its identity is looked at in `_check`: that reads weights
        ours = "" if self.model is None or self.model.answers_here else self.model.identity.engine
        if theirs == ours or self.model is None:
            return ""
        names = [repr(engine) if engine else "this library" for engine in (ours, theirs)]
        return f"answered by {names[0]}, and the calibration's answers by {names[1]}"

    def _rewired(self, model: LocalModel) -> list[str]:
        """What has changed beside the weights. Only then does it wait for the lock: another thread may be putting hooks on."""
        if self.wiring is None or self.wiring == wiring(model.model):
            return []
        with model.lock:
            found = changes(self.wiring, wiring(model.model))
        return [f"others than then: {', '.join(found)}"] if found else []


def calibrated(
    model: LocalModel,
    unit: Unit,
    scorer: Scorer | None,
    calibrator: IsotonicCalibrator | None,
    name: str,
    extractor: ExtractorIdentity | None = None,
) -> Calibrated:
    """Pair a scorer with its calibrator. Where one is missing: the shipped calibrator, or the scorer that it was fitted on.

    extractor: what cuts the claims, for the unit "claim". Raises `CalibratorMismatchError` for a calibrator of another set-up,
    and `CalibrationError` for one whose profile is none.
    """
    wanted = scorer.name if scorer else None
    if calibrator is None and (found := shipped_calibrator(model.identity, unit, wanted)):
        origin = origin_of(found[1])
        given = scorer or _ScorerOf(origin)  # nobody asked for this calibrator, so it gives way
        if not differences(origin, origin.model, given.name, given.options, extractor=extractor):
            name, calibrator = found
    if calibrator is None:
        return Calibrated(scorer or default_scorer(model), None, None)
    check_unit(calibrator.unit, unit, name, model.name)
    origin = origin_of(calibrator, name)
    scorer = scorer or _made(model, origin.scorer, origin.scorer_options, name)
    check_compatible(
        origin,
        model.identity,
        scorer.name,
        scorer.options,
        name,
        unit=calibrator.unit,
        wanted=unit,
        extractor=extractor,
    )
    contexts = {kind: _made(model, own.scorer, own.profile, name) for kind, own in calibrator.contexts.items()}
    with model.lock:
        wired = wiring(model.model) if model.has_weights else None
        return Calibrated(scorer, calibrator, name, model, extractor, wired, contexts)


class _ScorerOf:
    """The name and the options that a calibrator asks for."""

    def __init__(self, origin: Provenance) -> None:
        self.name, self.options = origin.scorer, origin.scorer_options


def _made(model: LocalModel, scorer: str, options: Mapping[str, Any], name: str) -> Scorer:
    """The scorer that a calibrator was fitted on."""
    try:
        return scorer_from(scorer, options, model)
    except InvalidOptionsError as error:
        raise CalibrationError(f"{name}: {error}") from error
    except ScoringError as error:
        raise CalibratorMismatchError(
            f"{name} was fitted on the scorer {scorer!r}, which cannot be made from it: {error}"
        ) from error
