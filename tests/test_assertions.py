"""The tests themselves: none of them asserts nothing, so none of them passes whatever the code does; and all are collected.

A test asserts with `assert`, `pytest.raises` and its like, a function called `assert_...`, or a helper that does so: one
that is defined in the same file or imported from the tests, or calls such a helper.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FILES = sorted(TESTS.rglob("test_*.py"))
RAISING = {"raises", "warns", "deprecated_call", "fail"}  # of pytest; they fail by themselves
Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def called(node: ast.AST) -> Iterator[str]:
    """The names of what is called; of a method, or a module's function, its last part."""
    for call in (each for each in ast.walk(node) if isinstance(each, ast.Call)):
        if isinstance(call.func, ast.Name | ast.Attribute):
            yield call.func.id if isinstance(call.func, ast.Name) else call.func.attr


def asserts_itself(function: Function) -> bool:
    """Whether it can fail: an assertion of a constant cannot."""
    asserted = (node for node in ast.walk(function) if isinstance(node, ast.Assert))
    return any(not isinstance(node.test, ast.Constant) for node in asserted) or any(
        name in RAISING or name.startswith("assert_") for name in called(function)
    )


def source_of(module: str, folder: Path) -> Path | None:
    """The file of a module of the tests, or of one beside a test, in its folder."""
    path = (TESTS.parent if module.startswith("tests.") else folder).joinpath(*module.split(".")).with_suffix(".py")
    return path if path.exists() else None


@cache
def helpers(path: Path) -> frozenset[str]:
    """The functions that assert, and may be called in a file: its own and those that it imports from `tests`."""
    tree = tree_of(path)
    known: set[str] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not node.module:
            continue
        for alias in node.names:
            if whole := source_of(f"{node.module}.{alias.name}", path.parent):
                known |= helpers(whole)
            elif (file := source_of(node.module, path.parent)) and alias.name in helpers(file):
                known.add(alias.asname or alias.name)
    own = [function for function in functions(tree) if not function.name.startswith("test")]
    known |= {function.name for function in own if asserts_itself(function)}
    while more := {f.name for f in own if f.name not in known and not known.isdisjoint(called(f))}:
        known |= more
    return frozenset(known)


def asserting_nothing(path: Path) -> list[str]:
    """The tests of a file that assert nothing: `line: name`."""
    known = helpers(path)
    return [
        f"{function.lineno}: {function.name}"
        for function in functions(tree_of(path))
        if function.name.startswith("test_") and not asserts_itself(function) and known.isdisjoint(called(function))
    ]


def module_name(path: Path) -> str:
    """What pytest imports a file as: packages count, other folders do not."""
    parts, folder = [path.stem], path.parent
    while (folder / "__init__.py").exists():
        parts, folder = [folder.name, *parts], folder.parent
    return ".".join(parts)


def test_no_two_files_are_one_module_to_pytest():
    """It would collect the first alone, and end the whole run with an error: after all other tests, beside each other."""
    named: dict[str, list[str]] = {}
    for path in FILES:
        named.setdefault(module_name(path), []).append(str(path.relative_to(TESTS)))
    assert [files for files in named.values() if len(files) > 1] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TESTS)))
def test_every_test_asserts_something(path):
    assert asserting_nothing(path) == []


EMPTY = """
from tests.helpers.marked_claims import judged
def check(x): assert x
def check_all(xs): [check(x) for x in xs]
def shows(x): print(x)
def test_one(): assert 1 + 1 == 2
def test_two(): check(2)
def test_three(): check_all([2])
def test_four():
    with pytest.raises(ValueError): int("x")
def test_five(): np.testing.assert_allclose(1, 1)
class TestSix:
    def test_six(self): shows(6)
def test_seven(): assert True
@given(st.text())
def test_eight(x): judged(x)
async def test_nine(): await other.checked(9)
"""


def test_the_check_finds_those_that_assert_nothing(tmp_path):
    path = tmp_path / "test_empty.py"
    path.write_text(EMPTY)
    found = {line.split()[1] for line in asserting_nothing(path)}
    assert found == {"test_six", "test_seven", "test_eight", "test_nine"}
