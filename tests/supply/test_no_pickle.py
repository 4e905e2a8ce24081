"""No file of others runs code when it is loaded: weights are safetensors or GGUF, and nothing unpickles."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest
import torch

from guardrail.errors import GuardrailError, ModelError
from guardrail.grading.bem import BemGrader
from guardrail.model.cross_encoder import load_cross_encoder
from guardrail.model.loading import load_model
from guardrail.retrieval.embedding import SentenceEmbeddings
from guardrail.scoring.baselines.nli_equivalence import NliEquivalence
from guardrail.testing import tiny_model, tiny_tokenizer

ROOT = Path(__file__).parents[2]
SOURCES = [*(ROOT / "guardrail").rglob("*.py"), *(ROOT / "cli").rglob("*.py")]
UNPICKLING = re.compile(
    r"\b(?:torch\.load|joblib|import pickle|pickle\.loads?|shelve|dill|cloudpickle|allow_pickle|np\.load|numpy\.load|"
    r"read_pickle|yaml\.(?:load|unsafe_load|full_load)\b|marshal)"
)


class PayloadError(Exception):
    """The payload ran."""


class Payload:
    def __reduce__(self):
        return exec, ("from tests.supply.test_no_pickle import PayloadError; raise PayloadError('the payload ran')",)


def test_no_source_unpickles():
    assert [str(path) for path in SOURCES if UNPICKLING.search(path.read_text(encoding="utf-8"))] == []
    assert UNPICKLING.search("weights = torch.load(path)")


def test_the_payload_would_run():
    with pytest.raises(BaseException, match="the payload ran"):
        pickle.loads(pickle.dumps(Payload()))  # noqa: S301


def folder_of(tmp_path, weights) -> Path:
    """A chat model whose weights are a pickle alone."""
    tiny_model(vocab_size=261).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(weights)
    return tmp_path


@pytest.mark.parametrize("kind", ["payload", "weights"])
def test_a_checkpoint_that_is_a_pickle_is_refused(tmp_path, kind):
    """Also one without a payload: torch's loader of weights alone had holes, and nobody can tell by looking."""
    path = tmp_path / "weights"
    torch.save(Payload() if kind == "payload" else tiny_model(vocab_size=261).state_dict(), path)
    with pytest.raises(GuardrailError, match="safetensors"):
        load_model(str(folder_of(tmp_path / "model", path.read_bytes())), device="cpu")


def test_an_embedding_model_that_is_a_pickle_is_refused(tmp_path):
    path = tmp_path / "weights"
    torch.save(tiny_model(vocab_size=261).state_dict(), path)
    with pytest.raises(GuardrailError, match="safetensors"):
        SentenceEmbeddings(str(folder_of(tmp_path / "model", path.read_bytes())))


@pytest.mark.parametrize(
    "load",
    [
        lambda spec: load_cross_encoder(spec, ModelError, "cpu"),
        lambda spec: NliEquivalence(spec),
        lambda spec: BemGrader(spec).load(),
    ],
    ids=["verifier", "equivalence", "grader"],
)
def test_a_grader_or_verifier_that_is_a_pickle_is_refused(tmp_path, load):
    path = tmp_path / "weights"
    torch.save(tiny_model(vocab_size=261).state_dict(), path)
    folder = str(folder_of(tmp_path / "model", path.read_bytes()))
    with pytest.raises(GuardrailError, match="safetensors"):
        load(folder)


def test_a_pickle_of_weights_is_loaded_where_the_user_allows_it(tmp_path, monkeypatch):
    path = tmp_path / "weights"
    torch.save(tiny_model(vocab_size=261).state_dict(), path)
    folder = str(folder_of(tmp_path / "model", path.read_bytes()))
    with pytest.raises(GuardrailError, match="GUARDRAIL_ALLOW_PICKLE=1"):
        load_model(folder, device="cpu")
    monkeypatch.setenv("GUARDRAIL_ALLOW_PICKLE", "1")
    assert load_model(folder, device="cpu").generate("Who?", max_new_tokens=2).text is not None
