"""`guardrail.tune_claims`: graded claims of new answers -> a policy under which few keep a wrong one, with its proof."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.datasets.claims import claim_data_hash, load_claim_rows_from
from guardrail.datasets.questions import check_no_leak, question_digest
from guardrail.errors import CalibrationError, DataError, PolicyError
from guardrail.evaluation.setting import (
    ModelSource,
    StrPath,
    Subject,
    calibrator_from,
    check_apart,
    check_output,
    fitted,
    model_from,
    run_file,
    silent,
)
from guardrail.files import write_whole
from guardrail.policy import Policy
from guardrail.policy.tuned import policy_text

if TYPE_CHECKING:
    from guardrail.evaluation.claim_tuning import ClaimTuning
    from guardrail.runs.progress import Say


def tune_claims(
    model: ModelSource,
    data: StrPath,
    *,
    all_right: float,
    output: StrPath | None = None,
    calibrator: IsotonicCalibrator | StrPath | None = None,
    confidence: float | None = 0.95,
    limit: int | None = None,
    resume: bool = False,
    run: StrPath | None = None,
    batch_size: int = 16,
    cache: bool = True,
    command: str = "guardrail.tune_claims",
    progress: Say | None = None,
) -> ClaimTuning:
    """Find the lowest confidence from which claims can be kept so that few enough answers keep a wrong one.

        found = guardrail.tune_claims("smollm2-135m", "bundled", all_right=0.8, output="tuned_claims.yaml")
        found.reached, found.kept, found.policy

    Args:
        model: A model, a spec as `load_model` takes it, or a function that loads one. It is loaded after everything else
            was checked.
        data: Questions with facts, or answers with labelled claims, none of them the calibrator's (.jsonl); "bundled": the
            bundled held-out questions for claims.
        all_right: The share of answers that shall keep no wrong claim, between 0 and 1.
        output: Where to write the policy. Nothing is written where no threshold reaches the target.
        calibrator: A calibrator of claims, its file or its `shipped:NAME`; None takes the one shipped for the model.
        confidence: Probability that the promise holds; None promises an average (split conformal).
        limit: Use at most so many questions.
        resume: Go on with a run, or use a finished one again.
        run: A file that keeps the answers; None is OUTPUT.run.jsonl, and no file without `output`.
        batch_size: Questions answered together.
        cache: Keep answers in the user's cache folder, and never make the same one twice.
        command: How this was started, for the proof.
        progress: Called with one line before each slow step.

    Returns:
        The thresholds tested, what is kept, and the policy where the target is reached; `to_dict()` is what
        `guardrail tune --unit claim --json` prints.

    Raises:
        DataError: For rates, files or data that cannot be used, and for questions of the calibration.
        CalibrationError: For no calibrator, one that does not name its questions, or no claim that may be kept.
        CalibratorMismatchError: For a calibrator of another model, or of answers.
    """
    say = progress or silent
    for option, rate in (("--all-right", all_right), ("--confidence", confidence)):
        if rate is not None and not 0 < rate < 1:
            raise DataError(f"{option} is {rate:g}; it must lie between 0 and 1, ends excluded")
    source, out = os.fspath(data), None if output is None else Path(output)
    if out is not None:
        check_output(out, "the policy")
    file = run_file(run, out, resume)
    fitted_in = None if isinstance(calibrator, IsotonicCalibrator) else calibrator
    check_apart(
        "the data, the calibrator, the output and the run must be different files", source, out, file, fitted_in
    )
    rows = load_claim_rows_from(source, "heldout", limit)
    asked = [row.question for row in rows]
    if repeated := len(asked) - len({question_digest(question) for question in asked}):
        raise DataError(
            f"{repeated} rows of {source} have a question that came before; a bound counts answers that do not hang "
            "together, so keep one answer a question"
        )
    given = calibrator_from(calibrator)
    if given is not None and given.provenance is not None:  # before the slow part
        check_no_leak(given.provenance.questions, asked)
    local = model_from(model, say)

    # torch is needed from here on
    from guardrail.claims.sentences import SentenceClaims
    from guardrail.evaluation.claim_tuning import claims_proof_of, find_claim_threshold
    from guardrail.evaluation.familiar import told_apart
    from guardrail.grading.facts import GRADED_BY
    from guardrail.runs.asking import RunOptions
    from guardrail.runs.collect_claims import collect_claims, identity_of
    from guardrail.runs.progress import counter
    from guardrail.runs.scorer_pass import pass_for

    extractor = SentenceClaims()
    use = fitted(local, "claim", given, "no calibrator of claims is shipped", identity_of(extractor))
    check_no_leak({*use.origin.questions, *local.taught}, asked)
    if not use.origin.questions:
        raise CalibrationError(
            f"{use.name} does not say which questions it was fitted on, so the tuning data may be among them; "
            "make it with guardrail calibrate --unit claim"
        )
    options = RunOptions(file, resume, cache, batch_size, counter("questions answered", say))
    answers = collect_claims(local, rows, extractor, use.asking, options, scorers=pass_for(use.scorer))
    found = find_claim_threshold(
        use.calibrator,
        told_apart(local, use.calibrator, answers),
        all_right=all_right,
        confidence=confidence,
        kinds=[str(row.extra.get("kind", "")) for row in rows],
    )
    policy = None
    if found.reached:
        proof = claims_proof_of(
            found, use.calibrator, use.name, local.identity, data=claim_data_hash(rows), command=command
        )
        text = policy_text(proof)
        policy = Policy.from_text(text, str(out or "the tuned policy"))  # what is written can be read
        if out is not None:
            write_whole(out, text, "the policy", PolicyError)
    return replace(found, policy=policy, subject=Subject(local.name, use.name, source, GRADED_BY))
