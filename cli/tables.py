"""Tables of `calibrate` and `evaluate`: bounds on the confidence, and answers with passages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from guardrail.calibration.contexts import in_words
from guardrail.calibration.controls import Controls
from guardrail.calibration.label_errors import LabelErrors
from guardrail.calibration.metrics import BoundRisk, Estimate
from guardrail.calibration.record import ContextRecord
from guardrail.cli.render import escape
from guardrail.evaluation.assess_claims import ClaimOutcome
from guardrail.evaluation.with_evidence import WithEvidence
from guardrail.types import CLAIM_ACTIONS

_OF_CONTEXT = ("accuracy", "auroc", "ece")


def risks(found: Sequence[BoundRisk], what: str) -> Table:
    """What each bound on the confidence would show, and how much of that is wrong."""
    table = Table(title="What a bound on the confidence lets through", title_justify="left")
    for heading in ("at least", what, "of all", "wrong", "95 % interval"):
        table.add_column(heading, justify="right")
    for r in found:
        wrong = r.wrong
        of_all = f"{r.share.value:.3f}"
        table.add_row(
            f"{r.bound:.1f}", str(wrong.n), of_all, f"{wrong.value:.3f}", f"{wrong.low:.3f} to {wrong.high:.3f}"
        )
    return table


def contexts(console: Console, found: Mapping[str, ContextRecord], few: Mapping[str, int]) -> None:
    """One row for each kind of conversation that has a curve, and those that have none."""
    table = Table(title="By kind of conversation, cross-validated", title_justify="left")
    for heading in ("conversation", "answers", "right", "AUROC", "ECE"):
        table.add_column(heading, justify="left" if heading == "conversation" else "right")
    for name, own in found.items():
        told = [_of(Estimate(m.value, m.low, m.high, m.n)) for m in map(own.metrics.get, _OF_CONTEXT) if m is not None]
        table.add_row(name, str(own.n), *told)
    console.print(table)
    for name, n in few.items():
        console.print(f"too few for a curve: {in_words(name)}, {n} answers; there a confidence is extrapolated")


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
    console.print(f"A true curve would show {_of(value.ece_by_chance)} on so many")
    console.print(f"Another question's passages raise the mean confidence by {_of(value.rise)}")
    controls(console, value.controls, what="question, answer and passages")


def controls(console: Console, found: Controls | None, *, what: str = "question and answer") -> None:
    """The score beside readers of the texts alone. what: the texts that the first of them reads."""
    if found is None:
        return
    table = Table(title="What the texts alone tell, without the model", title_justify="left")
    for heading in ("read", "AUROC", "the score's minus it"):
        table.add_column(heading, justify="left" if heading == "read" else "right")
    for read, control in ((what, found.text), ("the question", found.question)):
        table.add_row(read, _of(control.auroc), _of(control.difference))
    console.print(table)


def label_errors(console: Console, found: LabelErrors | None) -> None:
    """How far the figures are from what true labels would give."""
    if found is None:
        return
    low, high = found.auroc
    console.print(
        f"If the grader calls {found.false_right:.3f} of the wrong answers right and {found.false_wrong:.3f} of the right "
        f"ones wrong, as it does where people judged it, {found.accuracy:.3f} are right. AUROC is then "
        f"{found.auroc_at_random:.3f} if its errors fall at random, between {low:.3f} and {high:.3f} wherever they fall; ECE "
        f"lies between {found.ece.low:.3f} and {found.ece.high:.3f}"
    )


def claim_policies(found: Sequence[ClaimOutcome]) -> Table:
    """What policies would have done with the claims, and how many answers would keep a wrong one."""
    table = Table(title="What each policy would have done with the claims, without a retriever", title_justify="left")
    actions = [action for action in CLAIM_ACTIONS if action != "retrieve"]
    for heading in ("policy", *(f"{action}: claims, right" for action in actions), "answers that keep a wrong claim"):
        table.add_column(heading, justify="left" if heading == "policy" else "right")
    for p in found:
        shown = [(p.actions[a], p.right[a]) for a in actions]
        lost = _of(p.lost) if p.lost else ""
        if p.promised is not None:
            lost += f"; promised at most {p.promised:g}: {p.promise}"
        table.add_row(escape(p.policy), *(f"{n}, {_of(right)}" if right else "none" for n, right in shown), lost)
    return table


def _of(e: Estimate) -> str:
    return f"{e.value:.3f} ({e.low:.3f} to {e.high:.3f})"
