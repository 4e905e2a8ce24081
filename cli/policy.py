"""`guardrail policy`: list, show, check and explain policies. Loads no model."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, cast, get_args

import typer

from guardrail.cli.render import echo, printable
from guardrail.errors import DataError
from guardrail.types import (
    FINISH_REASONS,
    LABELS,
    SUPPORTS,
    UNLIKE,
    ClaimKind,
    Confidence,
    Evidence,
    FinishReason,
    Label,
    NameCounts,
    Score,
    Support,
    Verification,
)

app = typer.Typer(no_args_is_help=True, help="List, show, check and explain policies.")
_KINDS: tuple[ClaimKind, ...] = get_args(ClaimKind)
_Policy = Annotated[str, typer.Argument(metavar="NAME|FILE", help="A shipped policy's name or a YAML file.")]


@app.command("list")
def list_policies() -> None:
    """The policies that come with guardrail."""
    from guardrail.policy import Policy

    for name in Policy.shipped():
        echo(f"{name:16} {Policy.load(name).description}")


@app.command()
def show(policy: _Policy) -> None:
    """Print a policy's file, comments included, and on stderr its proof in a line."""
    from guardrail.policy import Policy

    loaded = Policy.load(policy)
    typer.echo(printable(loaded.text) if sys.stdout.isatty() else loaded.text, nl=False)
    if (proof := loaded.proof or loaded.claims_proof) is not None:
        echo(f"proof: {proof.in_words()}", err=True)


@app.command()
def check(policy: _Policy) -> None:
    """Read a policy and say what is wrong with it, with the line."""
    from guardrail.policy import Policy

    loaded = Policy.load(policy)
    for warning in loaded.warnings:
        echo(f"warning: {warning}", err=True)
    claims = f", {len(loaded.claim_rules)} of them for claims" if loaded.judges_claims else ""
    echo(f"{policy}: ok, policy {loaded.name!r} with {len(loaded.rules)} rules{claims}")
    if (proof := loaded.proof or loaded.claims_proof) is not None:
        echo(f"proof: {proof.in_words()}")


@app.command()
def explain(
    policy: _Policy,
    confidence: Annotated[
        float | None, typer.Option(min=0, max=1, help="Probability of being right. Left out: it is unscored.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="Default: the label of the confidence.")] = None,
    in_range: Annotated[bool, typer.Option(help="The score lies within the calibrated range.")] = True,
    familiar: Annotated[
        bool | None,
        typer.Option("--familiar/--unlike", help="The question is like those of the calibration; default: not known."),
    ] = None,
    evidence: Annotated[bool, typer.Option(help="The answer was given with retrieved passages.")] = False,
    length: Annotated[int, typer.Option(min=0, help="Tokens of the response, or of the claim.")] = 8,
    finish_reason: Annotated[str | None, typer.Option(help=f"{', '.join(FINISH_REASONS)}; default: stop.")] = None,
    retriever: Annotated[bool, typer.Option(help="A retriever can be asked.")] = True,
    second_model: Annotated[bool, typer.Option(help="A second model can be asked.")] = True,
    retry: Annotated[bool, typer.Option(help="The model can answer once more.")] = True,
    claims: Annotated[
        str | None,
        typer.Option(metavar="P,P,...", help="The confidences of the answer's claims, '?' for none; '' for no claims."),
    ] = None,
    claim: Annotated[bool, typer.Option("--claim", help="Explain one claim, not a whole answer.")] = False,
    support: Annotated[
        str | None, typer.Option(help=f"What was found for the claim: {', '.join(SUPPORTS)}. Default: not looked up.")
    ] = None,
    kind: Annotated[str | None, typer.Option(help=f"The claim's kind: {', '.join(_KINDS)}; default: sentence.")] = None,
    searched: Annotated[int | None, typer.Option(min=0, help="Claims of the answer looked up before.")] = None,
    spread: Annotated[
        float | None, typer.Option(min=0, max=1, help="How far the order of the passages moves the confidence.")
    ] = None,
    p_ik: Annotated[
        float | None,
        typer.Option(
            "--p-ik", min=0, max=1, help="Probability of a right answer, told before one: does ask_first search?"
        ),
    ] = None,
    ambiguity: Annotated[
        float | None, typer.Option(help="The question's score by `ambiguity`'s scorer. Left out: it was not measured.")
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=COUNT", help="A name of the question, and the corpus's passages with it; repeatable."
        ),
    ] = None,
    consistency: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of the samples that agree; left out: not known.")
    ] = None,
    never_together: Annotated[
        bool, typer.Option("--never-together", help="No passage has the first two of the names together.")
    ] = False,
) -> None:
    """Say what a policy would decide about an answer, or with --claim about a claim, by which rule and why."""
    from guardrail.policy import Policy
    from guardrail.policy.obstacles import ASKED_AGAIN, NO_SECOND

    loaded = Policy.load(policy)
    if p_ik is not None:
        if loaded.ask_first is None:
            raise DataError(f"--p-ik is for a policy with ask_first, and {policy} has none")
        value, _ = _judged(p_ik, None, in_range, familiar, length)
        echo(f"ask first: {loaded.ask_first.decide(value)[1]}")
        if confidence is None:
            return
    if ambiguity is not None and not loaded.looks_at_ambiguity:
        raise DataError(f"--ambiguity is for a policy with the condition `ambiguous`, and {policy} has none")
    _refuse_the_other(
        claim,
        of_answers={
            "evidence": evidence,
            "finish-reason": finish_reason is not None,
            "claims": claims is not None,
            "spread": spread is not None,
            "ambiguity": ambiguity is not None,
            "consistency": consistency is not None,
            "name": bool(name),
            "never-together": never_together,
            "no-second-model": not second_model,
            "no-retry": not retry,
        },
        of_claims={"support": support is not None, "kind": kind is not None, "searched": searched is not None},
    )
    value, score = _judged(confidence, label, in_range, familiar, length)
    if claim:
        found = _one_of(support, SUPPORTS, "support") if support is not None else None
        decided = loaded.decide_claim(
            value,
            score,
            kind=cast("ClaimKind", _one_of(kind or "sentence", _KINDS, "kind of claim")),
            verification=Verification(cast("Support", found), "asked by policy explain") if found else None,
            retriever=retriever,
            searched=searched or 0,
        )
        echo(f"{decided.action}: {decided.explanation}")
        return
    decision = loaded.decide(
        value,
        score,
        evidence=(Evidence("a passage"),) if evidence else (),
        finish_reason=cast("FinishReason", _one_of(finish_reason or "stop", FINISH_REASONS, "finish reason")),
        retriever=retriever,
        no_escalation="" if second_model else NO_SECOND,
        no_retry="" if retry else ASKED_AGAIN,
        claims=None if claims is None else [_probability(part) for part in claims.split(",") if claims.strip()],
        ambiguity=None if ambiguity is None else Score.of("given", ambiguity, length=0),
        spread=spread,
        names=_names(name or [], never_together),
        consistency=consistency,
    )
    echo(f"{decision.action}: {decision.explanation}")
    if decision.prefix:
        echo(f"the next reply begins: {decision.prefix}")


def _judged(
    confidence: float | None, label: str | None, in_range: bool, familiar: bool | None, length: int
) -> tuple[Confidence, Score]:
    from guardrail.calibration.labels import label_for

    if label is not None:
        _one_of(label, LABELS, "label")
    if confidence is None:
        if label is not None:
            raise DataError("--label needs --confidence: what is unscored has no label")
        return Confidence.none("unscored"), Score.none("not_finite", "asked by policy explain", length=length)
    chosen = cast("Label", label or label_for(confidence))
    known = None if familiar is None else 1.0 if familiar else UNLIKE
    value = Confidence(confidence, confidence, confidence, chosen, in_range, familiarity=known)
    return value, Score(0.0, 0.0, 0.0, 0.0, 0.0, length)


def _probability(text: str) -> Confidence:
    from guardrail.calibration.labels import label_for

    if text.strip() == "?":
        return Confidence.none("asked by policy explain")
    try:
        p = float(text)
    except ValueError:
        p = -1.0
    if not 0.0 <= p <= 1.0:
        raise DataError(f"--claims wants numbers from 0 to 1, or ?, with commas between them; not {text.strip()!r}")
    return Confidence(p, p, p, label_for(p))


def _names(given: Sequence[str], never_together: bool) -> NameCounts | None:
    counts = {}
    for each in given:
        name, _, number = each.rpartition("=")
        if not name.strip() or not number.strip().isdecimal():
            raise DataError(f"--name wants NAME=COUNT, such as 'Burkina Faso=2'; not {each!r}")
        counts[name.strip()] = int(number)
    first, second = [*counts, "", ""][:2]
    if never_together and not second:
        raise DataError("--never-together is about two names of the question; give both with --name")
    return NameCounts(tuple(counts.items()), ((first, second),) if never_together else ()) if counts else None


def _one_of(name: str, names: Sequence[str], what: str) -> str:
    if name not in names:
        raise DataError(f"there is no {what} {name!r}; the {what}s are: {', '.join(names)}")
    return name


def _refuse_the_other(claim: bool, *, of_answers: Mapping[str, bool], of_claims: Mapping[str, bool]) -> None:
    given = next((name for name, is_given in (of_answers if claim else of_claims).items() if is_given), None)
    if given is not None:
        needs = "is for whole answers, not for --claim" if claim else "is for a claim; add --claim"
        raise DataError(f"--{given} {needs}")
