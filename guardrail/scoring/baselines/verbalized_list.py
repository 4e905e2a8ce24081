"""The claims of a long answer as one list, to each of which the model states a confidence of its own.

After the long form of uncertainty distillation: a list of claims, each with its confidence. `verbalized` asks about one claim
at a time, in a turn each; here one turn holds all of them, so that a claim that begins "It" stands beside what it is about.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import chain

from guardrail.model.stated import reply_log_probs
from guardrail.scoring.baselines.base import Span
from guardrail.scoring.baselines.verbalized import VerbalizedScorer, plain_label, stated_doubt
from guardrail.types import Message, Score, Trace

LISTED = """\
These are the statements of your answer:
{statements}
How confident are you that each of them is right? Reply with one line for each: its number, a colon, and {labels}."""
MOST = 16
"""Statements of one list; a longer answer is asked about in several, each in a turn of its own."""

_LINE = re.compile(r"\W*(\d+)\W+(.*)")
_LINE_TOKENS = 12


def labels_in(reply: str, count: int, labels: Sequence[str]) -> list[int | None]:
    """Which label, from 0, a reply states of each of `count` numbered statements; None where it states none of it.

    A line is a number and a label, and nothing else. Of a number with two labels nothing is stated, and of no statement where a
    line has the number of none: the reply is about another list then.

        labels_in("1: High\\n2. very low\\n3: no idea", 3, ["very low", "low", "high"])   # [2, 0, None]
    """
    plain = [plain_label(label) for label in labels]
    said: dict[int, set[int]] = {}
    for line in reply.splitlines():
        if (found := _LINE.fullmatch(line)) and (label := plain_label(found[2])) in plain:
            said.setdefault(int(found[1]), set()).add(plain.index(label))
    if not said.keys() <= set(range(1, count + 1)):
        return [None] * count
    return [next(iter(said[k])) if len(said.get(k, ())) == 1 else None for k in range(1, count + 1)]


def numbered(texts: Sequence[str]) -> str:
    """The texts as a list, a line each, from 1."""
    return "\n".join(f"{k}. {' '.join(text.split())}" for k, text in enumerate(texts, 1))


class VerbalizedListScorer(VerbalizedScorer):
    """What the model says of each claim of its answer, asked about all of them in one turn.

    A model in memory is not waited for: each label has the probability that the model gives it behind the claim's number, as if
    that line came first in its reply, so that no claim's number depends on what was said of another. A model that was taught
    (turn `after`) is shown the list as its answer, and asked as it was taught; its adapter is active from there on.

    A model behind an endpoint replies, and each line is read (`labels_in`); a claim without a label of its own is unscored
    (`unstated`).

    The number of a claim depends on the list that it stands in: on a stream, claims are asked about as they come. Of a whole
    answer it says what `verbalized` says.
    """

    name = "verbalized-list"

    def score_spans(self, traces: Sequence[Trace], spans: Sequence[Sequence[Span]]) -> list[list[Score]]:
        """As `TextScorer.score_spans`, all parts of an answer together."""
        lists = [
            (trace, parts[first : first + MOST])
            for trace, parts in zip(traces, spans, strict=True)
            for first in range(0, len(parts), MOST)
        ]
        scores = chain.from_iterable(self.model.each([partial(self._score_list, *one) for one in lists]))
        return [[next(scores) for _ in parts] for parts in spans]

    def _score_list(self, trace: Trace, parts: Sequence[Span]) -> list[Score]:
        texts = [self.part_of(trace, *part) for part in parts]
        refused = self._refused(trace)
        doubts: list[float | None] = []

        def asked() -> float:
            doubts.extend(self.doubts(trace, texts))
            return 0.0

        together = refused or self._scored(1, asked)
        if together.unscored:
            return [replace(together, length=end - start) for start, end in parts]
        return [
            Score.none("unstated", "the model stated no confidence in this claim", length=end - start, name=self.name)
            if doubt is None
            else Score.of(self.name, doubt, length=end - start)
            for doubt, (start, end) in zip(doubts, parts, strict=True)
        ]

    def doubts(self, trace: Trace, texts: Sequence[str]) -> list[float | None]:
        """Of each text, one minus the confidence that is stated in it; None where none is."""
        labels, middles = self.wording.labels, [self.wording.middle(k) for k in range(len(self.wording.labels))]
        adapter = self.model.confidence_adapter
        asked = (
            self._asking(trace, texts)
            if adapter is None
            else self.wording.asking_after(trace.messages, numbered(texts))
        )
        if not self.model.has_weights:
            reply = self.model.reply(asked, max_new_tokens=_LINE_TOKENS * len(texts)).text
            return [None if k is None else 1.0 - middles[k] for k in labels_in(reply, len(texts), labels)]
        lines = [
            self.model.encode_response(f"{k}: {label}", ended=False)
            for k in range(1, len(texts) + 1)
            for label in labels
        ]
        prompt = self.prompt_about(asked, *lines)
        log_probs = reply_log_probs(self.model, prompt, lines, adapter, trace.state)
        K = len(labels)
        return [stated_doubt(log_probs[at : at + K], middles) for at in range(0, len(lines), K)]

    def _asking(self, trace: Trace, texts: Sequence[str]) -> list[Message]:
        *most, last = self.wording.labels
        about = {"{statements}": numbered(texts), "{labels}": f"{', '.join(most)} or {last}"}
        asked = re.sub(r"\{\w+\}", lambda m: about[m[0]], LISTED)  # once: texts have braces
        return [
            *trace.messages,
            {"role": "assistant", "content": trace.text},
            {"role": "user", "content": asked},
        ]
