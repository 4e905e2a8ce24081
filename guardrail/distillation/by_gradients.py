"""The teacher that needs no samples: the calibrated confidence of greedy answers, from one gradient pass each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guardrail.calibration.metrics import Floats
from guardrail.datasets.questions import QuestionData
from guardrail.distillation.candidates import Candidate
from guardrail.errors import DataError
from guardrail.evaluation.setting import StrPath
from guardrail.grading import Grader
from guardrail.runs.asking import Asking, RunOptions
from guardrail.runs.progress import Say

if TYPE_CHECKING:
    from guardrail.model.local import LocalModel


def by_gradients(
    local: LocalModel,
    data: StrPath,
    loaded: QuestionData,
    grader: Grader,
    asking: Asking,
    options: RunOptions,
    limit: int | None,
    say: Say,
) -> list[Candidate]:
    """The greedy answers, each with its out-of-fold confidence by the better of HybridGrad and the stacked score."""
    from guardrail.evaluation.calibrate import calibrate
    from guardrail.runs.collect import collect

    fit = calibrate(
        local, data, grader=grader, limit=limit, run=options.file, resume=options.resume, cache=options.cache,
        max_new_tokens=asking.max_new_tokens, prompt=asking.prompt, system=asking.system, progress=say,
    )  # fmt: skip
    again = RunOptions(options.file, True, options.cache)
    answers = collect(local, loaded.rows, grader, asking, again)
    p: Floats = fit.p_correct
    if len(p) != len(answers.scored):
        raise DataError(f"{options.file} changed while it was read; delete it and start again")
    return [
        Candidate(answers.records[i]["question"], answers.records[i]["answer"], bool(answers.correct[i]), float(value))
        for i, value in zip(answers.scored, p, strict=True)
    ]
