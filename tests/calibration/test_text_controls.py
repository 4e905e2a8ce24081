"""Readers of the texts alone: they find what texts tell, and nothing where they tell nothing; no fold sees itself."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from guardrail.calibration.controls import measure_controls
from guardrail.calibration.linear import fit_linear
from guardrail.calibration.metrics import auroc
from guardrail.errors import CalibrationError

WIDTH = 24


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def texts(n=400, *, topic=0.0, answer=0.0, together=0.0, seed=0):
    """Vectors of questions and answers, and whether these are right: by the topic, by what is said, or by how both agree."""
    rng = np.random.default_rng(seed)
    question, said = rng.normal(size=(n, WIDTH)), rng.normal(size=(n, WIDTH))
    correct = rng.random(n) < 0.4
    question[:, 0] += topic * np.where(correct, 1, -1)
    said[:, 1] += answer * np.where(correct, 1, -1)
    said[correct] += together * question[correct]
    return [unit(question), unit(said)], correct, rng.normal(size=n) - 1.5 * correct


def measured(texts_, correct, score, **options):
    return measure_controls(texts_, score, correct, embedding="made up", **options)


def test_a_topic_that_tells_is_told_by_both_readers():
    found = measured(*texts(topic=2.0))
    assert found.question.auroc.low > 0.8
    assert found.text.auroc.low > 0.75
    assert found.embedding == "made up"
    assert found.to_dict()["text"]["auroc"]["n"] == 400


def test_what_only_the_answer_tells_the_question_does_not():
    found = measured(*texts(answer=2.0))
    assert found.text.auroc.low > 0.75
    assert found.question.auroc.low < 0.5 < found.question.auroc.high


def test_how_alike_two_texts_are_is_read_though_neither_tells_anything():
    given, correct, score = texts(together=1.0)
    assert measured(given, correct, score).text.auroc.low > 0.75
    assert auroc(1 - fit_linear(np.hstack(given), correct).p_correct(np.hstack(given)), correct) < 0.75


def test_texts_that_tell_nothing_are_worth_nothing_and_the_difference_is_paired():
    given, correct, score = texts()
    found = measured(given, correct, score)
    assert abs(found.text.auroc.value - 0.5) < 0.1
    assert found.text.difference.value == pytest.approx(auroc(score, correct) - found.text.auroc.value)
    assert found.text.difference.low > 0.1
    assert measured(given, correct, np.zeros(400)).question.difference.value < 0.1


def test_answers_of_one_question_are_never_in_two_folds():
    """Twelve questions, each asked 25 times with one grade: its twins would tell all."""
    groups = np.repeat(np.arange(12), 25)
    given, correct = [np.eye(12)[groups]] * 2, groups % 2 == 0
    apart = measured(given, correct, np.zeros(300), groups=groups)
    torn = measured(given, correct, np.zeros(300))
    assert apart.text.auroc.value < 0.6 < 0.99 < torn.text.auroc.value


def test_few_of_a_kind_take_fewer_folds_and_too_few_are_refused():
    given, _, score = texts(60)
    few = np.zeros(60, dtype=np.bool_)
    few[:3] = True
    assert measured(given, few, score).text.auroc.n == 60
    few[1:3] = False
    with pytest.raises(CalibrationError, match="1 of the rarer kind"):
        measured(given, few, score)


def test_the_regression_is_the_librarys_where_every_direction_takes_part():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(200, 5)) * [3, 2, 1, 1, 0.5]
    correct = rng.random(200) < 1 / (1 + np.exp(-X @ [1, -1, 0, 0.5, 0]))
    found = fit_linear(X, correct)
    scale = np.sqrt(((X - X.mean(0)) ** 2).sum(1).mean())
    other = LogisticRegression(C=1 / (0.03 * 200), tol=1e-10).fit((X - X.mean(0)) / scale, correct)
    assert found.p_correct(X) == pytest.approx(other.predict_proba((X - X.mean(0)) / scale)[:, 1], abs=1e-4)


def test_equal_vectors_tell_the_base_rate():
    correct = np.arange(40) < 10
    assert fit_linear(np.ones((40, 3)), correct).p_correct(np.ones((2, 3))) == pytest.approx([0.25, 0.25], abs=1e-4)
