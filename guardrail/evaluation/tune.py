"""`guardrail.tune`: graded answers to new questions -> a policy whose error rate is bounded, with the proof in its file."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.datasets.questions import check_no_leak, data_hash, load_data, texts_of
from guardrail.errors import CalibrationError, DataError, PolicyError
from guardrail.evaluation.setting import (
    ModelSource,
    StrPath,
    Subject,
    calibrator_from,
    check_apart,
    check_output,
    fitted,
    grader_from,
    model_from,
    run_file,
    say_data,
    silent,
)
from guardrail.files import write_whole
from guardrail.grading import get_grader
from guardrail.grading.hand_labels import hand_labels
from guardrail.policy import Policy
from guardrail.policy.tuned import policy_text

if TYPE_CHECKING:
    from guardrail.evaluation.tuning import Tuning
    from guardrail.grading import Grader
    from guardrail.runs.progress import Say


def tune(
    model: ModelSource,
    data: StrPath,
    *,
    max_error: float,
    output: StrPath | None = None,
    calibrator: IsotonicCalibrator | StrPath | None = None,
    confidence: float = 0.95,
    hedge_max_error: float | None = None,
    grader: Grader | str | None = None,
    labels: StrPath | None = None,
    limit: int | None = None,
    resume: bool = False,
    run: StrPath | None = None,
    batch_size: int = 16,
    cache: bool = True,
    command: str = "guardrail.tune",
    progress: Say | None = None,
) -> Tuning:
    """Find the lowest confidence at which few enough answers are wrong, by exact bounds, and make a policy of it.

        found = guardrail.tune("smollm2-135m", "bundled", max_error=0.3, output="tuned.yaml")
        found.reached, found.policy

    Args:
        model: A model, a spec as `load_model` takes it, or a function that loads one. It is loaded after everything else
            was checked.
        data: Questions with accepted answers, none of them the calibrator's (.jsonl, .csv, .tsv, `hub:NAME@SPLIT`);
            "bundled": the bundled held-out questions.
        max_error: Largest error rate among answered questions, between 0 and 1.
        output: Where to write the policy. Nothing is written where no threshold reaches the target.
        calibrator: A calibrator, its file or its `shipped:NAME`; None takes the one shipped for the model.
        confidence: Probability that the promise holds.
        hedge_max_error: Hedge too: largest error rate among answered and hedged together. Halves the error budget.
        grader: What says whether an answer is right; None takes the calibrator's.
        labels: A file of answers that a person judged; they win over the grader.
        limit: Use at most so many questions.
        resume: Go on with a run, or use a finished one again.
        run: A file that keeps the answers; None is OUTPUT.run.jsonl, and no file without `output`.
        batch_size: Questions answered together.
        cache: Keep answers in the user's cache folder, and never make the same one twice.
        command: How this was started, for the proof.
        progress: Called with one line before each slow step.

    Returns:
        The thresholds tested, and the policy where the target is reached; `to_dict()` is what `guardrail tune --json`
        prints.

    Raises:
        DataError: For rates, files or data that cannot be used, and for questions of the calibration.
        CalibrationError: For no calibrator, or one that does not name its questions.
        CalibratorMismatchError: For a calibrator of another model.
    """
    say = progress or silent
    for option, rate in (("--max-error", max_error), ("--confidence", confidence)):
        if not 0 < rate < 1:
            raise DataError(f"{option} is {rate:g}; it must lie between 0 and 1, ends excluded")
    if hedge_max_error is not None and not max_error < hedge_max_error < 1:
        raise DataError(
            f"--hedge-max-error is {hedge_max_error:g}; it must lie between --max-error ({max_error:g}) and 1"
        )
    source, out = os.fspath(data), None if output is None else Path(output)
    if out is not None:
        check_output(out, "the policy")
    file = run_file(run, out, resume)
    fitted_in = None if isinstance(calibrator, IsotonicCalibrator) else calibrator
    check_apart(
        "the data, the calibrator, the output and the run must be different files", source, out, file, fitted_in
    )
    questions = load_data(source, "heldout", limit)
    asked = texts_of(questions.rows)
    by_hand = hand_labels(questions.rows, labels)
    wanted = grader_from(grader)
    given = calibrator_from(calibrator)
    if given is not None and given.provenance is not None:  # before the slow part
        check_no_leak(given.provenance.questions, asked)
    local = model_from(model, say)

    # torch is needed from here on
    from guardrail.evaluation.familiar import told_apart
    from guardrail.evaluation.tuning import find_thresholds, proof_of
    from guardrail.runs.asking import RunOptions
    from guardrail.runs.collect import collect
    from guardrail.runs.progress import counter
    from guardrail.runs.scorer_pass import pass_for

    use = fitted(local, "answer", given, "no calibrator is shipped")
    check_no_leak(use.origin.questions, asked)
    if not use.origin.questions:
        raise CalibrationError(
            f"{use.name} does not say which questions it was fitted on, so the tuning data may be among them; "
            "make it with guardrail calibrate"
        )
    chosen = wanted or get_grader(use.origin.grader)
    chosen.load()
    answers = collect(
        local,
        questions.rows,
        chosen,
        use.asking,
        RunOptions(file, resume, cache, batch_size, counter("questions answered", say)),
        scorers=pass_for(use.scorer),
        labels=by_hand,
        ungraded_is_wrong=True,
    )
    say_data(say, questions, answers.grading)
    graded_by = answers.grading.in_words() if answers.grading else chosen.name
    found = find_thresholds(
        use.calibrator,
        told_apart(local, use.calibrator, answers),
        max_error=max_error,
        confidence=confidence,
        hedge_max_error=hedge_max_error,
    )
    policy = None
    if found.reached:
        proof = proof_of(
            found,
            use.calibrator,
            use.name,
            local.identity,
            data=data_hash(questions.rows),
            grader=graded_by,
            command=command,
        )
        text = policy_text(proof)
        policy = Policy.from_text(text, str(out or "the tuned policy"))  # what is written can be read
        if out is not None:
            write_whole(out, text, "the policy", PolicyError)
    return replace(found, policy=policy, subject=Subject(local.name, use.name, source, graded_by))
