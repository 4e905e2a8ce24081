"""`guardrail.tune`, `guardrail.tune_chain`: graded answers to new questions -> a policy whose error rate is bounded, with the
proof in its file."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from guardrail.evaluation.through import chain_to_ask, say_left_out
from guardrail.files import write_whole
from guardrail.grading import get_grader
from guardrail.grading.hand_labels import hand_labels
from guardrail.policy import Policy
from guardrail.policy.tuned import policy_text

if TYPE_CHECKING:
    from guardrail.datasets.questions import QuestionData
    from guardrail.evaluation.setting import Fitted
    from guardrail.evaluation.tuning import Tuning
    from guardrail.grading import Grader
    from guardrail.model.local import LocalModel
    from guardrail.runs.answers import Answers
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
    wanted = Wanted.of(max_error, confidence, hedge_max_error)
    source, out, file, given = files_of(data, output, run, resume, calibrator)
    questions = load_data(source, "heldout", limit)
    by_hand, grades = hand_labels(questions.rows, labels), grader_from(grader)
    check_new(given, questions)
    local = model_from(model, say)

    # torch is needed from here on
    from guardrail.runs.asking import RunOptions
    from guardrail.runs.collect import collect
    from guardrail.runs.progress import counter
    from guardrail.runs.scorer_pass import pass_for

    use = fitted(local, "answer", given, "no calibrator is shipped")
    check_unseen(use, local, questions)
    chosen = grades or get_grader(use.origin.grader)
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
    return _tuned(local, use, answers, wanted, chosen, source, questions, out, command)


def tune_chain(
    chain: Callable[..., Any] | Any,
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
    cache: bool = True,
    command: str = "guardrail.tune_chain",
    progress: Say | None = None,
) -> Tuning:
    """`tune` on what a chain answers, with a calibrator of this chain.

        found = guardrail.tune_chain(chain, "more.jsonl", max_error=0.2, calibrator="c.json", output="tuned.yaml")

    The promise is about questions that are put to this chain, and drawn as these were. Rows for which it raised, returned
    nothing, or returned what its model did not say are no part of it; they are counted, and said.

    Args:
        chain: As in `calibrate_chain`.
        data: As there; none of the questions the calibrator's. "bundled" are the held-out questions.
        max_error: As in `tune`.
        output: As in `tune`.
        calibrator: One of this chain, or its file; None takes the one shipped for the chain's model.
        confidence: As in `tune`.
        hedge_max_error: As in `tune`.
        grader: As in `tune`.
        labels: As in `tune`.
        limit: As in `tune`.
        resume: As in `tune`.
        run: As in `tune`.
        cache: As in `calibrate_chain`.
        command: How this was started, for the proof.
        progress: Called with one line before each slow step.

    Returns:
        As `tune`.

    Raises:
        DataError: As `tune` and `calibrate_chain`.
        CalibrationError: As `tune`, and where no answer of the chain is left.
        CalibratorMismatchError: For a calibrator of another model.
    """
    say = progress or silent
    wanted = Wanted.of(max_error, confidence, hedge_max_error)
    source, out, file, given = files_of(data, output, run, resume, calibrator)
    questions = load_data(source, "heldout", limit, conversations=True)
    by_hand, grades = hand_labels(questions.rows, labels), grader_from(grader)
    check_new(given, questions)
    asked = chain_to_ask(chain, say)

    from guardrail.runs.asking import RunOptions
    from guardrail.runs.progress import counter
    from guardrail.runs.through import collect_through

    chosen = grades or get_grader(given.provenance.grader if given and given.provenance else "alias")
    chosen.load()
    options = RunOptions(file, resume, cache, 1, counter("questions answered", say))
    found = collect_through(asked, questions.rows, chosen, options, labels=by_hand, ungraded_is_wrong=True)
    use = fitted(found.local, "answer", given, "no calibrator is shipped", through=True)
    check_unseen(use, found.local, questions)
    say_data(say, questions, found.answers.grading)
    say_left_out(say, found.left_out)
    return _tuned(found.local, use, found.answers, wanted, chosen, source, questions, out, command)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The rates that are asked for, between 0 and 1."""

    max_error: float
    confidence: float
    hedge_max_error: float | None

    @classmethod
    def of(cls, max_error: float, confidence: float, hedge_max_error: float | None) -> Wanted:
        """Raises `DataError` for rates that promise nothing."""
        for option, rate in (("--max-error", max_error), ("--confidence", confidence)):
            if not 0 < rate < 1:
                raise DataError(f"{option} is {rate:g}; it must lie between 0 and 1, ends excluded")
        if hedge_max_error is not None and not max_error < hedge_max_error < 1:
            raise DataError(
                f"--hedge-max-error is {hedge_max_error:g}; it must lie between --max-error ({max_error:g}) and 1"
            )
        return cls(max_error, confidence, hedge_max_error)


def files_of(
    data: StrPath,
    output: StrPath | None,
    run: StrPath | None,
    resume: bool,
    calibrator: IsotonicCalibrator | StrPath | None,
) -> tuple[str, Path | None, Path | None, IsotonicCalibrator | None]:
    """The data's name, the output, the run's file and the calibrator. Raises `DataError` where two of them are one file."""
    source, out = os.fspath(data), None if output is None else Path(output)
    if out is not None:
        check_output(out, "the policy")
    file = run_file(run, out, resume)
    fitted_in = None if isinstance(calibrator, IsotonicCalibrator) else calibrator
    check_apart(
        "the data, the calibrator, the output and the run must be different files", source, out, file, fitted_in
    )
    return source, out, file, calibrator_from(calibrator)


def check_new(given: IsotonicCalibrator | None, questions: QuestionData) -> None:
    """Before the slow part. Raises `DataError` for questions of the calibration."""
    if given is not None and given.provenance is not None:
        check_no_leak(given.provenance.questions, texts_of(questions.rows))


def check_unseen(use: Fitted, local: LocalModel, questions: QuestionData) -> None:
    """Raises `DataError` for questions of the calibration, or that the model was taught with, and `CalibrationError` where
    nobody can say."""
    check_no_leak({*use.origin.questions, *local.taught}, texts_of(questions.rows))
    if not use.origin.questions:
        raise CalibrationError(
            f"{use.name} does not say which questions it was fitted on, so the tuning data may be among them; "
            "make it with guardrail calibrate"
        )


def _tuned(
    local: LocalModel,
    use: Fitted,
    answers: Answers,
    wanted: Wanted,
    grader: Grader,
    source: str,
    questions: QuestionData,
    out: Path | None,
    command: str,
) -> Tuning:
    """Search the thresholds, and write the policy where the target is reached."""
    from guardrail.evaluation.familiar import told_apart
    from guardrail.evaluation.tuning import find_thresholds, proof_of

    graded_by = answers.grading.in_words() if answers.grading else grader.name
    found = find_thresholds(
        use.calibrator,
        told_apart(local, use.calibrator, answers),
        max_error=wanted.max_error,
        confidence=wanted.confidence,
        hedge_max_error=wanted.hedge_max_error,
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
