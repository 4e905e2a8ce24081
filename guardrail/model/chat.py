"""What a tokenizer's chat template says: prompt ids, the semantic token, the end of a turn."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from markupsafe import escape

from guardrail.errors import ChatTemplateError
from guardrail.model.earlier_calls import call_left_out, in_words, other_blanks
from guardrail.model.inert import BREAK, Inert
from guardrail.types import Message, Tool

_PROBE = "Which river flows through Vienna"  # plain words: templates that trim or escape leave them alone
_REPLY = "Danube"
_MARK = re.compile("".join(_PROBE.split()) + r"(\d{9})")
_PRINTED_PART = "'type':'text','text':"  # a list as Python prints it: the template takes no parts
_NEXT = str.maketrans(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
    "bcdefghijklmnopqrstuvwxyzaBCDEFGHIJKLMNOPQRSTUVWXYZA1234567890",
)  # a text of the same form
_ROLE = re.compile(r"[\w -]{1,40}")
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

    What the messages and tools say becomes text, never control tokens.

    tools: JSON schemas of functions, in the form that chat templates and OpenAI's API take. switches: what the template takes
    beside them, such as `enable_thinking`.

    Raises `ChatTemplateError` when there is no template, it rejects the messages, or leaves out what one of them says.
    """
    inert = Inert(tokenizer)
    options = {**switches, **({"tools": [inert.values(dict(t)) for t in tools]} if tools else {})}
    for message in messages:
        if not _ROLE.fullmatch(message["role"]):
            raise ChatTemplateError(f"a role is a word such as user or assistant, not {message['role']!r:.80}")
    harmless: list[Message] = [{**inert.values(m), "role": m["role"]} for m in messages]

    def render(told: Sequence[Message]) -> str:
        return str(_apply(tokenizer, told, tokenize=False, add_generation_prompt=True, **options))

    def in_parts(told: Sequence[Message]) -> str:
        return render([{**m, "content": _in_parts(m["content"])} for m in told])

    blanks = other_blanks(harmless)
    try:
        rendered = render(harmless)
    except ChatTemplateError:
        if blanks is None:
            raise
        rendered, harmless, blanks = render(blanks), blanks, None
    lacks = _lacks(render, rendered, harmless)
    for told, show in product([harmless, *([blanks] if blanks else []), *in_words(harmless)], [render, in_parts]):
        if lacks is None:
            break
        try:
            tried = show(told)
            if _PRINTED_PART not in _bare(tried) and _lacks(show, tried, told) is None:
                rendered, lacks = tried, None
        except ChatTemplateError:
            continue
    if lacks is not None:
        raise ChatTemplateError(f"the chat template {lacks}")
    return inert.encode(rendered)


def _lacks(render: Callable[[Sequence[Message]], str], rendered: str, messages: Sequence[Message]) -> str | None:
    """What a rendered prompt does wrong with what the messages say, and what to do; None where it shows all of it."""
    if (role := _left_out(render, rendered, messages)) is not None:
        what, remedy = f"what the {role} message says", "use roles that the template knows"
    elif (name := call_left_out(render, rendered, messages, _bare)) is not None:
        what, remedy = (
            f"the tool call {name!r:.80} of an assistant message, or its arguments",
            "say in words what was called",
        )
    else:
        return None
    return f"leaves out {what}, so the model would answer without having read it; {remedy}, or give another template"


def _in_parts(content: Any) -> Any:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _left_out(render: Callable[[Sequence[Message]], str], rendered: str, messages: Sequence[Message]) -> str | None:
    """The role of a message whose text does not stand in the prompt; None where all do.

    A text may stand there as a part of something else, such as a "5" in a question about 5 + 0. So what replaces it has to
    stand there, too.
    """
    if (role := _absent(rendered, messages)) is not None:
        return role
    texts = {i: m["content"] for i, m in enumerate(messages) if isinstance(m["content"], str)}
    marks = {i: f"{_PROBE}{i:09}" for i, text in texts.items() if _bare(text)}
    try:
        shown = render([{**m, "content": marks.get(i, m["content"])} for i, m in enumerate(messages)])
    except ChatTemplateError:  # it wants what the text says
        return next(
            (str(messages[i]["role"]) for i in marks if not _shows(render, rendered, messages, i, marks[i])), None
        )
    found = set(map(int, _MARK.findall(_bare(shown))))
    return next((str(messages[i]["role"]) for i in marks if i not in found), None)


def _shows(
    render: Callable[[Sequence[Message]], str], rendered: str, messages: Sequence[Message], at: int, mark: str
) -> bool:
    """Whether what replaces one text alone, or a part of it, stands in the prompt.

    Raises `ChatTemplateError` where the template takes nothing in its place, so that nothing tells.
    """
    text = str(messages[at]["content"])
    half, shape = len(text) // 2, text.translate(_NEXT)
    before = _bare(rendered)
    for told, sign in (
        (mark, mark),
        (text[:half] + mark + text[half:], mark),
        (f"{text} {mark}", mark),
        (f"{mark} {text}", mark),
        (shape, shape),
    ):
        try:
            shown = _bare(render([{**m, "content": told} if i == at else m for i, m in enumerate(messages)]))
        except ChatTemplateError:
            continue
        sign = _bare(sign)
        if shown.count(sign) > before.count(sign):
            return True
        if sign != _bare(text):  # else it has neither letters nor digits, and nothing was tried
            return False
    raise ChatTemplateError(
        f"the chat template takes no other text in place of what the {messages[at]['role']} message says, so nothing shows "
        "whether the model would read it; give another template, or leave that message out"
    )


def _absent(rendered: str, messages: Sequence[Message]) -> str | None:
    """The role of the first message whose text is not in the prompt, where white space may differ, and a template may write a
    text as JSON.
    """
    shown, at = _bare(rendered), 0
    for message in messages:
        content = message["content"]
        if not isinstance(content, str) or not (text := _bare(content)):
            continue
        forms = [
            text,
            *(_bare(json.dumps(content, ensure_ascii=a)[1:-1]) for a in (False, True)),
            _bare(str(escape(content))),
        ]
        places = [(place, form) for form in forms if (place := shown.find(form, at)) >= 0]
        if not places:  # templates put a system message, or tool results, where they want them
            places = [
                (at, "")
                for form in forms
                if shown.count(form) >= sum(_bare(str(m["content"])) == text for m in messages)
            ]
        if not places:
            return str(message["role"])
        place, form = min(places)
        at = place + len(form)
    return None


def _bare(text: str) -> str:
    return "".join(text.replace(BREAK, "").split())


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


def template_end(tokenizer: Any, switches: Mapping[str, Any] = _NONE) -> int | None:
    """The control token that the template puts right after a reply; None where it puts none there."""
    turn = [{"role": "user", "content": _PROBE}, {"role": "assistant", "content": _REPLY}]
    try:
        rendered: str = _apply(tokenizer, turn, tokenize=False, add_generation_prompt=False, **switches)
    except ChatTemplateError:
        return None
    if (at := rendered.rfind(_REPLY)) < 0 or not (tail := rendered[at + len(_REPLY) :].lstrip()):
        return None
    first = tokenizer(tail, add_special_tokens=False)["input_ids"][:1]
    return next((int(i) for i in first if Inert(tokenizer).is_control(i)), None)


def _apply(tokenizer: Any, messages: Sequence[Message], **options: Any) -> Any:
    if not getattr(tokenizer, "chat_template", None):
        raise ChatTemplateError(
            "this model has no chat template; give one with --chat-template FILE (Jinja), "
            "or load_model(..., chat_template=TEXT)"
        )
    try:
        told = [
            {key: value for key, value in m.items() if value is not None} for m in messages
        ]  # else "None" is printed
        return tokenizer.apply_chat_template(told, return_dict=False, **options)
    except Exception as error:  # a template is a program of the model's author, and may fail in any way
        raise ChatTemplateError(f"the chat template rejects the messages: {' '.join(str(error).split())}") from error
