"""The generated part of the reference: public names, the command line from `--help`, the file formats as JSON Schema.

    python -m tests.docs.reference

writes them; tests/docs/test_reference.py compares them with what this gives.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import typer
from pydantic import TypeAdapter
from typer.testing import CliRunner

import guardrail
import guardrail.langchain
from guardrail.calibration.record import Record
from guardrail.cli.main import app
from guardrail.policy import schema
from tests.docs.verdict_json import VerdictJson

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
WIDTH = "100"
INTRODUCTION = """\
# Command line

What `guardrail COMMAND --help` prints. Exit codes: 0; 1 for a mistake or a failed row; 2 for wrong usage; 3 for a target that
`tune` cannot reach; 4 for drift that `monitor` finds; 130 for Ctrl-C.

Shell completion: [how to set it up](../how-to/shell-completion.md).

This page is generated: `python -m tests.docs.reference`.
"""

PYTHON = """\
# Python

The names of `guardrail.__all__`. Importing `guardrail` imports neither torch nor transformers; each name loads on first use.
What else is public: [the page about that](public.md).
"""
LANGCHAIN = """\
# LangChain

The names of `guardrail.langchain.__all__`. How they are used: [LangChain](../how-to/langchain.md) and
[chains and agents](../how-to/agents.md); what they write: [verdict metadata](metadata.md).
"""
GROUPS = {
    "The guard": ("Guard", "Verdict", "Attempt", "JudgedClaim", "VerdictLog"),
    "What the commands do": (
        *("calibrate", "evaluate", "tune", "tune_claims", "bench", "score", "report", "sps", "monitor", "recalibrate"),
        "Cluster",
    ),
    "Models": ("load_model", "LocalModel", "Trace"),
    "Scores": ("HybridGradScorer", "Profile", "Score"),
    "Calibration": ("IsotonicCalibrator", "Confidence", "LABELS"),
    "Policies": ("Policy", "Decision"),
    "Claims and evidence": ("SentenceClaims", "Claim", "load_retriever", "Evidence"),
    "Errors": (
        "GuardrailError",
        *(name for name in guardrail.__all__ if name.endswith("Error") and name != "GuardrailError"),
    ),
}
"""Public names by what they are about; the page has those of `guardrail.__all__`, and all others under "More"."""


def public_names() -> str:
    known = {name for names in GROUPS.values() for name in names}
    groups = {**GROUPS, "More": tuple(name for name in guardrail.__all__ if name not in known)}
    parts = [PYTHON]
    for title, names in groups.items():
        if there := [name for name in names if name in guardrail.__all__]:
            parts += [f"## {title}\n", *(f"::: guardrail.{name}\n" for name in there)]
    return "\n".join(parts)


def langchain_names() -> str:
    names = {*guardrail.langchain.__all__, "GuardrailMiddleware"}  # absent without the extra `agents`
    return "\n".join([LANGCHAIN, *(f"::: guardrail.langchain.{name}\n" for name in sorted(names))])


def commands(group: typer.core.TyperGroup, *path: str) -> Iterator[tuple[str, ...]]:
    """Every command that does something, as the words that call it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *path, name)
        else:
            yield (*path, name)


def help_of(*command: str) -> str:
    runner = CliRunner(env={"COLUMNS": WIDTH, "NO_COLOR": "1", "TERM": "dumb"})
    result = runner.invoke(app, [*command, "--help"], prog_name="guardrail", catch_exceptions=False)
    return "\n".join(line.rstrip() for line in result.output.strip("\n").splitlines())


def command_line() -> str:
    parts = [INTRODUCTION]
    for command in [(), *commands(typer.main.get_command(app))]:
        title = " ".join(("guardrail", *command))
        parts.append(f"## {title}\n\n```text\n{help_of(*command)}\n```\n")
    return "\n".join(parts)


def schemas() -> dict[str, dict[str, Any]]:
    return {
        "policy": schema.json_schema(),
        "calibrator": Record.model_json_schema(),
        "verdict": TypeAdapter(VerdictJson).json_schema(),
    }


@cache
def generated() -> dict[Path, str]:
    """File -> its text."""
    found = {
        REFERENCE / "python.md": public_names(),
        REFERENCE / "langchain.md": langchain_names(),
        REFERENCE / "cli.md": command_line(),
    }
    for name, found_schema in schemas().items():
        about = {"$schema": "https://json-schema.org/draft/2020-12/schema", **found_schema}
        found[REFERENCE / "schemas" / f"{name}.json"] = json.dumps(about, indent=1, ensure_ascii=False) + "\n"
    return found


if __name__ == "__main__":
    for file, text in generated().items():
        file.write_text(text, encoding="utf-8")
