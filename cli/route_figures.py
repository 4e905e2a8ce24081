"""What `guardrail tune --escalate-to` found about asking a second model -> text on a terminal."""

from __future__ import annotations

from rich.console import Console

from guardrail.calibration.risk import RiskControl
from guardrail.cli.figures import estimate
from guardrail.evaluation.tuning import Routing


def routing(console: Console, value: Routing) -> None:
    """What the second model is asked, what that costs, and what either model reaches alone."""
    if value.escalated is not None and value.cost is not None:
        console.print(f"asked of the second model: {estimate(value.escalated)} of the questions")
        console.print(
            f"expected cost of a question: {value.cost.value:.4g} ({value.cost.low:.4g} to {value.cost.high:.4g}); "
            f"{value.cost_per_call:g} for the first model's answer, {value.cost_of_second:g} for the second's"
        )
    for who, control, cost in (
        ("the first alone", value.first_alone, value.cost_per_call),
        ("the second alone", value.second_alone, value.cost_of_second),
    ):
        console.print(f"{who}, for {cost:g} a question: {_alone(control)}")


def _alone(control: RiskControl) -> str:
    if (chosen := control.chosen) is None:
        return "no threshold reaches the target"
    return f"coverage {estimate(control.coverage(chosen))} at p_correct >= {chosen.threshold:g}"
