"""Facts that a model takes out of an answer: what it writes is read honestly, and each fact is found again or reported."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.claims import EXTRACTORS, AtomicClaims, SentenceClaims, extractor
from guardrail.claims.replies import Fact, find_place, read_facts
from guardrail.errors import ModelError
from guardrail.model.local import LocalModel
from guardrail.testing import tiny_local_model, tiny_model, tiny_tokenizer

ANSWER = "Sure! **Tokyo** is the capital of Japan and has 14 million people.\n\n- It was called Edo until 1868.\n- It is big."


class Scripted(LocalModel):
    """The tiny model with its words written beforehand: everything but the sampling of tokens is the real thing."""

    def __init__(self, *replies: str, finish: str = "stop") -> None:
        super().__init__(tiny_model(), tiny_tokenizer(), name="scripted")
        self.replies, self.asked, self.finish = list(replies), [], finish

    def generate_batch(self, conversations, **options):
        self.asked += conversations
        return [self.trace(c, self.replies.pop(0)) for c in conversations]


def reply(*facts):
    return json.dumps([{"fact": fact, "quote": quote} for fact, quote in facts])


def test_each_fact_has_its_place_and_what_gave_none_stays_a_sentence():
    model = Scripted(
        reply(
            ("Tokyo is the capital of Japan.", "Tokyo is the capital of Japan"),
            ("Tokyo has 14 million people.", "has 14 million people"),
            ("Tokyo was called Edo.", "It was caled Edo"),  # misspelt: found by similarity
            ("Tokyo lies on Honshu.", "on the island of Honshu"),  # said nowhere
            ("Tokyo was called Edo until 1869.", "called Edo until 1868"),  # a number of the model's own
        )
    )
    found = AtomicClaims(model).extract(ANSWER)
    assert [(c.text, ANSWER[c.start : c.end], c.kind) for c in found.claims] == [
        ("Tokyo is the capital of Japan.", "Tokyo** is the capital of Japan", "atomic"),
        ("Tokyo has 14 million people.", "has 14 million people", "atomic"),
        ("Tokyo was called Edo.", "It was called Edo", "atomic"),
        ("It is big.", "It is big.", "item"),
    ]
    assert [(a.text, a.reason, a.start) for a in found.asides] == [
        ("Sure!", "greeting", 0),
        ("Tokyo lies on Honshu.", "unaligned", None),
        ("Tokyo was called Edo until 1869.", "unaligned", None),
    ]


def test_claims_may_share_characters_but_none_is_there_twice():
    same = ("Tokyo is the capital.", "the capital of Japan")
    found = AtomicClaims(Scripted(reply(same, ("Japan has a capital.", "the capital of Japan"), same))).extract(ANSWER)
    assert [c.text for c in found.claims if c.kind == "atomic"] == ["Tokyo is the capital.", "Japan has a capital."]


def test_an_unreadable_reply_is_asked_for_once_more():
    model = Scripted("The facts are these.", reply(("Tokyo is the capital of Japan.", "the capital of Japan")))
    found = AtomicClaims(model).extract(ANSWER)
    assert found.claims[0].kind == "atomic"
    assert [len(messages) for messages in model.asked] == [1, 3]
    assert "no JSON list" in model.asked[1][2]["content"]


def test_two_unreadable_replies_are_an_error_and_not_an_answer_without_claims():
    with pytest.raises(ModelError, match="no readable list of facts in two tries .*'Nor this.'.*extractor 'sentences'"):
        AtomicClaims(Scripted("Not this.", "Nor this.")).extract(ANSWER)


def test_an_answer_that_claims_nothing_asks_nobody():
    model = Scripted()
    found = AtomicClaims(model).extract("Sure! Let me know if you need more.")
    assert found == SentenceClaims().extract("Sure! Let me know if you need more.")
    assert not model.asked


def test_an_answer_longer_than_the_context_is_an_error():
    with pytest.raises(
        ModelError, match="more than the context of tiny-llama; take the claims with the extractor 'sent"
    ):
        AtomicClaims(tiny_local_model()).extract("Tokyo is big. " * 40)


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ('[{"fact": "a b", "quote": "c"}]', ["a b"]),
        ('```json\n["a b", "c d"]\n```', ["a b", "c d"]),
        ('{"facts": [{"fact": "a", "quote": "b", "sure": 1}]}', ["a"]),
        ('As [1] says: [{"fact": "a"}]', ["a"]),
        ('{"fact": "a"}\n{"fact": "b"}', ["a", "b"]),
        ('[{"fact": "a"}, {"fact": "b"}, {"fact": "cut', ["a", "b"]),
        ('[{"fact": "a"}, 3, null, {"fact": "!"}, {"quote": "x"}, {"fact": 5}, {"fact": "a"}]', ["a"]),
        ("[]", []),
        ("[3]", None),
        ("no list", None),
        ("", None),
        ("[" * 5000, None),
        ('{"fact": ', None),
    ],
)
def test_replies_are_read_leniently_and_honestly(text, facts):
    found = read_facts(text)
    assert (found if found is None else [f.fact for f in found]) == facts


@settings(deadline=None)
@given(st.text() | st.text(alphabet='[]{}",: factquote1\n', max_size=80))
def test_no_reply_makes_it_fail(text):
    found = read_facts(text)
    assert found is None or all(isinstance(fact, Fact) for fact in found)


@settings(deadline=None)
@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=60))
def test_a_place_is_a_place(fact, quote, answer):
    sentences = [(c.start, c.end) for c in SentenceClaims().extract(answer).claims]
    place = find_place(Fact(fact=f"a{fact}", quote=quote), answer, sentences, question="", threshold=85)
    assert place is None or 0 <= place[0] < place[1] <= len(answer)


def test_a_quotation_is_found_as_whole_words():
    answer = "The Italian Alps. The Alps are high."
    assert find_place(Fact(fact="x", quote="alps are"), answer, [], question="", threshold=85) == (22, 30)
    assert find_place(Fact(fact="x", quote="tali"), answer, [], question="", threshold=85) is None


def test_extractors_by_name():
    model = tiny_local_model()
    assert EXTRACTORS == ("sentences", "atomic", "fields")
    assert [extractor(name, model).name for name in EXTRACTORS] == list(EXTRACTORS)
    with pytest.raises(ModelError, match="no claim extractor 'atoms'; take one of: sentences, atomic, fields"):
        extractor("atoms")
    with pytest.raises(ModelError, match="'atomic' asks a chat model; give one"):
        extractor("atomic")


def test_options_are_json_and_tell_models_apart():
    one, other = (extractor("atomic", tiny_local_model(seed=seed)).options for seed in (0, 1))
    assert json.loads(json.dumps(one)) == one
    assert one != other
    assert one == extractor("atomic", tiny_local_model(seed=0)).options
    assert extractor("sentences").options == {"language": "en"}


@pytest.mark.real_model
def test_whatever_the_embedded_model_writes_is_handled(embedded_model):
    answer = "Tokyo is the capital of Japan and has 14 million people. It was called Edo until 1868."
    spoken, problem, covered = AtomicClaims(embedded_model, max_new_tokens=24), "", ""
    try:
        covered = "".join(answer[c.start : c.end] for c in spoken.extract(answer).claims)
    except ModelError as error:
        problem = str(error)
    assert "no readable list" in problem or ("Tokyo" in covered and "1868" in covered)
