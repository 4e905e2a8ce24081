"""A question asked in other ways: what the scorers of the question itself compare."""

from __future__ import annotations

from dataclasses import replace

from guardrail.messages import question_at, question_of
from guardrail.scoring.baselines.base import Compared
from guardrail.types import Message, Trace

REWORD = (
    "Rewrite the question below as one question that leaves nothing open: say who, what, when and where is meant. "
    "Do not answer it. Reply with the question and nothing else.\n\nQuestion: {question}"
)
"""What the model is asked for. A paraphrase would hand an ambiguity on; whoever has to say what is meant takes one reading."""


class Perturbed(Compared):
    """A scorer that reads wordings of the last question, drawn by the model itself. Those with the same sampling share them."""

    def wordings(self, trace: Trace) -> tuple[str, ...]:
        """As many as there are samples, by who knows what stood before the question.

        Copies stay, since a question that is always read alike is clear.

        Raises `TooLongError` where the request exceeds the context.
        """
        messages = trace.asked or trace.messages
        asking = tuple(asked_as(messages, REWORD.replace("{question}", question_of(messages))))
        ids = self.prompt_about(asking)
        asked = replace(trace, messages=asking, prompt_ids=tuple(ids), thinking="", thinking_tokens=0, state=None)
        return self.samples(asked).texts


def asked_as(messages: tuple[Message, ...], wording: str) -> list[Message]:
    """The conversation with its last question in another wording."""
    at = question_at(messages)
    if at is None:
        return [*messages, {"role": "user", "content": wording}]
    return [*messages[:at], {**messages[at], "content": wording}, *messages[at + 1 :]]
