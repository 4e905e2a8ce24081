"""Tokens of a claim: against the tokens' own bytes, against decoding every prefix whole, and as a reader would look at them."""

from __future__ import annotations

import random
import unicodedata
from functools import cache

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from guardrail.claims import SentenceClaims, align
from guardrail.claims.align import token_spans, with_tokens
from guardrail.errors import ScoringError
from guardrail.model.stopping import cut
from guardrail.testing import tiny_local_model
from guardrail.types import Aside, Claim, Claims
from tests.helpers.growth import superlinear
from tests.helpers.tokenizer_kinds import KINDS, byte_fallback, byte_level, crossing, word_piece

TEXTS = [
    "Tokyo is the capital of Japan. It isn't small. 14 million people live there!",
    "Sure! Tokyo 東京 is 😀👨‍👩‍👧 the capital é of Japan.\n\n- one\n- two नमस्ते। It's  nice.",
    "東京は日本の首都です。人口は約1400万人です。",
    "القاهرة عاصمة مصر. e\u0301 and é. 🇯🇵🏴󠁧󠁢󠁥󠁮󠁧󠁿 flags. A\u200db. ½ ﬁ ™",
    "| a | b |\n|---|---|\n| 1 | 2 |",
]
SIGNS = st.sampled_from("abT .,!\n-é東京😀\u200d👩\u0301ि।؟🇯🇵½\ufffd½'“")
WORDS = st.sampled_from(["Tokyo", " is", ". It", " big", "👨‍👩‍👧", "東京", "\n\n- ", "नमस्ते", " ", "e\u0301"])
TEXT = st.lists(WORDS | SIGNS, min_size=1, max_size=40).map("".join)
QUICK = settings(max_examples=120, deadline=None)


def byte_of_sign() -> dict[str, int]:
    """The byte-level alphabet, as GPT-2 made it: printable Latin-1 stands for itself, the rest for 256 and up."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    signs = {chr(b): b for b in plain}
    others = [b for b in range(256) if b not in plain]
    return signs | {chr(256 + i): b for i, b in enumerate(others)}


SIGN = byte_of_sign()


def spelled(tokenizer, token: int) -> bytes:
    return bytes(SIGN[c] for c in tokenizer.convert_ids_to_tokens(token))


@cache
def single_bytes(tokenizer) -> dict[bytes, int]:
    return {spelled(tokenizer, i): i for i in range(len(tokenizer)) if i not in tokenizer.all_special_ids}


def crumbled(tokenizer, ids: list[int], chance: random.Random) -> list[int]:
    """Other tokens of the same bytes: a model may generate them, though its tokenizer would not choose them."""
    single = single_bytes(tokenizer)
    out: list[int] = []
    for token in ids:
        parts = [single[bytes([b])] for b in spelled(tokenizer, token)]
        out += parts if chance.random() < 0.4 else [token]
    return out


def by_bytes(tokenizer, ids: list[int], text: str, start: int, end: int) -> tuple[int, int]:
    """The tokens that overlap the bytes of `text[start:end]`: the definition, for a tokenizer of bytes."""
    first, last = len(text[:start].encode()), len(text[:end].encode())
    at, held = 0, []
    for k, token in enumerate(ids):
        size = len(spelled(tokenizer, token))
        if at < last and first < at + size:
            held.append(k)
        at += size
    return held[0], held[-1] + 1


@pytest.mark.parametrize("kind", [byte_level, crossing])
@QUICK
@given(text=TEXT, data=st.data(), seed=st.integers(0, 9))
def test_they_are_the_tokens_whose_bytes_the_span_has(kind, text, data, seed):
    tokenizer = kind()
    assume(
        "\ufffd" not in text
    )  # the decoder shows half a character so: its own bytes would be told from it by nothing
    ids = crumbled(tokenizer, tokenizer(text, add_special_tokens=False)["input_ids"], random.Random(seed))
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    assert token_spans(ids, text, tokenizer, [(start, end)]) == [by_bytes(tokenizer, ids, text, start, end)]


def by_whole_prefixes(tokenizer, ids: list[int], start: int, end: int) -> tuple[int, int]:
    """The definition for any tokenizer, decoding every prefix whole: quadratic."""
    decoded = tokenizer.decode(ids, skip_special_tokens=True)
    whole, begun = [0], [0]
    for k in range(1, len(ids) + 1):
        prefix = tokenizer.decode(ids[:k], skip_special_tokens=True)
        same = next(
            (i for i, (a, b) in enumerate(zip(prefix, decoded, strict=False)) if a != b), min(len(prefix), len(decoded))
        )
        whole.append(max(whole[-1], same))
        begun.append(max(begun[-1], whole[-1] + (same < len(prefix))))
    first = next(k for k in range(len(ids)) if begun[k + 1] > start)
    return first, next(k for k in range(len(ids) + 1) if whole[k] >= end)


@pytest.mark.parametrize("kind", KINDS)
@QUICK
@given(data=st.data())
def test_windows_give_what_whole_prefixes_give(kind, data):
    tokenizer = KINDS[kind]()
    ids = data.draw(st.lists(st.integers(0, len(tokenizer) - 1), min_size=1, max_size=90))
    text = tokenizer.decode(ids, skip_special_tokens=True)
    assume(text)
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    expected = by_whole_prefixes(tokenizer, ids, start, end)
    lead = len(text) - len(text.lstrip())
    stripped = text.strip()  # as a Trace has it
    assert token_spans(ids, text, tokenizer, [(start, end)]) == [expected]
    if lead <= start and end <= lead + len(stripped):
        assert token_spans(ids, stripped, tokenizer, [(start - lead, end - lead)]) == [expected]


def plain(text: str) -> str:
    folded = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in folded if not c.isspace() and not unicodedata.combining(c))


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("kind", KINDS)
def test_decoded_they_hold_the_claim_and_no_fewer_do(kind, text):
    tokenizer = KINDS[kind]()
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    claims = SentenceClaims().extract(text)
    kept, spans = with_tokens(claims, ids, text, tokenizer)
    if kind in ("byte_level", "crossing", "byte_fallback"):
        assert kept == claims  # nothing is unknown to a tokenizer of bytes
    assert len(kept.claims) + sum(a.reason == "unaligned" for a in kept.asides) == len(claims.claims)
    for claim, (start, end) in zip(kept.claims, spans, strict=True):
        known = plain(
            tokenizer.decode(tokenizer(claim.text, add_special_tokens=False)["input_ids"], skip_special_tokens=True)
        )
        shown = [
            plain(tokenizer.decode(ids[a:b], skip_special_tokens=True))
            for a, b in ((start, end), (start + 1, end), (start, end - 1))
        ]
        assert known in shown[0]
        assert plain(text).count(plain(claim.text)) > 1 or (known not in shown[1] and known not in shown[2])


def test_a_token_across_a_boundary_belongs_to_both_claims():
    tokenizer = crossing()
    tokens = [tokenizer.decode([i]) for i in range(len(tokenizer))]
    ids = [tokens.index("T"), tokens.index("o"), tokens.index(". "), tokens.index("s"), tokens.index("!")]
    assert token_spans(ids, "To. s!", tokenizer, [(0, 3), (4, 6), (3, 6)]) == [(0, 3), (3, 5), (2, 5)]


def test_bytes_of_an_emoji_belong_to_its_claim():
    tokenizer = byte_fallback()
    text = "T 😀😀!"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    first = tokenizer.convert_ids_to_tokens(ids).index("<0xF0>")
    assert token_spans(ids, text, tokenizer, [(2, 3), (3, 4)]) == [(first, first + 4), (first + 4, first + 8)]


def test_end_tokens_and_stripped_space_belong_to_no_claim():
    tokenizer = byte_level()
    ids = [*tokenizer("\n\n Tokyo is big. \n", add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    text = tokenizer.decode(ids, skip_special_tokens=True).strip()
    ((start, end),) = token_spans(ids, text, tokenizer, [(0, len(text))])
    assert tokenizer.decode(ids[start:end]).strip() == "Tokyo is big."
    assert start > 0
    assert end < len(ids) - 1


def test_an_answer_cut_at_a_stop_string():
    tokenizer = crossing()
    ids, text = cut(
        tokenizer, tokenizer("Paris is big. Tokyo is the capital", add_special_tokens=False)["input_ids"], ["apital"]
    )
    assert text == "Paris is big. Tokyo is the c"
    ((start, end),) = token_spans(ids, text, tokenizer, [(14, len(text))])
    assert end == len(ids)
    assert text[14:] in tokenizer.decode(ids[start:end])


def test_what_the_tokenizer_does_not_know_is_reported():
    tokenizer = word_piece()
    answer = "Tokyo is the capital. ∮∯∰ ∱∲∳."
    claims = Claims((Claim(answer[:21], 0, 21), Claim(answer[22:], 22, len(answer))))
    kept, spans = with_tokens(claims, tokenizer(answer, add_special_tokens=False)["input_ids"], answer, tokenizer)
    assert [c.text for c in kept.claims] == ["Tokyo is the capital."]
    assert kept.asides == (Aside("∮∯∰ ∱∲∳.", None, None, "unaligned"),)
    assert len(spans) == 1


@pytest.mark.parametrize("span", [(0, 0), (-1, 2), (2, 1), (0, 6)])
def test_an_impossible_span_is_refused(span):
    tokenizer = byte_level()
    with pytest.raises(ScoringError, match=f"the span \\({span[0]}, {span[1]}\\) is empty or not inside a text of 5"):
        token_spans(tokenizer("Tokyo")["input_ids"], "Tokyo", tokenizer, [span])


def test_given_answers_have_their_tokens():
    local = tiny_local_model()
    trace = local.trace("q", "  Tokyo is big. It is old.  ")
    claims, spans = with_tokens(SentenceClaims().extract(trace.text), trace.response_ids, trace.text, local.tokenizer)
    decoded = [local.tokenizer.decode(trace.response_ids[a:b]) for a, b in spans]
    assert decoded == [c.text for c in claims.claims] == ["Tokyo is big.", "It is old."]


@pytest.mark.parametrize("kind", KINDS)
def test_thousands_of_tokens_take_linear_time(kind):
    tokenizer = KINDS[kind]()
    all_ids = tokenizer(" ".join(TEXTS) * 40, add_special_tokens=False)["input_ids"]

    def aligned(n):
        ids = all_ids[:n]
        text = tokenizer.decode(ids, skip_special_tokens=True).strip()
        return lambda: token_spans(ids, text, tokenizer, [(0, 5), (len(text) - 5, len(text))])

    assert len(all_ids) >= 4_000
    assert not superlinear(aligned(500), aligned(4_000), 8)


def alike(kind, long):
    """A text of many claims, none like another, that the tokenizer changes all over; its ids."""
    text = " ".join(f"Tokyo №{n} is Ｂig; ∮ it has ½." for n in range(long))
    return text, KINDS[kind]()(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("kind", ["unigram", "word_piece"])
def test_compared_part_by_part_claims_have_the_tokens_that_they_have_in_the_whole_text(kind, monkeypatch):
    text, ids = alike(kind, 600)
    places = [(claim.start, claim.end) for claim in SentenceClaims().extract(text).claims]
    parts = token_spans(ids, text, KINDS[kind](), places)
    monkeypatch.setattr(align, "_PART", len(text))
    assert parts == token_spans(ids, text, KINDS[kind](), places)
    assert len(set(parts)) > 590


@pytest.mark.parametrize("lost", [100, 3_000, 40_000])
def test_behind_what_the_tokenizer_lost_claims_have_their_tokens_or_none(lost):
    tokenizer = word_piece()
    text = f"Tokyo is big. {'∮ ' * lost}. Paris has 14 million people."
    ids = tokenizer(f"tokyo is big. {'Z ' * (lost % 7)}. paris has 14 million people.", add_special_tokens=False)[
        "input_ids"
    ]
    first, *_, last = token_spans(ids, text, tokenizer, [(0, 13), (text.index("Paris"), len(text))])
    assert tokenizer.decode(ids[slice(*first)]) == "tokyo is big."
    if lost < 40_000:
        assert tokenizer.decode(ids[slice(*last)]) == "paris has 14 million people."
    else:
        assert last is None


@pytest.mark.parametrize("kind", ["unigram", "word_piece"])
def test_a_text_that_the_tokenizer_changed_takes_linear_time(kind):
    short, long = (
        lambda text=text, ids=ids: token_spans(ids, text, KINDS[kind](), [(0, len(text))])
        for text, ids in (alike(kind, n) for n in (250, 2_000))
    )
    assert not superlinear(short, long, 8)


def bytes_of(tokenizer, text: bytes) -> list[int]:
    return tokenizer.convert_tokens_to_ids([f"<0x{byte:02X}>" for byte in text])


@pytest.mark.parametrize("end", [b"", b"\xff", b"\xf0\x9f"])
def test_a_run_of_bytes_that_its_last_one_breaks(end):
    tokenizer = byte_fallback()
    ids = [
        *tokenizer("Tokyo is big.", add_special_tokens=False)["input_ids"],
        *bytes_of(tokenizer, "😀".encode() * 20 + end),
        *tokenizer("Paris is big.", add_special_tokens=False)["input_ids"],
    ]
    text = tokenizer.decode(ids, skip_special_tokens=True)
    for start, stop in ((0, 13), (13, len(text) - 14), (len(text) - 13, len(text))):
        assert token_spans(ids, text, tokenizer, [(start, stop)]) == [by_whole_prefixes(tokenizer, ids, start, stop)]


def test_a_run_of_broken_bytes_takes_linear_time():
    tokenizer = byte_fallback()

    def aligned(n):
        ids = bytes_of(tokenizer, "😀".encode() * n + b"\xff")
        text = tokenizer.decode(ids, skip_special_tokens=True)
        return lambda: token_spans(ids, text, tokenizer, [(0, len(text))])

    assert not superlinear(aligned(500), aligned(4_000), 8)


@pytest.mark.real_model
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_the_embedded_models_tokens(embedded_model, data):
    tokenizer = embedded_model.tokenizer
    ids = data.draw(st.lists(st.integers(0, len(tokenizer) - 1), min_size=1, max_size=80))
    text = tokenizer.decode(ids, skip_special_tokens=True)
    assume(text)
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    assert token_spans(ids, text, tokenizer, [(start, end)]) == [by_whole_prefixes(tokenizer, ids, start, end)]


@pytest.mark.real_model
def test_claims_that_the_embedded_model_generated(embedded_model):
    trace = embedded_model.generate("Tell me three facts about Japan.", max_new_tokens=32)
    claims, spans = with_tokens(
        SentenceClaims().extract(trace.text), trace.response_ids, trace.text, embedded_model.tokenizer
    )
    assert claims.claims
    assert not any(a.reason == "unaligned" for a in claims.asides)
    for claim, (start, end) in zip(claims.claims, spans, strict=True):
        assert embedded_model.tokenizer.decode(trace.response_ids[start:end]).strip() == claim.text
