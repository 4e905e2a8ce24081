"""Imports run one way: a module may import its own layer and those above it in this list, never those below."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = [
    ["guardrail.errors"],
    ["guardrail.files"],
    ["guardrail.types"],
    ["guardrail.messages"],
    ["guardrail.data"],
    ["guardrail.model"],
    ["guardrail.scoring"],
    ["guardrail.calibration"],
    ["guardrail.claims"],
    ["guardrail.policy"],
    ["guardrail.actions"],
    ["guardrail.scoring.baselines"],  # some compare answers, by the embeddings of actions
    ["guardrail.verification"],
    ["guardrail.calibrated"],
    ["guardrail.claim_stage"],
    ["guardrail.observation"],
    ["guardrail.telemetry"],
    ["guardrail.verdict_log"],
    ["guardrail.case"],
    ["guardrail.claim_stream"],
    ["guardrail.judge"],
    ["guardrail.guard"],
    ["guardrail.evaluation"],
    ["guardrail.monitoring"],
    ["guardrail.html"],
    ["guardrail.plots"],
    ["guardrail.langchain"],
    ["guardrail.testing"],
    ["guardrail"],  # the package's public names
    ["guardrail.cli"],
]
SOURCES = {
    ".".join([package, *path.relative_to(ROOT / folder).with_suffix("").parts]).removesuffix(".__init__"): path
    for package, folder in (("guardrail", "guardrail"), ("guardrail.cli", "cli"))
    for path in (ROOT / folder).rglob("*.py")
}


def layer(module: str) -> int:
    matches = [
        (len(name), index)
        for index, names in enumerate(LAYERS)
        for name in names
        if module == name or (module.startswith(f"{name}.") and name != "guardrail")
    ]
    assert matches, f"{module} is in no layer; add it to LAYERS"
    return max(matches)[1]


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


@pytest.mark.parametrize("module", SOURCES)
def test_imports_run_one_way(module):
    for imported in imports(SOURCES[module]):
        assert layer(imported) <= layer(module), f"{module} imports {imported}, which is downstream of it"


def test_the_test_sees_the_imports():
    assert "guardrail.scoring.gradients" in imports(SOURCES["guardrail.scoring.hybridgrad"])
    assert layer("guardrail.guard") > layer("guardrail.policy.schema") > layer("guardrail.scoring.head")


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
