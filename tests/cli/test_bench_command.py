"""`guardrail bench`, and calibrate, evaluate, tune and a Guard with other scorers than HybridGrad, on a tiny model."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from guardrail import Guard, load_model
from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.cli import runtime
from guardrail.cli.main import app
from guardrail.datasets.questions import data_hash, load_question_rows
from guardrail.errors import CalibratorMismatchError
from guardrail.evaluation.bench_file import load_bench

pytestmark = pytest.mark.xdist_group("bench")
QUICK = ("--max-new-tokens", 6, "--grader", "exact")
THREE = ("--scorers", "g-nll,ln-pe,exgrad", "--samples", 2)


@pytest.fixture(scope="module")
def made(tiny_folder, tiny_data, tiny_heldout, tmp_path_factory):
    """The tiny model, loaded once for all commands, and a folder with the data."""
    folder, local = tmp_path_factory.mktemp("bench"), load_model(str(tiny_folder), device="cpu")
    shutil.copy(tiny_heldout, folder / "heldout.jsonl")
    shutil.copy(tiny_data, folder / "fitted.jsonl")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(runtime, "load", lambda *_: local)

        def run(*arguments):
            result = CliRunner().invoke(app, [str(a) for a in arguments])
            error = result.exception if not isinstance(result.exception, SystemExit) else None
            return SimpleNamespace(code=result.exit_code, out=result.stdout, err=result.stderr, error=error)

        yield SimpleNamespace(folder=folder, run=run, local=local, model=tiny_folder)


@pytest.fixture(scope="module")
def fitted(made):
    """A calibrator of LN-PE with 3 samples."""
    out = made.run("calibrate", "fitted.jsonl", "-o", "lnpe.json", "--scorer", "ln-pe", "--samples", 3, *QUICK)
    assert out.code == 0, out.error
    assert "scorer          ln-pe, samples 3, temperature 1.0" in out.out
    return IsotonicCalibrator.load(made.folder / "lnpe.json")


def test_a_calibrator_of_another_scorer_drives_everything(made, fitted):
    assert (fitted.provenance.scorer, fitted.provenance.profile["samples"]) == ("ln-pe", 3)
    assert fitted.provenance.profile["max_new_tokens"] == 6
    evaluated = made.run("evaluate", "heldout.jsonl", "-c", "lnpe.json", "-p", "observe", "--run", "e.run", "--json")
    assert evaluated.code == 0, evaluated.error
    assert json.loads(evaluated.out)["n"] == 60
    rows = [json.loads(line) for line in (made.folder / "e.run").read_text().splitlines()]
    assert rows[0]["scorers"]["ln-pe"]["options"]["samples"] == 3
    assert all(row["seconds"]["ln-pe"] > 0 for row in rows[1:])

    guard = Guard(model=made.local, calibrator=fitted, calibrator_name="lnpe.json", policy="observe")
    assert (guard.scorer.name, guard.scorer.options) == ("ln-pe", fitted.provenance.profile)
    verdict = guard.answer("What is number 91?")
    of_run = {row["answer"]: row["scores"]["ln-pe"] for row in rows[1:]}
    assert verdict.score.value == pytest.approx(of_run[verdict.attempts[-1].trace.text.strip()], rel=1e-3)
    assert verdict.confidence.p_correct == fitted.predict(verdict.score, verdict.confidence.familiarity).p_correct

    tuned = made.run(
        *("tune", "heldout.jsonl", "-c", "lnpe.json", "-o", "p.yaml", "--max-error", 0.9, "--run", "e.run", "--resume")
    )
    assert tuned.code in (0, 3), tuned.error
    assert "wrong without a guard" in tuned.out

    asked = made.run("ask", "What is number 91?", "-c", "lnpe.json", "-p", "observe", "--json")
    assert asked.code == 0, asked.error
    assert json.loads(asked.out)["attempts"][0]["score"]["name"] == "ln-pe"


def test_what_cannot_be_made_again_or_is_another_run_is_refused(made, fitted):
    text = json.loads((made.folder / "lnpe.json").read_text())
    text["provenance"]["profile"]["top_p"] = 0.5
    del text["digest"]  # an edited file is refused with it
    (made.folder / "odd.json").write_text(json.dumps(text))
    with pytest.raises(
        CalibratorMismatchError, match=r"fitted on the scorer 'ln-pe', which cannot be made from it: .*top_p 0.5"
    ):
        Guard(model=made.local, calibrator=IsotonicCalibrator.load(made.folder / "odd.json"))
    other = made.run("evaluate", "fitted.jsonl", "-c", "lnpe.json")
    assert "90 of these questions were used for calibration" in str(other.error)
    fresh = made.run(
        "calibrate", "fitted.jsonl", "-o", "g.json", "--scorer", "g-nll", "--run", "lnpe.json.run.jsonl", "--resume"
    )
    assert "is another run" in str(fresh.error)


def test_a_bench_is_killed_goes_on_and_says_what_it_found(made):
    command = [
        sys.executable,
        "-m",
        "guardrail.cli",
        "bench",
        "heldout.jsonl",
        "-m",
        made.model,
        "-o",
        "b.json",
        *THREE,
        *QUICK,
    ]
    process = subprocess.Popen([str(a) for a in command], cwd=made.folder, stderr=subprocess.DEVNULL)
    path, deadline = made.folder / "b.json.run.jsonl", time.monotonic() + 150
    while process.poll() is None and time.monotonic() < deadline:
        if path.exists() and path.read_bytes().count(b"\n") > 4:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = path.read_bytes()
    done = before[: before.rfind(b"\n") + 1]
    assert done.count(b"\n") > 4
    arguments = ("bench", "heldout.jsonl", "-o", "b.json", "--table", "b.md", *THREE, *QUICK)
    assert "exists: --resume goes on with it" in str(made.run(*arguments).error)

    out = made.run(*arguments, "--resume")
    assert out.code == 0, out.error
    assert path.read_bytes().startswith(done)
    assert path.read_bytes().count(b"\n") == 61
    told = json.loads((made.folder / "b.json").read_text())
    assert list(told) == [
        *(
            "kind",
            "version",
            "model",
            "data",
            "grader",
            "asking",
            "n",
            "accuracy",
            "scorers",
            "controls",
            "command",
            "created",
            "versions",
        )
    ]
    assert told["data"] == {
        "name": "heldout.jsonl", "hash": data_hash(load_question_rows(made.folder / "heldout.jsonl")), "n": 60,
    }  # fmt: skip
    rows = {row["name"]: row for row in told["scorers"]}
    assert list(rows) == ["g-nll", "ln-pe", "exgrad", "hybridgrad"]
    assert set(rows["ln-pe"]) == {
        *("name", "options", "n", "unscored", "auroc", "aurc", "prr", "difference", "seconds", "memory_mb")
    }
    assert rows["hybridgrad"]["difference"] is None
    assert rows["ln-pe"]["options"]["samples"] == 2
    assert rows["ln-pe"]["seconds"]["median"] > rows["g-nll"]["seconds"]["median"]
    table = (made.folder / "b.md").read_text()
    assert table.count("\n| ") == 6  # a heading, its line, and four scorers
    for text in ("Scorers, highest AUROC first", "hybridgrad", "generation takes", "written to b.json"):
        assert text in out.out

    again = made.run(*arguments, "--resume", "--json")
    figures = json.loads(again.out)
    assert {**figures, "created": 0} == {**told, "created": 0}, "a finished run gives the same figures"


def test_what_a_second_model_is_worth(made, tmp_path):
    pytest.importorskip("matplotlib")
    other = ("--escalate-to", made.model, "--cost-per-call", 1, "--cost-of-second", 4)
    arguments = (
        "bench",
        "heldout.jsonl",
        "-o",
        "x.json",
        "--table",
        "x.md",
        "--scorers",
        "g-nll,exgrad",
        *QUICK,
        *other,
    )
    out = made.run(*arguments, "--limit", 30)
    assert out.code == 0, out.error
    told = json.loads((made.folder / "x.json").read_text())["cascade"]
    assert load_bench(made.folder / "x.json").cascade.n == told["n"] == 30
    assert told["costs"][:2] + told["costs"][-1:] == [1, 1.2, 5]
    # the second is the first itself: nothing is gained, in whatever order
    assert told["first_alone"] == told["second_alone"]
    for curve in told["curves"]:
        assert curve["accuracy"] == pytest.approx([told["first_alone"]["value"]] * 21)
        assert curve["over_random"]["value"] == pytest.approx(0)
    assert [c["kind"] for c in told["curves"]] == ["scorer"] * 3 + ["control"] * 2 + ["oracle"]
    page = (made.folder / "x.md").read_text()
    for text in ("Escalating to", "a random order", "is not shown to be better than a random order"):
        assert text in page
        assert text in out.out

    grown = made.run(*arguments, "--limit", 33, "--resume", "--plot", tmp_path / "curves.png")
    assert grown.code == 0, grown.error
    assert json.loads((made.folder / "x.json").read_text())["cascade"]["n"] == 33
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    for name in ("x.json.run.jsonl", "x.json.run.jsonl.second"):
        assert (made.folder / name).read_bytes().count(b"\n") == 35, "two headers, and no question twice"


def test_a_calibrators_profile_has_a_row_of_its_own(made, fitted):
    out = made.run("calibrate", "fitted.jsonl", "-o", "h.json", *QUICK)
    assert out.code == 0, out.error
    text = json.loads((made.folder / "h.json").read_text())
    text["provenance"]["profile"] |= {"token": -2, "token_source": "given"}
    del text["digest"]
    (made.folder / "h.json").write_text(json.dumps(text))
    for name, row in (("h.json", "hybridgrad (calibrated profile)"), ("lnpe.json", "ln-pe (calibrated options)")):
        out = made.run(
            "bench", "heldout.jsonl", "-c", name, "--scorers", "ln-pe", "--samples", 2, "--limit", 30, "--json"
        )
        assert out.code == 0, out.error
        told = json.loads(out.out)
        assert [r["name"] for r in told["scorers"]] == ["ln-pe", "hybridgrad", row]
        assert (told["asking"]["max_new_tokens"], told["grader"]) == (6, "exact"), "the calibrator's"
    leaked = made.run("bench", "fitted.jsonl", "-c", "h.json")
    assert "90 of these questions were used for calibration" in str(leaked.error)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("bench", "q.jsonl", "--scorers", "g-nll,sarr"), "there is no scorer 'sarr'; did you mean 'sar'?"),
        (("bench", "q.jsonl", "--scorers", ","), "--scorers names none"),
        (("bench", "q.jsonl", "--resume"), "--resume needs --run FILE or --output FILE"),
        (("bench", "q.jsonl", "-o", "no/b.json"), "cannot write 'no/b.json'"),
        (("bench", "q.jsonl", "-o", "b.json", "--table", "b.json"), "must be different files"),
        (("bench", "q.jsonl", "--prompt", "Answer!"), "does not say where the {question} goes"),
        (("bench", "q.jsonl", "--cost-per-call", "1"), "--escalate-to SPEC"),
        (("bench", "q.jsonl", "--plot", "c.png"), "--plot draws the curves of --escalate-to"),
        (("bench", "q.jsonl", "--escalate-to", "m", "--cost-of-second", "inf"), "a finite number"),
        (("bench", "none.jsonl"), "none.jsonl: cannot read it"),
        (("bench", "q.jsonl", "-c", "q.jsonl"), "must be different files"),
        (("calibrate", "q.jsonl", "-o", "c.json", "--scorer", "gnll"), "did you mean 'g-nll'?"),
        (
            ("calibrate", "q.jsonl", "-o", "c.json", "--scorer", "sar", "--unit", "claim"),
            "claims are scored by g-nll or",
        ),
        (
            ("calibrate", "q.jsonl", "-o", "c.json", "--scorer", "sar", "--paper"),
            "--paper is about the profile of hybridgrad",
        ),
        (("calibrate", "q.jsonl", "-o", "c.json", "--scorer", "g-nll", "--samples", "3"), "g-nll draws none"),
        (("calibrate", "q.jsonl", "-o", "c.json", "--samples", "3"), "hybridgrad draws none"),
    ],
)
def test_mistakes_are_found_before_a_model_is_loaded(tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runtime, "load", lambda *_: pytest.fail("a model was loaded"))
    (tmp_path / "q.jsonl").write_text('{"question": "q", "answers": ["a"]}\n')
    result = CliRunner().invoke(app, list(arguments))
    assert says in str(result.exception)
