"""Answers to decide about, and policies from a few lines of rules."""

from __future__ import annotations

from functools import cache

from hypothesis import strategies as st

from guardrail.policy import Policy
from guardrail.types import FINISH_REASONS, LABELS, UNSCORED_REASONS, Confidence, Evidence, Score

SCORED = Score(hybridgrad=2e-4, semgrad=2e-4, paragrad=1e-4, entropy=3.9, nll=7.1, length=4)
UNSCORED = Score.none("not_finite", "a logit is NaN", length=4)
PASSAGE = Evidence("Ouagadougou is the capital.", "bf.md", 0.8)
UNKNOWN = Confidence.none("no calibrator")
GUARDED = ("default", "retrieve_first", "strict")


def sure(p: float, *, in_range: bool = True) -> Confidence:
    """A calibrated confidence with the label of its bin."""
    return Confidence(p, max(p - 0.1, 0.0), min(p + 0.1, 1.0), LABELS[min(int(p * 5), 4)], in_range)


def policy(rules: str, head: str = "") -> Policy:
    """A policy called p from its rules, in flow style: `policy("[{name: a, then: answer}]")`."""
    return Policy.from_text(f"version: 1\nname: p\n{head}rules: {rules}\n", "p.yaml")


@cache
def shipped(name: str) -> Policy:
    """A shipped policy, read once: properties ask for it hundreds of times."""
    return Policy.load(name)


def matches(when: str, confidence: Confidence, score: Score = SCORED, **kwargs: object) -> bool:
    """Whether a rule with these conditions fires."""
    return policy(f"[{{name: a, when: {when}, then: answer}}]").decide(confidence, score, **kwargs).action == "answer"  # type: ignore[arg-type]


probabilities = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.2, 0.35, 0.6, 0.8, 1.0]))
known = st.builds(sure, probabilities, in_range=st.booleans())
broken = st.builds(
    Confidence,
    st.sampled_from([None, float("nan"), float("inf"), -0.5, 1.5]),
    st.none(),
    st.none(),
    st.sampled_from([None, *LABELS]),
    st.booleans(),
    st.text(max_size=20),
)
confidences = st.one_of(known, broken)
scored = st.builds(
    Score,
    st.floats(),
    st.floats(),
    st.floats(),
    st.floats(),
    st.floats(),
    length=st.integers(min_value=0, max_value=9999),
)
unscored = st.builds(Score.none, st.sampled_from(UNSCORED_REASONS), st.text(max_size=300), length=st.integers(0, 99))
scores = st.one_of(scored, unscored)
situations = st.fixed_dictionaries(
    {
        "evidence": st.sampled_from([(), (PASSAGE,), (PASSAGE, PASSAGE)]),
        "finish_reason": st.sampled_from(FINISH_REASONS),
        "retriever": st.booleans(),
    }
)
