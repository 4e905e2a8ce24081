"""Every command of the tutorial, in order, in one folder: on a tiny random model and questions that it gets mostly right."""

from __future__ import annotations

import json
import re
import runpy
import shlex
from pathlib import Path

import pytest

from guardrail import load_model
from guardrail.grading.rules import AliasGrader
from guardrail.runs.prompts import DIRECT
from guardrail.testing import tiny_model, tiny_tokenizer

PAGES = sorted((Path(__file__).parents[2] / "docs" / "tutorial").glob("*.md"))
QUESTIONS = 240
WRONG = 12  # one in so many
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the tutorial asks for: `my-model` and `questions.jsonl`."""
    folder = tmp_path_factory.mktemp("tutorial")
    tiny_model(vocab_size=261).save_pretrained(folder / "my-model")
    tiny_tokenizer().save_pretrained(folder / "my-model")
    local, grader, rows = load_model(str(folder / "my-model"), device="cpu"), AliasGrader(), []
    asked = [f"What is number {i}?" for i in range(2 * QUESTIONS)]
    for start in range(0, len(asked), 40):
        if len(rows) >= QUESTIONS:
            break
        questions = asked[start : start + 40]
        said = local.generate_batch([DIRECT.replace("{question}", q) for q in questions], max_new_tokens=64)
        for question, trace in zip(questions, said, strict=True):
            if len(rows) % WRONG == 0:
                rows.append({"question": question, "answers": ["nothing like it"]})
            elif trace.text.strip() and grader(question, trace.text, [trace.text]):
                rows.append({"question": question, "answers": [trace.text]})
    lines = "".join(json.dumps(row) + "\n" for row in rows[:QUESTIONS])
    (folder / "questions.jsonl").write_text(lines, encoding="utf-8")
    return folder


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_runs(page, folder, command_line, monkeypatch):
    monkeypatch.chdir(folder)
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    commands = [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    assert commands
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "guardrail"
        out = command_line(*arguments)
        assert out.returncode == 0, f"{command}\n{out.stdout}\n{out.stderr}"
    for number, code in enumerate(re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)):
        (folder / f"{page.stem}{number}.py").write_text(code, encoding="utf-8")
        runpy.run_path(str(folder / f"{page.stem}{number}.py"))
