"""Verdicts with claims, made by hand: one of each kind that a reader may meet."""

from __future__ import annotations

from guardrail.calibration.labels import label_for
from guardrail.types import (
    Aside,
    Attempt,
    Claim,
    ClaimDecision,
    Confidence,
    Decision,
    Evidence,
    JudgedClaim,
    Score,
    Verdict,
    Verification,
)

QUESTION = "Tell me about Lyon."


def sure(p: float | None, width: float = 0.1, **values) -> Confidence:
    if p is None:
        return Confidence.none("unscored: not_finite")
    return Confidence(p, max(p - width, 0.0), min(p + width, 1.0), label_for(p), **values)


def scored(p: float | None) -> Score:
    return Score.none("not_finite", "NaN in a logit") if p is None else Score(1 - p, 1 - p, 1 - p, 1.0, 4.0, 5)


def claim(answer, source, p, action="keep", *, text=None, kind="sentence", found=None, shown=None, start=0, **values):
    """One judged claim at the first place of `source` in the answer from `start` on; its tokens are made up."""
    at = answer.index(source, start)
    confidence = p if isinstance(p, Confidence) else sure(p, **values)
    explanation = f"rule of {action}"
    standing = {"drop": "", "hedge": source.removesuffix(".") + " (unsure)."}.get(action, source)
    return JudgedClaim(
        Claim(text or source, at, at + len(source), kind),
        at // 4,
        (at + len(source)) // 4 + 1,
        scored(confidence.p_correct),
        confidence,
        ClaimDecision(action, action, explanation),
        found,
        standing if shown is None else shown,
    )


def verdict(answer, text, claims=(), asides=(), *, p=0.55, action="answer", finish="stop", **values) -> Verdict:
    whole = Attempt(answer, scored(p), sure(p), Decision(action, "whole", f"rule of {action}"), finish)
    defaults = {"timing_ms": {"generate": 1200.0, "score": 310.0}, "model": "smollm2-135m", "policy": "per_claim"}
    return Verdict(
        text,
        (whole,),
        calibrator="smollm2-135m-claims",
        claims=tuple(claims),
        asides=tuple(asides),
        **defaults | values,
    )


def aside(answer, source, reason) -> Aside:
    return Aside(source, answer.index(source), answer.index(source) + len(source), reason)


def city() -> Verdict:
    """Every label and every action; supported, contradicted and not found; a greeting and a heading."""
    answer = (
        "Sure! Here is an overview.\n\n## Lyon\n\nLyon is a city in France. It lies where the Rhône meets the Saône. "
        "It was founded in 43 BC as Lugdunum. Its mayor is Jean Moulin. It has 12 million inhabitants.\n\n"
        "- The film was invented there.\n- Its opera opened in 1701."
    )
    atlas = Evidence("Lyon is the third-largest city of France; about 520,000 people live in it.", "atlas.txt", 0.83)
    rivers = Evidence("The Saône joins the Rhône in Lyon.", "rivers.md", 0.91)
    method = "similarity, then the model's own judgement"
    claims = [
        claim(answer, "Lyon is a city in France.", 0.93, width=0.04),
        claim(
            answer,
            "It lies where the Rhône meets the Saône.",
            0.71,
            found=Verification("supported", method, (rivers,), 0.94),
        ),
        claim(answer, "It was founded in 43 BC as Lugdunum.", 0.52, "hedge"),
        claim(answer, "Its mayor is Jean Moulin.", 0.31, "drop", found=Verification("not found", method)),
        claim(
            answer,
            "It has 12 million inhabitants.",
            0.12,
            "drop",
            found=Verification("contradicted", method, (atlas,), 0.03),
        ),
        claim(answer, "The film was invented there.", None, "drop", kind="item"),
        claim(
            answer, "Its opera opened in 1701.", 0.44, "retrieve", kind="item", basis="extrapolated", reason="a list"
        ),
    ]
    asides = [
        aside(answer, "Sure!", "greeting"),
        aside(answer, "Here is an overview.", "fragment"),
        aside(answer, "Lyon\n".strip(), "heading"),
        Aside("Lyon has an airport.", None, None, "unaligned"),
    ]
    shown = (
        "## Lyon\n\nLyon is a city in France. It lies where the Rhône meets the Saône. It was founded in 43 BC as Lugdunum "
        "(unsure, 52% chance of being right).\n\n- Its opera opened in 1701."
    )
    return verdict(answer, shown, claims, asides)


def overlapping() -> Verdict:
    """Atomic claims: two share a sentence, one lies inside another, two end at the same place."""
    answer = "Marie Curie, born in Warsaw, won two Nobel Prizes. She died in 1934."
    claims = [
        claim(answer, "Marie Curie, born in Warsaw", 0.88, text="Marie Curie was born in Warsaw.", kind="atomic"),
        claim(
            answer,
            "Marie Curie, born in Warsaw, won two Nobel Prizes.",
            0.35,
            "hedge",
            text="Marie Curie won two Nobel Prizes.",
            kind="atomic",
        ),
        claim(answer, "two Nobel Prizes.", 0.61, text="There were two Nobel Prizes.", kind="atomic"),
        claim(answer, "She died in 1934.", 0.9, kind="atomic"),
    ]
    return verdict(answer, answer, claims)


def table() -> Verdict:
    """Rows of a table, wide characters, text from right to left."""
    answer = "| city | country |\n| --- | --- |\n| 東京都は日本の首都です | 日本 |\n| القاهرة | مصر |\n| Oslo 🇳🇴 | Norway |\n"
    claims = [
        claim(answer, "東京都は日本の首都です | 日本", 0.97, kind="row", width=0.02),
        claim(answer, "القاهرة | مصر", 0.66, kind="row"),
        claim(answer, "Oslo 🇳🇴 | Norway", 0.25, "drop", kind="row"),
    ]
    return verdict(
        answer, answer.replace("| Oslo 🇳🇴 | Norway |\n", ""), claims, [aside(answer, "city | country", "heading")]
    )


def hostile() -> Verdict:
    """Text that tries to be markup, a style, a terminal's command, or another text."""
    answer = (
        "<script>alert('x')</script> & \"q\" [red]no[/red] \x1b[31mred\x1b[0m \x00 \u202etxet\u202c \ud83d half. "
        "</span></div><img src=x onerror=alert(1)>{{ 7*7 }}</style>\r\nEnd."
    )
    bad = 'javascript:alert(1)"><script>alert(2)</script>'
    first = answer[: answer.index("half.") + 5]
    claims = [
        claim(answer, first, 0.5, "hedge", found=Verification("supported", bad, (Evidence(bad, bad, 0.5),))),
        claim(answer, "</span></div><img src=x onerror=alert(1)>{{ 7*7 }}</style>", 0.1, "drop"),
    ]
    return verdict(answer, answer, claims, [Aside(bad, None, None, "unaligned")], policy=bad, model=bad)


def abstained() -> Verdict:
    """Nothing left: every claim dropped, one of them with a confidence that is no number."""
    answer = "It is blue. It is green."
    broken = Confidence(float("nan"), None, None, "very high")
    claims = [claim(answer, "It is blue.", 0.05, "drop"), claim(answer, "It is green.", broken, "drop")]
    return verdict(
        answer, "I do not know this well enough to answer.", claims, p=None, action="abstain", finish="length"
    )


def without_claims() -> Verdict:
    return verdict("Hello!", "Hello!", (), [aside("Hello!", "Hello!", "greeting")], p=None)


def empty() -> Verdict:
    return verdict("", "I do not know.", p=None, action="abstain")


ALL = {f.__name__: f for f in (city, overlapping, table, hostile, abstained, without_claims, empty)}
