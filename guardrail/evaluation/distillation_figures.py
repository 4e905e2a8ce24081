"""The figures of `guardrail bench --suite distillation`, from probabilities of being right, and how they are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from guardrail.calibration.metrics import (
    Bools,
    Estimate,
    Floats,
    TopLabels,
    top_labels_share_and_accuracy,
    wilson_interval,
)
from guardrail.calibration.record import MIN_OF_EACH
from guardrail.calibration.resampling import compare
from guardrail.errors import CalibrationError
from guardrail.evaluation.bench import Seconds

if TYPE_CHECKING:
    from guardrail.calibration.controls import Controls

BINS = 5


@dataclass(frozen=True, slots=True)
class MethodRow:
    """One way to a probability of being right.

    Attributes:
        name: An adapter's, a scorer's, or `lexical` or `prompting`.
        binned: AUROC of the five bins, which is the paper's figure.
        auroc: Of the probability itself.
        top: Share of the answers in the two top bins, and their accuracy.
        bins: Accuracy of the answers in each bin, lowest first; None where none is.
        seconds: At use, beyond generation; None for the lexical baseline, whose numbers generation leaves.
    """

    name: str
    binned: Estimate
    auroc: Estimate
    top: TopLabels
    bins: tuple[Estimate | None, ...]
    seconds: Seconds | None


@dataclass(frozen=True, slots=True, eq=False)
class DistillationBench:
    """What `guardrail bench --suite distillation` finds.

    asked: answers, of which the `n` that every method has a number of are compared. accuracy: of these. generation: seconds an
    answer. controls: the best method's probability against readers of the texts alone. about: what the figures are about.
    """

    asked: int
    n: int
    accuracy: Estimate
    rows: tuple[MethodRow, ...]
    generation: Seconds
    controls: Controls | None
    about: Mapping[str, Any]

    @property
    def best(self) -> MethodRow:
        """With the highest AUROC on bins."""
        return max(self.rows, key=lambda row: row.binned.value)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        rows = [
            {
                "name": row.name,
                "auroc_of_bins": asdict(row.binned),
                "auroc": asdict(row.auroc),
                "top_share": asdict(row.top.share),
                "top_accuracy": asdict(row.top.accuracy) if row.top.accuracy else None,
                "bins": [asdict(b) if b else None for b in row.bins],
                "seconds": asdict(row.seconds) if row.seconds else None,
            }
            for row in self.rows
        ]
        return {
            "kind": "guardrail bench distillation",
            "version": 1,
            **self.about,
            "asked": self.asked,
            "n": self.n,
            "accuracy": asdict(self.accuracy),
            "generation": asdict(self.generation),
            "methods": rows,
            **({"controls": self.controls.to_dict()} if self.controls else {}),
        }


def method_rows(
    p: Mapping[str, Floats], correct: Bools, seconds: Mapping[str, Seconds]
) -> tuple[tuple[MethodRow, ...], Estimate]:
    """The figures of each method's probabilities of being right, (n,), and the accuracy of the answers that they are of.

    Raises `CalibrationError` for fewer than 5 right, or wrong, answers.
    """
    right, n = int(correct.sum()), len(correct)
    if min(right, n - right) < MIN_OF_EACH:
        raise CalibrationError(
            f"{n} answers have a number of every method, {right} of them right; the suite needs at least {MIN_OF_EACH} right "
            f"and {MIN_OF_EACH} wrong ones: take more questions (the run file keeps these)"
        )
    bins = {name: np.minimum((values * BINS).astype(np.intp), BINS - 1) for name, values in p.items()}
    plain = compare({name: 1.0 - values for name, values in p.items()}, correct)
    binned = compare({name: -values.astype(np.float64) for name, values in bins.items()}, correct)
    rows = tuple(
        MethodRow(
            name,
            binned.metrics[name]["auroc"],
            plain.metrics[name]["auroc"],
            top_labels_share_and_accuracy(p[name], correct),
            tuple(_accuracy(correct[bins[name] == k]) for k in range(BINS)),
            seconds.get(name),
        )
        for name in p
    )
    return rows, wilson_interval(right, n)


def _accuracy(correct: Bools) -> Estimate | None:
    return wilson_interval(int(correct.sum()), len(correct)) if len(correct) else None


HEADINGS = ("method", "AUROC of bins", "AUROC", "share of the top bins", "accuracy there", "added s")


def markdown(found: DistillationBench) -> str:
    """The command, the table, accuracy by bin, and what readers of the texts alone come to."""
    left = found.asked - found.n
    lines = [
        f"    {found.about['command']}",
        "",
        f"{found.n} answers{f' ({left} left out, which some method has no number of)' if left else ''}, accuracy "
        f"{_told(found.accuracy)}; generation takes {found.generation.median:.3g} s an answer.",
        "",
        *_table(HEADINGS, [cells(row) for row in found.rows]),
        "",
        "Accuracy by bin, and answers in it:",
        "",
        *_table(
            ("method", *(f"{k / BINS:.1f} to {(k + 1) / BINS:.1f}" for k in range(BINS))),
            [[row.name, *(f"{b.value:.2f} ({b.n})" if b else "" for b in row.bins)] for row in found.rows],
        ),
    ]
    if found.controls is not None:
        lines += ["", *controls(found)]
    return "\n".join([*lines, ""])


def cells(row: MethodRow) -> list[str]:
    """A row of the table."""
    accuracy, seconds = row.top.accuracy, row.seconds
    return [
        row.name,
        _told(row.binned),
        _told(row.auroc),
        _told(row.top.share),
        _told(accuracy) if accuracy else "none there",
        f"{seconds.median:.3g}" if seconds else "0",
    ]


def controls(found: DistillationBench) -> list[str]:
    """The best method's probability against readers of the texts, a sentence each; nothing where that was not measured."""
    if found.controls is None:
        return []
    pairs = (("question and answer", found.controls.text), ("the question alone", found.controls.question))
    return [
        f"A reader of {what}, without the model, has AUROC {_told(one.auroc)}; {found.best.name} minus it: "
        f"{_told(one.difference)}."
        for what, one in pairs
    ]


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(line) + " |" for line in (headings, ["---"] * len(headings), *rows)]


def _told(e: Estimate) -> str:
    return f"{e.value:.3f} ({e.low:.3f} to {e.high:.3f})"
