"""`guardrail policy`: list, show, check and explain policies. Loads no model."""

from __future__ import annotations

from typing import Annotated, cast, get_args

import typer

from guardrail.errors import DataError
from guardrail.types import FINISH_REASONS, LABELS, Confidence, Evidence, FinishReason, Label, Score

app = typer.Typer(no_args_is_help=True, help="List, show, check and explain policies.")
_Policy = Annotated[str, typer.Argument(metavar="NAME|FILE", help="A shipped policy's name or a YAML file.")]


@app.command("list")
def list_policies() -> None:
    """The policies that come with guardrail."""
    from guardrail.policy import Policy

    for name in Policy.shipped():
        typer.echo(f"{name:16} {Policy.load(name).description}")


@app.command()
def show(policy: _Policy) -> None:
    """Print a policy's file, comments included."""
    from guardrail.policy import Policy

    typer.echo(Policy.load(policy).text, nl=False)


@app.command()
def check(policy: _Policy) -> None:
    """Read a policy and say what is wrong with it, with the line."""
    from guardrail.policy import Policy

    loaded = Policy.load(policy)
    for warning in loaded.warnings:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(f"{policy}: ok, policy {loaded.name!r} with {len(loaded.rules)} rules")


@app.command()
def explain(
    policy: _Policy,
    confidence: Annotated[
        float | None, typer.Option(min=0, max=1, help="Probability of being right. Left out: the answer is unscored.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="Default: the label of the confidence.")] = None,
    evidence: Annotated[bool, typer.Option(help="The answer was given with retrieved passages.")] = False,
    length: Annotated[int, typer.Option(min=0, help="Response tokens.")] = 8,
    finish_reason: Annotated[str, typer.Option(help=", ".join(FINISH_REASONS))] = "stop",
    retriever: Annotated[bool, typer.Option(help="A retriever can be asked.")] = True,
) -> None:
    """Say what a policy would decide about an answer, by which rule and why."""
    from guardrail.calibration.labels import label_for
    from guardrail.policy import Policy

    loaded = Policy.load(policy)
    if label is not None and label not in LABELS:
        raise DataError(f"there is no label {label!r}; the labels are: {', '.join(LABELS)}")
    if finish_reason not in get_args(FinishReason):
        raise DataError(f"there is no finish reason {finish_reason!r}; they are: {', '.join(FINISH_REASONS)}")
    if confidence is None:
        if label is not None:
            raise DataError("--label needs --confidence: an unscored answer has no label")
        value, score = Confidence.none("unscored"), Score.none("not_finite", "asked by policy explain", length=length)
    else:
        chosen = cast("Label", label or label_for(confidence))
        value = Confidence(confidence, confidence, confidence, chosen)
        score = Score(0.0, 0.0, 0.0, 0.0, 0.0, length)
    decision = loaded.decide(
        value,
        score,
        evidence=(Evidence("a passage"),) if evidence else (),
        finish_reason=cast("FinishReason", finish_reason),
        retriever=retriever,
    )
    typer.echo(f"{decision.action}: {decision.explanation}")
