"""The texts of a run -> sentence vectors, kept in the cache beside its answers. Knows nothing about what is told from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from guardrail.array_text import array_in, array_text
from guardrail.errors import DataError
from guardrail.retrieval.embedding_spec import DEFAULT_EMBEDDING
from guardrail.retrieval.vectors import embedded
from guardrail.runs.cache import content_key

if TYPE_CHECKING:
    from guardrail.calibration.metrics import Floats
    from guardrail.runs.cache import RecordCache

_AT_ONCE = 256  # texts between two writes to the cache


@dataclass(frozen=True, slots=True, eq=False)
class TextVectors:
    """What an embedding makes of texts. embedding: its name. rows: the unit vector of each text, (D,)."""

    embedding: str
    rows: Mapping[str, Floats]

    def of(self, texts: Sequence[str]) -> Floats:
        """(len(texts), D)."""
        return np.stack([self.rows[text] for text in texts])


def text_vectors(
    texts: Iterable[str], *, cache: RecordCache | None = None, embedding: str = DEFAULT_EMBEDDING
) -> TextVectors:
    """The vectors of these texts, in float16, so that they are the same with the cache and without.

    Args:
        texts: Any; equal ones are embedded once.
        cache: Where vectors are looked up first, and kept.
        embedding: A folder, a hub id or the packaged model. Nothing is fetched, and it is loaded only for texts that are new.

    Raises:
        RetrievalError: The embedding is not on this machine, or gives no vectors.
    """
    wanted = list(dict.fromkeys(texts))
    header = {"kind": "guardrail text vector", "version": 1, "embedding": embedding} | _files_of(embedding)
    keys = {text: content_key(header, text) for text in wanted}
    known = cache.get(list(keys.values())) if cache else {}
    rows = {text: _unpacked(known[key]) for text, key in keys.items() if key in known}
    missing = [text for text in wanted if text not in rows]
    if missing:
        from guardrail.retrieval.embedding import SentenceEmbeddings  # imports sentence-transformers

        model = SentenceEmbeddings(embedding, local=True)
        for at in range(0, len(missing), _AT_ONCE):
            fresh = {text: _packed(row) for text, row in embedded(model, missing[at : at + _AT_ONCE]).items()}
            rows |= {text: _unpacked(record) for text, record in fresh.items()}
            if cache:
                cache.put({keys[text]: record for text, record in fresh.items()})
    return TextVectors(embedding, rows)


def _files_of(embedding: str) -> dict[str, Any]:
    """What is in the embedding's folder, by name, size and time of change; nothing for one by name."""
    folder = Path(embedding)
    if not folder.is_dir():
        return {}
    found = [(path, path.stat()) for path in sorted(folder.rglob("*")) if path.is_file()]
    return {"files": [[path.relative_to(folder).as_posix(), of.st_size, of.st_mtime_ns] for path, of in found]}


def _packed(row: Sequence[float]) -> dict[str, Any]:
    return {"vector": array_text(row, "<f2")}


def _unpacked(record: Mapping[str, Any]) -> Floats:
    try:
        return array_in(record["vector"], "<f2", "vector")
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"the cache of answers holds a vector that is none ({error}); delete it") from error
