"""P(True): the model says whether its own answer is true (Kadavath et al. 2022, arXiv 2207.05221, section 4)."""

from __future__ import annotations

from scipy.special import expit

from guardrail.errors import ScoringError
from guardrail.model.local import LocalModel
from guardrail.model.token_log_probs import next_token_log_probs
from guardrail.scoring.baselines.base import AnswerScorer
from guardrail.types import Trace

ASKED = "Is the answer above:\n(A) True\n(B) False\nReply with the letter A or B only."
"""What the model is asked, as the next turn of the conversation that holds its answer."""


def p_false(log_p_a: float, log_p_b: float) -> float:
    """1 - P(True), with P(True) = p(A) / (p(A) + p(B)); in [0, 1]. Both are log-probabilities of the reply's first token.

    The original reads p(A) alone; a chat model may spend most of its first token on other words, which say neither.

        p_false(math.log(0.3), math.log(0.1))   # 1 - 0.3 / 0.4 = 0.25
    """
    return float(expit(log_p_b - log_p_a))


class PTrue(AnswerScorer):
    """One forward pass over the conversation, the answer and the question whether it is true; no samples are shown.

    Raises `ScoringError` for a tokenizer in which both letters begin alike.
    """

    name = "p-true"
    needs = "logits"
    unit = "probability that the answer is false"

    def __init__(self, model: LocalModel) -> None:
        super().__init__(model)
        a, b = (model.tokenizer(letter, add_special_tokens=False)["input_ids"] for letter in "AB")
        if not a or not b or a[0] == b[0]:
            raise ScoringError(f"the tokenizer of {model.name} does not tell A from B by their first token: {a}, {b}")
        self._letters = a[0], b[0]

    def uncertainty(self, trace: Trace) -> float:
        turns = ({"role": "assistant", "content": trace.text}, {"role": "user", "content": ASKED})
        log_probs = next_token_log_probs(self.model, self.prompt_about([*trace.messages, *turns]))
        a, b = (float(log_probs[letter]) for letter in self._letters)
        return p_false(a, b)
