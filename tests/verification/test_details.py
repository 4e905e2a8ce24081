"""Names and numbers, and the statements that say another one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.verification.details import _details, backed, denies, details, missing, rivals, words


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("In 1867 Marie Curie was born in Warsaw.", ["1867", "Marie Curie", "Warsaw"]),
        ("Franklin D. Roosevelt took office in 1933.", ["Franklin D. Roosevelt", "1933"]),
        ("It has 1,400,000 people, 12.5% of them in A1.", ["1,400,000", "12.5", "A1"]),
        ("The capital is St. John's.", ["St. John's"]),
        ("Jean-Luc Godard directed it.", ["Jean-Luc Godard"]),
        ("grass is green", []),
        ("Élan Österreich", ["Élan Österreich"]),
        ("", []),
        ("東京は日本の首都です。", []),
    ],
)
def test_details(statement, expected):
    found = details(statement)
    assert [d.text for d in found] == expected
    assert all(statement[d.start : d.end] == d.text for d in found)


def test_missing_ignores_case_accents_and_possessives():
    text = "PERU's capital is Bogota; 1,000 people came."
    assert missing("Bogotá has 1000 people from Peru.", text) == []
    assert [d.text for d in missing("Bogotá has 1001 people from Chile.", text)] == ["1001", "Chile"]


def test_a_statement_with_one_name_is_checked_word_by_word():
    text = "A young eagle is called an eaglet."
    assert [d.text for d in missing("A baby eagle is a gosling.", text)] == ["baby", "gosling"]
    assert missing("A young eagle is an eaglet.", text) == []


def test_rivals_take_turns_and_begin_with_what_is_missing():
    assert rivals("Bern is the capital of Peru.", "Peru's capital is Lima.", 8) == [
        "Lima is the capital of Peru.",
        "Bern is the capital of Lima.",
    ]
    assert rivals("Bern is the capital of Peru.", "Peru's capital is Lima.", 1) == ["Lima is the capital of Peru."]
    assert rivals("It was founded in 1900.", "It was founded in 1871 in Rome.", 8) == ["It was founded in 1871."]
    assert rivals("Bern is nice.", "nothing", 8) == []


TEXTS = st.text(max_size=60) | st.lists(
    st.sampled_from(["Bern", "Peru's", "is", "1,000", "7th", "of", "not", "lima", "St.", "A-b", "é"]), max_size=9
).map(" ".join)


@given(TEXTS, TEXTS)
def test_a_rival_differs_in_one_place_and_only_in_what_the_passage_has(statement, text):
    assert missing(statement, statement) == []
    own = details(statement) or _details(statement)
    for rival in rivals(statement, text, 4):
        ends = [(statement[: d.start], statement[d.end :]) for d in own]
        [middle, *_] = [
            rival[len(head) : len(rival) - len(tail)]
            for head, tail in ends
            if rival.startswith(head) and rival.endswith(tail)
        ]
        assert rival != statement
        assert set(words(middle)) <= set(words(text))


@pytest.mark.parametrize(
    ("statement", "sentence", "expected"),
    [
        ("The Po ends in the Adriatic.", "The Po ends in the Adriatic.", True),
        ("The Po ends in Rome.", "The Po ends in the Adriatic.", False),
        ("The capital of Peru is Lima.", "Its capital is Lima.", True),
        ("The capital of Peru is Lima in 1871.", "Its capital is Lima since 1900.", False),
        ("The capital of Peru is Bern.", "Its capital is Lima.", False),
    ],
)
def test_the_nearest_sentence_names_no_other_in_its_place(statement, sentence, expected):
    passage = "Rome is old. The Po ends in the Adriatic. Peru is large. Its capital is Lima since 1900, not 1871."
    assert backed(statement, sentence, passage) is expected


@pytest.mark.parametrize("text", ["It is not so.", "He can't.", "It never was", "Nobody came", "It isn’t"])
def test_negations(text):
    assert denies(text)
    assert not denies("Northern Knots noted nothingness.")
