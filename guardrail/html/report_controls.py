"""What a report says, in words, of readers of the texts alone and of the grader's own errors."""

from __future__ import annotations

from guardrail.calibration.controls import Control
from guardrail.evaluation.report import Report
from guardrail.evaluation.report_claims import ClaimReport
from guardrail.html.report_words import estimate, percent


def beside(report: Report | ClaimReport) -> tuple[str, ...]:
    """A sentence each; nothing of what was not measured."""
    lines = []
    if found := report.controls:
        lines.append(
            f"A reader that sees question and {report.unit}, and no number of the model, has AUROC "
            f"{estimate(found.text.auroc)} on the same {report.unit}s; one that sees the question alone has "
            f"{estimate(found.question.auroc)}. {_told(found.text)}"
        )
    if errors := report.label_errors:
        low, high = errors.auroc
        lines.append(
            f"If the grader calls {percent(errors.false_right)} of the wrong answers right and "
            f"{percent(errors.false_wrong)} of the right ones wrong, as it does where people judged it, "
            f"{percent(errors.accuracy)} of the answers are right. AUROC is then {errors.auroc_at_random:.3f} if its errors "
            f"fall at random, and between {low:.3f} and {high:.3f} wherever they fall; ECE lies between {errors.ece.low:.3f} "
            f"and {errors.ece.high:.3f}."
        )
    return tuple(lines)


def _told(control: Control) -> str:
    """Whether the score tells more than the texts do."""
    difference = f"the score's AUROC minus that reader's is {estimate(control.difference)}"
    if control.difference.low > 0:
        return f"The score tells more than the texts do: {difference}."
    if control.difference.high < 0:
        return f"The score tells less than the texts do: {difference}."
    return f"This run does not show that the score tells more than the texts do: {difference}."
