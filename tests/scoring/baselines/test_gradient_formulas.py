"""SemGrad, ParaGrad, ExGrad and HybridGrad of a model that can be differentiated on paper: its layers add nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.scoring.registry import scorer
from guardrail.testing import tiny_local_model

PROMPT, ANSWER = (5, 9, 40), 17


@pytest.fixture(scope="module")
def local():
    """h is the last prompt token's embedding at every layer; z = W n(h), n = g h / sqrt(mean h^2 + eps)."""
    made = tiny_local_model("llama")
    with torch.no_grad():
        for layer in made.anatomy.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
    return made


def test_one_token_on_paper(local):
    """J = w log p_y: dJ/dz = w (e_y - p), dJ/dW = dJ/dz n^T, dJ/dh = (g * W^T dJ/dz) (I - h h^T / (D r^2)) / r."""
    model = local.model
    W = model.get_output_embeddings().weight.detach().double().numpy()
    g = model.model.norm.weight.detach().double().numpy()
    h = model.get_input_embeddings().weight.detach().double().numpy()[PROMPT[-1]]
    D, r = len(h), np.sqrt(np.mean(h**2) + model.config.rms_norm_eps)
    n = g * h / r
    log_p = log_softmax(W @ n)
    p = np.exp(log_p)
    w = -(p * log_p).sum()  # the entropy, a constant
    dz = -w * p
    dz[ANSWER] += w
    a = g * (W.T @ dz)
    dh = (a - h * (h @ a) / (D * r**2)) / r
    semgrad, paragrad = np.abs(dh).mean(), np.abs(np.outer(dz, n)).mean()

    trace = local.trace("x", "y")
    trace = type(trace)(trace.messages, PROMPT, (ANSWER,), "y", "length")

    def value(name, **options):
        return scorer(name, local, **options).score_traces([trace])[0].value

    assert value("semgrad", semantic_token=-1) == pytest.approx(semgrad, rel=1e-4)
    assert value("paragrad") == pytest.approx(paragrad, rel=1e-4)
    assert value("exgrad") == pytest.approx(paragrad / w, rel=1e-4)
    expected = (1 - np.exp(-w)) * semgrad + np.exp(-w) * paragrad
    assert value("hybridgrad", semantic_token=-1) == pytest.approx(expected, rel=1e-4)
    assert value("g-nll") == pytest.approx(-log_p[ANSWER], rel=1e-4)
    # nothing attends to an earlier token, so the answer does not hang on it
    assert HybridGradScorer(local, semantic_token=-2).score(PROMPT, (ANSWER,)).unscored == "not_finite"
