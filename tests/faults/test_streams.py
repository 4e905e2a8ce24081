"""Parts that fail while an answer streams claim by claim: at their first call in it, and at a later one.

What was shown until then stays, and nothing follows it but what the policy's `on_error` says; nothing is shown that nobody
judged, and nothing twice.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from dataclasses import replace
from functools import cache
from threading import Event

import pytest
import torch
from langchain_core.documents import Document

from guardrail import Guard, Policy
from guardrail.claims import SentenceClaims
from guardrail.deadlines import Deadline, before
from guardrail.errors import CalibratorMismatchError, DeadlineError, GuardrailError, ModelError
from guardrail.kernels.frozen import lock_of
from guardrail.langchain import ChatGuarded
from guardrail.pipeline.hooks import Hooks
from guardrail.pipeline.streaming import ClaimStream
from guardrail.types import Verification
from tests.faults.outcomes import WRONG
from tests.helpers.scripted_claims import QUESTION, RULES, fitted, scripted

ANSWER = "Ulm is big. Ur was old.\n\nRio has fun. Ely is wet, too."
SENTENCES = [claim.text for claim in SentenceClaims().extract(ANSWER, question="").claims]
local = cache(lambda: scripted(ANSWER))
calibrator = cache(lambda: fitted(local(), 1e-9))  # unsure of every claim, so that each is looked up


def policy(on_error):
    return Policy.from_text(f"{RULES}  - {{name: any, then: answer}}\non_error: {on_error}\n", "strict.yaml")


class Failing:
    """Stands in front of a part, and fails at the n-th call of one of its methods; all else is the part's own."""

    def __init__(self, part, method, at, fault):
        self.part, self.method, self.at, self.fault, self.calls = part, method, at, fault, 0

    def __getattr__(self, name):
        return self._counted if name == self.method else getattr(self.part, name)

    def _counted(self, *args, **kwargs):
        self.calls += 1
        if self.calls >= self.at:
            return self.fault()
        return getattr(self.part, self.method)(*args, **kwargs)


class Search:
    def invoke(self, query):
        return [Document(page_content=f"A passage on {query}")]


class Supports:
    name = "supports"

    def verify(self, claims, evidence, *, question):
        return [Verification("supported", self.name, found) for found in evidence]


def raises():
    raise ConnectionError("user:secret@host")


def runs_out_of_memory():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


FAULTS = {"raises": raises, "runs out of memory": runs_out_of_memory, "gives None": lambda: None}
LATER = {"extractor": 35, "scorer": 3, "calibrator": 5, "retriever": 3, "verifier": 3}


def broken(part, at, on_error, fault=raises):
    """A guard with one part that fails from its n-th call on; at 0 none does."""

    def breaks(name, one, method):
        return Failing(one, method, at, fault) if name == part and at else one

    guard = Guard(
        model=local(),
        policy=policy(on_error),
        claim_calibrator=calibrator(),
        claims=breaks("extractor", SentenceClaims(), "extract"),
        retriever=breaks("retriever", Search(), "invoke"),
        verifier=breaks("verifier", Supports(), "verify"),
    )
    claims = guard.claim_pipeline
    fitted_on = replace(claims.calibrated, calibrator=breaks("calibrator", calibrator(), "predict"))
    guard.claim_pipeline = replace(claims, scorer=breaks("scorer", claims.scorer, "score_spans"), calibrated=fitted_on)
    return guard


def streamed(guard, *, drive="stream"):
    """What left, the metadata of the verdict, and what was raised."""
    chat = ChatGuarded.from_guard(guard, stream_policy="claim")
    chunks, raised = [], None

    async def collect():
        async for chunk in chat.astream(QUESTION):
            chunks.append(chunk)  # noqa: PERF401  (those before an error count)

    try:
        if drive == "astream":
            asyncio.run(collect())
        else:
            for chunk in chat.stream(QUESTION):
                chunks.append(chunk)  # noqa: PERF402
    except Exception as error:
        raised = error
    metadata = chunks[-1].response_metadata.get("guardrail", {}) if chunks else {}
    return "".join(chunk.text for chunk in chunks), metadata, raised


def outcome(guard, drive):
    """What a stream came to, in words; `WRONG` for a claim shown twice, or one that was not judged, or a failure unsaid."""
    text, metadata, raised = streamed(guard, drive=drive)
    if any(text.count(sentence) > 1 for sentence in SENTENCES) or "secret" in text:
        return WRONG
    on_error = guard.policy.on_error
    if raised is not None:
        sound = isinstance(raised, GuardrailError) and ANSWER.startswith(text.strip())
        return f"error {type(raised).__name__}" if sound else WRONG
    if on_error == "raise":
        return WRONG
    if on_error == "abstain":
        shown = text.partition("I do not know this well enough")[0].strip()
        ok = metadata["rule"] == "on error" and metadata["confidence"] is None and ANSWER.startswith(shown)
        return "abstains" if ok and not (metadata["enforced"] and shown) else WRONG
    if metadata["rule"] == "on error":  # a calibrator that fails leaves nothing to go on with
        return "abstains"
    claims = metadata["claims"]
    computed = all(c["confidence"] is None or c["score"] is not None for c in claims)
    told = " ".join(c["shown"] for c in claims)
    return "goes on" if computed and all(s in told for s in SENTENCES if s in text) else WRONG


CASES = [
    *((part, at, on_error, "raises", "stream") for part in LATER for at in (1, LATER[part])
      for on_error in ("abstain", "continue", "raise")),
    *((part, LATER[part], "abstain", "raises", "astream") for part in LATER),
    *((part, LATER[part], "abstain", fault, "stream") for part in LATER for fault in FAULTS if fault != "raises"),
]  # fmt: skip


def cases():
    """(what was done, what it came to)."""
    for case in CASES:
        part, at, on_error, fault, drive = case
        yield " ".join(map(str, case)), outcome(broken(part, at, on_error, FAULTS[fault]), drive)


def expected(part, on_error):
    if on_error == "raise":
        return "error RetrievalError" if part == "retriever" else "error PartError"
    return "abstains" if on_error == "abstain" or part == "calibrator" else "goes on"


@pytest.mark.parametrize(("part", "at", "on_error", "fault", "drive"), CASES)
def test_a_part_that_fails_while_claims_stream(part, at, on_error, fault, drive):
    assert outcome(broken(part, at, on_error, FAULTS[fault]), drive) == expected(part, on_error)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in local().model.modules())
    assert free(local())


def free(model):
    """Whether another thread gets the model's lock."""
    got = []

    def take():
        with suppress(DeadlineError), before(Deadline.after(5)), lock_of(model.model):
            got.append(True)

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return bool(got)


def test_without_a_fault_the_whole_answer_streams():
    text, metadata, raised = streamed(broken("", 0, "abstain"))
    assert (text, metadata["enforced"], raised) == (ANSWER, True, None)


def test_what_streamed_before_a_late_failure_stays_and_the_verdict_says_it():
    text, metadata, _ = streamed(broken("scorer", 3, "abstain"))
    assert text == "Ulm is big. Ur was old."
    assert (metadata["action"], metadata["enforced"], metadata["claims"]) == ("abstain", False, [])
    assert metadata["explanation"] == "the scorer hybridgrad failed (ConnectionError)"


def steps(drive, on_error):
    """How often the model ran until the verdict on a stream whose second claim fails."""
    seen = []
    handle = local().model.register_forward_hook(lambda *_: seen.append(1))  # a hook that comes later is a change
    try:
        guard = broken("scorer", 2, on_error)
        seen.clear()
        if drive == "guard":
            verdict = guard.answer_batch([QUESTION], hooks=Hooks(claim_stream=ClaimStream(print)))[0]
            assert (verdict.rule == "on error", verdict.answer == ANSWER) in [(True, False), (False, True)]
            assert ANSWER.startswith(verdict.answer)
        else:
            assert (streamed(guard, drive=drive)[1]["rule"] == "on error") == (on_error == "abstain")
    finally:
        handle.remove()
    return len(seen)


@pytest.mark.parametrize("drive", ["stream", "astream", "guard"])
def test_a_failure_that_decides_the_verdict_ends_the_generation(drive):
    assert steps(drive, "abstain") < steps(drive, "continue") - len(ANSWER) // 4


def test_an_extractor_that_fails_late_makes_one_claim_of_the_rest():
    """`on_error: continue`: what was judged keeps its verdict, and what was dropped does not come back with the rest."""

    class Drops:
        name = "drops"

        def verify(self, claims, evidence, *, question):
            support = ["contradicted" if "Ur" in claim.text else "supported" for claim in claims]
            return [Verification(each, self.name) for each in support]

    guard = broken("extractor", LATER["extractor"], "continue")
    guard.claim_pipeline = replace(guard.claim_pipeline, verifier=Drops())
    text, metadata, _ = streamed(guard)
    assert text == ANSWER.replace(" Ur was old.", "")
    assert [(c["text"], c["unscored"], c["action"]) for c in metadata["claims"]][:2] == [
        ("Ulm is big.", None, "keep"),
        (None, None, "drop"),
    ]
    assert metadata["enforced"]


def test_a_wrong_set_up_is_raised_whatever_the_policy_says():
    def fault():
        raise CalibratorMismatchError("of another model")

    text, _, raised = streamed(broken("calibrator", 3, "continue", fault))
    assert isinstance(raised, CalibratorMismatchError)
    assert ANSWER.startswith(text)


@pytest.mark.parametrize("drive", ["stream", "astream"])
@pytest.mark.parametrize("at", [1, 40])
@pytest.mark.parametrize(("fault", "expected"), [(raises, ConnectionError), (runs_out_of_memory, ModelError)])
def test_a_generation_that_fails_ends_its_stream_with_the_error(drive, at, fault, expected):
    begun, seen = Event(), []

    def hook(*_):
        seen.extend([1] if begun.is_set() else [])
        if len(seen) >= at:
            fault()

    handle = local().model.get_input_embeddings().register_forward_pre_hook(hook)  # one that comes later is a change
    try:
        guard = broken("", 0, "continue")
        begun.set()
        text, _, raised = streamed(guard, drive=drive)
    finally:
        handle.remove()
    assert isinstance(raised, expected)
    assert ANSWER.startswith(text)
    assert len(text) < len(ANSWER)
    assert streamed(broken("", 0, "abstain"))[0] == ANSWER
