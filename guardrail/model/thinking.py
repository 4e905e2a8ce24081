"""The thinking of a reply: where it ends and the answer begins, from the chat template, the tokenizer and the token ids.

Templates mark thoughts in their own ways: `<think>` and `</think>`, `[THINK]`, `<seed:think>`, `<|START_THINKING|>`,
`◁think▷`, or channels (`<|channel|>analysis<|message|>`). What all have in common is the word inside the mark; no list of
models is needed. A mark that is one token of the tokenizer counts as that token and wherever it stands; one that is spelt in
ordinary tokens counts at the head of a reply alone, since an answer may quote it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

_MARK = re.compile(r"[<\[◁][^<>\[\]◁▷\s'\"{}()=,]{2,40}[>\]▷]")
_WORDS = {"think", "thinking", "thought", "thoughts", "reasoning", "reason", "inner", "cot", "scratchpad", "reflection"}
_ENDS = {"end", "suffix", "close", "stop", "eos", "eot"}
_NOT_A_THOUGHT = {"no", "budget", "level", "effort", "signature", "reflect"}
_CHANNEL = re.compile(r"<\|?channel\|?>")
_HEADER = re.compile(r"<\|start\|>\w*(<\|channel\|>\w*)?|<\|channel\|>\w*")
_CHANNELS_OF_THOUGHT = ("analysis", "thought", "thinking", "reasoning")
_WHOLE_HEADER = re.compile(
    r"(?:<\|start\|>[^<]{0,80})?<\|channel\|>([^<]{0,200})(?:<\|constrain\|>[^<]{0,40})?<\|message\|>"
)
_SPOKEN, _PREAMBLE, _CALLED, _THOUGHT = "spoken", "preamble", "called", "thought"
_TAIL = 8
"""Tokens of white space that may follow the mark at a prompt's end, whose characters may be a token each."""


@dataclass(frozen=True, slots=True)
class Split:
    """A reply taken apart: `ids[:start]` are its thinking with all marks, `ids[start:]` the answer.

    unfinished: the thought has begun and not ended; then all of it is thinking. text: of the thought, without its marks.
    """

    start: int
    unfinished: bool
    text: str


@dataclass(frozen=True)
class Thinking:
    """The marks of one tokenizer and template.

    opens, closes: what begins and ends a thought. final: what begins an answer in its channel; "" without channels.
    """

    tokenizer: Any
    opens: tuple[str, ...]
    closes: tuple[str, ...]
    final: str = ""

    @classmethod
    def of(cls, tokenizer: Any) -> Thinking:
        """The marks that the template or the added tokens hold."""
        template = getattr(tokenizer, "chat_template", None)
        text = str(tokenizer.get_chat_template()) if template else ""
        added = [str(token) for token in tokenizer.get_added_vocab()]
        opens: list[str] = []
        closes: list[str] = []
        for mark in dict.fromkeys([*added, *_MARK.findall(text)]):
            kind = _kind(mark)
            if kind is not None and (mark in text or mark in added):
                (closes if kind == "close" else opens).append(mark)
        opens += [m for mark in closes if (m := mark.replace("/", "")) != mark and m not in opens]  # cut off unseen
        final = ""
        if channel := next((m for m in added if _CHANNEL.fullmatch(m)), None):
            after = "<|message|>" if "<|message|>" in added else "\n"
            opens += [f"{channel}{name}{after}" for name in _CHANNELS_OF_THOUGHT]
            if "<channel|>" in added:
                closes.append("<channel|>")
            if "<|message|>" in added:
                closes += ["<|end|>"] if "<|end|>" in added else []
                final = f"{channel}final<|message|>"
        return cls(tokenizer, tuple(opens), tuple(closes), final)

    @cached_property
    def _added(self) -> dict[str, int]:
        return {str(token): int(i) for token, i in self.tokenizer.get_added_vocab().items()}

    @cached_property
    def _ids(self) -> dict[int, str]:
        """Marks that are one token, or begin with one (a channel)."""
        kinds = {**dict.fromkeys(self.opens, "open"), **dict.fromkeys(self.closes, "close")}
        return {self._added[mark]: kind for mark, kind in kinds.items() if mark in self._added}

    @cached_property
    def closing_ids(self) -> list[int]:
        """The tokens of the first mark that ends a thought."""
        return list(self.tokenizer(self.closes[0], add_special_tokens=False)["input_ids"]) if self.closes else []

    def opened_by(self, prompt: Sequence[int]) -> bool:
        """Whether the prompt ends inside a thought, as templates that make a model think have it."""
        if not self.opens:
            return False
        tail = self._decode(prompt[-_TAIL - max(map(len, self.opens)) :]).rstrip()
        return tail.endswith(self.opens)

    def split(self, ids: Sequence[int], *, opened: bool = False) -> Split:
        """Where the answer begins in the ids of a reply so far. opened: the prompt ends inside a thought."""
        if not self.closes and not self.final:
            return Split(0, False, "")
        ids = list(ids)
        if self.final and (last := self._last_header(ids)) is not None:
            kind, begin, behind = last
            if kind == _THOUGHT:
                return Split(len(ids), True, self._bare(ids))
            return self._done(ids, begin if kind == _CALLED else behind)
        start, inside = 0, opened
        while True:
            if inside:
                end = self._next(ids, start, self.closes, anywhere=True)
                if end is None:
                    return Split(len(ids), True, self._bare(ids))
                start, inside = end, False
                continue
            begun = self._next(ids, start, self.opens, anywhere=False)
            closed = self._stray(ids, start)
            if begun is None and closed is None:
                break
            start, inside = (
                (closed, False) if closed is not None and closed < (begun or len(ids) + 1) else (begun or 0, True)
            )
        if self.final and self._header_only(ids[start:]):
            return Split(len(ids), True, self._bare(ids))
        return self._done(ids, start) if start else Split(0, False, "")

    def spoken(self, ids: Sequence[int], *, opened: bool = False) -> list[int]:
        """The ids of the answer so far, of a reply that is not complete: none where a thought may be beginning."""
        split = self.split(ids, opened=opened)
        if self.final and (last := self._last_header(list(ids))) is not None and last[0] == _PREAMBLE:
            return []  # an answer may follow it
        if split.start == 0 and (text := self._decode(ids).lstrip()):
            spelt = [m for m in self.opens if m not in self._added]
            if any(m.startswith(text.rstrip("\ufffd")) for m in spelt):
                return []
        return list(ids[split.start :])

    def split_text(self, text: str, *, opened: bool = False) -> tuple[str, str, bool]:
        """The thinking at the head of a text with its marks, what follows it, and whether it has not ended.

        opened: the prompt ends inside a thought; a text without a mark is an answer all the same.
        """
        if self.final and (headers := self._headers(text)):
            kind = _kind_of_header(headers[-1][0])
            if kind == _THOUGHT:
                return text, "", True
            at = headers[-1].start() if kind == _CALLED else headers[-1].end()
            return text[:at], text[at:], False
        rest, found = text, []
        if opened and not rest.lstrip().startswith(self.opens):
            ends = [(at, m) for m in self.closes if (at := rest.find(m)) >= 0]
            if ends:
                at, close = min(ends)
                rest, found = rest[at + len(close) :], [rest[:at]]
        while (mark := next((m for m in self.opens if rest.lstrip().startswith(m)), None)) is not None:
            inner = rest.lstrip()[len(mark) :]
            ends = [(at, m) for m in self.closes if (at := inner.find(m)) >= 0]
            if not ends:
                return text, "", True
            at, close = min(ends)
            found.append(inner[:at])
            rest = inner[at + len(close) :]
        nested = any(mark in thought for thought in found for mark in self.opens)
        if (behind := self._stray_end(rest, nested=nested)) is not None:
            found.append(rest[:behind])
            rest = rest[behind:]
        if any(f"\n{mark}\n" in rest for mark in self.opens if mark in self._added):
            return text, "", True
        return (text[: len(text) - len(rest)], rest, False) if found else ("", text, False)

    def bare(self, text: str) -> str:
        """A thought without its marks."""
        for mark in sorted((*self.opens, *self.closes, self.final), key=len, reverse=True):
            text = text.replace(mark, "\n") if mark else text
        text = re.sub(r"<\|start\|>\w*", "", text)
        for token in self._added:
            text = text.replace(token, "")
        return text.strip()

    def _done(self, ids: list[int], start: int) -> Split:
        """White space between thought and answer belongs to neither, and is context as the thought is."""
        while start < len(ids) and not self._decode(ids[start : start + 1]).strip() and ids[start] not in self._ids:
            start += 1
        return Split(start, False, self._bare(ids[:start]))

    def _bare(self, ids: list[int]) -> str:
        return self.bare(self._decode(ids))

    def _next(self, ids: list[int], start: int, marks: Sequence[str], *, anywhere: bool) -> int | None:
        """The token behind the next of the marks. anywhere: also where a mark in ordinary tokens stands amid text."""
        found: list[int] = []
        wanted = {self._added[m] for m in marks if m in self._added}
        if (at := next((i for i in range(start, len(ids)) if ids[i] in wanted), None)) is not None:
            found.append(at + 1)
        spelt = [m for m in marks if m not in self._added]
        if spelt:
            text = self._decode(ids[start:])
            lead = len(text) - len(text.lstrip())
            for mark in spelt:
                by_token = mark.startswith(tuple(t for t in self._added if _CHANNEL.fullmatch(t)))
                place = text.find(mark)
                if place >= 0 and (anywhere or by_token or place <= lead):
                    found.append(start + self._tokens_of(ids[start:], place + len(mark)))
        return min(found, default=None)

    def _stray(self, ids: list[int], start: int) -> int | None:
        """Behind a closing token that nothing opened: what stands before it is no answer. A channel's end says nothing."""
        ends = {self._added[m] for m in self.closes if m in self._added and _kind(m) == "close"}
        at = next((i for i in range(start, len(ids)) if ids[i] in ends), None)
        return None if at is None else at + 1

    def _stray_end(self, text: str, *, nested: bool) -> int | None:
        """Behind the last mark that ends a thought whose beginning was not given: one that is a token, at a line's end. nested:
        the thought before held another one, so that it need not stand there.
        """
        found = []
        for mark in self.closes:
            at = text.rfind(mark) if mark in self._added and _kind(mark) == "close" else -1
            while at >= 0:
                end = at + len(mark)
                if text[at - 1 : at] != "`" and (nested or text[end : end + 1] in ("", "\n", "\r")):
                    found.append(end)
                    break
                at = text.rfind(mark, 0, at)
        return max(found, default=None)

    def _headers(self, text: str) -> list[re.Match[str]]:
        """The headers of channels in a given text that is made of such messages; none where it only quotes one."""
        begun = text.lstrip().startswith(("<|channel|>", "<|start|>")) or f"<|start|>assistant{self.final}" in text
        return list(_WHOLE_HEADER.finditer(text)) if begun else []

    def _last_header(self, ids: list[int]) -> tuple[str, int, int] | None:
        """What the last header of a channel begins, and its tokens; None where there is none. A header that has not ended says
        nothing yet, like a thought.
        """
        channel, message, start = (self._added.get(t) for t in ("<|channel|>", "<|message|>", "<|start|>"))
        at = next((i for i in reversed(range(len(ids))) if ids[i] == channel), None)
        if at is None:
            return None
        begin = next((i for i in reversed(range(max(0, at - _TAIL), at)) if ids[i] == start), at)
        behind = next((i + 1 for i in range(at, len(ids)) if ids[i] == message), None)
        if behind is None:
            return _THOUGHT, begin, len(ids)
        return _kind_of_header(self._decode(ids[begin:behind])), begin, behind

    def _header_only(self, ids: list[int]) -> bool:
        """Whether there is nothing but the beginning of a channel's header."""
        return bool(_HEADER.fullmatch(self._decode(ids).strip()))

    def _tokens_of(self, ids: list[int], chars: int) -> int:
        """The fewest tokens whose text has so many characters."""
        low, high = 0, len(ids)
        while low < high:
            middle = (low + high) // 2
            if len(self._decode(ids[:middle])) < chars:
                low = middle + 1
            else:
                high = middle
        return low

    def _decode(self, ids: Sequence[int]) -> str:
        decode: Callable[..., str] = self.tokenizer.decode
        return decode(list(ids), skip_special_tokens=False)


def _kind_of_header(header: str) -> str:
    """What a header of a channel begins; a channel that is not known is none of an answer.

    >>> _kind_of_header("<|start|>assistant<|channel|>final <|constrain|>json<|message|>")
    'spoken'
    """
    name = header.partition("<|channel|>")[2].split("<")[0].split()
    if name[:1] not in (["final"], ["commentary"]):
        return _THOUGHT
    return _CALLED if " to=" in header else _SPOKEN if name[0] == "final" else _PREAMBLE


def _kind(mark: str) -> str | None:
    words = {w.casefold() for w in re.findall(r"[^\W\d_]+", mark)}
    if not words & _WORDS or words & _NOT_A_THOUGHT:
        return None
    return "close" if "/" in mark or words & _ENDS else "open"
