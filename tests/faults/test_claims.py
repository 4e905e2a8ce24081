"""NaN, infinity and memory that runs out while the claims of an answer are scored: unscored, each in its own right."""

from __future__ import annotations

import math
from contextlib import contextmanager
from threading import Event

import pytest
import torch

from guardrail import Guard
from guardrail.errors import GuardrailError
from guardrail.langchain import ChatGuarded
from guardrail.pipeline.hooks import Hooks
from guardrail.pipeline.streaming import ClaimStream
from guardrail.scoring.stacked.model import StackedFeature, StackedModel
from guardrail.testing import tiny_local_model
from tests.faults.outcomes import WRONG
from tests.faults.test_out_of_memory import ERRORS, Limit, always, once
from tests.helpers.scripted_claims import QUESTION, fitted, ruled, scripted

ANSWER = "Ulm is big. Aqaba was old. Rio has fun."  # the second claim alone has a q
POLICY = ruled("{name: any, then: answer}")
STACKED = StackedModel(
    intercept=0.0,
    common_words=("is",),
    features=tuple(
        StackedFeature(name=name, weight=1.0, quantiles=(0.0, 1.0, 9.0, 90.0))
        for name in ("new_nll", "semgrad[-4]", "so_far.least_likely_word")
    ),
)
SCORERS = {"hybridgrad": {}, "stacked": {"scorer": "stacked", "profile": STACKED.model_dump(mode="json")}}


def guarded(name, local):
    return Guard(model=local, policy=POLICY, claim_calibrator=fitted(local, 1e3, **SCORERS[name]))


@contextmanager
def poisoned(local, character, value):
    """The embedding of a character is no number, once what it yields is set. A guard that is made before takes the hook for a
    part of the model."""
    (token,) = local.tokenizer(character, add_special_tokens=False)["input_ids"]
    begun = Event()

    def hook(_, args, output):
        return (
            torch.where((args[0] == token)[..., None], torch.full_like(output, value), output)
            if begun.is_set()
            else output
        )

    handle = local.model.get_input_embeddings().register_forward_hook(hook)
    try:
        yield begun
    finally:
        handle.remove()


def computed(verdict):
    """Every confidence has a finite score behind it, and what is unscored says why."""
    for each in [*verdict.claims, *verdict.attempts]:
        score, p = each.score, each.confidence.p_correct
        if score.unscored is not None and (score.number is not None or p is not None or not score.detail):
            return False
        if score.unscored is None and not math.isfinite(score.number):
            return False
    return True


def came_to(verdict):
    return ", ".join(c.score.unscored or "scored" for c in verdict.claims) if computed(verdict) else WRONG


def cases():
    """(what was done, what it came to)."""
    for name in SCORERS:
        local = tiny_local_model(vocab_size=261)
        for value in (math.nan, math.inf, -math.inf):
            with poisoned(local, "q", value) as begun:
                guard = guarded(name, local)
                begun.set()
                yield f"{value} in one claim, {name}", came_to(guard.check(QUESTION, ANSWER))
        for kind, error in ERRORS.items():
            for when in (once, always):
                limit = Limit(local.model.get_input_embeddings(), error, lambda *_: False)
                guard = guarded(name, local)
                limit.when, limit.calls = when, 0
                try:
                    yield f"{kind} memory runs out {when.__name__}, {name}", came_to(guard.check(QUESTION, ANSWER))
                except GuardrailError as caught:
                    yield f"{kind} memory runs out {when.__name__}, {name}", f"error {type(caught).__name__}"
                limit.handle.remove()


def test_every_fault_leaves_claims_unscored_or_is_mended_by_trying_again():
    found = dict(cases())
    assert len(found) == 2 * (3 + 2 * len(ERRORS))
    for done, outcome in found.items():
        if " once" in done:
            assert outcome == "scored, scored, scored", done
        elif " always" in done:
            assert outcome == ", ".join(["out_of_memory"] * 3), done
        else:
            assert outcome == ", ".join(["not_finite"] * 3), done  # one pass gives the numbers of all


@pytest.mark.parametrize("name", SCORERS)
@pytest.mark.parametrize("drive", ["generated", "streamed"])
def test_a_generated_answer_with_nan_in_its_middle(name, drive):
    """The model's logits are none from there on: the answer ends, unscored, and shows nothing that has no number."""
    local = scripted(ANSWER)
    pieces = []
    with poisoned(local, "q", math.nan) as begun:
        guard = guarded(name, local)
        begun.set()
        hooks = Hooks(claim_stream=ClaimStream(pieces.append)) if drive == "streamed" else Hooks()
        [verdict] = guard.answer_batch([QUESTION], hooks=hooks)
    assert verdict.score.unscored == "not_finite"
    assert computed(verdict)
    assert "Aqaba was" not in "".join(pieces) + verdict.text
    assert all(c.action == "drop" or c.score.unscored is None for c in verdict.claims)


@pytest.mark.parametrize("drive", ["stream", "astream"])
@pytest.mark.parametrize("name", SCORERS)
async def test_memory_that_runs_out_while_streamed_claims_are_scored(name, drive):
    """Scoring reads several tokens at once, generation one: the limit meets the scorer alone."""
    local = scripted(ANSWER)
    passes = []
    limit = Limit(local.model.model.layers[-1], ERRORS["CPU"], lambda *_: False)
    chat = ChatGuarded.from_guard(guarded(name, local), stream_policy="claim")
    limit.when = lambda _, hidden: passes.append(hidden.shape[1]) or (hidden.shape[1] > 1 and len(passes) > 1)
    chunks = [c async for c in chat.astream(QUESTION)] if drive == "astream" else list(chat.stream(QUESTION))
    metadata = chunks[-1].response_metadata["guardrail"]
    assert metadata["action"] == "abstain"
    assert all(c["confidence"] is None for c in metadata["claims"])
    assert not any(word in "".join(c.text for c in chunks) for word in ("Ulm", "Aqaba", "Rio"))
