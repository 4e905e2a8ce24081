"""Numbers -> support, by hand; what is missing or not finite never supports."""

import itertools

import pytest

from guardrail.types import Evidence, Verification
from guardrail.verification.model import Bounds, Reading, _ratio, _share, decide
from guardrail.verification.settling import Judgement, settle

BOUNDS = Bounds(near=0.7, share=0.5, unsure=1.0, near_otherwise=0.6, share_otherwise=0.05, unsure_otherwise=1.1)


def reading(**changes):
    return Reading(
        **{"evidence": 0, "similarity": 0.8, "denied": False, "backed": True, "share": 0.9, "unsure": 0.8} | changes
    )


@pytest.mark.parametrize(
    ("changes", "support"),
    [
        ({}, "supported"),
        ({"similarity": 0.7, "share": 0.5, "unsure": 1.0}, "supported"),
        ({"similarity": 0.69}, "not found"),
        ({"share": 0.49}, "not found"),
        ({"unsure": 1.01}, "not found"),
        ({"backed": False}, "not found"),
        ({"denied": True}, "not found"),
        ({"share": None}, "not found"),
        ({"unsure": None}, "not found"),
        ({"share": float("nan")}, "not found"),
        ({"unsure": float("nan")}, "not found"),
        ({"unsure": float("-inf")}, "not found"),
        ({"similarity": float("nan")}, "not found"),
    ],
)
def test_supported_only_where_everything_agrees(changes, support):
    assert decide(reading(**changes), BOUNDS) == support


@pytest.mark.parametrize(
    ("changes", "support"),
    [
        ({}, "contradicted"),
        ({"backed": True}, "contradicted"),
        ({"similarity": 0.6, "share": 0.05, "unsure": 1.1}, "contradicted"),
        ({"similarity": 0.59}, "not found"),
        ({"share": 0.06}, "not found"),
        ({"unsure": 1.09}, "not found"),
        ({"rival_backed": False}, "not found"),
        ({"denied": True}, "not found"),
        ({"share": None}, "not found"),
        ({"unsure": float("nan")}, "not found"),
    ],
)
def test_contradicted_only_where_a_rival_holds(changes, support):
    against = {"backed": False, "rival_backed": True, "share": 0.01, "unsure": 1.5}
    assert decide(reading(**against | changes), BOUNDS) == support


def test_nothing_unmeasured_is_ever_supported():
    numbers = (None, float("nan"), float("inf"), float("-inf"))
    for share, unsure, backed in itertools.product((0.9, *numbers), (0.5, *numbers), (True, False)):
        if share != 0.9 or unsure != 0.5 or not backed:
            assert decide(reading(share=share, unsure=unsure, backed=backed), BOUNDS) != "supported"


def test_share_and_ratio():
    assert _share([0.0, 0.0, 0.0, 0.0]) == 0.25
    assert _share([-1000.0]) == 1.0
    assert _share([-900.0, -1000.0]) == pytest.approx(1.0)
    assert _share([-1.0, float("nan")]) is None
    assert _ratio([]) is None


A, B, C = (Evidence(text, "", None) for text in "abc")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([], Verification("not found", "m")),
        ([Judgement(0, "not found", 0.4)], Verification("not found", "m", (), 0.4)),
        ([Judgement(1, "supported", 0.9), Judgement(0, "not found", 0.1)], Verification("supported", "m", (B,), 0.9)),
        ([Judgement(2, "supported", 0.9), Judgement(0, "supported", 0.8)], Verification("supported", "m", (C, A), 0.9)),
        ([Judgement(0, "contradicted", 0.0)], Verification("contradicted", "m", (A,), 0.0)),
        ([Judgement(0, "supported", 0.9), Judgement(1, "contradicted", 0.0)], Verification("not found", "m", (), 0.9)),
        ([Judgement(0, "supported", float("nan"))], Verification("not found", "m", (), None)),
    ],
)
def test_passages_that_disagree_settle_nothing(said, expected):
    assert settle([A, B, C], said, "m") == expected
