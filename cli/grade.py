"""`guardrail grade`: graders against each other on a run's answers, and against people on answers that they judged."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from guardrail.cli import options
from guardrail.json_text import dumps_for


def grade(
    answers: Annotated[
        str,
        typer.Argument(
            metavar="RUN|LABELLED",
            help="A run of calibrate, evaluate or tune; or labelled answers: rows of `question`, `accepted`, `answer`, "
            "`correct`, or rows of data with `labels`.",
        ),
    ],
    grader: Annotated[
        list[str] | None, typer.Option("--grader", metavar="KIND", help=f"Repeatable: {options.GRADER_HELP}")
    ] = None,
    labels: options.Labels = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write what the graders disagree on, for a person to fill in."
        ),
    ] = None,
    show: Annotated[int, typer.Option(min=0, help="Show so many of the answers that they disagree on.")] = 20,
    as_json: options.Json = False,
) -> None:
    """How far graders agree, and how often each is wrong by the judgement of people.

    The rows that -o writes have `correct: null`. Fill it in with true or false, then give the file with --labels, here or to
    calibrate, tune and evaluate: a person's label wins over every grader.
    """
    from guardrail.errors import DataError
    from guardrail.files import write_whole
    from guardrail.grading import get_grader
    from guardrail.grading.agreement import agreement, rates
    from guardrail.grading.answer_files import disagreements, load_answers, to_label
    from guardrail.grading.hand_labels import HandLabels, load_hand_labels

    chosen = {g.name: g for g in map(get_grader, grader or ["alias"])}
    if output is not None and (output.exists() or not output.parent.is_dir()):
        what = "exists, and there may be work in it" if output.exists() else "is in a folder that does not exist"
        raise DataError(f"{output} {what}; give another file")
    loaded = load_answers(answers)
    given = (*loaded.labels, *(load_hand_labels(labels) if labels else ()))
    known = HandLabels(given)
    if len(chosen) < 2 and not len(known):
        raise DataError(
            f"{answers} has no labels, so one grader has nothing to be held against; give two, or --labels FILE"
        )
    from guardrail.cli import graded, runtime

    runtime.quiet_libraries()
    for one in chosen.values():
        one.load()
    graders, lists = {}, {}
    for name, one in chosen.items():
        runtime.say(f"grading {len(loaded.rows)} answers: {name}")
        graders[name] = one.grade(loaded.rows)
        lists[name] = one.lists
    names = list(chosen)
    truth = [known.of(row.question, row.answer) for row in loaded.rows]
    judged = [i for i, said in enumerate(truth) if said is not None]
    if labels and not judged:
        raise DataError(f"none of the {len(known)} labelled answers is among the {len(loaded.rows)} of {answers}")
    differing = disagreements(graders)
    found = graded.Found(
        answers=loaded.rows,
        grades=graders,
        ungraded={name: dict(one.ungraded) for name, one in chosen.items()},
        agreements=[agreement(a, graders[a], b, graders[b]) for i, a in enumerate(names) for b in names[i + 1 :]],
        rates=[rates(n, [graders[n][i] for i in judged], [truth[i] is True for i in judged]) for n in names]
        if judged
        else [],
        differing=differing,
        picked=any(label.picked for label in given),
        lists=lists,
    )
    written = None
    if output is not None:
        text = to_label(loaded.rows, differing, graders, known)
        written = text.count("\n")
        if text:
            write_whole(output, text, "the answers to label", DataError)
    if as_json:
        options_of = {name: dict(one.options) for name, one in chosen.items()}
        shown = {"kind": "guardrail grades", "version": 1, "answers": answers, **found.to_dict(options_of)}
        typer.echo(dumps_for(sys.stdout, shown))
    else:
        graded.show(runtime.console(), found, show)
    if written is not None:
        runtime.say(
            f"{written} answers to label written to {output}"
            if written
            else "nothing is left to label, so no file is written"
        )
