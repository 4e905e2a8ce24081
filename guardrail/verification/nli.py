"""Claims held against passages by a cross-encoder trained on natural language inference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from guardrail.errors import ModelError
from guardrail.model.cross_encoder import load_cross_encoder
from guardrail.types import Verification
from guardrail.verification.premises import PremiseFinder
from guardrail.verification.settling import Judgement, settle

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guardrail.types import Claim, Evidence, Support

LABELS = ("entailment", "contradiction", "neutral")


class NliVerifier:
    """A sentence-transformers `CrossEncoder` whose classes are entailment, contradiction and neutral, in any order.

        NliVerifier("cross-encoder/nli-deberta-v3-base")

    Premise: the passage's sentence nearest to the claim, and the piece of the passage around it, each by itself; the larger
    probability counts. Hypothesis: the claim. supported: entailment at `bound` or above and contradiction below it;
    contradicted: the other way round; both or neither: not found.

    cross_encoder: a model, or a hub id or folder, which loads at the first use. bound: in (0.5, 1]; the default is not
    measured: NLI models differ, so measure yours. Raises `ModelError` for a model that cannot be loaded or has other classes.
    """

    name = "nli"

    def __init__(
        self,
        cross_encoder: Any,
        *,
        bound: float = 0.9,
        premises: PremiseFinder | None = None,
        device: str = "cpu",
        batch_size: int = 16,
    ) -> None:
        if not 0.5 < bound <= 1:
            raise ModelError(f"the bound of an NLI verifier is {bound}; it must be above 0.5 and at most 1")
        self.bound = bound
        self.premises = premises or PremiseFinder()
        self._device, self._batch_size = device, batch_size
        self._spec = cross_encoder if isinstance(cross_encoder, str) else type(cross_encoder).__name__
        self._model = None if isinstance(cross_encoder, str) else cross_encoder
        self._classes = None if self._model is None else classes_of(self._model, self._spec)

    def verify(
        self, claims: Sequence[Claim], evidence: Sequence[Sequence[Evidence]], *, question: str
    ) -> list[Verification]:
        """As `Verifier.verify`; all pairs of premise and hypothesis in one batched prediction. p_supported: of entailment."""
        found = self.premises.find(claims, evidence, question)
        pairs = [
            (text, " ".join(claim.text.split()))
            for claim, premises in zip(claims, found, strict=True)
            for premise in premises
            for text in (premise.sentence, premise.text)
        ]
        rows = iter(self._predict(pairs))
        return [
            settle(
                passages,
                [Judgement(p.evidence, *self._support([next(rows), next(rows)])) for p in premises],
                self._method,
            )
            for passages, premises in zip(evidence, found, strict=True)
        ]

    @property
    def _method(self) -> str:
        return (
            f"NLI cross-encoder {self._spec}, entailment or contradiction at {self.bound:g} or above, "
            f"similarity at {self.premises.min_similarity:g} or above"
        )

    def _support(self, rows: Sequence[Mapping[str, float]]) -> tuple[Support, float | None]:
        if not all(math.isfinite(p) for row in rows for p in row.values()):
            return "not found", None
        entailed, denied = (max(row[label] for row in rows) for label in ("entailment", "contradiction"))
        if entailed >= self.bound > denied:
            return "supported", entailed
        return ("contradicted" if denied >= self.bound > entailed else "not found"), entailed

    def _predict(self, pairs: Sequence[tuple[str, str]]) -> list[dict[str, float]]:
        if not pairs:
            return []
        if self._model is None:
            self._model = load_cross_encoder(self._spec, ModelError, self._device)
            self._classes = classes_of(self._model, self._spec)
        rows = self._model.predict(
            list(pairs), apply_softmax=True, show_progress_bar=False, batch_size=self._batch_size
        )
        classes = self._classes or {}
        return [{label: float(row[at]) for label, at in classes.items()} for row in rows]


def classes_of(cross_encoder: Any, name: str) -> dict[str, int]:
    """Where entailment, contradiction and neutral stand in what a cross-encoder gives, from its config's `id2label`.

    Raises `ModelError` for a model with other classes: a reranker has one, and LABEL_0 says nothing.
    """
    labels = getattr(getattr(cross_encoder, "config", None), "id2label", None) or {}
    places = {str(label).casefold(): int(at) for at, label in labels.items()}
    if set(places) != set(LABELS):
        raise ModelError(
            f"{name} is no NLI model: its classes are {sorted(map(str, labels.values()))}, not {', '.join(LABELS)}; "
            "give one trained on natural language inference, or set id2label in its config"
        )
    return {label: places[label] for label in LABELS}
