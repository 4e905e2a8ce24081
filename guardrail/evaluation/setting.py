"""What every measurement begins with: its arguments turned into values, the model, the calibrator that fits it.

The heavy libraries are imported when a model is asked for, so that a mistake in the arguments shows at once.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.origin import through_of
from guardrail.calibration.shipped import load_calibrator
from guardrail.errors import CalibrationError, DataError
from guardrail.grading import get_grader
from guardrail.policy import Policy
from guardrail.types import DEFAULT_MAX_NEW_TOKENS

if TYPE_CHECKING:
    from guardrail.calibration.provenance import ExtractorIdentity, Provenance, Unit
    from guardrail.datasets.questions import QuestionData
    from guardrail.grading import Grader
    from guardrail.grading.grade_answers import Grading
    from guardrail.model.local import LocalModel
    from guardrail.runs.asking import Asking
    from guardrail.runs.cluster import Cluster, Workers
    from guardrail.runs.progress import Say
    from guardrail.scoring.baselines.equivalence import Equivalence
    from guardrail.scoring.protocol import Scorer

StrPath: TypeAlias = "str | os.PathLike[str]"
ModelSource: TypeAlias = "LocalModel | str | Callable[[], LocalModel]"
"""A model, what `load_model` takes, or what makes the model once the other arguments are known to be right."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What figures are about, by name. tuned_here: policies that were tuned on these very questions, which flatters them."""

    model: str
    calibrator: str
    data: str
    grader: str | None = None
    tuned_here: tuple[str, ...] | None = None
    grading: Grading | None = None

    def to_dict(self) -> dict[str, object]:
        """JSON-ready, without what is not known."""
        parts = {
            "model": self.model,
            "calibrator": self.calibrator,
            "data": self.data,
            "grader": self.grader,
            "tuned_here": None if self.tuned_here is None else list(self.tuned_here),
            "grading": self.grading.to_dict() if self.grading else None,
        }
        return {name: part for name, part in parts.items() if part is not None}


@dataclass(frozen=True, slots=True)
class Fitted:
    """A calibrator in use, with its scorer, what it was fitted on, and its name."""

    scorer: Scorer
    calibrator: IsotonicCalibrator
    origin: Provenance
    name: str

    @property
    def asking(self) -> Asking:
        """As the calibration asked."""
        from guardrail.runs.asking import Asking

        return Asking(self.origin.prompt, self.origin.system, self.origin.max_new_tokens or DEFAULT_MAX_NEW_TOKENS)


def silent(line: str) -> None:
    """Progress for those who want none."""


def model_from(source: ModelSource, say: Say) -> LocalModel:
    """The model itself. Raises as `load_model` does."""
    if isinstance(source, str):
        from guardrail.model.loading import load_model

        return load_model(source, progress=say)
    return source() if callable(source) else source


def workers_from(cluster: Cluster | None, source: ModelSource, local: LocalModel, say: Say) -> Workers | None:
    """Who works on the rows of a command; None is this process. source: what `local` was made from.

    Raises `DataError` for a model that stands in this process alone.
    """
    if cluster is None:
        return None
    if not (isinstance(source, str) or callable(source)):
        raise DataError(
            f"the workers of a cluster cannot make {local.name} again; give the model by its name, or a function that loads it"
        )
    from guardrail.runs.ray_workers import RayWorkers

    return RayWorkers(cluster, partial(model_from, source, silent), local, say)


def calibrator_from(source: IsotonicCalibrator | StrPath | None) -> IsotonicCalibrator | None:
    """The calibrator itself. Raises `CalibrationError` for a file or a name that is none."""
    return source if source is None or isinstance(source, IsotonicCalibrator) else load_calibrator(source)


def grader_from(source: Grader | str | None) -> Grader | None:
    """The grader itself, not loaded yet. Raises `DataError` for a name that is none."""
    return get_grader(source) if isinstance(source, str) else source


def equivalence_given(name: str | None) -> Equivalence | None:
    """When two texts say the same, by name (`guardrail.scoring.baselines.equivalence_spec`); an NLI model is loaded. Raises
    `ScoringError` for a name that is none, and for a model that cannot be loaded."""
    if name is None:
        return None
    from guardrail.scoring.baselines.equivalence_spec import equivalence_named  # imports torch

    return equivalence_named(name)


def policy_from(source: Policy | StrPath) -> Policy:
    """The policy itself. Raises `PolicyError` for a file or a name that is none."""
    return source if isinstance(source, Policy) else Policy.load(source)


def shipped_policies(unit: Unit) -> list[Policy]:
    """The shipped policies that can be measured: on answers that were not taken apart, or claim by claim."""
    shipped = [p for p in map(Policy.load, Policy.shipped()) if not p.looks_at_ambiguity]  # no run holds that
    return [p for p in shipped if (p.judges_claims if unit == "claim" else not p.looks_at_claims)]


def refuse_claims(policies: Sequence[Policy], remedy: str, *, passages: bool = False) -> None:
    """Raise `DataError` for a policy that decides by what a run does not hold: claims, where answers are not taken apart,
    whether the question is ambiguous, how rare its names are, how many samples agree, or, of answers with passages, how
    far the passages' order moves the confidence."""
    for policy in policies:
        if policy.looks_at_ambiguity:
            raise DataError(
                f"policy {policy.name!r} asks whether questions are ambiguous, which no run holds; leave the rule out of a copy"
            )
        if policy.looks_at_names:
            raise DataError(
                f"policy {policy.name!r} asks how rare names are, which no run holds; leave the rule out of a copy"
            )
        if policy.looks_at_consistency:
            raise DataError(
                f"policy {policy.name!r} asks how many samples agree, which no run holds; leave the rule out of a copy"
            )
        if passages and any(part.spread is not None for rule in policy.answer_rules for part in rule.when.parts()):
            raise DataError(
                f"policy {policy.name!r} asks for the spread over orders of the passages, which no run holds; leave the rule "
                "out of a copy"
            )
        if policy.claims_proof is not None or policy.looks_at_claims:
            raise DataError(f"policy {policy.name!r} judges claims, and these answers are not taken apart; {remedy}")


def refuse_passages(local: LocalModel, retriever: object) -> None:
    """Raise `DataError` where questions shall be asked again with passages, of a model whose weights are not here."""
    if retriever is not None and not local.has_weights:
        raise DataError(
            f"--retriever asks again with passages, and reads how they change the model's states: {local.name} is behind an "
            "endpoint, which shows none; leave it out"
        )


def check_output(output: Path, what: str) -> None:
    """Raise `DataError` for an output that cannot be written, before the slow part. what: "the calibrator", say."""
    if not output.parent.is_dir():
        raise DataError(f"there is no folder {str(output.parent)!r} to write {what} to")
    if not output.name or output.is_dir():
        raise DataError(f"the output {str(output)!r} is a folder; give a file")


def asks_question(prompt: str) -> str:
    """The prompt itself. Raises `DataError` for one without a place for the question."""
    if "{question}" not in prompt:
        raise DataError(f"the prompt {prompt!r} does not say where the {{question}} goes")
    return prompt


def check_costs(cost_per_call: float, cost_of_second: float) -> None:
    """Raise `DataError` for the cost of an answer that is none."""
    for option, cost in (("--cost-per-call", cost_per_call), ("--cost-of-second", cost_of_second)):
        if not (math.isfinite(cost) and cost >= 0):
            raise DataError(f"{option} is {cost:g}; a cost is a finite number from 0 on")


def run_file(run: StrPath | None, output: Path | None, resume: bool) -> Path | None:
    """What keeps the answers of a command: the file that is given, or OUTPUT.run.jsonl; None keeps them in memory.

    Raises `DataError` where there is nothing to go on with.
    """
    if run is not None:
        return Path(run)
    if output is not None:
        return output.with_name(output.name + ".run.jsonl")
    if resume:
        raise DataError("--resume needs --run FILE or --output FILE, which say what to go on with")
    return None


def check_apart(rule: str, *files: StrPath | None) -> None:
    """Raise `DataError`, which says the rule, where two of them are one file: it would be overwritten."""
    given = [Path(file).resolve() for file in files if file is not None]
    if len(set(given)) < len(given):
        raise DataError(rule)


def name_of(calibrator: IsotonicCalibrator) -> str:
    """What messages and records call it."""
    return calibrator.source or "given"


def fitted(
    local: LocalModel,
    unit: Unit,
    calibrator: IsotonicCalibrator | None,
    missing: str,
    extractor: ExtractorIdentity | None = None,
    *,
    through: bool = False,
) -> Fitted:
    """The calibrator that is given, or else the shipped one. missing: opens the message where there is neither. through:
    whether a chain asks the questions.

    Raises `CalibrationError`, also for a calibrator of a chain where none asks, and `CalibratorMismatchError` for a calibrator
    of another set-up.
    """
    from guardrail.pipeline.calibrated import calibrated

    if calibrator and not through and (chain := through_of(calibrator.provenance)) is not None:
        raise CalibrationError(
            f"{name_of(calibrator)} was fitted on what the chain {chain} asks, and says nothing of plain questions; give the "
            "chain: guardrail evaluate DATA.jsonl --through FILE.py:NAME"
        )

    name = name_of(calibrator) if calibrator else ""
    found = calibrated(local, unit, None, calibrator, name, extractor)
    if found.calibrator is None or found.origin is None or found.name is None:
        raise CalibrationError(f"{missing} for {local.name}; give one with --calibrator FILE")
    return Fitted(found.scorer, found.calibrator, found.origin, found.name)


def untaught(local: LocalModel, data: QuestionData, say: Say) -> QuestionData:
    """The questions that the model was not taught its confidence with. Raises `DataError` where none is left."""
    from guardrail.datasets.questions import was_seen

    rows = tuple(row for row in data.rows if not was_seen(local.taught, row.question))
    if left_out := len(data.rows) - len(rows):
        if not rows:
            raise DataError(
                f"{local.name} was taught to state its confidence with all of these questions; give other ones"
            )
        say(f"{left_out} questions left out: {local.name} was taught to state its confidence with them")
    return replace(data, rows=rows)


def say_data(say: Say, data: QuestionData | None, grading: Grading | None) -> None:
    """What is worth knowing about questions and grades before a figure is read."""
    if data is not None and data.repeated:
        say(f"{data.repeated} rows left out: their question came before")
    if grading is not None:
        say(f"graded by {grading.in_words()}")
