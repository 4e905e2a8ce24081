"""Transformers' continuous batching as the driver: the answers and scores of our own loop, whoever comes and goes."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from guardrail.deadlines import Deadline, before
from guardrail.errors import DeadlineError, ModelError, UnsupportedModelError
from guardrail.model.constraint import Constraint
from guardrail.model.remote.model import RemoteModel
from guardrail.model.run import Decoding
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.testing import tiny_local_model
from tests.helpers.thinkers import thinker

PROMPTS = ["Hi", "A much longer prompt than the first one, longer than the windows of 8", "Why?", "Who wrote Faust?"]


def together(local, jobs, driver, max_rows=2):
    with local.shared(max_rows, driver=driver) as sharing, ThreadPoolExecutor(len(jobs)) as pool:
        assert sharing.merges
        return list(pool.map(lambda job: local.generate_batch([job[0]], **job[1])[0], jobs))


@pytest.fixture(scope="module")
def local():
    return tiny_local_model()


@pytest.mark.parametrize("architecture", ["llama", "mistral", "qwen3", "gemma3_text", "cohere2", "mixtral"])
def test_either_driver_gives_the_same_answers_and_scores(architecture):
    local = tiny_local_model(architecture)
    local.model.set_attn_implementation("sdpa")
    scorer = HybridGradScorer(local)
    jobs = [(p, {"max_new_tokens": 4 + 5 * i, "keep": scorer.keep}) for i, p in enumerate(PROMPTS)]
    found = {driver: together(local, jobs, driver) for driver in ("guardrail", "transformers")}
    for a, b in zip(*found.values(), strict=True):
        assert (a.response_ids, a.text, a.finish_reason) == (b.response_ids, b.text, b.finish_reason)
        assert b.state is None  # read again
        assert b.generate_ms > 0
    for a, b in zip(*(scorer.score_traces(traces) for traces in found.values()), strict=True):
        assert a.unscored == b.unscored
        assert a.number == (None if b.number is None else pytest.approx(b.number, rel=1e-3))


def test_steps_stops_and_callers_that_leave(local):
    whole, seen = local.generate("Name a city", max_new_tokens=12), []
    stop = whole.text[-1]

    def gone(rows, _):
        if len(rows[0]) == 2:
            raise ConnectionResetError("gone")

    def watch(rows, snapshot):
        seen.append((tuple(rows[0]), snapshot()[0].response_ids))
        local.generate("Another?", max_new_tokens=2)
        return len(rows[0]) == 4

    options = [{"on_step": gone}, {"on_step": watch}, {"stop": stop}, {}]
    stopped = local.generate_batch(["Name a city"], max_new_tokens=12, stop=stop)[0]
    with local.shared(driver="transformers") as sharing, ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(local.generate_batch, ["Name a city"], max_new_tokens=12, **each) for each in options]
        with pytest.raises(ConnectionResetError):
            calls[0].result()
        found = [call.result()[0] for call in calls[1:]]
        assert (sharing.waiting, sharing.running) == (0, 0)
    assert [trace.response_ids for trace in found] == [
        whole.response_ids[:4],
        stopped.response_ids,
        whole.response_ids,
    ]
    assert found[1].text == stopped.text
    assert 0 < len(stopped.response_ids) < 12
    assert seen == [(whole.response_ids[:n], whole.response_ids[:n]) for n in range(1, 5)]


def test_whoever_has_the_lock_pauses_the_loop_and_a_deadline_is_that_of_its_caller(local):
    whole = local.generate("Name a city", max_new_tokens=40).response_ids
    passes = []
    hook = local.anatomy.head.register_forward_hook(lambda *_: passes.append(threading.get_ident()))
    begun = threading.Event()
    with local.shared(driver="transformers"), ThreadPoolExecutor(2) as pool:
        answer = pool.submit(local.generate_batch, ["Name a city"], max_new_tokens=40, on_step=lambda *_: begun.set())
        assert begun.wait(60)
        with local.lock, local.lock:  # taken twice, it is paused once
            before_it = len(passes)
            time.sleep(0.2)
            assert len(passes) == before_it
            assert not answer.done()
        assert answer.result()[0].response_ids == whole

        def late():
            with before(Deadline.after(0.1)):
                return local.generate("Hi", max_new_tokens=4)

        with local.lock, pytest.raises(DeadlineError):
            pool.submit(late).result()
    hook.remove()
    assert local.lock.pauses is None


@pytest.mark.parametrize(
    ("prompts", "decoding", "why"),
    [
        ([[1], [2]], Decoding(), "several"),
        ([[1]], Decoding(temperature=1.0), "draws"),
        ([[1]], Decoding(constraints=(Constraint.json({"type": "object"}),)), "a form"),
        ([[1] * 100], Decoding(max_new_tokens=100_000), "longer than the cache"),
    ],
)
def test_what_the_loop_cannot_do_takes_turns(local, prompts, decoding, why):
    with local.shared(driver="transformers") as sharing:
        assert sharing.takes([[1]], Decoding(constraints=(None,)), None)
        assert not sharing.takes(prompts, decoding, None), why
        with local.lock:
            assert not sharing.takes([[1]], Decoding(), None)
        drawn = local.generate("Hi", max_new_tokens=6, temperature=1.0, seed=3)
    assert drawn.response_ids == local.generate("Hi", max_new_tokens=6, temperature=1.0, seed=3).response_ids


def test_a_thought_that_scoring_watches_is_answered_outside():
    thinks = thinker("qwen")
    scorer = HybridGradScorer(thinks)
    with thinks.shared(driver="transformers") as sharing:
        assert not sharing.takes([[1]], Decoding(), scorer.keep)
        assert sharing.takes([[1]], Decoding(), None)


def test_logits_that_are_nan_in_the_loop_are_found_out_alone():
    local = tiny_local_model()
    whole = local.generate("Name a city", max_new_tokens=6)
    with local.shared(driver="transformers") as sharing:
        spoil = local.anatomy.head.register_forward_hook(
            lambda _, __, output: output * float("nan") if threading.current_thread().name != "MainThread" else None
        )
        found = local.generate("Name a city", max_new_tokens=6)
        spoil.remove()
        assert (found.response_ids, found.fault) == (whole.response_ids, None)
        always = local.anatomy.head.register_forward_hook(lambda _, __, output: output * float("nan"))
        assert local.generate("Name a city", max_new_tokens=6).fault == "not_finite"
        always.remove()
        assert sharing.alive


def test_changed_weights_answer_nothing_and_the_model_is_left_as_it_was():
    local = tiny_local_model()
    local.model.train()
    local.model.get_input_embeddings().eval()
    training = [module.training for module in local.model.modules()]
    with local.shared(driver="transformers"):
        local.generate("Hi", max_new_tokens=2)
        with torch.no_grad():
            local.model.get_output_embeddings().weight.mul_(2)
        with pytest.raises(ModelError, match=r"have changed.*open it again"):
            local.generate("Hi", max_new_tokens=2)
    assert [module.training for module in local.model.modules()] == training
    assert local.generate("Hi", max_new_tokens=2).response_ids


def test_what_cannot_be_driven_is_refused_in_words(local):
    other = tiny_local_model()
    other.model.set_attn_implementation("eager")
    with pytest.raises(ModelError, match="attn_implementation"), other.shared(driver="transformers"):
        pass
    with pytest.raises(ModelError, match="one of: guardrail, transformers"), other.shared(driver="vllm"):
        pass
    recurrent = tiny_local_model("mamba2")
    with pytest.raises(ModelError, match='driver="guardrail"'), recurrent.shared(driver="transformers"):
        pass
    for each in (other, recurrent):
        assert each.sharing is None
        assert each.lock.pauses is None
        assert each.generate("Hi", max_new_tokens=2).response_ids
    with local.shared(driver="transformers"), pytest.raises(ModelError, match="shared already"), local.shared():
        pass


def test_an_endpoint_has_no_loop_of_another_driver():
    there = RemoteModel("http://127.0.0.1:9/v1", "m")
    with pytest.raises(UnsupportedModelError, match="leave it out"), there.shared(driver="transformers"):
        pass
    with there.shared(16, None, "guardrail") as sharing:
        assert sharing is None


def test_closing_ends_what_runs_and_waits_with_an_error_in_each_caller(local):
    with local.shared(1, driver="transformers") as sharing, ThreadPoolExecutor(6) as pool:
        with local.lock:
            calls = [pool.submit(local.generate, "Name a city", max_new_tokens=200) for _ in range(6)]
            while sharing.waiting < 5:
                time.sleep(0.001)
        sharing.close(drain=False)
        errors = [call.exception() for call in calls]
        assert not sharing.alive
        assert all(error is None or isinstance(error, ModelError) for error in errors)
        assert "has ended" in str(errors[-1])
        assert local.generate("Hi", max_new_tokens=2).response_ids  # by itself
