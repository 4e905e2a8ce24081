"""A quantile of the token log-probabilities, against values worked by hand, and beside the scorers that it lies between."""

from __future__ import annotations

import numpy as np
import pytest

from guardrail.errors import ScoringError
from guardrail.scoring.baselines.quantile_nll import quantile_nll
from guardrail.scoring.readers import QuantileNllReader
from guardrail.scoring.registry import scorer
from guardrail.testing import tiny_local_model


@pytest.mark.parametrize(
    ("log_probs", "level", "expected"),
    [
        ([-1.0, -0.5, -3.0, -0.1, -2.0], 0.8, 2.2),  # sorted 0.1 0.5 1 2 3; 0.8 of 4 steps is 3.2: 2 + 0.2 * (3 - 2)
        ([-1.0, -0.5, -3.0, -0.1, -2.0], 0.5, 1.0),
        ([-1.0, -0.5, -3.0, -0.1, -2.0], 1.0, 3.0),
        ([-1.0, -0.5, -3.0, -0.1, -2.0], 0.0, 0.1),
        ([-0.7], 0.8, 0.7),
        ([-0.2, -1.0], 0.25, 0.4),
    ],
)
def test_by_hand(log_probs, level, expected):
    assert quantile_nll(log_probs, level) == pytest.approx(expected)


def test_saying_the_same_twice_does_not_change_it_as_it_does_the_sum():
    said = [-1.0, -0.5, -3.0, -0.1, -2.0]
    assert quantile_nll(said * 200) == pytest.approx(quantile_nll(said))
    assert quantile_nll([-0.3] * 500) == pytest.approx(0.3)


def test_on_a_model():
    local = tiny_local_model()
    trace = local.trace("Who?", "Nobody at all.")

    def of(name, **options):
        return scorer(name, local, **options).score_traces([trace])[0].value

    assert of("quantile-nll", level=1) == pytest.approx(of("max-nll"))
    assert of("quantile-nll", level=0) < of("mean-nll") < of("quantile-nll") <= of("max-nll")
    made = scorer("quantile-nll", local, level=0.3)
    assert made.options == {"level": 0.3}
    assert type(made).from_options(made.options, local).options == made.options
    for level in (1.5, -0.1, "high", True, float("nan")):
        with pytest.raises(ScoringError, match="the level is"):
            scorer("quantile-nll", local, level=level)


def test_what_a_run_holds_gives_the_same_number():
    tokens = type("Tokens", (), {"log_probs": np.array([-1.0, -0.5, -3.0, -0.1, -2.0], dtype=np.float32)})
    reading = type("Reading", (), {"tokens": tokens})
    assert QuantileNllReader("quantile-nll", {"level": 0.8}).number(reading) == pytest.approx(2.2)
