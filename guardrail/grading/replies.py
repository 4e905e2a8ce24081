"""A judge's reply -> its verdict, or none.

What cannot be read as one clear verdict is none: the cost of a lost grade is small, that of a wrong "right" is not.
"""

from __future__ import annotations

import re

from guardrail.json_text import parse

_THOUGHTS = re.compile(r"<think(?:ing)?>(?:(?!<think).)*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_OPEN_THOUGHT = re.compile(r"</?think(?:ing)?>", re.IGNORECASE)
_FENCE = re.compile(r"^```\w*\n(.*?)\n?```$", re.DOTALL)
_MARKS = re.compile(r"[*_`\"'“”‘’#>]")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_STATEMENT = re.compile(
    r"(?:(?:so|thus|therefore|hence),?\s+)?(?:(?:my|the)\s+)?(?:(?:final|given)\s+)?"
    r"(?:(?:verdict|grade|answer|it)(?:\s*:\s*|\s+is:?\s+))?(?P<said>right|correct|wrong|incorrect)\s*[.!]?",
    re.IGNORECASE,
)
_DOUBT = re.compile(
    r"\b(?:wrong|incorrect|not|no|never|cannot|but|however|unless|partly|partially|or)\b|n't\b", re.IGNORECASE
)
_RIGHT = ("right", "correct")


def verdict_of(reply: str) -> bool | None:
    """True for right, False for wrong, None for anything unclear.

    A verdict is a JSON object with `verdict` and nothing else around it, or a sentence that says nothing but the verdict
    ("Right.", "The answer is wrong"), first or last in the reply. "Right" counts only where no other word of the reply
    speaks against it. What stands in <think> marks is left out; thoughts that do not end are no verdict.

        verdict_of("**Right**")  # True
        verdict_of("Wrong. The right answer is Paris.")  # False
        verdict_of("It is not wrong.")  # None
    """
    text = _THOUGHTS.sub("", reply).strip()
    if _OPEN_THOUGHT.search(text):
        return None
    if fenced := _FENCE.match(text):
        text = fenced[1].strip()
    if text.startswith("{"):
        return _from_json(text)
    sentences = [s.strip() for s in _SENTENCE_END.split(_MARKS.sub("", text)) if s.strip()]
    found = [m["said"].casefold() in _RIGHT for s in sentences if (m := _STATEMENT.fullmatch(s))]
    ends = [s for s in (sentences[:1] + sentences[-1:]) if _STATEMENT.fullmatch(s)]
    if not ends or len(set(found)) != 1:
        return None
    if found[0] and _DOUBT.search(" ".join(sentences)):
        return None
    return found[0]


def _from_json(text: str) -> bool | None:
    try:
        row = parse(text)
    except ValueError:
        return None
    said = row.get("verdict") if isinstance(row, dict) else None
    plain = said.strip().casefold() if isinstance(said, str) else said
    if plain is True or plain in _RIGHT:
        return True
    return False if plain is False or plain in ("wrong", "incorrect") else None
