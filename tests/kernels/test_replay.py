"""What linear layers gave is given back: the same numbers, the gradient of a linear layer, and nothing stale."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import torch
from torch import nn

from guardrail.kernels.replay import LinearOutputs, replay
from guardrail.model import recording
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.testing import tiny_local_model


def block():
    torch.manual_seed(0)
    return nn.ModuleList([nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 4, bias=False))])


def test_replayed_layers_give_the_recorded_numbers_and_the_true_gradient():
    layers = block()
    x = torch.randn(1, 3, 4, requires_grad=True)
    expected = torch.autograd.grad(layers[0](x).sum(), x)[0]
    with ExitStack() as stack:
        outputs = LinearOutputs(layers, 0, reach=3)
        outputs.listen(stack)
        with torch.no_grad():
            layers[0](x)
    kept = outputs.joined(1, 3)
    assert list(kept) == ["0.0", "0.2"]
    layers[0][2].weight.data.requires_grad_(False)
    with ExitStack() as stack:
        replay(stack, layers, kept)
        replayed = layers[0](x)
        assert torch.equal(replayed, kept["0.2"])
        assert torch.allclose(torch.autograd.grad(replayed.sum(), x)[0], expected, rtol=1e-6)
        with pytest.raises(RuntimeError, match="was to be replayed for"):
            layers[0](x[:, :2])
    assert "forward" not in layers[0][0].__dict__


def test_only_the_end_of_the_prompt_is_kept():
    layers = block()
    with ExitStack() as stack, torch.no_grad():
        outputs = LinearOutputs(layers, 0, reach=2)
        outputs.listen(stack)
        states = torch.randn(1, 9, 4)
        layers[0](states)
        layers[0](states[:, :1])
    kept = outputs.joined(1, 3)["0.0"]
    assert torch.allclose(kept[:, :2], layers[0][0](states[:, -2:]), atol=1e-6)
    assert kept.untyped_storage().nbytes() == 3 * 6 * 4  # not a view of all nine


def test_an_output_changed_in_place_is_not_replayed():
    layers = block()
    with ExitStack() as stack, torch.no_grad():
        outputs = LinearOutputs(layers, 0, reach=2)
        outputs.listen(stack)
        layers[0](torch.randn(1, 2, 4))
        layers[0][0](torch.randn(1, 1, 4)).clamp_(-0.1, 0.1)
        layers[0][2](torch.randn(1, 1, 6))
    assert list(outputs.joined(1, 3)) == ["0.2"]


def test_scores_with_and_without_replay_agree(monkeypatch):
    local = tiny_local_model()
    scorer = HybridGradScorer(local)
    with_replay = local.generate("What is it?", max_new_tokens=8, keep=scorer.keep)
    monkeypatch.setattr(recording, "MAX_KEPT_BYTES", 0)
    without = local.generate("What is it?", max_new_tokens=8, keep=scorer.keep)
    assert len(with_replay.state.linear_outputs) == 14  # 7 in each of the band's layers
    assert not without.state.linear_outputs
    a, b = scorer.score_traces([with_replay])[0], scorer.score_traces([without])[0]
    assert a.hybridgrad == pytest.approx(b.hybridgrad, rel=1e-5)
    mixed = scorer.score_traces([with_replay, without])  # a batch replays what all rows have
    assert [s.hybridgrad for s in mixed] == pytest.approx([a.hybridgrad] * 2, rel=1e-5)
