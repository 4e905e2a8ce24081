"""M.I.: whether a first answer in the prompt changes the second (Abbasi-Yadkori et al. 2024, arXiv 2406.02543)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp, xlogy

from guardrail.messages import question_at, question_of
from guardrail.model.local import LocalModel
from guardrail.model.token_log_probs import token_log_probs
from guardrail.scoring.baselines.base import Compared
from guardrail.scoring.baselines.clusters import clusters
from guardrail.scoring.baselines.equivalence import Equivalence, Floats, TokenF1, compare_all
from guardrail.scoring.baselines.samples import SampleSource, Sampling
from guardrail.types import Message, Trace

CHAINED = (
    "Consider the following question:\nQ: {question}\nOne answer to question Q is: {answer}\n"
    "Provide an answer to the following question:\nQ: {question}\nA:"
)
"""The prompt that chains a second answer to the first, after the paper's."""


def mutual_information(log_first: ArrayLike, log_second: ArrayLike) -> float:
    """I = sum_ij q_ij log(q_ij / (q_i. q_.j)), nats, in [0, log C]: 0 where the second answer does not look at the first.

    log_first: (C,), log p of each cluster of answers; log_second: (C, C), row i after a first answer from cluster i. Both are
    normalised over the C clusters that were seen; q_ij is the product, q_i. and q_.j its marginals, n = 2 of the paper.

        mutual_information(np.log([0.5, 0.5]), np.log([[1, 0], [0, 1]]))   # the second copies the first: log 2
    """
    first, second = np.asarray(log_first, dtype=np.float64), np.asarray(log_second, dtype=np.float64)
    joint = np.exp(
        (first - logsumexp(first))[:, None] + second - logsumexp(second, axis=1, keepdims=True)
    )  # (C, C), sums to 1
    rows, columns = joint.sum(axis=1, keepdims=True), joint.sum(axis=0, keepdims=True)
    information = xlogy(joint, joint).sum() - xlogy(rows, rows).sum() - xlogy(columns, columns).sum()
    return max(0.0, float(information)) if np.isfinite(information) else float("nan")


class MutualInformation(Compared):
    """The paper's setting: 10 samples at temperature 0.9, clusters of F1 > 0.25, two answers in a chain.

    The chained prompt takes the place of the last user message. The answer itself has no part in it. Up to 10 x 10 short
    answers are read, each after its own prompt.
    """

    name = "mutual-information"
    of_question = True
    unit = "nats"

    def __init__(
        self,
        model: LocalModel,
        *,
        source: SampleSource | None = None,
        equivalence: Equivalence | None = None,
        samples: int = 10,
        temperature: float = 0.9,
    ) -> None:
        super().__init__(model, Sampling(samples, temperature), source, equivalence or TokenF1())

    def uncertainty(self, trace: Trace) -> float:
        drawn = self.samples(trace)
        seen: dict[tuple[int, ...], int] = {ids: i for i, ids in reversed(list(enumerate(drawn.ids)))}
        distinct = sorted(seen.values())  # one answer's probability counts once, however often it was drawn
        texts = [drawn.texts[i] for i in distinct]
        labels = clusters(compare_all(self.equivalence, question_of(trace.messages), texts).same)
        answers = [drawn.ids[i] for i in distinct]
        firsts = [texts[int(np.flatnonzero(labels == c)[0])] for c in range(labels.max() + 1)]
        if len(firsts) == 1:
            return 0.0
        prompts = [self.prompt_about(chained(trace.messages, text), *answers) for text in firsts]
        read = token_log_probs(self.model, [(prompt, ids) for prompt in prompts for ids in answers])
        second = np.array([float(row.sum()) for row in read]).reshape(len(firsts), len(answers))
        first = np.array([drawn.log_probs[i].sum() for i in distinct])
        return mutual_information(_by_cluster(first[None], labels)[0], _by_cluster(second, labels))


def chained(messages: tuple[Message, ...], answer: str) -> list[Message]:
    """The conversation with the first answer in its last question."""
    at = question_at(messages)
    asked = CHAINED.format(question=question_of(messages), answer=answer)
    if at is None:
        return [*messages, {"role": "user", "content": asked}]
    return [*messages[:at], {**messages[at], "content": asked}, *messages[at + 1 :]]


def _by_cluster(log_p: Floats, labels: ArrayLike) -> Floats:
    """(R, answers) -> (R, C): log of the sum over each cluster."""
    names = np.asarray(labels)
    return np.stack([logsumexp(log_p[:, names == c], axis=1) for c in range(names.max() + 1)], axis=1)
