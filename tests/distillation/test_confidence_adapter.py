"""The adapter of a turn of its own: as peft computes it, on that turn alone, and beside the module."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from guardrail import Guard, load_model
from guardrail.distillation.lessons import invocation_of
from guardrail.errors import DataError, ModelError, ScoringError
from guardrail.model.decoder import run_decoder
from guardrail.model.prompts import kept_prefix
from guardrail.model.stated import longest_beginnings, reply_log_probs
from guardrail.model.token_log_probs import token_log_probs
from guardrail.runs.asking import Asking
from guardrail.scoring.baselines.verbalized import VerbalizedScorer, stated_doubt
from guardrail.scoring.baselines.verbalized_list import VerbalizedListScorer
from guardrail.scoring.registry import scorer_from
from guardrail.stated import FILE, StatedFile, Wording
from guardrail.testing import tiny_local_model, tiny_model, tiny_tokenizer

ASKING = Asking("{question}", None, 8)


@pytest.fixture
def folders(tmp_path):
    """A base's folder, that of an adapter which states a confidence, and peft's own module with it."""
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    model = tiny_model(vocab_size=261, max_position_embeddings=512)
    model.save_pretrained(base)
    tiny_tokenizer().save_pretrained(base)
    local = load_model(str(base), device="cpu")
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=2,
        lora_alpha=6,
        target_modules="all-linear",
        init_lora_weights=False,
        alora_invocation_tokens=list(invocation_of(local, ASKING, Wording())),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        adapted = get_peft_model(model, config)
    adapted.save_pretrained(adapter)
    (adapter / FILE).write_text(StatedFile(base=str(base), wording=Wording()).model_dump_json())
    return base, adapter, adapted.eval()


def said(adapted, local, prompt, reply):
    """log p of a reply by peft, nats."""
    ids = torch.tensor([[*prompt, *reply]])
    with torch.no_grad():
        log_p = adapted(input_ids=ids).logits[0].double().log_softmax(-1)
    return sum(log_p[len(prompt) - 1 + i, token].item() for i, token in enumerate(reply))


@pytest.mark.parametrize("cached", [True, False])
def test_labels_have_the_probabilities_that_peft_gives_them(folders, cached, monkeypatch):
    base, adapter, adapted = folders
    local = load_model(str(adapter), device="cpu")
    if not cached:
        monkeypatch.setattr(type(local.anatomy), "cached", False)
    scorer = VerbalizedScorer(local)
    trace = local.trace("Who wrote Faust?", "Goethe")
    prompt = local.encode_prompt(Wording().asking_after(trace.messages, "Goethe"))
    replies = [local.encode_response(label, ended=False) for label in Wording().labels]
    expected = [said(adapted, local, prompt, reply) for reply in replies]
    assert reply_log_probs(local, prompt, replies, local.confidence_adapter) == pytest.approx(expected, rel=1e-4)
    assert scorer.score_traces([trace])[0].value == pytest.approx(
        stated_doubt(expected, [0.1, 0.3, 0.5, 0.7, 0.9]), abs=1e-5
    )
    ((claim,),) = scorer.score_spans([local.trace("Who wrote Faust?", "Goethe, I think")], [[(0, 6)]])
    assert claim.value == pytest.approx(stated_doubt(expected, [0.1, 0.3, 0.5, 0.7, 0.9]), abs=1e-5)
    plain = VerbalizedScorer(load_model(str(base), device="cpu")).score_traces([trace])[0].value
    assert abs(plain - scorer.score_traces([trace])[0].value) > 1e-4


def test_a_list_of_claims_is_asked_about_as_the_model_was_taught(folders):
    _, adapter, adapted = folders
    local = load_model(str(adapter), device="cpu")
    trace = local.trace("Who wrote Faust?", "Goethe. In Rome.")
    (scores,) = VerbalizedListScorer(local).score_spans([trace], [[(0, 7), (7, 16)]])
    prompt = local.encode_prompt(Wording().asking_after(trace.messages, "1. Goethe.\n2. In Rome."))
    for k, score in enumerate(scores, 1):
        lines = [local.encode_response(f"{k}: {label}", ended=False) for label in Wording().labels]
        expected = [said(adapted, local, prompt, line) for line in lines]
        assert score.value == pytest.approx(stated_doubt(expected, [0.1, 0.3, 0.5, 0.7, 0.9]), abs=1e-5)


def test_the_answers_are_the_bases_to_the_bit_and_so_is_the_model(folders):
    base, adapter, _ = folders
    taught, plain = load_model(str(adapter), device="cpu"), load_model(str(base), device="cpu")
    assert taught.identity == plain.identity.model_copy(update={"name": str(adapter)})
    guards = [Guard(model=local, policy="observe") for local in (taught, plain)]
    first = [guard.answer("Who wrote Faust?", max_new_tokens=8) for guard in guards]
    VerbalizedScorer(taught).score_traces([taught.trace("Who?", "Goethe")])
    assert first[0].text == first[1].text
    assert (
        first[0].score.value
        == first[1].score.value
        == guards[0].answer("Who wrote Faust?", max_new_tokens=8).score.value
    )


def test_the_calibration_knows_its_adapter(folders):
    base, adapter, _ = folders
    taught, plain = load_model(str(adapter), device="cpu"), load_model(str(base), device="cpu")
    options = json.loads(json.dumps(VerbalizedScorer(taught).options))
    assert scorer_from("verbalized", options, taught).options == options
    with pytest.raises(ScoringError, match="calibrated with an adapter; give the same folder as --model"):
        scorer_from("verbalized", options, plain)
    with pytest.raises(ScoringError, match="calibrated with no adapter"):
        scorer_from("verbalized", VerbalizedScorer(plain).options, taught)
    with pytest.raises(ScoringError, match="in other words than the scorer's"):
        VerbalizedScorer(taught, wording=Wording(question="Sure?"))
    with pytest.raises(ScoringError, match="was not taught to end its answers"):
        VerbalizedScorer(plain, wording=Wording(turn="same"))


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({"alora_invocation_tokens": None}, "names no alora_invocation_tokens"),
        ({"use_dora": True}, "use_dora = True"),
        ({"alpha_pattern": {"q": 3}}, "alpha_pattern"),
    ],
)
def test_another_kind_of_adapter_is_refused(folders, config, error):
    file = folders[1] / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **config}))
    with pytest.raises(ModelError, match=error):
        load_model(str(folders[1]), device="cpu")


def test_damaged_weights_are_refused(folders):
    file = folders[1] / "adapter_model.safetensors"
    weights = load_file(file)
    key = next(k for k in weights if ".lora_A." in k)
    save_file({**weights, key: torch.full_like(weights[key], float("nan"))}, file)
    with pytest.raises(ModelError, match="NaN or infinity"):
        load_model(str(folders[1]), device="cpu")
    save_file({k: v for k, v in weights.items() if k != key}, file)
    with pytest.raises(ModelError, match="other weights than those of a LoRA"):
        load_model(str(folders[1]), device="cpu")
    save_file({**weights, key: torch.ones(2, 3)}, file)
    with pytest.raises(ModelError, match="does not fit its base model"):
        load_model(str(folders[1]), device="cpu")
    file.write_bytes(b"{}")
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(str(folders[1]), device="cpu")
    (folders[1] / FILE).write_text('{"base": "x", "wording": {"turn": "never"}}')
    with pytest.raises(DataError, match="wording.turn"):
        load_model(str(folders[1]), device="cpu")


def test_another_template_is_refused_and_not_read_without_the_adapter(folders):
    taught = load_model(str(folders[1]), device="cpu")
    taught.tokenizer.chat_template = taught.tokenizer.chat_template.replace("<|im_start|>", "<|im_start|>~")
    with pytest.raises(ModelError, match="spelt in other tokens"):
        VerbalizedScorer(taught).score_traces([taught.trace("Who?", "Goethe")])


def test_a_model_that_is_merely_asked_by_hand():
    local = tiny_local_model(vocab_size=261, max_position_embeddings=512)
    wording = Wording(labels=("no", "yes"), question="Sure?")
    trace = local.trace("Who?", "Goethe")
    prompt = local.encode_prompt(
        [*trace.messages, {"role": "assistant", "content": "Goethe"}, {"role": "user", "content": "Sure?"}]
    )
    no, yes = (
        float(token_log_probs(local, [(prompt, local.encode_response(r, ended=False))])[0].sum()) for r in ("no", "yes")
    )
    p = np.exp([no, yes]) / np.exp([no, yes]).sum()
    score = VerbalizedScorer(local, wording=wording).score_traces([trace])[0]
    assert score.value == pytest.approx(1 - (p[0] * 0.25 + p[1] * 0.75), abs=1e-6)
    assert stated_doubt(np.log([0.1, 0.3]), [0.3, 0.7]) == pytest.approx(0.4)


@pytest.mark.parametrize("taught", [True, False])
def test_the_prompt_runs_once_whatever_the_number_of_labels(folders, taught, monkeypatch):
    base, adapter, _ = folders
    local = load_model(str(adapter if taught else base), device="cpu")
    prompt = local.encode_prompt(Wording().asking_after(({"role": "user", "content": "Who?"},), "Goethe"))
    replies = [local.encode_response(label, ended=False) for label in Wording().labels]
    read: list[int] = []

    def counted(decoder, ids, **options):
        read.append(ids.numel())
        return run_decoder(decoder, ids, **options)

    for module in ("prompts", "token_log_probs"):
        monkeypatch.setattr(f"guardrail.model.{module}.run_decoder", counted)
    reply_log_probs(local, prompt, replies, local.confidence_adapter)
    assert sum(read) == len(prompt) - 1 + len(longest_beginnings(replies)) * max(map(len, replies))


@pytest.mark.parametrize("taught", [True, False])
def test_what_generation_kept_is_not_run_again_and_says_the_same(folders, taught, monkeypatch):
    base, adapter, _ = folders
    local = load_model(str(adapter if taught else base), device="cpu")
    scorer = VerbalizedScorer(local)
    kept = local.generate("Who wrote Faust?", max_new_tokens=8, keep=scorer.keep)
    again = replace(kept, state=None)
    expected = scorer.score_traces([again])[0].value
    read: list[int] = []

    def counted(decoder, ids, **options):
        read.append(ids.numel())
        return run_decoder(decoder, ids, **options)

    for module in ("prompts", "token_log_probs"):
        monkeypatch.setattr(f"guardrail.model.{module}.run_decoder", counted)
    assert scorer.score_traces([kept])[0].value == pytest.approx(expected, abs=1e-5)
    with_kept = sum(read)
    scorer.score_traces([again])
    saved = 2 * with_kept - sum(read)
    prompt = local.encode_prompt(Wording().asking_after(kept.messages, kept.text))
    spelt = (*kept.prompt_ids, *kept.response_ids)[:-1]
    same = next((i for i, (a, b) in enumerate(zip(spelt, prompt, strict=False)) if a != b), len(spelt))
    assert -saved == same >= len(kept.prompt_ids)
    # of other ids only what both begin with is used; of other weights, or of fewer layers, nothing
    other = replace(kept.state, ids=(*kept.state.ids[:3], 7, *kept.state.ids[4:]))
    assert kept_prefix(local, other, prompt)[1] == 3
    assert kept_prefix(local, replace(kept.state, weights=kept.state.weights + 1), prompt) == (None, 0)
    assert kept_prefix(local, replace(kept.state, lower_keys=(), lower_values=()), prompt) == (None, 0)
