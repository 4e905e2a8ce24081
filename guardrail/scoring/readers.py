"""A scorer's number from what a run's records hold of the one pass. Needs neither a model nor torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guardrail.errors import ScoringError
from guardrail.scoring.profile import Profile
from guardrail.scoring.stacked.features import Reading, features
from guardrail.scoring.stacked.model import StackedModel
from guardrail.scoring.states.model import StateProbe

Floats = NDArray[np.float64]


class Reader(ABC):
    """Finds the number that a scorer gave, or would have given, to an answer or a claim; higher = more uncertain.

    name, options: the scorer's. reads: the scorers whose numbers must stand in the records. Raises `ValueError` for options
    that are not this scorer's.
    """

    reads: tuple[str, ...] = ()

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        self.name, self.options = name, options

    @abstractmethod
    def number(self, reading: Reading) -> float:
        """Raises `ScoringError` where the record lacks what the number is made from."""

    def numbers(self, readings: Sequence[Reading]) -> Floats:
        """Of every reading, (n,)."""
        return np.array([self.number(reading) for reading in readings], dtype=np.float64)

    def of_answers(self, claims: Sequence[Reading], groups: Sequence[int], whole: Sequence[Reading]) -> Floats:
        """For every claim the number of its whole answer, (n,), to rank by: that of the answer's last claim.

        groups: which answer each claim comes from. whole: the reading of each claim's whole answer.
        """
        last = {group: i for i, group in enumerate(groups)}
        return self.numbers(claims)[[last[group] for group in groups]]


class RecordedReader(Reader):
    """For a scorer whose number stands in the records, where a run has asked it."""

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        super().__init__(name, options)
        self.reads = (name,)

    def number(self, reading: Reading) -> float:
        return recorded(reading, self.name)


class HybridGradReader(Reader):
    """Eq. 6 under a profile."""

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        super().__init__(name, options)
        self.profile = Profile.model_validate(options)

    def number(self, reading: Reading) -> float:
        semgrad, paragrad = self._parts(reading)
        return self.profile.combine(semgrad, paragrad, float(reading.tokens.entropies.mean()))

    def of_answers(self, claims: Sequence[Reading], groups: Sequence[int], whole: Sequence[Reading]) -> Floats:
        """That of the same profile, whose quantile scale is that of these answers."""
        one_each = dict(zip(groups, whole, strict=True))
        semgrad, paragrad = np.array([self._parts(reading) for reading in one_each.values()]).T
        fitted = HybridGradReader(self.name, self.profile.on_scale_of(semgrad, paragrad).model_dump())
        return fitted.numbers(whole)

    def _parts(self, reading: Reading) -> tuple[float, float]:
        band = reading.semgrad if self.profile.band == "code" else reading.text_band
        if self.profile.token not in band:
            raise ScoringError(f"the token {self.profile.token} was not read; these were: {list(band)}")
        factor = len(reading.tokens.log_probs) if self.profile.reduction == "sum" else 1
        return band[self.profile.token] * factor, reading.paragrad * factor


class ParaGradReader(Reader):
    """Eq. 5."""

    def number(self, reading: Reading) -> float:
        return reading.paragrad * (len(reading.tokens.log_probs) if self.options["reduction"] == "sum" else 1)


class GNllReader(Reader):
    """Minus the summed log-likelihood, nats."""

    def number(self, reading: Reading) -> float:
        return -float(reading.tokens.log_probs.sum())


class MeanNllReader(Reader):
    """Minus the mean log-likelihood of a token, nats."""

    def number(self, reading: Reading) -> float:
        return -float(reading.tokens.log_probs.mean())


class MaxNllReader(Reader):
    """Minus the log-likelihood of the least likely token, nats."""

    def number(self, reading: Reading) -> float:
        return -float(reading.tokens.log_probs.min())


class QuantileNllReader(Reader):
    """A quantile of minus the tokens' log-likelihoods, nats."""

    def number(self, reading: Reading) -> float:
        return float(np.quantile(-reading.tokens.log_probs.astype(np.float64), self.options["level"]))


class PikReader(Reader):
    """The log-odds of being wrong, by a probe on the state at the end of the question's prompt."""

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        super().__init__(name, options)
        self.probe = StateProbe.from_options(options)

    def number(self, reading: Reading) -> float:
        return float(self.probe.numbers(states_read([reading], self.name, self.probe.layer))[0])


def states_read(readings: Sequence[Reading], scorer: str, layer: int) -> Floats:
    """The states that `pik` or `probe` reads, of that layer, (n, D). Raises `ScoringError` where a record has none."""
    found = [reading.state if scorer == "pik" else reading.answer_state for reading in readings]
    of_layer = [state[1] for state in found if state is not None and state[0] == layer]
    if missing := len(found) - len(of_layer):
        raise ScoringError(
            f"{missing} of {len(readings)} answers were collected without the states that {scorer} reads; ask again, with "
            "--no-cache and without --resume"
        )
    return np.stack(of_layer)


class StackedReader(Reader):
    """The log-odds of being wrong, by the weights in the options."""

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        super().__init__(name, options)
        self.model = StackedModel.from_options(options)
        self.reads = tuple(self.model.scorers)

    def number(self, reading: Reading) -> float:
        return self.model.number(features(reading, self.model.common, self.model.probe))


def recorded(reading: Reading, name: str) -> float:
    """What a scorer said when the run asked it. Raises `ScoringError` where it was not asked, or had no number."""
    found = reading.scores.get(name)
    if found is None:
        raise ScoringError(f"the records hold no score of {name!r}; collect them with it")
    return found
