"""A profile is chosen where the data support it, and not where they do not."""

from __future__ import annotations

import numpy as np
import pytest

from guardrail.calibration.metrics import auroc
from guardrail.calibration.profiles import Signals, candidates, choose, fit, scores, select
from guardrail.scoring.profile import Profile

PRIOR = Profile(token=-1)


def signals(n=300, seed=0, telling=-3):
    """SemGrad at one token tells right from wrong, all else is noise; ParaGrad is 100 times smaller."""
    rng = np.random.default_rng(seed)
    correct = rng.random(n) < 0.4
    semgrad = rng.gamma(2.0, 1e-3, (n, 4))
    semgrad[:, 4 + telling] *= np.where(correct, 0.3, 1.5)
    s = Signals(
        offsets=(-4, -3, -2, -1),
        semgrad={"code": semgrad, "text": rng.gamma(2.0, 1e-3, (n, 4))},
        paragrad=rng.gamma(2.0, 1e-5, n),
        entropy=rng.random(n) + 0.5,
        length=rng.integers(2, 20, n).astype(float),
    )
    return s, correct


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_scores_are_what_combine_says(reduction):
    s, _ = signals(20)
    profile = Profile(token=-2, band="text", reduction=reduction, tau=2.0)
    factor = s.length if reduction == "sum" else np.ones(20)
    expected = [
        profile.combine(s.semgrad["text"][i, 2] * factor[i], s.paragrad[i] * factor[i], s.entropy[i]) for i in range(20)
    ]
    assert scores(profile, s).tolist() == pytest.approx(expected)


def test_the_telling_token_is_found_and_adopted():
    s, correct = signals()
    selection = select(PRIOR, s, correct)
    assert selection.adopted
    assert (selection.profile.token, selection.profile.band) == (-3, "code")
    assert selection.difference.low > 0
    assert selection.auroc_chosen > 0.7 > selection.auroc_prior


def test_noise_leaves_the_prior():
    """Searching 64 candidates on noise finds a high AUROC on the data searched; outside them it is gone."""
    searched, honest, adopted = [], [], 0
    for seed in range(6):
        s, _ = signals(seed=seed)
        correct = np.random.default_rng(100 + seed).random(len(s)) < 0.4
        searched.append(auroc(scores(choose(PRIOR, s, correct), s), correct))
        selection = select(PRIOR, s, correct)
        honest.append(selection.auroc_chosen)
        adopted += selection.adopted
    assert np.mean(searched) > 0.53 > np.mean(honest)
    assert adopted <= 1


def test_the_choice_inside_a_fold_does_not_see_the_fold(monkeypatch):
    from guardrail.calibration import profiles

    s, correct = signals(100)
    sizes = []
    real = profiles.choose
    monkeypatch.setattr(profiles, "choose", lambda p, inside, c: sizes.append(len(inside)) or real(p, inside, c))
    select(PRIOR, s, correct, folds=5)
    assert sizes == [80] * 5 + [100]


def test_not_choosing_measures_the_prior():
    s, correct = signals()
    selection = select(PRIOR, s, correct, choosing=False)
    assert (selection.profile, selection.adopted, selection.difference) == (PRIOR, False, None)
    assert 0 < selection.p_correct.min() <= selection.p_correct.max() < 1


def test_quantile_profiles_are_fitted_to_their_data():
    s, _ = signals()
    fitted = [fit(c, s) for c in candidates(PRIOR, s)]
    assert len({(p.token, p.band, p.reduction, p.scale, p.alpha) for p in fitted}) == len(fitted) == 4 * 2 * 2 * 4
    for profile in fitted:
        if profile.scale == "quantile":
            assert profile.paragrad_quantiles[0] == pytest.approx(s.parts(profile)[1].min())
            assert len(profile.semgrad_quantiles) == 101
