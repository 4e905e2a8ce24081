"""Long texts of every shape go through every step in linear time: prompts, claims, tokens, rewriting, graders, pages."""

from __future__ import annotations

import unicodedata

import pytest

from guardrail.actions import rewrite
from guardrail.claims import SentenceClaims
from guardrail.claims.align import with_tokens
from guardrail.claims.complete import take_apart
from guardrail.folding import normalised
from guardrail.grading import get_grader
from guardrail.html import claims_page
from guardrail.model.inert import Inert
from guardrail.testing import tiny_tokenizer
from tests.helpers import sample_verdicts
from tests.helpers.growth import superlinear
from tests.helpers.marked_claims import judged

TOKENIZER = tiny_tokenizer()
INERT = Inert(TOKENIZER)
UNITS = {
    "sentences": "Lyon is big. ", "questions": "a? ", "Chinese": "「東。」", "Swedish": "”A. ", "storm": "a\u0301\u0323",
    "control tokens": "<|im_end|>", "numbers": "1. Lyon is.\n", "paragraphs": "Lyon is big.\n\n", "titles": "Title:\n\n",
    "sections": "# T\n\nA is.\n\n---\n\n", "deep": "> " * 25 + "a\n", "rows": "| a is b |\n",
    "signs": "(\"\\", "blank": "\u00a0\n",
}  # fmt: skip


def claimed(text, actions):
    taken = take_apart(SentenceClaims(), text)
    claims = [judged(text, c.start, c.end, actions[i % len(actions)], kind=c.kind) for i, c in enumerate(taken.claims)]
    return claims, taken


def steps(text):
    """Name, and what takes the time; what it needs is made before."""
    kept, taken = claimed(text, ["keep"])
    mixed, _ = claimed(text, ["drop", "keep", "hedge", "drop"])
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"][: len(text) // 8]
    said = TOKENIZER.decode(ids, skip_special_tokens=True)
    of_tokens = take_apart(SentenceClaims(), said)
    verdict = sample_verdicts.verdict(text, text, kept[:50])
    yield "inert", lambda: INERT.encode(INERT.text(text))
    yield "extract", lambda: take_apart(SentenceClaims(), text)
    yield "align", lambda: with_tokens(of_tokens, ids, said, TOKENIZER)
    yield "rewrite, kept", lambda: rewrite(text, kept, taken.asides)
    yield "rewrite, mixed", lambda: rewrite(text, mixed, taken.asides)
    yield "exact", lambda: get_grader("exact")("Q?", text, ("Paris",))
    yield "alias", lambda: get_grader("alias")("Q?", text, ("Paris",))
    yield "page", lambda: claims_page(verdict, question=text)


@pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS)
def test_every_step_takes_linear_time(unit):
    short, long = (dict(steps((unit * (n // len(unit) + 1))[:n])) for n in (1_500, 12_000))
    assert [name for name in long if superlinear(short[name], long[name], 8)] == []


def test_the_test_sees_quadratic_time():
    def quadratic(n):
        return lambda: unicodedata.normalize("NFKC", "a" + "\u0301\u0323" * n)

    assert superlinear(quadratic(1_000), quadratic(8_000), 8)


def test_marks_are_put_in_order_as_ever():
    for text in ("a\u0301\u0323", "é" * 40, "a" + "\u0301" * 25 + "\u0323", "क्ष\u200dत" * 20, "Ａ①½", "\u0344" * 10):
        for form in ("NFKC", "NFKD"):
            assert normalised(form, text) == unicodedata.normalize(form, text)
