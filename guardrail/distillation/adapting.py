"""A model with a fresh LoRA adapter on it, for a while: whether that works at all, and all as before afterwards."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from guardrail.distillation.settings import Training
from guardrail.errors import ModelError

if TYPE_CHECKING:
    from guardrail.model.local import LocalModel

_LEFT_BEHIND = ("generation_config", "_fused_forward", "forward", "peft_config")  # what trainers set on a module


@contextmanager
def adapted(local: LocalModel, training: Training, invocation: Sequence[int] | None) -> Iterator[Any]:
    """The model with an adapter on every linear layer of its decoder, until left; then all is as before.

    invocation: the token ids from which on the adapter is active; None makes it a part of the model.
    """
    from peft import LoraConfig, get_peft_model

    module, tokenizer = local.model, local.tokenizer
    plain = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
    parts = [(part, dict(part._modules)) for part in module.modules()]
    own = {name: module.__dict__[name] for name in _LEFT_BEHIND if name in module.__dict__}
    settings, pads = dict(vars(module.config)), (tokenizer.pad_token, tokenizer.padding_side)
    drawn = random.getstate(), np.random.get_state()
    with local.lock, torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        config = LoraConfig(
            task_type="CAUSAL_LM",
            r=training.rank,
            lora_alpha=2 * training.rank,
            target_modules="all-linear",
            alora_invocation_tokens=None if invocation is None else list(invocation),
        )
        try:
            yield get_peft_model(module, config)
        finally:
            for (
                parent,
                children,
            ) in parts:  # peft may have failed half way, and its own unloading knows only what it finished
                parent._modules.clear()
                parent._modules.update(children)
            module.eval()
            for parameter, required in plain:
                parameter.requires_grad_(required)
            for name in _LEFT_BEHIND:
                module.__dict__.pop(name, None)
            module.__dict__.update(own)
            vars(module.config).clear()
            vars(module.config).update(settings)
            tokenizer.pad_token, tokenizer.padding_side = pads
            random.setstate(drawn[0])
            np.random.set_state(drawn[1])


def require_adaptable(local: LocalModel, invocation: Sequence[int] | None) -> None:
    """Raise `ModelError` for a model on which peft's adapter does not work, before hours are spent on samples.

    Its logits must move where the adapter is active, and nowhere else.
    """
    ids = torch.tensor([[*(invocation or ()), *local.eos_ids[:1]] * 2], device=local.device)
    before = len(invocation or ()) + 1  # the last invocation counts: what stands before it is the base model's
    try:
        with adapted(local, Training(rank=1), invocation) as model, torch.no_grad():
            odd = model.peft_config["default"].fan_in_fan_out
            plain = local.model(input_ids=ids).logits.float()
            for name, parameter in model.named_parameters():
                if ".lora_B." in name:
                    parameter.normal_()
            moved = (model(input_ids=ids).logits.float() - plain).abs().amax(-1)[0]
    except Exception as error:  # peft raises anything for a layer that it has no adapter for
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ModelError(f"{local.name} ({_kind(local)}) takes no such adapter: {reason}; {_OTHER}") from error
    if odd or not float(moved[-1]) > 0 or (invocation and float(moved[:before].max()) > 0):
        raise ModelError(
            f"{local.name} ({_kind(local)}) takes no such adapter: peft's is not active where it should be; {_OTHER}"
        )


_OTHER = "try the other --turn, or merge an adapter that you trained elsewhere"


def _kind(local: LocalModel) -> str:
    return type(local.model).__name__
