"""Rows for claims, written by hand: what is accepted, and that every mistake names its line."""

import json

import pytest

from guardrail.data import claim_questions_path, load_claim_questions
from guardrail.data.build import bundled
from guardrail.data.build.claims_from_facts import country_subjects
from guardrail.datasets.claims import (
    ClaimRow,
    Label,
    claim_data_hash,
    load_claim_rows,
    load_claim_rows_from,
    row_digest,
)
from guardrail.errors import DataError
from guardrail.grading.facts import Fact, grade_claim

FACT = {"about": ["capital"], "values": ["Paris"]}
ANSWER = "Paris is the capital of France. It lies on the Rhine. It is old."


@pytest.fixture
def load(tmp_path):
    def load(*rows):
        path = tmp_path / "c.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return load_claim_rows(path)

    return load


def test_the_ways_of_writing_a_row(load):
    rows = load(
        {"question": "Q1?", "facts": [FACT, "Paris lies on the Seine."], "id": 7},
        {"question": "Q2?", "answer": ANSWER, "claims": [{"text": "It lies on the Rhine.", "correct": False}]},
        {"question": "Q3?", "answer": ANSWER, "claims": [{"start": 0, "end": 31, "correct": True}], "facts": [FACT]},
    )
    assert rows[0].facts == (Fact(("capital",), ("Paris",)), Fact(statements=("Paris lies on the Seine.",)))
    assert rows[0].extra == {"id": 7}
    assert rows[1].labels == (Label(32, 53, False),)
    assert ANSWER[rows[1].labels[0].start : rows[1].labels[0].end] == "It lies on the Rhine."
    assert rows[2].labels == (Label(0, 31, True),)


def test_labels_speak_of_what_they_overlap():
    row = ClaimRow("Q?", labels=(Label(0, 10, True), Label(5, 20, False)))
    assert [row.label_of(*span) for span in ((0, 5), (0, 6), (10, 20), (20, 30))] == [True, False, False, None]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"facts": [FACT]}, "no `question`"),
        ({"question": " ", "facts": [FACT]}, "`question` is empty"),
        ({"question": "Q?"}, "neither `facts` nor `claims`"),
        ({"question": "Q?", "facts": []}, r"`facts` must be a list that is not empty, not \[\]"),
        ({"question": "Q?", "facts": [FACT], "answers": ["x"]}, "the unknown key 'answers'"),
        ({"question": "Q?", "facts": [{**FACT, "value": "x"}]}, "a fact has the unknown key 'value'"),
        ({"question": "Q?", "facts": [{"about": ["capital"]}]}, "a fact without `values`"),
        ({"question": "Q?", "facts": [{"values": ["Paris"]}]}, "does not say what it is about"),
        (
            {"question": "Q?", "facts": [{"about": ["number"], "values": [79]}]},
            "`values` holds a number; put it in quotes",
        ),
        ({"question": "Q?", "facts": ["?!"]}, "no letter or digit"),
        ({"question": "Q?", "facts": [None]}, "`facts` holds null"),
        ({"question": "Q?", "claims": [{"text": "x", "correct": True}]}, "without the `answer`"),
        ({"question": "Q?", "answer": ANSWER, "claims": [{"text": "Mars.", "correct": True}]}, "stands 0 times"),
        (
            {"question": "Q?", "answer": ANSWER, "claims": [{"text": "It", "correct": True}]},
            "stands 2 times .* `start`",
        ),
        ({"question": "Q?", "answer": ANSWER, "claims": [{"text": "It is old.", "correct": 1}]}, "true or false"),
        ({"question": "Q?", "answer": ANSWER, "claims": [{"start": 3, "end": 999, "correct": True}]}, "is no part of"),
        (
            {"question": "Q?", "answer": ANSWER, "claims": [{"start": 3, "text": "x", "correct": True}]},
            "either `text` or",
        ),
    ],
)
def test_mistakes_name_the_line(load, row, message):
    with pytest.raises(DataError, match=rf"c\.jsonl:2: .*{message}"):
        load({"question": "Fine?", "facts": [FACT]}, row)


def test_a_question_with_other_facts_is_refused_and_the_same_row_is_taken_once(load):
    row = {"question": "Q?", "facts": [FACT]}
    assert len(load(row, row)) == 1
    with pytest.raises(DataError, match=r":2: the question 'q' came before with other facts"):
        load(row, {"question": "q", "facts": ["Lyon is a city."]})


def test_the_hash_sees_facts_answers_and_labels_but_not_order(load):
    a, b = ClaimRow("A?", (Fact(("x",), ("1", "2")),)), ClaimRow("B?", answer="text", labels=(Label(0, 2, True),))
    same = ClaimRow("A?", (Fact(("x",), ("2", "1")),), extra={"id": 3})
    assert claim_data_hash([a, b]) == claim_data_hash([b, same])
    others = [
        ClaimRow("B?", answer="text", labels=(Label(0, 2, False),)),
        ClaimRow("B?", answer="texts"),
        ClaimRow("B?"),
    ]
    assert len({claim_data_hash([a, x]) for x in [b, *others]}) == 4
    assert row_digest(b) == row_digest(others[0]) != row_digest(others[1])


BUNDLED = load_claim_questions()


def test_the_bundled_file_is_what_the_builder_makes():
    assert claim_questions_path().read_text(encoding="utf-8") == bundled.to_jsonl(bundled.claim_rows())


def test_the_bundled_rows_are_sound():
    assert len(BUNDLED) >= 300
    assert len({q.id for q in BUNDLED}) == len({q.question for q in BUNDLED}) == len(BUNDLED)
    splits = {split: load_claim_rows_from("bundled", split) for split in ("calibration", "heldout")}
    assert 0.4 < len(splits["calibration"]) / len(BUNDLED) < 0.6
    assert not {row_digest(r) for r in splits["calibration"]} & {row_digest(r) for r in splits["heldout"]}
    assert all(len(row.facts) >= 2 for rows in splits.values() for row in rows)


def test_no_fact_is_told_by_an_answer_question_of_the_other_split():
    splits = {str(row["id"]): row["split"] for row in bundled.question_rows()}
    told = {d.id: {f.values: f.told_by for f in d.facts} for source in bundled.CLAIM_SOURCES for d in source()}
    checked = 0
    for question in BUNDLED:
        for fact in question.facts:
            for other in told[question.id][tuple(fact["values"])]:
                checked += other in splits
                assert splits.get(other, question.split) == question.split, (question.id, other)
    assert checked > 500
    assert {f"capital-{d.id.removeprefix('country-')}" for d in country_subjects()} & splits.keys()


def test_a_plain_sentence_with_each_accepted_value_is_graded_right():
    """The facts can be met at all: one sentence of the fact's own word and value."""
    missed = []
    for question in BUNDLED:
        for fact in question.facts:
            sentence = f"The {fact['about'][0]} is {fact['values'][0]}."
            if grade_claim(sentence, [Fact(tuple(fact["about"]), tuple(fact["values"]))]) is not True:
                missed.append((question.id, sentence))
    assert len(missed) <= 10, missed
