"""How much of the evidence a model's context has room for, beside the question and the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from guardrail.model.local import LocalModel
from guardrail.retrieval import with_evidence
from guardrail.retrieval.budget import fitted
from guardrail.types import Evidence, FinishReason, Message, Tool, Trace


@dataclass(frozen=True, slots=True)
class Room:
    """The context of a model. answer: the tokens that are kept free for the answer. tools: what stands in the prompt, too."""

    model: LocalModel
    answer: int
    tools: Sequence[Tool] = ()

    def fit(self, messages: Sequence[Message], evidence: Sequence[Evidence]) -> tuple[Evidence, ...]:
        """The passages as they go into the prompt, cut where they are too long for it; none where there is no room.

        The answer has at most an eighth of what the question leaves: a small context would hold no passage otherwise.
        """
        context = self.model.context
        if context is None or not evidence:
            return tuple(evidence)
        room = context - self._length(messages)
        free = room - min(self.answer, room // 8)
        if free <= 0:
            return ()
        return fitted(evidence, lambda some: self._length(with_evidence(messages, some)) <= context - room + free)

    def trace(self, messages: Sequence[Message], answer: str, finish_reason: FinishReason) -> Trace:
        """An answer that exists already, after a prompt that the tools stand in."""
        trace = self.model.trace(messages, answer, finish_reason=finish_reason)
        if not self.tools:
            return trace
        prompt = self.model.encode_prompt(messages, self.tools)
        return replace(trace, prompt_ids=(*prompt, *self.model.unthinking(prompt)))

    def _length(self, messages: Sequence[Message]) -> int:
        return len(self.model.encode_prompt(messages, self.tools))
