"""Scorers made again from what a calibrator records of them."""

from __future__ import annotations

import json

import pytest

from guardrail.errors import ScoringError
from guardrail.retrieval.embedding_spec import DEFAULT_EMBEDDING
from guardrail.scoring.baselines.equivalence import TokenF1
from guardrail.scoring.baselines.equivalence_spec import equivalence_from
from guardrail.scoring.baselines.samples import SampleSource
from guardrail.scoring.registry import SCORERS, entry_of, scorer, scorer_from
from guardrail.testing import tiny_local_model

OTHER_THAN_USUAL = {
    "ln-pe": {"samples": 3, "temperature": 1.5},
    "self-consistency": {"samples": 4},
    "deg": {"temperature": 0.9},
    "inside": {"samples": 3, "top_k": 7, "top_p": 0.8, "alpha": 0.01},
    "semantic-entropy": {"samples": 3, "weights": "count"},
    "semantic-density": {"samples": 3},
    "mutual-information": {"samples": 3},
    "sar": {"samples": 3, "t": 0.5},
    "exgrad": {"reduction": "sum"},
    "paragrad": {"reduction": "sum"},
    "semgrad": {"semantic_token": -3, "reduction": "sum", "band": "text"},
    "ccp": {"k": 3},
    "rauq": {"alpha": 0.5},
    "hybridgrad": {"semantic_token": -2, "tau": 2.0, "beta": 0.5, "band": "text"},
}


@pytest.fixture(scope="module")
def local():
    return tiny_local_model()


@pytest.mark.parametrize("name", [name for name in SCORERS if not entry_of(name).partial])
def test_what_is_recorded_makes_the_same_scorer_again(name, local):
    """With other options than the usual ones, so that a default cannot pass for what was recorded."""
    source = SampleSource(local, max_new_tokens=4, seed=7)
    first = scorer(name, local, source=source, equivalence=TokenF1(0.4), **OTHER_THAN_USUAL.get(name, {}))
    recorded = json.loads(json.dumps(first.options))
    again = scorer_from(name, recorded, local)
    unsourced = {k: v for k, v in recorded.items() if k != "token_source"}
    assert {k: v for k, v in json.loads(json.dumps(again.options)).items() if k != "token_source"} == unsourced
    trace = local.trace("What is {it}?", "a lake")
    assert again.score_traces([trace])[0].value == first.score_traces([trace])[0].value
    assert again.name == first.name == name


def test_the_usual_embeddings_are_loaded_once(local):
    first = scorer_from("sar", {**_sar(local), "equivalence": _embedding(0.7)}, local)
    second = scorer_from("deg", {**_sampled(local, "deg"), "equivalence": _embedding(0.6)}, local)
    assert first.equivalence.embeddings is second.equivalence.embeddings
    assert (first.equivalence.threshold, second.equivalence.threshold) == (0.7, 0.6)


def _sampled(local, name, **options):
    return dict(scorer(name, local, equivalence=TokenF1(), **options).options)


def _sar(local):
    return _sampled(local, "sar")


def _embedding(threshold, model=DEFAULT_EMBEDDING):
    return {"kind": "embedding", "model": model, "threshold": threshold, "question": "left out"}


def test_what_cannot_be_made_again_is_refused_by_name(local):
    def refused(name, options, says):
        with pytest.raises(ScoringError, match=says):
            scorer_from(name, options, local)

    sar = _sar(local)
    refused("my-scorer", {}, "there is no scorer 'my-scorer'")
    refused(
        "sar",
        {**sar, "equivalence": {"kind": "mine"}},
        "no equivalence of the kind 'mine' .there are: embedding, nli, tok",
    )
    refused("sar", {**sar, "equivalence": _embedding(0.7, "given")}, "given as an object; give the scorer itself")
    refused(
        "sar",
        {**sar, "equivalence": _embedding(0.7, "/no/such/model")},
        "cannot load the embedding model '/no/such/mod",
    )
    refused("sar", {**sar, "equivalence": {"kind": "nli", "model": ""}}, "an NLI model without a name")
    refused("sar", {**sar, "equivalence": {"kind": "token f1"}}, "none of 'sar': no 'threshold'")
    refused("sar", {**sar, "equivalence": {**sar["equivalence"], "more": 1}}, "cannot be made with equivalence")
    refused("sar", {k: v for k, v in sar.items() if k != "seed"}, "do not say its seed")
    refused(
        "sar", {k: v for k, v in sar.items() if k != "equivalence"}, "when two answers are the same: equivalence None"
    )
    refused("sar", {**sar, "top_p": 0.9}, r"cannot be made with top_p 0\.9: made from its name, it has 1\.0")
    refused("sar", {**sar, "mystery": 1}, "cannot be made with mystery 1: made from its name, it has absent")
    refused("sar", {**sar, "samples": "many"}, "are none of 'sar'")
    refused("sar", {**sar, "samples": 0}, "samples is 0")
    refused("g-nll", {"samples": 3}, "cannot be made with samples 3")
    refused("hybridgrad", {"token": -3, "bandd": "code"}, "are none of 'hybridgrad'")


def test_equivalences_round_trip():
    for options in (_embedding(0.65), TokenF1(0.1).options):
        assert equivalence_from(options).options == options
