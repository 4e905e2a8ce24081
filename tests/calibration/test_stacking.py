"""Weights against an independent library; adopted where it is better, not where it is not, and blind to the held-out fold."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from guardrail.calibration import stacking
from guardrail.calibration.logistic import PENALTY, logistic
from guardrail.calibration.metrics import auroc
from guardrail.calibration.stacking import fit_stacked, select_stacked, stacked_scores
from guardrail.scoring.stacked.features import Reading, Tokens
from guardrail.scoring.stacked.words import Word


def readings(n=240, seed=0, telling=1.0):
    """A wrong answer's second word, the only new one, is less likely and ParaGrad higher, `telling` times; SemGrad is noise."""
    rng = np.random.default_rng(seed)
    correct = rng.random(n) < 0.4
    out = []
    for wrong in ~correct:
        nll = rng.gamma(2.0, 1.0, 3) + np.array([0.0, telling * 2.0 * wrong, 0.0])
        tokens = Tokens((Word("the", 0, 1), Word(f"w{rng.integers(1e9)}", 1, 2)), rng.random(3), -nll)
        paragrad = rng.gamma(2.0, 1e-4) * (1 + telling * wrong)
        out.append(Reading(tokens, frozenset(), paragrad, {-2: rng.gamma(2.0), -1: rng.gamma(2.0)}))
    return out, correct


def test_weights_are_the_librarys_where_no_bound_holds():
    rng = np.random.default_rng(0)
    X = rng.random((400, 3))
    wrong = rng.random(400) < 1 / (1 + np.exp(1.5 - X @ [2.0, 1.0, 1.5]))
    weights, intercept = logistic(X, wrong)
    other = LogisticRegression(C=1 / (PENALTY * 400), tol=1e-10, max_iter=5000).fit(X, wrong)
    assert weights.min() > 0
    assert weights.tolist() == pytest.approx(other.coef_[0].tolist(), abs=1e-3)
    assert intercept == pytest.approx(other.intercept_[0], abs=1e-3)


def test_a_weight_that_would_be_negative_is_zero_and_no_better_one_exists():
    rng = np.random.default_rng(1)
    X = rng.random((300, 3))
    wrong = rng.random(300) < 1 / (1 + np.exp(-X @ [2.0, -3.0, 0.5]))
    weights, intercept = logistic(X, wrong)
    assert weights[1] == 0 < weights[0]

    def loss(w, b):
        z = np.where(wrong, 1, -1) * (X @ w + b)
        return np.logaddexp(0, -z).mean() + PENALTY / 2 * (w @ w)

    for _ in range(200):
        w = np.maximum(0, weights + rng.normal(0, 0.05, 3))
        assert loss(w, intercept + rng.normal(0, 0.05)) >= loss(weights, intercept) - 1e-9


def test_what_tells_is_weighed_and_common_words_are_not_new():
    given, correct = readings()
    model = fit_stacked(given, correct)
    assert model.common_words == ("the",)
    weights = {f.name: f.weight for f in model.features}
    assert weights["paragrad"] > 0.5
    assert weights["new_nll"] + weights["least_likely_word"] > 1
    assert auroc(stacked_scores(model, given), correct) > 0.8


def test_claims_count_a_word_once_an_answer_and_short_prompts_leave_features_out():
    given, correct = readings(60)
    groups = np.repeat(np.arange(2), 30)
    assert fit_stacked(given, correct, groups).common_words == (), "two answers are too few for a common word"
    given[7] = Reading(given[7].tokens, given[7].asked, given[7].paragrad, {-1: 1.0})
    assert -2 not in fit_stacked(given, correct).prompt_tokens


def test_adopted_where_it_is_better():
    given, correct = readings()
    weak = 1 - np.random.default_rng(1).random(len(given))
    paragrad = 1 / (1 + np.array([r.paragrad for r in given]) * 1e4)
    found = select_stacked(given, correct, {"weak": weak, "paragrad": paragrad})
    assert found.adopted
    assert found.single == "paragrad"
    assert found.difference.low > 0
    assert found.auroc_stacked == pytest.approx(found.auroc_singles["paragrad"] + found.difference.value)
    assert auroc(1 - found.p_correct, correct) == found.auroc_stacked


def test_noise_falls_back_and_has_no_skill():
    """Labels that know nothing of the features: out-of-fold AUROC near 0.5, and the single scorer's predictions."""
    ranked, adopted = [], 0
    for seed in range(8):
        given, correct = readings(160, seed, telling=0.0)
        single = np.random.default_rng(50 + seed).random(len(given))
        found = select_stacked(given, correct, {"single": single}, seed=seed)
        ranked.append(found.auroc_stacked)
        adopted += found.adopted
        assert found.adopted or found.p_correct is single
    assert abs(np.mean(ranked) - 0.5) < 0.05
    assert adopted <= 1


def test_a_fold_is_fitted_without_its_own_answers(monkeypatch):
    given, correct = readings(100)
    groups = np.repeat(np.arange(50), 2)
    seen = []
    real = stacking.fit_stacked
    monkeypatch.setattr(
        stacking, "fit_stacked", lambda inside, *more: seen.append({id(r) for r in inside}) or real(inside, *more)
    )
    select_stacked(given, correct, {"single": correct * 0.5 + 0.1}, groups=groups)
    *folds, everything = seen
    assert everything == {id(r) for r in given}
    left_out = [everything - fold for fold in folds]
    assert sum(map(len, left_out)) == 100, "each answer is predicted once"
    for out in left_out:
        assert all((id(given[i]) in out) == (id(given[i + 1]) in out) for i in range(0, 100, 2)), "groups stay together"


def test_the_same_again():
    given, correct = readings(120)
    one, two = (fit_stacked(given, correct) for _ in range(2))
    assert one == two
