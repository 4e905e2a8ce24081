"""`guardrail distill`: see `guardrail.distillation.distill`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from guardrail.cli import options
from guardrail.distillation.settings import Objective, Teacher


def distill(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="Rows of `question` and `answers` (accepted forms), .jsonl, .csv or .tsv, or hub:NAME@SPLIT. 'bundled': the "
            "bundled calibration questions.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where to write the adapter.")],
    model: options.Model = options.DEFAULT_MODEL,
    teacher: Annotated[
        Teacher,
        typer.Option(
            help="Who says how sure the model is. sampling: how often its samples say the same. hybridgrad: the calibrated "
            "confidence of its greedy answer, from one pass. labels: nobody; right or wrong alone."
        ),
    ] = "sampling",
    turn: Annotated[
        Literal["after", "same"] | None,
        typer.Option(
            help="after: the confidence is a turn of its own, and the answers stay the base model's. same: it ends the answer, "
            "as in the paper. Default: the wording's, else after."
        ),
    ] = None,
    wording: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.yaml",
            help="What is said, and how it is asked for: any of turn, labels (least confident first; one a bin), question, "
            "suffix and instruction. Default: five labels.",
        ),
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=2, help="Samples a question, for the sampling teacher. Default: 20.")
    ] = None,
    temperature: Annotated[float | None, typer.Option(min=0, help="Of the samples. Default: 1.")] = None,
    equivalence: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="When samples say the same: normalised (the default), embedding, nli:MODEL, or judge:MODEL, a language model "
            "(PROVIDER:MODEL or local:SPEC), which is asked twice a pair.",
        ),
    ] = None,
    shares: Annotated[
        Literal["isotonic", "temperature", "none"] | None,
        typer.Option(help="How shares of samples become probabilities. Default: isotonic where their ECE asks for it."),
    ] = None,
    wrong_per_question: Annotated[
        int, typer.Option(min=0, metavar="K", help="Learn at most K wrong answers a question.")
    ] = 1,
    objective: Annotated[
        Objective | None,
        typer.Option(
            help="What is learnt; y is the teacher's probability, or right or wrong. likelihood: to reply with the label of "
            "y's bin. brier, log-score: that the mean of what is stated is y. soft-labels: the two labels next to y. "
            "ranking: to be surer of the likelier answer. rlcr: the reward right minus Brier. The scorer alone reads these. "
            "epicar: own right answers, and the highest or lowest label behind right and wrong ones (--teacher labels --turn "
            "same). Default: likelihood; for --teacher labels: brier."
        ),
    ] = None,
    answers_from: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help="For --objective epicar: learn the answers of this adapter, of the round before."
        ),
    ] = None,
    epochs: Annotated[float | None, typer.Option(min=0, help="How often each answer is learnt. Default: 2.")] = None,
    learning_rate: Annotated[float, typer.Option(min=0, help="At the start; it falls to 0.")] = 3e-4,
    rank: Annotated[int, typer.Option(min=1, help="Of the LoRA adapter.")] = 8,
    batch_size: Annotated[int, typer.Option(min=1, help="Answers a training step.")] = 8,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="A trial of minutes, which teaches little: --limit 120 --epochs 1, and --samples 5, where not given.",
        ),
    ] = False,
    until: Annotated[
        Literal["sample", "annotate", "train"], typer.Option(help="The last stage to do; --resume goes on from it.")
    ] = "train",
    seed: Annotated[int, typer.Option(help="Of samples and training.")] = 0,
    grader: Annotated[str | None, typer.Option(metavar="KIND", help=options.GRADER_HELP)] = None,
    limit: options.Limit = None,
    resume: options.Resume = False,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 64,
    prompt: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="How to ask; {question} is filled in. Default: for a few words."),
    ] = None,
    system: options.System = None,
    cache: options.Cache = True,
    chat_template: options.ChatTemplate = None,
    chat_template_kwargs: options.TemplateSwitches = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
) -> None:
    """Teach a model to state its own confidence, in three stages: sample, annotate, train (extra `distill`).

    DIR is then a model: `guardrail calibrate OTHER.jsonl --model DIR --scorer verbalized` makes what it states a probability.
    Stopped at any moment, `--resume` goes on where it was (docs/how-to/distill.md).
    """
    from guardrail.cli import runtime
    from guardrail.distillation.distill import distill as run_distill
    from guardrail.distillation.settings import Training
    from guardrail.runs.prompts import DIRECT
    from guardrail.stated import Wording

    if quick:
        limit, epochs = limit or 120, 1.0 if epochs is None else epochs
        samples = 5 if samples is None and teacher == "sampling" else samples
    done = run_distill(
        lambda: runtime.load(model, device, dtype, chat_template, chat_template_kwargs),
        data,
        output,
        teacher=teacher,
        turn=turn,
        wording=None if wording is None else Wording.load(wording),
        samples=samples,
        temperature=temperature,
        equivalence=equivalence,
        chosen=shares,
        wrong_per_question=wrong_per_question,
        objective=objective,
        answers_from=None
        if answers_from is None
        else lambda: runtime.load(answers_from, device, dtype, chat_template, chat_template_kwargs),
        grader=grader,
        limit=limit,
        prompt=DIRECT if prompt is None else prompt,
        system=system,
        max_new_tokens=max_new_tokens,
        training=Training(2.0 if epochs is None else epochs, batch_size, learning_rate, rank, seed),
        until=until,
        seed=seed,
        resume=resume,
        cache=cache,
        command=runtime.command(),
        progress=runtime.say,
    )
    console = runtime.console()
    if done.stage == "train":
        console.print(f"{output}: an adapter of {model} that states its confidence (last loss {done.loss:.3f})")
        console.print(
            f"next: guardrail calibrate OTHER.jsonl --model {output} --scorer verbalized -o calibrator.json",
            style="dim",
        )
    else:
        console.print(f"{output}: done up to {done.stage}; --resume goes on")
