"""YAML text -> plain values, and the line of each.

Reads less than YAML can say, on purpose: no anchors, aliases, tags, second documents, duplicate keys, empty values or
depth beyond need. Each of them either hides what a policy does or can be made to cost without bound. Numbers are those of
YAML 1.2 (core schema); what YAML 1.1 reads as another number (`0100`, `1:30`, `1_000`) is refused, not read as either.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import yaml

from guardrail.errors import PolicyError
from guardrail.files import open_file

if TYPE_CHECKING:
    import os

MAX_BYTES = 64 * 1024
MAX_DEPTH = 24

Location: TypeAlias = tuple[int | str, ...]
Value: TypeAlias = "str | int | float | bool | tuple[Value, ...] | dict[str, Value]"

_BOOL = "tag:yaml.org,2002:bool"
_OLD_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")  # as PyYAML, which reads YAML 1.1, sees them
_WHOLE = re.compile(r"(?P<decimal>[-+]?[0-9]+)|(?P<octal>0o[0-7]+)|(?P<hexadecimal>0x[0-9a-fA-F]+)")
_BASES = {"decimal": 10, "octal": 8, "hexadecimal": 16}
_FRACTION = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NO_NUMBER = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


@dataclass(frozen=True, slots=True)
class Source:
    """A file's content: plain values (sequences as tuples) and the line, from 1, on which each key or item stands."""

    name: str
    values: Value
    lines: dict[Location, int]

    def line(self, location: Location) -> int:
        """The line of a location, or of the nearest one around it."""
        while location not in self.lines:
            location = location[:-1]
        return self.lines[location]

    def error(self, location: Location, message: str) -> PolicyError:
        return fault(self.name, self.line(location), message)


def fault(name: str, line: int, message: str) -> PolicyError:
    """The one form of every error that has a line."""
    return PolicyError(f"{name}:{line}: {' '.join(message.split())}")


def read_text(path: str | os.PathLike[str]) -> str:
    """A file's text. Raises `PolicyError` when it cannot be read, is larger than `MAX_BYTES` or is not UTF-8."""
    try:
        with open_file(path) as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PolicyError(f"cannot read policy {str(path)!r}: {error.strerror or error}") from error
    try:
        return data[:MAX_BYTES].decode("utf-8-sig") if len(data) <= MAX_BYTES else _too_large(str(path))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise fault(str(path), line, f"not UTF-8: byte 0x{data[error.start]:02x}; save the file as UTF-8") from error


def parse(text: str, name: str) -> Source:
    """Plain values and lines of a YAML text; `name` opens every message. Raises `PolicyError`, one line."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        _too_large(name)
    try:
        _refuse_risky_syntax(text, name)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise fault(
            name, line, f"not valid YAML: the character U+{ord(text[error.position]):04X} is not allowed"
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise fault(name, mark.line + 1 if mark else 1, f"not valid YAML: {error.problem or error.context}") from None
    if root is None:
        raise PolicyError(
            f"{name}: the file is empty; the smallest policy is 'version: 1', 'name: ...' and 'rules: []'"
        )
    lines: dict[Location, int] = {(): root.start_mark.line + 1}
    return Source(name, _Reader(name, lines).value(root, ()), lines)


def _too_large(name: str) -> str:
    raise PolicyError(f"{name}: larger than {MAX_BYTES // 1024} KiB; a policy is a short file of rules")


def _refuse_risky_syntax(text: str, name: str) -> None:
    """Works on the stream of events, which takes constant depth, before anything recursive sees the text."""
    depth = documents = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise fault(name, line, "anchors and aliases (& and *) are not allowed; write the value out")
        if (tag := getattr(event, "tag", None)) is not None:
            raise fault(name, line, f"tags ({tag}) are not allowed; write the plain value")
        if isinstance(event, yaml.ScalarEvent) and any("\ud800" <= c <= "\udfff" for c in event.value):
            raise fault(name, line, "a \\ud... escape is half of a surrogate pair; write the character itself")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.DocumentStartEvent):
            documents += 1
        if depth > MAX_DEPTH:
            raise fault(name, line, f"nested deeper than {MAX_DEPTH} levels")
        if documents > 1:
            raise fault(name, line, "a second YAML document starts here; a policy is one document")


@dataclass(frozen=True, slots=True)
class _Reader:
    """Nodes -> values; writes the line of every key and item into `lines`."""

    name: str
    lines: dict[Location, int]

    def value(self, node: yaml.Node, location: Location) -> Value:
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, location)
        if isinstance(node, yaml.SequenceNode):
            return tuple(self._item(item, (*location, index)) for index, item in enumerate(node.value))
        return self._scalar(node, location)

    def _item(self, node: yaml.Node, location: Location) -> Value:
        self.lines[location] = node.start_mark.line + 1
        return self.value(node, location)

    def _mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, Value]:
        out: dict[str, Value] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise fault(self.name, line, f"a key {spell(location, 'in')} is not plain text")
            key = str(key_node.value)
            if key in out:
                first = self.lines[(*location, key)]
                raise fault(
                    self.name, line, f"duplicate key {key!r} {spell(location, 'in')}; line {first} has it already"
                )
            self.lines[(*location, key)] = line
            out[key] = self.value(value_node, (*location, key))
        return out

    def _scalar(self, node: yaml.Node, location: Location) -> Value:
        if node.tag == "tag:yaml.org,2002:null":
            # A key without a value is a half-written line; read as "no condition" it would widen the rule.
            raise fault(self.name, self.lines.get(location, 1), f"{spell(location)} has no value")
        text = str(node.value)
        if node.tag == _BOOL:
            return bool(yaml.SafeLoader("").construct_object(node))
        if getattr(node, "style", None) is not None:  # in quotes
            return text
        shown = text if len(text) <= 20 else text[:20] + "..."
        try:
            value = _number(text)
        except ValueError:  # thousands of digits, or beyond the largest float
            raise fault(
                self.name, self.lines.get(location, 1), f"{spell(location)} is no usable number: {shown}"
            ) from None
        if (value is None and node.tag in _OLD_NUMBERS) or re.fullmatch("[-+]?0[0-9]+", text):
            raise fault(
                self.name,
                self.lines.get(location, 1),
                f"{spell(location)} is {shown}, which is one number in YAML 1.1 and another or none in YAML 1.2; write it in "
                "plain digits, or put text in quotes",
            )
        return text if value is None else value


def is_numeric(text: str) -> bool:
    """Whether plain text would be read as a number, or refused as one."""
    try:
        return _number(text) is not None or re.fullmatch("[-+]?0[0-9]+", text) is not None
    except ValueError:
        return True


def _number(text: str) -> int | float | None:
    """The number that plain text is in YAML 1.2; None for other text. Raises `ValueError` for one out of reach."""
    if whole := _WHOLE.fullmatch(text):
        base = _BASES[str(whole.lastgroup)]
        return int(text, base)
    if _NO_NUMBER.fullmatch(text):
        return float(text.replace(".", ""))
    if not _FRACTION.fullmatch(text):
        return None
    value = float(text)
    if math.isinf(value):
        raise ValueError(text)
    return value


def spell(location: Location, preposition: str = "") -> str:
    """`("rules", 0, "when")` -> `rules[0].when`; the empty location is the file's top level."""
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location).lstrip(".")
    if not path:
        return "at the top level" if preposition else "the file"
    return f"{preposition} {path}".strip()
