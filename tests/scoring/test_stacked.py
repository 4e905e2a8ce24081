"""The stacked scorer: words, features and weights against numbers made by hand; one score however an answer is scored."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from guardrail.errors import ScoringError
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.scoring.protocol import SpanScorer
from guardrail.scoring.stacked.features import OF_TOKENS, SO_FAR, Reading, Tokens, features
from guardrail.scoring.stacked.model import StackedFeature, StackedModel
from guardrail.scoring.stacked.scorer import StackedScorer
from guardrail.scoring.stacked.words import Word, asked_words, common_words, token_pieces, within, words_of
from guardrail.testing import tiny_local_model, tiny_tokenizer

GRID = tuple(float(x) for x in range(11))


def stacked(*names, weight=1.0, common=()):
    features = tuple(StackedFeature(name=name, weight=weight, quantiles=GRID) for name in names)
    return StackedModel(intercept=-1.0, common_words=common, features=features)


EVERY = stacked(*OF_TOKENS, "paragrad", "semgrad[-6]", "semgrad[-1]")
OF_CLAIMS = stacked(*OF_TOKENS, "paragrad", "semgrad[-3]", *(f"{SO_FAR}{name}" for name in OF_TOKENS))


def reading(so_far=None):
    """Suva is the answer: "The capital is Suva", asked for the capital."""
    tokens = Tokens(
        words_of(["The", " capital", " is", " Su", "va", ".", ""]),
        np.array([1.0, 1.0, 1.0, 3.0, 0.5, 0.1, 0.1]),
        -np.array([2.0, 1.0, 0.5, 4.0, 0.25, 0.1, 0.15]),
    )
    return Reading(tokens, asked_words("What is the capital?"), 0.5, {-6: 0.01}, so_far)


def test_words_and_their_tokens():
    assert words_of(["It", " is", " Su", "va", "."]) == (Word("it", 0, 1), Word("is", 1, 2), Word("suva", 2, 4))
    assert words_of(["", "Straße", "-7", ""]) == (Word("strasse", 1, 2), Word("7", 2, 3))
    assert words_of([]) == words_of(["", "..."]) == ()
    assert within(words_of(["a", " bc", "d", " e"]), 1, 3) == (Word("bcd", 0, 2),)
    assert within(words_of(["a", " bc", "d", " e"]), 2, 4) == (Word("e", 1, 2),), "half a word is none"


def test_common_words_are_counted_by_answer():
    answers = [words_of(["it", " it", " is"])] * 2 + [words_of(["is"])]
    assert common_words(answers) == ("is",), "three answers at least"
    many = [words_of([f"w{i}", " the"]) for i in range(400)] + [words_of(["rare"])] * 3
    assert common_words(many) == ("the",), "one in a hundred at least"


@pytest.mark.parametrize("text", ["Suva.", " two  spaces", "naïve 日本語 🙂 ok", "a\nb", ""])
def test_pieces_make_the_text(text):
    tokenizer = tiny_tokenizer()  # of bytes: most characters above are several tokens
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert "".join(token_pieces(tokenizer, [*ids, tokenizer.eos_token_id])) == text
    assert len(token_pieces(tokenizer, ids)) == len(ids)


def test_features_by_hand():
    found = features(reading(), frozenset({"is"}))
    assert found == pytest.approx(
        {
            "new_nll": 4.25,
            "new_entropy": 3.5,
            "least_likely_word": 4.25,
            "nll_mean": 8 / 7,
            "nll_max": 4.0,
            "paragrad": 0.5,
            "semgrad[-6]": 0.07,
        }
    )


def test_an_answer_without_a_new_word_is_all_new():
    r = reading()
    r = replace(r, asked=asked_words("What is the capital, Suva?"))
    found = features(r, frozenset())
    assert found["new_nll"] == pytest.approx(8.0)
    assert found["least_likely_word"] == pytest.approx(4.0)


def test_a_claim_has_its_own_and_the_answers_numbers():
    whole = reading().tokens
    r = replace(reading(), tokens=whole.part(3, 5), so_far=whole.part(0, 5))
    found = features(r, frozenset({"is"}))
    assert (found["nll_mean"], found["so_far.nll_mean"]) == pytest.approx((2.125, 7.75 / 5))
    assert found["new_nll"] == found["so_far.new_nll"] == pytest.approx(4.25)
    assert found["semgrad[-6]"] == pytest.approx(0.02), "J of the claim's tokens"


def test_the_number_is_the_logistic_by_hand():
    model = stacked("new_nll", "paragrad", weight=2.0)
    values = {"new_nll": 5.0, "paragrad": 2.5, "nll_max": 9.0}
    assert model.contributions(values) == pytest.approx({"new_nll": 1.0, "paragrad": 0.5})
    assert model.number(values) == pytest.approx(-1 + 2 * 0.5 + 2 * 0.25)
    assert math.isnan(model.number({**values, "paragrad": math.nan}))
    assert math.isnan(model.number({**values, "new_nll": math.inf}))
    with pytest.raises(ScoringError, match="reads 'paragrad'"):
        model.number({"new_nll": 1.0})


def test_json_and_back_is_the_same_model():
    again = StackedModel.model_validate_json(EVERY.model_dump_json())
    assert again == EVERY
    assert (EVERY.prompt_tokens, EVERY.of_claims, OF_CLAIMS.of_claims) == ([-6, -1], False, True)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": "length"}, "there is no feature 'length'"),
        ({"name": "semgrad[3]"}, "there is no feature"),
        ({"name": "so_far.paragrad"}, "there is no feature"),
        ({"weight": -0.1}, "greater than 0"),
        ({"weight": math.inf}, "finite"),
        ({"quantiles": (1.0, 0.0)}, "not finite and ascending"),
        ({"unknown": 1}, "Extra inputs"),
    ],
)
def test_what_is_no_model_is_refused(change, says):
    good = {"name": "paragrad", "weight": 1.0, "quantiles": (0.0, 1.0)}
    StackedFeature.model_validate(good)
    with pytest.raises(ValidationError, match=says):
        StackedFeature.model_validate(good | change)
    with pytest.raises(ValidationError, match="twice"):
        StackedModel(intercept=0, common_words=(), features=(StackedFeature.model_validate(good),) * 2)


@given(
    st.lists(st.floats(0, 1e6), min_size=3, max_size=3),
    st.lists(st.floats(0, 1e6), min_size=3, max_size=3),
    st.lists(st.floats(0.0001, 20), min_size=3, max_size=3),
    st.lists(st.floats(0, 100), min_size=2, max_size=9).map(sorted),
)
def test_more_uncertain_numbers_never_lower_the_score(values, more, weights, grid):
    names = ("new_nll", "paragrad", "semgrad[-2]")
    model = StackedModel(
        intercept=0.0,
        common_words=(),
        features=tuple(
            StackedFeature(name=n, weight=w, quantiles=tuple(grid)) for n, w in zip(names, weights, strict=True)
        ),
    )
    low = dict(zip(names, values, strict=True))
    high = {n: max(low[n], m) for n, m in zip(names, more, strict=True)}
    assert model.number(low) <= model.number(high) + 1e-9
    assert model.number(high) <= 2 * sum(weights) + 1e-9, "no number, however large, counts for more"


@cache
def local():
    return tiny_local_model("llama")


QUESTIONS = ["What is it?", "And why is it so, in a few words?", "Name the largest of them, please."]


def generated(scorer):
    traces = local().generate_batch(QUESTIONS, max_new_tokens=8, keep=scorer.keep)
    return [replace(t, text="said") for t in traces]


def test_the_same_score_in_a_batch_singly_and_without_state():
    scorer: SpanScorer = StackedScorer(local(), EVERY)
    traces = generated(scorer)
    together = [s.value for s in scorer.score_traces(traces)]
    assert len(set(together)) == 3
    assert [scorer.score_traces([t])[0].value for t in traces] == pytest.approx(together, rel=1e-4)
    bare = [replace(t, state=None) for t in traces]
    assert [s.value for s in scorer.score_traces(bare)] == pytest.approx(together, rel=1e-4)


def test_the_score_is_the_model_of_hybridgrads_own_numbers():
    scorer = StackedScorer(local(), EVERY)
    trace = generated(scorer)[1]
    score = scorer.score_traces([trace])[0]
    parts = {t: HybridGradScorer(local(), semantic_token=t, reduction="sum").score_trace(trace) for t in (-6, -1)}
    explained = scorer.explain(trace)
    assert score.value == pytest.approx(-1.0 + sum(explained.values()))
    for t, part in parts.items():
        assert explained[f"semgrad[{t}]"] == pytest.approx(part.semgrad / 10, rel=1e-4)
    mean = HybridGradScorer(local(), semantic_token=-1).score_trace(trace)
    assert (score.paragrad, score.entropy, score.nll) == pytest.approx(
        (mean.paragrad, mean.entropy, mean.nll), rel=1e-4
    )
    assert explained["nll_mean"] == pytest.approx(mean.nll / mean.length / 10, rel=1e-4)
    assert (score.name, score.length) == ("stacked", len(trace.response_ids))
    assert score.to_dict()["number"] == score.value


@pytest.mark.parametrize("weighed", [("new_nll", "paragrad"), ("new_nll", "semgrad[-4]")])
def test_hybridgrad_by_the_papers_formula_stands_in_every_score(weighed):
    """Whatever the weights read, and with the parts that HybridGrad's own scorer gives."""
    scorer, paper = StackedScorer(local(), stacked(*weighed)), HybridGradScorer(local())
    traces = generated(scorer)
    spans = [[(0, 3), (2, len(t.response_ids))] for t in traces]
    found = [*scorer.score_traces(traces), *chain(*scorer.score_spans(traces, spans))]
    theirs = [*paper.score_traces(traces), *chain(*paper.score_spans(traces, spans))]
    for ours, own in zip(found, theirs, strict=True):
        assert (ours.name, ours.length) == ("stacked", own.length)
        for part in ("hybridgrad", "semgrad", "paragrad", "entropy", "nll"):
            assert ours.to_dict()[part] == pytest.approx(own.to_dict()[part], rel=1e-4), part


def test_a_claims_score_does_not_look_behind_the_claim():
    scorer = StackedScorer(local(), OF_CLAIMS)
    trace = generated(scorer)[1]
    T = len(trace.response_ids)
    spans = [(0, 3), (2, 5), (5, T)]
    whole = [s.value for s in scorer.score_spans([trace], [spans])[0]]
    cut = replace(trace, response_ids=trace.response_ids[:5], state=None)
    assert [s.value for s in scorer.score_spans([cut], [spans[:2]])[0]] == pytest.approx(whole[:2], rel=1e-4)
    alone = [scorer.score_spans([trace], [[span]])[0][0].value for span in spans]
    assert alone == pytest.approx(whole, rel=1e-4)
    assert scorer.score_spans([trace], [[]]) == [[]]
    with pytest.raises(ScoringError, match="not within the response"):
        scorer.score_spans([trace], [[(0, T + 1)]])
    with pytest.raises(ScoringError, match=r"reads 'so_far\.new_nll'"):
        scorer.score_traces([trace])


def test_what_cannot_be_scored_is_not_confident():
    scorer = StackedScorer(local(), stacked("new_nll", "semgrad[-40]"))
    trace = generated(StackedScorer(local(), EVERY))[0]
    short = scorer.score_traces([replace(trace, prompt_ids=trace.prompt_ids[-9:], state=None)])[0]
    empty = scorer.score_traces([replace(trace, response_ids=(), text="")])[0]
    assert [s.unscored for s in (short, empty)] == ["prompt_too_short", "no_response_tokens"]
    assert (short.name, short.number) == ("stacked", None)
    spans = scorer.score_spans([replace(trace, prompt_ids=trace.prompt_ids[-9:], state=None)], [[(0, 2)]])[0]
    assert [s.unscored for s in spans] == ["prompt_too_short"]
