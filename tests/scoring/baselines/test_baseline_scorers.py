"""The scorers on tiny models: each drives a Guard, each agrees with its formula on what the model gives, none is ever sure of
what it could not read."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from guardrail import Guard, HybridGradScorer, ScoringError, UnscoredError
from guardrail.langchain.metadata import verdict_metadata
from guardrail.model.token_log_probs import token_log_probs
from guardrail.scoring.baselines.equivalence import TokenF1
from guardrail.scoring.baselines.mutual_information import chained, mutual_information
from guardrail.scoring.baselines.samples import SampleSource, Sampling
from guardrail.scoring.registry import SCORERS, comparable, entry_of, scorer, scorer_class
from guardrail.testing import tiny_local_model
from guardrail.types import Score

ALL = [name for name in SCORERS if not entry_of(name).partial]  # a random model's replies state nothing
ASKED = [{"role": "user", "content": "What is {it}?"}]
PAPER = {
    "ln-pe": {"samples": 10, "temperature": 1.0},
    "self-consistency": {"samples": 10, "temperature": 0.7},
    "deg": {"samples": 10, "temperature": 0.7},
    "inside": {"samples": 10, "temperature": 0.5, "top_p": 0.99, "top_k": 5, "alpha": 1e-3},
    "semantic-entropy": {"samples": 10, "temperature": 1.0},
    "semantic-density": {"samples": 10, "temperature": 1.0},
    "mutual-information": {"samples": 10, "temperature": 0.9, "equivalence": {"kind": "token f1", "threshold": 0.25}},
    "sar": {"samples": 5, "temperature": 1.0, "t": 1e-3},
}


@pytest.fixture(scope="module")
def local():
    return tiny_local_model()


@pytest.fixture(scope="module")
def source(local):
    return SampleSource(local, max_new_tokens=6)


@pytest.fixture(scope="module")
def make(local, source):
    return lambda name, **options: scorer(name, local, source=source, equivalence=TokenF1(), **options)


@pytest.mark.parametrize("name", ALL)
def test_each_drives_a_guard(name, local, make):
    guard = Guard(model=local, scorer=make(name), policy="observe")
    answered, checked = guard.answer(ASKED, max_new_tokens=6), guard.check(ASKED, "a lake")
    for verdict in (answered, checked):
        assert math.isfinite(verdict.score.value)
        assert verdict.score.name == name
        assert (verdict.score.hybridgrad is not None) == (name in ("hybridgrad", "semgrad"))  # those of the same pass
    told = json.loads(json.dumps(answered.to_dict(), allow_nan=False))["attempts"][0]["score"]
    assert told.get("number", told.get("hybridgrad")) == answered.score.value
    assert told.get("name", "hybridgrad") == name
    assert (
        json.loads(json.dumps(verdict_metadata(answered), allow_nan=False))["score"]["length"] == answered.score.length
    )
    json.dumps(dict(guard.scorer.options), allow_nan=False)  # as a calibrator records them


@pytest.mark.parametrize("name", ALL)
def test_what_cannot_be_scored_is_not(name, local, make):
    nothing, long = local.trace(ASKED, " "), local.trace("x" * 300, "y")
    fine = local.trace(ASKED, "a lake")
    scores = make(name).score_traces([nothing, fine, long])
    assert [s.unscored for s in scores] == ["empty_answer", None, "prompt_too_long"]
    assert {s.name for s in scores} == {name}
    with pytest.raises(UnscoredError, match="empty_answer"):
        _ = scores[0].value
    assert make(name).score_traces([]) == []


@pytest.mark.parametrize("name", [name for name in ALL if scorer_class(name).needs != "text"])
def test_a_broken_model_is_never_confident(name):
    """NaN in one row of the LM head, that of a token which no answer has."""
    broken = tiny_local_model()
    trace = broken.trace(ASKED, "a lake")
    made = scorer(name, broken, source=SampleSource(broken, max_new_tokens=3), equivalence=TokenF1())
    made.score_traces([trace])  # the model was whole when it was read
    with torch.no_grad():
        broken.model.get_output_embeddings().weight[380] = math.nan
    score = made.score_traces([trace])[0]
    assert score.unscored == "not_finite"
    assert score.name == name


@pytest.mark.parametrize("name", PAPER)
def test_settings_are_the_papers(name, make):
    assert make(name).options.items() >= PAPER[name].items()


def test_scorers_that_want_the_same_samples_share_them(local):
    source = SampleSource(local, max_new_tokens=4)
    trace = local.trace(ASKED, "a lake")
    for name in ALL:
        scorer(name, local, source=source, equivalence=TokenF1()).score_traces([trace])
    assert {key[1] for key in source._sets} == {
        Sampling(10, 1.0),
        Sampling(10, 0.7),
        Sampling(10, 0.9),
        Sampling(5, 1.0),
        Sampling(10, 0.5, 0.99, 5, states=True),
    }


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "granite", "lfm2"])
def test_g_nll_uses_what_generation_kept_and_gets_the_same(architecture):
    local = tiny_local_model(architecture)
    made = scorer("g-nll", local)
    kept = local.generate(ASKED, max_new_tokens=6, keep=made.keep)
    plain = local.generate(ASKED, max_new_tokens=6)
    expected = -token_log_probs(local, [(plain.prompt_ids, plain.response_ids)])[0].sum().item()
    assert [s.value for s in made.score_traces([kept, plain])] == pytest.approx([expected] * 2, rel=1e-5)
    assert made.score_traces([kept])[0].value == pytest.approx(
        HybridGradScorer(local).score_traces([kept])[0].nll, rel=1e-5
    )
    with torch.no_grad():
        local.model.get_output_embeddings().weight.mul_(2)
    stale = made.score_traces([kept])[0].value  # what was kept is of other weights now
    fresh = -token_log_probs(local, [(kept.prompt_ids, kept.response_ids)])[0].sum().item()
    assert stale == pytest.approx(fresh, rel=1e-5)
    assert stale != pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_parts_of_hybridgrad_are_its_parts(local, make, reduction):
    traces = [local.generate(text, max_new_tokens=n) for text, n in (("Hi", 5), ("What is it?", 9))]
    whole = HybridGradScorer(local, reduction=reduction).score_traces(traces)
    para, sem, ex = (make(name, reduction=reduction).score_traces(traces) for name in ("paragrad", "semgrad", "exgrad"))
    assert [s.value for s in sem] == pytest.approx([s.semgrad for s in whole], rel=1e-5)
    assert [s.value for s in para] == pytest.approx([s.paragrad for s in whole], rel=1e-4)
    inner = HybridGradScorer(local)
    readouts = inner.read(inner.rows_of(traces), [-1], 2, exgrad=True)
    factor = [len(t.response_ids) if reduction == "sum" else 1 for t in traces]
    assert [s.value for s in ex] == pytest.approx(
        [r.exgrad * f for r, f in zip(readouts, factor, strict=True)], rel=1e-4
    )


def test_self_consistency_counts_the_samples_that_say_what_the_answer_says(local, source, make):
    texts = source.samples(local.trace(ASKED, "x"), Sampling(10, 0.7)).texts
    trace = local.trace(ASKED, next(text for text in texts if text.strip()))
    same = TokenF1().compare("", [trace.text] * 10, texts).same
    assert make("self-consistency").score_traces([trace])[0].value == pytest.approx(1 - same.mean())
    assert make("self-consistency").score_traces([trace])[0].value < 1


def test_semantic_density_is_higher_around_a_sample_than_far_from_all(local, source, make):
    texts = source.samples(local.trace(ASKED, "x"), Sampling(10, 1.0)).texts
    near, far = local.trace(ASKED, max(texts, key=len)), local.trace(ASKED, "zzz zzz")
    one, other = (s.value for s in make("semantic-density").score_traces([near, far]))
    assert 0 <= one < other <= 1


def test_a_model_that_always_says_the_same_is_the_least_uncertain(local):
    """top_k 1 has no option in most scorers, so a cold temperature it is."""
    trace = local.trace(ASKED, local.generate(ASKED, max_new_tokens=6).text)
    found = {
        name: scorer(name, local, source=SampleSource(local, max_new_tokens=6), equivalence=TokenF1(), temperature=1e-4)
        .score_traces([trace])[0]
        .value
        for name in ("self-consistency", "deg", "semantic-entropy", "semantic-density", "mutual-information")
    }
    assert found == dict.fromkeys(found, pytest.approx(0, abs=1e-9))


def test_mutual_information_reads_every_answer_after_every_first_one(local, source, make):
    """Against a slow loop, with every answer its own cluster."""
    trace = local.trace(ASKED, "a lake")
    drawn = source.samples(trace, Sampling(10, 0.9))
    own = scorer("mutual-information", local, source=source, equivalence=TokenF1(0.999))
    unique = list(dict(zip(drawn.texts, drawn.ids, strict=True)))
    if len(unique) != 10 or len({frozenset(t.casefold().split()) for t in unique}) != 10:
        pytest.skip("two samples alike")
    prompts = [local.encode_prompt(chained(trace.messages, text)) for text in drawn.texts]
    second = np.array([[token_log_probs(local, [(p, ids)])[0].sum().item() for ids in drawn.ids] for p in prompts])
    expected = mutual_information([row.sum() for row in drawn.log_probs], second)
    assert own.score_traces([trace])[0].value == pytest.approx(expected, rel=1e-4)
    assert chained(trace.messages, "{a}")[0]["content"].count("What is {it}?") == 2  # braces are text


def test_p_true_asks_in_the_next_turn(local, make, monkeypatch):
    seen, trace = [], local.trace(ASKED, "a lake")
    monkeypatch.setattr(
        type(local), "encode_prompt", lambda self, messages, tools=(): seen.append(messages) or [5, 6, 7]
    )
    score = make("p-true").score_traces([trace])[0]
    assert [m["role"] for m in seen[0]] == ["user", "assistant", "user"]
    assert seen[0][1]["content"] == trace.text
    a, b = (local.tokenizer(x, add_special_tokens=False)["input_ids"][0] for x in "AB")
    with torch.no_grad():
        p = local.model(torch.tensor([[5, 6, 7]])).logits[0, -1].double().softmax(-1)
    assert score.value == pytest.approx((p[b] / (p[a] + p[b])).item(), rel=1e-5)


def test_a_prompt_of_the_scorers_own_that_does_not_fit_leaves_the_answer_unscored(local, make):
    trace = local.trace("x" * 150, "y" * 20)  # fits itself
    for name in ("p-true", "mutual-information"):
        score = make(name).score_traces([trace])[0]
        assert score.unscored == "prompt_too_long"
        assert name in score.detail


def test_names_and_options_that_do_not_exist(local):
    with pytest.raises(ScoringError, match=r"no scorer 'gnll'; did you mean 'g-nll'\? The names: ln-pe, p-true, "):
        scorer("gnll", local)
    with pytest.raises(ScoringError, match=r"no scorer '\?\?'\. The names: "):
        scorer("??", local)
    with pytest.raises(ScoringError, match=r"'ln-pe' has no option 'temprature'; it has: samples, temperature"):
        scorer("ln-pe", local, temprature=1)
    with pytest.raises(ScoringError, match=r"'p-true' has no option 'samples'; it has: none"):
        scorer("p-true", local, samples=3)
    with pytest.raises(ScoringError, match="weights is 'size'"):
        scorer("semantic-entropy", local, equivalence=TokenF1(), weights="size")
    with pytest.raises(ScoringError, match="the samples come from tiny-qwen2, the scorer is for tiny-llama"):
        scorer("ln-pe", local, source=SampleSource(tiny_local_model("qwen2")))
    assert len(SCORERS) == 29
    assert set(SCORERS) - set(comparable()) == {"verbalized-list", "verbal-percent", "verbal-top-k"}


def test_a_score_of_another_scorer_says_whose_it_is():
    score = Score.of("g-nll", 7.5, length=4)
    assert score.value == 7.5
    assert score.to_dict() == {"name": "g-nll", "number": 7.5, "length": 4}
    assert score.hybridgrad is None
    assert Score.of("sar", math.inf, length=4).unscored == "not_finite"
    assert Score.of("sar", math.nan, length=4).to_dict() == {
        "length": 4,
        "unscored": "not_finite",
        "detail": "sar is nan",
        "name": "sar",
    }
    assert set(Score(1.0, 1.0, 1.0, 1.0, 1.0, 3).to_dict()) == {
        *("hybridgrad", "semgrad", "paragrad", "entropy", "nll", "length")
    }
