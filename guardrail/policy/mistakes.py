"""Pydantic's errors -> one line with file, line and the nearest valid key or value.

Knows the names of keys and nothing of what they mean. Of several mistakes the first in the file is reported: later ones
are often its consequences.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, get_args

from guardrail.policy.schema import MAPPINGS, VERSION, unit_of
from guardrail.policy.source import Location, Source, spell
from guardrail.types import Action, ClaimAction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

    from guardrail.errors import PolicyError
    from guardrail.policy.bounds import Mapping
    from guardrail.policy.schema import Unit

_WANTED = {
    "bool_type": "true or false",
    "float_type": "a number",
    "int_type": "a whole number",
    "string_type": "text",
    "tuple_type": "a list",
}
_OTHER: dict[Unit, Unit] = {"answer": "claim", "claim": "answer"}
_MEANT: dict[Unit, str] = {"answer": "whole answers ('for: answer')", "claim": "claims ('for: claim')"}
_THEN = {"answer": Action, "claim": ClaimAction}


def first_mistake(error: ValidationError, source: Source) -> PolicyError:
    """The first mistake in the file's order; an unknown key goes before what follows from it."""
    details = error.errors(include_url=False)
    mistakes = [(_as_spelt(d["loc"]), d) for d in details]
    location, first = min(
        mistakes, key=lambda m: (m[1]["type"] == "missing", source.line(m[0]), m[1]["type"] != "extra_forbidden")
    )
    unit = _unit(location, source)
    if isinstance(location[-1], int) and location not in source.lines:
        location = location[:-1]  # the file has a single value where a list may stand
    return source.error(location, _message(first, location, unit))


def _as_spelt(location: Location) -> Location:
    """pydantic puts the kind of a rule into its errors' locations: ("rules", 0, "claim", "when")."""
    return (*location[:2], *location[3:]) if location[0] == "rules" and len(location) > 2 else location


def _unit(location: Location, source: Source) -> Unit:
    """Whether a location is in a rule for claims; outside the rules it makes no difference."""
    rules = source.values.get("rules") if isinstance(source.values, dict) and location[0] == "rules" else None
    index = location[1] if len(location) > 1 else None
    return unit_of(rules[index]) if isinstance(rules, tuple) and isinstance(index, int) else "answer"


def _message(detail: ErrorDetails, location: Location, unit: Unit) -> str:
    value, context, kind = detail["input"], detail.get("ctx", {}), detail["type"]
    where = spell(location)
    match kind:
        case "extra_forbidden":
            return _unknown_key(str(location[-1]), location[:-1], unit)
        case "missing":
            return f"missing key {str(location[-1])!r} {spell(location[:-1], 'in')}"
        case "policy":
            return f"{where} {context['message']}"
        case "version":
            return f"version {show(value)} is unknown; this guardrail reads version {VERSION}"
        case "literal_error":
            valid = context["expected"].replace("'", "").replace(" or ", ", ")
            names = tuple(valid.split(", "))
            return f"{where} is {show(value)}; valid: {valid}{_for_the_other(value, location, unit, names)}"
        case "model_type":
            return f"{where} wants keys ({', '.join(_mapping(location, unit).keys())}), not {show(value)}"
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


def _unknown_key(key: str, parent: Location, unit: Unit) -> str:
    valid = _mapping(parent, unit).keys()
    text = f"unknown key {_quoted(key)} {spell(parent, 'in')}"
    if parent[:1] == ("rules",) and key in set(_mapping(parent, _OTHER[unit]).keys()):
        return f"{text}; it is for {_MEANT[_OTHER[unit]]}; valid keys in a rule for {unit}s: {', '.join(valid)}"
    if near := _did_you_mean(key, valid):
        return text + near
    homes = [name for name, mapping in MAPPINGS[unit].items() if name and key in set(mapping.keys())]
    if homes:
        return f"{text}; it belongs under {homes[0]!r}"
    return f"{text}; valid keys: {', '.join(valid)}"


def _mapping(location: Location, unit: Unit) -> type[Mapping]:
    """What the mapping at a location is read as."""
    name = next((step for step in reversed(location) if isinstance(step, str)), "")
    return MAPPINGS[unit].get(name) or MAPPINGS[_OTHER[unit]][name]


def _for_the_other(value: object, location: Location, unit: Unit, valid: Sequence[str]) -> str:
    """An action that the other kind of rule has, or the nearest valid name."""
    if location[0] == "rules" and location[-1] == "then" and value in get_args(_THEN[_OTHER[unit]]):
        return f"; {value!r} is for {_MEANT[_OTHER[unit]]}"
    return _did_you_mean(value, tuple(valid))


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
