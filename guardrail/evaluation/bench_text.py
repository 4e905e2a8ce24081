"""What a bench found -> the cells of its table and the sentences around them, as Markdown or for a terminal."""

from __future__ import annotations

from guardrail.calibration.metrics import Estimate
from guardrail.evaluation.bench import Bench, Row, Seconds, verdict
from guardrail.evaluation.cascade import Cascade


def headings(found: Bench) -> tuple[str, ...]:
    """Of the table's columns."""
    return ("scorer", "AUROC", "AURC", "PRR", f"AUROC minus {found.reference}'s", "added s", "MB")


def markdown(found: Bench, command: str) -> str:
    """A page with the command, the table, best scorer first, and what may be said of it."""
    over = headings(found)
    rows = ["| " + " | ".join(over) + " |", "|" + " --- |" * len(over)]
    rows += ["| " + " | ".join([_name(row), *cells(row)]) + " |" for row in ranked(found)]
    page = [f"    {command}", "", about(found), "", *rows, "", *verdict(found), *controls(found), ""]
    return "\n".join([*page, *(cascade_page(found.cascade) if found.cascade else [])])


CASCADE_HEADINGS = ("order", "10 %", "25 %", "50 %", "75 %", "beyond random", "beyond always")
"""Of the cascade's table: accuracy at these shares asked of the second model, and the two areas."""
_TOLD_AT = (0.1, 0.25, 0.5, 0.75)


def cascade_page(found: Cascade) -> list[str]:
    """The lines of the cascade's part of the page."""
    rows = ["| " + " | ".join(CASCADE_HEADINGS) + " |", "|" + " --- |" * len(CASCADE_HEADINGS)]
    rows += ["| " + " | ".join(row) + " |" for row in cascade_rows(found)]
    return [about_cascade(found), "", *rows, "", *cascade_verdict(found), ""]


def about_cascade(found: Cascade) -> str:
    """What both models reach alone, and what a question costs."""
    costs = ", ".join(f"{found.cost(share):.3g} at {share:.0%}" for share in _TOLD_AT)
    return (
        f"Escalating to {found.second}, on {found.n} questions that both answered: accuracy {_estimate(found.first_alone)} "
        f"without it, {_estimate(found.second_alone)} where it is asked always. A question costs {costs} escalated, and "
        f"{found.cost_of_second:g} where the second alone is asked."
    )


def cascade_rows(found: Cascade) -> list[list[str]]:
    """The cells of the table, a random order last."""
    rows = [
        [c.name, *(f"{c.at(share):.3f}" for share in _TOLD_AT), _signed(c.over_random), _signed(c.over_always)]
        for c in found.curves
    ]
    return [*rows, ["a random order", *(f"{found.random(share):.3f}" for share in _TOLD_AT), "", ""]]


def cascade_verdict(found: Cascade) -> list[str]:
    """What may be said of the scorer with the largest area, a sentence each."""
    best = found.curves[0]
    random = (
        "is better than a random order" if best.over_random.low > 0 else "is not shown to be better than a random order"
    )
    said = [f"{best.name} {random}: by {_signed(best.over_random)} of accuracy, the mean over all shares."]
    if found.beyond_texts is not None:
        said.append(f"{best.name} minus a reader of question and answer: {_signed(found.beyond_texts)}.")
    return said


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
    return [
        *(_estimate(e) for e in (row.auroc, row.aurc, row.prr)),
        _signed(row.difference) if row.difference else "",
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


def _signed(e: Estimate) -> str:
    return f"{e.value:+.3f} ({e.low:+.3f} to {e.high:+.3f})"


def _seconds(s: Seconds) -> str:
    return f"{s.median:.3g} ({s.low:.3g} to {s.high:.3g})"
