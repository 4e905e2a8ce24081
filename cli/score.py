"""`guardrail score`: scores for answers that exist already."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from guardrail.cli import options
from guardrail.errors import DataError

if TYPE_CHECKING:
    from guardrail.evaluation.score_rows import Numbered, Status
    from guardrail.scoring.protocol import Scorer


def score(
    source: Annotated[
        str, typer.Argument(metavar="IN.jsonl", help="Rows of `messages` (or `prompt`) and `response`; - is stdin.")
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="OUT.jsonl", help="Where to write; - is stdout.")
    ] = "-",
    model: options.Model = options.DEFAULT_MODEL,
    calibrator: options.Calibrator = None,
    paper: Annotated[
        bool, typer.Option("--paper", help="Eq. 6 at the template's token, whatever a calibrator says.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Answers scored together.")] = 8,
    chat_template: options.ChatTemplate = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
) -> None:
    """Add a HybridGrad score to each row. A bad row gets `error` and its line number, and the exit code is 1."""
    from guardrail.calibration.shipped import load_calibrator

    if source != "-" and not Path(source).is_file():
        raise DataError(f"there is no file {source!r}")
    if source != "-" and output != "-" and Path(output).exists() and Path(source).samefile(output):
        raise DataError(f"{output!r} is the input; give another output file")
    if output != "-" and (not Path(output).parent.is_dir() or Path(output).is_dir()):
        raise DataError(f"cannot write {output!r}: give a file in a folder that exists")
    fitted = load_calibrator(calibrator) if calibrator else None
    from guardrail.cli import runtime

    local = runtime.load(model, device, dtype, chat_template)
    from guardrail.evaluation.score_rows import score_rows
    from guardrail.guard import Guard
    from guardrail.scoring.hybridgrad import HybridGradScorer

    scorer: Scorer
    if paper:
        scorer = HybridGradScorer(local)
    else:
        scorer = Guard(model=local, policy="observe", calibrator=fitted, calibrator_name=str(calibrator)).scorer
    counts: Counter[Status] = Counter()
    with _writer(output) as out:
        for row, status in score_rows(local, scorer, _rows(source), batch_size):
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
            if output == "-":
                out.flush()
            counts[status] += 1
            if counts.total() % 200 == 0:
                runtime.say(f"{counts.total()} rows")
    runtime.say(
        f"{counts.total()} rows: {counts['scored']} scored, {counts['unscored']} unscored, {counts['failed']} failed"
    )
    if counts["failed"]:
        raise DataError(
            f"{counts['failed']} of {counts.total()} rows could not be scored; each has `error` and `line` in the output"
        )


def _rows(source: str) -> Iterator[Numbered]:
    """Parsed rows; a line that cannot be parsed comes as its error, so that the others go on."""
    from guardrail.datasets.questions import numbered_lines, parse_object

    for number, line, where in numbered_lines(source):
        try:
            yield number, parse_object(line, where)
        except DataError as error:
            yield number, error


@contextmanager
def _writer(output: str) -> Iterator[IO[str]]:
    """stdout, or a file that appears under its name when it is complete; what is done of it stays if it is not."""
    if output == "-":
        yield sys.stdout
        return
    target = Path(output).resolve()  # a link stays a link
    if target.exists() and not target.is_file():  # a pipe or a device is written to, not replaced
        with target.open("w", encoding="utf-8") as file:
            yield file
        return
    partial = target.with_name(f"{target.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        try:
            yield file
        except BaseException:
            print(f"stopped; the rows that were done are in {partial}", file=sys.stderr)
            raise
    partial.replace(target)
