"""The semantic grader: cosine of sentence embeddings between an answer and the accepted forms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydantic import JsonValue

from guardrail.errors import DataError
from guardrail.grading.alias import equal, negations_of
from guardrail.grading.protocol import AnswerRow, Grade, Grader
from guardrail.plain_text import is_number, tokens
from guardrail.retrieval.embedding_spec import DEFAULT_EMBEDDING
from guardrail.scoring.baselines.embedding_equivalence import without_question

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings

    from guardrail.plain_text import Token

SEMANTIC_THRESHOLD = 0.75
"""Cosine from which on an answer says what a form says, for all-MiniLM-L6-v2. Of 300 bundled questions (calibration half),
84 % of 810 right answers reach it, and 0.5 % of 1,122 answers that are another question's of the same kind; at 0.7 88 % and
1.2 %, at 0.8
75 % and 0.1 %."""


class SemanticGrader(Grader):
    """Right when the cosine of answer and nearest form reaches `threshold`, their numbers agree, and neither alone is negated.

        SemanticGrader()  # all-minilm-l6-v2: no network where its wheel is installed
        SemanticGrader("BAAI/bge-small-en-v1.5", threshold=0.8)

    The words of the question are left out of both, since two sentences that repeat it are close whatever they say. Numbers
    agree when those of the answer that the question does not have are those of the form; forms without numbers ask for none.
    Forms of one or two letters ("Co") have no meaning that an embedding sees: only the whole answer can equal them.

    Calls right what is wrong: a neighbour in meaning ("England" for "Germany" has 0.78, "Gulf of Mexico" for "Gulf of
    California" 0.82); several candidates ("Paris or Lyon"). Calls wrong what is right: long answers, whose one right word is
    diluted; names that the model has never seen, in two spellings ("Erevan" for "Yerevan" 0.18). For short names and numbers
    `alias` errs less; this grader is for accepted answers that are sentences. A cosine that is not finite: ungraded.
    docs/results/graders.md has rates.

    Raises `DataError` for a threshold outside (0, 1], and `RetrievalError` for an embedding model that cannot be loaded.
    """

    kind = "semantic"

    def __init__(
        self,
        model: str = DEFAULT_EMBEDDING,
        *,
        threshold: float = SEMANTIC_THRESHOLD,
        embeddings: Embeddings | None = None,
    ) -> None:
        super().__init__()
        if not 0 < threshold <= 1:
            raise DataError(
                f"the threshold of the semantic grader is {threshold:g}; it is a cosine, above 0 and at most 1"
            )
        self.model, self.threshold = model, threshold
        self._embeddings = embeddings

    @property
    def name(self) -> str:
        return f"{self.kind}:{self.model}@{self.threshold:g}"

    @property
    def options(self) -> Mapping[str, JsonValue]:
        return {"model": self.model, "threshold": self.threshold}

    def load(self) -> None:
        self._load()

    def _load(self) -> Embeddings:
        if self._embeddings is None:
            from guardrail.retrieval.embedding import SentenceEmbeddings  # imports sentence-transformers

            self._embeddings = SentenceEmbeddings(self.model)
        return self._embeddings

    def _grade(self, rows: Sequence[AnswerRow]) -> Sequence[Grade]:
        return [self._decide(row, cosines) for row, cosines in zip(rows, self.cosines(rows), strict=True)]

    def _decide(self, row: AnswerRow, cosines: Sequence[float]) -> Grade:
        said = tokens(row.answer)
        for form, cosine in zip(row.accepted, cosines, strict=True):
            wanted = tokens(form)
            if wanted and equal(said, wanted):
                return True
            if not _is_short(wanted) and cosine >= self.threshold and _agree(said, wanted, tokens(row.question)):
                return True
        if not np.isfinite(cosines).all():
            self.ungraded["not finite"] += 1
            return None
        return False

    def cosines(self, rows: Sequence[AnswerRow]) -> list[list[float]]:
        """Of each answer with each of its forms, in [-1, 1]; every text is embedded once."""
        pairs = [[without_question(row.question, row.answer, form) for form in row.accepted] for row in rows]
        unique = list(dict.fromkeys(text for row in pairs for pair in row for text in pair))
        if not unique:
            return [[] for _ in rows]
        made = np.array(self._load().embed_documents(unique), dtype=np.float64)  # (texts, D)
        lengths = np.linalg.norm(made, axis=1, keepdims=True)
        vectors = dict(zip(unique, made / np.where(lengths == 0, 1, lengths), strict=True))
        return [[float(vectors[a] @ vectors[b]) for a, b in row] for row in pairs]


def _is_short(form: Sequence[Token]) -> bool:
    return not form or (len(form) == 1 and len(form[0].raw) <= 2 and form[0].raw.isalpha())


def _agree(said: Sequence[Token], form: Sequence[Token], question: Sequence[Token]) -> bool:
    """What a cosine hardly sees: the numbers are the same, and both are negated or neither is."""
    asked = {t.text for t in question}
    here, there = ({t.text for t in text if is_number(t)} for text in (said, form))
    if there and here - asked != there - asked:
        return False
    negations = negations_of([*question, *said])
    return any(t.text in negations for t in said) == any(t.text in negations for t in form)
