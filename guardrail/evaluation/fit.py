"""Graded answers or claims -> a calibrator with its scorer's options and the evidence for both. No files, no screens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from guardrail.calibration.familiarity_fit import Familiar
from guardrail.calibration.folds import out_of_fold
from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.metrics import (
    Bools,
    BoundRisk,
    Estimate,
    Floats,
    ReliabilityBin,
    auroc,
    bootstrap_difference,
    bootstrap_interval,
    bound_risks,
    calibration_metrics,
    ece,
    reliability_table,
)
from guardrail.calibration.pooling import fitted_probabilities
from guardrail.calibration.profiles import FOLDS, Selection, fit, scores, select
from guardrail.calibration.provenance import ExtractorIdentity, Provenance, Unit
from guardrail.calibration.stacking import Stacking, own_scores, select_stacked
from guardrail.calibration.state_probe_fit import fit_state_probe, out_of_fold_numbers, out_of_fold_probe
from guardrail.datasets.questions import leak_digests
from guardrail.errors import CalibrationError
from guardrail.model.local import LocalModel
from guardrail.model.question_states import middle_layer
from guardrail.runs.asking import Asking
from guardrail.runs.readings import Sample
from guardrail.scoring.hybridgrad import paper_profile
from guardrail.scoring.profile import Profile
from guardrail.scoring.readers import states_read
from guardrail.scoring.registry import DEFAULT, reader_of, registered
from guardrail.scoring.stacked.features import Reading

if TYPE_CHECKING:
    from guardrail.calibration.controls import Controls
    from guardrail.calibration.label_errors import LabelErrors
    from guardrail.evaluation.assess import PolicyOutcome
    from guardrail.evaluation.assess_claims import ClaimOutcome
    from guardrail.evaluation.with_evidence import WithEvidence

_VERSIONS = ("hybridgrad-guardrail", "torch", "transformers")


@dataclass(frozen=True, slots=True)
class WholeAnswer:
    """Every claim with its whole answer's score, whose profile was chosen in the same way: is one score a claim worth it?

    auroc: of its out-of-fold probabilities. difference: the claims' own AUROC minus it, paired, by answers.
    """

    auroc: Estimate
    difference: Estimate


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A fitted calibrator and what cross-validation says about it; no figure is measured on fitted points.

    Attributes:
        calibrator: What was fitted.
        selection: How the profile was chosen; None for a scorer that has no profile.
        metrics: `accuracy` of all scored answers (or claims); `auroc`, `aurc`, `brier` and `ece` of out-of-fold probabilities,
            everything that is chosen or fitted repeated in each fold.
        ece_before: Of exp(-nll / length), the model's own mean token probability; None where an endpoint does not tell it.
        reliability: Of the out-of-fold probabilities, by bins.
        risks: Of the same: what each bound on the confidence would show, and how much of that is wrong.
        unit: What was scored: "answer" or "claim".
        n: Answers or claims used.
        answers: The answers that these claims come from.
        p_correct: The out-of-fold probabilities, (n,).
        left_out: Those that are not used, by reason.
        baseline: For claims, what whole answers' scores would have told.
        stacking: What was found about the stacked scorer, where it was fitted.
        few: Kinds of question with fewer than ten scored answers (claims), and how many they have: what is said of these kinds
            rests on the others. Empty where kinds are not known.
        evidence: What was found of the same questions with passages, where they were asked with some.
        few_contexts: Of a chain, kinds of conversation with too few answers for a curve, and how many they have. Those that
            have one are in `calibrator.contexts`.
        controls: What readers of the texts alone tell of the same answers (claims), over the same folds; None where that was
            not measured.
        label_errors: What the figures would be if the grader errs here as it does elsewhere; None where that is not known.
        policies: What each shipped policy would have done with these answers (claims) and probabilities, without a retriever.
    """

    calibrator: IsotonicCalibrator
    selection: Selection | None
    metrics: dict[str, Estimate]
    ece_before: Estimate | None
    reliability: tuple[ReliabilityBin, ...]
    risks: tuple[BoundRisk, ...]
    unit: Unit
    n: int
    answers: int
    p_correct: Floats
    left_out: Mapping[str, int] = field(default_factory=dict)
    baseline: WholeAnswer | None = None
    stacking: Stacking | None = None
    few: Mapping[str, int] = field(default_factory=dict)
    policies: tuple[PolicyOutcome, ...] | tuple[ClaimOutcome, ...] = ()
    evidence: WithEvidence | None = None
    few_contexts: Mapping[str, int] = field(default_factory=dict)
    controls: Controls | None = None
    label_errors: LabelErrors | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """What was asked, of which model, and how it was graded: what a calibrator records of where it comes from.

    questions: every wording of them (`datasets.texts_of`). data: their hash. source, grading: where they come from, and how
    answers were graded. extractor: what cut the claims. familiar: what the questions look like to the model. left_out: how
    many answers or claims are not used, by reason. generation: what else a calibrator keeps of how the answers were
    generated, such as `thinking_of`. seed: of the folds and the bootstrap.
    """

    local: LocalModel
    asking: Asking
    questions: Sequence[str]
    data: str
    grader: str
    command: str
    left_out: Mapping[str, int]
    extractor: ExtractorIdentity | None = None
    source: Mapping[str, JsonValue] | None = None
    grading: Mapping[str, JsonValue] | None = None
    familiar: Familiar | None = None
    generation: Mapping[str, JsonValue] = field(default_factory=dict)
    seed: int = 0

    def provenance(self, scorer: str, options: Mapping[str, Any], correct: Bools) -> Provenance:
        """What a calibrator says of itself that is fitted today on `correct`."""
        return Provenance(
            model=self.local.identity,
            scorer=scorer,
            profile=dict(options),
            prompt=self.asking.prompt,
            system=self.asking.system,
            data=self.data,
            questions=leak_digests(self.questions),
            n=len(correct),
            accuracy=float(correct.mean()),
            created=datetime.now(UTC).date().isoformat(),
            command=self.command,
            versions=versions(),
            grader=self.grader,
            generation={"max_new_tokens": self.asking.max_new_tokens, "temperature": 0.0, **self.generation},
            extractor=self.extractor,
            source=dict(self.source or {}),
            grading=dict(self.grading or {}),
        )

    def fit(self, sample: Sample, scorer: str, options: Mapping[str, Any], values: Floats, p: Floats) -> Fit:
        """Fit the curve. values: the scores, (n,). p: out-of-fold p_correct, (n,), for the figures."""
        correct, groups, own = sample.correct, sample.groups, sample.own_probability
        metrics = calibration_metrics(1 - p, p, correct, seed=self.seed, groups=groups)
        calibrator = IsotonicCalibrator().fit(
            values,
            correct,
            unit=sample.unit,
            metrics=metrics,
            unscored=self.left_out.get("unscored"),
            familiar=self.familiar,
            provenance=self.provenance(scorer, options, correct),
        )
        return Fit(
            calibrator=calibrator,
            selection=None,
            metrics=metrics,
            ece_before=None if own is None else bootstrap_interval(ece, own, correct, seed=self.seed, groups=groups),
            reliability=reliability_table(p, correct),
            risks=bound_risks(p, correct),
            unit=sample.unit,
            n=len(correct),
            answers=len(correct) if groups is None else len(set(groups.tolist())),
            p_correct=p,
            left_out=self.left_out,
            few=self.familiar.few if self.familiar else {},
        )

    def refuse_nothing(self, sample: Sample) -> None:
        """Raise `CalibrationError` where nothing was scored."""
        if len(sample.correct) == 0:
            listed = (
                ", ".join(f"{n} {reason.replace('_', ' ')}" for reason, n in self.left_out.items()) or "there was none"
            )
            raise CalibrationError(
                f"none of the {sample.unit}s could be scored and graded ({listed}); the run file holds the answers"
            )


def fit_profile(
    study: Study, sample: Sample, *, prior: Profile | None = None, choosing: bool = True, whole: Sample | None = None
) -> Fit:
    """Choose HybridGrad's profile, fit the calibrator, measure both.

    prior: the profile that a choice has to beat; None is the paper's formula at the chat template's token. choosing: False
    keeps the prior. whole: the same claims with the numbers of their whole answers.

    Raises `CalibrationError` when there are too few answers or claims, or too few right or wrong ones.
    """
    correct, signals, groups = sample.correct, sample.signals, sample.groups
    prior = prior or paper_profile(study.local)
    study.refuse_nothing(sample)
    if prior.token not in signals.offsets:
        raise CalibrationError(
            f"the semantic token is at {prior.token}, before the start of the shortest prompt ({signals.offsets[0]})"
        )
    before = scores(fit(prior, signals), signals)
    IsotonicCalibrator().fit(before, correct, unit=sample.unit, groups=groups)  # refuses bad data before the long part
    selection = select(prior, signals, correct, choosing=choosing, seed=study.seed, groups=groups)
    p, profile = selection.p_correct, selection.profile
    fitted = study.fit(sample, DEFAULT, profile.model_dump(mode="json"), scores(profile, signals), p)
    baseline = None
    if whole is not None:
        other = select(prior, whole.signals, correct, choosing=choosing, seed=study.seed, groups=groups).p_correct
        baseline = WholeAnswer(
            auroc=bootstrap_interval(auroc, 1 - other, correct, seed=study.seed, groups=groups),
            difference=bootstrap_difference(
                auroc, (1 - p, correct), (1 - other, correct), seed=study.seed, groups=groups
            ),
        )
    return replace(fitted, selection=selection, baseline=baseline)


def fit_scorer(
    study: Study, sample: Sample, readings: Sequence[Reading], scorer: str, options: Mapping[str, Any]
) -> Fit:
    """Fit the calibrator of a scorer that has nothing to choose.

    readings: of the sample's answers or claims, in order. Raises `CalibrationError` as `fit_profile`.
    """
    study.refuse_nothing(sample)
    values = reader_of(scorer, options).numbers(readings)
    IsotonicCalibrator().fit(values, sample.correct, unit=sample.unit, groups=sample.groups)  # refuses bad data
    return study.fit(sample, scorer, options, values, _out_of_fold(values, sample, study.seed))


def fit_probe(study: Study, sample: Sample, readings: Sequence[Reading], scorer: str) -> Fit:
    """Fit a probe on the states of the answers, or of their questions, and the calibrator on what it says out of fold.

    A probe knows its own answers too well: a curve on what it says of them would promise too much. Raises `CalibrationError` as
    `fit_profile`, and where the records hold no states.
    """
    study.refuse_nothing(sample)
    layer = middle_layer(study.local)
    states, correct, seed = states_read(readings, scorer, layer), sample.correct, study.seed
    probe = fit_state_probe(states, correct, layer)
    values = out_of_fold_numbers(states, correct, layer, seed=seed)
    IsotonicCalibrator().fit(values, correct, unit=sample.unit)  # refuses bad data before the long part
    p = out_of_fold_probe(states, correct, layer, seed=seed)
    return study.fit(sample, scorer, probe.model_dump(mode="json"), values, p)


def fit_stacked(
    study: Study,
    sample: Sample,
    readings: Sequence[Reading],
    scorer: str,
    *,
    weighed: Mapping[str, Mapping[str, Any]] | None = None,
    probe: bool = False,
    rivals: bool = True,
    whole: Sample | None = None,
) -> Fit:
    """Fit the stacked scorer, and a calibrator on it where it ranks better than every single scorer it is compared with.

    They are HybridGrad, its profile chosen as `fit_profile` chooses it; those that are weighed; and, as `rivals`, for answers,
    those of the registry whose number follows from the same pass. weighed: other scorers by name, with their options; their
    numbers are in the readings. probe: as in `stacking.fit_stacked`. whole: as in `fit_profile`. In the result, `stacking` has
    the evidence, and `selection` is None unless HybridGrad is the outcome.
    """
    hybrid = fit_profile(study, sample, whole=whole)
    assert hybrid.selection is not None  # noqa: S101  (it chooses a profile)
    others = {name: reader_of(name, options) for name, options in (weighed or {}).items()}
    if rivals and sample.unit == "answer":
        entries = registered().items()
        others |= {name: reader_of(name, entry.rival) for name, entry in entries if entry.rival is not None}
    singles = {DEFAULT: hybrid.selection.p_correct}
    singles |= {name: _out_of_fold(reader.numbers(readings), sample, study.seed) for name, reader in others.items()}
    stacking = select_stacked(
        readings, sample.correct, singles, scorers=weighed, seed=study.seed, groups=sample.groups, probe=probe
    )
    if not stacking.adopted and stacking.single == DEFAULT:
        return replace(hybrid, stacking=stacking)
    if stacking.adopted:
        name, reader = scorer, reader_of(scorer, stacking.model.model_dump(mode="json"))
        own = own_scores(stacking.model, readings, sample.correct)
    else:
        name, reader = stacking.single, others[stacking.single]
        own = reader.numbers(readings)
    return replace(study.fit(sample, name, reader.options, own, stacking.p_correct), stacking=stacking)


def _out_of_fold(values: Floats, sample: Sample, seed: int) -> Floats:
    """p_correct of every answer from a curve fitted on the other folds, (n,)."""
    return out_of_fold(
        sample.correct,
        lambda train, test: fitted_probabilities(values[train], sample.correct[train], values[test]),
        folds=FOLDS,
        seed=seed,
        groups=sample.groups,
    )


def versions() -> dict[str, str]:
    """Of the packages that a score depends on."""
    return {name: version(name) for name in _VERSIONS}
