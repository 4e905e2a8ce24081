"""An answer cut at its claims: nothing lost, nothing shown at the wrong words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.claims.segments import segments
from guardrail.claims.shown import least_certain, probability, remarks, shown_label
from guardrail.errors import DataError
from guardrail.types import Aside, Claim, ClaimDecision, Confidence, JudgedClaim
from tests.helpers import sample_verdicts
from tests.helpers.growth import superlinear


def at(start, end, p=0.5):
    confidence, decision = sample_verdicts.sure(p), ClaimDecision("keep", "r", "e")
    return JudgedClaim(Claim("c", start, end), 0, 1, sample_verdicts.scored(p), confidence, decision)


@st.composite
def answers(draw):
    text = draw(st.text(min_size=1, max_size=40))
    span = st.tuples(st.integers(0, len(text)), st.integers(0, len(text))).filter(lambda s: s[0] < s[1])
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), min_size=2, max_size=6)))
    asides = [Aside("a", *pair, "fragment") for pair in zip(cuts[::2], cuts[1::2], strict=False)]
    return text, draw(st.lists(span, max_size=6)), asides


@given(answers())
def test_each_character_is_in_the_claims_and_asides_that_cover_it(case):
    text, spans, asides = case
    found = segments(text, [at(*span) for span in spans], asides)
    assert "".join(text[s.start : s.end] for s in found) == text
    for segment in found:
        for i in range(segment.start, segment.end):
            covering = tuple(n for n, (start, end) in enumerate(spans) if start <= i < end)
            assert segment.claims == covering
            beside = [a for a in asides if a.start <= i < a.end]
            assert segment.aside == (beside[0] if beside and not covering else None)
        assert segment.ends == tuple(n for n in segment.claims if spans[n][1] == segment.end)
    assert sorted(n for s in found for n in s.ends) == list(range(len(spans)))


@pytest.mark.parametrize("span", [(-1, 2), (0, 4), (2, 2), (2, 1)])
def test_a_claim_outside_the_answer_is_refused(span):
    with pytest.raises(DataError, match=rf"a claim lies at {span[0]}:{span[1]}.* of 3 characters"):
        segments("abc", [at(*span)])
    with pytest.raises(DataError, match="an aside lies at"):
        segments("abc", [], [Aside("x", *span, "code")])


def test_an_empty_answer_has_no_segments():
    assert segments("", [], [Aside("x", None, None, "unaligned")]) == []


def test_thousands_of_claims_take_linear_time():
    def cut(n):
        text, claims = "A is B. " * n, [at(i * 8, i * 8 + 7) for i in range(n)]
        return lambda: segments(text, claims)

    assert len(cut(8_000)()) == 16_000
    assert not superlinear(cut(1_000), cut(8_000), 8)


def test_what_several_claims_share_is_as_certain_as_the_least():
    assert least_certain([at(0, 1, 0.9), at(0, 1, 0.3)]) == "low"
    assert least_certain([at(0, 1, 0.1), at(0, 1, None)]) is None


@pytest.mark.parametrize("p", [None, float("nan"), float("inf"), -0.1, 1.5])
def test_no_number_is_never_confident(p):
    broken = Confidence(p, 0.9, 1.0, "very high")
    assert (shown_label(broken), probability(broken)) == (None, "none")
    assert remarks(broken) == ("no confidence: it is not a probability",)
