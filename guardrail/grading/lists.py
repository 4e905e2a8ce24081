"""An answer that lists several things -> its parts; what share of the things it gives, and of the parts that are right.

Knows nothing of how a part is compared with an accepted form: graders do that (`Grader.grade_lists`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from guardrail.grading.alias import COPULAS, bullets, equal, first_sentence, negations_of
from guardrail.plain_text import Token, tokens

_SHORT_LINE = 6  # tokens; lines that are all so short are a list without bullets
# White space before is taken from where it begins alone: tried from each of its signs, a long one takes quadratic time
_BETWEEN = re.compile(r"(?:(?<!\s)\s+)?(?:[,;、，；\n]|&|\b(?:and|und|et|y|as well as)\b)\s*", re.IGNORECASE)
_ASIDE = re.compile(r"(?:(?<!\s)\s+)?\([^()]*\)")
_EXPLAINED = re.compile(r"(?:(?<!\s)\s+)?(?::|\s[-–—])\s.*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ListGrade:
    """What an answer gives of the things that are all needed.

    given: for each of them, in order, whether a part of the answer gives it; None where the grader cannot say. wrong: parts of
    the answer, as written, that are none of them. parts: how many it has; unsure: of them, those that may be none.
    """

    given: tuple[bool | None, ...]
    wrong: tuple[str, ...]
    parts: int
    unsure: int = 0

    @property
    def grade(self) -> bool | None:
        """True where all are given and nothing else is; None where the grader cannot say."""
        if self.wrong or not self.parts or False in self.given:
            return False
        return None if self.unsure or None in self.given else True

    @property
    def recall(self) -> float:
        """Share of the needed things that are given, in [0, 1]."""
        return self.given.count(True) / len(self.given)

    @property
    def precision(self) -> float:
        """Share of the answer's parts that are among the needed things, in [0, 1]; 0 for an answer without a part."""
        return (self.parts - len(self.wrong) - self.unsure) / self.parts if self.parts else 0.0


def parts_of(question: str, answer: str, items: Sequence[Sequence[str]]) -> list[str]:
    """The things that an answer lists, as written.

        parts_of("Which primary colours?", "The primary colours are red, blue and yellow.", [["red"], ["blue"], ["yellow"]])
        # ["The primary colours are red", "blue", "yellow."]

    Of a list with bullets or numbers the heads of its lines; otherwise the first statement, after a colon if it has one, taken
    apart at commas, semicolons and "and". An accepted form is never taken apart ("Trinidad and Tobago"). What stands in
    brackets, and what repeats the question's words alone, is left out. "Or" joins alternatives, and stays in its part; what
    stands before the list stays with its first thing where it denies ("These are not:").
    """
    forms = [form for item in items for form in item]
    whole = [words for words in map(tokens, forms) if words]
    lines = [line.strip() for line in answer.splitlines() if line.strip()]
    listed = bullets(answer)
    if len(listed) < 2 and len(lines) > 1 and all(0 < len(tokens(line)) <= _SHORT_LINE for line in lines):
        listed = [line for line in lines if not line.endswith((":", "?"))]
    if len(listed) > 1:
        # a line may hold two: "Red, the warmest" is for the grader to judge, but "red and blue" are two things
        pieces = [p for line in listed for p in _split(_EXPLAINED.sub("", _ASIDE.sub("", line)), forms)]
        head = lines[0] if lines[0].rstrip(" *_").endswith(":") else ""
    else:
        text = _ASIDE.sub("", first_sentence(answer, whole))
        head, _, text = text.rpartition(": ")
        pieces = _split(text, forms)
    if pieces and _denies(tokens(head)):
        pieces[0] = f"{head.strip(': *_')} {pieces[0]}"
    asked = {t.text for t in tokens(question)} | COPULAS
    return [piece for piece in pieces if _says_more(tokens(piece), asked, whole)]


def _denies(said: list[Token]) -> bool:
    return any(t.text in negations_of(said) for t in said)


def _says_more(said: list[Token], asked: set[str], forms: list[list[Token]]) -> bool:
    return any(t.text not in asked for t in said) or any(equal(said, form) for form in forms)


def _split(text: str, forms: Sequence[str]) -> list[str]:
    """Apart at what stands between things, but not within an accepted form."""
    joined = [form for form in sorted(forms, key=len, reverse=True) if _BETWEEN.search(form)]
    kept = re.compile("|".join(rf"(?<!\w){re.escape(form)}(?!\w)" for form in joined) or r"(?!)", re.IGNORECASE)
    whole = [m.span() for m in kept.finditer(text)]
    pieces, start = [], 0
    for gap in _BETWEEN.finditer(text):
        if not any(first < gap.end() and gap.start() < last for first, last in whole) and not _in_number(text, gap):
            pieces.append(text[start : gap.start()])
            start = gap.end()
    return [piece for piece in (p.strip() for p in [*pieces, text[start:]]) if piece]


def _in_number(text: str, gap: re.Match[str]) -> bool:
    """Whether a comma stands between the digits of one number: 1,000."""
    return gap[0] == "," and text[: gap.start()][-1:].isdigit() and bool(re.match(r"\d{3}(?!\d)", text[gap.end() :]))
