"""The confidence that the model states itself: after its answer, in a turn of its own, or at the answer's end.

Uncertainty distillation (see docs/explanation/distillation.md) teaches a model to state it; one that was not taught is merely
asked, as in Xiong et al. 2024 (arXiv 2306.13063) and Tian et al. 2023 (arXiv 2305.14975).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from scipy.special import softmax

from guardrail.errors import ScoringError
from guardrail.model.local import LocalModel
from guardrail.model.recording import Keep
from guardrail.model.stated import reply_log_probs
from guardrail.scoring.baselines.base import TextScorer, UnstatedError
from guardrail.stated import Wording
from guardrail.types import Message, Trace

_LONGEST = 16  # tokens of a reply that is one label


def stated_doubt(log_probs: Sequence[float], middles: Sequence[float]) -> float:
    """1 - sum_k p_k m_k: one minus the mean of what is stated, in [0, 1].

    log_probs: of each label, nats, whatever they sum to; other replies say nothing. middles: of their bins, probabilities.

        stated_doubt(np.log([0.1, 0.3]), [0.3, 0.7])   # 1 - (0.25 * 0.3 + 0.75 * 0.7) = 0.4
    """
    return 1.0 - float(softmax(np.asarray(log_probs, dtype=np.float64)) @ np.asarray(middles, dtype=np.float64))


def plain_label(text: str) -> str:
    """A label, or a reply that may be one, without case and punctuation."""
    return "".join(c for c in text.casefold() if c.isalnum() or c == " ").strip()


def label_replied(model: LocalModel, messages: Sequence[Message], labels: Sequence[str]) -> int:
    """Which of the labels the model's greedy reply is, from 0. Raises `UnstatedError` for a reply that is none of them."""
    reply = model.reply(messages, max_new_tokens=_LONGEST).text
    plain = [plain_label(text) for text in (reply, *labels)]
    if plain[0] not in plain[1:]:
        raise UnstatedError(f"the model was asked for one of {len(labels)} labels, and replied {reply[:80]!r}")
    return plain.index(plain[0], 1) - 1


class VerbalizedScorer(TextScorer):
    """What the model says of its answer, by the wording that it was taught, or by `wording` where it was not.

    Turn `after`: the answer is followed by the question how confident the model is, and each label has the probability that the
    model gives it as its reply. The adapter of a distilled model is active on that turn alone. Turn `same`: the label that the
    answer ended with; an answer without one is unscored (`unstated`).

    A claim is asked about as if it were the answer, in a turn of its own, whatever the turn of answers is.

    A model behind an endpoint is asked in a turn of its own, and the label that it replies with is taken: an endpoint tells of
    first tokens alone, and labels have several.
    """

    name = "verbalized"
    needs = "logits"
    asks = "text"
    unit = "probability that the answer is false"

    def __init__(self, model: LocalModel, *, wording: Wording | Mapping[str, Any] | None = None) -> None:
        super().__init__(model)
        try:
            given = None if wording is None else Wording.model_validate(wording)
        except ValueError as error:
            raise ScoringError(f"the wording {wording!r:.200} is none: {' '.join(str(error).split())}") from error
        if given is not None and model.wording not in (None, given):
            raise ScoringError(
                f"{model.name} was taught to state its confidence in other words than the scorer's; leave `wording` out"
            )
        self.wording = model.wording or given or Wording()
        if self.wording.turn == "same" and model.wording is None:
            raise ScoringError(
                f"{model.name} was not taught to end its answers with a confidence (turn 'same'); give an adapter's folder as "
                "the model, or ask in a turn of its own (turn 'after')"
            )
        self._replies = [model.encode_response(label, ended=False) for label in self.wording.labels]

    @property
    def keep(self) -> Keep | None:
        """The answer's whole KV cache: the turn that asks for the confidence begins with the answer."""
        if self.wording.turn == "same" or not self.model.has_weights:
            return None
        return Keep(len(self.model.anatomy.layers) - 1, -1, below=True)

    @property
    def options(self) -> dict[str, Any]:
        adapter = self.model.confidence_adapter
        return {"wording": self.wording.model_dump(mode="json"), "adapter": adapter.digest if adapter else None}

    @classmethod
    def from_options(cls, options: Mapping[str, Any], model: LocalModel) -> Self:
        adapter = model.confidence_adapter
        if options.get("adapter") != (adapter.digest if adapter else None):
            said = "no adapter" if not options.get("adapter") else "another adapter" if adapter else "an adapter"
            raise ScoringError(
                f"the confidence that {model.name} states was calibrated with {said}; give the same folder as --model, or "
                "calibrate again"
            )
        return super().from_options(options, model)

    def uncertainty(self, trace: Trace) -> float:
        if self.wording.turn == "same":
            if trace.stated is None:
                raise UnstatedError("the answer does not end with a confidence that can be read")
            return 1.0 - self.wording.middle(trace.stated)
        return self.doubt(trace, trace.text)

    def doubt(self, trace: Trace, text: str) -> float:
        asked = self.wording.asking_after(trace.messages, text)
        if not self.model.has_weights:
            return 1.0 - self.wording.middle(label_replied(self.model, asked, self.wording.labels))
        prompt = self.prompt_about(asked, *self._replies)
        log_probs = reply_log_probs(self.model, prompt, self._replies, self.model.confidence_adapter, trace.state)
        return stated_doubt(log_probs, [self.wording.middle(k) for k in range(len(self.wording.labels))])
