"""Pydantic's errors -> one line with file, line and the nearest valid key or value.

Knows the names of keys and nothing of what they mean. Of several mistakes the first in the file is reported: later ones
are often its consequences.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from guardrail.policy.schema import MAPPINGS, VERSION
from guardrail.policy.source import Location, Source, spell

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

    from guardrail.errors import PolicyError

_WANTED = {
    "bool_type": "true or false",
    "float_type": "a number",
    "int_type": "a whole number",
    "string_type": "text",
    "tuple_type": "a list",
}


def first_mistake(error: ValidationError, source: Source) -> PolicyError:
    """The first mistake in the file's order; an unknown key goes before what follows from it."""
    details = error.errors(include_url=False)
    first = min(details, key=lambda d: (d["type"] == "missing", source.line(d["loc"]), d["type"] != "extra_forbidden"))
    location = first["loc"]
    if isinstance(location[-1], int) and location not in source.lines:
        location = location[:-1]  # the file has a single value where a list may stand
    return source.error(location, _message(first, location))


def _message(detail: ErrorDetails, location: Location) -> str:
    value, context, kind = detail["input"], detail.get("ctx", {}), detail["type"]
    where = spell(location)
    match kind:
        case "extra_forbidden":
            return _unknown_key(str(location[-1]), location[:-1])
        case "missing":
            return f"missing key {str(location[-1])!r} {spell(location[:-1], 'in')}"
        case "policy":
            return f"{where} {context['message']}"
        case "version":
            return f"version {show(value)} is unknown; this guardrail reads version {VERSION}"
        case "literal_error":
            valid = context["expected"].replace("'", "").replace(" or ", ", ")
            return f"{where} is {show(value)}; valid: {valid}{_did_you_mean(value, tuple(valid.split(', ')))}"
        case "model_type":
            return f"{where} wants keys ({', '.join(_mapping_keys(location))}), not {show(value)}"
        case "finite_number":
            return f"{where} is {show(value)}, which is no finite number"
        case "greater_than_equal" | "less_than_equal":
            bound = f"at least {context['ge']:g}" if "ge" in context else f"at most {context['le']:g}"
            return f"{where} is {show(value)}; it must be {bound}"
        case "too_short" | "string_too_short":
            return f"{where} is empty"
        case "too_long" | "string_too_long":
            return f"{where} is longer than {context['max_length']} characters"
        case "string_type" if isinstance(value, (bool, int, float)):
            return f"{where} wants text, not {show(value)}; put it in quotes"  # YAML reads no, on and 12 as values
        case _ if kind in _WANTED:
            return f"{where} wants {_WANTED[kind]}, not {show(value)}"
        case _:
            return f"{where}: {detail['msg']}"


def _unknown_key(key: str, parent: Location) -> str:
    valid = _mapping_keys(parent)
    text = f"unknown key {_quoted(key)} {spell(parent, 'in')}"
    if near := _did_you_mean(key, valid):
        return text + near
    homes = [name for name, mapping in MAPPINGS.items() if name and key in set(mapping.keys())]
    if homes:
        return f"{text}; it belongs under {homes[0]!r}"
    return f"{text}; valid keys: {', '.join(valid)}"


def _mapping_keys(location: Location) -> tuple[str, ...]:
    """The keys that the mapping at a location may have."""
    name = next((step for step in reversed(location) if isinstance(step, str)), "")
    return MAPPINGS[name].keys()


def _did_you_mean(value: object, valid: tuple[str, ...]) -> str:
    near = get_close_matches(value.lower(), valid, n=1) if isinstance(value, str) else []
    return f"; did you mean {near[0]!r}?" if near else ""


def show(value: object) -> str:
    """A value as the file would spell it, short enough for one line."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return _quoted(value)
        case tuple():
            return "a list"
        case dict():
            return "a mapping"
        case _:
            return str(value)


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
