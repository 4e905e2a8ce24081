"""The default equivalence: the packaged embedding model on answers that people would call the same, or not."""

from __future__ import annotations

import random
import re

import pytest

from guardrail.data import load_questions
from guardrail.scoring.baselines.embedding_equivalence import default_equivalence

pytestmark = pytest.mark.real_model


def test_wordings_of_one_answer_are_the_same_and_other_answers_are_not():
    asked, sentence = "What is the capital of Japan?", "The capital of Japan is Tokyo."
    same = [("Tokyo", sentence), (sentence, "Tokyo is the capital of Japan."), ("Tokyo", "It is Tokyo.")]
    different = [
        ("Tokyo", "Kyoto"),
        ("Tokyo", "The capital of Japan is Lima."),
        (sentence, "The capital of Japan is Lima."),
    ]
    found = default_equivalence().compare(asked, *zip(*same, *different, strict=True))
    assert found.same.tolist() == [True] * 3 + [False] * 3
    assert default_equivalence() is default_equivalence()  # loaded once
    assert default_equivalence().options["threshold"] == 0.7


@pytest.mark.slow
def test_the_published_rates():
    """The rates in docs/explanation/scorers.md: answers to 300 questions in one word and in sentences, right and exchanged."""
    rng = random.Random(0)
    asked = [q for q in load_questions() if q.question.startswith("What is ") and re.search("[^\\W\\d]", q.answers[0])]
    kinds: dict[str, list[str]] = {}
    for q in asked:
        kinds.setdefault(q.kind, []).append(q.answers[0])
    same, different = [], []
    for q in rng.sample(asked, 300):
        about = q.question.removeprefix("What is ").rstrip("?")
        right, other = q.answers[0], rng.choice(kinds[q.kind])
        one, two = (f"{about[0].upper()}{about[1:]} is {answer}." for answer in (right, other))
        again = f"{about[0].upper()}{about[1:]} is {rng.choice(q.answers)}."
        same += [(q.question, *pair) for pair in ((right, one), (one, again))]
        same.append((q.question, right, rng.choice(q.answers[1:] or (f"It is {right}.",))))
        if other.casefold() not in map(str.casefold, q.answers):
            different += [(q.question, *pair) for pair in ((right, other), (one, two), (right, two))]
    made = default_equivalence()
    rates = [
        sum(bool(made.compare(question, [a], [b]).same[0]) for question, a, b in pairs) / len(pairs)
        for pairs in (same, different)
    ]
    assert rates == [pytest.approx(0.94, abs=0.01), pytest.approx(0.01, abs=0.006)]
