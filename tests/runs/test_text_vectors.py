"""Vectors of texts: the same with the cache and without, and made once."""

from __future__ import annotations

import numpy as np
import pytest

from guardrail.errors import DataError, RetrievalError
from guardrail.retrieval import embedding
from guardrail.runs.cache import RecordCache, content_key
from guardrail.runs.text_vectors import _files_of, text_vectors

TEXTS = ["What is the capital of Fiji?", "Suva", "What is the capital of Fiji?", ""]


def test_the_cache_gives_what_was_embedded_and_no_model_is_loaded_again(tmp_path, monkeypatch):
    fresh = text_vectors(TEXTS)
    assert sorted(fresh.rows) == sorted(set(TEXTS))
    assert np.linalg.norm(fresh.of(TEXTS), axis=1) == pytest.approx([1.0] * 4, abs=2e-3)
    with RecordCache(tmp_path / "a.sqlite3") as cache:
        text_vectors(TEXTS[:1], cache=cache)
        some = text_vectors(TEXTS, cache=cache)
        monkeypatch.delattr(embedding, "SentenceEmbeddings")
        again = text_vectors(TEXTS, cache=cache)
    assert (again.of(TEXTS) == some.of(TEXTS)).all()
    assert some.of(TEXTS) == pytest.approx(fresh.of(TEXTS), abs=2e-3)


def test_an_embedding_that_is_not_here_is_not_fetched(tmp_path):
    with pytest.raises(RetrievalError, match="cannot load the embedding model 'nobody/has-this'"):
        text_vectors(TEXTS, embedding="nobody/has-this")


def test_a_vector_that_was_edited_is_refused(tmp_path):
    header = {"kind": "guardrail text vector", "version": 1, "embedding": "all-minilm-l6-v2"}
    with RecordCache(tmp_path / "a.sqlite3") as cache:
        cache.put({content_key(header, "Suva"): {"vector": "no base64"}})
        with pytest.raises(DataError, match="a vector that is none"):
            text_vectors(["Suva"], cache=cache)


def test_a_folder_whose_files_change_is_another_embedding(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"one")
    before = _files_of(str(tmp_path / "model"))
    assert before == _files_of(str(tmp_path / "model"))
    (tmp_path / "model" / "weights").write_bytes(b"another")
    assert before != _files_of(str(tmp_path / "model"))
    assert _files_of("all-minilm-l6-v2") == {}
