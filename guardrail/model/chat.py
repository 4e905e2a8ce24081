"""What a tokenizer's chat template says: prompt ids, the semantic token, the end of a turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guardrail.errors import ChatTemplateError
from guardrail.types import Message, Tool

_PROBE = "Which river flows through Vienna"  # plain words: templates that trim or escape leave them alone
_REPLY = "Danube"
_NONE: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class SemanticToken:
    """t*: `offset` from the prompt's end (-1 = its last token), the token's `text`, and where the offset came from."""

    offset: int
    text: str
    source: str


def prompt_ids(
    tokenizer: Any, messages: Sequence[Message], tools: Sequence[Tool] = (), switches: Mapping[str, Any] = _NONE
) -> list[int]:
    """Token ids of the prompt, generation prompt included; the template's own BOS and no second one.

    tools: JSON schemas of functions, in the form that chat templates and OpenAI's API take. switches: what the template takes
    beside them, such as `enable_thinking`.

    Raises `ChatTemplateError` when there is no template or it rejects the messages.
    """
    options = {**switches, **({"tools": [dict(t) for t in tools]} if tools else {})}
    return list(_apply(tokenizer, messages, tokenize=True, add_generation_prompt=True, **options))


def takes_tools(tokenizer: Any, switches: Mapping[str, Any] = _NONE) -> bool:
    """Whether the chat template shows tools to the model: asked by rendering one."""
    probe = [{"role": "user", "content": _PROBE}]
    name = "probe_of_the_template"
    tool = {"name": name, "description": "A probe.", "parameters": {"type": "object", "properties": {}}}
    tools = [{"type": "function", "function": tool}]
    try:
        shown = _apply(tokenizer, probe, tokenize=False, add_generation_prompt=True, tools=tools, **switches)
    except ChatTemplateError:
        return False
    return name in shown


def semantic_token(tokenizer: Any, switches: Mapping[str, Any] = _NONE) -> SemanticToken:
    """The paper's t*, read off the chat template: the first token that the generation prompt adds, or where it adds none,
    the last token of the user's text (DESIGN: Llama 3 -4, Qwen -3, SmolLM2 -4, Mistral -2).

    Positions come from the tokenizer's character offsets, so a role name that splits in two is counted as it is.
    """
    probe = [{"role": "user", "content": _PROBE}]
    prompt: str = _apply(tokenizer, probe, tokenize=False, add_generation_prompt=True, **switches)
    closed: str = _apply(tokenizer, probe, tokenize=False, add_generation_prompt=False, **switches)
    if len(prompt) > len(closed) and prompt.startswith(closed):
        position, source = len(closed), "chat template: first token of the generation prompt"
    else:
        found = prompt.rfind(_PROBE)
        if found < 0:
            raise ChatTemplateError(
                "the chat template does not show the user's text as it is, so the semantic token cannot be derived; "
                "give semantic_token, a negative offset from the prompt's end"
            )
        position, source = found + len(_PROBE) - 1, "chat template: last token of the user's text"
    try:
        encoded = tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True)
    except NotImplementedError as error:
        raise ChatTemplateError(
            "this tokenizer gives no character offsets, so the semantic token cannot be derived; "
            "give semantic_token, a negative offset from the prompt's end"
        ) from error
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    index = next(i for i, (_, end) in enumerate(offsets) if end > position)
    return SemanticToken(index - len(ids), tokenizer.decode([ids[index]]), source)


def end_of_turn(tokenizer: Any, eos_ids: Sequence[int]) -> int | None:
    """The id that ends an assistant's turn: the first of `eos_ids` that the template puts after a reply; else the first."""
    turn = [{"role": "user", "content": _PROBE}, {"role": "assistant", "content": _REPLY}]
    rendered: str = _apply(tokenizer, turn, tokenize=False, add_generation_prompt=False)
    tail = tokenizer(rendered[rendered.rfind(_REPLY) :], add_special_tokens=False)["input_ids"]
    return next((i for i in tail if i in eos_ids), eos_ids[0] if eos_ids else None)


def _apply(tokenizer: Any, messages: Sequence[Message], **options: Any) -> Any:
    if not getattr(tokenizer, "chat_template", None):
        raise ChatTemplateError(
            "this model has no chat template; give one with --chat-template FILE (Jinja), "
            "or load_model(..., chat_template=TEXT)"
        )
    try:
        return tokenizer.apply_chat_template([dict(m) for m in messages], return_dict=False, **options)
    except Exception as error:  # a template is a program of the model's author, and may fail in any way
        raise ChatTemplateError(f"the chat template rejects the messages: {' '.join(str(error).split())}") from error
