"""`guardrail bench --suite distillation`: its figures by hand, and the whole of it on a tiny model."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from guardrail import load_model
from guardrail.calibration.metrics import auroc
from guardrail.cli.main import app
from guardrail.distillation.lessons import invocation_of
from guardrail.errors import CalibrationError, GuardrailError
from guardrail.evaluation.bench import Seconds
from guardrail.evaluation.distillation_figures import method_rows
from guardrail.runs.asking import Asking
from guardrail.stated import FILE, StatedFile, Wording
from guardrail.testing import tiny_model, tiny_tokenizer


def test_the_figures_by_hand():
    p = np.array([0.05, 0.19, 0.2, 0.55, 0.6, 0.61, 0.79, 0.95, 1.0, 0.1])
    right = np.array([False, False, False, True, False, True, True, True, True, False])
    (row, coin), accuracy = method_rows({"a": p, "b": np.full(10, 0.5)}, right, {"a": Seconds(0.2, 0.1, 0.3)})
    assert accuracy.value == 0.5
    assert [(b.value, b.n) if b else None for b in row.bins] == [(0, 3), (0, 1), (1, 1), (2 / 3, 3), (1, 2)]
    assert (row.top.share.value, row.top.accuracy.value) == (0.5, 0.8)
    # 25 pairs: the wrong one in the fourth bin is above one right answer and ties with two
    assert row.binned.value == pytest.approx((25 - 1 - 2 * 0.5) / 25)
    assert row.auroc.value == auroc(1 - p, right) == pytest.approx(24 / 25)
    assert (row.seconds.median, coin.seconds) == (0.2, None)
    assert (coin.binned.value, coin.top.accuracy) == (0.5, None)
    with pytest.raises(CalibrationError, match="at least 5 right and 5 wrong"):
        method_rows({"a": p}, p > 0.9, {})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model, two adapters of it, and two sets of questions of which it "knows" every other one."""
    from peft import LoraConfig, get_peft_model

    out = tmp_path_factory.mktemp("suite")
    model = tiny_model(vocab_size=261, max_position_embeddings=512)
    model.save_pretrained(out / "model")
    tiny_tokenizer().save_pretrained(out / "model")
    local = load_model(str(out / "model"), device="cpu")
    config = LoraConfig(
        task_type="CAUSAL_LM", r=2, target_modules="all-linear", init_lora_weights=False,
        alora_invocation_tokens=list(invocation_of(local, Asking("{question}", None, 6), Wording())),
    )  # fmt: skip
    get_peft_model(model, config).save_pretrained(out / "taught")
    for name, turn in (("taught", "after"), ("same", "same")):
        (out / name).mkdir(exist_ok=True)
        stated = StatedFile(base=str(out / "model"), wording=Wording(turn=turn))
        (out / name / FILE).write_text(stated.model_dump_json())
    for name, first in (("fit", 0), ("held", 60)):
        questions = [f"What is number {i}, and what comes before {i * 7}?" for i in range(first, first + 60)]
        answers = [trace.text for trace in local.generate_batch(questions, max_new_tokens=6)]
        rows = [
            {"question": q, "answers": [a if i % 2 and any(c.isalnum() for c in a) else "Faust"]}
            for i, (q, a) in enumerate(zip(questions, answers, strict=True))
        ]
        (out / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return out


def bench(folder, *more):
    fixed = ["--suite", "distillation", "--model", str(folder / "model"), "--fit", str(folder / "fit.jsonl")]
    asked = ["--prompt", "{question}", "--max-new-tokens", "6", "--samples", "2", "--device", "cpu"]
    return CliRunner().invoke(app, ["bench", str(folder / "held.jsonl"), *fixed, *asked, *more])


def test_the_suite_on_a_tiny_model(folder):
    files = ["-o", str(folder / "b.json"), "--table", str(folder / "b.md"), "--plot", str(folder / "b.png")]
    done = bench(folder, "--adapter", f"mine={folder / 'taught'}", *files)
    assert done.exit_code == 0, done.output
    found = json.loads((folder / "b.json").read_text())
    names = [row["name"] for row in found["methods"]]
    assert names[:-1] == ["mine", "prompting", "lexical", "pik", "p-true", "self-consistency", "hybridgrad"]
    assert names[-1].startswith("stacked")
    for row in found["methods"]:
        counts = [b["n"] for b in row["bins"] if b]
        assert sum(counts) == found["n"]
        hits = sum(b["value"] * b["n"] for b in row["bins"] if b)
        assert hits / found["n"] == pytest.approx(found["accuracy"]["value"])
        assert row["auroc_of_bins"]["low"] <= row["auroc_of_bins"]["value"] <= row["auroc_of_bins"]["high"]
    assert found["methods"][0]["auroc"] != found["methods"][1]["auroc"]  # the adapter is read
    assert "Accuracy by bin" in (folder / "b.md").read_text()
    assert (folder / "b.png").read_bytes().startswith(b"\x89PNG")
    again = bench(folder, "--adapter", f"mine={folder / 'taught'}", *files, "--resume")
    assert again.exit_code == 0, again.output
    assert json.loads((folder / "b.json").read_text())["methods"] == found["methods"]


@pytest.mark.parametrize(
    ("more", "error"),
    [
        (["--adapter", "mine"], "is not NAME=DIR"),
        (["--adapter", "pik=x"], "another row is"),
        (["--adapter", "a={}/same"], "taught with --turn same"),
        (["--adapter", "a={}/model"], "states no confidence"),
        (["--scorers", "g-nll"], "leave --scorers and --calibrator out"),
        (["--fit", "{}/held.jsonl"], "different files"),
    ],
)
def test_what_cannot_be_compared_is_said(folder, more, error):
    done = bench(folder, *(part.replace("{}", str(folder)) for part in more))
    assert isinstance(done.exception, GuardrailError)
    assert error in str(done.exception)


def test_options_of_the_suite_are_refused_without_it():
    done = CliRunner().invoke(app, ["bench", "bundled", "--adapter", "a=b"])
    assert isinstance(done.exception, GuardrailError)
    assert "--adapter is for --suite distillation" in str(done.exception)
