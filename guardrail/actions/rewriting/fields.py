"""The JSON answer that is left when some of its fields are held back: null stands in their place.

Knows nothing about why a field is held back, nor about schemas beyond whether they allow null there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from guardrail.actions.rewriting.rewrite import Rewritten, rewrite
from guardrail.types import Aside, JudgedClaim

NULL = "null"


def held_back(claims: Sequence[JudgedClaim]) -> list[JudgedClaim]:
    """The claims that the policy does not keep as they stand: a field has no room for a hedge."""
    return [claim for claim in claims if claim.action != "keep"]


def what_is_left(
    answer: str, claims: Sequence[JudgedClaim], asides: Sequence[Aside], may_be_null: Callable[[str], bool]
) -> Rewritten | None:
    """`without_fields` for an answer that has any, `rewrite` for all others."""
    if any(judged.claim.path is not None for judged in claims):
        return without_fields(answer, claims, may_be_null)
    return rewrite(answer, claims, asides)


def without_fields(answer: str, claims: Sequence[JudgedClaim], may_be_null: Callable[[str], bool]) -> Rewritten | None:
    """Null in the place of each field that is held back; None where it must not stand there, or in the place of other text.

    Args:
        answer: The text.
        claims: Each with its decision, in the order of the text; fields have a path.
        may_be_null: Whether null may stand at the path of a field.

    Returns:
        The text with what stands for each claim, nothing for a field that is held back; `empty` where all are.
    """
    gone = held_back(claims)
    if not all(claim.claim.path is not None and may_be_null(claim.claim.path) for claim in gone):
        return None
    pieces: list[str] = []
    spans: list[tuple[int, int] | None] = []
    at = length = 0
    for judged in claims:
        claim = judged.claim
        shown = NULL if judged in gone else answer[claim.start : claim.end]
        pieces += [answer[at : claim.start], shown]
        length += claim.start - at + len(shown)
        spans.append(None if judged in gone else (length - len(shown), length))
        at = claim.end
    text = "".join([*pieces, answer[at:]])
    left = tuple(
        replace(judged, shown="" if span is None else text[span[0] : span[1]])
        for judged, span in zip(claims, spans, strict=True)
    )
    return Rewritten(text, left, tuple(spans), empty=bool(claims) and len(gone) == len(claims))
