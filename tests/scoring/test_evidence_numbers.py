"""What passages tell about an answer: features by hand, and the numbers behind them against two plain forward passes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from guardrail.errors import ScoringError
from guardrail.messages import as_messages
from guardrail.retrieval import with_evidence
from guardrail.scoring.stacked.evidence import NAMES, PREFIX, evidence_reading
from guardrail.scoring.stacked.evidence_pass import evidence_numbers
from guardrail.scoring.stacked.features import Reading, Tokens, features
from guardrail.scoring.stacked.model import StackedFeature, StackedModel
from guardrail.scoring.stacked.scorer import StackedScorer
from guardrail.scoring.stacked.words import asked_words, words_of
from guardrail.testing import tiny_local_model
from guardrail.types import Evidence

GRID = tuple(float(x) for x in range(11))
PASSAGES = (Evidence("Suva is a port of Fiji."), Evidence("It rains there."))


def reading(question, passages):
    tokens = Tokens(
        words_of(["The", " capital", " is", " Su", "va", ".", ""]),
        np.ones(7),
        -np.array([2.0, 1, 0.5, 4, 0.25, 0.1, 0]),
    )
    without = [-1.0, -1.0, -1.0, -6.0, -2.0, -0.5, -0.5]
    told = evidence_reading(question, passages, without, 0.5)
    return Reading(tokens, asked_words(question), 0.5, {-6: 0.01}, evidence=told)


def test_features_by_hand():
    found = features(reading("What is the capital of Fiji?", ["Suva is in Fiji."]), frozenset())
    told = {name: found[PREFIX + name] for name in NAMES}
    assert told == {
        "new_nll_without": 8.0,
        "nll_mean_without": pytest.approx(12 / 7),
        "question_perplexity": 0.5,
        "question_missing": 4.0,  # what, the, capital, of
        "names_missing": 1.0,  # What
        "answer_missing": 0.0,
    }


def test_a_passage_about_something_else_gives_less_reason_to_believe():
    question = "What is the capital of Fiji?"
    right, wrong = (
        features(reading(question, [passage]), frozenset())
        for passage in ("Suva is the capital of Fiji.", "Lima is in Peru.")
    )
    for name in ("question_missing", "names_missing", "answer_missing"):
        assert wrong[PREFIX + name] > right[PREFIX + name]
    assert right["new_nll"] == wrong["new_nll"], "the words of passages are not among the asked ones"


def test_a_word_with_a_digit_is_a_name():
    asked = reading("how many people had Suva in 1999 or the 20th century?", ["Suva: 1999"])
    assert features(asked, frozenset())[PREFIX + "names_missing"] == 1.0


def model_of(*names):
    return StackedModel(
        intercept=-1.0,
        common_words=(),
        features=tuple(StackedFeature(name=name, weight=1.0, quantiles=GRID) for name in names),
    )


@pytest.fixture(scope="module")
def local():
    return tiny_local_model("llama")


@pytest.fixture(scope="module")
def traces(local):
    asked = [as_messages(text) for text in ("What is the capital of Fiji?", "Why?")]
    made = local.generate_batch([with_evidence(messages, PASSAGES) for messages in asked], max_new_tokens=6)
    return [replace(t, text="said", evidence=PASSAGES, asked=messages) for t, messages in zip(made, asked, strict=True)]


def slow(local, ids):
    """log p of every token but the first, from the whole model."""
    with torch.no_grad():
        logits = local.model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return logits[:-1].gather(1, torch.tensor(ids[1:]).unsqueeze(1)).squeeze(1).numpy()


def test_the_numbers_are_those_of_plain_forward_passes(local, traces):
    for trace, (log_probs, perplexity) in zip(traces, evidence_numbers(local, traces), strict=True):
        plain, full = list(local.encode_prompt(trace.asked)), list(trace.prompt_ids)
        response = list(trace.response_ids)
        assert log_probs == pytest.approx(slow(local, [*plain, *response])[-len(response) :].tolist(), abs=1e-4)
        k = next(i for i in range(len(plain)) if plain[-1 - i] != full[-1 - i])
        assert local.tokenizer.decode(plain[-k:]).lstrip().startswith(trace.asked[-1]["content"])
        expected = np.exp(slow(local, plain)[-k:].mean() - slow(local, full)[-k:].mean())
        assert perplexity == pytest.approx(expected, rel=1e-4)


def test_the_scorer_reads_them_from_the_trace(local, traces):
    scorer = StackedScorer(local, model_of("new_nll", *(PREFIX + name for name in NAMES)))
    together = [score.value for score in scorer.score_traces(traces)]
    assert together == pytest.approx([scorer.score_traces([trace])[0].value for trace in traces], rel=1e-4)
    explained = scorer.explain(traces[0])
    assert set(explained) == {"new_nll", *(PREFIX + name for name in NAMES)}
    assert together[0] == pytest.approx(-1.0 + sum(explained.values()))
    bare = replace(traces[0], evidence=(), asked=())
    with pytest.raises(ScoringError, match=r"reads 'evidence\."):
        scorer.score_traces([bare])


def test_a_scorer_that_reads_none_is_as_before(local, traces):
    scorer = StackedScorer(local, model_of("new_nll", "paragrad"))
    bare = [replace(trace, evidence=(), asked=()) for trace in traces]
    assert [s.value for s in scorer.score_traces(traces)] == [s.value for s in scorer.score_traces(bare)]
