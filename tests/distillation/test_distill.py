"""The whole distillation on a tiny model: every teacher and turn, stopped and resumed, and what it refuses."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from peft import PeftModel

import guardrail
from guardrail import load_model
from guardrail.distillation import distill as module
from guardrail.distillation.distill import distill
from guardrail.distillation.settings import Training
from guardrail.errors import CalibratorMismatchError, DataError, MissingExtraError
from guardrail.model.stated import reply_log_probs
from guardrail.scoring.baselines.verbalized import VerbalizedScorer
from guardrail.stated import Wording
from guardrail.testing import tiny_model, tiny_tokenizer

QUICK = Training(epochs=1, batch_size=8, learning_rate=1e-3, rank=2)
ASKED = {
    "prompt": "{question}",
    "max_new_tokens": 6,
    "cache": False,
    "samples": 4,
    "temperature": 0.02,
    "training": QUICK,
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder with a tiny model, and questions of which it "knows" every other one: what it says is what is accepted."""
    folder = tmp_path_factory.mktemp("base")
    tiny_model(vocab_size=261, max_position_embeddings=512).save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    local = load_model(str(folder / "model"), device="cpu")
    questions = [f"What is number {i}, and what comes before {i * 7}?" for i in range(40)]
    answers = [trace.text for trace in local.generate_batch(questions, max_new_tokens=6)]
    rows = [
        {"question": q, "answers": [a if i % 2 and any(c.isalnum() for c in a) else "Faust"]}
        for i, (q, a) in enumerate(zip(questions, answers, strict=True))
    ]
    assert sum(row["answers"] != ["Faust"] for row in rows) >= 12
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def taught(base, tmp_path_factory):
    """An adapter by the sampling teacher."""
    out = tmp_path_factory.mktemp("taught") / "adapter"
    said: list[str] = []
    done = distill(str(base / "model"), base / "rows.jsonl", out, progress=said.append, command="made here", **ASKED)
    return out, done, said


def test_the_folder_is_a_model_that_states_its_confidence(base, taught):
    out, done, said = taught
    assert (done.stage, done.folder) == ("train", out)
    assert done.teaching.right >= 5
    assert sum(done.teaching.bins) == done.teaching.answers
    assert any(line.startswith("training: step") or line == "training the adapter" for line in said)
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "distillation.json",
        "samples.run.jsonl",
        "stated_confidence.json",
        "targets.jsonl",
    ]
    record = json.loads((out / "distillation.json").read_text())
    assert (record["command"], record["teacher"]["samples"], record["training"]["rank"]) == ("made here", 4, 2)
    assert "| command | `made here` |" in (out / "README.md").read_text()
    local = load_model(str(out), device="cpu")
    assert local.identity.weights == load_model(str(base / "model"), device="cpu").identity.weights
    assert 0 < VerbalizedScorer(local).score_traces([local.trace("Who?", "Goethe")])[0].value < 1


def test_peft_alone_loads_it_and_says_the_same(base, taught):
    out, _, _ = taught
    local = load_model(str(out), device="cpu")
    prompt = local.encode_prompt(Wording().asking_after(({"role": "user", "content": "Who?"},), "Goethe"))
    reply = local.encode_response("low", ended=False)
    peft = PeftModel.from_pretrained(tiny_model(vocab_size=261, max_position_embeddings=512), str(out)).eval()
    with torch.no_grad():
        log_p = peft(input_ids=torch.tensor([[*prompt, *reply]])).logits[0].double().log_softmax(-1)
    expected = sum(log_p[len(prompt) - 1 + i, token].item() for i, token in enumerate(reply))
    assert reply_log_probs(local, prompt, [reply], local.confidence_adapter) == pytest.approx([expected], rel=1e-4)


def test_training_made_the_taught_labels_likelier(base, taught):
    out, _, _ = taught
    plain, local = load_model(str(base / "model"), device="cpu"), load_model(str(out), device="cpu")
    rows = [json.loads(line) for line in (out / "targets.jsonl").read_text().splitlines()]

    def taught_log_prob(model):
        total = 0.0
        for row in rows:
            messages = Wording().asking_after(({"role": "user", "content": row["question"]},), row["answer"])
            reply = model.encode_response(row["label"])
            total += reply_log_probs(model, model.encode_prompt(messages), [reply], model.confidence_adapter)[0]
        return total / len(rows)

    assert taught_log_prob(local) > taught_log_prob(plain) + 0.5


def test_calibrate_leaves_out_what_it_was_taught_and_evaluate_refuses_it(base, taught, tmp_path):
    out, _, _ = taught
    said: list[str] = []
    with pytest.raises(DataError, match="was taught to state its confidence with all of these questions"):
        guardrail.calibrate(str(out), base / "rows.jsonl", scorer="verbalized", cache=False, progress=said.append)
    rows = [json.loads(line) for line in (base / "rows.jsonl").read_text().splitlines()]
    local = load_model(str(out), device="cpu")
    questions = [f"Which one is number {i} of {i + 3}?" for i in range(44)]
    answers = [trace.text for trace in local.generate_batch(questions, max_new_tokens=6)]
    more = [
        {"question": q, "answers": [a if i % 2 and any(c.isalnum() for c in a) else "Faust"]}
        for i, (q, a) in enumerate(zip(questions, answers, strict=True))
    ]
    (tmp_path / "more.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows[:3], *more]))
    fit = guardrail.calibrate(
        local, tmp_path / "more.jsonl", scorer="verbalized", cache=False, progress=said.append, prompt="{question}",
        max_new_tokens=6,
    )  # fmt: skip
    assert "3 questions left out" in "".join(said)
    assert fit.calibrator.provenance.scorer == "verbalized"
    guard = guardrail.Guard(model=local, calibrator=fit.calibrator, policy="observe")
    verdict = guard.answer("Which one is number 50 of 60?")
    assert verdict.score.scorer == "verbalized"
    assert verdict.confidence.p_correct is not None
    with pytest.raises(DataError, match="40 of these questions were used for calibration"):
        guardrail.evaluate(local, base / "rows.jsonl", calibrator=fit.calibrator, cache=False)
    plain = load_model(str(base / "model"), device="cpu")
    with pytest.raises(CalibratorMismatchError, match="calibrated with an adapter"):
        guardrail.Guard(model=plain, calibrator=fit.calibrator, policy="observe")


@pytest.mark.parametrize(("teacher", "turn"), [("hybridgrad", "after"), ("labels", "after"), ("sampling", "same")])
def test_every_teacher_and_turn(base, tmp_path, teacher, turn):
    out = tmp_path / "adapter"
    done = distill(str(base / "model"), base / "rows.jsonl", out, teacher=teacher, turn=turn, **ASKED)
    assert done.loss > 0
    local = load_model(str(out), device="cpu")
    assert local.wording.turn == turn
    assert (local.confidence_adapter is None) is (turn == "same")
    assert (out / "targets.jsonl").exists() is (teacher != "labels")
    if turn == "after":
        assert 0 < VerbalizedScorer(local).score_traces([local.trace("Who?", "Goethe")])[0].value < 1
        return
    scorer = VerbalizedScorer(local)
    trace = local.trace("Who?", "Goethe (with high confidence)")
    assert (trace.text, trace.stated) == ("Goethe", 3)
    assert scorer.score_traces([trace])[0].value == pytest.approx(0.3)
    assert scorer.score_traces([local.trace("Who?", "Goethe")])[0].unscored == "unstated"


def test_stages_go_on_where_they_were(base, tmp_path, monkeypatch):
    out = tmp_path / "adapter"
    asked = (str(base / "model"), base / "rows.jsonl", out)
    assert distill(*asked, until="sample", **ASKED).stage == "sample"
    assert not (out / "targets.jsonl").exists()
    with pytest.raises(DataError, match="--resume goes on with it"):
        distill(*asked, until="sample", **ASKED)
    drawn = (out / "samples.run.jsonl").read_bytes()
    monkeypatch.setattr("guardrail.scoring.baselines.samples.SampleSource.draw", lambda *_: pytest.fail("drawn again"))
    assert distill(*asked, until="annotate", resume=True, **ASKED).teaching.answers > 30

    def stopped(*_args, **_more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("guardrail.distillation.training._run", stopped)
        with pytest.raises(KeyboardInterrupt):
            distill(*asked, resume=True, **ASKED)
    assert distill(*asked, resume=True, **ASKED).stage == "train"
    assert (out / "samples.run.jsonl").read_bytes() == drawn
    with pytest.raises(DataError, match="holds an adapter"):
        distill(*asked, **ASKED)


def test_a_full_disk_is_said_and_the_model_is_as_before(base, tmp_path, monkeypatch):
    local = load_model(str(base / "model"), device="cpu")
    before = local.identity

    def full(*_args, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PeftModel, "save_pretrained", full)
    with pytest.raises(DataError, match="No space left on device; what was trained up to the last checkpoint is kept"):
        distill(local, base / "rows.jsonl", tmp_path / "adapter", **ASKED)
    assert local.identity == before
    assert not any("lora" in name for name, _ in local.model.named_modules())
    assert not (tmp_path / "adapter" / "stated_confidence.json").exists()


def test_what_makes_no_sense_is_said_before_a_model_is_loaded(base, tmp_path, monkeypatch):
    def never():
        pytest.fail("the model was loaded")

    for options, error in (
        ({"teacher": "parrot"}, "there is no teacher 'parrot'"),
        ({"teacher": "labels", "turn": "same"}, "leave --turn same out"),
        ({"prompt": "Answer!"}, "does not say where the {question} goes"),
    ):
        with pytest.raises(DataError, match=error):
            distill(never, base / "rows.jsonl", tmp_path / "x", **options)
    with pytest.raises(DataError, match="learning rate is 0"):
        Training(learning_rate=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot make the folder"):
        distill(never, base / "rows.jsonl", tmp_path / "file" / "x")
    monkeypatch.setattr(module, "check_enough", module.check_enough)
    monkeypatch.setitem(__import__("sys").modules, "trl", None)
    with pytest.raises(MissingExtraError, match=r"hybridgrad-guardrail\[distill\]"):
        distill(never, base / "rows.jsonl", tmp_path / "y")


def test_a_model_that_states_its_confidence_is_not_taught_again(taught, base, tmp_path):
    out, _, _ = taught
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    with pytest.raises(DataError, match="states its confidence already"):
        distill(str(copy), base / "rows.jsonl", tmp_path / "z", **ASKED)


def test_answers_that_are_all_wrong_teach_nothing(base, tmp_path):
    rows = [json.loads(line) for line in (base / "rows.jsonl").read_text().splitlines()]
    (tmp_path / "wrong.jsonl").write_text("".join(json.dumps({**row, "answers": ["Faust"]}) + "\n" for row in rows))
    with pytest.raises(DataError, match="0 of them right: a confidence is learnt from at least 30"):
        distill(str(base / "model"), tmp_path / "wrong.jsonl", tmp_path / "out", **ASKED)
    assert (tmp_path / "out" / "samples.run.jsonl").exists()
