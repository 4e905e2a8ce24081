"""Equivalence by bidirectional entailment (Kuhn et al. 2023, arXiv 2302.09664): each answer entails the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from guardrail.errors import ScoringError
from guardrail.model.cross_encoder import load_cross_encoder
from guardrail.scoring.baselines.equivalence import Comparison, Floats

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

_CLASSES = ("entail", "neutral", "contra")


class NliEquivalence:
    """Two answers are equivalent where an NLI model calls it entailment in both directions, each read after the question.

    cross_encoder: a sentence-transformers `CrossEncoder` with the classes entailment, neutral and contradiction, or the name
    or folder of one. similarity: the mean probability of entailment of both directions. squared distance: the mean of
    p(contradiction) + p(neutral) / 2 (Semantic Density, arXiv 2405.13845). relation: both directions together, as CCP does it:
    what one of them says, if the other does not say the opposite. Raises `ScoringError` for a model with other
    classes, or one that cannot be loaded.

        NliEquivalence("cross-encoder/nli-deberta-v3-base")
    """

    def __init__(self, cross_encoder: CrossEncoder | str, *, batch_size: int = 32) -> None:
        self._model = (
            load_cross_encoder(cross_encoder, ScoringError) if isinstance(cross_encoder, str) else cross_encoder
        )
        config = self._model.model.config
        self.name = cross_encoder if isinstance(cross_encoder, str) else str(getattr(config, "_name_or_path", ""))
        self._batch_size = batch_size
        labels = {int(i): str(label).lower() for i, label in config.id2label.items()}
        found = [[i for i, label in labels.items() if label.startswith(name)] for name in _CLASSES]
        if len(labels) != 3 or any(len(where) != 1 for where in found):
            raise ScoringError(
                f"{self.name or 'the cross-encoder'} has the classes {sorted(labels.values())}; an NLI model has entailment, "
                "neutral and contradiction (its config.id2label)"
            )
        self._columns = [where[0] for where in found]

    @property
    def options(self) -> dict[str, Any]:
        return {"kind": "nli", "model": self.name}

    def compare(self, question: str, left: Sequence[str], right: Sequence[str]) -> Comparison:
        a, b = ([f"{question} {text}".strip() for text in side] for side in (left, right))
        pairs = [*zip(a, b, strict=True), *zip(b, a, strict=True)]
        if not pairs:
            return Comparison(np.zeros(0, dtype=np.bool_), np.zeros(0), np.zeros(0))
        p = self._probabilities(pairs).reshape(2, len(a), 3)  # direction, pair, class
        entails, neutral, contradicts = (p[:, :, k] for k in range(3))
        said = p.argmax(axis=-1)  # (2, pairs)
        relation = np.sign((1.0 - said).sum(axis=0))  # entailment 1, neutral 0, contradiction -1
        same = (said == 0).all(axis=0)
        return Comparison(same, entails.mean(axis=0), (contradicts + neutral / 2).mean(axis=0), relation)

    def _probabilities(self, pairs: Sequence[tuple[str, str]]) -> Floats:
        """(pairs, 3): entailment, neutral, contradiction."""
        raw = self._model.predict(
            [list(pair) for pair in pairs],
            batch_size=self._batch_size,
            apply_softmax=True,
            show_progress_bar=False,
            convert_to_numpy=True,
        )
        return np.asarray(raw, dtype=np.float64)[:, self._columns]
