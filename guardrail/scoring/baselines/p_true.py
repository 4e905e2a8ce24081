"""P(True): the model says whether its own answer is true (Kadavath et al. 2022, arXiv 2207.05221, section 4)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import expit

from guardrail.errors import ScoringError
from guardrail.model.local import LocalModel
from guardrail.model.remote.model import RemoteModel
from guardrail.model.remote.replies import Token
from guardrail.model.token_log_probs import next_token_log_probs
from guardrail.scoring.baselines.base import AnswerScorer, NoLogProbsError
from guardrail.types import Trace

ASKED = "Is the answer above:\n(A) True\n(B) False\nReply with the letter A or B only."
"""What the model is asked, as the next turn of the conversation that holds its answer."""


def letters_in(tokens: Sequence[Token]) -> tuple[float, float]:
    """log p of A and of B as the reply's first token, nats, from its likeliest tokens.

    A letter's spellings (" A", "A") are added up. One that is not among the tokens has at most the probability of the least of
    them; of what it may have, the more doubtful end is taken: none for A, all of it for B. Raises `NoLogProbsError` where
    neither letter is there.
    """
    found = {"A": -math.inf, "B": -math.inf}
    for token in tokens:
        letter = token.data.decode("utf-8", errors="replace").strip()
        if letter in found:
            found[letter] = float(np.logaddexp(found[letter], token.log_prob))
    if not any(map(math.isfinite, found.values())):
        raise NoLogProbsError(
            f"neither A nor B is among the {len(tokens)} likeliest first tokens that the endpoint told of"
        )
    if not math.isfinite(found["B"]):
        found["B"] = min(token.log_prob for token in tokens)
    return found["A"], found["B"]


def p_false(log_p_a: float, log_p_b: float) -> float:
    """1 - P(True), with P(True) = p(A) / (p(A) + p(B)); in [0, 1]. Both are log-probabilities of the reply's first token.

    The original reads p(A) alone; a chat model may spend most of its first token on other words, which say neither.

        p_false(math.log(0.3), math.log(0.1))   # 1 - 0.3 / 0.4 = 0.25
    """
    return float(expit(log_p_b - log_p_a))


class PTrue(AnswerScorer):
    """One forward pass over the conversation, the answer and the question whether it is true; no samples are shown.

    Of a model behind an endpoint, one more request, of one token.

    Raises `ScoringError` for a tokenizer in which both letters begin alike.
    """

    name = "p-true"
    needs = "logits"
    asks = "top_log_probs"
    unit = "probability that the answer is false"

    def __init__(self, model: LocalModel) -> None:
        super().__init__(model)
        if isinstance(model, RemoteModel):
            return
        a, b = (model.tokenizer(letter, add_special_tokens=False)["input_ids"] for letter in "AB")
        if not a or not b or a[0] == b[0]:
            raise ScoringError(f"the tokenizer of {model.name} does not tell A from B by their first token: {a}, {b}")
        self._letters = a[0], b[0]

    def uncertainty(self, trace: Trace) -> float:
        turns = ({"role": "assistant", "content": trace.text}, {"role": "user", "content": ASKED})
        messages = [*trace.messages, *turns]
        if isinstance(self.model, RemoteModel):
            return p_false(*letters_in(self.model.first_tokens(messages)))
        log_probs = next_token_log_probs(self.model, self.prompt_about(messages))
        a, b = (float(log_probs[letter]) for letter in self._letters)
        return p_false(a, b)
