"""The error rates that are known of graders are those of the answers that a person judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardrail.grading import get_grader
from guardrail.grading.agreement import rates
from guardrail.grading.hand_labels import load_hand_labels
from guardrail.grading.known_errors import KNOWN
from guardrail.grading.protocol import AnswerRow

LABELS = load_hand_labels(Path(__file__).with_name("labelled_answers.jsonl"))


@pytest.mark.parametrize("name", [name for name in KNOWN if ":" not in name])
def test_rates_are_those_of_the_labelled_answers(name):
    grades = get_grader(name).grade([AnswerRow(x.question, x.answer, x.accepted) for x in LABELS])
    found = rates(name, grades, [x.correct for x in LABELS])
    assert (found.false_right.value, found.false_wrong.value) == pytest.approx(KNOWN[name])


def test_every_name_is_a_graders():
    assert [get_grader(name).name for name in KNOWN] == list(KNOWN)
