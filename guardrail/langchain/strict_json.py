"""JSON that a model wrote, read without forgiveness: what two readers could take for two things is no JSON here.

Refused beside broken JSON: NaN and infinities, numbers beyond the range of a float, a key that comes twice in one object,
half a surrogate pair, and nesting beyond `MAX_DEPTH`. Knows nothing about calls or answers.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

MAX_DEPTH = 64
"""The deepest nesting of arrays and objects. Whatever handles a value afterwards is recursive, and may stand deep itself."""


def read_json(text: str) -> Any:
    """The value that is all of the text. Raises `ValueError`, and nothing else, for anything but one strict JSON value."""
    start = len(text) - len(text.lstrip())
    value, end = read_json_at(text, start)
    if text[end:].strip():
        raise ValueError(f"something follows the JSON at character {end}")
    return value


def read_json_at(text: str, at: int) -> tuple[Any, int]:
    """The value that begins at `at`, and where it ends. Raises `ValueError` as `read_json` does."""
    try:
        value, end = _DECODER.raw_decode(text, at)
    except RecursionError:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels") from None
    source = text[at:end]
    if source.count("[") + source.count("{") > MAX_DEPTH:
        _check_depth(value)
    if "\\ud" in source.lower():
        _check_surrogates(value)
    return value, end


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        inner = [child for outer in level for child in (outer.values() if isinstance(outer, dict) else outer)]
        level = [child for child in inner if isinstance(child, (dict, list))]
        if not level:
            return
    raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")


def _check_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("a \\ud... escape is half of a surrogate pair") from None


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {digits:.40} is too large")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key comes twice in one object")
    return found


_DECODER = json.JSONDecoder(parse_constant=_no_number, parse_float=_finite, object_pairs_hook=_once)
