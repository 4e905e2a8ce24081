"""`guardrail report` on run files made from numbers: a page, its figures as JSON, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from guardrail.cli.main import app
from guardrail.errors import CalibratorMismatchError, DataError, PolicyError
from tests.helpers import sample_runs as s


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    s.calibrator().save("c.json")
    s.write(Path("run.jsonl"), s.records(120))
    Path("bench.json").write_text(json.dumps(s.bench()))

    def run(*arguments):
        result = CliRunner().invoke(app, ["report", *arguments])
        error = result.exception if not isinstance(result.exception, SystemExit) else None
        return SimpleNamespace(code=result.exit_code, out=result.stdout, error=error)

    return run


def test_a_page_and_a_summary(made):
    out = made(
        "run.jsonl",
        "-o",
        "r.html",
        "-c",
        "c.json",
        "-p",
        "default",
        "--bench",
        "bench.json",
        "--title",
        "Our <b>bot</b>",
    )
    assert out.code == 0, out.error
    said = " ".join(out.out.replace("\u00a0", " ").split())
    assert "120 questions, answered greedily and graded by the rule 'exact'" in said
    assert "default: Of 120 questions:" in said
    assert "note: The comparison of scorers is on other data" in said
    assert "written to r.html" in said
    page = Path("r.html").read_text(encoding="utf-8")
    assert '<h1 dir="auto">Our &lt;b&gt;bot&lt;/b&gt;</h1>' in page
    assert "Scorers compared" in page


def test_the_figures_as_json(made):
    out = made("run.jsonl", "-o", "r.html", "-c", "c.json", "-p", "default", "--json")
    found = json.loads(out.out)
    assert (found["n"], found["unscored"], found["grader"]) == (120, 0, "exact")
    assert found["auroc"]["low"] <= found["auroc"]["value"] <= found["auroc"]["high"]
    assert sum(found["policies"][0]["actions"].values()) == 120


@pytest.mark.parametrize(
    ("arguments", "kind", "says"),
    [
        (("none.jsonl", "-o", "r.html", "-c", "c.json"), DataError, "none.jsonl"),
        (("c.json", "-o", "r.html", "-c", "c.json"), DataError, "c.json"),
        (("run.jsonl", "-o", "run.jsonl", "-c", "c.json"), DataError, "is one of the inputs"),
        (("run.jsonl", "-o", ".", "-c", "c.json"), DataError, "is a folder"),
        (("run.jsonl", "-o", "no/r.html", "-c", "c.json"), DataError, "there is no folder 'no'"),
        (("run.jsonl", "-o", "r.html", "-c", "c.json", "-p", "defautl"), PolicyError, "did you mean 'default'"),
        (("run.jsonl", "-o", "r.html", "-c", "c.json", "--bench", "c.json"), DataError, "not the result of a bench"),
        (("run.jsonl", "-o", "r.html", "-c", "c.json", "--grader", "guess"), DataError, "no grader 'guess'"),
        (("run.jsonl", "-o", "r.html", "-c", "c.json", "--bench", "other.json"), DataError, "is about another model"),
        (("run.jsonl", "-o", "r.html", "-c", "leak.json"), DataError, "used for calibration"),
        (("other.jsonl", "-o", "r.html", "-c", "c.json"), CalibratorMismatchError, "another model"),
        (("run.jsonl", "-o", "r.html"), Exception, "no calibrator is shipped for the model of run.jsonl"),
        (("empty.jsonl", "-o", "r.html", "-c", "c.json"), DataError, "the run has no answers yet"),
    ],
)  # fmt: skip
def test_what_is_refused_leaves_no_page(made, arguments, kind, says):
    other = {**s.MODEL, "weights": "f" * 64}
    Path("other.json").write_text(json.dumps(s.bench(model=other)))
    s.write(Path("other.jsonl"), s.records(40), model=other)
    s.write(Path("empty.jsonl"), [])
    s.calibrator(questions=["What is number 3?"]).save("leak.json")
    out = made(*arguments)
    assert isinstance(out.error, kind)
    assert says in str(out.error)
    assert not Path("r.html").exists()
