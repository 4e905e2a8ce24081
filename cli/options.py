"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from guardrail.model.spec import DEFAULT_MODEL

Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="SPEC",
        help="Alias, folder, .gguf file or hub id of a chat model, or openai:URL#NAME behind an endpoint.",
    ),
]
ScoreWith = Annotated[
    str | None,
    typer.Option(
        "--score-with",
        metavar="SPEC",
        help="With a model behind an endpoint: a copy of its weights, loaded here, that reads its answers and scores them. "
        "--device, --dtype and the template are the copy's.",
    ),
]
ChatTemplate = Annotated[
    Path | None,
    typer.Option("--chat-template", metavar="FILE", help="Jinja chat template that replaces the model's own."),
]
TemplateSwitches = Annotated[
    str | None,
    typer.Option(
        "--chat-template-kwargs",
        metavar="JSON",
        help="What the template takes beside the messages: '{\"enable_thinking\": false}'.",
    ),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, mps or auto. Default: the best one here.")]
Dtype = Annotated[str | None, typer.Option(help="float32, bfloat16 or float16. Default: float32 on the CPU.")]
Calibrator = Annotated[
    Path | None,
    typer.Option(
        "--calibrator",
        "-c",
        metavar="FILE|shipped:NAME",
        help="From `guardrail calibrate`. Default: the one shipped for the model.",
    ),
]
EscalateTo = Annotated[
    str | None,
    typer.Option(
        "--escalate-to", metavar="SPEC", help="The second model, as for --model, for a policy that says escalate."
    ),
]
EscalateCalibrator = Annotated[
    Path | None,
    typer.Option(metavar="FILE|shipped:NAME", help="The second model's calibrator. Default: the one shipped for it."),
]
GRADER_HELP = (
    "alias (default), exact, f1, semantic[:MODEL][@THRESHOLD], bem[:MODEL][@THRESHOLD], judge:PROVIDER:MODEL or "
    "judge:local:MODEL"
)
Grader = Annotated[str | None, typer.Option(metavar="KIND", help="Default: the calibrator's. " + GRADER_HELP)]
Labels = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        metavar="FILE",
        help="Answers that a person judged: rows of `question`, `answer`, `correct`. They win over the grader.",
    ),
]
Through = Annotated[
    str | None,
    typer.Option(
        metavar="FILE.py:NAME",
        help="Put every question to this chain: a LangChain runnable, an agent or a function that asks a guarded model. "
        "Guards that the file builds need no calibrator. Rows may have `messages` in place of `question`.",
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit", min=1, help="Use at most N questions, drawn at random: in every command the same.", metavar="N"
    ),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with a run that was stopped, or use a finished one again.")
]
Run = Annotated[Path | None, typer.Option(metavar="FILE", help="The run's file. Default: OUTPUT.run.jsonl.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Questions answered together.")]
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="[ADDRESS]",
        help="Work on Ray: by itself or with local it is started here, auto or HOST:PORT joins a cluster.",
    ),
]


class RayCommand(TyperCommand):
    """Takes `--ray` also without an address, last or before another option: Ray is then started here."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As usual; typer itself knows no option with a value that may be left out."""
        end = args.index("--") if "--" in args else len(args)
        bare = [i for i in range(end) if args[i] == "--ray" and (i + 1 == len(args) or args[i + 1].startswith("-"))]
        for i in reversed(bare):
            args = [*args[: i + 1], "local", *args[i + 1 :]]
        return super().parse_args(ctx, args)


WorkerCount = Annotated[
    int | None, typer.Option("--workers", min=1, help="With --ray: processes, each with the model. Default: 2.")
]
WorkerCpus = Annotated[
    int | None, typer.Option("--worker-cpus", min=1, help="With --ray: threads of each. Default: 1.")
]
WorkerGpus = Annotated[
    float | None,
    typer.Option("--worker-gpus", min=0, help="With --ray: GPUs of each, 0.5 say for half a one. Default: 0."),
]
System = Annotated[str | None, typer.Option(metavar="TEXT", help="System message.")]
Log = Annotated[
    str,
    typer.Argument(
        metavar="LOG.jsonl",
        help="Verdicts, one a line, as `guardrail ask --log` and VerdictLog write them; - reads stdin.",
    ),
]
LogCalibrator = Annotated[
    str,
    typer.Option("--calibrator", "-c", metavar="FILE|shipped:NAME", help="The one that the verdicts were made with."),
]
Last = Annotated[int | None, typer.Option(min=1, help="Use at most N lines, the last ones.")]
Since = Annotated[
    str | None, typer.Option(metavar="DATE", help="Use only lines from then on; without an offset in UTC.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else on stdout.")]

Samples = Annotated[
    int | None,
    typer.Option(
        "--samples", min=1, help="Samples a question, for scorers that draw them. Default: the paper's, 10 or 5."
    ),
]
Equivalence = Annotated[
    str | None,
    typer.Option(
        "--equivalence",
        metavar="KIND",
        help="When two texts say the same, for scorers that compare some: embedding or nli:MODEL, a cross-encoder (a folder or "
        "hub id). Default: the scorer's own.",
    ),
]
Passages = Annotated[int, typer.Option("--passages", min=1, help="With --retriever: the most passages of one search.")]
AskAgain = Annotated[
    int,
    typer.Option("--ask-again", metavar="N", min=1, help="With --retriever: ask at most N of the questions again."),
]
Cache = Annotated[
    bool,
    typer.Option(
        "--cache/--no-cache", help="Keep answers in the user's cache folder, and never make the same one twice."
    ),
]
Unit = Annotated[
    Literal["answer", "claim"],
    typer.Option("--unit", help="What one probability is about: a whole answer, or each claim of it."),
]

__all__ = ["DEFAULT_MODEL"]
