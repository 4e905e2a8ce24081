"""Generation: exact ids, batches that give each row what it would get alone, reasons to finish."""

from __future__ import annotations

import pytest

from guardrail.errors import ModelError
from guardrail.model.generate import Decoding, generate
from guardrail.model.local import LocalModel
from guardrail.model.recording import Keep
from guardrail.model.token_log_probs import token_log_probs
from guardrail.testing import ARCHITECTURES, tiny_local_model, tiny_model, tiny_tokenizer

PROMPTS = ["Hi", "A much longer prompt than the first one", "Why?"]


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2", "mixtral"])
def test_batch_equals_single(architecture):
    local = tiny_local_model(architecture)
    batch = local.generate_batch(PROMPTS, max_new_tokens=8)
    assert [t.response_ids for t in batch] == [local.generate(p, max_new_tokens=8).response_ids for p in PROMPTS]


def test_keeping_states_changes_no_answer():
    local = tiny_local_model("gemma2")  # sliding windows: kept with a cache of its own kind
    plain = local.generate_batch(PROMPTS, max_new_tokens=12)
    kept = local.generate_batch(PROMPTS, max_new_tokens=12, keep=Keep(2, -3))
    assert [t.response_ids for t in kept] == [t.response_ids for t in plain]
    assert all(t.state is None for t in plain)
    for trace in kept:
        P, T = len(trace.prompt_ids), len(trace.response_ids)
        assert trace.state.band_states.shape == (3 + T - 1, 32)
        assert trace.state.head_outputs.shape == (T, 384)
        assert trace.state.first == P - 3
        assert all(k.shape[2] == P + T - 1 for k in trace.state.cache_keys)


@pytest.mark.parametrize("keep", [None, Keep(2, -3), Keep(1, -1)])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_prompt_that_all_rows_share_runs_once(architecture, keep):
    local = tiny_local_model(architecture)
    alone = local.generate(PROMPTS[1], max_new_tokens=12, keep=keep)  # longer than the windows of 8
    P, positions = len(alone.prompt_ids), []
    hook = local.anatomy.layers[0].register_forward_hook(lambda _, __, out: positions.append(_tokens(out)))
    together = local.generate_batch([PROMPTS[1]] * 3, max_new_tokens=12, keep=keep)
    hook.remove()
    assert {t.response_ids for t in together} == {alone.response_ids}
    steps = 3 * (len(alone.response_ids) - 1)
    again = -keep.offset if keep else 1  # of the prompt, where something is kept
    assert sum(positions) == (P - again + 3 * again if local.anatomy.cached else 3 * P) + steps
    for trace in together:
        assert (trace.state is None) == (alone.state is None)
        if alone.state is not None:
            assert trace.state.linear_outputs.keys() == alone.state.linear_outputs.keys()
            for one, other in zip(_numbers(trace.state), _numbers(alone.state), strict=True):
                assert (one - other).abs().max() <= 1e-5 * (1 + other.abs().max())


def test_a_model_that_counts_positions_in_its_own_way_reads_every_row(monkeypatch):
    """Such as those of images, which remember an offset from call to call and add it wherever a cache is given."""
    local = tiny_local_model()
    kind, positions = type(local.model), []
    own = kind._prepare_position_ids_for_generation
    monkeypatch.setattr(kind, "_prepare_position_ids_for_generation", lambda *a: own(*a))
    hook = local.anatomy.layers[0].register_forward_hook(lambda _, __, out: positions.append(_tokens(out)))
    traces = local.generate_batch(["Why?"] * 3, max_new_tokens=1)
    hook.remove()
    assert positions == [3 * len(traces[0].prompt_ids)]


def test_samples_behind_one_prompt_differ_and_have_their_own_log_probs():
    local = tiny_local_model()
    ids = local.encode_prompt(PROMPTS[1])
    decoding = Decoding(12, temperature=1.0, seed=3, log_probs=True)
    traces = generate(local, [()] * 4, [ids] * 4, decoding, None, [False] * 4)
    assert len({t.response_ids for t in traces}) == 4
    pairs = [(t.prompt_ids, t.response_ids) for t in traces]
    for trace, log_probs in zip(traces, token_log_probs(local, pairs), strict=True):
        assert trace.log_probs == pytest.approx(log_probs.tolist(), abs=1e-4)


def _numbers(state):
    linear = [state.linear_outputs[name] for name in sorted(state.linear_outputs)]
    return [state.band_states, state.head_outputs, *state.cache_keys, *state.cache_values, *linear]


def _tokens(out):
    hidden = out[0] if isinstance(out, tuple) else out
    return hidden.shape[0] * hidden.shape[1]


def test_seed_makes_sampling_repeatable():
    local = tiny_local_model()
    one, two, other = (local.generate("Hi", max_new_tokens=12, temperature=1.0, seed=s) for s in (1, 1, 2))
    assert one.response_ids == two.response_ids != other.response_ids


def test_a_prompt_that_fills_the_context_gets_no_response():
    local = tiny_local_model()
    long, short = local.generate_batch(["x" * 300, "Hi"], max_new_tokens=4)
    assert (long.finish_reason, long.response_ids, long.text) == ("prompt_too_long", (), "")
    assert len(short.response_ids) >= 1


def test_a_long_prompt_does_not_cut_the_answers_to_others():
    local = tiny_local_model()
    local.eos_ids = [383]
    alone = local.generate("Hi", max_new_tokens=20)
    _, beside = local.generate_batch(["x" * 220, "Hi"], max_new_tokens=20)
    assert beside.response_ids == alone.response_ids
    assert len(beside.response_ids) == 20


@pytest.mark.parametrize(
    "habit", [{"repetition_penalty": 50.0}, {"no_repeat_ngram_size": 1}, {"suppress_tokens": [7, 8]}]
)
def test_greedy_is_greedy_whatever_the_model_would_like(habit):
    local = tiny_local_model()
    plain = local.generate("Hi", max_new_tokens=12)
    for name, value in habit.items():
        setattr(local.model.generation_config, name, value)
    assert local.generate("Hi", max_new_tokens=12).response_ids == plain.response_ids
    assert all(getattr(local.model.generation_config, name) == value for name, value in habit.items())


def test_the_context_limits_the_answer():
    local = tiny_local_model()
    local.eos_ids = [383]  # so that it does not stop by itself
    room = 256 - len(local.encode_prompt("x" * 200))
    trace = local.generate("x" * 200, max_new_tokens=500)
    assert (len(trace.response_ids), trace.finish_reason) == (room, "length")


def test_truncate_keeps_the_end_and_says_so():
    local = tiny_local_model()
    trace = local.generate("x" * 300, max_new_tokens=6, truncate=True)
    assert trace.prompt_truncated
    assert len(trace.prompt_ids) == 250
    assert trace.prompt_ids == tuple(local.encode_prompt("x" * 300)[-250:])
    assert not local.generate("Hi", max_new_tokens=6, truncate=True).prompt_truncated


@pytest.mark.parametrize("options", [{"max_new_tokens": 0}, {"temperature": -1.0}, {"temperature": float("nan")}])
def test_options_that_make_no_sense(options):
    with pytest.raises(ModelError, match=next(iter(options))):
        tiny_local_model().generate("Hi", **options)


def test_no_conversations():
    assert tiny_local_model().generate_batch([]) == []


def test_a_given_answer_ends_its_turn():
    local = tiny_local_model()
    trace = local.trace("Hi", "yes")
    assert trace.response_ids[-1] == local.tokenizer.eos_token_id
    assert local.tokenizer.decode(trace.response_ids[:-1]) == "yes"
    assert trace.finish_reason == "given"


def test_end_tokens_are_those_of_the_model_from_the_first_answer_on():
    """Its generation config names more of them than the tokenizer does, and nothing has asked for them before."""
    model = tiny_model(vocab_size=261)
    model.generation_config.eos_token_id = list(range(261))
    trace = LocalModel(model, tiny_tokenizer()).generate("Who?", max_new_tokens=5)
    assert (len(trace.response_ids), trace.finish_reason) == (1, "stop")
