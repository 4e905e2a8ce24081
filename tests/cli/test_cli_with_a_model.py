"""The commands on a tiny model on disk, in real processes: files in, files out, killed and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def calibrator(tiny_folder, tiny_data, tmp_path_factory):
    """A calibrator of the tiny model, made by the command."""
    path = tmp_path_factory.mktemp("calibrator") / "calibrator.json"
    out = subprocess.run(
        [sys.executable, "-m", "guardrail.cli", "calibrate", tiny_data, "-o", path, "-m", tiny_folder, "--grader", "exact",
         "--max-new-tokens", "6"],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1"},
    )  # fmt: skip
    assert out.returncode == 0, out.stderr
    return path, out.stdout


def test_calibrate_reports_what_it_did(calibrator):
    path, report = calibrator
    for line in ("answers scored", "accuracy", "AUROC", "ECE before", "ECE after", "Reliability", "profile", "token",
                 "questions", "What each policy would have done", "guardrail tune OTHER.jsonl"):  # fmt: skip
        assert line in report
    made = json.loads(path.read_text())
    assert made["provenance"]["grader"] == "exact"
    assert made["provenance"]["command"].startswith("guardrail calibrate")
    assert made["n"] == made["provenance"]["n"]


def test_killed_and_resumed_is_the_same_as_never_stopped(calibrator, tiny_folder, tiny_data, tmp_path):
    path = tmp_path / "c.json"
    run = tmp_path / "c.json.run.jsonl"
    command = [sys.executable, "-m", "guardrail.cli", "calibrate", str(tiny_data), "-o", str(path), "-m", str(tiny_folder),
               "--grader", "exact", "--max-new-tokens", "6", "--batch-size", "2", "--no-cache"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (run.exists() and run.read_bytes().count(b"\n") > 8):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = run.read_bytes().count(b"\n") - 1
    assert 8 <= kept < 90, "the test must stop it in the middle"
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 1
    assert "--resume goes on with it" in again.stderr
    resumed = subprocess.run([*command, "--resume"], capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr
    keys = [row["key"] for row in rows(run)[1:]]
    assert len(keys) == len(set(keys)) == 90
    one, two = json.loads(path.read_text()), json.loads(calibrator[0].read_text())
    assert [b["n_correct"] for b in one["blocks"]] == [b["n_correct"] for b in two["blocks"]]
    assert [b["score"] for b in one["blocks"]] == pytest.approx([b["score"] for b in two["blocks"]], rel=1e-3)


def test_evaluate(cli, calibrator, tiny_folder, tiny_data, tiny_heldout, tmp_path):
    same = cli("evaluate", tiny_data, "-c", calibrator[0], "-m", tiny_folder)
    assert same.returncode == 1
    assert "90 of these questions were used for calibration" in same.stderr
    out = cli("evaluate", tiny_heldout, "-c", calibrator[0], "-m", tiny_folder, "--json", "--run", "e.run")
    assert out.returncode == 0, out.stderr
    result = json.loads(out.stdout)
    for metric in ("accuracy", "auroc", "aurc", "brier", "ece"):
        assert result[metric]["low"] <= result[metric]["value"] <= result[metric]["high"]
    assert {p["policy"] for p in result["policies"]} == {"default", "observe", "retrieve_first", "strict"}
    assert all(sum(p["actions"].values()) == result["n"] == 60 for p in result["policies"])
    resumed = cli("evaluate", tiny_heldout, "-c", calibrator[0], "-m", tiny_folder, "--run", "e.run", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert f"AUROC      {result['auroc']['value']:.3f}" in resumed.stdout
    assert "What each policy would have done" in resumed.stdout


def test_ask_json_is_the_contract(process, calibrator, tiny_folder):
    out = process("ask", "What is number 4?", "-m", tiny_folder, "-c", calibrator[0], "--max-new-tokens", "6", "--json")
    assert out.returncode == 0, out.stderr
    answer = json.loads(out.stdout)
    assert answer.keys() >= {
        "text", "answer", "action", "rule", "explanation", "confidence", "label", "score", "evidence", "timing_ms",
        "model", "calibrator", "policy",
    }  # fmt: skip
    assert answer["score"].keys() >= {"hybridgrad", "semgrad", "paragrad", "entropy", "nll", "length"}
    assert answer["timing_ms"].keys() >= {"generate", "score", "decide"}
    assert (answer["policy"], answer["calibrator"]) == ("default", str(calibrator[0]))


def test_ask_without_a_calibrator_says_which_command_makes_one(cli, tiny_folder):
    out = cli("ask", "hi", "-m", tiny_folder)
    assert out.returncode == 1
    assert "guardrail calibrate DATA.jsonl -o calibrator.json --model" in out.stderr.splitlines()[-1]
    observed = cli("ask", "hi", "-m", tiny_folder, "-p", "observe", "--max-new-tokens", "4", "--json")
    assert observed.returncode == 0, observed.stderr
    assert json.loads(observed.stdout)["confidence"] is None


def test_ask_gives_up_in_time(cli, tiny_folder):
    asked = ("ask", "hi", "-m", tiny_folder, "-p", "observe", "--max-new-tokens", "4")
    out = cli(*asked, "--timeout", "1e-9")
    assert out.returncode == 1
    assert "there was no verdict within the timeout of 1e-09 s" in out.stderr
    assert cli(*asked, "--timeout", "600").returncode == 0


def test_another_models_calibrator_is_refused(process, calibrator, tmp_path):
    from guardrail.testing import tiny_model, tiny_tokenizer

    other = tmp_path / "other-model"
    tiny_model(vocab_size=261, seed=1).save_pretrained(other)
    tiny_tokenizer().save_pretrained(other)
    out = process("ask", "hi", "-m", other, "-c", calibrator[0])
    assert out.returncode == 1
    assert "was fitted on another set-up: model weights" in out.stderr.splitlines()[-1]
    assert "guardrail calibrate" in out.stderr.splitlines()[-1]


def test_score_keeps_rows_and_order(cli, tiny_folder, tmp_path):
    given = [
        {"id": 1, "prompt": "Hi", "response": "Hello", "extra": {"a": [1]}},
        {
            "id": 2,
            "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],
            "response": "yes",
        },
        {"id": 3, "prompt": "Hi"},
        {"id": 4, "prompt": "Hi", "response": ""},
        {"id": 5, "prompt": "x" * 400, "response": "long"},
        {"id": 6, "prompt": "Hi", "messages": [], "response": "both"},
        {"id": 8, "prompt": "Hi", "score": 0.5},
        {"id": 7, "prompt": "Höflich 你好 🙂", "response": "🙂", "error": None},
    ]
    lines = [json.dumps(row) for row in given]
    lines.insert(3, "not json")
    (tmp_path / "in.jsonl").write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    out = cli("score", "in.jsonl", "-o", "out.jsonl", "-m", tiny_folder, "--batch-size", "3")
    assert out.returncode == 1
    assert out.stderr.splitlines()[-1] == (
        "error: 4 of 9 rows could not be scored; each has `error` and `line` in the output"
    )
    done = rows(tmp_path / "out.jsonl")
    assert [row.get("id") for row in done] == [1, 2, 3, None, 4, 5, 6, 8, 7]
    for row, original in zip([done[0], done[1], done[-1]], [given[0], given[1], given[-1]], strict=True):
        assert row["score"]["hybridgrad"] > 0
        assert {k: v for k, v in row.items() if k != "score"} == original
    assert (done[2]["line"], done[3]["line"], done[6]["line"]) == (3, 4, 7)
    assert "no `response`" in done[2]["error"]
    assert "not JSON" in done[3]["error"]
    assert done[4]["score"]["unscored"] == "empty_answer"
    assert done[5]["score"]["unscored"] == "prompt_too_long"
    assert "either `messages` or `prompt`" in done[6]["error"]


def test_score_streams_from_stdin_to_stdout(process, tiny_folder):
    line = json.dumps({"prompt": "Hi", "response": "Hello"})
    out = process("score", "-", "-m", tiny_folder, stdin=f"{line}\n{line}\n")
    assert out.returncode == 0, out.stderr
    one, two = map(json.loads, out.stdout.splitlines())
    assert one["score"]["hybridgrad"] == pytest.approx(two["score"]["hybridgrad"], rel=1e-5)


def test_score_will_not_write_over_its_input(cli, tmp_path, tiny_folder):
    path = tmp_path / "in.jsonl"
    path.write_text('{"prompt": "Hi", "response": "Hello"}\n')
    out = cli("score", "in.jsonl", "-o", "./in.jsonl", "-m", tiny_folder)
    assert out.returncode == 1
    assert "is the input" in out.stderr
    assert path.read_text() == '{"prompt": "Hi", "response": "Hello"}\n'


def test_model_inspect(cli, tiny_folder):
    out = cli("model", "inspect", tiny_folder, "--json")
    assert out.returncode == 0, out.stderr
    facts = json.loads(out.stdout)
    assert (facts["architecture"], facts["layers"], facts["band"]) == ("LlamaForCausalLM", 4, "h(2) to h(3)")
    assert facts["semantic_token"]["text"] == "<|im_start|>"
    assert facts["head"] == "linear"
    assert len(facts["chat_template_hash"]) == 64


def test_a_model_without_a_template(cli, tmp_path):
    from guardrail.testing import tiny_model, tiny_tokenizer

    folder = tmp_path / "base-model"
    tiny_model(vocab_size=261).save_pretrained(folder)
    tiny_tokenizer(chat_template=None).save_pretrained(folder)
    out = cli("ask", "hi", "-m", folder, "-p", "observe")
    assert out.returncode == 1
    assert "give one with --chat-template FILE" in out.stderr.splitlines()[-1]
    (tmp_path / "t.jinja").write_text(
        "{% for m in messages %}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}>{% endif %}"
    )
    fixed = cli("ask", "hi", "-m", folder, "-p", "observe", "--chat-template", "t.jinja", "--max-new-tokens", "3")
    assert fixed.returncode == 0, fixed.stderr
