"""Answers that must give several things: taken apart, and right only where all are given and nothing else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from guardrail.cli.main import app
from guardrail.data import load_list_questions
from guardrail.data.build import bundled
from guardrail.datasets.questions import QuestionRow, data_hash, load_data
from guardrail.distillation.candidates import candidates_of
from guardrail.errors import DataError
from guardrail.grading import AnswerRow, Grader, get_grader
from guardrail.grading.answer_files import to_label
from guardrail.grading.hand_labels import HandLabels, load_hand_labels
from guardrail.grading.lists import ListGrade
from guardrail.runs.answers import graded

QUESTION = "What are the primary colours of paint?"
COLOURS = (("red",), ("blue", "azure"), ("yellow",))
FORMS = ("red", "blue", "azure", "yellow")
ROW = {"question": QUESTION, "answers": ["red", ["blue", "azure"], "yellow"], "answers_needed": "all"}


def answered(text, items=COLOURS, question=QUESTION):
    return AnswerRow(question, text, tuple(form for item in items for form in item), items)


@pytest.mark.parametrize(
    "text",
    [
        "The primary colours are red, blue and yellow.",
        "Red, yellow, azure",
        "Sure! Here they are:\n- Red (warm)\n- Blue: a cold one\n- Yellow",
        "1. Red\n2. Blue\n3. Yellow\n\nThese cannot be mixed.",
        "Red\nYellow\nBlue",
        "Red, blue and yellow are the primary colours. They cannot be mixed.",
    ],
)
def test_all_and_nothing_else_is_right(text):
    (found,) = get_grader("alias").grade_lists([answered(text)])
    assert (found.grade, found.recall, found.precision) == (True, 1, 1)


@pytest.mark.parametrize(
    ("text", "given_", "wrong", "recall", "precision"),
    [
        ("Red, blue and green.", (True, True, False), ("green.",), 2 / 3, 2 / 3),
        ("red and blue", (True, True, False), (), 2 / 3, 1),
        ("Red, blue, yellow and green", (True, True, True), ("green",), 1, 3 / 4),
        ("Red, yellow or blue", (True, False, False), ("yellow or blue",), 1 / 3, 1 / 2),
        ("They are not red, blue and yellow", (False, True, True), ("They are not red",), 2 / 3, 2 / 3),
        ("They are not: red, blue and yellow", (False, True, True), ("They are not red",), 2 / 3, 2 / 3),
        ("**These are not:**\n- Red\n- Blue\n- Yellow", (False, True, True), ("These are not Red",), 2 / 3, 2 / 3),
        ("The primary colours", (False, False, False), (), 0, 0),
        ("", (False, False, False), (), 0, 0),
    ],
)
def test_one_missing_or_one_wrong_is_wrong(text, given_, wrong, recall, precision):
    grader = get_grader("alias")
    (found,) = grader.grade_lists([answered(text)])
    assert (found.given, found.wrong) == (given_, wrong)
    assert (found.recall, found.precision) == (pytest.approx(recall), pytest.approx(precision))
    assert grader.grade([answered(text)]) == [False]


def test_a_form_that_holds_the_word_and_stays_whole():
    items = (("Trinidad and Tobago",), ("Antigua and Barbuda", "Antigua"), ("1,000 islands",))
    text = "Trinidad and Tobago, antigua and barbuda and 1,000 islands"
    assert get_grader("exact").grade([answered(text, items, "Which?")]) == [True]
    assert get_grader("exact").grade([answered("Trinidad and Antigua", items, "Which?")]) == [False]


@given(st.permutations(FORMS[:1] + FORMS[2:]), st.sets(st.integers(0, 2)), st.booleans())
def test_right_exactly_where_nothing_is_missing_or_more(order, left_out, more):
    said = [colour for i, colour in enumerate(order) if i not in left_out] + ["green"] * more
    (found,) = get_grader("exact").grade_lists([answered(", ".join(said))])
    assert found.grade is (not left_out and not more)
    assert found.recall == pytest.approx((3 - len(left_out)) / 3)
    assert found.precision == pytest.approx((3 - len(left_out)) / len(said) if said else 0)


class Unsure(Grader):
    """Cannot grade what is no accepted form."""

    kind = "unsure"

    def _grade(self, rows):
        self.ungraded["no verdict"] += len(rows)
        return [None] * len(rows)


def test_what_cannot_be_graded_is_never_right_and_counts_once():
    grader = Unsure()
    rows = [answered("red, blue and amber"), answered("red, blue, yellow"), AnswerRow("q", "a", ("b",))]
    assert grader.grade(rows) == [None, True, None]
    assert grader.ungraded == {"no verdict": 2}
    assert [found.precision for found in grader.lists] == [pytest.approx(2 / 3), 1]
    assert ListGrade((True, None), ("x",), 3, 1).grade is False
    with pytest.raises(DataError, match="without `items`"):
        grader.grade_lists(rows)


@pytest.fixture
def load(tmp_path):
    def load(*rows, name="q.jsonl"):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return load_data(str(tmp_path / name), "heldout").rows

    return load


def test_rows_say_what_is_needed(load, tmp_path):
    (row,) = load(ROW)
    assert (row.answers, row.items, dict(row.extra)) == (FORMS, COLOURS, {})
    assert load(row.written) == (row,)
    (plain,) = load({**ROW, "answers": list(FORMS), "answers_needed": "any"})
    assert plain == QuestionRow(QUESTION, FORMS)
    assert data_hash([row]) != data_hash([plain])
    (tmp_path / "q.csv").write_text(f"question,answers,answers_needed\n{QUESTION},red|blue|yellow,all\n")
    assert load_data(str(tmp_path / "q.csv"), "heldout").rows[0].items == (("red",), ("blue",), ("yellow",))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"answers_needed": "both"}, "q.jsonl:1: `answers_needed` is 'both'; write \"any\""),
        ({"answers_needed": "any"}, "holds a list, which has a meaning only where all are needed"),
        ({"answers": ["red", []]}, "is an empty list; give its forms"),
        ({"answers": ["red", [["red"]]]}, "holds a list"),
        ({"answers": ["red", ["blue", "red"]]}, "'red' is listed twice"),
        ({"answers": ["red", "!"]}, "has no letter or digit"),
        ({"answer_needed": "all"}, "unknown key 'answer_needed'; write `answers_needed`"),
    ],
)
def test_mistakes_in_rows_are_told(load, more, message):
    with pytest.raises(DataError) as error:
        load({**ROW, **more})
    assert message in str(error.value)


def test_one_question_has_one_list(load):
    assert len(load(ROW, ROW)) == 1
    with pytest.raises(DataError, match=r"q.jsonl:2: .* keep one row"):
        load(ROW, {**ROW, "answers": ["red", "blue"]})


def test_records_keep_the_list_and_are_graded_by_it(load):
    (row,) = load(ROW)
    record = {**row.record, "key": "k", "unscored": "empty_answer"}
    records = [{**record, "answer": answer} for answer in ("red", "red, blue, yellow")]
    assert graded(records, get_grader("alias"), (-1,), 2).correct.tolist() == [False, True]
    sampled = {**record, "samples": ["red", "yellow, red and blue"], "clusters": [0, 1]}
    assert [candidate.right for candidate in candidates_of([sampled], get_grader("alias"))] == [False, True]


def test_grade_shows_recall_and_precision(load, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labels = [{"answer": "red and blue", "correct": False}, {"answer": "It's red, blue and yellow.", "correct": True}]
    load({**ROW, "labels": labels})
    told = CliRunner().invoke(app, ["grade", "q.jsonl", "--grader", "exact", "--grader", "alias", "--json"])
    exact, alias = json.loads(told.stdout)["graders"]
    assert (alias["right"], alias["lists"]["n"]) == (1, 2)
    assert alias["lists"]["recall"]["value"] == pytest.approx(5 / 6)
    assert exact["lists"]["precision"]["value"] == pytest.approx((1 + 2 / 3) / 2)
    shown = CliRunner().invoke(app, ["grade", "q.jsonl", "--grader", "alias", "--grader", "exact"])
    assert "of 2 answers that list what is all needed: recall 0.833" in " ".join(shown.stdout.split())


def test_what_is_to_be_labelled_keeps_the_list(tmp_path):
    text = to_label([answered("red")], [0], {"alias": [False]}, HandLabels())
    (tmp_path / "l.jsonl").write_text(text.replace("null", "false"), encoding="utf-8")
    assert load_hand_labels(tmp_path / "l.jsonl")[0].items == COLOURS
    (tmp_path / "l.jsonl").write_text(json.dumps({"question": "q", "answer": "a", "correct": True, "items": ["red"]}))
    with pytest.raises(DataError, match="`items` must be a list of lists"):
        load_hand_labels(tmp_path / "l.jsonl")


def test_the_bundled_lists_are_those_of_the_table_and_can_be_answered():
    rows = bundled.list_rows()
    assert [q.id for q in load_list_questions()] == [row["id"] for row in rows]
    assert len({q.id for q in load_list_questions()}) == len(rows) >= 60
    halves = [load_data("bundled-lists", split).rows for split in ("calibration", "heldout")]
    assert sum(map(len, halves)) == len(rows)
    grader = get_grader("alias")
    for row in (*halves[0], *halves[1]):
        right = f"{', '.join(item[0] for item in row.items[:-1])} and {row.items[-1][0]}"
        missing, more = ", ".join(item[-1] for item in row.items[:-1]), f"{right}, and the weather"
        asked = [AnswerRow(row.question, text, row.answers, row.items) for text in (right, missing, more)]
        assert grader.grade(asked) == [True, False, False], row
