"""Memory that runs out once, or always, in generation, scoring and embedding: tried with less, then said of that row alone."""

from __future__ import annotations

import math

import pytest
import torch

from guardrail import Guard
from guardrail.errors import GuardrailError, ModelError, RetrievalError
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.testing import tiny_local_model
from tests.faults.outcomes import of_score

ERRORS = {
    "CUDA": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "CPU": lambda: RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
    "another CPU": lambda: RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
    "Python": MemoryError,
    "cuBLAS": lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    "MPS": lambda: RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
}
QUESTIONS = ["Who?", "Where is it, if anywhere at all?", "When?"]


class Limit:
    """A hook in front of a module: raises for the passes that `when` picks, by their input."""

    def __init__(self, module, error, when):
        self.error, self.when, self.calls = error, when, 0
        self.handle = module.register_forward_pre_hook(self)

    def __call__(self, _, args):
        self.calls += 1
        if self.when(self.calls, args[0]):
            raise self.error()


def once(calls, _):
    return calls == 1


def always(*_):
    return True


def cases():
    """(what was done, what it came to) for each kind of error: once and always, in generation and in scoring."""
    for kind, error in ERRORS.items():
        for when in (once, always):
            for stage in ("generation", "scoring"):
                local = tiny_local_model(vocab_size=261)
                scorer = HybridGradScorer(local)
                local.trace("x", "y")
                limit = None
                if stage == "generation":
                    limit = Limit(local.model.get_input_embeddings(), error, when)
                try:
                    traces = local.generate_batch(QUESTIONS, max_new_tokens=3)
                    if limit is not None:
                        limit.handle.remove()
                except GuardrailError as caught:
                    yield f"{kind} {when.__name__} in {stage}", f"error {type(caught).__name__}"
                    continue
                if stage == "scoring":
                    Limit(local.model.get_input_embeddings(), error, when)
                for trace in traces:
                    yield f"{kind} {when.__name__} in {stage}", of_score(scorer, trace, math.nan)


@pytest.mark.parametrize("kind", ERRORS)
def test_once_is_tried_again_with_fewer_rows(kind):
    local = tiny_local_model(vocab_size=261)
    scorer = HybridGradScorer(local)
    sound = local.generate_batch(QUESTIONS, max_new_tokens=3)
    limit = Limit(local.model.get_input_embeddings(), ERRORS[kind], once)
    again = local.generate_batch(QUESTIONS, max_new_tokens=3)
    assert [t.response_ids for t in again] == [t.response_ids for t in sound]
    limit.handle.remove()
    given = [local.trace(q, "Lyon") for q in QUESTIONS]
    before = scorer.score_traces(given)
    Limit(local.model.get_input_embeddings(), ERRORS[kind], once)
    after = scorer.score_traces(given)
    assert [s.value for s in after] == pytest.approx([s.value for s in before], rel=1e-4)


@pytest.mark.parametrize("kind", ERRORS)
def test_one_long_prompt_is_unscored_and_the_others_are_answered(kind):
    local = tiny_local_model(vocab_size=261)
    guard = Guard(model=local, policy="observe")
    alone = [guard.answer(q, max_new_tokens=3) for q in (QUESTIONS[0], QUESTIONS[2])]
    longest = len(local.encode_prompt(QUESTIONS[1]))
    Limit(local.model.get_input_embeddings(), ERRORS[kind], lambda _, ids: ids.shape[1] >= longest)
    verdicts = guard.answer_batch(QUESTIONS, max_new_tokens=3)
    assert [v.score.unscored == "out_of_memory" for v in verdicts] == [False, True, False]
    assert verdicts[1].confidence.p_correct is None
    assert [v.text for v in (verdicts[0], verdicts[2])] == [v.text for v in alone]
    with pytest.raises(ModelError, match="ran out of memory"):
        guard.answer(QUESTIONS[1], max_new_tokens=3)


@pytest.mark.parametrize("kind", ERRORS)
def test_scoring_that_never_fits_leaves_the_answer_unscored(kind):
    local = tiny_local_model(vocab_size=261)
    guard = Guard(model=local, policy="observe")
    Limit(local.model.get_input_embeddings(), ERRORS[kind], always)
    verdict = guard.check(QUESTIONS[0], "Lyon")
    assert verdict.score.unscored == "out_of_memory"
    assert "ran out of memory" in verdict.score.detail
    assert verdict.confidence.p_correct is None


@pytest.mark.parametrize("kind", ERRORS)
def test_embedding(kind):
    from guardrail.retrieval.embedding import SentenceEmbeddings

    embeddings = SentenceEmbeddings("all-minilm-l6-v2")
    texts = ["one", "two", "three"]
    sound = embeddings.embed_documents(texts)
    limit = Limit(embeddings._model[0], ERRORS[kind], once)
    assert embeddings.embed_documents(texts) == [pytest.approx(row, abs=1e-5) for row in sound]
    limit.handle.remove()
    Limit(embeddings._model[0], ERRORS[kind], always)
    with pytest.raises(RetrievalError, match="ran out of memory"):
        embeddings.embed_documents(texts)
