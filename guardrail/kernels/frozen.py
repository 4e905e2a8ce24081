"""Lends a module out for computing and gives it back as it was."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakKeyDictionary, finalize

import torch
from torch import Tensor, nn

from guardrail.deadlines import Lock, check_deadline, deadline_now
from guardrail.kernels.wiring import Wiring, wiring_of

_locks: dict[int, Lock] = {}
_locks_lock = threading.Lock()
_lent: WeakKeyDictionary[nn.Module, Wiring] = WeakKeyDictionary()  # what each was before hooks and patches of ours


def lock_of(model: nn.Module) -> Lock:
    """The one lock of a module: hooks and flags are shared state, so generation and scoring of threads take turns.

    What shares a config shares the lock (a PEFT wrapper and its base, two models of one config): we switch the config, too.
    """
    owner = getattr(model, "config", model)
    owner = model if isinstance(owner, dict) else owner
    with _locks_lock:
        if id(owner) not in _locks:
            _locks[id(owner)] = Lock()
            finalize(owner, _locks.pop, id(owner), None)
        return _locks[id(owner)]


def weights_version(model: nn.Module) -> int:
    """Changes when parameters or saved buffers are replaced, moved or written to, and when adapters are switched.

    Milliseconds at most. What goes through `.data` leaves no mark on a tensor, so `weights_sample` looks at the numbers.
    """
    seen: list[Any] = []
    for module in model.modules():
        own = module.__dict__
        unsaved = own["_non_persistent_buffers_set"]
        tensors = [*own["_parameters"].values(), *(b for n, b in own["_buffers"].items() if n not in unsaved)]
        seen.extend(
            (id(x), x.dtype, str(x.device), _address(x), 0 if x.is_inference() else x._version)
            for x in tensors
            if isinstance(x, Tensor)
        )
        seen.append((own.get("_disable_adapters"), str(own.get("_active_adapter")), str(own.get("merged_adapters"))))
        seen.append(str(own.get("scaling")))
    return hash(tuple(seen))


def weights_sample(model: nn.Module) -> int:
    """Changes when numbers of the model change, however that came about: four of every parameter, in one copy a device."""
    parts: dict[Any, list[Tensor]] = {}
    for parameter in model.parameters():
        if not parameter.is_meta and type(parameter.data) is Tensor and parameter.numel():
            flat = parameter.detach().reshape(-1) if parameter.is_contiguous() else parameter.detach().flatten()
            parts.setdefault((parameter.device, parameter.dtype), []).append(flat[:: max(1, len(flat) // 4)][:4])
    return hash(tuple(torch.cat(numbers).cpu().view(torch.uint8).numpy().tobytes() for numbers in parts.values()))


def wiring(model: nn.Module) -> Wiring:
    """What a model computes with beside its weights, without the hooks and patches of ours that are on it right now."""
    return _lent.get(model) or wiring_of(model)


def _address(x: Tensor) -> int:
    """Where its numbers are; 0 for a tensor of a kind that has no single place."""
    try:
        return x.data_ptr()
    except (RuntimeError, NotImplementedError):
        return 0


def wiring_version(model: nn.Module) -> int:
    """Changes when hooks, patched forwards, parts, or the kind of attention change: milliseconds at most.

    Embeddings are left out: what stands below the layers has no part in their gradients.
    """
    seen: list[Any] = [getattr(getattr(model, "config", None), "_attn_implementation", None)]
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            continue
        own = module.__dict__
        hooks = [tuple(own[name]) for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks") if own[name]]
        seen.append((id(module), id(own.get("forward")), own.get("_compiled_call_impl") is None, *hooks))
    return hash(tuple(seen))


@contextmanager
def untouched(model: nn.Module, *, watched: bool = False) -> Iterator[ExitStack]:
    """Inside: evaluation mode, no autocast, no parameter requires a gradient. After, also after an exception: all as before.

    Register hooks and patches on the stack that it yields; they are undone first. Where what runs now has a deadline, each
    layer looks at the clock first, so that a forward pass ends there with a `DeadlineError`; a backward pass is not ended.

    watched: whether answers may be judged inside, which asks for the module's `wiring`.
    """
    check_deadline()
    modules = list(model.modules())  # one walk, and no write where nothing changes: every answer passes here
    training = [module for module in modules if module.training]
    trainable = [p for module in modules for p in module.parameters(recurse=False) if p.requires_grad]
    remembered = watched and model not in _lent
    if remembered:
        _lent[model] = wiring_of(model)
    try:
        for module in training:
            module.training = False
        for parameter in trainable:
            parameter.requires_grad_(False)
        with ExitStack() as stack:
            kind = next((p.device.type for module in modules for p in module.parameters(recurse=False)), "cpu")
            if torch.is_autocast_enabled(kind):  # one precision for what is kept and what is computed on it
                stack.enter_context(torch.autocast(kind, enabled=False))
            if deadline_now() is not None:
                for part in (model, *_layers(model)):
                    stack.callback(part.register_forward_pre_hook(_on_time).remove)
            yield stack
    finally:
        if remembered:
            _lent.pop(model, None)
        for module in training:
            module.training = True
        for parameter in trainable:
            parameter.requires_grad_(True)


def _layers(model: nn.Module) -> Iterator[nn.Module]:
    """What stands in the model's lists of modules; not what is in those (experts, say)."""
    for child in model.children():
        yield from child if isinstance(child, nn.ModuleList) else _layers(child)


def _on_time(*_: object) -> None:
    check_deadline()


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


def on_output(stack: ExitStack, layer: nn.Module, see: Callable[[Tensor], None]) -> None:
    """Call `see` with the hidden states that leave `layer`."""

    def hook(_: nn.Module, __: Any, output: Any) -> None:
        see(output[0] if isinstance(output, tuple) else output)

    stack.callback(layer.register_forward_hook(hook).remove)


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
            module.__dict__.pop("forward", None)
        else:
            module.__dict__["forward"] = before

    stack.callback(restore)
    module.__dict__["forward"] = forward
