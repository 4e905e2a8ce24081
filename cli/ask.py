"""`guardrail ask`: one question, one verdict."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from guardrail.cli import options

from guardrail.errors import DataError


def ask(
    question: Annotated[str, typer.Argument(help="The question; - reads it from stdin.")],
    model: options.Model = options.DEFAULT_MODEL,
    policy: Annotated[
        str, typer.Option("--policy", "-p", metavar="NAME|FILE", help="See `guardrail policy list`.")
    ] = "default",
    calibrator: options.Calibrator = None,
    retriever: Annotated[
        Path | None,
        typer.Option(metavar="DIR|FILE", help="Texts to search when the policy says retrieve: .txt, .md or .jsonl."),
    ] = None,
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="System message.")] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest answer, in tokens. Default: the calibrator's, else 150.")
    ] = None,
    chat_template: options.ChatTemplate = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    as_json: options.Json = False,
) -> None:
    """Answer a question, say how sure the model is, and do what the policy says about it."""
    from guardrail.policy import Policy

    if question == "-":
        try:
            question = sys.stdin.buffer.read().decode("utf-8-sig").strip()
        except UnicodeDecodeError as error:
            raise DataError(f"stdin is not UTF-8 (byte {error.start + 1}); save the text as UTF-8") from error
    if not question.strip():
        raise DataError("the question is empty")
    chosen = Policy.load(policy)  # its mistakes show before the model loads
    if retriever is not None and not retriever.exists():
        raise DataError(f"there is no file or folder {str(retriever)!r} to retrieve from")
    from guardrail.cli import runtime

    from guardrail.calibration.isotonic import IsotonicCalibrator

    fitted = IsotonicCalibrator.load(calibrator) if calibrator else None
    local = runtime.load(model, device, dtype, chat_template)
    from guardrail.cli import render

    from guardrail.actions import load_retriever
    from guardrail.guard import Guard

    index = None
    if retriever is not None:
        runtime.say(f"indexing {retriever}")
        index = load_retriever(retriever, progress=runtime.passage_counter())
    guard = Guard(
        model=local,
        policy=chosen,
        calibrator=fitted,
        calibrator_name=str(calibrator),
        retriever=index,
    )
    runtime.say("answering")
    verdict = guard.answer(question, system=system, max_new_tokens=max_new_tokens)
    if as_json:
        typer.echo(json.dumps(verdict.to_dict(), ensure_ascii=False))
    else:
        render.verdict(runtime.console(), verdict)
