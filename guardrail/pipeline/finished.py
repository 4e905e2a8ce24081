"""What a pass over an answer comes to: an end, or another pass."""

from __future__ import annotations

from dataclasses import dataclass

from guardrail.observers.protocol import Observation
from guardrail.pipeline.conversation import Conversation
from guardrail.types import Aside, JudgedClaim, Verdict


@dataclass(frozen=True, slots=True)
class Finished:
    """A conversation with its last attempt. text: the answer as its claims left it, before the policy's wording."""

    conversation: Conversation
    text: str
    claims: tuple[JudgedClaim, ...] = ()
    asides: tuple[Aside, ...] = ()

    def observed(self, verdict: Verdict) -> Observation:
        """What observers are told of it."""
        return Observation(self.conversation.messages, verdict, tuple(self.conversation.stopwatch.stages))


Outcome = Finished | Conversation
"""What a pass comes to; a Conversation has other evidence in it and is to be answered again."""
