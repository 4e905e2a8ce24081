"""Chooses a model's profile on calibration data: which token, band, reduction and scale separate right from wrong.

The prior is the paper's formula at the chat template's token. A chosen profile replaces it only where cross-validation,
with the whole choice repeated inside each fold, shows that it ranks better. Knows nothing about models or files.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from guardrail.calibration.folds import Groups, out_of_fold
from guardrail.calibration.metrics import Bools, Estimate, Floats, auroc, bootstrap_difference
from guardrail.calibration.pooling import fitted_probabilities
from guardrail.scoring.profile import Band, Profile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FOLDS = 5
ALPHAS = (None, 0.5, 0.75)
"""Weights of ParaGrad tried on the quantile scale; None is eq. 6's, which depends on the entropy."""


@dataclass(frozen=True, slots=True, eq=False)
class Signals:
    """What one pass gave for n answers, from which every profile's score can be computed.

    semgrad: by band, (n, len(offsets)), J the mean over response tokens. paragrad, entropy, length: (n,).
    """

    offsets: tuple[int, ...]
    semgrad: Mapping[Band, Floats]
    paragrad: Floats
    entropy: Floats
    length: Floats

    def __len__(self) -> int:
        return len(self.paragrad)

    def take(self, index: np.ndarray) -> Signals:
        """The answers at `index`."""
        return Signals(
            self.offsets,
            {band: values[index] for band, values in self.semgrad.items()},
            self.paragrad[index],
            self.entropy[index],
            self.length[index],
        )

    def at(self, token: int) -> Signals:
        """The same answers, with SemGrad at one token only."""
        column = self.offsets.index(token)
        return replace(
            self, offsets=(token,), semgrad={band: v[:, column : column + 1] for band, v in self.semgrad.items()}
        )

    def parts(self, profile: Profile) -> tuple[Floats, Floats]:
        """SemGrad and ParaGrad at the profile's token and band, reduced as it says, (n,) each."""
        factor = self.length if profile.reduction == "sum" else 1.0
        column = self.offsets.index(profile.token)
        return self.semgrad[profile.band][:, column] * factor, self.paragrad * factor


@dataclass(frozen=True, slots=True)
class Selection:
    """The outcome: the profile to use and the evidence for it.

    adopted: whether `profile` is the best on all data rather than the prior. auroc_chosen, auroc_prior: from
    out-of-fold probabilities, the choice repeated in each fold; difference: chosen minus prior, paired bootstrap.
    p_correct: out-of-fold probabilities, (n,): of the choice if adopted, else of the prior. The choice between the two and
    the figures rest on the same predictions, a mild winner's curse; questions held out from all of it have none.
    """

    profile: Profile
    adopted: bool
    difference: Estimate | None
    auroc_chosen: float
    auroc_prior: float
    p_correct: Floats


def candidates(prior: Profile, signals: Signals) -> list[Profile]:
    """Profiles to choose from: every token, band and reduction, raw as in eq. 6 or on the quantile scale.

    Those on the quantile scale have no grids yet: see `fit`.
    """
    grid: list[Profile] = []
    for token in signals.offsets:
        for band in signals.semgrad:
            for reduction in ("mean", "sum"):
                options = {"token": token, "token_source": "calibration data", "band": band, "reduction": reduction}
                raw = prior.model_copy(update=options)
                grid.append(raw)
                grid += [raw.model_copy(update={"scale": "quantile", "alpha": alpha}) for alpha in ALPHAS]
    return grid


def fit(profile: Profile, signals: Signals) -> Profile:
    """The profile with the quantiles of these signals, if it is on the quantile scale."""
    return profile if profile.scale == "raw" else profile.on_scale_of(*signals.parts(profile))


def scores(profile: Profile, signals: Signals) -> Floats:
    """The score of every answer under the profile, (n,); higher = more uncertain."""
    semgrad, paragrad = signals.parts(profile)
    rows = zip(semgrad.tolist(), paragrad.tolist(), signals.entropy.tolist(), strict=True)
    return np.array([profile.combine(*row) for row in rows])


def choose(prior: Profile, signals: Signals, correct: Bools) -> Profile:
    """The candidate with the highest AUROC on these answers, fitted to them; ties go to the earlier candidate."""
    best = max(candidates(prior, signals), key=lambda c: auroc(scores(fit(c, signals), signals), correct))
    return fit(best, signals)


def select(
    prior: Profile,
    signals: Signals,
    correct: Bools,
    *,
    choosing: bool = True,
    folds: int = FOLDS,
    seed: int = 0,
    groups: Groups | None = None,
) -> Selection:
    """Choose a profile, and keep the prior unless the choice ranks better by more than chance (95 % interval above 0).

    choosing: False measures the prior alone; `difference` is then None. groups: the answer that each claim comes from; claims
    of one answer are never in two folds, and the bootstrap draws answers.
    """

    def out_of_folds(profile_of: Callable[[Signals, Bools], Profile]) -> Floats:
        def predict(train: NDArray[np.intp], test: NDArray[np.intp]) -> Floats:
            inside, right = signals.take(train), correct[train]
            profile = profile_of(inside, right)
            return fitted_probabilities(scores(profile, inside), right, scores(profile, signals.take(test)))

        return out_of_fold(correct, predict, folds=folds, seed=seed, groups=groups)

    p_prior = out_of_folds(lambda inside, _: fit(prior, inside))
    if not choosing:
        ranked = auroc(1 - p_prior, correct)
        return Selection(fit(prior, signals), False, None, ranked, ranked, p_prior)
    p_chosen = out_of_folds(lambda inside, right: choose(prior, inside, right))
    difference = bootstrap_difference(auroc, (1 - p_chosen, correct), (1 - p_prior, correct), seed=seed, groups=groups)
    adopted = difference.low > 0
    return Selection(
        profile=choose(prior, signals, correct) if adopted else prior,
        adopted=adopted,
        difference=difference,
        auroc_chosen=auroc(1 - p_chosen, correct),
        auroc_prior=auroc(1 - p_prior, correct),
        p_correct=p_chosen if adopted else p_prior,
    )
