"""A scorer of another package, 30 lines, installed by its entry point: every part of guardrail takes it as it takes its own."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from guardrail import Guard, IsotonicCalibrator, calibrate, load_model
from guardrail.errors import ScoringError
from guardrail.scoring import registry
from guardrail.scoring.stacked.model import StackedFeature, StackedModel
from guardrail.scoring.stacked.scorer import StackedScorer

ROOT = Path(__file__).parents[2]
PACKAGE = '''
"""How high the characters of an answer stand in Unicode, on average."""

from guardrail.scoring.protocol import RegisteredScorer
from guardrail.types import Score


def ink(text):
    return sum(map(ord, text)) / len(text)


class Ink(RegisteredScorer):
    name = "ink"
    needs = "text"
    unit = "code points"

    def __init__(self, model, *, times=1.0):
        self.model, self.times = model, times

    @property
    def options(self):
        return {"times": self.times}

    def _score(self, ids):
        if not ids:
            return Score.none("no_response_tokens", name=self.name)
        return Score.of(self.name, self.times * ink(self.model.tokenizer.decode(ids)), length=len(ids))

    def score_traces(self, traces):
        return [self._score(trace.response_ids) for trace in traces]

    def score_spans(self, traces, spans):
        return [[self._score(t.response_ids[a:b]) for a, b in parts] for t, parts in zip(traces, spans)]
'''


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder of installed packages that holds it."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "ink_scorer.py").write_text(textwrap.dedent(PACKAGE), encoding="utf-8")
    told = folder / "ink_scorer-1.0.dist-info"
    told.mkdir()
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: ink-scorer\nVersion: 1.0\n", encoding="utf-8")
    (told / "entry_points.txt").write_text("[guardrail.scorers]\nink = ink_scorer:Ink\n", encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def installed(site, monkeypatch):
    monkeypatch.syspath_prepend(site)
    registry._added.cache_clear()
    yield
    registry._added.cache_clear()


@pytest.fixture(scope="module")
def local(tiny_folder):
    return load_model(str(tiny_folder), device="cpu")


def ink(text):
    return sum(map(ord, text)) / len(text)


def claims_of(path, numbers):
    rows = []
    for i in numbers:
        first, second = f"The number {i} is {'even' if i % 3 else 'odd, quite odd'}.", f"It comes after {i - 1}."
        claims = [{"text": first, "correct": i % 2 == 0}, {"text": second, "correct": i % 5 < 2}]
        rows.append({"question": f"What about number {i}?", "answer": f"{first} {second}", "claims": claims})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_it_is_known_by_its_name(local):
    assert registry.ready()[-1] == "ink"
    assert "ink" not in registry.SCORERS
    made = registry.scorer_from("ink", {"times": 2.0}, local)
    assert made.score_traces([local.trace("Who?", "abc")])[0].value == 2 * ink(
        local.tokenizer.decode(local.encode_response("abc"))
    )
    with pytest.raises(ScoringError, match="'ink' has no option 'time'; it has: times"):
        registry.scorer("ink", local, time=1)


def test_it_is_calibrated_and_drives_a_guard(local, tiny_data, tmp_path):
    fit = calibrate(local, tiny_data, output=tmp_path / "c.json", scorer="ink", grader="exact", max_new_tokens=6)
    assert (fit.calibrator.provenance.scorer, fit.calibrator.provenance.scorer_options) == ("ink", {"times": 1.0})
    records = [json.loads(line) for line in (tmp_path / "c.json.run.jsonl").read_text().splitlines()[1:]]
    assert fit.n == len([r for r in records if r["scores"]["ink"] is not None])
    guard = Guard(model=local, calibrator=IsotonicCalibrator.load(tmp_path / "c.json"))
    verdict = guard.answer(records[3]["question"])
    assert (verdict.score.scorer, verdict.score.value) == ("ink", records[3]["scores"]["ink"])
    assert verdict.confidence == guard.calibrator.predict(verdict.score, verdict.confidence.familiarity)
    assert verdict.to_dict()["attempts"][0]["score"]["name"] == "ink"


def test_it_drives_a_policy_of_claims(local, tmp_path):
    data = claims_of(tmp_path / "claims.jsonl", range(30))
    fit = calibrate(local, data, output=tmp_path / "c.json", unit="claim", scorer="ink", prompt="{question}")
    assert (fit.unit, fit.n, fit.answers) == ("claim", 60, 30)
    guard = Guard(model=local, policy="per_claim", claim_calibrator=fit.calibrator)
    verdict = guard.check("What about number 77?", "The number 77 is odd. It comes after 76.")
    assert [claim.score.scorer for claim in verdict.claims] == ["ink"] * 2
    ids = local.encode_response(verdict.answer)
    for claim in verdict.claims:
        assert claim.score.value == ink(local.tokenizer.decode(ids[claim.token_start : claim.token_end]))
        expected = fit.calibrator.predict(claim.score, claim.confidence.familiarity)
        assert claim.confidence.p_correct == expected.p_correct


def test_the_stacked_score_weighs_it(local, tiny_data, tmp_path):
    fit = calibrate(
        local,
        tiny_data,
        output=tmp_path / "c.json",
        scorer="stacked",
        weigh=["ink"],
        grader="exact",
        max_new_tokens=6,
    )
    assert "ink" in fit.stacking.auroc_singles
    assert fit.stacking.model.scorers == {"ink": {"times": 1.0}}
    feature = StackedFeature(name="score[ink]", weight=2.0, quantiles=(0.0, 1000.0))
    stacked = StackedModel(intercept=-1.0, common_words=(), features=(feature,), scorers={"ink": {"times": 2.0}})
    scorer = StackedScorer(local, StackedModel.model_validate(json.loads(json.dumps(stacked.model_dump(mode="json")))))
    trace = local.trace("Who was it?", "Nobody at all.")
    told = ink(local.tokenizer.decode(trace.response_ids))
    assert scorer.score_traces([trace])[0].value == pytest.approx(-1 + 2 * 2 * told / 1000)
    assert scorer.explain(trace) == {"score[ink]": pytest.approx(4 * told / 1000)}
    ends = [(0, 3), (3, len(trace.response_ids))]
    told = [score.value for score in scorer.score_spans([trace], [ends])[0]]
    of_parts = [ink(local.tokenizer.decode(trace.response_ids[a:b])) for a, b in ends]
    np.testing.assert_allclose(told, [-1 + 4 * n / 1000 for n in of_parts])


def test_the_command_line_takes_it(site, tiny_folder, tiny_data, tiny_heldout, tmp_path):
    def run(*arguments):
        path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
        return subprocess.run(
            [sys.executable, "-m", "guardrail.cli", *map(str, arguments), "-m", str(tiny_folder)],
            capture_output=True, text=True, cwd=tmp_path, timeout=200,
            env={**os.environ, "PYTHONPATH": path, "NO_COLOR": "1", "COLUMNS": "100", "CUDA_VISIBLE_DEVICES": ""},
        )  # fmt: skip

    made = run("calibrate", tiny_data, "-o", "c.json", "--scorer", "ink", "--grader", "exact", "--max-new-tokens", 6)
    assert made.returncode == 0, made.stderr
    assert "scorer          ink, times 1.0" in made.stdout
    seen = run("evaluate", tiny_heldout, "-c", "c.json", "--json")
    assert seen.returncode == 0, seen.stderr
    assert json.loads(seen.stdout)["n"] == 60
    compared = run(
        "bench", tiny_heldout, "--scorers", "ink,g-nll", "--grader", "exact", "--max-new-tokens", 6, "-o", "b.json"
    )
    assert compared.returncode == 0, compared.stderr
    assert [row["name"] for row in json.loads((tmp_path / "b.json").read_text())["scorers"]] == [
        "ink",
        "g-nll",
        "hybridgrad",
    ]
    asked = run("ask", "What is number 7?", "-c", "c.json", "--policy", "observe", "--json")
    assert json.loads(asked.stdout)["attempts"][0]["score"]["name"] == "ink"


def test_a_package_that_takes_a_name_of_ours_is_refused(site, monkeypatch):
    names = site / "ink_scorer-1.0.dist-info" / "entry_points.txt"
    before = names.read_text()
    try:
        names.write_text("[guardrail.scorers]\nsar = ink_scorer:Ink\n", encoding="utf-8")
        registry._added.cache_clear()
        with pytest.raises(ScoringError, match="ink-scorer adds a scorer 'sar', and there is one already"):
            registry.registered()
        names.write_text("[guardrail.scorers]\nmissing = ink_scorer:Nothing\n", encoding="utf-8")
        registry._added.cache_clear()
        with pytest.raises(ScoringError, match="'missing' cannot be imported from ink_scorer:Nothing"):
            registry.scorer_class("missing")
    finally:
        names.write_text(before)


def test_no_file_outside_scoring_names_a_scorer():
    """As a string, a class or an attribute. `registry.DEFAULT` names the usual one.

    Contracts: a Score has its number under that name in JSON, and so have telemetry's attributes; the class is public;
    one teacher of `distill` is called so. A policy's condition `consistency` is that scorer's share of the samples. The suite
    of stated confidences compares with the same methods as its paper.
    """
    of_the_suite = ("hybridgrad", "stacked", "p-true", "self-consistency", "VerbalizedScorer")
    numbers_of_the_pass = {"semgrad", "paragrad", "exgrad"}  # have the names of the scorers that read one of them alone
    ours = {*registry.SCORERS, "stacked"}
    names = ours - numbers_of_the_pass - {"inside"}  # an English word; its class is looked for
    classes = {registry.scorer_class(name).__name__ for name in ours}
    contracts = {
        ("guardrail/types/judgement.py", "hybridgrad"),
        ("guardrail/observers/telemetry.py", "hybridgrad"),
        ("guardrail/langchain/metadata.py", "hybridgrad"),
        ("guardrail/__init__.py", "HybridGradScorer"),
        ("guardrail/distillation/settings.py", "hybridgrad"),
        ("guardrail/pipeline/agreement.py", "SelfConsistency"),
        *(("guardrail/evaluation/bench_distillation.py", name) for name in of_the_suite),
    }
    found = set()
    for folder in ("guardrail", "cli"):
        for path in (ROOT / folder).rglob("*.py"):
            place = path.relative_to(ROOT).as_posix()
            if not place.startswith("guardrail/scoring/"):
                tree = ast.parse(path.read_text(encoding="utf-8"))
                said = {name for node in ast.walk(tree) for name in _said(node)}
                found |= {(place, name) for name in said & (names | classes)}
    assert found == contracts


def _said(node):
    """What a node of a program says outright: a string, a name that is imported or read, a field that is declared."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.alias(name=name) | ast.Attribute(attr=name):
            return [name]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
    return []
