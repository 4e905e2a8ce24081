"""What generation and scoring compute goes with its answer: no circle of references keeps it until Python looks for some."""

from __future__ import annotations

import gc

import pytest
import torch

from guardrail import Guard
from guardrail.kernels.replay import LinearOutputs
from guardrail.langchain import ChatGuarded
from guardrail.model.constraint import Constraint
from guardrail.pipeline.collecting import Collector, collecting_in
from guardrail.runs.collect import kept_for
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.testing import tiny_local_model
from tests.benchmarks import together

LOCAL = tiny_local_model()
KEEP = HybridGradScorer(LOCAL).keep
CHAT = ChatGuarded(model=LOCAL, policy="observe", max_tokens=6)
ASKED = [{"role": "user", "content": "Who?"}]


def collected(chain):
    """What `calibrate_chain` does of a row, without its reading."""
    together.AHEAD[:] = ["Who?", "Where is it?"]
    collector = Collector(kept_for)
    with collecting_in(collector):
        returned = [chain.invoke(question) for question in together.AHEAD]
    return returned, collector.taken()


FLOWS = {
    "one": lambda: LOCAL.generate("Who?", max_new_tokens=6, keep=KEEP),
    "batch": lambda: LOCAL.generate_batch(["Who?", "Where is it?"], max_new_tokens=6, keep=KEEP),
    "watched": lambda: LOCAL.generate_batch(
        ["Who?", "Where is it?"], max_new_tokens=6, keep=KEEP, stop=["#"], on_step=lambda rows, snapshot: not snapshot()
    ),
    "watched alone": lambda: LOCAL.generate_batch(
        ["Who?"], max_new_tokens=6, keep=KEEP, on_step=lambda rows, snapshot: not snapshot()
    ),
    "constrained": lambda: LOCAL.generate_batch(
        [ASKED], max_new_tokens=40, keep=KEEP, constraints=[Constraint.json({"enum": ["yes", "no"]})]
    ),
    "guard": lambda: Guard(model=LOCAL, policy="observe").answer("Who?", max_new_tokens=6),
    "stream": lambda: list(CHAT.stream("Who?")),
    "chain": lambda: collected(CHAT),
    "chain of several": lambda: collected(together.Together(CHAT)),
}


def tensors():
    """Those that are alive, however they are reached; `isinstance` would ask each object for its class."""
    return {id(one): one for one in gc.get_objects() if issubclass(type(one), torch.Tensor)}


@pytest.mark.parametrize("flow", FLOWS)
def test_nothing_outlives_the_answer(flow):
    FLOWS[flow]()  # what is made once, and stays
    gc.collect()
    gc.disable()
    try:
        before = set(tensors())
        kept = FLOWS[flow]()
        del kept
        after = [tuple(one.shape) for key, one in tensors().items() if key not in before]
    finally:
        gc.enable()
    assert after == []


def test_a_circle_is_seen():
    """The test above would fail where one is."""
    gc.collect()
    gc.disable()
    try:
        before = set(tensors())
        recording = LinearOutputs(LOCAL.anatomy.layers, 0, 1)
        recording.own, recording.kept_tensor = recording, torch.ones(2)
        del recording
        assert len(tensors().keys() - before) == 1
    finally:
        gc.enable()
        gc.collect()
