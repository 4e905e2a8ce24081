"""Every text in every value that a command shows is text on a terminal: no escape, no markup, no emoji code acts."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from guardrail.cli import bench_table, claims, doctor, figures, graded, monitoring, render, runtime, sps
from guardrail.cli import report as report_command
from guardrail.evaluation.doctor import CachedModel, Checkup, Device, Extra, Package, Problem, Shipped
from guardrail.grading import AnswerRow
from guardrail.grading.lists import ListGrade
from guardrail.json_text import dumps_for
from guardrail.monitoring.findings import Monitoring
from guardrail.pages import RunReport
from guardrail.policy import Policy
from guardrail.unseen import UNSEEN
from tests.helpers import sample_figures, sample_runs, sample_verdicts
from tests.helpers.filled import filled
from tests.helpers.growth import superlinear
from tests.helpers.sample_profile import profile

ACTS = "\x1b[2J\x1b]0;t\x07\x9b31m\r\x00\u202e\u2066\u200b\u2028\ufeff\U000e0041\ud800\ufff9"
MARKUP = "[bold red]m[/] [/bold] [link=http://x]l[/link] :warning: \\[b] "
PAYLOADS = {"what acts": ACTS, "markup": MARKUP}


@pytest.fixture
def console(monkeypatch):
    """A wide terminal without colours, so that every escape in what it was sent came with a text."""
    made = Console(
        file=io.StringIO(), force_terminal=True, color_system=None, width=4_000, highlight=False,
        emoji=runtime.console()._emoji,
    )  # fmt: skip
    monkeypatch.setattr(runtime, "console", lambda: made)
    return made


def drift(name: str) -> Monitoring:
    """name: of a model and a calibrator in a log; the keys of mappings."""
    return Monitoring(
        "no sign of drift", ("a reason",), ("a note",), 0.05, "answer", 9, 9, 9, 0, {name: 1}, {name: 1}, {name: 1, "b": 2},
        None, None, None, None, None, None, 0, None, (), {}, {name: 0.5}, None, None, (), "log.jsonl", "c.json",
    )  # fmt: skip


def checkup() -> Checkup:
    return Checkup(
        (Package("torch", "2", ">=2"),), (Device("cpu", "a processor", 1),), (CachedModel("m", "hub", "/m", 1),),
        (Extra("plots", "pictures", ("matplotlib",), "pip install x"),),
        (Shipped("c.json", "answer", "hybridgrad", "m", "float32", 9),), None, (Problem("what", "remedy"),),
    )  # fmt: skip


def shown(name: str, value, console: Console, folder: Path, capsys) -> str:
    match name:
        case "doctor":
            doctor._show(value)
        case "report":
            (folder / "page.html").write_text("x")
            report_command._show(value, folder / "page.html")
        case "demo":
            render.demo(console, [("Who?" if value.text else value.text, value)] * 2, 1.0)
        case "claims":
            claims.show(console, value)
        case "ask":
            render.verdict(console, value)
        case "grade":
            graded.show(console, value, 5)
        case "sps":
            sps.show(console, value)
        case "monitor":
            monitoring.show(console, value)
        case "calibrate":
            figures.fit(console, value, Path(ACTS))
        case "recalibrate":
            figures.recalibration(console, value, Path(ACTS))
        case "evaluate":
            figures.assessment(console, value)
        case "tune":
            figures.tuning(console, value, Path(ACTS))
            console.print(Text(figures.unreachable(value) if not value.reached else ""))
        case "bench":
            bench_table.show(console, value)
    return console.file.getvalue() + capsys.readouterr().out


def values(folder: Path, payload: str):
    for verdict in sample_verdicts.ALL.values():
        for name in ("ask", "claims", "demo"):
            yield name, verdict()
    report, run = sample_runs.measured(folder / "run.jsonl", sample_runs.hostile(), [Policy.load("default")])
    yield "report", RunReport(report, run, None, None)
    yield "doctor", checkup()
    yield "sps", profile()
    row = AnswerRow("Who?", "Goethe", ("Goethe",))
    given = {"a": [ListGrade((True,), (payload,), 2)], "b": []}
    why = {"a": {"why": 1}, "b": {}}
    yield "grade", graded.Found((row,), {"a": [True], "b": [False]}, why, (), (), (0,), False, given)
    yield "monitor", drift(payload)
    yield from sample_figures.all_of_them(folder, payload)


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_nothing_that_a_command_shows_acts(payload, console, tmp_path, capsys):
    for name, value in values(tmp_path, payload):
        hostile, texts = (
            (value, 2) if name == "bench" else filled(value, payload)
        )  # its figures go by the scorers' names
        assert texts or name == "tune", name  # which shows numbers, and the name of its file
        out = shown(name, hostile, console, tmp_path, capsys)
        console.file.seek(0)
        console.file.truncate()
        assert not UNSEEN.search(out), (name, UNSEEN.search(out))
        assert "\r" not in out, name
        assert payload != MARKUP or "[bold red]m[/] [/bold]" in out.replace("␣", " ") or name in ("sps", "tune"), (
            name
        )  # it is cut there
        assert payload != MARKUP or "[bold" in out or name == "tune", name
        assert "⚠" not in out, name


def test_a_long_answer_of_any_signs_takes_linear_time(console):
    verdict = sample_verdicts.city()

    def showing(text):
        attempt = replace(verdict.attempts[0], answer=verdict.answer + text)
        attempt = replace(attempt, decision=replace(attempt.decision, explanation=text))
        found = replace(verdict, text=text, attempts=(attempt,))
        return lambda: (render.verdict(console, found), claims.show(console, found))

    for unit in ("\\", "\\\\ ", "[a]", "[", "\\[b]", "a", "\u0301", "a "):
        short, long = (showing(unit * (n // len(unit))) for n in (8_000, 64_000))
        assert not superlinear(short, long, 8, quick=0.1), unit


def test_json_for_a_terminal_holds_nothing_that_acts():
    text = dumps_for(io.StringIO(), {"a": f"{ACTS[:-2]}é日"})
    assert not UNSEEN.search(text)
    assert json.loads(text) == {"a": f"{ACTS[:-2]}é日"}


def test_every_command_with_json_writes_it_for_a_terminal():
    sources = {path: path.read_text(encoding="utf-8") for path in Path(render.__file__).parent.glob("*.py")}
    commands = {path.stem for path, source in sources.items() if "as_json: options.Json" in source}
    assert len(commands) >= 11
    for path, source in sources.items():
        assert not re.search(r"(echo|print)\(\s*json\.dumps", source), path.name
        assert path.stem not in commands or "dumps_for(sys.stdout, " in source, path.name


@pytest.mark.parametrize("unit", ["\\", "[a]"], ids=ascii)
def test_a_long_name_of_any_signs_takes_linear_time(unit, console, tmp_path, capsys):
    def showing(name, value, text):
        hostile, _ = (value, 2) if name == "bench" else filled(value, "" if name in ("doctor", "report") else text)

        def step():
            shown(name, hostile, console, tmp_path, capsys)
            console.file.seek(0)
            console.file.truncate()

        return step

    for name, value in values(tmp_path, "x"):
        short, long = (showing(name, value, unit * n) for n in (1_500, 12_000))
        assert not superlinear(short, long, 8, quick=0.3), name
