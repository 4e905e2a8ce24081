"""Pool adjacent violators, shrink, and interpolate: from right/wrong counts to a decreasing curve (see isotonic.py).

Knows nothing about files, models or what a score means; higher score = less probably right.
"""

from bisect import bisect_right
from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from guardrail.calibration.metrics import Bools, Floats
from guardrail.calibration.record import PSEUDO_ANSWERS, Block, jeffreys, shrunk


class Curve(NamedTuple):
    """A fit, ready to interpolate: the range of its scores; its blocks' median scores, ascending, (blocks,).

    Values (3, blocks).
    """

    first: float
    last: float
    score: Floats
    values: Floats  # rows p_correct, low, high, each non-increasing
    points: tuple[tuple[float, float, float, float], ...]  # the same for one score: (score, p_correct, low, high)

    @classmethod
    def through(cls, blocks: Sequence[Block]) -> Self:
        points = tuple((b.score, b.p_correct, b.low, b.high) for b in blocks)
        score, *values = np.array(points).T
        return cls(blocks[0].first, blocks[-1].last, score, np.array(values), points)

    def at_one(self, score: float) -> tuple[float, float, float]:
        """`at` for one score, (p_correct, low, high), in plain Python: every answer passes here, and numpy is slower."""
        i = bisect_right(self.points, score, key=itemgetter(0))
        if i in (0, len(self.points)):
            return self.points[min(i, len(self.points) - 1)][1:]
        (start, *before), (end, *after) = self.points[i - 1], self.points[i]
        t = (score - start) / (end - start)
        p, low, high = (min(max(b + t * (a - b), a), b) for b, a in zip(before, after, strict=True))
        return p, low, high

    def at(self, scores: Floats) -> Floats:
        """The values at `scores` (n,), of shape (3, n).

        Linear between the blocks' median scores, constant outside them.
        """
        if len(self.score) == 1:
            return np.repeat(self.values, len(scores), axis=1)
        x = np.clip(scores, self.score[0], self.score[-1])
        i = np.clip(np.searchsorted(self.score, x, side="right") - 1, 0, len(self.score) - 2)
        t = (x - self.score[i]) / (self.score[i + 1] - self.score[i])
        before, after = self.values[:, i], self.values[:, i + 1]
        # rounding can step past the neighbour; the clip keeps the result non-increasing to the last bit
        return np.clip(before + t * (after - before), after, before)


def fitted_probabilities(scores: Floats, correct: Bools, at: Floats) -> Floats:
    """The curve fitted to `scores` and `correct`, (n,) each, at the scores `at`, (m,): probabilities of shape (m,)."""
    out: Floats = Curve.through(fit_blocks(scores, correct)).at(at)[0]
    return out


def pool_adjacent_violators(
    n: Sequence[int] | NDArray[np.int_],
    n_correct: Sequence[int] | NDArray[np.int_],
    pseudo: float = 0.0,
    base: float | Sequence[float] = 0.0,
) -> list[tuple[int, int, int]]:
    """Merge neighbours until (n_correct + pseudo * base) / (n + pseudo) strictly decreases (pseudo = 0: least squares).

    n, n_correct: answers and right ones at each distinct score, ascending, shape (m,). base: of all, or of each, (m,); that
    of merged ones is their answers' mean. Returns one (stop, n, n_correct) a block; `stop` is the index after its last entry.
    """
    bases = base if isinstance(base, Sequence) else [base] * len(n)
    blocks: list[tuple[int, int, int, float]] = []
    for i, (size, right, own) in enumerate(zip(n, n_correct, bases, strict=True)):
        block = (i + 1, int(size), int(right), own)
        while blocks and shrunk(*blocks[-1][1:], pseudo) <= shrunk(*block[1:], pseudo):
            _, size_before, right_before, before = blocks.pop()
            whole = block[1] + size_before
            mean = own if before == own else (block[3] * block[1] + before * size_before) / whole
            block = (i + 1, whole, block[2] + right_before, mean)
        blocks.append(block)
    return [block[:3] for block in blocks]


def fit_blocks(
    scores: Floats, correct: Bools, towards: Floats | None = None, pseudo: float = PSEUDO_ANSWERS
) -> tuple[Block, ...]:
    """The blocks of the fit. towards: what each answer's probability is drawn to, by `pseudo` answers a block, (n,); None is
    the base rate."""
    order = np.argsort(scores, kind="stable")
    s = scores[order].tolist()
    distinct, group, size = np.unique(scores, return_inverse=True, return_counts=True)
    right = np.bincount(group, weights=correct, minlength=len(distinct)).astype(np.int_)
    raw = pool_adjacent_violators(size, right)
    rate = float(correct.mean())

    def bases(sizes: Sequence[int]) -> list[float]:
        if towards is None:
            return [rate] * len(sizes)
        return [float(part.mean()) for part in np.split(towards[order], np.cumsum(sizes)[:-1])]

    sizes = [b[1] for b in raw]
    pooled = pool_adjacent_violators(sizes, [b[2] for b in raw], pseudo, bases(sizes))
    bounds = jeffreys([b[1:] for b in pooled])
    blocks, start = [], 0
    for (_, size_, right_), low_, high_, base_ in zip(pooled, *bounds, bases([b[1] for b in pooled]), strict=True):
        stop = start + size_
        p = shrunk(size_, right_, base_, pseudo)
        blocks.append(
            Block(
                first=s[start],
                score=s[(start + stop - 1) // 2],
                last=s[stop - 1],
                n=size_,
                n_correct=right_,
                p_correct=p,
                low=min(low_, p),  # shrinking can move the estimate of a rare event out of its interval
                high=max(high_, p),
            )
        )
        start = stop
    return tuple(blocks)
