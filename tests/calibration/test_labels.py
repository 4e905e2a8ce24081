import math

import pytest

from guardrail.calibration.labels import label_bounds, label_for
from guardrail.errors import CalibrationError
from guardrail.types import LABELS


@pytest.mark.parametrize(
    ("p", "label"),
    [
        (0.0, "very low"),
        (math.nextafter(0.2, 0), "very low"),
        (0.2, "low"),
        (0.4, "medium"),
        (0.6, "high"),
        (math.nextafter(0.8, 0), "high"),
        (0.8, "very high"),
        (1.0, "very high"),
    ],
)
def test_an_edge_belongs_to_the_bin_above(p, label):
    assert label_for(p) == label


@pytest.mark.parametrize("p", [math.nan, math.inf, -1e-9, 1.0000001])
def test_what_is_no_probability_has_no_label(p):
    with pytest.raises(CalibrationError, match="not a probability"):
        label_for(p)


def test_bounds_tile_the_unit_interval():
    bounds = [label_bounds(label) for label in LABELS]
    assert bounds[0][0] == 0
    assert bounds[-1][1] == 1
    assert [b[1] for b in bounds[:-1]] == [b[0] for b in bounds[1:]]
    assert all(label_for(low) == label for label, (low, _) in zip(LABELS, bounds, strict=True))


def test_an_unknown_label_is_refused_by_name():
    with pytest.raises(CalibrationError, match=r"'sure'.*very low, low"):
        label_bounds("sure")
