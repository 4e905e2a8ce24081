import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.datasets.questions import load_data
from guardrail.errors import DataError
from guardrail.grading import AnswerRow, Grader
from guardrail.grading.grade_answers import grade_answers
from guardrail.grading.hand_labels import HandLabels, LabelledAnswer, hand_labels, load_hand_labels

FRANCE = "What is the capital of France?"
ROW = {"question": FRANCE, "answers": ["Paris"]}


class Said(Grader):
    """Right for "yes", ungraded for "hm", wrong otherwise; keeps what it was asked."""

    kind = "said"

    def _grade(self, rows):
        self.asked = [row.answer for row in rows]
        self.ungraded["hm"] = self.asked.count("hm")
        return [{"yes": True, "hm": None}.get(answer, False) for answer in self.asked]


@pytest.fixture
def write(tmp_path):
    def write(*rows, name="l.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write


@pytest.mark.parametrize("said", ["It is Paris.", "it is PARIS", "**It is Paris!**", "It’s... no"])
def test_equal_in_plain_form(said):
    labels = HandLabels([LabelledAnswer(FRANCE, "It is Paris", True)])
    assert labels.of("what is the capital of france", said) is (None if "no" in said else True)
    assert labels.of("What is the capital of Peru?", said) is None


def test_symbols_keep_their_case_and_a_negation_is_another_answer():
    labels = HandLabels(
        [LabelledAnswer("q", "Co", True), LabelledAnswer("q", "CO", False), LabelledAnswer("q", "7", True)]
    )
    assert [labels.of("q", x) for x in ("Co", "CO", "co", "not Co", "seven", "-7")] == [
        True,
        False,
        True,
        None,
        True,
        None,
    ]


@given(st.text(), st.text())
def test_the_key_agrees_with_itself(question, answer):
    assert HandLabels([LabelledAnswer(question, answer, False)]).of(question, answer) is False


def test_a_persons_label_wins_and_the_grader_is_not_asked():
    labels = HandLabels(
        [LabelledAnswer("q", "no", True), LabelledAnswer("q", "yes", False), LabelledAnswer("q", "", False)]
    )
    grader = Said()
    found = grade_answers([AnswerRow("q", x, ("z",)) for x in ("No!", "yes", "Yes", "hm", "other", "")], grader, labels)
    assert found.grades == (True, False, False, None, False, False)
    assert grader.asked == ["hm", "other"]
    assert (found.by_hand, found.ungraded, found.graded) == (4, {"hm": 1}, [0, 1, 2, 4, 5])
    assert found.in_words() == "said; 4 of 6 by hand; 1 ungraded (hm)"
    assert found.to_dict() == {"grader": "said", "by_hand": 4, "labels_sha256": labels.digest, "ungraded": {"hm": 1}}


def test_one_answer_cannot_be_right_and_wrong():
    with pytest.raises(DataError, match="'it is paris' to .* is labelled right and wrong; keep one label"):
        HandLabels([LabelledAnswer(FRANCE, "It is Paris.", True), LabelledAnswer(FRANCE, "it is paris", False)])


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"question": "q", "answer": "a", "correct": None}, "`correct` is null: nobody has judged this answer yet"),
        ({"question": "q", "answer": "a", "correct": 1}, "must be true or false, not a number"),
        ({"question": "q", "answer": "a"}, "no `correct`"),
        ({"question": "q", "answer": 3, "correct": True}, "must be a string, not a number"),
        ({"question": "q", "answer": "?!", "correct": True}, "says nothing, so it cannot be right"),
        ({"question": "q", "answer": "a", "correct": True, "corect": True}, "unknown key 'corect'"),
        ({"question": "q", "answer": "a", "correct": True, "accepted": "a"}, "`accepted` must be a list"),
    ],
)
def test_bad_labels_are_named_by_file_and_line(write, row, says):
    path = write({"question": "q", "answer": "b", "correct": False}, row)
    with pytest.raises(DataError, match=says) as error:
        load_hand_labels(path)
    assert str(error.value).startswith(f"{path}:2: ")


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ("yes", "`labels` must be a list of labelled answers, not a string"),
        ([{"answer": "a"}], "a label in `labels` looks like"),
        ([{"answer": "a", "correct": None}], "`correct` is null"),
        ([{"answer": " ", "correct": True}], "says nothing"),
    ],
)
def test_bad_labels_in_data(write, labels, says):
    path = write({**ROW, "labels": labels})
    with pytest.raises(DataError, match=says) as error:
        load_data(str(path), "heldout")
    assert str(error.value).startswith(f"{path}:1: ")


def test_labels_of_data_and_of_a_file_go_together_and_a_repeated_row_keeps_its_own(write):
    data = load_data(
        str(
            write(
                {**ROW, "labels": [{"answer": "Lutetia", "correct": True}]},
                {**ROW, "question": FRANCE.upper(), "labels": [{"answer": "Lyon", "correct": False}]},
                name="d.jsonl",
            )
        ),
        "heldout",
    )
    assert (len(data.rows), data.repeated) == (1, 1)
    labels = hand_labels(data.rows, write({"question": FRANCE, "answer": "The City of Light", "correct": True}))
    assert [labels.of(FRANCE, x) for x in ("lutetia", "lyon", "the city of light", "Rome")] == [True, False, True, None]


def test_an_empty_file_of_labels(write):
    with pytest.raises(DataError, match="no labels; write one a line"):
        load_hand_labels(write())
