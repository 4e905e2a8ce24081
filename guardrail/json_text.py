"""JSON text in and out, strictly. Knows nothing about what it holds, nor about files.

Reads less than `json.loads` does: a key that comes twice, NaN, a number without bound and half a surrogate pair each mean
something else to the next reader, so none of them is read at all.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import IO, Any, NoReturn

from guardrail.unseen import UNSEEN

_BLANK = " \t\n\r"


MAX_DEPTH = 64
"""The deepest nesting of arrays and objects. Whatever handles a value afterwards is recursive, and may stand deep itself."""


def parse(text: str) -> Any:
    """The value of a JSON text.

    Args:
        text: One JSON value.

    Raises:
        json.JSONDecodeError: It is not JSON.
        ValueError: It is JSON that cannot be trusted or used: a key that comes twice in one object, NaN or an infinity, a
            number too large for a float, thousands of digits, nesting beyond `MAX_DEPTH`, half a surrogate pair.
    """
    start = len(text) - len(text.lstrip(_BLANK))
    value, end = parse_at(text, start)
    if rest := text[end:].strip(_BLANK):
        raise json.JSONDecodeError("Extra data", text, text.index(rest[0], end))
    return value


def parse_at(text: str, at: int) -> tuple[Any, int]:
    """The value that begins at `at`, and where it ends. Raises as `parse` does."""
    try:
        value, end = _DECODER.raw_decode(text, at)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    if text.count("[", at, end) + text.count("{", at, end) > MAX_DEPTH:
        _check_depth(value)
    if "\\ud" in text[at:end].lower():
        try:
            json.dumps(value, ensure_ascii=False).encode()  # half a pair has no UTF-8 form: fail here, not at output
        except UnicodeEncodeError:
            raise ValueError("a \\ud... escape is half of a surrogate pair; write the character itself") from None
    return value, end


def dumps_for(stream: IO[str], value: Any) -> str:
    """A value as JSON text on one line that can be written to `stream` whatever its encoding is.

    Characters stand as they are where the encoding has all of them; otherwise as JSON's own escapes, which no error handler of
    the stream may replace by others ("\\xe9" is no JSON). What a terminal would obey stands as an escape always.

    Raises:
        ValueError: A number in it is NaN or infinite.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    text = UNSEEN.sub(lambda match: json.dumps(match[0])[1:-1], text)
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return json.dumps(value, allow_nan=False)
    return text


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        ((key, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {key[:40]!r} comes twice in one object; keep one of them")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number; write null or leave the key out")


def _whole(digits: str) -> int:
    _finite(digits)  # whoever reads it may take it for a float
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {digits[:40]} is too large")
    return value


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        inner = [child for outer in level for child in (outer.values() if isinstance(outer, dict) else outer)]
        level = [child for child in inner if isinstance(child, (dict, list))]
        if not level:
            return
    raise ValueError(_TOO_DEEP)


_TOO_DEEP = f"it is nested deeper than {MAX_DEPTH} levels; write fewer brackets inside each other"
_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_refuse, parse_float=_finite, parse_int=_whole)
