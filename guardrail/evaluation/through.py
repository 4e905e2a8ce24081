"""`guardrail.calibrate_chain`, `guardrail.evaluate_chain`: a user's own chain asks the questions, whatever it makes of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guardrail.datasets.questions import check_no_leak, data_hash, load_data, texts_of
from guardrail.errors import DataError
from guardrail.evaluation.setting import (
    StrPath,
    Subject,
    calibrator_from,
    check_output,
    fitted,
    grader_from,
    policy_from,
    refuse_claims,
    say_data,
    shipped_policies,
    silent,
)
from guardrail.grading import get_grader
from guardrail.grading.hand_labels import hand_labels
from guardrail.policy import check_proof
from guardrail.scoring.registry import CONTENDER, DEFAULT

if TYPE_CHECKING:
    from guardrail.calibration.isotonic import IsotonicCalibrator
    from guardrail.evaluation.assess import Assessment
    from guardrail.evaluation.fit import Fit
    from guardrail.grading import Grader
    from guardrail.policy import Policy
    from guardrail.runs.chains import Chain
    from guardrail.runs.progress import Say

_SCORERS = (CONTENDER, DEFAULT)


def calibrate_chain(
    chain: Callable[..., Any] | Any,
    data: StrPath,
    output: StrPath | None = None,
    *,
    scorer: str | None = None,
    grader: Grader | str | None = None,
    labels: StrPath | None = None,
    limit: int | None = None,
    resume: bool = False,
    run: StrPath | None = None,
    cache: bool = True,
    command: str = "guardrail.calibrate_chain",
    progress: Say | None = None,
) -> Fit:
    """Put every question to a chain, grade what it returns, and fit a curve for each kind of conversation that it had.

        chain = prompt | ChatGuarded(model="smollm2-135m", policy="observe") | StrOutputParser()
        fit = guardrail.calibrate_chain(chain, "questions.jsonl", "calibrator.json")
        fit.calibrator.contexts["system"].metrics["ece"]

    While it runs, guards hold nothing back, and tell their observers nothing. Of several answers that the model gives to one
    question, the last one that the returned text holds is graded: the question that a chain rewrites for itself is none. A
    model's `ask_first` searches as ever; its `retrieve` rules do not look anything up here: `guardrail.calibrate` with a
    retriever is for that.

    Args:
        chain: A LangChain runnable, an agent, or a function: it is given a question, or the messages of a row, and returns an
            answer. It asks one guarded model, in the thread that calls it or in one that has its context. Or its name,
            `FILE.py:NAME`; then guards that are built in the file need no calibrator, and read none but that of questions.
        data: Rows of `question`, or `messages` that end with the user's, and `answers`; .jsonl, .csv, .tsv, `hub:NAME@SPLIT`,
            or "bundled".
        output: Where the calibrator is written; None writes nothing.
        scorer: "hybridgrad" or "stacked"; None takes the stacked score if it ranks better by more than chance.
        grader: What says whether an answer is right; None is "alias".
        labels: A file of answers that people graded; they win over the grader.
        limit: Use at most so many questions.
        resume: Go on with a run that was stopped.
        run: The run's file; None is OUTPUT.run.jsonl, and without an output keeps everything in memory.
        cache: Look answers up in the user's cache folder, and keep them there: of a chain that is given by name, for as long as
            its file and the modules beside it stay as they are.
        command: What the calibrator says it was made by.
        progress: Called with one line before each slow step.

    Returns:
        The calibrator, with a curve for every context that has 30 answers, 5 right and 5 wrong, and the evidence for it.

    Raises:
        DataError: For data, files or a chain that cannot be used: one that asks no guarded model, or two.
        CalibrationError: For too few answers, or too few right or wrong ones.
    """
    say = progress or silent
    if scorer not in (None, *_SCORERS):
        raise DataError(f"--scorer {scorer} is not for chains; give {' or '.join(_SCORERS)}, or leave it out")
    chosen, loaded = (
        grader_from(grader) or get_grader("alias"),
        load_data(os.fspath(data), "calibration", limit, conversations=True),
    )
    by_hand = hand_labels(loaded.rows, labels)
    written, file = (None if path is None else Path(path) for path in (output, run))
    if written is not None:
        check_output(written, "the calibrator")
        file = file or written.with_name(written.name + ".run.jsonl")
        if len({path.resolve() for path in (Path(data), written, file)}) < 3:
            raise DataError("the data, the output and the run must be three files")
    if resume and file is None:
        raise DataError("--resume needs --run FILE or --output FILE, which say what to go on with")
    asked = chain_to_ask(chain, say)

    # torch comes with these
    from guardrail.evaluation.assess import outcomes
    from guardrail.evaluation.controls import TextReader, grader_errors
    from guardrail.evaluation.familiar import familiar_with
    from guardrail.evaluation.fit import Study, fit_profile, fit_stacked
    from guardrail.evaluation.fit_contexts import fit_contexts
    from guardrail.runs.asking import RunOptions
    from guardrail.runs.cache import RecordCache
    from guardrail.runs.progress import counter
    from guardrail.runs.scores import readings_of
    from guardrail.runs.through import collect_through

    chosen.load()
    options = RunOptions(file, resume, cache, 1, counter("questions answered", say))
    found = collect_through(asked, loaded.rows, chosen, options, labels=by_hand)
    check_no_leak(found.local.taught, texts_of(loaded.rows))
    answers, grading = found.answers, found.answers.grading
    say_data(say, loaded, grading)
    ungraded = len(loaded.rows) - len(answers.records) - sum(found.left_out.values())
    first: dict[str, int] = {}  # the same follow-up is asked in many conversations, and is one question to compare with
    of = [first.setdefault(answers.records[i]["asked"], i) for i in answers.scored.tolist()]
    kinds = {row.question: str(row.extra["kind"]) for row in loaded.rows if row.extra.get("kind")}
    study = Study(
        found.local, found.asking, texts_of(loaded.rows), data_hash(loaded.rows), chosen.name, command,
        {"unscored": len(answers.records) - len(answers.scored), "ungraded": ungraded, **found.left_out},
        source={**loaded.source, "through": asked.name}, grading=grading.to_dict() if grading else None,
        familiar=familiar_with(found.local, found.asking, answers.records, of, kinds),
    )  # fmt: skip
    say("choosing the profile by cross-validation and fitting")
    readings = readings_of(answers, found.asking)
    if scorer == DEFAULT:
        fit = fit_profile(study, answers.sample)
    else:
        fit = fit_stacked(study, answers.sample, readings, CONTENDER, rivals=scorer is not None)
    fit = fit_contexts(fit, answers, readings)
    with RecordCache() if cache else nullcontext() as records:
        controls = TextReader(records, say).of_answers(answers, 1 - fit.p_correct, seed=study.seed)
    errors = grader_errors(grading, fit.p_correct, answers.sample.correct)
    fit = replace(fit, controls=controls, label_errors=errors)
    if written is not None:
        fit.calibrator.save(written)
    return replace(fit, policies=outcomes(shipped_policies("answer"), fit.p_correct, answers))


def evaluate_chain(
    chain: Callable[..., Any] | Any,
    data: StrPath,
    calibrator: IsotonicCalibrator | StrPath | None = None,
    policies: Sequence[Policy | StrPath] | None = None,
    *,
    grader: Grader | str | None = None,
    labels: StrPath | None = None,
    limit: int | None = None,
    run: StrPath | None = None,
    resume: bool = False,
    cache: bool = True,
    progress: Say | None = None,
) -> Assessment:
    """Measure a calibrator on what a chain answers to questions it has not seen, and what policies would have done.

    Args:
        chain: As in `calibrate_chain`.
        data: As there; "bundled" are the held-out questions.
        calibrator: A calibrator, its file or its `shipped:NAME`; None takes the one shipped for the chain's model.
        policies: Policies, their names or files; None takes all shipped ones that can be measured on answers.
        grader: What says whether an answer is right; None takes the calibrator's.
        labels: A file of answers that people graded; they win over the grader.
        limit: Use at most so many questions.
        run: A file that keeps the answers, so that `resume` can go on with them.
        resume: Go on with the run file.
        cache: As in `calibrate_chain`.
        progress: Called with one line before each slow step.

    Returns:
        The figures of `guardrail.evaluate`; `ece_calibrated` is of what would be called calibrated.

    Raises:
        DataError: As `calibrate_chain`, and for questions of the calibration.
        CalibrationError: For no calibrator, or none that the answers say anything about.
        CalibratorMismatchError: For a calibrator of another model, or a policy tuned with another calibrator.
        PolicyError: For a policy that cannot be read.
    """
    say = progress or silent
    if resume and run is None:
        raise DataError("--resume needs --run FILE, the file to go on with")
    wanted, source = grader_from(grader), os.fspath(data)
    tried = shipped_policies("answer") if policies is None else [policy_from(policy) for policy in policies]
    refuse_claims(tried, "give a policy for whole answers")
    questions = load_data(source, "heldout", limit, conversations=True)
    by_hand, given = hand_labels(questions.rows, labels), calibrator_from(calibrator)
    if given is not None:
        check_no_leak(given.provenance.questions if given.provenance else (), texts_of(questions.rows))
    asked = chain_to_ask(chain, say)

    from guardrail.evaluation.assess import assess
    from guardrail.evaluation.controls import TextReader
    from guardrail.evaluation.familiar import told_apart
    from guardrail.runs.asking import RunOptions
    from guardrail.runs.cache import RecordCache
    from guardrail.runs.progress import counter
    from guardrail.runs.through import collect_through

    chosen = wanted or get_grader(given.provenance.grader if given and given.provenance else "alias")
    chosen.load()
    options = RunOptions(Path(run) if run is not None else None, resume, cache, 1, counter("questions answered", say))
    found = collect_through(asked, questions.rows, chosen, options, labels=by_hand)
    use = fitted(found.local, "answer", given, "no calibrator of answers is shipped", through=True)
    for policy in tried:
        check_proof(policy.proof, policy.name, use.calibrator, use.name)
    check_no_leak({*use.origin.questions, *found.local.taught}, texts_of(questions.rows))
    say_data(say, questions, found.answers.grading)
    say_left_out(say, found.left_out)
    told = told_apart(found.local, use.calibrator, found.answers)
    with RecordCache() if cache else nullcontext() as records:
        result = assess(use.calibrator, told, tried, reader=TextReader(records, say))
    return replace(result, subject=Subject(found.local.name, use.name, source, grading=found.answers.grading))


def chain_to_ask(given: Any, say: Say) -> Chain:
    """The chain; where it is given by name, its guards are built without a calibrator. Raises `DataError` as `chain_of`."""
    from guardrail.pipeline.collecting import Collector, collecting_in
    from guardrail.runs.chains import chain_of
    from guardrail.runs.collect import kept_for

    if isinstance(given, str):
        say(f"loading {given}")
    with collecting_in(Collector(kept_for)):
        return chain_of(given)


def say_left_out(say: Say, left_out: Mapping[str, int]) -> None:
    """Which rows of a chain are in no figure."""
    for why, n in left_out.items():
        say(f"{n} left out: {why}")
