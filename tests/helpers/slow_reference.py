"""HybridGrad straight from the equations of arXiv 2605.04638: one full autograd graph, every hidden state, the whole V x D
head gradient. Slow on purpose, and shares no code with guardrail.scoring."""

from __future__ import annotations

import torch


def slow_hybridgrad(
    model, prompt_ids, response_ids, *, token, band="code", reduction="mean", weights="entropy", span=None
):
    """span: the part of the response that J is restricted to; None takes all of it."""
    ids = torch.tensor([[*prompt_ids, *response_ids]])
    P, T = len(prompt_ids), len(response_ids)
    head = model.get_output_embeddings()
    # a copy of the head, so that a tied head's gradient does not include the path through the input embedding
    W = head.weight.detach().clone().requires_grad_(True)
    inputs = []
    layers = _layers(model)

    def record(_, args, kwargs):
        h = args[0] if args else kwargs["hidden_states"]
        h.requires_grad_(True) if h.is_leaf else h.retain_grad()
        inputs.append(h)

    def own_head(_, args, output):
        bias = getattr(head, "bias", None)
        return torch.nn.functional.linear(args[0], W, bias)

    hooks = [layer.register_forward_pre_hook(record, with_kwargs=True) for layer in layers]
    hooks.append(head.register_forward_hook(own_head))
    try:
        logits = model(input_ids=ids, use_cache=False).logits[0].double()
    finally:
        for hook in hooks:
            hook.remove()
    z = logits[P - 1 : P + T - 1]
    start, end = span or (0, T)
    z, response_ids, T = z[start:end], response_ids[start:end], end - start
    log_p = torch.log_softmax(z, dim=-1)
    entropies = -(log_p.exp() * log_p).sum(-1).detach()
    w = entropies if weights == "entropy" else torch.ones_like(entropies)
    chosen = log_p[torch.arange(T), torch.tensor(response_ids)]
    J = (w * chosen).sum() / (T if reduction == "mean" else 1)
    L = len(layers)
    first = L - L // 2 if band == "code" else L // 2 + 1
    grads = torch.autograd.grad(J, [*inputs[first:], W])
    semgrad = torch.stack([g[0, P + token].double().abs().mean() for g in grads[:-1]]).mean().item()
    paragrad = grads[-1].double().abs().mean().item()
    alpha = torch.exp(-entropies.mean()).item()
    return {
        "semgrad": semgrad,
        "paragrad": paragrad,
        "hybridgrad": (1 - alpha) * semgrad + alpha * paragrad,
        "entropy": entropies.mean().item(),
        "nll": -chosen.sum().item(),
    }


def _layers(model):
    lists = [m for m in model.modules() if isinstance(m, torch.nn.ModuleList)]
    return next(m for m in lists if len(m) == model.config.num_hidden_layers)
