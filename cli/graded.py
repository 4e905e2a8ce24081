"""What graders said of answers -> text on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from guardrail.calibration.metrics import Estimate, bootstrap_interval
from guardrail.cli.figures import estimate
from guardrail.cli.render import escape, printable, shorten
from guardrail.grading import AnswerRow, Grade
from guardrail.grading.agreement import Agreement, Rates
from guardrail.grading.lists import ListGrade

_WORDS = {True: "right", False: "wrong", None: "ungraded"}
PICKED = (
    "some of the labelled answers were picked because graders disagreed on them: these rates hold among such answers, and say "
    "little about others; label a random sample to know how often a grader errs"
)


@dataclass(frozen=True, slots=True)
class Found:
    """Grades by grader, what follows from them, and the indices of the answers that not all grade the same."""

    answers: Sequence[AnswerRow]
    grades: Mapping[str, Sequence[Grade]]
    ungraded: Mapping[str, Mapping[str, int]]
    agreements: Sequence[Agreement]
    rates: Sequence[Rates]
    differing: Sequence[int]
    picked: bool
    lists: Mapping[str, Sequence[ListGrade]]

    def to_dict(self, options: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """JSON-ready. options: of each grader."""
        return {
            "n": len(self.answers),
            "graders": [
                {
                    "name": name,
                    "options": options[name],
                    "right": list(grades).count(True),
                    "wrong": list(grades).count(False),
                    "ungraded": self.ungraded[name],
                    **({"lists": list_figures(self.lists[name])} if self.lists[name] else {}),
                }
                for name, grades in self.grades.items()
            ],
            "agreement": [a.to_dict() for a in self.agreements],
            "rates": [r.to_dict() for r in self.rates],
            "labels_were_picked": self.picked,
            "disagreements": [
                {
                    "question": self.answers[i].question,
                    "answer": self.answers[i].answer,
                    "grades": {name: grades[i] for name, grades in self.grades.items()},
                }
                for i in self.differing
            ],
        }


def list_figures(lists: Sequence[ListGrade]) -> dict[str, Any]:
    """Mean recall and precision of answers that list things, with 95 % bootstrap intervals over answers; JSON-ready."""
    recall, precision = (
        bootstrap_interval(lambda rows: float(rows.mean()), np.array(shares))
        for shares in ([g.recall for g in lists], [g.precision for g in lists])
    )
    return {"n": len(lists), "recall": asdict(recall), "precision": asdict(precision)}


def show(console: Console, found: Found, most: int) -> None:
    """Agreement of each two graders, their rates where people judged, and at most `most` answers that they disagree on."""
    console.print(f"answers    {len(found.answers)}")
    for name, grades in found.grades.items():
        why = ", ".join(f"{n} {reason}" for reason, n in found.ungraded[name].items())
        out = f", {list(grades).count(None)} ungraded ({why})" if why else ""
        console.print(
            f"{escape(name)}: {list(grades).count(True)} right, {list(grades).count(False)} wrong{escape(out)}"
        )
        if found.lists[name]:
            figures = list_figures(found.lists[name])
            told = [f"{what} {estimate(Estimate(**figures[what]))}" for what in ("recall", "precision")]
            console.print(f"  of {figures['n']} answers that list what is all needed: {', '.join(told)}")
    for a in found.agreements:
        console.print(
            f"[bold]{escape(a.first)}[/] and [bold]{escape(a.second)}[/] agree on {estimate(a.agree)} of {a.n}; "
            f"Cohen's kappa {estimate(a.kappa) if a.kappa else 'undefined: both say the same of all'}"
        )
        console.print(f"  right for the first alone: {a.only_first}; for the second alone: {a.only_second}")
    if found.rates:
        console.print(_rates(found.rates))
        if found.picked:
            console.print(PICKED)
    if found.differing and most:
        console.print(_disagreements(found, most))


def _rates(rates: Sequence[Rates]) -> Table:
    table = Table(title="Against the labels of people, with 95 % intervals", title_justify="left")
    for heading in ("grader", "wrong answers called right", "of", "right answers called wrong", "of", "kappa"):
        table.add_column(heading, justify="left" if heading == "grader" else "right")
    for r in rates:
        table.add_row(
            escape(r.grader),
            estimate(r.false_right) if r.false_right else "none",
            str(r.wrong),
            estimate(r.false_wrong) if r.false_wrong else "none",
            str(r.right),
            estimate(r.kappa) if r.kappa else "undefined",
        )
    return table


def _disagreements(found: Found, most: int) -> Table:
    shown = found.differing[:most]
    of = f", {len(shown)} of them" if len(shown) < len(found.differing) else ""
    table = Table(title=f"The {len(found.differing)} answers that they disagree on{of}", title_justify="left")
    for heading in ("question", "accepted", "answer", *map(escape, found.grades)):
        table.add_column(heading)
    for i in shown:
        row = found.answers[i]
        texts = [row.question, " | ".join(row.accepted[:3]), row.answer]
        table.add_row(
            *(escape(printable(shorten(text, 100))) for text in texts), *(_WORDS[g[i]] for g in found.grades.values())
        )
    return table
