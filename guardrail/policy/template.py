"""Wording templates: which placeholders they may hold, and how they are filled.

Knows nothing about rules or about what the values mean. A template is never given to `str.format`: only the four names
below are replaced, so neither a policy file nor an answer that holds braces can reach an attribute or an index.
"""

from __future__ import annotations

from string import Formatter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PLACEHOLDERS = ("answer", "confidence", "label", "explanation")


def mistake(template: str) -> str | None:
    """What is wrong with a template, as the end of a sentence; None when nothing is."""
    allowed = ", ".join("{" + name + "}" for name in PLACEHOLDERS)
    try:
        pieces = list(Formatter().parse(template))
    except ValueError:
        return f"has a brace without its partner; placeholders are {allowed}, and a brace itself is written twice"
    for _, name, form, conversion in pieces:
        if name is not None and (name not in PLACEHOLDERS or form or conversion):
            whole = name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
            return f"holds the unknown placeholder {{{whole}}}; placeholders are {allowed}"
    return None


def placeholders(template: str) -> frozenset[str]:
    """The names that a valid template uses."""
    return frozenset(name for _, name, _, _ in Formatter().parse(template) if name)


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with each placeholder replaced once by its value, which is not read as a template again.

    Raises ValueError for a template that `mistake` objects to; a loaded policy holds none.
    """
    if wrong := mistake(template):
        raise ValueError(f"the template {wrong}")
    return "".join(
        text + (values[name] if name is not None else "") for text, name, _, _ in Formatter().parse(template)
    )
