"""Lends a module out for computing and gives it back as it was. Knows nothing about what is computed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn

_locks: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()
_locks_lock = threading.Lock()


def lock_of(model: nn.Module) -> threading.RLock:
    """The one lock of a module: hooks and flags are shared state, so generation and scoring of threads take turns."""
    with _locks_lock:
        return _locks.setdefault(model, threading.RLock())


@contextmanager
def untouched(model: nn.Module) -> Iterator[ExitStack]:
    """Inside: evaluation mode, no parameter requires a gradient. After, also after an exception: everything as before.

    Register hooks and patches on the stack that it yields; they are undone first.
    """
    modules = list(model.modules())  # one walk, and no write where nothing changes: every answer passes here
    training = [module for module in modules if module.training]
    trainable = [p for module in modules for p in module.parameters(recurse=False) if p.requires_grad]
    try:
        for module in training:
            module.training = False
        for parameter in trainable:
            parameter.requires_grad_(False)
        with ExitStack() as stack:
            yield stack
    finally:
        for module in training:
            module.training = True
        for parameter in trainable:
            parameter.requires_grad_(True)


def on_input(stack: ExitStack, layer: nn.Module, see: Callable[[Tensor], Tensor | None]) -> None:
    """Call `see` with the hidden states that enter `layer`; what it returns (if not None) enters in their place."""

    def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        inside = bool(args)
        seen = args[0] if inside else kwargs["hidden_states"]
        replaced = see(seen)
        if replaced is None:
            return None
        return ((replaced, *args[1:]), kwargs) if inside else (args, {**kwargs, "hidden_states": replaced})

    stack.callback(layer.register_forward_pre_hook(hook, with_kwargs=True).remove)


def pass_through(stack: ExitStack, layer: nn.Module) -> None:
    """Make `layer` hand its hidden states on unchanged."""

    def identity(*args: Any, **kwargs: Any) -> Any:
        return args[0] if args else kwargs["hidden_states"]

    replace_forward(stack, layer, identity)


def replace_forward(stack: ExitStack, module: nn.Module, forward: Callable[..., Any]) -> None:
    """Until `stack` is left, `module` computes `forward` (an instance attribute, so accelerate's own patch comes back)."""
    missing = object()
    before = module.__dict__.get("forward", missing)

    def restore() -> None:
        if before is missing:
            del module.__dict__["forward"]
        else:
            module.__dict__["forward"] = before

    stack.callback(restore)
    module.__dict__["forward"] = forward
