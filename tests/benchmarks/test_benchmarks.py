"""The parts of the benchmark that compute something of their own, on tiny models and by hand."""

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from guardrail import HybridGradScorer
from guardrail.pipeline.collecting import Collector, collecting, collecting_in
from guardrail.testing import tiny_local_model
from tests.benchmarks import together
from tests.benchmarks.bars import Bar
from tests.benchmarks.baselines import clusters, entropy, g_nll, logits_of_generation
from tests.benchmarks.flops import counted
from tests.benchmarks.measure import Budget, Column, bounded_memory, spread
from tests.benchmarks.released import released_way
from tests.benchmarks.subject import Subject

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def subject():
    local = tiny_local_model(max_position_embeddings=4096)
    local.eos_ids = [383]
    return Subject("tiny", local, HybridGradScorer(local))


def test_semantic_entropy_of_three_answers_alike_and_one_apart():
    vectors = np.array([[1.0, 0.0], [0.9, math.sqrt(1 - 0.81)], [0.0, 1.0], [1.0, 0.0]])
    assert clusters(vectors, 0.8) == [0, 0, 1, 0]
    assert entropy([0, 0, 1, 0]) == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
    assert entropy([0] * 10) == 0
    assert entropy(list(range(10))) == pytest.approx(math.log(10))


@pytest.mark.parametrize("tokens", [200, 201, 500])
def test_prompts_have_exactly_the_length_asked_for(subject, tokens):
    assert len(subject.local.encode_prompt(subject.prompt(tokens))) == tokens


def test_baselines_and_ours_see_the_same_answer(subject):
    with logits_of_generation(subject.local) as outputs:
        trace = subject.answer(subject.prompt(200), 6, keep=True)
    score = subject.scorer.score_trace(trace)
    assert g_nll(subject.local, torch.cat(outputs), trace.response_ids) == pytest.approx(score.nll, rel=1e-4)
    token = subject.scorer.profile.token
    semgrad, paragrad = released_way(subject.local.model, trace.prompt_ids, trace.response_ids, token)
    assert (semgrad, paragrad) == pytest.approx((score.semgrad, score.paragrad), rel=1e-4)


def test_a_column_is_measured_once_at_least_and_stops_at_its_budget():
    slow = Column(lambda: {"ms": 1.0}, Budget(3, 0.0))
    slow.warm_up()
    assert slow.values == {"ms": [1.0]}  # too slow for a second run: the first one counts
    assert not slow.wanted
    quick = Column(lambda: {"ms": 1.0}, Budget(3, 60.0))
    quick.warm_up()
    while quick.wanted:
        quick.run()
    assert quick.values == {"ms": [1.0] * 3}


def test_what_does_not_fit_is_said_and_kills_nothing():
    column = Column(lambda: {"ms": float(torch.ones(10**13).sum())}, Budget(3, 60.0))
    column.run()
    assert column.cell("ms") == "does not fit (an allocation failed)"
    with bounded_memory():
        assert torch.ones(1000).sum() == 1000


def test_spread_and_bars():
    assert spread([1.0, 2.0, 3.0], 3) == "2.00 (1.50 to 2.50)"
    assert spread([250.0], 5) == "250 (1 run)"
    assert str(Bar("added", 0.3, "at most", 0.25, "%")) == "- NOT MET: added: 30.0%, at most 25%"
    assert Bar("faster", 6.0, "at least", 6.0).met


def test_the_chains_of_the_examples_are_those_that_are_measured():
    """Both say how a chain is built; an example that changes shall not leave the benchmark behind."""
    asked = (ROOT / "tests/benchmarks/chains_asked.py").read_text()
    for name, parts in {
        "23_calibrate_a_chain.py": ["You answer in a few words."],
        "24_calibrate_rag.py": ["Context:\\n{context}\\n\\nAnswer in a few words: {question}"],
        "25_calibrate_follow_ups.py": ["Answer all that I ask in a few words.", "All right."],
        "26_calibrate_an_agent.py": ["Tools:{% endif %} {{ t['function']['name'] }}", "jump_to"],
        "27_calibrate_json.py": ['{{"answer": "William Shakespeare"}}', "maxLength"],
    }.items():
        example = (ROOT / "examples" / name).read_text()
        assert all(part in example and part in asked for part in parts), name


class Doubling:
    """A chain whose guard sees each question, asked several at once, and lists them in another order."""

    def __init__(self):
        self.calls = []

    def batch(self, some, *, return_exceptions):
        assert return_exceptions
        self.calls.append(list(some))
        for question in reversed(some):
            collecting().take(
                SimpleNamespace(identity="one", name="m"),
                SimpleNamespace(messages=({"role": "user", "content": question},)),
            )
        return [ValueError("no bb") if question == "bb?" else question * 2 for question in some]


def test_questions_asked_together_keep_their_own_answers(monkeypatch):
    monkeypatch.setattr(together, "AHEAD", ["a?", "bb?", "ccc?"])
    chain = together.Together(Doubling())
    for question in ("a?", "ccc?", "bb?"):
        collector = Collector(None)
        with collecting_in(collector):
            if question == "bb?":
                with pytest.raises(ValueError, match="no bb"):
                    chain.invoke(question)
            else:
                assert chain.invoke(question) == question * 2
        (one,) = collector.taken()
        assert one.messages[0]["content"] == question
    assert chain.runs.calls == [["a?", "bb?", "ccc?"]]


def test_operations_are_counted_forward_and_backward():
    a, b = torch.randn(2, 3, requires_grad=True), torch.randn(3, 4)
    product, forward = counted(lambda: a @ b)
    assert forward == 2 * 2 * 3 * 4
    _, backward = counted(lambda: torch.autograd.grad(product.sum(), a))
    assert backward == 2 * 2 * 4 * 3
    assert counted(lambda: a + 1)[1] == 0
