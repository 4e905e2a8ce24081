"""The architecture: every import runs down the floors of the house, and nowhere in a circle.

docs/explanation/architecture.md says what each folder is for.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = {  # from the ground up; a module imports from its own floor and those below it
    "ground": [
        "errors",
        "files",
        "json_text",
        "array_text",
        "types",
        "messages",
        "folding",
        "plain_text",
        "segmentation",
        "languages",
        "waiting",
        "deadlines",
        "unseen",
        "stated",
        "moved",
        "data",
    ],
    "kernels": ["kernels"],
    "model": ["model"],
    "retrieval": ["retrieval"],
    "scoring": ["scoring"],
    "calibration": ["calibration"],
    "decision": ["claims", "policy", "actions", "verification"],
    "pipeline": ["pipeline", "observers", "guard"],
    "questions": ["datasets", "grading"],
    "runs": ["runs"],
    "evaluation": ["evaluation", "monitoring", "distillation"],
    "faces": ["html", "plots", "pages", "langchain", "server", "testing", "__init__", "cli"],
}
RANK = {room: rank for rank, rooms in enumerate(FLOORS.values()) for room in rooms}
SOURCES = {
    ".".join([package, *path.relative_to(ROOT / folder).with_suffix("").parts]).removesuffix(".__init__"): path
    for package, folder in (("guardrail", "guardrail"), ("guardrail.cli", "cli"))
    for path in (ROOT / folder).rglob("*.py")
}


def room(module: str) -> str:
    """The folder, or the single file, at the top of the package that a module belongs to."""
    return module.split(".")[1] if "." in module else "__init__"


def imports(path: Path) -> list[str]:
    """Every guardrail module that a file imports, also inside functions and under TYPE_CHECKING."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [name if name in SOURCES else node.module for name in names]
    return [name for name in found if name.split(".")[0] == "guardrail"]


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The groups of nodes that reach each other (Tarjan's strongly connected components, those of more than one)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = stack.index(node)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


GRAPH = {module: set(imports(path)) - {module} for module, path in SOURCES.items()}


@pytest.mark.parametrize("module", SOURCES)
def test_imports_run_down_the_floors(module):
    for imported in GRAPH[module]:
        assert RANK[room(imported)] <= RANK[room(module)], f"{module} imports {imported}, which is on a higher floor"


def test_no_modules_import_each_other_in_a_circle():
    assert circles(GRAPH) == []


def test_no_rooms_import_each_other_in_a_circle():
    rooms: dict[str, set[str]] = {}
    for module, imported in GRAPH.items():
        rooms.setdefault(room(module), set()).update(room(other) for other in imported)
    assert circles({name: others - {name} for name, others in rooms.items()}) == []


def test_the_test_finds_circles_and_imports():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()}) == [["a", "b", "c"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
    assert "guardrail.scoring.gradients" in GRAPH["guardrail.scoring.hybridgrad"]
    assert len(FLOORS) == 12


def test_the_architecture_page_names_the_floors_and_every_room():
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    listed: dict[str, list[str]] = {}
    floor = ""
    for line in page.split("## The floors\n")[1].split("```text\n")[1].split("```")[0].splitlines():
        if not line.startswith(" "):
            floor, line = line.split(maxsplit=1)
        listed.setdefault(floor, []).append(line.split()[0].removesuffix("/"))
    drawn = {name: sorted(set(rooms) - {"__init__"}) for name, rooms in FLOORS.items()}
    assert {name: sorted(rooms) for name, rooms in listed.items()} == drawn
    assert list(listed) == list(reversed(FLOORS))
    assert {room(module) for module in SOURCES} == set(RANK)


def test_only_one_file_runs_a_backward_pass():
    calls = {
        module
        for module, path in SOURCES.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and (node.attr == "backward" or ast.unparse(node) == "torch.autograd.grad")
    }
    assert calls == {"guardrail.scoring.gradients"}


def test_no_file_is_long_without_a_reason():
    allowed: dict[str, str] = {}
    long = {m: n for m, p in SOURCES.items() if (n := len(p.read_text(encoding="utf-8").splitlines())) > 320}
    assert long.keys() <= allowed.keys(), long
