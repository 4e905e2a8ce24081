"""Replies whose first words are given: the model goes on from them, as if it had said them itself (a prefilled reply).

The words stand behind the prompt, where a thought would, so that a scorer finds the prompt's semantic token where it always is,
and the score is of what the model chose: its tokens given the prompt and the words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from guardrail.errors import ModelError
from guardrail.plain_text import is_blank

if TYPE_CHECKING:
    from guardrail.model.loaded import LoadedModel
    from guardrail.types import Trace


def begin(local: LoadedModel, prompts: Sequence[list[int]], prefixes: Sequence[str]) -> list[list[int]]:
    """The ids that follow each prompt; none where nothing is given.

    Raises `ModelError` for another number of prefixes than of prompts, and for a model whose answers stand in a channel.
    """
    if not any(prefixes):
        return [[] for _ in prompts]
    if len(prefixes) != len(prompts):
        raise ModelError(f"there are {len(prefixes)} prefixes for {len(prompts)} conversations; give one for each")
    if why := no_beginning(local):
        raise ModelError(f"{why}; leave the prefixes out")
    return [
        [*local.unthinking(prompt), *local.encode_response(prefix, ended=False)] if prefix else []
        for prompt, prefix in zip(prompts, prefixes, strict=True)
    ]


def no_beginning(local: LoadedModel) -> str:
    """Why no reply of this model can be given a beginning; empty where one can."""
    if not local.answers_here:
        return f"{local.name} answers behind an endpoint, where the beginning of a reply cannot be given"
    if local.thinking.final:
        return (
            f"{local.name} writes its answers into a channel of their own, so the beginning of a reply cannot be given"
        )
    return ""


def with_beginnings(local: LoadedModel, traces: Sequence[Trace], begun: Sequence[list[int]]) -> list[Trace]:
    """The traces as answers that begin with what was given. begun: of `begin`."""
    return [_with(local, trace, ids) if ids else trace for trace, ids in zip(traces, begun, strict=True)]


def _with(local: LoadedModel, trace: Trace, ids: list[int]) -> Trace:
    given = local.tokenizer.decode(ids, skip_special_tokens=True)
    prefix = local.thinking.bare(given)
    # what generation kept is counted from the end of a longer prompt than scorers count from
    kept = replace(
        trace,
        state=None,
        thinking_entropies=None,
        prefix=prefix,
        prefix_tokens=len(ids),
        thinking_tokens=trace.thinking_tokens + len(ids),
    )
    if is_blank(trace.text):  # the model has added nothing, and what was given is no answer of its
        return kept
    whole = local.tokenizer.decode([*ids, *trace.response_ids], skip_special_tokens=True)
    rest = whole[len(given) :] if whole.startswith(given) and not trace.thinking else " "
    return replace(kept, text=prefix + rest[: len(rest) - len(rest.lstrip())] + trace.text)
