"""What is known of a question before it is answered: P(IK), the probability that the model would answer it rightly, and how
ambiguous it is.

P(IK) is from a calibrator on the scorer `pik` (`guardrail calibrate --scorer pik`). The question alone is read, in that
calibration's prompt, whatever stands around it: one pass through the lower layers.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from guardrail.errors import CalibrationError, GuardrailError, PolicyError
from guardrail.messages import as_messages
from guardrail.pipeline.assembly import CalibratorSource, read
from guardrail.pipeline.calibrated import Calibrated, calibrated
from guardrail.pipeline.failures import checked_scores, failed
from guardrail.scoring.baselines.samples import SampleSource
from guardrail.scoring.registry import ready, scorer, scorer_class
from guardrail.scoring.states.scorer import PikScorer
from guardrail.types import Confidence, Message, Score, Trace

if TYPE_CHECKING:
    from guardrail.model.local import LocalModel
    from guardrail.policy import Policy

LONGEST_WORDING = 60
"""Of a question that the model rewords, in tokens."""


@dataclass(frozen=True, slots=True)
class QuestionPipeline:
    """Question -> P(IK). calibrated: on the scorer `pik`."""

    scorer: PikScorer
    calibrated: Calibrated

    def p_ik(self, questions: Sequence[str]) -> list[Confidence]:
        """That the model would answer each rightly; without a number for one that is longer than the context.

        Raises a `GuardrailError` for whatever fails.
        """
        try:
            traces = [self._asked(question) for question in questions]
            scores = checked_scores(self.scorer, self.scorer.score_questions(traces), traces)
            return [
                self.calibrated.confidence(
                    score, "", None if score.unscored else self.calibrated.familiarity(question, trace)
                )
                for question, trace, score in zip(questions, traces, scores, strict=True)
            ]
        except GuardrailError:
            raise
        except Exception as caught:
            raise failed("scorer", self.scorer, caught) from caught

    def _asked(self, question: str) -> Trace:
        origin = self.calibrated.origin
        prompt, system = (origin.prompt, origin.system) if origin else ("{question}", None)
        messages = as_messages(prompt.replace("{question}", question), system)
        return Trace(messages, tuple(self.scorer.model.encode_prompt(messages)), (), "", "given")


def question_pipeline(
    model: LocalModel, policy: Policy, calibrator: CalibratorSource | None
) -> QuestionPipeline | None:
    """What asks first; None where neither the policy nor the arguments want it.

    Raises `CalibrationError` where the policy asks first and there is no calibrator, and for one of another scorer.
    """
    make = f"guardrail calibrate DATA.jsonl --scorer pik -o pik.json --model {model.name}"
    if calibrator is None:
        if policy.ask_first is not None:
            raise CalibrationError(
                f"policy {policy.name!r} asks first, which needs a calibrator of questions (question_calibrator, "
                f"--question-calibrator): {make}"
            )
        return None
    # while a chain is calibrated, too: what it decides is part of what the chain does
    fitted, name = read(calibrator, os.fspath(calibrator) if isinstance(calibrator, str | os.PathLike) else None)
    found = calibrated(model, "answer", None, fitted, name)
    if not isinstance(found.scorer, PikScorer):
        raise CalibrationError(
            f"{name} is fitted on the scorer {found.scorer.name!r}, which reads an answer; asking first needs one that reads "
            f"the question alone: {make}"
        )
    return QuestionPipeline(found.scorer, found)


@dataclass(frozen=True, slots=True)
class AmbiguityScorer:
    """Scores questions, in the conversations that they end, by what a policy's `ambiguity` names."""

    scorer: Any

    def scores(self, conversations: Sequence[Sequence[Message]]) -> list[Score]:
        """One a conversation; its passages have no part in it. Raises a `GuardrailError` for whatever fails."""
        try:
            model = self.scorer.model
            traces = [Trace(tuple(m), tuple(model.encode_prompt(m)), (), "", "given") for m in conversations]
            return checked_scores(self.scorer, self.scorer.score_questions(traces), traces)
        except GuardrailError:
            raise
        except Exception as caught:
            raise failed("scorer", self.scorer, caught) from caught


def ambiguity_scorer(model: LocalModel, policy: Policy) -> AmbiguityScorer | None:
    """What measures whether a question is ambiguous; None where no rule asks.

    Raises `PolicyError` for a scorer that reads an answer, and `ScoringError` for one that the model cannot have.
    """
    if policy.ambiguity is None or not policy.looks_at_ambiguity:
        return None
    name, samples = policy.ambiguity.scorer, policy.ambiguity.samples
    if not scorer_class(name).of_question:
        able = ", ".join(one for one in ready() if scorer_class(one).of_question)
        raise PolicyError(
            f"policy {policy.name!r}: ambiguity.scorer {name!r} reads an answer; those of a question: {able}"
        )
    source = SampleSource(model, max_new_tokens=LONGEST_WORDING)
    return AmbiguityScorer(scorer(name, model, source=source, samples=samples))
