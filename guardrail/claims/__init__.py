"""An answer taken apart into claims, each with its exact place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guardrail.claims.atomic import AtomicClaims
from guardrail.claims.fields import JsonFields
from guardrail.claims.protocol import ClaimExtractor
from guardrail.claims.sentences import SentenceClaims
from guardrail.errors import ModelError

if TYPE_CHECKING:
    from guardrail.model.local import LocalModel

EXTRACTORS = (SentenceClaims.name, AtomicClaims.name, JsonFields.name)
"""The names that `extractor` knows."""

OF_WHOLE_ANSWERS = (AtomicClaims, JsonFields)
"""Extractors that find nothing in an answer before its end."""

__all__ = [
    "EXTRACTORS",
    "OF_WHOLE_ANSWERS",
    "AtomicClaims",
    "ClaimExtractor",
    "JsonFields",
    "SentenceClaims",
    "extractor",
]


def extractor(name: str, model: LocalModel | None = None) -> ClaimExtractor:
    """An extractor by name, with its default options.

    Args:
        name: "sentences"; "fields", for answers in JSON; or "atomic", which asks `model` for the facts of an answer.
        model: Needed by "atomic" only.

    Raises:
        ModelError: The name is unknown, or "atomic" was asked for without a model.
    """
    if name == SentenceClaims.name:
        return SentenceClaims()
    if name == JsonFields.name:
        return JsonFields()
    if name != AtomicClaims.name:
        raise ModelError(f"there is no claim extractor {name!r}; take one of: {', '.join(EXTRACTORS)}")
    if model is None:
        raise ModelError(f"the claim extractor {name!r} asks a chat model; give one, or take {SentenceClaims.name!r}")
    return AtomicClaims(model)
