"""A scorer from what a calibrator records of it: its name and its options. Knows nothing about calibrators."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from guardrail.errors import RetrievalError, ScoringError
from guardrail.scoring.baselines.equivalence import Equivalence, TokenF1
from guardrail.scoring.baselines.registry import scorer, scorer_class
from guardrail.scoring.baselines.samples import SampleSource
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.scoring.profile import Profile

if TYPE_CHECKING:
    from guardrail.model.local import LocalModel
    from guardrail.scoring.protocol import Scorer

_OF_SOURCE = ("max_new_tokens", "seed")
_KEYWORDS = {"token": "semantic_token"}  # where an option is recorded under another name than its keyword's


def scorer_from(name: str, options: Mapping[str, Any], model: LocalModel) -> Scorer:
    """The scorer whose `name` and `options` these are: it scores as the one did that they were recorded of.

    Raises `ScoringError` for a name that does not exist, options that are none, and what cannot be made again from a file: an
    equivalence of the user's own, or samples cut off by an option that the scorer does not take.

        scorer_from("sar", {"samples": 5, "temperature": 1.0, ...}, model)
        all(scorer_from(s.name, s.options, model).options == s.options for s in scorers)   # but for `token_source`
    """
    made_by = scorer_class(name)
    recorded = _plain(options)
    try:
        made = _made(name, recorded, model, frozenset(inspect.signature(made_by).parameters))
    except (KeyError, TypeError, ValueError) as error:
        raise ScoringError(f"the options {_short(recorded)} are none of {name!r}: {_line(error)}") from error
    now = _plain(made.options)
    for key in sorted(recorded.keys() | now.keys()):
        # where an option came from changes no score
        if not key.endswith("_source") and recorded.get(key, "absent") != now.get(key, "absent"):
            raise ScoringError(
                f"scorer {name!r} cannot be made with {key} {_short(recorded.get(key, 'absent'))}: made from its name, it has "
                f"{_short(now.get(key, 'absent'))}; give the scorer itself"
            )
    return made


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


def _made(name: str, options: dict[str, Any], model: LocalModel, takes: frozenset[str]) -> Scorer:
    if name in _OF_ONE_OBJECT:
        return _OF_ONE_OBJECT[name](model, options)
    own = {_KEYWORDS.get(key, key): value for key, value in options.items()}
    source = equivalence = None
    if "source" in takes:
        of_source = {key: own.pop(key) for key in _OF_SOURCE if key in own}
        if missing := [key for key in _OF_SOURCE if key not in of_source]:
            raise ScoringError(
                f"the options of {name!r} do not say its {missing[0]}, so its samples cannot be drawn again"
            )
        source = SampleSource(model, **of_source)
    if "equivalence" in takes:
        recorded = own.pop("equivalence", None)
        if not isinstance(recorded, Mapping):
            raise ScoringError(
                f"the options of {name!r} do not say when two answers are the same: equivalence {recorded!r}"
            )
        equivalence = equivalence_from(recorded)
    # what a scorer records and takes no keyword for has one value, which the caller compares
    return scorer(name, model, source=source, equivalence=equivalence, **{k: v for k, v in own.items() if k in takes})


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


_OF_ONE_OBJECT: Mapping[str, Callable[[LocalModel, dict[str, Any]], Scorer]] = MappingProxyType(
    {"hybridgrad": lambda model, options: HybridGradScorer(model, profile=Profile.model_validate(options))}
)
"""Scorers whose options are one object, which is checked as a whole."""

_EQUIVALENCES: Mapping[str, Callable[[Mapping[str, Any]], Equivalence]] = MappingProxyType(
    {
        "embedding": _embedding,
        "nli": _nli,
        "token f1": lambda options: TokenF1(options["threshold"]),
    }
)


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """As it is after a file: tuples are lists."""
    out: dict[str, Any] = json.loads(json.dumps(dict(options)))
    return out


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _line(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"no {error}"
    return " ".join(str(error).split())[:200]
