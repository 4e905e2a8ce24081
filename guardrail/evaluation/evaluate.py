"""`guardrail.evaluate`: a calibrator and policies on questions that neither has seen."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from guardrail.datasets.claims import claim_data_hash, load_claim_rows_from
from guardrail.datasets.questions import check_no_leak, data_hash, load_data, texts_of
from guardrail.errors import DataError
from guardrail.evaluation.passages import Passages
from guardrail.evaluation.setting import (
    ModelSource,
    StrPath,
    Subject,
    calibrator_from,
    fitted,
    grader_from,
    model_from,
    policy_from,
    refuse_claims,
    refuse_passages,
    say_data,
    shipped_policies,
    silent,
    workers_from,
)
from guardrail.grading import get_grader
from guardrail.grading.hand_labels import hand_labels
from guardrail.policy import Policy, check_proof
from guardrail.scoring.registry import entry_of
from guardrail.types.names import ASK_AGAIN

if TYPE_CHECKING:
    from guardrail.calibration.isotonic import IsotonicCalibrator
    from guardrail.calibration.provenance import Unit
    from guardrail.evaluation.assess import Assessment
    from guardrail.evaluation.assess_claims import ClaimAssessment
    from guardrail.grading import Grader
    from guardrail.retrieval import Retriever
    from guardrail.runs.cluster import Cluster
    from guardrail.runs.progress import Say


def evaluate(
    model: ModelSource,
    data: StrPath,
    calibrator: IsotonicCalibrator | StrPath | None = None,
    policies: Sequence[Policy | StrPath] | None = None,
    *,
    unit: Unit = "answer",
    grader: Grader | str | None = None,
    labels: StrPath | None = None,
    limit: int | None = None,
    run: StrPath | None = None,
    resume: bool = False,
    retriever: Retriever | StrPath | None = None,
    passages: int = 1,
    ask_again: int = ASK_AGAIN,
    cache: bool = True,
    batch_size: int = 16,
    cluster: Cluster | None = None,
    progress: Say | None = None,
) -> Assessment | ClaimAssessment:
    """Measure a calibrator on questions it has not seen, and what policies would have done with the answers.

        found = guardrail.evaluate("smollm2-135m", "bundled")
        found.metrics["auroc"], found.policies[0].coverage

    Args:
        model: A model, a spec as `load_model` takes it, or a function that loads one. It is loaded after everything else
            was checked.
        data: Questions with accepted answers (.jsonl, .csv, .tsv, `hub:NAME@SPLIT`), for claims with facts or labelled
            claims; "bundled": the bundled held-out questions.
        calibrator: A calibrator, its file or its `shipped:NAME`; None takes the one shipped for the model.
        policies: Policies, their names or files; None takes all shipped ones that can be measured on this unit.
        unit: What one probability is about: "answer" or "claim".
        grader: What says whether an answer is right; None takes the calibrator's.
        labels: A file of answers that a person judged; they win over the grader.
        limit: Use at most so many questions.
        run: A file that keeps the answers, so that `resume` can go on with them.
        resume: Go on with the run file.
        retriever: Ask questions again, each with what it finds for it and with what it finds for another, and measure the
            calibrator's curve for answers with passages. A retriever, or a folder or file of passages.
        passages: The most passages of one search.
        ask_again: With a retriever, the most questions that are asked again, drawn at random.
        cache: Keep answers in the user's cache folder, and never make the same one twice.
        batch_size: Questions answered together.
        cluster: Workers that share the rows, in place of this process; the model is then given by name or by function.
        progress: Called with one line before each slow step.

    Returns:
        The figures, of answers or of claims; `to_dict()` is what `guardrail evaluate --json` prints.

    Raises:
        DataError: For data, labels or a run file that cannot be used, and for questions of the calibration.
        CalibrationError: For no calibrator, or none that the answers say anything about.
        CalibratorMismatchError: For a calibrator of another model, or a policy tuned with another calibrator.
        PolicyError: For a policy that cannot be read.
        ClusterError: For workers that cannot be had, or die whatever they are given.
    """
    say = progress or silent
    if resume and run is None:
        raise DataError("--resume needs --run FILE, the file to go on with")
    if retriever is not None and unit == "claim":
        raise DataError("--retriever is for whole answers; what passages say of claims is the verifier's to tell")
    if unit == "claim" and (grader is not None or labels is not None):
        option = f"--labels {labels}" if grader is None else f"--grader {grader}"
        raise DataError(f"{option} is for whole answers; claims are graded by their facts and labels")
    source, file = os.fspath(data), Path(run) if run is not None else None
    wanted = grader_from(grader)
    tried = shipped_policies(unit) if policies is None else [policy_from(policy) for policy in policies]
    if unit == "answer":
        refuse_claims(tried, "use --unit claim", passages=retriever is not None)
    questions = load_data(source, "heldout", limit) if unit == "answer" else None
    by_hand = hand_labels(questions.rows if questions else (), labels)
    rows = load_claim_rows_from(source, "heldout", limit) if unit == "claim" else []
    given = calibrator_from(calibrator)
    searched = Passages.of(retriever, passages, ask_again) if retriever is not None else None
    local = model_from(model, say)
    refuse_passages(local, retriever)
    workers = workers_from(cluster, model, local, say)

    # torch is needed from here on
    from guardrail.claims.sentences import SentenceClaims
    from guardrail.evaluation.assess import assess
    from guardrail.evaluation.assess_claims import assess_claims
    from guardrail.evaluation.controls import TextReader
    from guardrail.evaluation.familiar import told_apart, with_states
    from guardrail.evaluation.with_evidence import curve_with_evidence, measured_with_evidence
    from guardrail.runs.asking import RunOptions
    from guardrail.runs.cache import RecordCache
    from guardrail.runs.collect import collect
    from guardrail.runs.collect_claims import collect_claims, identity_of
    from guardrail.runs.progress import counter
    from guardrail.runs.scorer_pass import pass_for

    extractor = SentenceClaims()
    about = identity_of(extractor) if unit == "claim" else None
    use = fitted(local, unit, given, f"no calibrator of {unit}s is shipped", about)
    if searched is not None:
        curve_with_evidence(use.calibrator)  # before the slow part
    for policy in tried:
        of_answers, of_claims = (use.calibrator if unit == one else None for one in ("answer", "claim"))
        check_proof(policy.proof, policy.name, of_answers, use.name)
        check_proof(policy.claims_proof, policy.name, of_claims, use.name)
    known = {*use.origin.questions, *local.taught}
    check_no_leak(known, texts_of(questions.rows) if questions else [row.question for row in rows])
    seen = data_hash(questions.rows) if questions else claim_data_hash(rows)
    proofs = ((policy.name, policy.proof or policy.claims_proof) for policy in tried)
    tuned_here = tuple(name for name, proof in proofs if proof and proof.data == seen)
    subject = Subject(local.name, use.name, source, tuned_here=tuned_here)
    options = RunOptions(file, resume, cache, batch_size, counter("questions answered", say), workers)
    result: Assessment | ClaimAssessment
    with RecordCache() if cache else nullcontext() as records:
        reader = TextReader(records, say)
        if questions is None:
            claims = collect_claims(local, rows, extractor, use.asking, options, scorers=pass_for(use.scorer))
            result = assess_claims(use.calibrator, told_apart(local, use.calibrator, claims), tried, reader=reader)
        else:
            chosen = wanted or get_grader(use.origin.grader)
            chosen.load()
            answers = collect(
                local, questions.rows, chosen, use.asking, options, scorers=pass_for(use.scorer), labels=by_hand
            )
            say_data(say, questions, answers.grading)
            if entry_of(use.origin.scorer).fitting == "probe":
                answers = with_states(local, use.asking, answers)
            told = told_apart(local, use.calibrator, answers)
            result = assess(use.calibrator, told, tried, reader=reader)
            if searched is not None:
                say("asking again with passages")
                again = searched.asked(local, questions.rows, chosen, use.asking, options)
                found = measured_with_evidence(use.calibrator, told, again, use.asking, reader=reader)
                result = replace(result, evidence=found)
            subject = replace(subject, grading=answers.grading)
    if tuned_here:
        say(f"tuned on these very questions, which flatters what they would have done: {', '.join(tuned_here)}")
    return replace(result, subject=subject)
