"""What was found of answers with passages -> text on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from guardrail.calibration.metrics import Estimate
from guardrail.evaluation.with_evidence import WithEvidence


def with_evidence(console: Console, value: WithEvidence) -> None:
    """One row for each kind of passages, and what a wrong one does."""
    table = Table(title="The same questions with passages", title_justify="left")
    for heading in ("passages", "answers", "right", "mean said", "ECE"):
        table.add_column(heading, justify="left" if heading == "passages" else "right")
    kinds = (("found for the question", value.own), ("found for another", value.other), ("none", value.without))
    for what, kind in kinds:
        table.add_row(what, str(kind.accuracy.n), _of(kind.accuracy), f"{kind.mean_p:.3f}", _of(kind.ece))
    console.print(table)
    console.print(f"AUROC with passages {_of(value.metrics['auroc'])}; ECE of all three kinds {_of(value.ece_mixed)}")
    console.print(f"Another question's passages raise the mean confidence by {_of(value.rise)}")


def _of(e: Estimate) -> str:
    return f"{e.value:.3f} ({e.low:.3f} to {e.high:.3f})"
