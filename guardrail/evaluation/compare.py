"""`guardrail.bench`: every scorer side by side, on the same answers."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.shipped import load_calibrator
from guardrail.datasets.questions import check_no_leak, data_hash, load_questions_from
from guardrail.errors import DataError
from guardrail.evaluation.setting import (
    ModelSource,
    StrPath,
    asks_question,
    check_apart,
    check_costs,
    equivalence_given,
    fitted,
    grader_from,
    model_from,
    run_file,
    silent,
    workers_from,
)
from guardrail.files import write_whole
from guardrail.grading import get_grader
from guardrail.runs.prompts import DIRECT, LONGEST
from guardrail.scoring.registry import able_for, check_names, comparable

if TYPE_CHECKING:
    from guardrail.evaluation.bench import Bench
    from guardrail.grading import Grader
    from guardrail.runs.cluster import Cluster
    from guardrail.runs.progress import Say


def bench(
    model: ModelSource,
    data: StrPath,
    scorers: Sequence[str] | str = "all",
    *,
    output: StrPath | None = None,
    table: StrPath | None = None,
    calibrator: IsotonicCalibrator | StrPath | Sequence[IsotonicCalibrator | StrPath] | None = None,
    grader: Grader | str | None = None,
    limit: int | None = None,
    resume: bool = False,
    run: StrPath | None = None,
    samples: int | None = None,
    equivalence: str | None = None,
    max_new_tokens: int | None = None,
    prompt: str | None = None,
    system: str | None = None,
    escalate_to: ModelSource | None = None,
    cost_per_call: float = 0.0,
    cost_of_second: float = 1.0,
    command: str = "guardrail.bench",
    cluster: Cluster | None = None,
    progress: Say | None = None,
) -> Bench:
    """AUROC, AURC and PRR of each scorer, its difference from HybridGrad, its time and its memory.

        found = guardrail.bench("smollm2-135m", "bundled", ["g-nll", "sar"])
        found.best.name, found.row("sar").auroc

    One answer is made at a time, so that the times are those of a scorer alone.

    Args:
        model: A model, a spec as `load_model` takes it, or a function that loads one. It is loaded after everything else
            was checked.
        data: A file of questions with accepted answers; "bundled": the bundled held-out questions.
        scorers: Names, or "all"; HybridGrad is always there.
        output: Where to write the figures, as JSON.
        table: Where to write the table, as Markdown.
        calibrator: A calibrator, its file or its `shipped:NAME`, or several: the scorer of each, with the options it was
            fitted with, gets a row of its own. Prompt, length and grader of the first are the default.
        grader: What says whether an answer is right; None takes the calibrator's, or else alias.
        limit: Use at most so many questions.
        resume: Go on with a run that was stopped.
        run: A file that keeps answers and scores; None is OUTPUT.run.jsonl, and no file without `output`.
        samples: Samples a question, for scorers that draw them; None is the number of their paper.
        equivalence: For scorers that compare texts, when two say the same: "embedding" or "nli:MODEL", a cross-encoder; None is
            each scorer's own default.
        max_new_tokens: Longest answer and sample, in tokens; None is the calibrator's, or else 64.
        prompt: How to ask, with {question}; None is the calibrator's, or else one that asks for a few words.
        system: A system message; None is the calibrator's.
        escalate_to: A second model that is asked every question too, in the same words: `cascade` then has the accuracy against
            the share that it is asked, least sure first. Its answers stand in RUN.second.
        cost_per_call: Of an answer of the first model, in whatever unit; at least 0.
        cost_of_second: Of an answer of the second one, in the same unit.
        command: How this was started, for the record.
        cluster: Workers that share the rows, in place of this process; the model is then given by name or by function.
        progress: Called with one line before each slow step.

    Returns:
        The figures; `to_dict()` is what `output` holds and `guardrail bench --json` prints.

    Raises:
        DataError: For data, names or files that cannot be used, and for questions of the calibration.
        ScoringError: For a scorer that does not exist.
        ClusterError: For workers that cannot be had, or die whatever they are given.
        CalibrationError: For too few right, or wrong, answers to compare anything.
    """
    say = progress or silent
    names = [name.strip() for name in scorers.split(",") if name.strip()] if isinstance(scorers, str) else list(scorers)
    if scorers == "all":
        names = comparable()
    check_names(names)
    check_costs(cost_per_call, cost_of_second)
    if not names:
        raise DataError("--scorers names none; give all, or names with commas between them")
    if prompt is not None:
        asks_question(prompt)
    source = os.fspath(data)
    figures, page = (None if path is None else Path(path) for path in (output, table))
    for path in (figures, page):
        if path is not None and (not path.parent.is_dir() or path.is_dir() or not path.name):
            raise DataError(f"cannot write {str(path)!r}: give a file in a folder that exists")
    file = run_file(run, figures, resume)
    several = _several(calibrator)
    fitted_in = [one for one in several if not isinstance(one, IsotonicCalibrator)]
    check_apart(
        "the data, the calibrator, the output, the table and the run must be different files",
        source,
        *fitted_in,
        figures,
        page,
        file,
        *([file.with_name(f"{file.name}.second")] if escalate_to is not None and file is not None else []),
    )
    questions = load_questions_from(source, "heldout", limit)
    given = [one if isinstance(one, IsotonicCalibrator) else load_calibrator(one) for one in several]
    for one in given:
        if one.provenance is not None:  # its row would flatter
            check_no_leak(one.provenance.questions, [q.question for q in questions])
    compared = equivalence_given(equivalence)
    local = model_from(model, say)
    workers = workers_from(cluster, model, local, say)
    check_no_leak(local.taught, [q.question for q in questions])
    second = None if escalate_to is None else model_from(escalate_to, say)
    if second is not None:
        check_no_leak(second.taught, [q.question for q in questions])

    # torch is needed from here on
    from guardrail.evaluation.bench import MEMORY_ANSWERS, BenchSubject, compare_scorers, contenders
    from guardrail.evaluation.bench_cascade import answers_of_second, measure_cascade
    from guardrail.evaluation.bench_text import markdown
    from guardrail.evaluation.controls import text_reader
    from guardrail.runs.asking import Asking, RunOptions
    from guardrail.runs.collect import collect
    from guardrail.runs.progress import counter
    from guardrail.runs.scorer_pass import ScorerPass, spread_out

    uses = [fitted(local, "answer", one, "no calibrator is given") for one in given]
    use = uses[0] if uses else None
    length = use.origin.max_new_tokens if use else None
    asking = Asking(
        prompt or (use.origin.prompt if use else DIRECT),
        system if system is not None else (use.origin.system if use else None),
        max_new_tokens or length or LONGEST["answer"],
    )
    chosen = grader_from(grader) or get_grader(use.origin.grader if use else "alias")
    if scorers == "all" and not local.has_weights:
        names = [name for name in names if name in able_for(local)]
    say(f"making {len(names)} scorers")
    made = contenders(
        local, names, asking, samples=samples, fitted_on=[one.scorer for one in uses], equivalence=compared
    )
    # a batch's time is no answer's, and what is killed loses one answer
    told = counter("questions answered and scored", say)
    options = RunOptions(file, resume, batch_size=1, progress=told, workers=workers)
    answers = collect(
        local,
        questions,
        chosen,
        asking,
        options,
        scorers=ScorerPass(made, spread_out([q.question for q in questions], MEMORY_ANSWERS)),
    )
    theirs = None
    if second is not None:
        say(f"asking {second.name}")
        theirs = answers_of_second(second, questions, chosen, asking, replace(options, workers=None, batch_size=16))
    say("comparing the scorers on 1,000 resamples")
    subject = BenchSubject(
        model=local.identity,
        data=source,
        data_hash=data_hash(questions),
        grader=chosen.name,
        asking=asking,
        command=command,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    with text_reader(say) as reader:
        found = replace(compare_scorers(answers, made, reader=reader), subject=subject)
        if theirs is not None and second is not None:
            worth = measure_cascade(
                answers,
                theirs,
                list(made),
                second.name,
                reader=reader,
                cost_per_call=cost_per_call,
                cost_of_second=cost_of_second,
            )
            found = replace(found, cascade=worth)
    if figures is not None:
        write_whole(figures, json.dumps(found.to_dict(), indent=1, allow_nan=False) + "\n", "the figures", DataError)
    if page is not None:
        write_whole(page, markdown(found, command), "the table", DataError)
    return found


def _several(
    calibrator: IsotonicCalibrator | StrPath | Sequence[IsotonicCalibrator | StrPath] | None,
) -> list[IsotonicCalibrator | StrPath]:
    if calibrator is None:
        return []
    one = isinstance(calibrator, IsotonicCalibrator | str | os.PathLike)
    return [cast("IsotonicCalibrator | StrPath", calibrator)] if one else [*cast("Sequence[StrPath]", calibrator)]
