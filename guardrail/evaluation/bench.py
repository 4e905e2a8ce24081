"""Answers that several scorers scored -> which one ranks right and wrong best, and what it costs.

All figures are about the answers that every scorer scored, so that none is helped by what it leaves out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from guardrail.calibration.metrics import Estimate, wilson_interval
from guardrail.calibration.provenance import same_options
from guardrail.calibration.record import MIN_OF_EACH
from guardrail.calibration.resampling import Comparison, compare
from guardrail.errors import CalibrationError, ScoringError
from guardrail.evaluation.fit import versions
from guardrail.runs.answers import Answers
from guardrail.runs.scorer_pass import GENERATION, scorer_for
from guardrail.scoring.baselines.samples import SampleSource
from guardrail.scoring.registry import DEFAULT, ENDPOINT_DEFAULTS, check_able, default_of, keywords_of

if TYPE_CHECKING:
    from guardrail.calibration.controls import Controls
    from guardrail.evaluation.cascade import Cascade
    from guardrail.evaluation.controls import TextReader
    from guardrail.model.identity import ModelIdentity
    from guardrail.model.local import LocalModel
    from guardrail.runs.asking import Asking
    from guardrail.scoring.baselines.equivalence import Equivalence
    from guardrail.scoring.protocol import Scorer

REFERENCE = DEFAULT
"""The scorer that the others are compared with, with the paper's profile: eq. 6 at the chat template's token."""

MEMORY_ANSWERS = 5
"""On so many answers memory is measured: each takes every scorer's work once more."""


@dataclass(frozen=True, slots=True)
class Seconds:
    """Of one answer: median and quartiles."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Row:
    """One scorer. unscored: answers it has no score of. difference: its AUROC minus the reference's, paired; None for that.

    seconds: beyond generation, as if the scorer were alone. memory_mb: median peak, 10^6 bytes; None where nothing tells.
    """

    name: str
    options: Mapping[str, Any]
    n: int
    unscored: int
    auroc: Estimate
    aurc: Estimate
    prr: Estimate
    difference: Estimate | None
    seconds: Seconds
    memory_mb: float | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "options": dict(self.options)}


@dataclass(frozen=True, slots=True)
class BenchSubject:
    """What a bench is about. data_hash: of the questions. command: how it was started. created: ISO 8601, UTC."""

    model: ModelIdentity
    data: str
    data_hash: str
    grader: str
    asking: Asking
    command: str
    created: str


@dataclass(frozen=True, slots=True, eq=False)
class Bench:
    """What `guardrail.bench` finds.

    Attributes:
        asked: Answers, of which
        n: so many are compared: those that every scorer scored.
        accuracy: Share of these that is right.
        rows: One a scorer.
        generation: Seconds that generating an answer takes, one at a time.
        compared: The metrics, and the differences between all pairs.
        controls: The best scorer against readers of the texts alone; None where they were not measured.
        subject: What the figures are about; None where only the figures were asked for.
        cascade: What asking a second model about the least sure ones is worth; None where there is none.
    """

    asked: int
    n: int
    accuracy: Estimate
    rows: tuple[Row, ...]
    generation: Seconds
    compared: Comparison
    controls: Controls | None = None
    subject: BenchSubject | None = None
    cascade: Cascade | None = None

    @property
    def best(self) -> Row:
        """With the highest AUROC."""
        return self.row(self.compared.best)

    @property
    def reference(self) -> str:
        """The scorer that the others are compared with."""
        return next(row.name for row in self.rows if row.difference is None)

    def row(self, name: str) -> Row:
        return next(row for row in self.rows if row.name == name)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; with a subject, what `guardrail bench` writes and `load_bench` reads."""
        figures = {
            "n": self.n,
            "accuracy": asdict(self.accuracy),
            "scorers": [row.to_dict() for row in self.rows],
            **({"controls": self.controls.to_dict()} if self.controls else {}),
            **({"cascade": self.cascade.to_dict()} if self.cascade else {}),
        }
        if self.subject is None:
            return figures
        about = self.subject
        return {
            "kind": "guardrail bench",
            "version": 1,
            "model": about.model.model_dump(),
            "data": {"name": about.data, "hash": about.data_hash, "n": self.asked},
            "grader": about.grader,
            "asking": about.asking.to_dict(),
            **figures,
            "command": about.command,
            "created": about.created,
            "versions": versions(),
        }


def contenders(
    local: LocalModel,
    names: Sequence[str],
    asking: Asking,
    *,
    samples: int | None = None,
    fitted_on: Sequence[Scorer] = (),
    equivalence: Equivalence | None = None,
) -> dict[str, Scorer]:
    """Scorers by the names of their rows; the reference is always among them. They share their samples.

    samples: for those that draw some, in place of the paper's number. fitted_on: calibrators' scorers, each of which gets a row
    of its own unless it is one of the others. equivalence: when two texts say the same, for those that compare some; None is
    each one's own default. Raises `ScoringError` for a name that does not exist.
    """
    for name in names:
        check_able(name, local)
    source = SampleSource(local, max_new_tokens=asking.max_new_tokens, remembered=16)
    out = {
        name: scorer_for(
            local,
            name,
            max_new_tokens=asking.max_new_tokens,
            samples=samples if "samples" in keywords_of(name) else None,
            source=source,
            equivalence=equivalence,
        )
        for name in dict.fromkeys([*names, default_of(local)])
    }
    for theirs in fitted_on:
        if any(theirs.name == s.name and same_options(theirs.options, s.options) for s in out.values()):
            continue
        name = f"{theirs.name} (calibrated {'profile' if theirs.name == DEFAULT else 'options'})"
        if name in out:
            raise ScoringError(
                f"two calibrators hold {theirs.name} with different options; a bench has a row for one of them"
            )
        out[name] = theirs
    return out


def compare_scorers(
    answers: Answers, scorers: Mapping[str, Scorer], *, reader: TextReader | None = None, seed: int = 0
) -> Bench:
    """Compare the scorers whose scores the answers' records hold. reader: measures the controls of the best one, too.

    Raises `CalibrationError` where fewer than 5 of the answers that all of them scored are right, or wrong: intervals of fewer
    would mean nothing.
    """
    records = answers.records
    common = np.array([all(r["scores"][name] is not None for name in scorers) for r in records], dtype=np.bool_)
    chosen = np.flatnonzero(common)
    correct = answers.correct[chosen]
    right, n = int(correct.sum()), len(chosen)
    if min(right, n - right) < MIN_OF_EACH:
        raise CalibrationError(
            f"{n} of {len(records)} answers were scored by every scorer, {right} of them right; a comparison needs at least "
            f"{MIN_OF_EACH} right and {MIN_OF_EACH} wrong ones: take more questions (the run file keeps these)"
        )
    # behind an endpoint, the first of those that score from one answer
    reference = (
        REFERENCE if REFERENCE in scorers else next((n for n in ENDPOINT_DEFAULTS if n in scorers), next(iter(scorers)))
    )
    compared = compare({name: [records[i]["scores"][name] for i in chosen] for name in scorers}, correct, seed=seed)
    best = np.array([records[i]["scores"][compared.best] for i in chosen], dtype=np.float64)
    rows = [
        Row(
            name=name,
            options=scorer.options,
            n=n,
            unscored=sum(r["scores"][name] is None for r in records),
            auroc=compared.metrics[name]["auroc"],
            aurc=compared.metrics[name]["aurc"],
            prr=compared.metrics[name]["prr"],
            difference=None if name == reference else compared.difference(name, reference),
            seconds=quartiles([records[i]["seconds"][name] for i in chosen]),
            memory_mb=_memory([r.get("memory", {}).get(name) for r in records]),
        )
        for name, scorer in scorers.items()
    ]
    return Bench(
        asked=len(records),
        n=n,
        accuracy=wilson_interval(right, n),
        rows=tuple(rows),
        generation=quartiles([records[i]["seconds"][GENERATION] for i in chosen]),
        compared=compared,
        controls=reader.of_answers(replace(answers, scored=chosen), best, seed=seed) if reader else None,
    )


bench = compare_scorers
"""The old name, for one release."""


def verdict(found: Bench) -> list[str]:
    """What may be said, a sentence each: which scorer is best, which cannot be told from it, and where HybridGrad stands."""
    best, others = found.best, len(found.rows) - 1
    if not others:
        return [f"{best.name} alone was measured: there is nothing to compare it with."]
    alike = found.compared.inseparable(best.name)
    if all(len(found.compared.inseparable(row.name)) == others for row in found.rows):
        return [
            f"No two of the {others + 1} scorers can be told apart on {found.n} answers ({best.name} has the highest AUROC): "
            "take more questions for a verdict."
        ]
    said = [f"{best.name} has the highest AUROC, {best.auroc.value:.3f}; " + _told(alike, others)]
    reference = found.reference
    if best.name != reference:
        difference = best.difference
        assert difference is not None  # noqa: S101  (only the reference has none)
        if reference in alike:
            alone = "; this difference's own interval leaves out 0, which among so many pairs may be chance"
            said.append(
                f"{reference} is not separable from {best.name} on {found.n} answers{alone if difference.low > 0 else ''}."
            )
        else:
            said.append(f"{best.name} is better than {reference}, by {difference.value:.3f} of AUROC.")
    return said


def _told(alike: Sequence[str], others: int) -> str:
    if not alike:
        return f"all of the other {others} are worse by more than chance would make them."
    return f"{len(alike)} of the other {others} cannot be told from it: {', '.join(alike)}."


def quartiles(values: Sequence[float]) -> Seconds:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
    return Seconds(middle, low, high)


def _memory(measured: Sequence[int | None]) -> float | None:
    known = [one for one in measured if one is not None]
    return float(np.median(known)) / 1e6 if known else None
