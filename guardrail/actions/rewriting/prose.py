"""How one sentence changes: hedged by wording at its end, or put first where another stood before it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from guardrail.actions.wording import DEFAULT_CLAIM_HEDGE, percent
from guardrail.claims.shown import shown_label
from guardrail.policy.template import fill

if TYPE_CHECKING:
    from guardrail.types import JudgedClaim

_WITH_COMMA = (
    "however|moreover|furthermore|additionally|in addition|also|besides|likewise|similarly|meanwhile|"
    "therefore|thus|hence|consequently|accordingly|as a result|because of this|for this reason|"
    "nevertheless|nonetheless|still|yet|even so|that said|conversely|instead|rather|"
    "in contrast|by contrast|on the other hand|on the contrary|in fact|indeed|for example|for instance|"
    "specifically|in particular|then|next|plus|second|third|secondly|thirdly|fourthly|"
    "and|but|so|or|nor"
)
_CONNECTIVE = re.compile(
    rf"(?:(?:{_WITH_COMMA}),\s+|(?:and|but|or|also|plus)\s+(?!then\b|not\b)|so\s+(?!far\b|many\b|much\b|called\b|that\b|-))",
    re.IGNORECASE,
)
_ALSO = re.compile(r"((?:(?!but\b|only\b)[\w'’-]+\s+){1,4}?)also\s+", re.IGNORECASE)
_OPENING = re.compile(r"[*_~\"'“‘«(\[]*")
_TAIL = re.compile(r"(?<![.!?;:,…。！？；，])[.!?;:,…。！？；，]+[*_~]*$")
_OWN_STOP = re.compile(r"[.!?…。！？][*_~]*$")
_FINAL_STOP = re.compile(r"(?<![.!?…。！？])[.!?…。！？]+(?=[*_~\"'”’»)\]]*$)")


def without_connective(sentence: str) -> str:
    """`However, it also rains.` -> `It rains.`: what stood before the sentence is gone."""
    opening = _OPENING.match(sentence)
    at = opening.end() if opening else 0
    begin = at
    while (found := _CONNECTIVE.match(sentence, begin)) and found.end() < len(sentence):
        begin = found.end()
    rest = sentence[begin:]
    if found := _ALSO.match(rest):
        rest = found.group(1) + rest[found.end() :]
    return sentence if rest == sentence[at:] else sentence[:at] + capitalised(rest)


def capitalised(sentence: str) -> str:
    """With a capital first letter, unless the word is spelt with one further on (iPhone) or is code."""
    word = re.match(rf"({_OPENING.pattern})(\w+)", sentence)
    if not word or word.group(2)[1:] != word.group(2)[1:].lower():
        return sentence
    at = len(word.group(1))
    return sentence[:at] + sentence[at].upper() + sentence[at + 1 :]


def hedged(text: str, claim: JudgedClaim, *, row: bool = False) -> str:
    """The text in the claim's wording, which goes before a final full stop; in a row, into its first and last cell."""
    lead, body, tail = _parts(text, row=row)
    scored = claim.score.unscored is None
    label = shown_label(claim.confidence) if scored else None
    template = claim.decision.template or DEFAULT_CLAIM_HEDGE[label]
    values = {
        "answer": "\0",
        "confidence": percent(claim.confidence.p_correct if scored else None),
        "label": label or "unknown",
        "explanation": claim.decision.explanation.replace("\0", ""),
    }
    wording = " ".join(fill(template, values).split())
    if row:
        wording = re.sub(r"(?<!\\)\|", r"\\|", wording)
    out = wording.replace("\0", body)
    if not wording.endswith("\0") and _OWN_STOP.search(wording):
        tail = tail.lstrip(".!?;:,…。！？；，")
    return lead + out + tail


def ended(text: str, stop: str) -> str:
    """A clause as the end of its sentence: without a comma, with the full stop of what followed."""
    return text.rstrip(" ,;:–—") + stop


def final_stop(text: str) -> str:
    """The punctuation that ends the sentence; empty when it goes on."""
    found = _FINAL_STOP.search(text.rstrip())
    return found.group() if found else ""


def _parts(text: str, *, row: bool) -> tuple[str, str, str]:
    if row:
        inner = text.removeprefix("|").lstrip()
        body = inner.removesuffix("|").rstrip()
        lead = len(text) - len(inner)
        return text[:lead], body, text[lead + len(body) :]
    found = _TAIL.search(text)
    at = found.start() if found else len(text)
    return "", text[:at], text[at:]
