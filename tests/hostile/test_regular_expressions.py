"""Every regular expression of the project takes linear time, with the methods that the project calls it by."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.growth import superlinear

ROOT = Path(__file__).parents[2]
FUNCTIONS = ("match", "search", "fullmatch", "sub", "split", "findall", "finditer", "subn")
UNITS = [
    *"a1 .\n,:;!*_`\"'([{<>|-。「#\\~]})?", "a.", "a ", "1.", "- ", "1. ", "a\n", "\n\n", "\n ", "](", "if you ", "please ",
    "<think>", "<tool_call>", "```\n", "also ", "a also ", "and, ", "[1]", "A. ", ". ", "a-", "<a", "a_", "..", ".*",
    "\n>", "a'",
]  # fmt: skip
STARTS = ("", "a", "```\n")
ENDS = ("", "x\0")


def expressions() -> list[tuple[str, re.Pattern[str], str]]:
    """Where, what and by which method, of every compiled expression and every literal handed to a function of `re`."""
    found = []
    for file in sorted([*ROOT.glob("guardrail/**/*.py"), *ROOT.glob("cli/**/*.py")]):
        name = file.relative_to(ROOT).as_posix()
        if "/data/build/" in name:
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        compiled: dict[str, re.Pattern[str]] = {}
        if "re.compile(" in file.read_text(encoding="utf-8"):
            dotted = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            module = importlib.import_module(dotted if dotted.startswith("guardrail") else f"guardrail.{dotted}")
            compiled = {key: value for key, value in vars(module).items() if isinstance(value, re.Pattern)}
        used: dict[str, set[str]] = {key: set() for key in compiled}
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                # a pattern handed to a function of ours: `_skip(_MARKERS, ...)` calls `match`
                if isinstance(node, ast.Call):
                    for each in node.args:
                        if isinstance(each, ast.Name) and each.id in used:
                            used[each.id].add("match")
                continue
            owner, method = node.func.value, node.func.attr
            if isinstance(owner, ast.Name) and owner.id in used and method in FUNCTIONS:
                used[owner.id].add(method)
            elif isinstance(owner, ast.Name) and owner.id == "re" and method in FUNCTIONS and node.args:
                literal = node.args[0]
                if isinstance(literal, ast.Constant) and isinstance(literal.value, str):
                    found.append((f"{name}:{node.lineno}", re.compile(literal.value), method))
        found += [
            (f"{name}:{key}", pattern, method)
            for key, pattern in compiled.items()
            for method in sorted(used[key])
            if isinstance(pattern.pattern, str)
        ]
    return found


FOUND = expressions()


def step(pattern: re.Pattern[str], method: str, text: str) -> Callable[[], object]:
    match method:
        case "match" | "fullmatch":
            return lambda: getattr(pattern, method)(text)
        case "search":
            return lambda: pattern.search(text)
        case _:
            return lambda: pattern.sub("", text)


def grows(pattern: re.Pattern[str], method: str) -> str:
    """The first text that takes more than linear time; empty where there is none."""
    for unit in UNITS:
        for start in STARTS:
            for end in ENDS:
                short, long = (step(pattern, method, start + unit * (n // len(unit)) + end) for n in (400, 3_200))
                if superlinear(short, long, 8, quick=0.004):
                    return f"{start!r} + {unit!r} * n + {end!r}"
    return ""


def test_every_expression_is_found():
    places = {where for where, _, _ in FOUND}
    assert len(places) > 60
    assert "guardrail/claims/courtesies.py:_EDGES" in places
    assert "guardrail/actions/rewriting/prose.py:_FINAL_STOP" in places


@pytest.mark.parametrize(
    ("where", "pattern", "method"), FOUND, ids=lambda value: value if isinstance(value, str) else ""
)
def test_takes_linear_time(where, pattern, method):
    assert grows(pattern, method) == ""


def test_the_test_sees_a_quadratic_expression():
    assert grows(re.compile(r"\s+$"), "search")
    assert grows(re.compile(r"^[^\w]+|[^\w]+$"), "sub")
