"""`guardrail tune` on a tiny model: a policy with its proof, or exit code 3."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from guardrail import Guard, load_model
from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.risk import plan_from, upper_bound
from guardrail.cli import runtime
from guardrail.cli.main import app
from guardrail.datasets.questions import data_hash, load_question_rows
from guardrail.errors import CalibratorMismatchError
from guardrail.policy import Policy
from guardrail.types import Score

pytestmark = pytest.mark.xdist_group("tune")  # one run file, in the order of the tests


@pytest.fixture(scope="module")
def made(tiny_folder, tiny_data, tiny_heldout, tmp_path_factory):
    """The tiny model, loaded once for all commands; a folder with two calibrators, the data and a finished run."""
    folder, local = tmp_path_factory.mktemp("tune"), load_model(str(tiny_folder), device="cpu")
    shutil.copy(tiny_heldout, folder / "heldout.jsonl")
    shutil.copy(tiny_data, folder / "fitted.jsonl")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(runtime, "load", lambda *_: local)

        def run(*arguments):
            result = CliRunner().invoke(app, [str(a) for a in arguments])
            error = result.exception if not isinstance(result.exception, SystemExit) else None
            return SimpleNamespace(code=result.exit_code, out=result.stdout, err=result.stderr, error=error)

        for name, limit in (("c.json", 90), ("d.json", 80)):
            fitted = run(
                "calibrate", "fitted.jsonl", "-o", name, "--grader", "exact", "--max-new-tokens", 6, "--limit", limit
            )
            assert fitted.code == 0, fitted.error
        yield SimpleNamespace(folder=folder, run=run, local=local)


def tune(made, *arguments, data="heldout.jsonl"):
    return made.run("tune", data, "-c", "c.json", "-o", "p.yaml", "--run", "t.run", *arguments)


def test_a_target_out_of_reach_has_exit_code_3_and_no_file(made, process, tiny_folder):
    """In a real process, which leaves the run that the other tests use again."""
    files = [f"{option}={made.folder / name}" for option, name in
             (("--calibrator", "c.json"), ("--output", "p.yaml"), ("--run", "t.run"))]  # fmt: skip
    out = process("tune", made.folder / "heldout.jsonl", *files, "-m", tiny_folder, "--max-error", "0.05")
    assert out.returncode == 3, out.stderr
    last = out.stderr.splitlines()[-1]
    assert last.startswith(
        "unreachable: no threshold shows at most 0.05 wrong among answered questions with confidence 0.95;"
    )
    assert "the best that is shown is" in last
    assert "take more questions; nothing is written" in last
    assert "Thresholds tested for at most 0.05 wrong among answered" in out.stdout
    assert not (made.folder / "p.yaml").exists()


def test_the_proof_is_about_what_the_policy_does(made):
    path = made.folder / "p.yaml"
    tune(made, "--max-error", "0.9", "--resume")  # whatever ran before, the run is there now
    assert "t.run exists: --resume goes on with it" in str(tune(made, "--max-error", "0.9").error)
    reached = tune(made, "--max-error", "0.9", "--resume", "--json")
    assert reached.code == 0, reached.error
    found = json.loads(reached.out)
    proof = Policy.load(path).proof
    fitted = IsotonicCalibrator.load(made.folder / "c.json")
    assert (proof.calibrator, proof.calibrator_sha256) == ("c.json", fitted.digest)
    assert proof.data == data_hash(load_question_rows(made.folder / "heldout.jsonl"))
    assert (proof.questions, proof.grader) == (60, "exact")
    assert proof.answered.threshold in plan_from(fitted.blocks).thresholds
    assert proof.answered.bound == upper_bound(proof.answered.errors, proof.answered.n, proof.answered.level) <= 0.9
    assert found["reached"] is True
    assert found["answered"]["chosen"]["threshold"] == proof.answered.threshold

    evaluated = made.run(
        "evaluate", "heldout.jsonl", "-c", "c.json", "-p", "p.yaml", "--run", "t.run", "--resume", "--json"
    )
    assert evaluated.code == 0, evaluated.error
    (outcome,) = json.loads(evaluated.out)["policies"]
    assert outcome["actions"]["answer"] == proof.answered.n, "the policy answers exactly what the proof counted"
    assert outcome["actions"]["abstain"] == 60 - proof.answered.n
    assert outcome["error"]["value"] == proof.answered.errors / proof.answered.n

    other = made.run("evaluate", "heldout.jsonl", "-c", "d.json", "-p", "p.yaml")
    assert isinstance(other.error, CalibratorMismatchError)
    guard = Guard(model=made.local, calibrator=fitted, policy=path)
    assert guard.answer("What is number 4?").policy == "tuned"
    with pytest.raises(CalibratorMismatchError, match=r"was tuned with the calibrator c\.json"):
        Guard(model=made.local, calibrator=IsotonicCalibrator.load(made.folder / "d.json"), policy=path)

    before = path.read_bytes()
    kept = tune(made, "--max-error", "0.05", "--resume", "--json")
    assert kept.code == 3
    assert json.loads(kept.out)["reached"] is False
    assert kept.err.splitlines()[-1].endswith("p.yaml is left as it was")
    assert path.read_bytes() == before


def test_two_promises_share_the_budget(made):
    hedged = tune(made, "--max-error", "0.9", "--hedge-max-error", "0.95", "--resume")
    assert hedged.code == 0, hedged.error
    assert "Thresholds tested for at most 0.95 wrong among shown" in hedged.out
    proof = Policy.load(made.folder / "p.yaml").proof
    promises = [p for p in (proof.answered, proof.shown) if p]
    assert sum(p.level for p in promises) <= 0.05 * (1 + 1e-9)
    assert ("no answer is hedged" in hedged.out) == (proof.shown is None)


def test_the_calibrators_own_questions_are_refused(made):
    leaked = tune(made, "--max-error", "0.9", "--resume", data="fitted.jsonl")
    assert "90 of these questions were used for calibration" in str(leaked.error)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--max-error", "0"), "--max-error is 0; it must lie between 0 and 1, ends excluded"),
        (("--max-error", "0.1", "--confidence", "1"), "--confidence is 1"),
        (("--max-error", "0.3", "--hedge-max-error", "0.2"), "--hedge-max-error is 0.2; it must lie between --max-error (0.3)"),
        (("--max-error", "0.1", "-o", "."), "is a folder; give a file"),
        (("--max-error", "0.1", "-o", "no/p.yaml"), "there is no folder 'no'"),
        (("--max-error", "0.1", "--run", "q.jsonl"), "must be different files"),
        (("--max-error", "0.1", "-c", "q.jsonl"), "must be different files"),
        (("--max-error", "0.1", "-c", "none.json"), "none.json: cannot read the calibrator"),
    ],
)  # fmt: skip
def test_mistakes_are_found_before_a_model_is_loaded(tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runtime, "load", lambda *_: pytest.fail("a model was loaded"))
    (tmp_path / "q.jsonl").write_text('{"question": "q", "answers": ["a"]}\n')
    result = CliRunner().invoke(app, ["tune", "q.jsonl", "-o", "p.yaml", *arguments])
    assert says in str(result.exception)


def test_a_policy_abstains_on_nothing_known():
    """A guard's abstention does not hang on the proof: an answer without a score is withheld first."""
    from guardrail.policy.tuned import rules_of
    from guardrail.types import Confidence

    assert rules_of(0.5)[0]["when"] == {"unscored": True}
    text = "version: 1\nname: t\nrules:\n" + "".join(f"- {json.dumps(rule)}\n" for rule in rules_of(0.5, 0.2))
    decided = Policy.from_text(text, "t.yaml").decide(Confidence.none("not_finite"), Score.none("not_finite"))
    assert (decided.action, decided.rule) == ("abstain", "unscored")
