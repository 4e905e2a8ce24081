"""The BEM grader: a BERT classifier trained to tell whether two answers to one question are equivalent.

Bulian et al., "Tomayto, Tomahto. Beyond Token-level Answer Equivalence for Question Answering Evaluation", arXiv 2202.07654.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import JsonValue

from guardrail.errors import DataError, ModelError
from guardrail.grading.protocol import AnswerRow, Grade, Grader
from guardrail.model.checkpoint import require_all_weights, require_reachable, safe_weights, with_remedy
from guardrail.model.identity import require_finite_weights

BEM_MODEL = "kortukov/answer-equivalence-bem"
BEM_THRESHOLD = 0.7
EQUIVALENT = 1  # the class whose probability counts
_LEAST = 18  # tokens that are left to the answer, [CLS] and [SEP] among them


class BemGrader(Grader):
    """Right when the classifier's probability that answer and form are equivalent, given the question, reaches `threshold`.

        BemGrader()  # kortukov/answer-equivalence-bem, 0.4 GB from the hub at the first use
        BemGrader("models/bem", threshold=0.5)

    Input, as the model was trained: `[CLS] answer [SEP] accepted form [SEP] question [SEP]`, segment 0 for the answer and 1 for
    the rest; the best form counts. Special tokens written out in an answer are text, not tokens. What is longer than the model
    takes is cut, the answer from its end, so that the form and the question always stand; where these two fill the model, and
    where a probability is not finite, the answer is ungraded.

    Calls right what is wrong: it was trained on answers to SQuAD questions, whose mistakes are near misses of a reader with the
    passage at hand; a fluent wrong name of the right kind can pass. Calls wrong what is right: long answers, which SQuAD
    has few of. English only. Its threshold is the 0.7 that the field reports; measure it on labelled answers of yours.

    Raises `DataError` for a threshold outside (0, 1) and `ModelError` for a model that cannot be loaded or has not two classes.
    """

    kind = "bem"

    def __init__(
        self, model: str = BEM_MODEL, *, threshold: float = BEM_THRESHOLD, device: str = "cpu", batch_size: int = 32
    ) -> None:
        super().__init__()
        if not 0 < threshold < 1:
            raise DataError(f"the threshold of the bem grader is {threshold:g}; a probability lies between 0 and 1")
        self.model, self.threshold = model, threshold
        self._device, self._batch_size = device, batch_size
        self._loaded: tuple[Any, Any] | None = None

    @property
    def name(self) -> str:
        return f"{self.kind}:{self.model}@{self.threshold:g}"

    @property
    def options(self) -> Mapping[str, JsonValue]:
        return {"model": self.model, "threshold": self.threshold}

    def load(self) -> None:
        self._load()

    def _grade(self, rows: Sequence[AnswerRow]) -> Sequence[Grade]:
        pairs = [(row, form) for row in rows for form in row.accepted]
        p = iter(self.probabilities([(row.question, row.answer, form) for row, form in pairs]))
        grades: list[Grade] = []
        for row in rows:
            best = [next(p) for _ in row.accepted]
            grades.append(self._decide(best))
        return grades

    def _decide(self, best: Sequence[float]) -> Grade:
        if any(p >= self.threshold for p in best):
            return True
        if not all(map(math.isfinite, best)):
            self.ungraded["too long, or not finite"] += 1
            return None
        return False

    def probabilities(self, triples: Sequence[tuple[str, str, str]]) -> list[float]:
        """Of equivalence, for each question, answer and accepted form; NaN where the model cannot take it."""
        import torch

        tokenizer, model = self._load()
        rows = [_encoded(tokenizer, model, *triple) for triple in triples]
        encoded = {i: row for i, row in enumerate(rows) if row is not None}
        order = sorted(encoded, key=lambda i: len(encoded[i]["input_ids"]))  # little padding
        out = [math.nan] * len(triples)
        for at in range(0, len(order), self._batch_size):
            batch = order[at : at + self._batch_size]
            inputs = tokenizer.pad([encoded[i] for i in batch], return_tensors="pt").to(self._device)
            with torch.inference_mode():
                found = model(**inputs).logits.float().softmax(-1)[:, EQUIVALENT].tolist()
            for i, p in zip(batch, found, strict=True):
                out[i] = p
        return out

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            from transformers import AutoModelForSequenceClassification, AutoTokenizer

            try:
                require_reachable(self.model)
                tokenizer = AutoTokenizer.from_pretrained(self.model)
                model, info = AutoModelForSequenceClassification.from_pretrained(
                    self.model,
                    output_loading_info=True,
                    ignore_mismatched_sizes=True,  # refused below, by name
                    **safe_weights(),
                )
            except Exception as error:  # damaged files make their readers raise anything
                reason = with_remedy(" ".join(str(error).split())[:200])
                raise ModelError(
                    f"cannot load the bem grader's model {self.model!r}: {reason}. Without network, save it where there is one "
                    f"(hf download {BEM_MODEL} --local-dir bem) and give the folder: --grader bem:./bem"
                ) from error
            require_all_weights(self.model, model, info)
            require_finite_weights(self.model, model)
            if model.config.num_labels != 2:
                raise ModelError(
                    f"{self.model!r} has {model.config.num_labels} classes; an answer-equivalence model has two, the second of "
                    f"which is 'equivalent', such as {BEM_MODEL}"
                )
            self._loaded = tokenizer, model.eval().to(self._device)
        return self._loaded


def _encoded(tokenizer: Any, model: Any, question: str, answer: str, form: str) -> dict[str, list[int]] | None:
    """None where form and question fill the model. Ids, not text with `[SEP]` in it, are joined: an answer that spells out a
    special token must not become one.
    """

    def ids(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])

    said, rest = ids(answer), [*ids(form), tokenizer.sep_token_id, *ids(question), tokenizer.sep_token_id]
    most = min(tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", 512))
    if len(rest) > most - _LEAST:
        return None
    first = [tokenizer.cls_token_id, *said[: most - len(rest) - 2], tokenizer.sep_token_id]
    return {
        "input_ids": first + rest,
        "token_type_ids": [0] * len(first) + [1] * len(rest),
        "attention_mask": [1] * (len(first) + len(rest)),
    }
