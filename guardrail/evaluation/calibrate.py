"""`guardrail.calibrate`: questions with accepted answers, or with facts for claims -> a calibrator and its evidence."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from guardrail.calibration.contexts import thinking_of
from guardrail.calibration.sps_profile import SpsProfile
from guardrail.datasets.claims import claim_data_hash, load_claim_rows_from
from guardrail.datasets.questions import check_no_leak, data_hash, load_data, texts_of
from guardrail.errors import DataError
from guardrail.evaluation.passages import Passages
from guardrail.evaluation.scorer_choice import check_scorer, others_of, scorer_of
from guardrail.evaluation.setting import (
    ModelSource,
    StrPath,
    asks_question,
    check_apart,
    check_output,
    equivalence_given,
    grader_from,
    model_from,
    refuse_passages,
    run_file,
    say_data,
    shipped_policies,
    silent,
    untaught,
    workers_from,
)
from guardrail.grading import get_grader
from guardrail.grading.hand_labels import hand_labels
from guardrail.model.given_beginning import no_beginning
from guardrail.runs.prompts import DIRECT, IN_SENTENCES, LONGEST
from guardrail.scoring.registry import (
    CONTENDER,
    DEFAULT,
    entry_of,
    keywords_of,
)
from guardrail.scoring.stacked.features import PROBE
from guardrail.types.names import ASK_AGAIN

if TYPE_CHECKING:
    from guardrail.calibration.provenance import Unit
    from guardrail.datasets.questions import QuestionRow
    from guardrail.evaluation.fit import Fit
    from guardrail.grading import Grader
    from guardrail.retrieval import Retriever
    from guardrail.runs.cluster import Cluster
    from guardrail.runs.progress import Say
    from guardrail.runs.readings import Sample
    from guardrail.scoring.profile import Profile


def calibrate(
    model: ModelSource,
    data: StrPath,
    output: StrPath | None = None,
    *,
    unit: Unit = "answer",
    scorer: str | None = None,
    weigh: Sequence[str] = (),
    samples: int | None = None,
    equivalence: str | None = None,
    grader: Grader | str | None = None,
    labels: StrPath | None = None,
    limit: int | None = None,
    resume: bool = False,
    run: StrPath | None = None,
    batch_size: int = 16,
    max_new_tokens: int | None = None,
    prompt: str | None = None,
    system: str | None = None,
    paper: bool = False,
    profile: StrPath | None = None,
    retriever: Retriever | StrPath | None = None,
    passages: int = 1,
    ask_again: int = ASK_AGAIN,
    retry_prefix: str | None = None,
    cache: bool = True,
    command: str = "guardrail.calibrate",
    cluster: Cluster | None = None,
    progress: Say | None = None,
) -> Fit:
    """Ask every question, grade the answers, choose what the scorer leaves to choose, and fit the isotonic calibrator.

        fit = guardrail.calibrate("smollm2-135m", "questions.jsonl", "calibrator.json")
        fit.metrics["auroc"].value, fit.calibrator.predict(0.3).p_correct

    Args:
        model: A model, a spec as `load_model` takes it, or a function that loads one. It is loaded after everything else
            was checked.
        data: Rows of `question` and `answers`, .jsonl, .csv or .tsv, or `hub:NAME@SPLIT`; for claims, of `question` and
            `facts`, or labelled `claims` of an `answer`, .jsonl. "bundled" are the bundled calibration questions.
        output: Where the calibrator is written; None writes nothing.
        unit: What gets one probability, an "answer" or a "claim".
        scorer: A name of the registry. None fits HybridGrad and the stacked score, which weighs all numbers of one pass, and
            takes the stacked one if it ranks better by more than chance (with `paper` or `profile`: HybridGrad). "stacked" by
            name falls back on the best of all single scorers of that pass. Behind an endpoint None is G-NLL, or
            Self-Consistency where it tells no log-probabilities.
        weigh: Other scorers whose numbers the stacked one weighs too; "probe" is fitted inside of each fold.
        samples: For scorers that draw samples, how many; None is the paper's number.
        equivalence: For scorers that compare texts, when two say the same: "embedding" or "nli:MODEL", a cross-encoder; None is
            each scorer's own default.
        grader: What says whether an answer is right; None is "alias". Claims are graded by their facts.
        labels: A file of answers that people graded; they win over the grader.
        limit: Use at most so many questions.
        resume: Go on with a run that was stopped.
        run: The run's file; None is OUTPUT.run.jsonl, and without an output keeps everything in memory.
        batch_size: Questions answered together.
        max_new_tokens: Longest answer, in tokens; None is 64, or 160 for claims.
        prompt: How to ask, with `{question}`; None asks for a few words, or for sentences for claims.
        system: System message.
        paper: Keep eq. 6 at the template's (or the profile's) token; choose no other profile.
        profile: A file of `guardrail sps`, whose token is used; only the rest of the profile is chosen.
        retriever: Ask questions again, each with what it finds for it and with what it finds for another, and fit a curve
            for answers with passages. A retriever, or a folder or file of passages.
        passages: The most passages of one search.
        ask_again: With a retriever, the most questions that are asked again, drawn at random.
        retry_prefix: Ask the questions again with this as the beginning of each reply, and fit a curve for such answers: those
            of a policy's `retry` with the same prefix.
        cache: Keep answers in the user's cache folder, and never make the same one twice.
        command: What the calibrator says it was made by.
        cluster: Workers that share the rows, in place of this process; the model is then given by name or by function.
        progress: Called with one line before each slow step.

    Returns:
        The calibrator with the evidence for it, all of it cross-validated.

    Raises:
        DataError: For data, files or options that do not go together.
        CalibrationError: For too few answers, or too few right or wrong ones.
        ScoringError: For a scorer that does not exist.
        ClusterError: For workers that cannot be had, or die whatever they are given.
    """
    say = progress or silent
    prompt = asks_question(prompt if prompt is not None else DIRECT if unit == "answer" else IN_SENTENCES)
    if retriever is not None and unit == "claim":
        raise DataError("--retriever is for whole answers; what passages say of claims is the verifier's to tell")
    if retry_prefix is not None and (unit == "claim" or not retry_prefix.strip()):
        raise DataError(
            "--retry-prefix is the beginning of replies, as whole answers; leave it out for claims, or give text"
        )
    if unit == "claim" and (grader is not None or labels is not None):
        option = f"--labels {labels}" if grader is None else f"--grader {grader}"
        raise DataError(f"{option} is for whole answers; claims are graded by their facts and labels")
    if scorer is None and samples is not None:
        raise DataError(f"--samples {samples} is for scorers that draw samples; {DEFAULT} draws none")
    asked, scorer = scorer, scorer or (DEFAULT if paper or profile else CONTENDER)
    check_scorer(scorer, weigh, unit, samples, "--paper" if paper else "--profile" if profile else None)
    if equivalence is not None and not any(
        "equivalence" in keywords_of(name) for name in (scorer, *weigh) if name != PROBE
    ):
        raise DataError(
            f"--equivalence {equivalence} is for scorers that compare texts, ccp say; {scorer} compares none"
        )
    chosen = grader_from(grader) or get_grader("alias")
    source = os.fspath(data)
    loaded = load_data(source, "calibration", limit) if unit == "answer" else None
    by_hand = hand_labels(loaded.rows if loaded else (), labels)
    rows = load_claim_rows_from(source, "calibration", limit) if unit == "claim" else []
    measured = _measured(Path(profile), prompt, system) if profile else None
    written = None if output is None else Path(output)
    if written is not None:
        check_output(written, "the calibrator")
    file = run_file(run, written, resume)
    check_apart("the data, the output and the run must be three files", source, written, file)
    searched = Passages.of(retriever, passages, ask_again) if retriever is not None else None
    compared = equivalence_given(equivalence)
    local = model_from(model, say)
    scorer = scorer_of(local, scorer, asked)
    refuse_passages(local, retriever)
    if retry_prefix is not None and (why := no_beginning(local)):
        raise DataError(f"--retry-prefix: {why}; leave it out")
    workers = workers_from(cluster, model, local, say)
    loaded = loaded and untaught(local, loaded, say)
    check_no_leak(local.taught, [row.question for row in rows])
    prior = measured.profile_for(local.identity) if measured else None

    # torch comes with these, and a mistake in the data need not wait for it
    from guardrail.evaluation.assess import outcomes
    from guardrail.evaluation.assess_claims import claim_outcomes
    from guardrail.evaluation.begun import fit_begun
    from guardrail.evaluation.controls import TextReader, grader_errors
    from guardrail.evaluation.familiar import familiar_with, with_states
    from guardrail.evaluation.fit import Study, fit_probe, fit_profile, fit_scorer, fit_stacked
    from guardrail.evaluation.with_evidence import Judged, fit_with_evidence
    from guardrail.model.question_states import middle_layer
    from guardrail.runs.asking import Asking, RunOptions
    from guardrail.runs.cache import RecordCache
    from guardrail.runs.collect import collect
    from guardrail.runs.progress import counter
    from guardrail.runs.scorer_pass import ScorerPass
    from guardrail.runs.scores import claim_readings_of, readings_of
    from guardrail.scoring.readers import states_read

    asking = Asking(prompt, system, max_new_tokens or LONGEST[unit])
    others = others_of(local, scorer, [name for name in weigh if name != PROBE], asking, samples, compared)
    scorers = ScorerPass(others)
    options = RunOptions(file, resume, cache, batch_size, counter("questions answered", say), workers)
    if loaded is None:
        from guardrail.claims.sentences import SentenceClaims
        from guardrail.runs.collect_claims import collect_claims, identity_of

        extractor = SentenceClaims()
        claims = collect_claims(local, rows, extractor, asking, options, scorers=scorers)
        for name in others:
            claims = claims.scored_by(name)
        study = Study(
            local, asking, [row.question for row in rows], claim_data_hash(rows), "facts", command, claims.left_out,
            extractor=identity_of(extractor),
            familiar=familiar_with(local, asking, claims.records, claims.groups.tolist(), {}),
            generation=thinking_of([bool(claims.records[i].get("thinking")) for i in claims.groups.tolist()]),
        )  # fmt: skip
        sample, readings = claims.sample, claim_readings_of(claims, asking)
        whole = _at(prior, claims.whole_sample) if len(claims.claims) else None
    else:
        chosen.load()
        answers = collect(local, loaded.rows, chosen, asking, options, scorers=scorers, labels=by_hand)
        grading, ungraded = answers.grading, len(loaded.rows) - len(answers.records) - answers.lost
        say_data(say, loaded, grading)
        for name in others:
            answers = answers.scored_by(name)
        if entry_of(scorer).fitting == "probe":
            answers = with_states(local, asking, answers)
        study = Study(
            local, asking, texts_of(loaded.rows), data_hash(loaded.rows), chosen.name, command,
            {"unscored": len(answers.records) - len(answers.scored), "ungraded": ungraded}
            | ({"lost": answers.lost} if answers.lost else {}),
            source=loaded.source, grading=grading.to_dict() if grading else None,
            familiar=familiar_with(local, asking, answers.records, answers.scored.tolist(), _kinds(loaded.rows)),
            generation=thinking_of([bool(answers.records[i].get("thinking")) for i in answers.scored.tolist()]),
        )  # fmt: skip
        sample, readings, whole = answers.sample, readings_of(answers, asking), None
    say("choosing the profile by cross-validation and fitting")
    fitting = entry_of(scorer).fitting
    if fitting == "profile":
        fitted = fit_profile(study, _at(prior, sample), prior=prior, choosing=not paper, whole=whole)
    elif fitting == "weights":
        weighed = {name: dict(other.options) for name, other in others.items()}
        rivals = asked is not None
        if probed := PROBE in weigh:
            states_read(readings, PROBE, middle_layer(local))  # refuses records without states
        fitted = fit_stacked(study, sample, readings, scorer, weighed=weighed, probe=probed, rivals=rivals, whole=whole)
    elif fitting == "probe":
        fitted = fit_probe(study, sample, readings, scorer)
    else:
        fitted = fit_scorer(study, sample, readings, scorer, others[scorer].options)
    with RecordCache() if cache else nullcontext() as records:
        reader, p = TextReader(records, say), fitted.p_correct
        if loaded is None:
            fitted = replace(fitted, controls=reader.of_claims(claims, 1 - p, seed=study.seed))
        else:
            errors = grader_errors(grading, p, sample.correct)
            fitted = replace(fitted, controls=reader.of_answers(answers, 1 - p, seed=study.seed), label_errors=errors)
        if searched is not None and loaded is not None:
            say("asking again with passages")
            without = Judged.of(answers, p.tolist())
            again = searched.asked(local, loaded.rows, chosen, asking, options)
            calibrator, told = fit_with_evidence(
                fitted.calibrator, without, again, asking, searched.source, reader=reader
            )
            fitted = replace(fitted, calibrator=calibrator, evidence=told)
        if retry_prefix is not None and loaded is not None:
            say("asking again with the beginning of the reply given")
            beginning = retry_prefix.strip()
            how, apart = replace(asking, prefix=beginning), options.beside("begun")
            begun = collect(local, loaded.rows, chosen, how, apart, scorers=scorers)
            fitted = replace(fitted, calibrator=fit_begun(fitted.calibrator, begun, beginning, seed=study.seed))
    if written is not None:
        fitted.calibrator.save(written)
    shipped = shipped_policies(unit)
    done = outcomes(shipped, p, answers) if loaded else claim_outcomes(shipped, p, claims)
    return replace(fitted, policies=done)


def _kinds(rows: Sequence[QuestionRow]) -> dict[str, str]:
    """What kind a question is of, where the rows say so."""
    return {row.question: str(row.extra["kind"]) for row in rows if row.extra.get("kind")}


def _at(prior: Profile | None, sample: Sample) -> Sample:
    """With an SPS profile, only its token is to choose from."""
    return sample.at(prior.token) if prior and len(sample.correct) else sample


def _measured(path: Path, prompt: str, system: str | None) -> SpsProfile:
    """Raises `DataError` for a profile that was measured with another prompt: its token is another one there."""
    found = SpsProfile.load(path)
    if (found.prompt, found.system) != (prompt, system):
        raise DataError(
            f"{path} was measured with the prompt {found.prompt!r} and the system message {found.system!r}, not with those of "
            "this calibration; give the same --prompt and --system to both"
        )
    return found
