"""Response ids as they grow -> pieces of text that will not change.

The pieces, joined, are the text of the Trace, unless the tokenizer rewrites what it said before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.messages.ai import UsageMetadata

from guardrail.errors import GuardrailError
from guardrail.langchain.reply import tokens_of
from guardrail.model.stopping import Snapshot
from guardrail.pipeline.streaming import ClaimStream
from guardrail.types import Trace


class AbandonedError(GuardrailError):
    """Nobody waits for this generation any more; raised inside it to end it."""


class TextStream:
    """Feed it a row's response ids after every token; it gives the text that is new and final.

    Held back: what may be the beginning of a stop string, half a character, white space at the end (a response is shown
    without it).
    """

    def __init__(self, tokenizer: Any, eos: Sequence[int], stops: Sequence[str]) -> None:
        self.tokenizer, self.eos, self.stops = tokenizer, frozenset(eos), tuple(stops)
        self.emitted = ""

    def feed(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode([i for i in ids if i not in self.eos], skip_special_tokens=True)
        text = text.rstrip("\ufffd")  # half a character: what it will be may belong to a stop string
        found = [at for stop in self.stops if (at := text.find(stop)) >= 0]
        text = text[: min(found)] if found else text[: len(text) - self._may_stop(text)]
        return self._new(text.strip())

    def remaining(self, text: str) -> str:
        """What is left of the whole text."""
        return self._new(text)

    def _new(self, text: str) -> str:
        if not text.startswith(self.emitted):
            return ""
        new, self.emitted = text[len(self.emitted) :], text
        return new

    def _may_stop(self, text: str) -> int:
        """The length of the longest end of the text that begins a stop string."""
        longest = max((len(s) for s in self.stops), default=1) - 1
        lengths = range(min(longest, len(text)), 0, -1)
        return next((n for n in lengths if any(s.startswith(text[-n:]) for s in self.stops)), 0)


class Watch:
    """An `on_step` for one generation: hands new text to `emit`, and ends the generation once `abandon` was called.

    claims: what streams in place of the text as it comes. on_text: told the response once it is whole, before it is scored.

    Attributes:
        abandoned: Whether nobody waits for it any more.
        judged: Whether all verdicts were there: what is raised after that comes from those who were told of them.
    """

    def __init__(
        self,
        stream: TextStream | None = None,
        emit: Callable[[str], None] | None = None,
        claims: ClaimStream | None = None,
        on_text: Callable[[Trace], None] | None = None,
    ) -> None:
        self.stream, self.emit, self.claims, self.on_text = stream, emit, claims, on_text
        self.abandoned = False
        self.judged = False
        self._done = (0, 0)  # tokens read and written in passes that have ended
        self._begun = (0, 0)  # and in the one that has not

    @property
    def shows(self) -> bool:
        """Whether steps are shown to somebody, so that they cannot be taken again."""
        return self.stream is not None or self.claims is not None

    def abandon(self) -> None:
        self.abandoned = True

    def note_judged(self) -> None:
        self.judged = True

    def note_generated(self, traces: Sequence[Trace]) -> None:
        used = tokens_of(traces)
        self._done = (self._done[0] + used["input_tokens"], self._done[1] + used["output_tokens"])
        self._begun = (0, 0)
        if self.on_text is not None:
            self.on_text(traces[0])

    @property
    def usage(self) -> UsageMetadata:
        """Tokens read and written so far for one conversation, also where no verdict comes of them."""
        read, written = (done + begun for done, begun in zip(self._done, self._begun, strict=True))
        return UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)

    def _count(self, rows: list[list[int]], snapshot: Snapshot) -> None:
        if self._begun == (0, 0) and len(rows) == 1:
            self._begun = (tokens_of(snapshot())["input_tokens"], 0)
        self._begun = (self._begun[0], self._begun[1] + 1)

    def __call__(self, rows: list[list[int]], snapshot: Snapshot) -> None:
        self._count(rows, snapshot)
        if self.abandoned:
            raise AbandonedError("the caller has gone")
        if self.stream is not None and self.emit is not None and (new := self.stream.feed(rows[0])):
            self.emit(new)
