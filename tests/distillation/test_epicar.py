"""EpiCaR on a tiny model: right answers are learnt, wrong ones only doubted, and a second round goes on from the first."""

from __future__ import annotations

import json

import pytest

from guardrail import load_model
from guardrail.distillation.candidates import Candidate
from guardrail.distillation.distill import distill
from guardrail.distillation.lessons import lessons_of
from guardrail.distillation.settings import Training
from guardrail.distillation.targets import self_evaluations
from guardrail.errors import DataError
from guardrail.runs.asking import Asking
from guardrail.stated import Wording
from guardrail.testing import tiny_local_model, tiny_model, tiny_tokenizer

SAME = Wording(turn="same")
CANDIDATES = [Candidate("Who?", "Goethe", True, 1.0), Candidate("Who else?", "Marlowe", False, 1.0)]


def test_right_answers_have_the_highest_label_and_wrong_ones_the_lowest():
    targets, teaching = self_evaluations(CANDIDATES, SAME)
    assert [(t.bin, t.right, t.probability) for t in targets] == [(4, True, 1.0), (0, False, 0.0)]
    assert (teaching.bins, teaching.right, teaching.ece) == ((1, 0, 0, 0, 1), 1, None)


def test_a_wrong_answer_is_read_and_not_learnt():
    local = tiny_local_model(vocab_size=261)
    right, wrong = lessons_of(
        local, self_evaluations(CANDIDATES, SAME)[0], Asking("{question}"), SAME, wrong_answers=False
    )
    assert right.given == 0
    assert local.tokenizer.decode(right.reply).startswith("Goethe (with very high confidence)")
    assert local.tokenizer.decode(wrong.reply[: wrong.given]) == "Marlowe"
    assert local.tokenizer.decode(wrong.reply[wrong.given :]).startswith(" (with very low confidence)")
    plain = lessons_of(local, self_evaluations(CANDIDATES, SAME)[0], Asking("{question}"), SAME)
    assert [(one.reply, one.given) for one in plain] == [(right.reply, 0), (wrong.reply, 0)]


@pytest.fixture
def known(tmp_path):
    """A folder with a tiny model, and questions of which it "knows" every other one."""
    tiny_model(vocab_size=261, max_position_embeddings=512).save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    local = load_model(str(tmp_path / "model"), device="cpu")
    questions = [f"What is number {i}, and what comes before {i * 7}?" for i in range(40)]
    answers = [trace.text for trace in local.generate_batch(questions, max_new_tokens=6)]
    rows = [
        {"question": q, "answers": [a if i % 2 and any(c.isalnum() for c in a) else "Faust"]}
        for i, (q, a) in enumerate(zip(questions, answers, strict=True))
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_a_second_round_learns_the_answers_of_the_first(known):
    asked = {
        "teacher": "labels",
        "turn": "same",
        "objective": "epicar",
        "prompt": "{question}",
        "max_new_tokens": 6,
        "cache": False,
        "training": Training(epochs=2, batch_size=8, learning_rate=1e-2, rank=8),
    }
    base, rows = str(known / "model"), known / "rows.jsonl"
    first = distill(base, rows, known / "first", **asked)
    assert first.teaching.right >= 5
    targets = [json.loads(line) for line in (known / "first" / "targets.jsonl").read_text().splitlines()]
    assert {(t["right"], t["label"]) for t in targets} == {(True, "very high"), (False, "very low")}
    assert "| objective | epicar |" in (known / "first" / "README.md").read_text()
    taught = load_model(str(known / "first"), device="cpu")
    assert taught.wording.turn == "same"

    second = distill(base, rows, known / "second", answers_from=str(known / "first"), until="sample", **asked)
    assert second.stage == "sample"
    header, *found = [json.loads(line) for line in (known / "second" / "samples.run.jsonl").read_text().splitlines()]
    assert header["model"]["weights"] == taught.identity.weights != load_model(base, device="cpu").identity.weights
    assert header["asking"]["prompt"] == "{question}" + SAME.instruction
    assert len(found) == 40
    assert all(SAME.taken_from(text).bin is None for row in found for text in row["samples"])

    with pytest.raises(DataError, match="--answers-from is for the rounds of --objective epicar"):
        distill(base, rows, known / "x", teacher="labels", answers_from=str(known / "first"))
    with pytest.raises(DataError, match="no adapter that was taught with --turn same in the same words"):
        distill(base, rows, known / "x", answers_from=base, **asked)
