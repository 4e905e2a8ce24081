"""One string names a model, and a string that names none says so."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from guardrail.errors import GuardrailError, ModelError, ModelNotFoundError
from guardrail.grading.bem import BemGrader
from guardrail.model import spec
from guardrail.model.checkpoint import require_reachable
from guardrail.model.gguf import dense_copy
from guardrail.model.loading import load_model
from guardrail.model.spec import ALIASES, DEFAULT_MODEL, resolve
from guardrail.retrieval.embedding import SentenceEmbeddings
from guardrail.scoring.baselines.nli_equivalence import NliEquivalence
from guardrail.testing import tiny_model, tiny_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    tiny_model().save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path


def test_folder(folder):
    source = resolve(str(folder))
    assert (source.kind, source.location, source.name) == ("folder", str(folder), str(folder))


@pytest.mark.parametrize("hub", ["owner/name", "gpt2", "Qwen/Qwen3-0.6B"])
def test_hub_id(hub):
    assert (resolve(hub).kind, resolve(hub).location) == ("hub", hub)


def test_alias_without_its_wheel_means_the_hub(monkeypatch):
    monkeypatch.setattr(spec, "packaged_file", lambda _: None)
    assert resolve(DEFAULT_MODEL).kind == "hub"
    assert resolve(DEFAULT_MODEL).location == ALIASES[DEFAULT_MODEL].hub


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.gguf", "there is no file 'nowhere.gguf'"),
        ("./no/such/folder", "is no alias"),
        ("a/b/c", "is no alias"),
        ("", "name is empty"),
        ("two words", "is no alias"),
    ],
)
def test_names_nothing(name, message):
    with pytest.raises(ModelNotFoundError, match=message):
        resolve(name)


@pytest.mark.parametrize("name", ["smolm2-135m", "SmolLM2-135M", "smollm2_135m"])
def test_a_misspelt_alias_is_no_hub_id(name):
    with pytest.raises(ModelNotFoundError, match=rf"no model '{name}'; did you mean 'smollm2-135m'"):
        resolve(name)


@pytest.mark.parametrize(
    "load",
    [
        load_model,
        lambda name: BemGrader(name).load(),
        lambda name: SentenceEmbeddings(name),
        lambda name: NliEquivalence(name),
    ],
    ids=["model", "bem", "embeddings", "equivalence"],
)
def test_without_the_hub_a_name_fails_at_once(monkeypatch, load):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    began = time.perf_counter()
    with pytest.raises(
        GuardrailError, match=r"owner/name.* is not in the cache, and the hub cannot be reached .*; check"
    ):
        load("owner/name")
    assert time.perf_counter() - began < 20


def test_the_hub_is_not_asked_about_what_is_here(monkeypatch):
    """Nothing is asked about what is there already."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    asked = []
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", asked.append)
    require_reachable(str(Path(__file__).parent))
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda name, file: f"{name}/{file}")
    require_reachable("owner/name")
    assert asked == []


def test_wrong_files(tmp_path):
    with pytest.raises(ModelNotFoundError, match=r"holds no config\.json"):
        resolve(str(tmp_path))
    text = tmp_path / "model.txt"
    text.write_text("hello")
    with pytest.raises(ModelNotFoundError, match=r"not a \.gguf file"):
        resolve(str(text))
    fake = tmp_path / "fake.gguf"
    fake.write_bytes(b"PK\x03\x04")
    with pytest.raises(ModelNotFoundError, match="is not a GGUF file"):
        dense_copy(fake)


def test_a_truncated_gguf_leaves_no_cache_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("GUARDRAIL_CACHE", str(tmp_path / "cache"))
    torn = tmp_path / "torn.gguf"
    torn.write_bytes(b"GGUF\x03\x00\x00\x00")
    with pytest.raises(ModelError, match=r"cannot read .*torn\.gguf"):
        dense_copy(torn)
    assert list((tmp_path / "cache" / "dense").iterdir()) == []


def test_load_folder_and_answer(folder):
    local = load_model(str(folder), device="cpu")
    trace = local.generate("Hello", max_new_tokens=3)
    assert local.identity.name == str(folder)
    assert trace.prompt_ids == tuple(local.encode_prompt("Hello"))
    assert 1 <= len(trace.response_ids) <= 3
    assert trace.finish_reason in ("stop", "length")


def test_identity_is_the_weights_not_the_name(folder):
    one, two = load_model(str(folder), device="cpu"), load_model(str(folder), device="cpu")
    assert one.identity == two.identity
    two.model.get_parameter("model.layers.1.mlp.up_proj.weight").data[0, 0] += 1e-3
    assert (
        load_model(str(folder), device="cpu").identity.weights != type(two)(two.model, two.tokenizer).identity.weights
    )


def test_devices_and_dtypes_that_are_not_there(folder):
    with pytest.raises(ModelError, match="there is no device 'gpu'"):
        load_model(str(folder), device="gpu")
    with pytest.raises(ModelError, match="there is no dtype 'float99'"):
        load_model(str(folder), dtype="float99")


def test_chat_template_option(folder):
    local = load_model(
        str(folder), device="cpu", chat_template="{% for m in messages %}{{ m['content'] }}{% endfor %}!"
    )
    assert local.tokenizer.decode(local.encode_prompt("Hi")) == "Hi!"
    assert local.identity.chat_template != load_model(str(folder), device="cpu").identity.chat_template
