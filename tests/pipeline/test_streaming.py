"""Claims judged while an answer is generated: the same scores, the same text, and nothing of what the policy drops."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
import torch
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from guardrail import Guard
from guardrail.actions import rewrite
from guardrail.claims import AtomicClaims, SentenceClaims
from guardrail.errors import ModelError
from guardrail.pipeline.conversation import Conversation
from guardrail.pipeline.hooks import Hooks
from guardrail.pipeline.streaming import ClaimStream
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.testing import tiny_local_model
from guardrail.types import (
    ClaimDecision,
    Claims,
    Confidence,
    Evidence,
    JudgedClaim,
    Score,
    Verification,
)
from tests.helpers.scripted_claims import ANSWER, QUESTION, STRICT, fitted, france, guarded, ruled, scripted


def streamed(guard, **options):
    pieces = []
    stream = ClaimStream(pieces.append)
    verdict = guard.answer_batch([QUESTION], hooks=Hooks(claim_stream=stream), **options)[0]
    return pieces, stream, verdict


def test_the_pieces_are_the_text_and_the_scores_those_of_the_finished_answer():
    guard = guarded(france())
    whole = guard.answer(QUESTION)
    pieces, stream, verdict = streamed(guard)
    assert len(pieces) >= 2
    assert "".join(pieces) + stream.remaining(verdict) == verdict.text == whole.text
    assert stream.matches(verdict)
    assert verdict.attempts[-1].trace.response_ids == whole.attempts[-1].trace.response_ids
    assert verdict.score.hybridgrad == pytest.approx(whole.score.hybridgrad, rel=1e-4)
    for one, other in zip(verdict.claims, whole.claims, strict=True):
        assert (one.claim, one.token_start, one.token_end, one.action) == (
            other.claim, other.token_start, other.token_end, other.action,
        )  # fmt: skip
        assert one.score.hybridgrad == pytest.approx(other.score.hybridgrad, rel=1e-4)
    dropped = [c.text for c in verdict.claims if c.action == "drop"]
    assert dropped
    assert not any(text in "".join(pieces) for text in dropped)


def test_a_claim_leaves_before_the_generation_ends():
    guard, steps = guarded(france()), []
    stream = ClaimStream(lambda piece: steps.append(piece))
    guard.answer_batch([QUESTION], hooks=Hooks(on_step=lambda rows, _: steps.append(len(rows[0])), claim_stream=stream))
    first = next(i for i, step in enumerate(steps) if isinstance(step, str))
    assert any(isinstance(step, int) for step in steps[first:])


@pytest.mark.parametrize("rule", ["abstain", "hedge"])
def test_a_rule_on_the_whole_comes_too_late_and_says_so(rule):
    policy = ruled(f"{{name: late, then: {rule}}}")
    pieces, stream, verdict = streamed(guarded(france(), policy))
    assert (verdict.action, stream.matches(verdict)) == (rule, False)
    assert verdict.text not in "".join(pieces) + stream.remaining(verdict)
    if rule == "abstain":
        assert stream.remaining(verdict) == ""


def test_an_answer_of_dropped_claims_streams_the_abstention_alone():
    guard = Guard(model=france(), policy=STRICT, claim_calibrator=fitted(france(), 1e-9))
    pieces, stream, verdict = streamed(guard)
    assert (pieces, verdict.rule, stream.remaining(verdict)) == ([], "nothing left", verdict.text)
    assert stream.matches(verdict)


class Finds(BaseRetriever):
    def _get_relevant_documents(self, query, *, run_manager):
        torch.rand(1)
        return [Document(page_content="A passage.")]


class Supports:
    name = method = "double"

    def __init__(self):
        self.asked = []

    def verify(self, claims, evidence, *, question):
        self.asked += [claim.text for claim in claims]
        return [Verification("supported", "double", (Evidence("A passage.", "", None),)) for _ in claims]


def test_the_last_claim_is_looked_up_like_the_others():
    local, verifier = france(), Supports()
    guard = Guard(
        model=local, policy=STRICT, claim_calibrator=fitted(local, 1e-9), retriever=Finds(), verifier=verifier
    )
    _, stream, verdict = streamed(guard)
    assert verifier.asked == [c.text for c in verdict.claims]
    assert (verdict.text, stream.matches(verdict)) == (ANSWER, True)
    verifier.asked.clear()
    streamed(guard, retrieve=False)
    assert "Toulon has a port." not in verifier.asked


def test_what_the_end_of_the_answer_tells_is_said_of_every_claim():
    _, _, verdict = streamed(guarded(france()), max_new_tokens=14)
    whole = guarded(france()).answer(QUESTION, max_new_tokens=14)
    assert [c.confidence.reason for c in verdict.claims] == [c.confidence.reason for c in whole.claims]
    assert {c.confidence.basis for c in verdict.claims} == {"extrapolated"}


@pytest.mark.parametrize("stop", ["large. Lyon has two rivers", "two rivers.\n\n- Nice", "Metz"])
def test_nothing_of_a_stop_string_leaves(stop):
    local = scripted("Paris is large. Lyon has two rivers.\n\n- Nice lies by the sea. Metz is old, and so on and on.")
    guard = Guard(model=local, policy=STRICT, claim_calibrator=fitted(local, 1e3))
    pieces, stream, verdict = streamed(guard, stop=stop)
    assert "".join(pieces) + stream.remaining(verdict) == verdict.text == verdict.answer
    assert stop not in verdict.text


def test_streams_that_cannot_be():
    guard = guarded(france())
    with pytest.raises(ModelError, match="one conversation"):
        guard.answer_batch(["a", "b"], hooks=Hooks(claim_stream=ClaimStream(print)))
    with pytest.raises(ModelError, match="looks at claims"):
        Guard(model=france(), policy="observe").answer_batch(["a"], hooks=Hooks(claim_stream=ClaimStream(print)))
    atomic = Guard(model=france(), policy="observe", claims=AtomicClaims(france()))
    with pytest.raises(ModelError, match="reads whole answers"):
        atomic.answer_batch(["a"], hooks=Hooks(claim_stream=ClaimStream(print)))
    _, stream, _ = streamed(guard)
    with pytest.raises(ModelError, match="one generation"):
        guard.answer_batch([QUESTION], hooks=Hooks(claim_stream=stream))


def test_an_error_in_what_takes_the_claims_leaves_the_model_as_it_was():
    guard = guarded(france())

    def broken(piece):
        raise RuntimeError("no screen")

    before = guard.answer(QUESTION)
    with pytest.raises(RuntimeError, match="no screen"):
        guard.answer_batch([QUESTION], hooks=Hooks(claim_stream=ClaimStream(broken)))
    assert guard.answer(QUESTION).score == before.score
    assert not any(module._forward_hooks for module in france().model.modules())


def test_watching_changes_neither_draws_nor_states():
    """Judging uses the model, and a verifier may load one: sampling and what is kept for scoring must not notice."""
    local = tiny_local_model(vocab_size=261)
    scorer = HybridGradScorer(local)
    options = {"max_new_tokens": 12, "temperature": 1.0, "seed": 3, "keep": scorer.keep}

    def watch(rows, snapshot):
        torch.rand(3)
        local.generate("Another question?", max_new_tokens=2, keep=scorer.keep)
        scorer.score_traces(snapshot())
        torch.manual_seed(7)

    alone = local.generate_batch(["Who?", "What is it?"], **options)
    watched = local.generate_batch(["Who?", "What is it?"], on_step=watch, **options)
    assert [t.response_ids for t in watched] == [t.response_ids for t in alone]
    for one, other in zip(watched, alone, strict=True):
        assert one.state.band_states.shape == other.state.band_states.shape
        assert one.state.linear_outputs.keys() == other.state.linear_outputs.keys()
    assert [s.hybridgrad for s in scorer.score_traces(watched)] == pytest.approx(
        [s.hybridgrad for s in scorer.score_traces(alone)], rel=1e-5
    )


class Decided:
    """A stage double whose decisions hang on a claim's words alone; extraction and rewriting are the real ones."""

    def __init__(self, actions):
        self.actions, self.extractor = actions, SentenceClaims()
        self.model = SimpleNamespace(tokenizer=SimpleNamespace(decode=lambda ids, **_: "".join(ids)))

    def run(self, trace, *, taken, known, **_):
        return tuple(known.get(claim) or self.one(claim) for claim in taken.claims), taken.asides

    def one(self, claim):
        draw = random.Random(claim.text).choice(self.actions)
        score = Score(1.0, 1.0, 1.0, 1.0, 1.0, 1)
        return JudgedClaim(claim, 0, 1, score, Confidence(0.4, 0.3, 0.5, "low"), ClaimDecision(draw, "rule", "why"))


def played(answer, actions):
    """A stream that sees the answer grow by one character at a time, and its verdict."""
    pieces = []
    stage, stream = Decided(actions), ClaimStream(pieces.append)
    stream.begin(stage, Conversation((), "q"))
    for n in range(1, len(answer) + 1):
        stream([list(answer[:n])], lambda: [None])
    taken = SentenceClaims().extract(answer)
    judged, asides = stage.run(None, taken=Claims(taken.claims, taken.asides), known=stream.judged)
    done = rewrite(answer, judged, asides)
    action = "abstain" if done.empty else "answer"
    text = "I do not know." if done.empty else done.text
    return pieces, stream, SimpleNamespace(text=text, answer=answer, action=action, claims=done.claims, asides=asides)


SAID = [
    *("Paris is large.", "It has *two* rivers!", "However, it also rains.", "Dr. Who came in 3.5 hours.", "Is it?"),
    *(
        '"Lyon is old. It is."',
        "**Nice is warm.**",
        "(Metz is not. So be it.)",
        "The U.S. is far.",
        "Brest is wet [1].",
    ),
    "**Toulon:** it has a port.",
]
BLOCKS = [
    *("{0} {1} {2}", "{0}\n{1}", "- {0}\n- {1}\n- {2}", "1. {0}\n2. {1}\n3. {2}", "# Part\n\n{0}", "> {0}"),
    *("The cities are:\n\n- {0}\n- {1}", "| a | b |\n|---|---|\n| {0} | x |\n| {1} | y |", "**Part**\n\n{0} {1}"),
    "```\nx = 1\n```",
]


@pytest.mark.parametrize("seed", range(40))
def test_streamed_markdown_is_the_rewritten_answer(seed):
    draw = random.Random(seed)
    blocks = [draw.choice(BLOCKS).format(*draw.sample(SAID, 3)) for _ in range(draw.randint(1, 4))]
    pieces, stream, verdict = played("\n\n".join(blocks), ["keep", "keep", "drop", "hedge"])
    assert "".join(pieces) + stream.remaining(verdict) == verdict.text
    assert stream.matches(verdict)


def test_what_the_end_changes_is_not_lost():
    """A definition list of one model turns into a heading once its next line comes: what was sent stays, the rest follows."""
    stream = ClaimStream(lambda piece: None)
    _, played_stream, verdict = played("Paris is large. Lyon is old, and so on.\n\n- Metz is old.", ["keep"])
    stream.emitted = "Paris is larger."
    stream._emitted_claims = {verdict.claims[0].claim}
    assert stream.remaining(verdict) == " Lyon is old, and so on.\nMetz is old."
    assert not stream.matches(verdict)
    assert played_stream.matches(verdict)
