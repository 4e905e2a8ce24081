"""SPS, how well a hidden state keeps a question's meaning (arXiv 2605.04638), from sums of unit vectors. Knows no models.

    SPS(l, t) = mean cosine within a paraphrase group - mean cosine across groups        of h^(l) at the t-th token
    from the end

Questions weigh alike, however many paraphrases each has. Within: the mean over all pairs of different texts of a
group, then over groups. Across: the mean over all pairs of texts of two different groups, then over all pairs of
groups. With u = h / |h|, S_g the sum of a group's n_g unit vectors, m_g = S_g / n_g and G groups,

    within = (1/G) sum_g (|S_g|^2 - n_g) / (n_g (n_g - 1))
    across = (|sum_g m_g|^2 - sum_g |m_g|^2) / (G (G - 1))

so no matrix of all pairs of texts is needed. Both means are unbiased for questions drawn at random. Between -2 and 2;
0: a state says no more about a paraphrase than about another question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guardrail.errors import ScoringError

Floats = NDArray[np.float64]


class SpsSums:
    """Collects groups one by one. K layers, O tokens, D hidden units.

    kept: the layers, a slice of the K, whose group means are kept (as float32) so that groups can be drawn again; of
    the other layers only sums are. So G groups take 4 * G * kept * O * D bytes.
    """

    def __init__(self, kept: slice) -> None:
        self._kept = kept
        self._within: list[Floats] = []  # (K, O) each
        self._means: list[NDArray[np.float32]] = []  # (kept, O, D) each
        self._sum: Floats | None = None  # (K, O, D)
        self._squares: Floats | None = None  # (K, O)

    def add(self, total: Floats, n: int) -> None:
        """A group: total, the sum of its n unit vectors, (K, O, D). Raises `ScoringError` for a group of one text."""
        if n < 2:
            raise ScoringError("SPS needs two texts or more in each group: a question and a paraphrase")
        dots = np.einsum("kod,kod->ko", total, total)
        mean = total / n
        self._within.append((dots - n) / (n * (n - 1)))
        self._means.append(mean[self._kept].astype(np.float32))
        self._sum = mean if self._sum is None else self._sum + mean
        squares = dots / n**2
        self._squares = squares if self._squares is None else self._squares + squares

    def result(self) -> Sps:
        """Raises `ScoringError` for fewer than two groups."""
        groups = len(self._within)
        if self._sum is None or self._squares is None or groups < 2:
            raise ScoringError(f"SPS needs two questions or more, with paraphrases each; got {groups}")
        within = np.stack(self._within)  # (G, K, O)
        across = (np.einsum("kod,kod->ko", self._sum, self._sum) - self._squares) / (groups * (groups - 1))
        return Sps(
            within.mean(0) - across, self._kept, within[:, self._kept].mean(1), np.stack(self._means, 1).swapaxes(0, 2)
        )


@dataclass(frozen=True, slots=True, eq=False)
class Sps:
    """sps: (K, O). kept: the layers whose groups were kept; of these, by group: within, (G, O), the mean over the
    layers; means, (O, G, kept, D)."""

    sps: Floats
    kept: slice
    within: Floats
    means: NDArray[np.float32]

    @property
    def upper_mean(self) -> Floats:
        """Mean SPS over the kept layers, (O,)."""
        out: Floats = self.sps[self.kept].mean(0)
        return out

    def redrawn(self, n: int = 1000, seed: int = 0) -> Floats:
        """Bootstrap by groups: `upper_mean` of n samples of G groups drawn with replacement, (draws, O).

        Two copies of a group are the same question and so no pair across. Draws of one group only have no such pair and are
        left out: there may be fewer than n.
        """
        groups = len(self.within)
        drawn = np.random.default_rng(seed).integers(0, groups, (n, groups))
        times = np.stack([np.bincount(row, minlength=groups) for row in drawn]).astype(np.float64)  # (n, G)
        pairs = groups**2 - (times**2).sum(1)
        times, pairs = times[pairs > 0], pairs[pairs > 0]
        across = np.empty((len(times), self.within.shape[1]))
        for o, means in enumerate(self.means):  # one G x G matrix at a time
            cosines = sum(x @ x.T for x in means.swapaxes(0, 1).astype(np.float64)) / means.shape[1]
            across[:, o] = ((times @ cosines * times).sum(1) - times**2 @ cosines.diagonal()) / pairs
        out: Floats = times @ self.within / groups - across
        return out


def unit_sum(states: NDArray[np.float32], offsets: Sequence[int]) -> Floats:
    """The sum of unit vectors h / |h| over texts, float64: (K, O, D) of states of shape (texts, K, O, D).

    Raises `ScoringError` where a state has no direction: NaN, infinity or all zeros.
    """
    wide = states.astype(np.float64)
    norms = np.linalg.norm(wide, axis=-1, keepdims=True)
    if not (np.isfinite(norms) & (norms > 0)).all():
        _, layer, token, _ = np.argwhere(~(np.isfinite(norms) & (norms > 0)))[0]
        raise ScoringError(
            f"the hidden state h^({layer}) at token {offsets[token]} has no direction (NaN, infinity or zero), so it has no "
            "cosine; load the model with --dtype float32"
        )
    out: Floats = (wide / norms).sum(0)
    return out
