"""The bundled questions and passages: sound files, no leaks between the splits, and facts known by heart."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict

import pytest

from guardrail.data import load_questions, passages_path, questions_path
from guardrail.data.build import bundled
from guardrail.data.build.tables import table
from guardrail.data.build.wording import number_words, roman_numeral, slug

QUESTIONS = load_questions()
BY_ID = {question.id: question for question in QUESTIONS}
PASSAGES = [json.loads(line) for line in passages_path().read_text(encoding="utf-8").splitlines()]


def bare(text: str) -> str:
    """Lower case without punctuation, written apart from the builder's own function."""
    return " ".join(re.findall(r"\w+", text.lower()))


def test_counts() -> None:
    kinds = Counter(question.kind for question in QUESTIONS)
    assert len(QUESTIONS) >= 1200
    assert len(kinds) >= 12
    assert len(table("countries")) >= 150
    assert len(table("elements")) == 118
    assert len(table("books")) >= 100


def test_loading_by_split() -> None:
    calibration, heldout = load_questions("calibration"), load_questions("heldout")
    assert [q for q in QUESTIONS if q.split == "calibration"] == calibration
    assert len(calibration) + len(heldout) == len(QUESTIONS)
    assert 0.45 < len(calibration) / len(QUESTIONS) < 0.55
    with pytest.raises(ValueError, match="split"):
        load_questions("test")  # type: ignore[arg-type]


def test_every_kind_is_in_both_splits() -> None:
    kinds = defaultdict(set)
    for question in QUESTIONS:
        kinds[question.kind].add(question.split)
    assert all(splits == {"calibration", "heldout"} for splits in kinds.values())


def test_ids_and_questions_are_unique() -> None:
    assert len(BY_ID) == len(QUESTIONS)
    assert len({bare(question.question) for question in QUESTIONS}) == len(QUESTIONS)
    assert all(re.fullmatch(r"[a-z0-9-]+", question.id) for question in QUESTIONS)


def test_answers_are_plain_forms() -> None:
    for question in QUESTIONS:
        assert question.question.endswith("?"), question
        assert question.answers, question
        assert len(set(question.answers)) == len(question.answers), question
        assert all(answer and answer == answer.strip() and len(answer) < 60 for answer in question.answers), question


def test_a_group_stays_in_one_split() -> None:
    splits = defaultdict(set)
    for question in QUESTIONS:
        splits[question.group].add(question.split)
    assert all(len(found) == 1 for found in splits.values())
    assert BY_ID["capital-france"].group == "country-capital-france"
    assert BY_ID["symbol-gold"].group == "element-gold"


def test_no_question_contains_its_answer() -> None:
    for question in QUESTIONS:
        words = f" {bare(question.question)} "
        assert not any(f" {bare(answer)} " in words for answer in question.answers), question


def test_inverse_questions_share_a_group() -> None:
    """Where each of two questions names the other's answer, they must not be in different splits."""
    capitals = {q.group for q in QUESTIONS if q.kind == "capital"}
    assert {q.group for q in QUESTIONS if q.kind == "capital-of"} <= capitals
    for kind in ("symbol", "element", "atomic-number"):
        assert all(q.group.startswith("element-") for q in QUESTIONS if q.kind == kind)
    assert all(q.group.startswith("us-capital-") for q in QUESTIONS if q.kind == "us-capital")


def test_files_are_what_the_builder_makes() -> None:
    assert questions_path().read_text(encoding="utf-8") == bundled.to_jsonl(bundled.question_rows())
    assert passages_path().read_text(encoding="utf-8") == bundled.to_jsonl(bundled.passage_rows())


def test_passages_are_sound() -> None:
    assert len(PASSAGES) >= 300
    assert all(set(passage) == {"id", "title", "text"} and all(passage.values()) for passage in PASSAGES)
    assert len({passage["id"] for passage in PASSAGES}) == len(PASSAGES)
    assert len({passage["text"] for passage in PASSAGES}) == len(PASSAGES)
    assert max(len(passage["text"]) for passage in PASSAGES) < 700


def test_passages_answer_many_but_not_all_questions() -> None:
    texts = [f" {bare(passage['text'])} " for passage in PASSAGES]
    with_answer = sum(
        any(f" {bare(answer)} " in text for question in QUESTIONS for answer in question.answers) for text in texts
    )
    assert with_answer >= 300
    # A country's passage tells its capital; about a third of the countries have none.
    told = [f"capital-{slug(p['title'])}" for p in PASSAGES if "capital" in p["text"] and "US state" not in p["title"]]
    capitals = {q.id: q.split for q in QUESTIONS if q.kind == "capital"}
    for split in ("calibration", "heldout"):
        asked = {key for key, where in capitals.items() if where == split}
        assert 0.5 < len(asked & set(told)) / len(asked) < 0.8


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (40, "forty"),
        (99, "ninety-nine"),
        (206, "two hundred six"),
        (1000, "one thousand"),
    ],
)
def test_number_words(number: int, words: str) -> None:
    assert number_words(number) == words


@pytest.mark.parametrize(("number", "numeral"), [(4, "IV"), (1066, "MLXVI"), (1984, "MCMLXXXIV"), (99, "XCIX")])
def test_roman_numeral(number: int, numeral: str) -> None:
    assert roman_numeral(number) == numeral


def test_capital_cities_have_forms_without_accents() -> None:
    assert set(BY_ID["capital-colombia"].answers) == {"Bogotá", "Bogota"}


SPOT_FACTS = [
    ("What is the capital of France?", "Paris"),
    ("What is the capital of Australia?", "Canberra"),
    ("What is the capital of Canada?", "Ottawa"),
    ("What is the capital of Turkey?", "Ankara"),
    ("What is the capital of Burundi?", "Gitega"),
    ("What is the capital of the country Georgia?", "Tbilisi"),
    ("Who wrote the novel Wuthering Heights?", "Emily Brontë"),
    ("Who wrote the novel Dracula?", "Bram Stoker"),
    ("In which year did the Battle of Hastings take place?", "1066"),
    ("In which year did the fall of the Berlin Wall take place?", "1989"),
    ("In which year did the Second World War end?", "1945"),
    ("In which present-day country was Marie Curie born?", "Poland"),
    ("In which present-day country was Ernest Rutherford born?", "New Zealand"),
    ("Who is known for the discovery of penicillin?", "Alexander Fleming"),
    ("Which is the fourth planet from the Sun?", "Mars"),
    ("Which planet has a moon called Titan?", "Saturn"),
    ("What is 7 times 8?", "56"),
    ("What is the square root of 169?", "13"),
    ("Which number does the Roman numeral XIV stand for?", "14"),
    ("Which country won the men's football World Cup of 1966?", "England"),
    ("Which country won the men's football World Cup of 2010?", "Spain"),
    ("Which city hosted the Summer Olympic Games of 1992?", "Barcelona"),
    ("Who painted Guernica?", "Pablo Picasso"),
    ("Who painted Girl with a Pearl Earring?", "Johannes Vermeer"),
    ("What is the capital of the US state of Texas?", "Austin"),
    ("What is the capital of the US state of Nevada?", "Carson City"),
    ("Who was the 16th president of the United States?", "Abraham Lincoln"),
    ("Who directed the 1960 film Psycho?", "Alfred Hitchcock"),
    ("How many legs does a spider have?", "8"),
    ("How many days does a leap year have?", "366"),
    ("What is a young kangaroo called?", "joey"),
    ("What is a female fox called?", "vixen"),
    ("On which river does Vienna stand?", "Danube"),
    ("What is the highest mountain of Japan?", "Mount Fuji"),
    ("Into which body of water does the river Volga flow?", "Caspian Sea"),
    ("Who is the Greek god of the sea?", "Poseidon"),
    ("What is the chemical formula of water?", "H2O"),
    ("What is the SI unit of force?", "newton"),
    ("How many bones does a typical adult human have?", "206"),
    ('What is the opposite of the word "hot"?', "cold"),
    ('What is the plural of the noun "mouse"?', "mice"),
    ('What is the simple past tense of the verb "to go"?', "went"),
    ("In which city is the Colosseum?", "Rome"),
]


@pytest.mark.parametrize(("text", "answer"), SPOT_FACTS)
def test_spot_facts(text: str, answer: str) -> None:
    found = [question for question in QUESTIONS if question.question == text]
    assert len(found) == 1
    assert answer in found[0].answers


ELEMENTS = {"Sodium": ("Na", 11), "Iron": ("Fe", 26), "Gold": ("Au", 79), "Tungsten": ("W", 74), "Lead": ("Pb", 82)}


@pytest.mark.parametrize("name", sorted(ELEMENTS))
def test_known_elements(name: str) -> None:
    row = next(row for row in table("elements") if row["name"].split("|")[0] == name)
    assert (row["symbol"], int(row["number"])) == ELEMENTS[name]
