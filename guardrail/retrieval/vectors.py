"""Texts -> vectors, of any LangChain `Embeddings`; what is no vector is refused, since a cosine of it says nothing.

Imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from guardrail.errors import RetrievalError

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings


def embedded(embeddings: Embeddings, texts: Sequence[str]) -> dict[str, list[float]]:
    """Each different text with its vector, in the order of the texts, from one call.

    Raises:
        RetrievalError: There are not as many vectors as texts, they differ in length, or a number in them is none, NaN or
            infinite.
    """
    different = list(dict.fromkeys(texts))
    name = type(embeddings).__name__
    try:
        rows = [[_number(x) for x in row] for row in embeddings.embed_documents(different)]
    except (TypeError, ValueError) as error:
        raise RetrievalError(f"the embeddings {name} failed: {error}") from error
    lengths = {len(row) for row in rows}
    if len(rows) != len(different) or len(lengths) > 1:
        found = f"{len(rows)} vectors of {', '.join(map(str, sorted(lengths)))} numbers"
        raise RetrievalError(f"the embeddings {name} failed: they gave {found} for {len(different)} texts")
    return dict(zip(different, rows, strict=True))


def _number(x: object) -> float:
    if isinstance(x, (str, bytes)) or not math.isfinite(number := float(x)):  # type: ignore[arg-type]
        raise ValueError(f"they gave {x!r:.40} in a vector, which is no finite number")
    return number
