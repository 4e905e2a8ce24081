"""`guardrail.tune_escalation`: graded answers of two models -> a policy that asks the second where that is worth its cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from guardrail.datasets.questions import data_hash, load_data
from guardrail.errors import CalibrationError, PolicyError
from guardrail.evaluation.setting import (
    ModelSource,
    StrPath,
    Subject,
    calibrator_from,
    check_apart,
    check_costs,
    fitted,
    grader_from,
    model_from,
    say_data,
    silent,
)
from guardrail.evaluation.tune import Wanted, check_new, check_unseen, files_of
from guardrail.files import write_whole
from guardrail.grading import get_grader
from guardrail.grading.hand_labels import hand_labels
from guardrail.policy import Policy
from guardrail.policy.tuned import policy_text

if TYPE_CHECKING:
    from guardrail.calibration.isotonic import IsotonicCalibrator
    from guardrail.evaluation.tuning import Tuning
    from guardrail.grading import Grader
    from guardrail.runs.progress import Say


def tune_escalation(
    model: ModelSource,
    second: ModelSource,
    data: StrPath,
    *,
    max_error: float,
    cost_per_call: float = 0.0,
    cost_of_second: float = 1.0,
    output: StrPath | None = None,
    calibrator: IsotonicCalibrator | StrPath | None = None,
    second_calibrator: IsotonicCalibrator | StrPath | None = None,
    confidence: float = 0.95,
    grader: Grader | str | None = None,
    labels: StrPath | None = None,
    limit: int | None = None,
    resume: bool = False,
    run: StrPath | None = None,
    batch_size: int = 16,
    cache: bool = True,
    command: str = "guardrail.tune_escalation",
    progress: Say | None = None,
) -> Tuning:
    """Find the threshold at which asking a second model costs least while few enough answers are wrong; a policy of it.

        found = guardrail.tune_escalation("small", "openai:URL#BIG", "heldout.jsonl", max_error=0.1, cost_of_second=5,
                                          second_calibrator="big.json", output="routed.yaml")
        found.routing.cost, found.routing.escalated

    Both models answer every question. The policy answers what the first is sure of, asks the second about the rest, and
    withholds what that is unsure of; the promise is about all that is answered.

    Args:
        model: The model that is asked first, as in `tune`.
        second: The one that is asked where the first is not sure enough.
        data: As in `tune`: questions of neither calibrator.
        max_error: Largest error rate among answered questions, between 0 and 1.
        cost_per_call: Of an answer of the first model, in whatever unit; at least 0.
        cost_of_second: Of an answer of the second one, in the same unit.
        output: Where to write the policy. Nothing is written where no threshold reaches the target.
        calibrator: The first model's, as in `tune`.
        second_calibrator: The second model's.
        confidence: Probability that the promise holds.
        grader: What says whether an answer is right; None takes the first calibrator's.
        labels: A file of answers that a person judged; they win over the grader.
        limit: Use at most so many questions.
        resume: Go on with two runs, or use finished ones again.
        run: A file that keeps the first model's answers; the second's stand in RUN.second. None is OUTPUT.run.jsonl.
        batch_size: Questions answered together.
        cache: Keep answers in the user's cache folder, and never make the same one twice.
        command: How this was started, for the proof.
        progress: Called with one line before each slow step.

    Returns:
        The thresholds tested, what asking the second costs, and the policy where the target is reached.

    Raises:
        DataError: For rates, costs, files or data that cannot be used, and for questions of a calibration.
        CalibrationError: For no calibrator, one that does not name its questions, or one for both models.
        CalibratorMismatchError: For a calibrator of another model.
    """
    say = progress or silent
    wanted = Wanted.of(max_error, confidence, None)
    check_costs(cost_per_call, cost_of_second)
    source, out, file, given = files_of(data, output, run, resume, calibrator)
    given_second = calibrator_from(second_calibrator)
    file_of_second: Path | None = None if file is None else file.with_name(f"{file.name}.second")
    check_apart("the output, the runs and the data must be different files", source, out, file, file_of_second)
    questions = load_data(source, "heldout", limit)
    by_hand, grades = hand_labels(questions.rows, labels), grader_from(grader)
    for each in (given, given_second):
        check_new(each, questions)

    # torch is needed from here on
    from guardrail.evaluation.familiar import told_apart
    from guardrail.evaluation.routing import find_route, route_proof
    from guardrail.runs.asking import RunOptions
    from guardrail.runs.collect import collect
    from guardrail.runs.progress import counter
    from guardrail.runs.scorer_pass import pass_for

    locals_ = (model_from(model, say), model_from(second, say))
    uses = [
        fitted(local, "answer", each, "no calibrator is shipped")
        for local, each in zip(locals_, (given, given_second), strict=True)
    ]
    for use, local in zip(uses, locals_, strict=True):
        check_unseen(use, local, questions)
    calibrators = (uses[0].calibrator, uses[1].calibrator)
    if calibrators[0].digest == calibrators[1].digest:
        raise CalibrationError(
            f"both models have the calibrator {uses[0].name}, so no verdict could say whose confidence it is; give the second "
            "one of its own: --escalate-calibrator FILE"
        )
    chosen = grades or get_grader(uses[0].origin.grader)
    chosen.load()
    collected = []
    for use, local, own in zip(uses, locals_, (file, file_of_second), strict=True):
        answers = collect(
            local,
            questions.rows,
            chosen,
            use.asking,
            RunOptions(
                own, resume and (own is None or own.exists()), cache, batch_size, counter("questions answered", say)
            ),
            scorers=pass_for(use.scorer),
            labels=by_hand,
            ungraded_is_wrong=True,
        )
        say_data(say, questions, answers.grading)
        collected.append(told_apart(local, use.calibrator, answers))
    found = find_route(
        calibrators,
        (collected[0], collected[1]),
        max_error=wanted.max_error,
        confidence=wanted.confidence,
        cost_per_call=cost_per_call,
        cost_of_second=cost_of_second,
    )
    grading = collected[0].grading
    graded_by, policy = grading.in_words() if grading else chosen.name, None
    if found.reached:
        proof = route_proof(
            found,
            calibrators,
            [use.name for use in uses],
            (locals_[0].identity, locals_[1].identity),
            data=data_hash(questions.rows),
            grader=graded_by,
            command=command,
        )
        text = policy_text(proof)
        policy = Policy.from_text(text, str(out or "the tuned policy"))  # what is written can be read
        if out is not None:
            write_whole(out, text, "the policy", PolicyError)
    about = Subject(f"{locals_[0].name}, then {locals_[1].name}", uses[0].name, source, graded_by)
    return replace(found, policy=policy, subject=about)
