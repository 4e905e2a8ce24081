"""Courtesies, doubts and negations that are not English: read strictly, found, and never in English."""

from __future__ import annotations

import pytest

from guardrail.claims import SentenceClaims
from guardrail.claims.courtesies import is_courtesy
from guardrail.datasets.claims import Fact
from guardrail.errors import DataError
from guardrail.grading import get_grader
from guardrail.grading.facts import grade_claim
from guardrail.grading.protocol import AnswerRow
from guardrail.languages import denies, is_filler, languages, negations_in, plain, read_language
from guardrail.verification.details import denies as denied

FILE = "language: xx\ntelling: []\nnegations: [nu]\ngreetings: [[salut]]\noffers: []\nfillers: []\n"
SAID = {  # a greeting, an offer, a doubt; a statement, and the same denied
    "de": ("Gerne!", "Ich hoffe, das hilft Ihnen.", "Ich weiß es nicht.",
           "Tokio ist die Hauptstadt von Japan.", "Tokio ist nicht die Hauptstadt von Japan."),
    "fr": ("Bien sûr !", "N'hésitez pas à me poser d'autres questions.", "Je ne sais pas.",
           "Tokyo est la capitale du Japon.", "Tokyo n'est pas la capitale du Japon."),
    "es": ("¡Claro que sí!", "Espero que esto te ayude.", "No lo sé.",
           "Tokio es la capital de Japón.", "Tokio nunca fue la capital de Japón."),
    "zh": ("当然！", "如果您有任何问题，请随时告诉我。", "我不知道。", "东京是日本的首都。", "京都不是日本的首都。"),
    "ja": ("もちろんです！", "他にご質問があれば、お気軽にどうぞ。", "わかりません。",
           "東京は日本の首都です。", "京都は日本の首都ではありません。"),
    "hi": ("नमस्ते!", "आशा है कि यह जानकारी उपयोगी होगी।", "मुझे नहीं पता।",
           "टोक्यो जापान की राजधानी है।", "टोक्यो चीन की राजधानी नहीं है।"),
    "ar": ("مرحبًا!", "آمل أن يساعدك هذا.", "لا أعرف.", "طوكيو هي عاصمة اليابان.", "كيوتو ليست عاصمة اليابان."),
}  # fmt: skip


def test_what_comes_with_guardrail_can_be_read() -> None:
    assert {one.language for one in languages()} == {*SAID, "en"}
    for one in languages():
        for phrases in (one.telling, one.negations, one.greetings, one.offers, one.fillers):
            assert len(set(map(plain, phrases))) == len(phrases), f"{one.language}: a phrase stands there twice"
            assert all(map(plain, phrases))


@pytest.mark.parametrize("language", SAID)
def test_each_language(language: str) -> None:
    greeting, offer, doubt, statement, denial = SAID[language]
    assert is_courtesy(greeting)
    assert is_courtesy(offer)
    assert is_filler(doubt)
    assert not any(map(is_courtesy, (doubt, statement, denial)))
    assert not any(map(is_filler, (greeting, offer, statement, denial)))
    assert (denies(statement), denies(denial)) == (False, True)
    assert (denied(statement), denied(denial)) == (False, True)


@pytest.mark.parametrize("language", SAID)
def test_greetings_are_no_claims_of_an_answer(language: str) -> None:
    greeting, offer, _, statement, _ = SAID[language]
    found = SentenceClaims(language).extract(f"{greeting} {statement} {offer}", question="")
    assert [claim.text for claim in found.claims] == [statement]
    assert [aside.reason for aside in found.asides] == ["greeting", "greeting"]


@pytest.mark.parametrize(
    "text",
    [
        "Calais lies in Nord-Pas-de-Calais.", "The symbol of neon is Ne.", "Envy is a deadly sin.", "Nada Surf is a band.",
        "The river is the Rio de la Plata, and it is in Argentina.", "Los Angeles is a city.", "Die Hard is a film.",
        "His most famous film is La La Land.", "War and Peace",
    ],
)  # fmt: skip
def test_english_denies_nothing_in_another_language(text: str) -> None:
    assert not denies(text)
    assert not is_courtesy(text)


def test_a_greeting_with_something_behind_it_is_a_claim() -> None:
    assert not any(
        map(is_courtesy, ("Gerne, Suva.", "当然，东京。", "Claro, Madrid.", "Bonjour Tristesse", "Natürliche Zahlen"))
    )


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("Paris", True),
        ("Ich weiß es nicht. Paris", True),  # as "I don't know. Paris" is
        ("Paris ist die Hauptstadt.", True),
        ("Paris ist nicht die Hauptstadt.", False),
        ("Es ist keinesfalls Paris, das ist die falsche Stadt.", False),
    ],
)
def test_graders_know_that_an_answer_denies(answer: str, right: bool) -> None:
    (grade,) = get_grader("alias").grade([AnswerRow("Was ist die Hauptstadt von Frankreich?", answer, ("Paris",))])
    assert grade is right


def test_a_claim_that_denies_something_else_settles_nothing() -> None:
    fact = [Fact(("Hauptstadt",), ("Paris",))]
    assert grade_claim("Die Hauptstadt ist nicht Lyon.", fact) is None
    assert grade_claim("Die Hauptstadt ist Lyon.", fact) is False
    assert "nicht" in negations_in(["die", "ist"])
    assert "nicht" not in negations_in(["die", "is", "the"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (FILE.replace("offers", "ofers"), "xx.yaml: offers: Field required; the keys are language, telling"),
        (FILE + "extra: []\n", "xx.yaml: extra: Extra inputs are not permitted"),
        (
            FILE.replace("[nu]", "[no]"),
            "xx.yaml: negations.0: Input should be a valid string",
        ),  # YAML reads `no` as false
        (FILE.replace("[nu]", "['']"), "xx.yaml: negations.0: String should have at least 1 character"),
        (FILE.replace("[nu]", "nu"), "xx.yaml: negations: Input should be a valid tuple"),
        (FILE.replace("xx", "Romanian"), "xx.yaml: language: String should match pattern"),
        ("- a\n", "xx.yaml: the file: Input should be a valid dictionary"),
        ("a: [\n", "xx.yaml: not YAML"),
    ],
)
def test_a_file_is_read_strictly(text: str, message: str) -> None:
    assert read_language(FILE, "xx.yaml").greetings == ("salut",)
    with pytest.raises(DataError, match=message.replace("[", r"\[")):
        read_language(text, "xx.yaml")
