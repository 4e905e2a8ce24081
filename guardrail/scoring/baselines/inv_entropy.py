"""Inv-Entropy: how far an answer narrows down its question (Song et al. 2025, arXiv 2506.09684)."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from guardrail.kernels.memory import TooLargeError
from guardrail.messages import question_of
from guardrail.model.local import LocalModel
from guardrail.model.remote.weightless import WeightlessModel
from guardrail.model.token_log_probs import NotFiniteError
from guardrail.scoring.baselines.equivalence import Equivalence, Floats, compare_all
from guardrail.scoring.baselines.perturbed import Perturbed, asked_as
from guardrail.scoring.baselines.samples import SampleSource, Sampling, TooLongError
from guardrail.types import Trace


def inv_entropy(inputs: ArrayLike, outputs: ArrayLike) -> float:
    """-sum_i d_i log d_i, nats, with d the diagonal of P_y P_x: two walks, from output i to an output like it, and from that
    one's input to an input like that; d_i is the chance to come back to input i.

    inputs, outputs: similarities of n questions and of their n answers, (n, n), not negative, 1 on the diagonal. P are their
    rows divided by their sums. -d log d grows up to d = 1/e: between inputs that are much alike, answers that differ raise it.
    Where all inputs and all outputs are wholly different it is 0 too, which no wordings of one question are.

        inv_entropy(np.eye(2), np.ones((2, 2)))   # P_y P_x = [[1/2, 1/2], [1/2, 1/2]]: log 2
    """
    walk = _rows(outputs) @ _rows(inputs)  # (n, n): from an output to an input, p(x | y)
    back = np.diag(walk)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(-np.sum(np.where(back > 0, back * np.log(back), np.where(back == 0, 0.0, np.nan))))


def _rows(similarity: ArrayLike) -> Floats:
    w = np.asarray(similarity, dtype=np.float64)
    rows: Floats = w / w.sum(axis=1, keepdims=True)
    return rows


class InvEntropy(Perturbed):
    """Of the question with its answer, and of n wordings of it, each with an answer drawn at the same temperature.

    The formula is that of the paper's released code. Chosen here: wordings that the scored model draws (`REWORD`), where
    the paper takes paraphrases by another model or a genetic search, and one answer a wording, where it takes five and averages
    over 20 draws from them. Similarity is that of `equivalence`, the whole texts compared. Passages have no part in
    what is drawn.
    """

    name = "inv-entropy"
    asks = "text"
    unit = "nats"

    def __init__(
        self,
        model: LocalModel,
        *,
        source: SampleSource | None = None,
        equivalence: Equivalence | None = None,
        samples: int = 10,
        temperature: float = 0.7,
    ) -> None:
        super().__init__(model, Sampling(samples, temperature), source, equivalence)

    def uncertainty(self, trace: Trace) -> float:
        wordings = self.wordings(trace)
        answers = self._answers(trace, wordings)
        inputs = compare_all(self.equivalence, "", [question_of(trace.asked or trace.messages), *wordings]).similarity
        outputs = compare_all(self.equivalence, "", [trace.text, *answers]).similarity
        return inv_entropy(inputs, outputs)

    def _answers(self, trace: Trace, wordings: tuple[str, ...]) -> list[str]:
        """One drawn for each wording. Raises for those that cannot be."""
        conversations = [asked_as(trace.asked or trace.messages, wording or " ") for wording in wordings]
        options: dict[str, Any] = {
            "max_new_tokens": self.source.max_new_tokens,
            "temperature": self.sampling.temperature,
            "seed": self.source.seed,
        }
        if isinstance(self.model, WeightlessModel):  # some take no seed for an answer
            works = [partial(self.model.draw, one, 1, top_p=self.sampling.top_p, **options) for one in conversations]
            with self.model.lock:  # traces are scored side by side, and `concurrency` is of all requests
                drawn = [one for (one,) in self.model.each(works)]
        else:
            drawn = self.model.generate_batch(conversations, **options)
        if any(one.fault == "not_finite" for one in drawn):
            raise NotFiniteError("NaN or infinity in the model's logits: no answer can be drawn")
        if any(one.fault == "out_of_memory" for one in drawn):
            raise TooLargeError(f"answers to {len(wordings)} wordings do not fit into memory together")
        if any(one.finish_reason == "prompt_too_long" for one in drawn):
            raise TooLongError("a wording of the question leaves no room for its answer")
        return [one.text for one in drawn]
