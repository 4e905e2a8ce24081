"""`guardrail.score`: scores for answers that exist already."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from guardrail.datasets.parquet import check_parquet, is_parquet, read_parquet, write_parquet
from guardrail.datasets.questions import numbered_lines, parse_object
from guardrail.errors import DataError
from guardrail.evaluation.setting import (
    ModelSource,
    StrPath,
    calibrator_from,
    check_apart,
    model_from,
    name_of,
    silent,
    workers_from,
)
from guardrail.json_text import dumps_for

if TYPE_CHECKING:
    from guardrail.calibration.isotonic import IsotonicCalibrator
    from guardrail.evaluation.score_rows import Numbered, Status
    from guardrail.runs.cluster import Cluster
    from guardrail.runs.progress import Say

_TOLD = 200  # rows after which progress is told


@dataclass(frozen=True, slots=True)
class Scored:
    """What `guardrail.score` did.

    Attributes:
        rows: The rows with `score`, or with `error` and `line`; none where they were written to a file.
        scored: How many have a score.
        unscored: How many have a reason for having none.
        failed: How many have an `error`.
    """

    rows: tuple[dict[str, Any], ...]
    scored: int
    unscored: int
    failed: int

    @property
    def total(self) -> int:
        return self.scored + self.unscored + self.failed


def score(
    model: ModelSource,
    source: Iterable[Mapping[str, Any]] | StrPath,
    output: StrPath | None = None,
    *,
    calibrator: IsotonicCalibrator | StrPath | None = None,
    paper: bool = False,
    batch_size: int = 8,
    run: StrPath | None = None,
    resume: bool = False,
    cluster: Cluster | None = None,
    progress: Say | None = None,
) -> Scored:
    """Add a score to each row.

        guardrail.score(model, [{"prompt": "Capital of Japan?", "response": "Tokyo."}]).rows[0]["score"]

    Args:
        model: A model, a spec as `load_model` takes it, or a function that loads one. It is loaded after everything else
            was checked.
        source: Rows of `messages` (or `prompt`) and `response`, or a .jsonl or .parquet file of such; "-" is standard input.
        output: Where to write them, a .parquet file as a table; "-" is standard output, None keeps them in memory.
        calibrator: A calibrator, its file or its `shipped:NAME`, whose scorer scores; None takes the one shipped for the
            model.
        paper: Eq. 6 of the paper at the template's token, whatever a calibrator says.
        batch_size: Answers scored together.
        run: A file that keeps the scores as they are made, so that `resume` can go on with them.
        resume: Go on with the run file; rows that had an error are tried again.
        cluster: Workers that share the rows, in place of this process; the model is then given by name or by function.
        progress: Called with one line before each slow step.

    Returns:
        How many rows were scored, and the rows where `output` is None. A bad row has `error` and its line's number, and
        the others go on.

    Raises:
        DataError: For files that cannot be used.
        CalibrationError: For a calibrator that cannot be read, or none of answers.
        CalibratorMismatchError: For a calibrator of another model.
        ClusterError: For workers that cannot be had, or die whatever they are given.
    """
    say = progress or silent
    if resume and run is None:
        raise DataError("--resume needs --run FILE, the file to go on with")
    numbered: Iterable[Numbered]
    if isinstance(source, str | os.PathLike):
        name = os.fspath(source)
        numbered = _lines(name)
    else:
        name, numbered = "-", enumerate(source, start=1)
    target = None if output is None else os.fspath(output)
    if name != "-" and not (Path(name).is_file() or Path(name).is_fifo()):
        raise DataError(f"there is no file {name!r}")
    if target is not None and target != "-":
        if name != "-" and Path(target).exists() and Path(name).samefile(target):
            raise DataError(f"{target!r} is the input; give another output file")
        if not Path(target).parent.is_dir() or Path(target).is_dir():
            raise DataError(f"cannot write {target!r}: give a file in a folder that exists")
    check_apart("the input, the output and the run must be three files", *(f for f in (name, target, run) if f != "-"))
    if target is not None and is_parquet(target):
        check_parquet()
    given = calibrator_from(calibrator)
    local = model_from(model, say)

    # torch is needed from here on
    from guardrail.evaluation.score_rows import score_rows, scores_header
    from guardrail.pipeline.calibrated import calibrated
    from guardrail.runs.run_file import RunFile
    from guardrail.scoring.registry import default_scorer

    if paper:
        scorer = default_scorer(local)
    else:
        scorer = calibrated(local, "answer", None, given, name_of(given) if given else "").scorer
    counts: Counter[Status] = Counter()
    kept: list[dict[str, Any]] = []
    workers = workers_from(cluster, model, local, say)
    kept_in = RunFile(run, scores_header(local, scorer), resume=resume) if run is not None else nullcontext()
    with kept_in as file, _writer(target, say) as out:
        for row, status in score_rows(local, scorer, numbered, batch_size, workers=workers, file=file):
            if out is None:
                kept.append(row)
            else:
                out.write(dumps_for(out, row) + "\n")
            if target == "-":
                sys.stdout.flush()
            counts[status] += 1
            if counts.total() % _TOLD == 0:
                say(f"{counts.total()} rows")
    say(f"{counts.total()} rows: {counts['scored']} scored, {counts['unscored']} unscored, {counts['failed']} failed")
    return Scored(tuple(kept), counts["scored"], counts["unscored"], counts["failed"])


def _lines(source: str) -> Iterator[Numbered]:
    """Parsed rows; a line that cannot be parsed comes as its error, so that the others go on."""
    if is_parquet(source):
        yield from read_parquet(source)
        return
    for number, line, where in numbered_lines(source):
        try:
            yield number, parse_object(line, where)
        except DataError as error:
            yield number, error


@contextmanager
def _writer(output: str | None, say: Say) -> Iterator[IO[str] | None]:
    """stdout, or a file that appears under its name when it is complete; what is done of it stays if it is not."""
    if output is None or output == "-":
        yield None if output is None else sys.stdout
        return
    target = Path(output).resolve()  # a link stays a link
    try:
        if (
            target.exists() and not target.is_file() and not is_parquet(target)
        ):  # a pipe or a device is written to, not replaced
            with target.open("w", encoding="utf-8") as file:
                yield file
            return
        partial = target.with_name(f"{target.name}.partial")
        if partial.exists() and not partial.is_file():
            raise DataError(f"cannot write the scores to {str(partial)!r}: it is not a regular file")
        with partial.open("w", encoding="utf-8") as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
            except BaseException:
                say(f"stopped; the rows that were done are in {partial}")
                raise
        if is_parquet(target):
            write_parquet(partial, target)
            partial.unlink()
        else:
            partial.replace(target)
    except OSError as error:
        raise DataError(f"cannot write the scores to {output!r}: {error.strerror or error}") from error
