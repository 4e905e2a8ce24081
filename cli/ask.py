"""`guardrail ask`: one question, one verdict."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from guardrail.cli import options
from guardrail.errors import DataError
from guardrail.json_text import dumps_for


class AskCommand(TyperCommand):
    """Says what to do about a question that begins like an option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As usual, with a hint in the error."""
        dashed = any(arg.startswith("-") and (" " in arg or arg[1:2].isdigit()) for arg in args)
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            if not dashed or not hasattr(error, "format_message"):  # only what is wrong with the command line
                raise
            hint = "a question that begins with a dash goes last, behind --: guardrail ask -- '-5 + 3'"
            raise typer.BadParameter(f"{error.format_message()} If that is the question: {hint}", ctx) from None


def ask(
    question: Annotated[str, typer.Argument(help="The question; - reads it from stdin.")],
    model: options.Model = options.DEFAULT_MODEL,
    score_with: options.ScoreWith = None,
    policy: Annotated[
        str | None,
        typer.Option(
            "--policy",
            "-p",
            metavar="NAME|FILE",
            help="See `guardrail policy list`. [default: default, with --claims per_claim]",
        ),
    ] = None,
    calibrator: options.Calibrator = None,
    claims: Annotated[
        bool, typer.Option("--claims", help="Judge and show each claim of the answer by itself.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page with the claims highlighted. Implies --claims.")
    ] = None,
    claim_calibrator: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|shipped:NAME", help="A calibrator of claims. Default: the one that comes with guardrail."
        ),
    ] = None,
    question_calibrator: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Made by calibrate --scorer pik, for a policy that asks first."),
    ] = None,
    extractor: Annotated[
        str, typer.Option(metavar="KIND", help="sentences, or atomic: facts that the model itself takes out.")
    ] = "sentences",
    retriever: Annotated[
        Path | None,
        typer.Option(metavar="DIR|FILE", help="Texts to search when the policy says retrieve: .txt, .md or .jsonl."),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Append the verdict for `guardrail monitor`: numbers and names, no texts."),
    ] = None,
    log_text: Annotated[bool, typer.Option("--log-text", help="With --log: the question and the texts, too.")] = False,
    escalate_to: options.EscalateTo = None,
    escalate_calibrator: options.EscalateCalibrator = None,
    schema: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json",
            help="A JSON schema that the answer is kept to (extra structured); each field is judged and shown by itself. The "
            "model is not shown it: ask for its keys in the question.",
        ),
    ] = None,
    system: options.System = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest answer, in tokens. Default: the calibrator's, else 150.")
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Give up when there is no verdict by then, the model once loaded."),
    ] = None,
    chat_template: options.ChatTemplate = None,
    chat_template_kwargs: options.TemplateSwitches = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    as_json: options.Json = False,
) -> None:
    """Answer a question, say how sure the model is, and do what the policy says about it."""
    from guardrail.cli import runtime
    from guardrail.deadlines import check_timeout
    from guardrail.files import check_page, read_stream, standard_input
    from guardrail.observers.verdict_log import VerdictLog
    from guardrail.plain_text import is_blank
    from guardrail.policy import Policy

    if question == "-":
        try:
            question = read_stream(standard_input()).decode("utf-8-sig").strip()
        except OSError as error:
            raise DataError(f"cannot read the question from stdin: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise DataError(f"stdin is not UTF-8 (byte {error.start + 1}); save the text as UTF-8") from error
    if is_blank(question):
        raise DataError("the question is empty")
    claims = claims or html is not None
    kept_to = None if schema is None else runtime.read_object(schema, "a JSON schema")
    check_timeout(timeout)
    chosen = Policy.load(policy or ("per_claim" if claims else "default"))  # its mistakes show before the model loads
    claims = claims or chosen.judges_claims or chosen.looks_at_claims
    if not claims and (claim_calibrator is not None or extractor != "sentences"):
        raise DataError(f"policy {chosen.name!r} does not look at claims; add --claims, or take --policy per_claim")
    runtime.check_escalation(chosen, escalate_to, escalate_calibrator)
    if html is not None:
        check_page(html)
    if log_text and log is None:
        raise DataError("--log-text needs --log FILE, the file to append to")
    observers = [VerdictLog(log, text=log_text)] if log is not None else []  # a file that cannot be written shows now
    if retriever is not None and not retriever.exists():
        raise DataError(f"there is no file or folder {str(retriever)!r} to retrieve from")
    from guardrail.calibration.shipped import load_calibrator
    from guardrail.claims import EXTRACTORS
    from guardrail.claims import extractor as extractor_by_name

    if extractor not in EXTRACTORS:
        raise DataError(f"there is no claim extractor {extractor!r}; take one of: {', '.join(EXTRACTORS)}")
    fitted = load_calibrator(calibrator) if calibrator else None
    fitted_on_questions = load_calibrator(question_calibrator) if question_calibrator else None
    second_fitted = load_calibrator(escalate_calibrator) if escalate_calibrator else None
    fitted_on_claims = load_calibrator(claim_calibrator) if claim_calibrator else None
    local = runtime.load(model, device, dtype, chat_template, chat_template_kwargs, score_with)
    second = runtime.load_second(escalate_to, device, dtype) if escalate_to else None
    from guardrail.cli import render
    from guardrail.cli.claims import show, write_page
    from guardrail.guard import Guard
    from guardrail.retrieval import load_retriever

    index = None
    if retriever is not None:
        runtime.say(f"indexing {retriever}")
        index = load_retriever(retriever, progress=runtime.passage_counter())
    guard = Guard(
        model=local,
        policy=chosen,
        calibrator=fitted,
        retriever=index,
        observers=observers,
        claims=extractor_by_name(extractor, local) if claims else None,
        claim_calibrator=fitted_on_claims,
        question_calibrator=fitted_on_questions,
        escalate_to=None
        if second is None
        else Guard(
            model=second,
            policy=chosen,
            calibrator=second_fitted,
            retriever=index,
            claims=extractor_by_name(extractor, second) if claims else None,
        ),
    )
    runtime.say("answering")
    verdict = guard.answer(question, system=system, max_new_tokens=max_new_tokens, timeout=timeout, schema=kept_to)
    if html is not None:
        write_page(html, verdict, question=question)
    if as_json:
        typer.echo(dumps_for(sys.stdout, verdict.to_dict()))
    elif claims or verdict.claims:
        show(runtime.console(), verdict)
    else:
        render.verdict(runtime.console(), verdict)
