"""What a bench found -> the cells of its table and the sentences around them, as Markdown or for a terminal."""

from __future__ import annotations

from guardrail.calibration.metrics import Estimate
from guardrail.evaluation.bench import Bench, Row, Seconds, verdict


def headings(found: Bench) -> tuple[str, ...]:
    """Of the table's columns."""
    return ("scorer", "AUROC", "AURC", "PRR", f"AUROC minus {found.reference}'s", "added s", "MB")


def markdown(found: Bench, command: str) -> str:
    """A page with the command, the table, best scorer first, and what may be said of it."""
    over = headings(found)
    rows = ["| " + " | ".join(over) + " |", "|" + " --- |" * len(over)]
    rows += ["| " + " | ".join([_name(row), *cells(row)]) + " |" for row in ranked(found)]
    return "\n".join([f"    {command}", "", about(found), "", *rows, "", *verdict(found), *controls(found), ""])


def about(found: Bench) -> str:
    """How many answers were compared, and how long generating one takes."""
    left = found.asked - found.n
    out = f" ({left} left out, which some scorer has no score of{_who(found)})" if left else ""
    took = f"generation takes {_seconds(found.generation)} s an answer"
    return f"{found.n} answers{out}, accuracy {_estimate(found.accuracy)}; {took}."


def ranked(found: Bench) -> list[Row]:
    """Highest AUROC first."""
    return sorted(found.rows, key=lambda row: -row.auroc.value)


def cells(row: Row) -> list[str]:
    """A row of the table after its name."""
    d = row.difference
    return [
        *(_estimate(e) for e in (row.auroc, row.aurc, row.prr)),
        f"{d.value:+.3f} ({d.low:+.3f} to {d.high:+.3f})" if d else "",
        _seconds(row.seconds),
        "" if row.memory_mb is None else f"{row.memory_mb:.1f}",
    ]


def controls(found: Bench) -> list[str]:
    """What the best scorer tells beyond the texts, a sentence each; nothing where that was not measured."""
    if found.controls is None:
        return []
    pairs = (("question and answer", found.controls.text), ("the question alone", found.controls.question))
    return [
        f"A reader of {what}, without the model, has AUROC {_estimate(control.auroc)}; {found.best.name} minus it: "
        f"{_estimate(control.difference)}."
        for what, control in pairs
    ]


def _who(found: Bench) -> str:
    return ": " + ", ".join(f"{row.name} {row.unscored}" for row in found.rows if row.unscored)


def _name(row: Row) -> str:
    return f"**{row.name}**" if row.difference is None else row.name


def _estimate(e: Estimate) -> str:
    return f"{e.value:.3f} ({e.low:.3f} to {e.high:.3f})"


def _seconds(s: Seconds) -> str:
    return f"{s.median:.3g} ({s.low:.3g} to {s.high:.3g})"
