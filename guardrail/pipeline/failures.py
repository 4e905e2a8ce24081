"""What a part that fails comes to: an error of our own, in the log whole and in a verdict in few words.

Parts are what others may have written: retriever, verifier, claim extractor, scorer. What they give is checked here before
anything is concluded from it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

from guardrail.deadlines import check_deadline
from guardrail.errors import (
    CalibrationError,
    DeadlineError,
    GuardrailError,
    MissingExtraError,
    PartError,
    PolicyError,
    UnsupportedModelError,
)
from guardrail.types import SUPPORTS, Aside, Claim, Claims, Score, Verification

LOG = logging.getLogger("guardrail")

ON_ERROR = "on error"
"""The rule of a decision that no rule made: a part of the guard failed."""

MISTAKES = (UnsupportedModelError, MissingExtraError, CalibrationError, PolicyError, DeadlineError)
"""Errors that are raised whatever a policy says: a Guard is set up wrongly, so that every answer would meet them, or the time
that the caller gave is over."""


def failed(part: str, given: object, error: Exception) -> GuardrailError:
    """The error of our own for what a part raised; raises `DeadlineError` where the caller's time is over."""
    check_deadline()
    if isinstance(error, GuardrailError) and not isinstance(error, DeadlineError):  # its own time is not the caller's
        return error
    name = getattr(given, "name", None) or type(given).__name__
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    wrapped = PartError(f"the {part} {name} failed: {reason}")
    wrapped.__cause__ = error
    return wrapped


def noted(error: GuardrailError) -> str:
    """The failure in few words, for a verdict, which people see.

    The log gets the whole error, which may hold addresses or keys.
    """
    LOG.warning("%s", error, exc_info=error)
    what, _, _ = str(error).partition(": ")
    cause = error.__cause__
    return what if cause is None or isinstance(cause, GuardrailError) else f"{what} ({type(cause).__name__})"


def checked_scores(scorer: Any, scores: Any, asked: Sequence[Any]) -> list[Score]:
    """One finite or unscored `Score` for each trace, or span, that was asked for. Raises `PartError` for anything else."""
    found = _listed("scorer", scorer, scores, len(asked))
    return [_checked_score(scorer, score) for score in found]


def _checked_score(scorer: Any, score: Any) -> Score:
    if not isinstance(score, Score):
        raise PartError(f"the scorer {scorer.name} failed: it gave {type(score).__name__}, not a Score")
    if score.unscored is not None and score.number is not None:
        return Score.none(score.unscored, score.detail, length=score.length, name=score.name)
    if score.unscored is not None:
        return score
    if not isinstance(score.number, (int, float)) or not math.isfinite(score.number):
        detail = f"{score.name} is {score.number}"
        return Score.none("not_finite", detail, length=score.length, name=score.name)
    return score


def checked_claims(extractor: Any, claims: Any, answer: str) -> Claims:
    """Claims and asides that lie within the answer. Raises `PartError` for anything else."""
    if not isinstance(claims, Claims):
        raise PartError(f"the claim extractor {extractor.name} failed: it gave {type(claims).__name__}, not Claims")
    for claim in claims.claims:
        if not isinstance(claim, Claim) or not _lies_in(claim.start, claim.end, answer):
            raise PartError(f"the claim extractor {extractor.name} failed: {claim!r:.120} is no part of the answer")
    for aside in claims.asides:
        unplaced = isinstance(aside, Aside) and aside.start is None and aside.end is None
        if not isinstance(aside, Aside) or not (unplaced or _lies_in(aside.start, aside.end, answer)):
            raise PartError(f"the claim extractor {extractor.name} failed: {aside!r:.120} is no part of the answer")
    return claims


def checked_verifications(verifier: Any, found: Any, n: int) -> list[Verification]:
    """One verification for each of `n` claims. Raises `PartError` for anything else."""
    out = _listed("verifier", verifier, found, n)
    name = getattr(verifier, "name", type(verifier).__name__)
    for each in out:
        if not isinstance(each, Verification) or each.support not in SUPPORTS:
            raise PartError(f"the verifier {name} failed: {each!r:.120} is no Verification with one of {SUPPORTS}")
        p = each.p_supported
        if p is not None and not (isinstance(p, (int, float)) and 0.0 <= p <= 1.0):
            raise PartError(f"the verifier {name} failed: p_supported is {p}, and not in [0, 1]")
    return out


def _listed(part: str, given: Any, found: Any, n: int) -> list[Any]:
    name = getattr(given, "name", type(given).__name__)
    if not isinstance(found, Sequence) or isinstance(found, (str, bytes)):
        raise PartError(f"the {part} {name} failed: it gave {type(found).__name__}, not a list")
    if len(found) != n:
        raise PartError(f"the {part} {name} failed: it gave {len(found)} results for {n}")
    return list(found)


def _lies_in(start: Any, end: Any, text: str) -> bool:
    return type(start) is int and type(end) is int and 0 <= start <= end <= len(text)
