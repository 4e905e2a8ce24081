"""Continuous batching: every answer is what it would be alone, whoever comes and goes beside it."""

from __future__ import annotations

import functools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.deadlines import Deadline, before
from guardrail.errors import DeadlineError, ModelError
from guardrail.model.continuous.parts import SharedPassError
from guardrail.model.recording import Keep
from guardrail.model.run import Decoding
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.testing import tiny_local_model

PROMPTS = ["Hi", "A much longer prompt than the first one, longer than the windows of 8", "Why?", "Who wrote Faust?"]
LOCAL = tiny_local_model()


def together(local, jobs, max_rows=16):
    with local.shared(max_rows) as sharing:
        assert sharing.merges
        with ThreadPoolExecutor(len(jobs)) as pool:
            return list(pool.map(lambda job: local.generate_batch([job[0]], **job[1])[0], jobs))


def numbers(state):
    yield from (*state.cache_keys, *state.cache_values, state.band_states, state.head_outputs)
    yield from state.linear_outputs.values()


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2", "mixtral", "qwen2"])
def test_ids_states_and_scores_are_those_of_each_alone(architecture):
    local = tiny_local_model(architecture)
    scorer = HybridGradScorer(local)
    jobs = [(p, {"max_new_tokens": 4 + 5 * i, "keep": scorer.keep}) for i, p in enumerate(PROMPTS)]
    jobs.append((PROMPTS[1], {"max_new_tokens": 1, "keep": scorer.keep}))
    alone = [local.generate_batch([p], **options)[0] for p, options in jobs]
    shared = together(local, jobs, max_rows=2)  # the others are admitted while some run
    for a, b in zip(alone, shared, strict=True):
        assert (a.response_ids, a.text, a.finish_reason) == (b.response_ids, b.text, b.finish_reason)
        assert a.state.ids == b.state.ids
        assert a.state.linear_outputs.keys() == b.state.linear_outputs.keys()
        for one, other in zip(numbers(a.state), numbers(b.state), strict=True):
            assert one.shape == other.shape
            assert (one - other).abs().max() <= 1e-4 * (1 + one.abs().max())
    for a, b in zip(scorer.score_traces(alone), scorer.score_traces(shared), strict=True):
        assert a.unscored == b.unscored
        assert a.number == (None if b.number is None else pytest.approx(b.number, rel=1e-4))


@settings(max_examples=5, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(PROMPTS), st.integers(1, 12), st.sampled_from([0.0, 1.3])), min_size=1, max_size=6
    ),
    st.integers(1, 4),
)
def test_any_order_of_arrivals_lengths_and_seeds_gives_the_same(arrivals, max_rows):
    jobs = [(p, {"max_new_tokens": n, "temperature": t, "seed": n}) for p, n, t in arrivals]
    alone = [LOCAL.generate_batch([p], **options)[0].response_ids for p, options in jobs]
    assert [trace.response_ids for trace in together(LOCAL, jobs, max_rows)] == alone


@pytest.mark.parametrize("error", [ConnectionResetError, SystemExit])
def test_what_one_raises_ends_that_one_only_and_steps_may_use_the_model(error):
    whole, seen = LOCAL.generate("Why?", max_new_tokens=12), []

    def gone(rows, _):
        if len(rows[0]) == 2:
            raise error("gone")

    def watch(rows, snapshot):
        seen.append((rows[0], snapshot()[0].response_ids))
        LOCAL.generate("Another?", max_new_tokens=2)
        return len(rows[0]) == 4

    with LOCAL.shared() as sharing, ThreadPoolExecutor(3) as pool:
        calls = [
            pool.submit(LOCAL.generate_batch, ["Why?"], max_new_tokens=12, keep=Keep(2, -3), on_step=on_step)
            for on_step in (gone, watch, None)
        ]
        with pytest.raises(error):
            calls[0].result()
        assert calls[1].result()[0].response_ids == whole.response_ids[:4]
        assert calls[2].result()[0].response_ids == whole.response_ids
        assert (sharing.waiting, sharing.running) == (0, 0)
    assert [tuple(ids) for ids, _ in seen] == [tuple(ids) for _, ids in seen]


def test_a_deadline_is_that_of_its_caller_and_nan_harms_no_neighbour():
    local = tiny_local_model()
    head = local.anatomy.head
    whole = local.generate("Why?", max_new_tokens=20)

    def spoil(_, __, output):
        if len(output) > 1:
            output[0] = float("nan")

    slow = threading.Event()
    with local.shared() as sharing, ThreadPoolExecutor(2) as pool:

        def late():
            with before(Deadline.after(0.2)):
                local.generate_batch(["Hi"], max_new_tokens=200, on_step=lambda *_: slow.wait(0.05) or None)

        missed = pool.submit(late)
        beside = pool.submit(local.generate, "Why?", max_new_tokens=20)
        with pytest.raises(DeadlineError):
            missed.result()
        assert beside.result().response_ids == whole.response_ids
        hook = head.register_forward_hook(spoil)
        gate = threading.Barrier(2)
        traces = list(
            pool.map(lambda p: (gate.wait() and None) or local.generate(p, max_new_tokens=20), ["Why?", "Why?"])
        )
        hook.remove()
        assert sum(t.fault is None for t in traces) >= 1
        assert all(t.response_ids == whole.response_ids for t in traces if t.fault is None)
        assert sharing.alive


def test_a_pass_that_fails_for_all_is_run_again_for_each_alone(monkeypatch):
    local = tiny_local_model()
    whole = [local.generate(p, max_new_tokens=8).response_ids for p in PROMPTS]
    forward = local.model.forward

    def fails(*args, input_ids=None, **kwargs):
        if input_ids is not None and len(input_ids) > 1:
            raise RuntimeError("out of memory")
        return forward(*args, input_ids=input_ids, **kwargs)

    with local.shared():
        monkeypatch.setattr(local.model, "forward", functools.wraps(forward)(fails))
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(lambda p: local.generate(p, max_new_tokens=8).response_ids, PROMPTS)) == whole


@pytest.mark.parametrize("fault", ["out of memory", "of one row"])
def test_a_failing_pass_is_halved_and_only_a_row_that_fails_alone_fails(monkeypatch, fault):
    """Nobody can be answered again here: the steps were shown. What a failed pass has kept for scoring is taken out again."""
    local = tiny_local_model()
    scorer = HybridGradScorer(local)
    alone = [local.generate(p, max_new_tokens=12, keep=scorer.keep) for p in PROMPTS]
    assert len(alone[1].response_ids) == 12
    forward, passes, longest = local.model.forward, [], len(alone[1].prompt_ids)

    def fails(*args, input_ids=None, attention_mask=None, **kwargs):
        out = forward(*args, input_ids=input_ids, attention_mask=attention_mask, **kwargs)
        if input_ids.shape[1] == 1:  # behind all layers, which have kept something of it
            passes.append(len(input_ids))
            if fault == "out of memory" and len(input_ids) > 2:
                raise RuntimeError("out of memory")
            if fault == "of one row" and longest + 6 in attention_mask.sum(-1).tolist():
                raise RuntimeError("a device-side assert")
        return out

    def answer(prompt):
        shown = []
        options = {"keep": scorer.keep, "on_step": lambda rows, _: shown.append(len(rows[0]))}
        try:
            return local.generate_batch([prompt], max_new_tokens=12, **options)[0], shown
        except SharedPassError as error:
            return error, shown

    with local.shared() as sharing, ThreadPoolExecutor(4) as pool:
        monkeypatch.setattr(local.model, "forward", functools.wraps(forward)(fails))
        with local.lock:
            asked = [pool.submit(answer, prompt) for prompt in PROMPTS]
            while sharing.waiting < 4:
                time.sleep(0.001)
        found = [each.result() for each in asked]
    assert max(passes) == 4
    if fault == "of one row":
        error, shown = found.pop(1)
        assert isinstance(error, SharedPassError)
        assert "device-side" in str(error)
        assert shown == [*range(1, 7)]
        alone.pop(1)
    else:
        assert passes.count(4) == 1  # then it is known that four are too many
    for a, (b, shown) in zip(alone, found, strict=True):
        assert (a.response_ids, shown) == (b.response_ids, [*range(1, len(a.response_ids) + 1)])
    told = scorer.score_traces([b for b, _ in found])
    for a, b in zip(scorer.score_traces(alone), told, strict=True):
        assert (a.unscored, a.number) == (b.unscored, b.number and pytest.approx(b.number, rel=1e-4))
    assert sum(b.number is not None for b in told) > 1


def test_who_holds_the_lock_or_asks_several_takes_turns_and_closing_drains():
    with LOCAL.shared() as sharing:
        with LOCAL.lock:
            assert not sharing.takes([[1]], Decoding(), None)
            LOCAL.generate("Hi", max_new_tokens=2)
        assert sharing.takes([[1]], Decoding(), None)
        assert not sharing.takes([[1], [1]], Decoding(), None)
        with pytest.raises(ModelError, match="shared already"), LOCAL.shared():
            pass
    assert LOCAL.sharing is None
    assert not sharing.alive
    assert torch.is_grad_enabled()


def test_a_recurrent_model_takes_turns():
    local = tiny_local_model("mamba2")
    with local.shared() as sharing:
        assert not sharing.merges
        assert local.generate("Hi", max_new_tokens=3).response_ids
