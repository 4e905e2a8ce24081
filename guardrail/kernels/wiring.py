"""Tells whether what a module computes has been changed beside its weights: its parts, functions, hooks, settings and config.

Milliseconds at most, since every answer passes here. What a library's own functions do in place of themselves is not seen.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

_PLAIN = frozenset((int, float, bool, complex, str, type(None), torch.dtype))
_FUNCTIONS = frozenset((types.FunctionType, types.BuiltinFunctionType, types.MethodType, functools.partial))
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_FOR_ALL = (torch_module._global_forward_hooks, torch_module._global_forward_pre_hooks)
# `training` is among the module's own: answers are made in evaluation mode. Layers write the last two themselves.
_NO_SETTINGS = set(vars(nn.Module())) | {
    *("config", "forward", "_is_hf_initialized", "_compiled_call_impl", "compute_type_is_set", "max_seq_len_cached"),
}
# no layer of ours computes with these
_NO_CONFIG = {
    *(
        "use_cache",
        "return_dict",
        "output_attentions",
        "output_hidden_states",
        "transformers_version",
        "dtype",
        "id2label",
    ),
    *("label2id", "architectures", "chunk_size_feed_forward", "bos_token_id", "eos_token_id", "pad_token_id"),
}
_SMALL = 4096  # numbers of a buffer that are read one by one; of a larger one as many, spread evenly


class Wiring(NamedTuple):
    """Digests of one process; two are compared by `changes`."""

    parts: int
    functions: int
    hooks: int
    settings: int
    config: int
    buffers: int


_WORDS = ("parts", "functions of parts", "hooks", "settings of parts", "config", "buffers that are not saved")


def changes(before: Wiring, now: Wiring) -> list[str]:
    """What differs, in words; none where nothing does."""
    return [word for word, a, b in zip(_WORDS, before, now, strict=True) if a != b]


def wiring_of(model: nn.Module) -> Wiring:
    """What `model` is put together of now, apart from its weights, evaluation mode, dtype and device."""
    kinds: dict[type, None] = {}
    parts: list[Any] = []
    functions: list[Any] = []
    hooks: list[Any] = [_ids(found.values()) for found in _FOR_ALL]
    settings: list[Any] = []
    configs: dict[int, Any] = {}
    unsaved: list[Tensor] = []
    for at, module in enumerate(model.modules()):
        own = module.__dict__
        kinds[type(module)] = None
        parts.append(type(module))
        hooks += [(at, name, _ids(own[name].values())) for name in _HOOKS if own[name]]
        if "forward" in own:
            functions.append((at, _function(own["forward"])))
        if (config := own.get("config")) is not None:
            configs[id(config)] = config
        for name in own.keys() - _NO_SETTINGS:
            value = own[name]
            if type(value) in _PLAIN:
                settings.append((at, name, value))
            elif type(value) in _FUNCTIONS:
                functions.append((at, name, _function(value)))
            elif issubclass(type(value), (dict, list, tuple)):
                settings.append((at, name, _plain(value)))
        if own["_non_persistent_buffers_set"] and not _resized(module):
            unsaved.extend(
                b for n, b in own["_buffers"].items() if n in own["_non_persistent_buffers_set"] and b is not None
            )
    functions.extend(_function(getattr(kind, name, None)) for kind in kinds for name in ("forward", "__call__"))
    return Wiring(
        hash(tuple(parts)),
        hash(frozenset(functions)),
        hash(tuple(hooks)),
        hash(frozenset(settings)),
        hash(tuple(_config(config) for config in configs.values())),
        _numbers(unsaved),
    )


def _resized(module: nn.Module) -> bool:
    """Whether a module makes its buffers anew for longer texts."""
    return any(kind in str(getattr(module, "rope_type", "")) for kind in ("dynamic", "longrope"))


def _ids(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(map(_function, values))


def _function(value: Any) -> Any:
    """What tells a function from others; a bound method is made anew each time it is asked for."""
    if isinstance(value, types.MethodType):
        return id(value.__self__), _function(value.__func__)
    if isinstance(value, functools.partial):
        return _function(value.func), _plain(value.args), _plain(value.keywords)
    return id(value), id(getattr(value, "__code__", None))


def _plain(value: Any) -> Any:
    """The plain values in nested lists and mappings."""
    if isinstance(value, dict):
        return tuple((str(key), _plain(v)) for key, v in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(map(_plain, value))
    return value if type(value) in _PLAIN else None


def _config(config: Any) -> Any:
    values = config if isinstance(config, dict) else getattr(config, "__dict__", {})
    return tuple((k, _plain(v)) for k, v in values.items() if k not in _NO_CONFIG and not str(k).startswith("_"))


def _numbers(tensors: list[Tensor]) -> int:
    """Of the numbers in them, in one copy for each device and dtype."""
    parts: dict[Any, list[Tensor]] = {}
    for x in tensors:
        if not x.is_meta and type(x) is Tensor and x.numel():
            flat = x.detach().reshape(-1)
            parts.setdefault((x.device, x.dtype), []).append(flat[:: max(1, len(flat) // _SMALL)])
    return hash(tuple(torch.cat(found).cpu().view(torch.uint8).numpy().tobytes() for found in parts.values()))
