"""What kind of conversation an answer is given in: a short name, and what about it must stay as it was in the calibration.

Scores move with what stands around a question, so a calibrator may keep a curve for each kind. Knows nothing about curves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guardrail.calibration.record import ContextName
from guardrail.errors import DataError
from guardrail.messages import as_messages, question_at, question_of
from guardrail.types import Message, Tool

PLAIN: ContextName = "plain"
"""The name of a conversation that is what the calibration asked."""

PARTS = {
    "wording": "a question in words other than the calibration's prompt",
    "system": "a system message",
    "turns": "several turns",
    "evidence": "passages",
    "tools": "tools",
    "thinking": "thinking before the answer",
    "prefix": "a beginning that was given",
}
"""What a name is joined of, in this order, with `+`: "system+turns"."""


def context_of(
    messages: Sequence[Message],
    *,
    plain: bool = False,
    evidence: bool = False,
    tools: bool = False,
    thinking: bool = False,
    prefix: bool = False,
) -> ContextName:
    """The name of a conversation's kind.

        context_of([{"role": "user", "content": "Who wrote Faust?"}], plain=True)                # "plain"
        context_of([{"role": "system", ...}, {"role": "user", ...}], evidence=True)              # "system+evidence"

    Args:
        messages: Without the passages that the guard itself puts into them.
        plain: Whether they are what the calibration asked, its prompt around a question (`plain_question`).
        evidence: Whether there are passages.
        tools: Whether the model may call tools. Calls in the messages, and what they gave, count too.
        thinking: Whether the model thought before it answered.
        prefix: Whether the beginning of its reply was given.
    """
    at = question_at(messages)
    before, after = (messages[:at], messages[at + 1 :]) if at is not None else (messages, ())
    called = [m["role"] == "tool" or bool(m.get("tool_calls")) for m in messages]
    said = [m for m in (*before, *after) if m["role"] not in ("system", "tool") and not m.get("tool_calls")]
    found = {
        "system": not plain and any(m["role"] == "system" for m in messages),
        "turns": not plain and bool(said),
        "evidence": evidence,
        "tools": tools or any(called),
        "thinking": thinking,
        "prefix": prefix,
    }
    found["wording"] = not plain and not any(found[part] for part in ("system", "turns", "tools"))
    return "+".join(part for part in PARTS if found[part]) or PLAIN


def in_words(name: ContextName) -> str:
    """`a system message and several turns`."""
    parts = [PARTS.get(part, part) for part in name.split("+")]
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]])) if name != PLAIN else "a plain question"


def plain_question(messages: Sequence[Message], prompt: str, system: str | None) -> str | None:
    """The question of messages that are what a calibration asked: its prompt around a question, its system message, and
    nothing else. None for all others."""
    text, parts = question_of(messages), prompt.split("{question}")
    length, rest = divmod(len(text) - sum(map(len, parts)), max(1, len(parts) - 1))
    question = text[len(parts[0]) : len(parts[0]) + length]
    if rest or length <= 0 or not question.strip():
        return None
    same = tuple(messages) == as_messages(prompt.replace("{question}", question), system)
    return question if same else None


Frame = list[str]
"""What texts have in common: one text, where they are all the same, or how they begin and how they end."""


def frame_of(texts: Sequence[tuple[str, str]]) -> Frame:
    """What stands around a part that differs. texts: of each, what stands before that part and behind it."""
    before = _beginning([first for first, _ in texts])
    after = _beginning([last[::-1] for _, last in texts])[::-1]
    return [before, after]


def _beginning(texts: Sequence[str]) -> str:
    """How all of them begin: what the first and the last of them, sorted, have in common."""
    first, last = min(texts), max(texts)
    return first[
        : next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    ]


def around(text: str, question: str) -> tuple[str, str]:
    """What stands before and behind a question in a text; the whole text twice, where it does not hold the question."""
    before, found, after = text.rpartition(question.strip())
    return (before, after) if found and question.strip() else (text, text)


def fits(text: str, frame: Frame) -> bool:
    """Whether a text begins and ends as the frame does, or is the one that it is of."""
    if len(frame) == 1:
        return text == frame[0]
    return len(text) >= sum(map(len, frame)) and text.startswith(frame[0]) and text.endswith(frame[1])


@dataclass(frozen=True, slots=True)
class Setting:
    """How a conversation is answered. tools: the names of those that the model may call. constrained: decoding is kept to a
    schema."""

    temperature: float = 0.0
    tools: tuple[str, ...] = ()
    constrained: bool = False

    @classmethod
    def of(cls, temperature: float, tools: Sequence[Tool]) -> Setting:
        return cls(temperature, tuple(str(tool.get("function", tool).get("name", "")) for tool in tools))


def thinking_of(thought: Sequence[bool]) -> dict[str, Any]:
    """What a calibrator keeps of whether its answers were thought about: nothing where none was."""
    return {"thinking": True if all(thought) else "some"} if any(thought) else {}


def thinking_differs(usual: object, thought: bool) -> list[str]:
    """How an answer differs from those of a calibration. usual: of `thinking_of`, None where it keeps nothing."""
    if usual == "some" or bool(usual) == thought:
        return []
    return [
        "given after thinking, which the calibration's were not"
        if thought
        else "given without thinking, unlike the calibration's"
    ]


def system_of(messages: Sequence[Message]) -> str:
    """The texts of the system messages."""
    return "\n".join(str(m["content"]) for m in messages if m["role"] == "system")


def source_of(
    asked: Sequence[tuple[Sequence[Message], str, Setting]], lengths: Sequence[int], passages: int = 0
) -> dict[str, Any]:
    """What a calibrator keeps of the conversations of a context, JSON-ready: `differs` compares others with it.

    asked: of each the messages without passages, the question that a person asked in them, and how it was answered. lengths:
    the token limits. passages: the most that any of them had.

    Raises `DataError` for conversations of several temperatures: no curve is of all of them.
    """
    temperatures = sorted({setting.temperature for _, _, setting in asked})
    if len(temperatures) > 1:
        raise DataError(
            f"the chain's model answered at the temperatures {', '.join(f'{t:g}' for t in temperatures)}; calibrate it at one"
        )
    systems = sorted({system_of(messages) for messages, _, _ in asked})
    more: dict[str, Any] = {"passages": passages} if passages else {}
    kept = [setting.constrained for _, _, setting in asked]
    if any(kept):
        more["constrained"] = True if all(kept) else "some"
    return more | {
        "system": systems if len(systems) == 1 else frame_of([(text, text) for text in systems]),
        "user": frame_of([around(question_of(messages), question) for messages, question, _ in asked]),
        "temperature": temperatures[0],
        "max_new_tokens": max(lengths),
        "tools": sorted({name for _, _, setting in asked for name in setting.tools}),
    }


def differs(source: Mapping[str, Any], messages: Sequence[Message], setting: Setting | None) -> list[str]:
    """How a conversation differs from those that a curve of its kind was fitted on, in words. source: of `source_of`; what it
    does not say is not compared."""
    out = []
    if "system" in source and not fits(system_of(messages), source["system"]):
        out.append("another system message than in calibration")
    if "user" in source and not fits(question_of(messages), source["user"]):
        out.append("other words around the question than in calibration")
    if "tools" in source and (
        new := [name for name in (setting.tools if setting else ()) if name not in source["tools"]]
    ):
        out.append(f"tools that the calibration had not: {', '.join(new)}")
    kept = source.get("constrained", False)
    if setting is not None and kept != "some" and setting.constrained != kept:
        out.append("decoding kept to a schema" if setting.constrained else "decoding not kept to a schema")
    return out
