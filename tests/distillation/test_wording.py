"""The words in which a confidence is stated: put behind an answer, and taken from it again."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from guardrail.errors import DataError
from guardrail.stated import StatedFile, Wording

SAME = Wording(turn="same")


@given(
    st.text(min_size=1).filter(lambda text: text.rstrip() and SAME.taken_from(text.rstrip()).bin is None),
    st.integers(0, 4),
)
def test_what_was_put_behind_an_answer_is_taken_from_it(answer, which):
    assert SAME.taken_from(SAME.stating(answer, which)) == (answer.rstrip(), which)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Paris (with very high confidence)", ("Paris", 4)),
        ("Paris.\n(With  HIGH confidence).\n", ("Paris.", 3)),
        (
            "Paris (with low confidence) (with high confidence)",
            ("Paris (with low confidence) (with high confidence)", None),
        ),
        ("Paris (with high confidence). (With High Confidence)", ("Paris", 3)),
        ("(with medium confidence)", ("", 2)),
        ("Paris (with some confidence)", ("Paris (with some confidence)", None)),
        ("Paris (with high confidence), or Rome", ("Paris (with high confidence), or Rome", None)),
        ("Paris (with very confidence)", ("Paris (with very confidence)", None)),
        ("", ("", None)),
    ],
)
def test_it_is_read_at_the_end_alone_whatever_its_case_and_space(text, found):
    assert SAME.taken_from(text) == found


def test_bins_are_equal_parts_that_hold_their_lower_ends():
    assert [Wording().bin_of(p) for p in (0.0, 0.19, 0.2, 0.5, 0.8, 1.0)] == [0, 0, 1, 2, 4, 4]
    assert [round(Wording().middle(k), 2) for k in range(5)] == [0.1, 0.3, 0.5, 0.7, 0.9]
    for odd in (-0.01, 1.01, float("nan")):
        with pytest.raises(DataError, match="must be in"):
            Wording().bin_of(odd)


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"labels": ["sure"]}, "at least two labels"),
        ({"labels": ["sure", "Sure "]}, "all different"),
        ({"labels": ["high", "high enough"]}, "begin another"),
        ({"suffix": " (sure)"}, "must hold {label} once"),
        ({"question": " "}, "question is empty"),
        ({"suffixes": "x"}, "Extra inputs"),
    ],
)
def test_words_that_could_not_be_told_apart_are_refused(given_, said):
    with pytest.raises(ValidationError, match=said):
        Wording.model_validate(given_)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not JSON"),
        ('{"base": "x"}', "wording: Field required"),
        ('{"base": "x", "wording": {"turn": "before"}}', "wording.turn"),
        ('{"base": "x", "wording": {}, "more": 1}', "more: Extra inputs"),
    ],
)
def test_a_file_that_is_none_says_where(tmp_path, content, said):
    path = tmp_path / "stated_confidence.json"
    path.write_text(content)
    with pytest.raises(DataError, match=said):
        StatedFile.load(path)
    with pytest.raises(DataError, match="cannot read"):
        StatedFile.load(tmp_path / "none.json")


def test_a_file_says_what_was_written(tmp_path):
    path = tmp_path / "stated_confidence.json"
    path.write_text(json.dumps(StatedFile(base="smollm2-135m", wording=SAME).model_dump(mode="json")))
    assert StatedFile.load(path) == StatedFile(base="smollm2-135m", wording=SAME)


def test_a_wording_from_yaml_has_what_it_says_and_the_defaults(tmp_path):
    path = tmp_path / "wording.yaml"
    path.write_text("labels: [unsure, sure]\nquestion: Are you sure? Reply with sure or unsure.\n")
    wording = Wording.load(path)
    assert (wording.labels, wording.turn, wording.bin_of(0.5)) == (("unsure", "sure"), "after", 1)
    assert wording.question.startswith("Are you sure?")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("label: [unsure, sure]", "label: Extra inputs are not permitted; the keys are turn, labels, suffix"),
        ("labels: [yes, no]", "labels.0: Input should be a valid string"),
        ("labels: [sure]", "at least two labels"),
        ("labels: [sure", "not YAML"),
        ("", "valid dictionary"),
    ],
)
def test_a_wording_from_yaml_that_is_none_is_refused(tmp_path, content, said):
    path = tmp_path / "wording.yaml"
    path.write_text(content)
    with pytest.raises(DataError, match=said):
        Wording.load(path)
    with pytest.raises(DataError, match="cannot read"):
        Wording.load(tmp_path / "none.yaml")
