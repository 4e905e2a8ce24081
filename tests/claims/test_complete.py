"""Nothing of an answer is shown that nobody judged."""

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from guardrail import Guard
from guardrail.actions.rewriting.rewrite import rewrite
from guardrail.claims import SentenceClaims
from guardrail.claims.complete import take_apart, unread
from guardrail.errors import DataError
from guardrail.types import Aside, Claim, ClaimDecision, Claims, Confidence, JudgedClaim, Score
from tests.helpers.hostile_text import FRAGMENTS, answers, with_unique_words
from tests.helpers.scripted_claims import QUESTION, france, guarded

SHAPES = st.lists(
    st.one_of(st.sampled_from(FRAGMENTS), st.characters(), st.characters(categories=("Zs", "Cc", "Cf", "Cs", "So"))),
    max_size=14,
).map("".join)


def decided(claim, action):
    confidence = Confidence.none("a test")
    return JudgedClaim(claim, 0, 1, Score.none("not_finite"), confidence, ClaimDecision(action, "rule", "why"))


@settings(max_examples=600, deadline=None)
@given(SHAPES)
@example("᎑\xa0T\u1680.       \x0f)Æe.g.")
def test_every_letter_and_digit_lies_in_a_claim_or_an_aside(answer):
    assert unread(answer, SentenceClaims().extract(answer)) == []


@settings(max_examples=300, deadline=None)
@given(SHAPES)
def test_claims_hold_what_they_say_and_kept_ones_change_no_byte(answer):
    taken = SentenceClaims().extract(answer)
    for each in (*taken.claims, *taken.asides):
        assert answer[each.start : each.end] == each.text
    kept = rewrite(answer, [decided(claim, "keep") for claim in taken.claims], taken.asides)
    assert kept.text == answer
    assert kept.spans == tuple((claim.start, claim.end) for claim in taken.claims)


@settings(max_examples=300, deadline=None)
@given(SHAPES, st.randoms(use_true_random=False))
def test_no_word_of_a_dropped_claim_is_shown_and_every_word_that_is_shown_was_judged(shape, chance):
    answer = with_unique_words(shape)
    taken = SentenceClaims().extract(answer)
    judged = [decided(claim, chance.choice(["keep", "drop"])) for claim in taken.claims]
    shown = rewrite(answer, judged, taken.asides).text
    dropped = {word for claim in judged if claim.action == "drop" for word in claim.claim.text.split() if "q" in word}
    assert not [word for word in dropped if word.strip(".*_`") and word in shown.split()]
    assert unread(shown, SentenceClaims().extract(shown)) == []


@pytest.mark.parametrize(
    "answer",
    [
        "# \u2009Paris\u202f is big [^1]\x1f",  # white space that is none to the Markdown parser, in a heading
        " #      [^1]: Note one.\x85It was 1868.\x1d",
        "# A\x1c## B\x1f#",
        "Paris is big.\n\u00a0\nLyon is big.",
        "Paris is big.\n\u3000\nLyon is big.",
        "Paris is big.\u2028\u2029Lyon is big.",
        "Paris is big.\x0c\nLyon is big.\x0b\nNice too.",
        "1. Lyon is in France.\n2. \n\nParis is big.",
        "[a]: http://example.com 'Paris'\n[^1]: Lyon",
        "<div>\nParis\n</div>\n<!-- Lyon -->",
        "Paris\n===\nLyon\n---",
        "---\ntitle: Paris\n---\nLyon",
        "```py\nParis\n```\n~~~\nLyon",
        "> > 1. - Paris\n> lazy Lyon",
        "Paris\rLyon\r\rNice",
    ],
)
def test_shapes_that_hid_text(answer):
    assert unread(answer, SentenceClaims().extract(answer)) == []


def test_what_an_extractor_leaves_out_is_an_aside_of_its_own():
    class First:
        name, options = "first", {}

        def extract(self, answer, *, question=""):
            return Claims((Claim(answer[:15], 0, 15),))

    text = "Paris is large. Lyon too.\n\n- [x] **Nice** is\n1. !?\nb) ..."
    taken = take_apart(First(), text)
    assert taken.asides == (Aside("Lyon too.", 16, 25, "unread"), Aside("Nice** is", 35, 44, "unread"))
    assert take_apart(First(), "Paris is large.") == Claims((Claim("Paris is large.", 0, 15),))


@pytest.mark.parametrize(("start", "end"), [(-1, 3), (3, 3), (4, 2), (0, 99)])
def test_a_place_outside_the_answer_is_refused_in_words(start, end):
    with pytest.raises(DataError, match="no part of the answer"):
        unread("Paris is large.", Claims((Claim("x", start, end),)))


class Leaving(SentenceClaims):
    """Leaves out the last claim: what a mistake in an extractor comes to."""

    def extract(self, answer, *, question=""):
        taken = super().extract(answer, question=question)
        return Claims(taken.claims[:-1], taken.asides)


def ways(guard: Guard):
    yield "answer", guard.answer(QUESTION)
    yield "answer_batch", guard.answer_batch([QUESTION, QUESTION])[1]
    yield "check", guard.check(QUESTION, "Paris is large. Lyon has two rivers.")
    judging = guard.judge(QUESTION)
    next(judging)
    with pytest.raises(StopIteration) as stopped:
        judging.send("Paris is large. Lyon has two rivers.")
    yield "judge", stopped.value.value


def test_an_answer_with_text_that_nobody_judged_is_not_let_through():
    for way, verdict in ways(guarded(france(), claims=Leaving())):
        assert verdict.action == "abstain", way
        assert verdict.rule == "text that nobody judged", way
        assert "lie in no claim" in verdict.explanation
        assert "rivers" not in verdict.text.split("Reason")[0]
        assert all(claim.shown == "" for claim in verdict.claims)
    for way, verdict in ways(guarded(france())):
        assert verdict.rule != "text that nobody judged", way


def test_fuzzed_answers_lose_nothing():
    chance = random.Random(7)
    for answer in answers(chance, 2_000):
        assert unread(answer, SentenceClaims().extract(answer)) == [], ascii(answer)
