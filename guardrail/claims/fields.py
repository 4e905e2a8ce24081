"""A JSON answer -> its fields: each value that holds no others is a claim, at its exact place.

Knows nothing about what a schema asks for but whether it allows null.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any

from guardrail.json_text import MAX_DEPTH, parse_at
from guardrail.types import Aside, Claim, Claims

Path = tuple[str | int, ...]
Leaf = tuple[Path, int, int]
"""A path, and the half-open place of the value that stands there."""

_BLANK = re.compile(r"[ \t\n\r]*")
_PLAIN = re.compile(r"(?:true|false|null|-?[0-9][0-9.eE+-]*)")
_FENCE = re.compile(r"\s*(?:```(?:json)?[ \t]*\n\s*)?")
_FENCE_END = re.compile(r"\s*(?:```\s*)?\Z")
_ITEM = re.compile(r"[0-9]{1,9}")
_ARGUMENTS = ("arguments", "parameters")
_VALUE_OR_MARK = re.compile(r"</?\w+>|\[[A-Z_]+\]|<\|\w+\|>|[{\[]")


class JsonFields:
    """The extractor of JSON answers: no model, the same fields for the same text.

        claims = JsonFields().extract('{"city": "Lima", "mayor": {"age": 45}}')
        [(c.path, c.text) for c in claims.claims]   # [('/city', 'city: "Lima"'), ('/mayor/age', 'mayor.age: 45')]

    An empty object or list is a value, too; keys and brackets claim nothing. What `json_text.parse` would not read (it was cut
    off, a key comes twice) is one claim as a whole.

    Args:
        tools: Names of tools, where the answer is a call of one of them: its fields are the arguments.
    """

    name = "fields"

    def __init__(self, tools: Collection[str] = ()) -> None:
        self.tools = frozenset(tools)

    @property
    def options(self) -> Mapping[str, Any]:
        """Nothing changes where a field begins and ends."""
        return {}

    def extract(self, answer: str, *, question: str = "") -> Claims:
        """The fields of an answer, each with its path.

        Args:
            answer: Any string; none is refused.
            question: Part of the protocol; not used.

        Returns:
            A claim for each value, in the order of the text; what stands between them is a heading.
        """
        found = self.fields(answer)
        if found is not None:
            return found
        start, end = len(answer) - len(answer.lstrip()), len(answer.rstrip())
        return Claims((Claim(answer[start:end], start, end),) if start < end else ())

    def fields(self, answer: str) -> Claims | None:
        """`extract`, but None for an answer that is no JSON, or is not a call where it should be one and nothing else."""
        leaves = self._leaves_of_calls(answer) if self.tools else _leaves_of_text(answer)
        if leaves is None:
            return None
        claims = [_claim(answer, leaf) for leaf in leaves]
        asides: list[Aside] = []
        at = 0
        for start, end in [*((c.start, c.end) for c in claims), (len(answer), len(answer))]:
            if any(map(str.isalnum, answer[at:start])):
                asides.append(Aside(answer[at:start], at, start, "heading"))
            at = end
        return Claims(tuple(claims), tuple(asides))

    def _leaves_of_calls(self, answer: str) -> list[Leaf] | None:
        """Of the arguments of the calls in a text; with an index before each path where there are several."""
        calls: list[list[Leaf]] = []
        beside, at = "", 0
        for mark in _VALUE_OR_MARK.finditer(answer):
            if mark.start() < at:
                continue
            beside += answer[at : mark.start()]
            at = mark.end()
            if mark[0] not in "{[":
                continue
            try:
                value, at = parse_at(answer, mark.start())
            except ValueError:
                return None
            calls += _arguments(value, list(_leaves(answer, mark.start())))
        beside += answer[at:]
        if not calls or (beside.strip() and beside.strip() not in self.tools):  # text that would be judged by nobody
            return None
        if len(calls) == 1:
            return calls[0]
        return [((i, *path), a, b) for i, call in enumerate(calls) for path, a, b in call]


def pointer(path: Path) -> str:
    """A path as a JSON pointer (RFC 6901).

    >>> pointer(("cities", 0, "a/b"))
    '/cities/0/a~1b'
    """
    return "".join(f"/{str(key).replace('~', '~0').replace('/', '~1')}" for key in path)


def keys_of(pointer: str) -> list[str]:
    """The keys and indices of a JSON pointer, as text.

    >>> keys_of("/cities/0/a~1b")
    ['cities', '0', 'a/b']
    """
    return [key.replace("~1", "/").replace("~0", "~") for key in pointer.split("/")[1:]]


def _claim(answer: str, leaf: Leaf) -> Claim:
    path, start, end = leaf
    value = answer[start:end]
    name = ".".join(map(str, path))
    return Claim(f"{name}: {value}" if name else value, start, end, "field", pointer(path))


def _leaves_of_text(answer: str) -> list[Leaf] | None:
    """Of a text that is JSON, in a fence or not."""
    opened = _FENCE.match(answer)
    start = opened.end() if opened else 0
    try:
        _, end = parse_at(answer, start)
    except ValueError:
        return None
    return list(_leaves(answer, start)) if _FENCE_END.match(answer, end) else None


def _arguments(value: Any, leaves: list[Leaf]) -> list[list[Leaf]]:
    """Of each call in a JSON value: what is under its arguments, or all where it is nothing but arguments."""
    calls: list[list[Leaf]] = []
    of_item: dict[str | int, list[Leaf]] = {}
    if isinstance(value, list):
        for path, a, b in leaves:
            of_item.setdefault(path[0] if path else -1, []).append((path[1:], a, b))
    for i, call in enumerate(value) if isinstance(value, list) else [(None, value)]:
        own = leaves if i is None else of_item.get(i, [])
        key = next((k for k in _ARGUMENTS if isinstance(call, dict) and "name" in call and k in call), None)
        calls.append(own if key is None else [(path[1:], a, b) for path, a, b in own if path[:1] == (key,)])
    return calls


def _leaves(text: str, at: int) -> Iterator[Leaf]:
    """The values of the JSON at `at` that hold no others; it has been read before, so it is right."""
    yield from _scan(text, at, ())[0]


def _scan(text: str, at: int, path: Path) -> tuple[list[Leaf], int]:
    start = at
    if text[at] == '"':
        return [(path, start, at := scanstring(text, at + 1)[1])], at
    if text[at] not in "{[":
        plain = _PLAIN.match(text, at)
        end = plain.end() if plain else at + 1
        return [(path, start, end)], end
    closing, found, n = "}" if text[at] == "{" else "]", [], 0
    at = _skip(text, at + 1)
    while text[at] != closing:
        key: str | int = n
        if closing == "}":
            key, at = scanstring(text, at + 1)
            at = _skip(text, _skip(text, at) + 1)
        inner, at = _scan(text, at, (*path, key))
        found += inner
        at, n = _skip(text, at), n + 1
        if text[at] == ",":
            at = _skip(text, at + 1)
    return found or [(path, start, at + 1)], at + 1


def _skip(text: str, at: int) -> int:
    blank = _BLANK.match(text, at)
    return blank.end() if blank else at


def allows_null(schema: Any, path: Sequence[str]) -> bool:
    """Whether a JSON schema certainly allows null at a path; what it leaves open, or says in a way not known here, is a no.

    >>> allows_null({"type": "object", "properties": {"age": {"type": ["integer", "null"]}}}, ["age"])
    True
    """
    return _allows(schema, list(path), schema, MAX_DEPTH) is True


_UNKNOWN = {
    "not",
    "if",
    "then",
    "else",
    "dependentSchemas",
    "dependentRequired",
    "unevaluatedProperties",
    "$dynamicRef",
}


def _allows(node: Any, path: list[str], root: Any, depth: int) -> bool | None:
    """None: this part of the schema says nothing about it."""
    if isinstance(node, bool):
        return node
    if not isinstance(node, Mapping) or depth == 0 or not _UNKNOWN.isdisjoint(node):
        return False
    found: list[bool | None] = []
    if "$ref" in node:
        found.append(_allows(_referred(root, node["$ref"]), path, root, depth - 1))
    found += [_allows(part, path, root, depth - 1) for part in _list(node.get("allOf", []))]
    for key in ("anyOf", "oneOf"):
        if key in node:
            said = [s for part in _list(node[key]) if (s := _allows(part, path, root, depth - 1)) is not None]
            # at the value itself one is enough; above it nobody knows which one the object is
            found.append((all(said) if path else any(said)) if said else None)
    if path:
        found.append(_below(node, path, root, depth - 1))
    else:
        found.append(_null_here(node))
    known = [f for f in found if f is not None]
    return all(known) if known else None


def _null_here(node: Mapping[str, Any]) -> bool | None:
    said: list[bool] = []
    if "type" in node:
        said.append("null" in (node["type"] if isinstance(node["type"], list) else [node["type"]]))
    if "enum" in node:
        said.append(isinstance(node["enum"], list) and None in node["enum"])
    if "const" in node:
        said.append(node["const"] is None)
    if not said and not node.keys() - _NOTES:
        return True  # anything goes
    return all(said) if said else None


def _list(value: Any) -> list[Any]:
    """What a keyword lists; a schema that allows nothing for what is no list."""
    return value if isinstance(value, list) else [False]


_NOTES = {"title", "description", "default", "examples", "$comment", "deprecated", "readOnly", "writeOnly"}


def _below(node: Mapping[str, Any], path: list[str], root: Any, depth: int) -> bool | None:
    key, rest = path[0], path[1:]
    properties = node.get("properties", {})
    if isinstance(properties, Mapping) and key in properties:
        return _allows(properties[key], rest, root, depth)
    if "patternProperties" in node:
        return False
    if _ITEM.fullmatch(key) and ("items" in node or "prefixItems" in node):
        first = _list(node.get("prefixItems", []))
        return _allows(first[int(key)] if int(key) < len(first) else node.get("items", False), rest, root, depth)
    return _allows(node["additionalProperties"], rest, root, depth) if "additionalProperties" in node else None


def _referred(root: Any, reference: Any) -> Any:
    """What a reference within the schema means; False where it leads out of it."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        return False
    node = root
    for key in keys_of(reference[1:]):
        if not isinstance(node, Mapping) or key not in node:
            return False
        node = node[key]
    return node
