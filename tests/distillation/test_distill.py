"""The whole distillation on a tiny model: every teacher and turn, stopped and resumed, and what it refuses."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import SafetensorError

import guardrail
from guardrail import LocalModel, load_model
from guardrail.distillation import training
from guardrail.distillation.distill import distill
from guardrail.distillation.settings import Training
from guardrail.errors import CalibratorMismatchError, DataError, MissingExtraError, ModelError, ModelNotFoundError
from guardrail.model.stated import reply_log_probs
from guardrail.scoring.baselines.verbalized import VerbalizedScorer
from guardrail.stated import StatedFile, Wording
from guardrail.testing import tiny_local_model, tiny_model, tiny_tokenizer

QUICK = Training(epochs=1, batch_size=8, learning_rate=1e-3, rank=2)
ANSWERED = {"prompt": "{question}", "max_new_tokens": 6, "cache": False, "training": QUICK}
ASKED = {**ANSWERED, "samples": 4, "temperature": 0.02}


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


@pytest.mark.parametrize(
    ("teacher", "turn", "objective"),
    [
        ("hybridgrad", "after", "ranking"),
        ("labels", "after", None),
        ("sampling", "after", "soft-labels"),
        ("sampling", "same", None),
    ],
)
def test_every_teacher_and_turn(base, tmp_path, teacher, turn, objective):
    out = tmp_path / "adapter"
    done = distill(
        str(base / "model"),
        base / "rows.jsonl",
        out,
        teacher=teacher,
        turn=turn,
        objective=objective,
        **(ASKED if teacher == "sampling" else ANSWERED),
    )
    assert 0 < done.loss < (1 if objective == "ranking" or teacher == "labels" else 99)
    assert (
        f"| objective | {objective or ('brier' if teacher == 'labels' else 'likelihood')} |"
        in (out / "README.md").read_text()
    )
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
    kept = [dict(vars(local.model.config)), local.tokenizer.pad_token, local.model.generation_config]

    def full(*_args, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PeftModel, "save_pretrained", full)
    with pytest.raises(
        DataError, match="No space left on device; what was trained up to the last whole checkpoint is kept"
    ):
        distill(local, base / "rows.jsonl", tmp_path / "adapter", **ASKED)
    assert local.identity == before
    assert [vars(local.model.config), local.tokenizer.pad_token, local.model.generation_config] == kept
    assert "_fused_forward" not in vars(local.model)
    assert not any("lora" in name for name, _ in local.model.named_modules())
    assert not (tmp_path / "adapter" / "stated_confidence.json").exists()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (SafetensorError("Error while serializing: I/O error: (os error 28)"), "Error while serializing"),
        (RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0"), "inline_container"),
        (SafetensorError("Error while deserializing header: header too small"), None),
        (RuntimeError("CUDA out of memory"), None),
        (ValueError("cannot write"), None),
    ],
)
def test_an_error_of_writing_is_told_from_others(error, reason):
    told = training.unwritten(error)
    assert told is None if reason is None else reason in told


def test_checkpoints_are_for_the_training_that_left_them(base, tmp_path, monkeypatch):
    out = tmp_path / "adapter"
    asked = (str(base / "model"), base / "rows.jsonl", out)

    def stopped(*_args, **_more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "_SAVED_EVERY", 2)
        patch.setattr(
            "guardrail.distillation.distill.StatedFile", stopped
        )  # all is trained, and nothing is in its place yet
        with pytest.raises(KeyboardInterrupt):
            distill(*asked, **ASKED)
    assert not (out / "adapter_config.json").exists()
    with pytest.raises(ModelNotFoundError):
        load_model(str(out))
    half = out / "checkpoints" / "checkpoint-9999"  # as a full disk leaves it
    half.mkdir()
    (half / "optimizer.pt").write_bytes(b"")
    with pytest.raises(DataError, match="checkpoints of another training"):
        distill(
            *asked, resume=True, **{**ASKED, "training": Training(epochs=1, batch_size=8, learning_rate=1e-3, rank=3)}
        )
    assert distill(*asked, resume=True, **ASKED).loss > 0
    assert not (out / "checkpoints").exists()
    assert load_model(str(out), device="cpu").wording is not None


def test_an_adapter_that_was_not_finished_is_no_model(taught, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(taught[0], copy)
    (copy / "stated_confidence.json").unlink()
    told = json.loads((copy / "adapter_config.json").read_text())
    (copy / "adapter_config.json").write_text(json.dumps({**told, "base_model_name_or_path": str(taught[0].parent)}))
    base = StatedFile.load(taught[0] / "stated_confidence.json").base
    (copy / "adapter_config.json").write_text(json.dumps({**told, "base_model_name_or_path": base}))
    with pytest.raises(ModelError, match="is an activated LoRA"):
        load_model(str(copy), device="cpu")
    (copy / "stated_confidence.json").write_text(StatedFile(base=str(copy), wording=Wording()).model_dump_json())
    with pytest.raises(ModelError, match="names its own folder as the base"):
        load_model(str(copy), device="cpu")


@pytest.mark.parametrize("architecture", ["mixtral", "gpt2", "falcon_mamba"])
def test_a_model_that_takes_no_such_adapter_is_refused_before_anything_is_sampled(architecture, base, tmp_path):
    local = tiny_local_model(architecture, vocab_size=261)
    before = {name: x.clone() for name, x in local.model.state_dict().items()}
    with pytest.raises(ModelError, match="takes no such adapter"):
        distill(local, base / "rows.jsonl", tmp_path / "x", **ASKED)
    assert not (tmp_path / "x" / "samples.run.jsonl").exists()
    now = local.model.state_dict()
    assert now.keys() == before.keys()
    assert all(torch.equal(now[name], x) for name, x in before.items())


def test_a_model_with_an_adapter_of_its_own_is_not_touched(base, tmp_path):
    module = get_peft_model(tiny_model(vocab_size=261), LoraConfig(r=2, target_modules=["v_proj"]))
    local = LocalModel(module.eval(), tiny_tokenizer())
    with pytest.raises(DataError, match="carries an adapter already; merge it"):
        distill(local, base / "rows.jsonl", tmp_path / "x", **ASKED)
    assert any("lora_A" in name for name in module.state_dict())


def test_what_makes_no_sense_is_said_before_a_model_is_loaded(base, tmp_path, monkeypatch):
    def never():
        pytest.fail("the model was loaded")

    for options, error in (
        ({"teacher": "parrot"}, "there is no teacher 'parrot'"),
        ({"teacher": "labels", "turn": "same"}, "leave --turn same out"),
        ({"turn": "after", "wording": Wording(turn="same")}, "turn is 'after', and the wording's 'same'"),
        ({"prompt": "Answer!"}, "does not say where the {question} goes"),
    ):
        with pytest.raises(DataError, match=error):
            distill(never, base / "rows.jsonl", tmp_path / "x", **options)
    with pytest.raises(DataError, match="learning rate is 0"):
        Training(learning_rate=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot make the folder"):
        distill(never, base / "rows.jsonl", tmp_path / "file" / "x")
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
