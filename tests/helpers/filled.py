"""A value with a payload in every text that it holds, however deep and in whatever field: a new field is filled, too."""

from __future__ import annotations

import builtins
import collections.abc
import copy
import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from guardrail import types


def filled(value: Any, payload: str, words: frozenset[Any] = frozenset()) -> tuple[Any, int]:
    """The value with the payload at the front of its texts, and how many these are.

    words: those that the field may hold alone; they stay. Keys of mappings stay, too, and no check runs again.
    """
    if isinstance(value, str):
        return (value, 0) if value in words else (f"{payload}{value}", 1)
    if isinstance(value, Path):
        return value.with_name(f"{payload.replace('/', '-')}{value.name}"), 1
    if isinstance(value, Mapping):
        found = {key: filled(each, payload, words) for key, each in value.items()}
        return {key: each for key, (each, _) in found.items()}, sum(n for _, n in found.values())
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        items = [filled(each, payload, words) for each in value]
        return type(value)(each for each, _ in items), sum(n for _, n in items)
    names = _names(value)
    if not names:
        return value, 0
    made, total = copy.copy(value), 0
    hints = get_type_hints(type(value), localns=_Known(vars(sys.modules[type(value).__module__])))
    for name in names:
        new, n = filled(getattr(value, name), payload, _words(hints.get(name)))
        object.__setattr__(made, name, new)
        total += n
    return made, total


class _Known(dict[str, Any]):
    """The names of a module, and those that it imports for the type checker alone."""

    def __missing__(self, name: str) -> Any:
        for place in (builtins, types, collections.abc):
            if hasattr(place, name):
                return getattr(place, name)
        return object


def _names(value: Any) -> list[str]:
    if isinstance(value, BaseModel):
        return list(type(value).model_fields)
    return [field.name for field in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else []


def _words(hint: Any) -> frozenset[Any]:
    """What the literals in an annotation allow."""
    if get_origin(hint) is Literal:
        return frozenset(get_args(hint))
    return frozenset().union(*(_words(each) for each in get_args(hint)))
