"""`guardrail distill` as a command: the quick trial, a wording of one's own, and options that would do nothing."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from guardrail import load_model
from guardrail.cli.main import app
from guardrail.distillation.settings import only_for_samples
from guardrail.errors import DataError
from guardrail.scoring.baselines.verbalized import VerbalizedScorer
from guardrail.testing import tiny_model, tiny_tokenizer


@pytest.fixture
def known(tmp_path):
    """A tiny model's folder, and 150 questions of which it "knows" every other one."""
    tiny_model(vocab_size=261, max_position_embeddings=512).save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    questions = [f"What is number {i}, and what comes before {i * 7}?" for i in range(150)]
    traces = load_model(str(tmp_path / "model"), device="cpu").generate_batch(questions, max_new_tokens=4)
    told = [t.text if i % 2 and any(c.isalnum() for c in t.text) else "Faust" for i, t in enumerate(traces)]
    rows = [json.dumps({"question": q, "answers": [a]}) for q, a in zip(questions, told, strict=True)]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    return tmp_path


def test_quick_makes_an_adapter_that_says_what_the_wording_file_has(known):
    (known / "wording.yaml").write_text("labels: [unsure, sure]\nquestion: Sure or unsure?\n")
    asked = ["distill", str(known / "rows.jsonl"), "-o", str(known / "out"), "--model", str(known / "model")]
    asked += ["--teacher", "labels", "--quick", "--rank", "2", "--wording", str(known / "wording.yaml")]
    asked += ["--prompt", "{question}", "--max-new-tokens", "4", "--no-cache", "--device", "cpu"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    record = json.loads((known / "out" / "distillation.json").read_text())
    assert len((known / "out" / "samples.run.jsonl").read_text().splitlines()) == 1 + 120
    assert record["training"]["epochs"] == 1
    local = load_model(str(known / "out"), device="cpu")
    assert local.wording.labels == ("unsure", "sure")
    assert 0.25 < VerbalizedScorer(local).score_traces([local.trace("Who?", "Goethe")])[0].value < 0.75


@pytest.mark.parametrize(
    ("teacher", "given", "said"),
    [
        ("labels", {"samples": 4}, "--teacher labels makes nothing of --samples; leave that out"),
        ("labels", {"wrong_per_question": 2}, "makes nothing of --wrong-per-question"),
        ("hybridgrad", {"equivalence": "embedding", "chosen": "none"}, "nothing of --equivalence, --shares"),
    ],
)
def test_options_that_would_do_nothing_are_refused(teacher, given, said):
    with pytest.raises(DataError, match=said):
        only_for_samples(teacher, **given)
    only_for_samples("sampling", **given)


def test_the_command_refuses_them_in_a_line(tmp_path):
    asked = ["distill", "bundled", "-o", str(tmp_path / "out"), "--teacher", "labels", "--temperature", "0.5"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code != 0
    assert "--temperature" in done.output + str(done.exception)
    assert not (tmp_path / "out").exists()
