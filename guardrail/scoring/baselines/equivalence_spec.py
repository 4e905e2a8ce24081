"""An equivalence of answers from what a scorer's options record of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from guardrail.errors import RetrievalError, ScoringError
from guardrail.scoring.baselines.equivalence import Equivalence, SameWords, TokenF1


def equivalence_from(options: Mapping[str, Any]) -> Equivalence:
    """The equivalence whose `options` these are. Raises `ScoringError` for one that was given as an object, or is unknown.

    equivalence_from({"kind": "token f1", "threshold": 0.25})
    """
    kind = options.get("kind")
    if not isinstance(kind, str) or kind not in _EQUIVALENCES:
        raise ScoringError(
            f"there is no equivalence of the kind {kind!r} (there are: {', '.join(_EQUIVALENCES)}): it cannot be made from a "
            "file; give the scorer itself"
        )
    return _EQUIVALENCES[kind](options)


def equivalence_named(name: str) -> Equivalence:
    """The equivalence of a name: `normalised`, `embedding` or `nli:MODEL`. Raises `ScoringError` for another."""
    from guardrail.retrieval.embedding_spec import DEFAULT_EMBEDDING

    kind, _, model = name.partition(":")
    if kind == "embedding" and not model:
        from guardrail.scoring.baselines.embedding_equivalence import default_equivalence  # loads a model

        return default_equivalence()
    if (kind == "normalised" and not model) or (kind == "nli" and model):
        return equivalence_from({"kind": kind, "model": model or DEFAULT_EMBEDDING})
    raise ScoringError(
        f"there is no equivalence {name!r}; the names are normalised, embedding and nli:MODEL, and "
        "judge:MODEL for distill"
    )


def _embedding(options: Mapping[str, Any]) -> Equivalence:
    from guardrail.retrieval.embedding import SentenceEmbeddings  # imports sentence-transformers
    from guardrail.retrieval.embedding_spec import DEFAULT_EMBEDDING
    from guardrail.scoring.baselines.embedding_equivalence import (
        GIVEN,
        EmbeddingEquivalence,
        default_equivalence,
    )

    name, threshold = options.get("model"), options["threshold"]
    if not isinstance(name, str) or name == GIVEN:
        raise ScoringError(
            "its answers were compared by embeddings that were given as an object; give the scorer itself"
        )
    usual = default_equivalence() if name == DEFAULT_EMBEDDING else None
    if usual is not None and usual.threshold == threshold:
        return usual
    try:
        embeddings = usual.embeddings if usual else SentenceEmbeddings(name)
    except RetrievalError as error:
        raise ScoringError(f"its answers were compared by {name!r}: {error}") from error
    return EmbeddingEquivalence(embeddings, threshold=threshold, name=name)


def _nli(options: Mapping[str, Any]) -> Equivalence:
    from guardrail.scoring.baselines.nli_equivalence import NliEquivalence

    name = options.get("model")
    if not isinstance(name, str) or not name:
        raise ScoringError("its answers were compared by an NLI model without a name; give the scorer itself")
    return NliEquivalence(name)


_EQUIVALENCES: Mapping[str, Callable[[Mapping[str, Any]], Equivalence]] = MappingProxyType(
    {
        "embedding": _embedding,
        "nli": _nli,
        "token f1": lambda options: TokenF1(options["threshold"]),
        "normalised": lambda _: SameWords(),
    }
)
