"""Judges each claim of an answer while the answer is being generated, and hands on what may be shown of it so far.

A claim is judged once the text behind it shows that it is complete, on the states that generation has kept until then; its
score is the one it has in the finished answer, since nothing behind a claim acts on it. What has been handed on is never
changed: rules on the whole answer come too late for it. Once a part of the guard has failed nothing more is handed on before
the verdict, which says what the failure comes to; where that is an abstention, the generation ends there. Knows
nothing about LangChain.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from guardrail.actions.rewriting.rewrite import rewrite
from guardrail.claims import OF_WHOLE_ANSWERS
from guardrail.errors import ModelError
from guardrail.pipeline.claims import NO_BEGINNING, Beginning, taken_apart
from guardrail.pipeline.failures import MISTAKES, failed, noted
from guardrail.types import WITHHELD, Claim, Claims, JudgedClaim, Verdict

if TYPE_CHECKING:
    from guardrail.model.stopping import Snapshot
    from guardrail.pipeline.claims import ClaimPipeline
    from guardrail.pipeline.conversation import Conversation

LOOKAHEAD = 12
"""Characters that must follow a claim: "Dr." may end a sentence, until " Who" follows."""

_CLOSING = re.compile(r"[.!?;:,…。！？；，\"'”’»)\]*_~`]*(?:[ \t]?\[\^?\d+\])*")
_PAIRS = (("(", ")"), ("[", "]"), ("“", "”"), ("«", "»"))


class ClaimStream:
    """An `on_step` of one generation, for one conversation of a Guard. emit: called with every piece that may be shown.

    Joined, the pieces and `remaining(verdict)` are `verdict.text`, unless a rule on the whole answer changed it
    (`verdict.action` is not "answer"), or the answer's end made an earlier claim another one.

    Attributes:
        judged: The claims that were judged so far.
        beginning: The part of the answer that they stand in.
        failure: What failed while the answer was generated, in few words; empty where nothing did.
        emitted: What was handed on.
    """

    def __init__(self, emit: Callable[[str], None]) -> None:
        self._emit = emit
        self._pipeline: ClaimPipeline | None = None
        self._conversation: Conversation | None = None
        self._stops: Sequence[str] = ()
        self._emitted_claims: set[Claim] = set()  # their wording, nothing for what was dropped, is in `emitted`
        self._shown_to = 0  # of the answer; what stands before it was shown, or dropped
        self.judged: Mapping[Claim, JudgedClaim] = {}
        self.beginning = NO_BEGINNING
        self.failure = ""
        self.emitted = ""

    def begin(self, pipeline: ClaimPipeline, conversation: Conversation, stops: Sequence[str] = ()) -> None:
        """What the claims are judged by; called by the Guard before the generation starts. stops: its stop strings.

        Raises `ModelError` for a stream that has begun already, and for an extractor that reads whole answers only.
        """
        if isinstance(pipeline.extractor, OF_WHOLE_ANSWERS):
            raise ModelError(
                f"claims are streamed as they come, and the extractor {pipeline.extractor.name!r} reads whole answers"
            )
        if self._pipeline is not None:
            raise ModelError("a ClaimStream is for one generation, and this one has had it; make another")
        self._pipeline, self._conversation, self._stops = pipeline, conversation, stops

    def __call__(self, rows: list[list[int]], snapshot: Snapshot) -> bool:
        """Whether the verdict is certain, and no text of the answer will be shown any more."""
        pipeline, conversation = self._pipeline, self._conversation
        if pipeline is None or conversation is None or self.failure:
            return False
        try:
            text = self._text(pipeline.model.tokenizer.decode(rows[0], skip_special_tokens=True))
            shown = self._newly_judged(pipeline, conversation, text, snapshot)
        except Exception as caught:
            error = failed("guard", pipeline, caught)
            if pipeline.policy.on_error == "raise" or isinstance(error, MISTAKES):
                raise error from caught
            self.failure = noted(error)
            return pipeline.policy.on_error == "abstain"
        if shown is not None:
            self._send(shown)
        return False

    def _newly_judged(
        self, pipeline: ClaimPipeline, conversation: Conversation, text: str, snapshot: Snapshot
    ) -> str | None:
        """The first claims of the text as they may be shown, with those that are complete since the last step judged; None
        where there are none."""
        if len(text) < len(self.beginning.text) + LOOKAHEAD:  # nothing can have become complete
            return None
        taken = taken_apart(pipeline.extractor, text, conversation.query)
        complete = list(self._complete(taken.claims, text))
        if all(claim in self.judged for claim, _ in complete):
            return None
        claims, end = tuple(claim for claim, _ in complete), complete[-1][1]
        asides = tuple(a for a in taken.asides if a.end is not None and a.end <= end)
        if any(a.reason == "unread" and (a.start or 0) < end for a in taken.asides):
            return None  # nobody judged it, and nothing that follows can mend that
        beginning = Beginning(text[:end], Claims(claims, asides))
        judged, _ = pipeline.run(
            snapshot()[0],
            question=conversation.query,
            extrapolated="; ".join(conversation.claim_extrapolation_reasons),
            search_context=conversation.search_context,
            taken=beginning.taken,
            known=self.judged,
        )
        shown = rewrite(beginning.text, judged, asides).text
        self.judged = {**self.judged, **{claim.claim: claim for claim in judged}}
        self.beginning = beginning
        return shown

    def remaining(self, verdict: Verdict) -> str:
        """What is left to show once the verdict is there: nothing of an answer that the policy holds back."""
        if not self.emitted:
            return verdict.text
        if verdict.action in WITHHELD:
            return ""
        whole = rewrite(verdict.answer, verdict.claims, verdict.asides)
        if whole.text.startswith(self.emitted):
            return whole.text[len(self.emitted) :]
        # the end made another claim of an earlier one: what lies behind all that was shown follows, claim by claim
        later = [
            claim
            for claim in whole.claims
            if claim.claim not in self._emitted_claims and claim.claim.start >= self._shown_to and claim.shown
        ]
        return "".join((" " if claim.claim.kind == "sentence" else "\n") + claim.shown for claim in later)

    def matches(self, verdict: Verdict) -> bool:
        """Whether what was shown is what the policy made of the answer, so that nothing came too late."""
        return self.emitted + self.remaining(verdict) == verdict.text

    def _text(self, decoded: str) -> str:
        """As the Trace has it so far."""
        return decoded[: min((at for s in self._stops if (at := decoded.find(s)) >= 0), default=None)].strip()

    def _complete(self, claims: Sequence[Claim], text: str) -> Iterator[tuple[Claim, int]]:
        """The first claims of the text, up to one that the text to come may change, or whose end a stop string may take.

        With each the end of the marks that close it: a hedge stands before them, and they go with it.
        """
        lookahead = max([LOOKAHEAD, *map(len, self._stops)])
        for claim, following in zip(claims, [*(c.start for c in claims[1:]), len(text)], strict=False):
            closing = _CLOSING.match(text, claim.end, max(claim.end, following))
            end = closing.end() if closing else claim.end
            if end + lookahead > len(text) or (_is_open(text, claim.start, end) and "\n\n" not in text[end:]):
                return
            yield claim, end

    def _send(self, text: str) -> None:
        if not text.startswith(self.emitted):
            return
        self._emitted_claims.update(self.beginning.taken.claims)
        self._shown_to = len(self.beginning.text)
        new, self.emitted = text[len(self.emitted) :], text
        if new:
            self._emit(new)


def _is_open(text: str, start: int, end: int) -> bool:
    """Whether a bracket or a quotation is open at the end: a sentence may go on behind its full stop there."""
    paragraph = text[text.rfind("\n\n", 0, start) + 1 : end]
    return paragraph.count('"') % 2 > 0 or any(paragraph.count(a) > paragraph.count(b) for a, b in _PAIRS)
