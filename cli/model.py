"""`guardrail model`: what guardrail sees in a model."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from guardrail.cli import options
from guardrail.cli.render import echo
from guardrail.json_text import dumps_for

if TYPE_CHECKING:
    from guardrail.model.local import LocalModel
    from guardrail.model.remote.model import RemoteModel
    from guardrail.model.remote.reread import RereadModel

app = typer.Typer(no_args_is_help=True, help="Look at models.")


_WAYS = {
    "in place": "on the prompt's keys and values, in place",
    "copied": "on the prompt's KV cache, which each layer copies (it has an attention of its own)",
    "none": "on the whole prompt again (some layers keep no key and value per token, or share them)",
}


@app.callback()
def _group() -> None:
    """Look at models."""


@app.command()
def inspect(
    model: Annotated[
        str, typer.Argument(metavar="SPEC", help="Alias, folder, .gguf file, hub id or openai:URL#NAME.")
    ] = options.DEFAULT_MODEL,
    score_with: options.ScoreWith = None,
    chat_template: options.ChatTemplate = None,
    chat_template_kwargs: options.TemplateSwitches = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    as_json: options.Json = False,
) -> None:
    """Architecture, layers, band, semantic token, head, cache and identity of a model; of an endpoint, what it allows.

    With --score-with: what the copy adds, and whether it can read what the endpoint writes."""
    from guardrail.cli import runtime

    local = runtime.load(model, device, dtype, chat_template, chat_template_kwargs, score_with)
    from guardrail.model.remote.model import RemoteModel
    from guardrail.model.remote.reread import RereadModel

    if isinstance(local, RereadModel):
        _endpoint(local.remote, local, as_json=as_json)
        return
    if isinstance(local, RemoteModel):
        _endpoint(local, local, as_json=as_json)
        return
    from guardrail.calibration.shipped import shipped_calibrator
    from guardrail.scoring.profile import band_start

    anatomy, token, identity = local.anatomy, local.semantic_token, local.identity
    layers = len(anatomy.layers)
    shipped = shipped_calibrator(identity)
    facts = {
        "model": local.name,
        "architecture": anatomy.architecture,
        "layers": layers,
        "band": f"h({band_start('code', layers)}) to h({layers - 1})",
        "semantic_token": {"offset": token.offset, "text": token.text, "source": token.source},
        "end_of_turn": local.end_tokens,
        "head": anatomy.head_kind,
        "head_tied_to_embeddings": anatomy.tied,
        "vocabulary": anatomy.head.out_features,
        "hidden_units": anatomy.head.in_features,
        "context": anatomy.context,
        "scoring": _WAYS[anatomy.cache],
        "device": str(local.device),
        "dtype": identity.dtype,
        "weights_hash": identity.weights,
        "chat_template_hash": identity.chat_template,
        "calibrator": shipped[0] if shipped else None,
        "states_confidence": local.wording.turn if local.wording else None,
    }
    if as_json:
        typer.echo(dumps_for(sys.stdout, facts))
        return
    facts["semantic_token"] = f"{token.offset} {token.text!r} ({token.source})"
    facts["end_of_turn"] = " ".join(local.end_tokens)
    facts["calibrator"] = facts["calibrator"] or "none shipped; run: guardrail calibrate"
    turn = facts["states_confidence"]
    facts["states_confidence"] = {"after": "in a turn after the answer", "same": "at the answer's end"}.get(
        str(turn), "no"
    )
    for name, value in facts.items():
        echo(f"{name.replace('_', ' '):24} {value}")


def _endpoint(remote: RemoteModel, scored: RemoteModel | RereadModel, *, as_json: bool) -> None:
    """What a model behind an endpoint allows, found by asking it. scored: it, or it with the copy that reads its answers."""
    from guardrail.scoring.registry import able_for, default_of, ready

    allowed, able = remote.abilities, able_for(scored)
    facts: dict[str, object] = {
        "model": remote.name,
        "address": remote.address.url,
        "engine": remote.engine,
        "log_probs": allowed.log_probs,
        "top_log_probs": allowed.top_log_probs,
        "context": allowed.context,
        "default_scorer": default_of(scored),
        "scorers": able,
        "scorers_that_need_more": [name for name in ready() if name not in able],
    }
    if scored is not remote:
        facts |= _copy(scored)
    if as_json:
        typer.echo(dumps_for(sys.stdout, facts))
        return
    told = {
        **facts,
        "log_probs": "of every token" if allowed.log_probs else "none",
        "top_log_probs": allowed.top_log_probs or "none",
        "context": allowed.context or "not told",
        "scorers": ", ".join(able),
        "scorers_that_need_more": ", ".join(name for name in ready() if name not in able) or "none",
    }
    for name, value in told.items():
        echo(f"{name.replace('_', ' '):24} {value}")


def _copy(scored: LocalModel) -> dict[str, object]:
    """What the copy is, and whether it can read an answer, found by asking for one."""
    identity = scored.identity
    trace = scored.generate("Hi", max_new_tokens=1)
    return {
        "copy_dtype": identity.dtype,
        "copy_weights_hash": identity.weights,
        "copy_chat_template_hash": identity.chat_template,
        "reads_answers": trace.fault is None,
        "why_not": trace.fault_detail or None,
    }
