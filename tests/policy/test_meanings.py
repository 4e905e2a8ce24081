"""The words of hedges: what readers take them to mean, in the order of the labels and within their bounds."""

from itertools import pairwise

import pytest

from guardrail.actions import DEFAULT_CLAIM_HEDGE, DEFAULT_HEDGE
from guardrail.calibration.labels import label_bounds
from guardrail.policy import Policy
from guardrail.policy.meanings import MEANINGS, SURVEYED, Meaning, meaning_of, misread
from guardrail.types import LABELS

HEAD = "version: 1\nname: mine\n"


@pytest.mark.parametrize("wording", [DEFAULT_HEDGE, DEFAULT_CLAIM_HEDGE], ids=["answers", "claims"])
def test_the_shipped_wordings_mean_their_labels_in_order(wording):
    meanings = [meaning_of(wording[label]) for label in LABELS]
    for label, meaning in zip(LABELS, meanings, strict=True):
        assert meaning is not None
        assert meaning.meets(*label_bounds(label)), (label, meaning)
    for lower, higher in pairwise(meanings):
        assert lower.low < higher.low
        assert lower.high < higher.high
    assert meaning_of(wording[None]) is None


@pytest.mark.parametrize("name", Policy.shipped())
def test_no_shipped_rule_is_misread(name):
    assert not [warning for warning in Policy.load(name).warnings if "readers take" in warning]


def test_the_longest_phrase_is_meant():
    assert meaning_of("Very likely wrong: {answer}") == Meaning(0.05, 0.1, "highly unlikely")
    assert meaning_of("**Probably** wrong.").like == "probably not"
    assert meaning_of("It is, probably, {answer}").like == "probably"
    assert meaning_of("improbably {answer}") is None
    assert meaning_of("Probably not right: {answer}").like == "probably not"
    assert meaning_of("Not very likely right: {answer}") is None
    assert all(0 <= low <= median <= high <= 1 for low, median, high in SURVEYED.values())
    assert all(meaning_of(phrase) == meaning for phrase, meaning in MEANINGS.items())


def test_bounds_are_half_open():
    assert misread("Probably right: {answer}", 0.75, 0.8) is None
    assert misread("Probably right: {answer}", 0.5, 0.6) == (
        "readers take its words to mean 0.60 to 0.75, and it is for 0.50 to 0.60"
    )
    assert misread("About this: {answer}", 0, 0.1) is None


def test_a_policy_that_is_misread_is_told_with_its_line():
    policy = Policy.from_text(
        HEAD
        + 'wording: {hedge: {low: "Probably right: {answer}", high: "Probably right: {answer}"},\n'
        + '  claim: {hedge: {very high: "{answer} (doubtful)"}}}\n'
        + "rules:\n"
        + "  - name: weak\n    when: {confidence: {below: 0.3}}\n    then: hedge\n"
        + '    say: "Very likely: {answer}"\n'
        + "  - {name: claims, for: claim, then: hedge}\n"
        + "  - {name: rest, then: hedge}\n",
        "p.yaml",
    )
    low, claim, weak = policy.warnings
    assert low.endswith(
        ":3: the wording for low: readers take its words to mean 0.60 to 0.75, and it is for 0.20 to 0.40"
    )
    assert claim.endswith(
        ":4: the wording for very high: readers take its words to mean 0.10 to 0.30, and it is for 0.80 to 1.00"
    )
    assert weak.endswith(":9: rule 'weak': readers take its words to mean 0.80 to 0.95, and it is for 0.00 to 0.30")
