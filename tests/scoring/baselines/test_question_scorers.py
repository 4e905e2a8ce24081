"""Scorers after four papers, against their formulas worked out by hand and slow readings of the model."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from guardrail.errors import ScoringError, UnsupportedModelError
from guardrail.langchain import StatedModel
from guardrail.model.token_log_probs import token_log_probs
from guardrail.scoring.baselines.attention_chain import AttentionChain, attention_chain, marginal_nll
from guardrail.scoring.baselines.cheat import Cheat, borrowed
from guardrail.scoring.baselines.equivalence import TokenF1
from guardrail.scoring.baselines.inv_entropy import InvEntropy, inv_entropy
from guardrail.scoring.baselines.mutual_information import chained
from guardrail.scoring.baselines.perturbed import REWORD, asked_as
from guardrail.scoring.baselines.samples import SampleSource
from guardrail.scoring.baselines.semantic_volume import SemanticVolume, semantic_volume
from guardrail.scoring.registry import scorer
from guardrail.testing import tiny_local_model
from tests.helpers.stating_chat import Stating
from tests.helpers.thinkers import thinker

ASKED = ({"role": "user", "content": "What is {it}?"},)


@pytest.fixture(scope="module")
def local():
    return tiny_local_model()


def test_semantic_volume_by_hand():
    """Eigenvalues 1.5 and 0.5; of equal wordings 2 and 0; of wholly different ones 1 and 1; -1 counts as 0."""
    assert semantic_volume([[1, 0.5], [0.5, 1]], epsilon=0.5) == pytest.approx(math.log(2.0))
    assert semantic_volume(np.ones((2, 2)), epsilon=0.5) == pytest.approx(math.log(2.5) + math.log(0.5))
    assert semantic_volume(np.eye(2), epsilon=0.5) == pytest.approx(2 * math.log(1.5))
    assert semantic_volume([[1, 2], [2, 1]], epsilon=0.5) == pytest.approx(math.log(3.5) + math.log(0.5))
    assert math.isnan(semantic_volume([[1, math.nan], [math.nan, 1]]))
    rng = np.random.default_rng(0)
    v = rng.normal(size=(4, 6))
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    expected = np.linalg.slogdet(v @ v.T + 1e-3 * np.eye(4))[1]
    assert semantic_volume(v @ v.T) == pytest.approx(expected), "the paper's determinant, where there is one"


def test_inv_entropy_by_hand():
    """Walks back to each input with 1/2; always; and, with rows [2/3, 1/3] in one matrix, with 2/3."""
    assert inv_entropy(np.eye(2), np.ones((2, 2))) == pytest.approx(math.log(2))
    assert inv_entropy(np.eye(2), np.eye(2)) == 0
    assert inv_entropy([[1, 0.5], [0.5, 1]], np.eye(2)) == pytest.approx(-4 / 3 * math.log(2 / 3))
    like = np.full((10, 10), 0.9) + 0.1 * np.eye(10)
    assert inv_entropy(like, np.eye(10)) > inv_entropy(like, like) > inv_entropy(like, np.ones((10, 10)))
    assert math.isnan(inv_entropy([[1, math.nan], [0.5, 1]], np.eye(2)))


def test_both_read_the_wordings_that_the_model_draws(local):
    source = SampleSource(local, max_new_tokens=6)
    volume = SemanticVolume(local, source=source, equivalence=TokenF1(), samples=4)
    inverse = InvEntropy(local, source=source, equivalence=TokenF1(), samples=4)
    trace = local.trace(ASKED, "a lake")
    asking = local.encode_prompt([{"role": "user", "content": REWORD.replace("{question}", "What is {it}?")}])
    wordings = volume.wordings(trace)
    assert inverse.wordings(trace) is wordings, "drawn once for both"
    assert [key[0] for key in source._sets] == [tuple(asking)]
    f1 = [[TokenF1().compare("", [a], [b]).similarity[0] for b in wordings] for a in wordings]
    assert volume.score_traces([trace])[0].value == pytest.approx(semantic_volume(np.maximum(f1, np.eye(4))))
    other = local.trace(ASKED, "a river")
    assert volume.score_traces([other])[0].value == volume.score_traces([trace])[0].value, "the answer has no part"
    answers = [
        one.text
        for one in local.generate_batch(
            [asked_as(ASKED, w or " ") for w in wordings], max_new_tokens=6, temperature=0.7, seed=0
        )
    ]
    texts, said = ["What is {it}?", *wordings], ["a lake", *answers]
    x, y = (
        np.maximum([[TokenF1().compare("", [a], [b]).similarity[0] for b in rows] for a in rows], np.eye(5))
        for rows in (texts, said)
    )
    x, y = (
        [[1.0 if a == b else m[i, j] for j, b in enumerate(r)] for i, a in enumerate(r)]
        for m, r in ((x, texts), (y, said))
    )
    assert inverse.score_traces([trace])[0].value == pytest.approx(inv_entropy(x, y))
    assert asked_as((*ASKED, {"role": "assistant", "content": "ok"}), "Who?")[0]["content"] == "Who?"
    with pytest.raises(ScoringError, match="epsilon is 0; it must be greater than 0"):
        SemanticVolume(local, equivalence=TokenF1(), epsilon=0)


def test_a_chat_model_that_takes_no_seed_is_drawn_from():
    chat = Stating(says=lambda messages: "Which lake?" if "Rewrite" in messages[-1].content else "a river")
    made = InvEntropy(StatedModel(chat), equivalence=TokenF1(), samples=2)
    score = made.score_traces([made.model.trace(ASKED, "a lake")])[0]
    x = np.ones((3, 3))
    x[0, 1:] = x[1:, 0] = TokenF1().compare("", ["What is {it}?"], ["Which lake?"]).similarity[0]
    y = np.ones((3, 3))
    y[0, 1:] = y[1:, 0] = TokenF1().compare("", ["a lake"], ["a river"]).similarity[0]
    assert score.value == pytest.approx(inv_entropy(x, y))
    assert [options["temperature"] for _, options in chat.asked] == [0.7] * 4


def test_cheat_is_what_two_slow_passes_differ_by(local):
    assert borrowed([-0.25, -0.25], [-1.0, -1.5]) == pytest.approx(2.0)
    trace = local.trace(ASKED, "a lake")
    seen = local.encode_prompt(chained(ASKED, "a lake"))
    (given,), (alone,) = (token_log_probs(local, [(ids, trace.response_ids)]) for ids in (seen, trace.prompt_ids))
    expected = given.sum().item() - alone.sum().item()
    assert Cheat(local).score_traces([trace])[0].value == pytest.approx(expected, rel=1e-5)
    kept = local.generate(ASKED, max_new_tokens=6, keep=Cheat(local).keep)
    bare = replace(kept, state=None)
    one, other = Cheat(local).score_traces([kept, bare])
    assert one.value == pytest.approx(other.value, rel=1e-4)


def test_the_chain_by_hand():
    """Place 3 predicts the answer and looks at token 2; place 1, which predicts token 2, looks at token 1."""
    a = np.zeros((5, 5))
    a[3, 2], a[3, 1], a[1, 1], a[0, 0] = 0.7, 0.05, 0.9, 1.0
    allowed = [False, True, True, False, False]
    assert attention_chain(a, [3], allowed) == [2, 1]
    a[3, 1] = 0
    assert attention_chain(a, [3], allowed) == [2], "place 1 gives to token 1, itself, and to nothing else"
    assert attention_chain(a, [3], [False] * 5) == []
    assert attention_chain(np.zeros((5, 5)), [3, 4], allowed) == []
    wide = np.zeros((9, 9))
    wide[8, 1:8] = [0.3, 0.25, 0.2, 0.15, 0.05, 0.03, 0.02]
    found = attention_chain(wide, [8], [False, *[True] * 7, False])
    assert found == [1, 2, 3], "three a step, and their places look at nothing"
    assert marginal_nll(np.log([0.2, 0.05])) == pytest.approx(-math.log(0.25))


def test_a_thought_is_varied_and_an_answer_without_one_is_g_nll(monkeypatch):
    local = thinker("qwen")
    made = AttentionChain(local)
    thinking = local.trace("Who?", "<think>abc def ghi</think>it is so")
    plain = local.trace("Who?", "it is so")
    assert thinking.thinking_tokens > 5
    score, without = made.score_traces([thinking, plain])
    assert without.value == pytest.approx(scorer("g-nll", local).score_traces([plain])[0].value)
    asked, P, T = (
        len(thinking.prompt_ids) - thinking.thinking_tokens,
        len(thinking.prompt_ids),
        len(thinking.response_ids),
    )
    attention, states = made.read(thinking)
    local.model.set_attn_implementation("eager")
    with torch.no_grad():
        out = local.model(
            torch.tensor([[*thinking.prompt_ids, *thinking.response_ids[:-1]]]),
            output_attentions=True,
            output_hidden_states=True,
        )
    assert states[asked - 1 :] == pytest.approx(out.hidden_states[-1][0, asked - 1 :].numpy(), abs=1e-4)
    own = torch.cat([layer[0] for layer in out.attentions]).double().numpy()  # (layers x heads, N, N)
    for q in range(asked - 1, P + T - 1):
        rows = own[:, q].copy()
        rows[:, [0, q]] = 0
        rows /= rows.sum(-1, keepdims=True) + 1e-12
        entropy = [-sum(p * math.log(p) for p in row if p > 0) for row in rows]
        clearest = np.argsort(entropy)[: min(8, len(rows))]
        assert attention[q] == pytest.approx(rows[clearest].mean(0), abs=1e-4)
    assert not made.telling(thinking)[:asked].any()
    assert not made.telling(thinking)[P:].any()
    alone = token_log_probs(local, [(thinking.prompt_ids, thinking.response_ids)])[0].sum().item()
    assert math.isfinite(score.value)
    monkeypatch.setattr("guardrail.scoring.baselines.attention_chain.MOST", 0)
    assert made.score_traces([thinking])[0].value == pytest.approx(-alone, rel=1e-4), "an empty chain: the answer alone"


def test_attention_that_cannot_be_seen_is_refused():
    with pytest.raises(UnsupportedModelError, match="whose weights cannot be seen"):
        AttentionChain(tiny_local_model("falcon"))
