"""The caller's module is left exactly as it was, and what cannot be scored is a value, never a number."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from guardrail.errors import ScoringError, UnscoredError, UnsupportedModelError
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.testing import tiny_local_model, tiny_model, tiny_tokenizer
from tests.helpers.limited_memory import limit_memory

PROMPT, RESPONSE = [1, 7, 30, 41, 5, 99], [140, 9, 2]


def fingerprint(model):
    return (
        [(n, p.requires_grad, p.grad is None or p.grad.clone()) for n, p in model.named_parameters()],
        [(n, m.training, len(m._forward_pre_hooks), len(m._forward_hooks)) for n, m in model.named_modules()],
        ["forward" in m.__dict__ for m in model.modules()],
    )


@pytest.fixture
def used_model():
    """A model in the middle of something: mixed train modes, some frozen parameters, gradients in place, a hook."""
    model = tiny_model("llama")
    model.train()
    model.model.layers[1].eval()
    model.model.layers[0].self_attn.q_proj.weight.requires_grad_(False)
    model.lm_head.weight.grad = torch.ones_like(model.lm_head.weight)
    model.model.layers[2].register_forward_hook(lambda *_: None)
    return model


def test_state_is_restored(used_model):
    scorer = HybridGradScorer(used_model, semantic_token=-2)
    before = fingerprint(used_model)
    scorer.score(PROMPT, RESPONSE)
    after = fingerprint(used_model)
    assert str(before) == str(after)
    assert torch.equal(used_model.lm_head.weight.grad, torch.ones_like(used_model.lm_head.weight))


def test_state_is_restored_after_an_exception(used_model):
    scorer = HybridGradScorer(used_model, semantic_token=-2)

    def fail(*_):
        raise KeyboardInterrupt

    hook = used_model.model.layers[3].register_forward_hook(fail)
    before = fingerprint(used_model)
    with pytest.raises(KeyboardInterrupt):
        scorer.score(PROMPT, RESPONSE)
    assert str(before) == str(fingerprint(used_model))
    hook.remove()
    assert scorer.score(PROMPT, RESPONSE).unscored is None


def test_dropout_does_not_act(used_model):
    model = tiny_model("gpt2", attn_pdrop=0.5, resid_pdrop=0.5, embd_pdrop=0.5).train()
    scorer = HybridGradScorer(model, semantic_token=-2)
    assert scorer.score(PROMPT, RESPONSE) == scorer.score(PROMPT, RESPONSE)


def test_works_inside_no_grad_and_inference_mode():
    scorer = HybridGradScorer(tiny_model("qwen2"), semantic_token=-2)
    outside = scorer.score(PROMPT, RESPONSE)
    with torch.no_grad():
        assert scorer.score(PROMPT, RESPONSE) == outside
    with torch.inference_mode():
        assert scorer.score(PROMPT, RESPONSE) == outside
    local = tiny_local_model()
    with torch.inference_mode():
        guarded = HybridGradScorer(local)
        trace = replace(local.generate("Hi", max_new_tokens=3, keep=guarded.keep), text="x")
        assert guarded.score_trace(trace).unscored is None


def test_no_response_tokens():
    score = HybridGradScorer(tiny_model(), semantic_token=-2).score(PROMPT, [])
    assert (score.unscored, score.hybridgrad, score.length) == ("no_response_tokens", None, 0)
    with pytest.raises(UnscoredError, match="no_response_tokens"):
        _ = score.value


def test_prompt_shorter_than_the_semantic_token():
    assert HybridGradScorer(tiny_model(), semantic_token=-9).score(PROMPT, RESPONSE).unscored == "prompt_too_short"


def test_longer_than_the_context():
    scorer = HybridGradScorer(tiny_model(), semantic_token=-2)
    assert scorer.score([5] * 254, [7] * 3).unscored is None
    assert scorer.score([5] * 254, [7] * 4).unscored == "prompt_too_long"


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_not_finite_weights(bad):
    model = tiny_model()
    scorer = HybridGradScorer(model, semantic_token=-2)
    model.model.layers[3].mlp.down_proj.weight.data[0, 0] = bad
    score = scorer.score(PROMPT, RESPONSE)
    assert (score.unscored, score.hybridgrad) == ("not_finite", None)


def test_one_bad_row_leaves_the_others_of_a_batch():
    scorer = HybridGradScorer(tiny_model(), semantic_token=-2)
    good, bad, last = scorer.score_batch([(PROMPT, RESPONSE), (PROMPT, []), (PROMPT[1:], RESPONSE)])
    assert (good.unscored, bad.unscored, last.unscored) == (None, "no_response_tokens", None)
    assert scorer.score_batch([]) == []


def test_traces_say_why():
    local = tiny_local_model()
    scorer = HybridGradScorer(local)
    given = local.trace("Hi", "yes")
    assert scorer.score_trace(given).unscored is None
    assert scorer.score_trace(local.trace("Hi", "")).unscored == "empty_answer"
    assert scorer.score_trace(local.trace("Hi", " \n")).unscored == "empty_answer"
    assert scorer.score_trace(replace(given, prompt_truncated=True)).unscored == "prompt_truncated"
    assert scorer.score_trace(local.generate("x" * 300)).unscored == "prompt_too_long"
    assert scorer.score_trace(local.generate("x" * 300, truncate=True, max_new_tokens=4)).unscored == "prompt_truncated"


@pytest.mark.parametrize("token", [384, -1])
def test_token_of_another_vocabulary(token):
    with pytest.raises(ScoringError, match=f"token id {token} is outside the model's vocabulary of 384"):
        HybridGradScorer(tiny_model(), semantic_token=-2).score(PROMPT, [token])


@pytest.mark.parametrize("ids", [[1.5, 2], [1.0], [True], "ab", None, torch.tensor([[1, 2]])])
def test_ids_that_are_no_integers(ids):
    with pytest.raises(ScoringError, match="flat row of integers"):
        HybridGradScorer(tiny_model(), semantic_token=-2).score(PROMPT, ids)


def test_tensors_and_numpy_integers_are_ids():
    scorer = HybridGradScorer(tiny_model(), semantic_token=-2)
    assert scorer.score(torch.tensor(PROMPT), torch.tensor(RESPONSE)) == scorer.score(PROMPT, RESPONSE)


def test_nothing_but_an_end_token_is_empty():
    assert HybridGradScorer(tiny_model(), semantic_token=-2).score(PROMPT, [2]).unscored == "empty_answer"


def test_threads_share_a_plain_module():
    model = tiny_model()
    scorers = [HybridGradScorer(model, semantic_token=-2) for _ in range(2)]
    alone = scorers[0].score(PROMPT, RESPONSE)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda i: scorers[i % 2].score(PROMPT, RESPONSE), range(24))) == {alone}


def test_an_edited_trace_does_not_use_the_old_states():
    local = tiny_local_model()
    scorer = HybridGradScorer(local)
    trace = replace(local.generate("Hi", max_new_tokens=4, keep=scorer.keep), text="x")
    edited = replace(trace, response_ids=tuple(reversed(trace.response_ids)))
    assert scorer.score_trace(edited).paragrad == pytest.approx(
        scorer.score(edited.prompt_ids, edited.response_ids).paragrad, rel=1e-5
    )


def test_states_own_their_memory():
    local = tiny_local_model()
    trace = local.generate_batch(["Hi", "Who?"], max_new_tokens=4, keep=HybridGradScorer(local).keep)[0]
    for tensor in (trace.state.band_states, trace.state.head_outputs, *trace.state.cache_keys):
        assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()


@pytest.mark.parametrize(
    "options", [{"semantic_token": 0}, {"semantic_token": -2, "tau": 0.0}, {"semantic_token": -2, "band": "middle"}, {}]
)
def test_options_that_make_no_sense(options):
    with pytest.raises(ScoringError):
        HybridGradScorer(tiny_model(), **options)


def test_unknown_heads_are_refused_by_name():
    model = tiny_model("llama")
    plain = model.forward

    def scaled(*args, **kwargs):  # a scale that no config tells of
        out = plain(*args, **kwargs)
        out.logits = out.logits * 3
        return out

    model.forward = scaled
    with pytest.raises(UnsupportedModelError, match="LlamaForCausalLM cannot be scored"):
        HybridGradScorer(model, semantic_token=-2)
    with pytest.raises(UnsupportedModelError, match="Linear is not a transformers causal language model"):
        HybridGradScorer(torch.nn.Linear(2, 2), tiny_tokenizer())


def test_models_that_share_a_config_take_turns():
    """We switch the attention in the config, so what shares one must share the lock; nothing of ours stays behind."""
    first = tiny_model()
    second = type(first)(first.config).eval()
    scorers = [HybridGradScorer(m, semantic_token=-2) for m in (first, second)]
    alone = [s.score(PROMPT, RESPONSE) for s in scorers]

    def work(i):
        if i % 5 == 0:
            return i % 2, HybridGradScorer((first, second)[i % 2], semantic_token=-2).score(PROMPT, RESPONSE)
        return i % 2, scorers[i % 2].score(PROMPT, RESPONSE)

    with ThreadPoolExecutor(4) as pool:
        assert all(score == alone[i] for i, score in pool.map(work, range(40)))
    assert first.config._attn_implementation != "guardrail_prefix"


def test_seeded_samples_differ_also_after_out_of_memory():
    local = tiny_local_model()
    limit_memory(local, rows=4)
    traces = local.generate_batch(["q"] * 8, temperature=1.5, seed=1, max_new_tokens=8)
    assert len({t.response_ids for t in traces}) == 8


def test_weights_made_in_inference_mode_are_refused():
    with torch.inference_mode():
        model = tiny_model()
    with pytest.raises(UnsupportedModelError, match="made in torch.inference_mode"):
        HybridGradScorer(model, semantic_token=-2)
