"""What the scorers have in common: which answers stay unscored, and a number made a Score."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any, Self

from guardrail.errors import ScoringError
from guardrail.kernels.memory import TooLargeError, is_out_of_memory
from guardrail.messages import as_messages
from guardrail.model.local import LocalModel
from guardrail.model.token_log_probs import NotFiniteError
from guardrail.scoring.baselines.equivalence import Equivalence
from guardrail.scoring.baselines.samples import Samples, SampleSource, Sampling, TooLongError
from guardrail.scoring.protocol import RegisteredScorer
from guardrail.scoring.scorable import unscorable
from guardrail.scoring.suffix import Row
from guardrail.types import Message, Score, Trace


class NoLogProbsError(ScoringError):
    """An endpoint gave no log-probabilities, or not those of the answer; it stays unscored."""


class UnstatedError(ScoringError):
    """The model was to state a confidence, and stated none that can be read; the answer stays unscored."""


class AnswerScorer(RegisteredScorer, ABC):
    """A scorer of one model, one answer at a time; higher = more uncertain.

    A subclass gives `name` and `uncertainty`, and whatever changes its number as `options`.
    """

    def __init__(self, model: LocalModel) -> None:
        self.model = model

    @abstractmethod
    def uncertainty(self, trace: Trace) -> float:
        """Of an answer that can have a number; NaN or infinity makes it unscored."""

    def score_traces(self, traces: Sequence[Trace]) -> list[Score]:
        return self.model.each([partial(self._score, trace) for trace in traces])

    def _score(self, trace: Trace) -> Score:
        return self._refused(trace) or self._scored(len(trace.response_ids), lambda: self.uncertainty(trace))

    def _refused(self, trace: Trace) -> Score | None:
        """The Score of an answer that can have no number, with the reason."""
        anatomy = self.model.anatomy if self.model.has_weights else None
        row = Row(trace.prompt_ids, trace.response_ids, thinking=trace.thinking_tokens)
        refused = unscorable(anatomy, frozenset(self.model.eos_ids), row, trace)
        return None if refused is None else replace(refused, length=len(trace.response_ids), name=self.name)

    def _scored(self, length: int, uncertainty: Callable[[], float]) -> Score:
        """What `uncertainty` gives of so many tokens; unscored where it raises what an answer can be the reason of."""
        try:
            return Score.of(self.name, uncertainty(), length=length)
        except TooLongError as error:
            return Score.none("prompt_too_long", str(error), length=length, name=self.name)
        except UnstatedError as error:
            return Score.none("unstated", str(error), length=length, name=self.name)
        except NoLogProbsError as error:
            return Score.none("no_log_probs", str(error), length=length, name=self.name)
        except NotFiniteError as error:
            return Score.none("not_finite", str(error), length=length, name=self.name)
        except TooLargeError as error:
            return Score.none("out_of_memory", str(error), length=length, name=self.name)
        except (RuntimeError, MemoryError) as error:  # of a model that compares answers, say
            if not is_out_of_memory(error):
                raise
            return Score.none("out_of_memory", f"{self.name} ran out of memory", length=length, name=self.name)

    def prompt_about(self, messages: Sequence[Message], *replies: Sequence[int]) -> list[int]:
        """The ids of a conversation of the scorer's own. Raises `TooLongError` where it, with the longest of `replies`, exceeds
        the context."""
        prompt = self.model.encode_prompt(as_messages(messages))
        ids = [*prompt, *self.model.unthinking(prompt)]
        total, context = len(ids) + max(map(len, replies), default=1), self.model.context
        if context is not None and total > context:
            raise TooLongError(f"{self.name} needs a prompt of {total} tokens, context {context}")
        return ids


Span = tuple[int, int]


class TextScorer(AnswerScorer):
    """A scorer that asks about a text, a whole answer's or a part's. A subclass gives `doubt`."""

    @abstractmethod
    def doubt(self, trace: Trace, text: str) -> float:
        """Of what the answer, or a part of it, says; higher = more uncertain."""

    def uncertainty(self, trace: Trace) -> float:
        return self.doubt(trace, trace.text)

    def score_spans(self, traces: Sequence[Trace], spans: Sequence[Sequence[Span]]) -> list[list[Score]]:
        """The scores of parts of answers: for each trace those of its spans, each `response_ids[start:end]`.

        Raises `ScoringError` for a span that is not within the response.
        """
        works = [
            [partial(self._score_part, trace, *span) for span in parts]
            for trace, parts in zip(traces, spans, strict=True)
        ]
        scores = iter(self.model.each(list(chain.from_iterable(works))))
        return [[next(scores) for _ in parts] for parts in works]

    def _score_part(self, trace: Trace, start: int, end: int) -> Score:
        text, refused = self.part_of(trace, start, end), self._refused(trace)
        if refused is not None:
            return replace(refused, length=end - start)
        return self._scored(end - start, lambda: self.doubt(trace, text))

    def part_of(self, trace: Trace, start: int, end: int) -> str:
        """The text of `response_ids[start:end]`. Raises `ScoringError` for a span that is not within the response."""
        T = len(trace.response_ids)
        if not 0 <= start < end <= T:
            raise ScoringError(f"the span [{start}, {end}) is empty or not within the response's {T} tokens")
        ids = list(trace.response_ids[start:end])
        return str(self.model.tokenizer.decode(ids, skip_special_tokens=True)).strip()


class Sampled(AnswerScorer):
    """A scorer that reads samples. source: where they come from; scorers that share one share the samples too."""

    needs = "samples"

    def __init__(self, model: LocalModel, sampling: Sampling, source: SampleSource | None) -> None:
        super().__init__(model)
        self.sampling, self.source = sampling, source or SampleSource(model)
        if self.source.model is not model:
            raise ScoringError(
                f"the samples come from {self.source.model.name}, the scorer is for {model.name}; give both one LocalModel"
            )

    @property
    def options(self) -> dict[str, Any]:
        return {**self.sampling.to_dict(), "max_new_tokens": self.source.max_new_tokens, "seed": self.source.seed}

    @classmethod
    def from_options(cls, options: Mapping[str, Any], model: LocalModel) -> Self:
        own = dict(options)
        of_source = {key: own.pop(key) for key in ("max_new_tokens", "seed") if key in own}
        if missing := [key for key in ("max_new_tokens", "seed") if key not in of_source]:
            raise ScoringError(
                f"the options of {cls.name!r} do not say its {missing[0]}, so its samples cannot be drawn again"
            )
        own["source"] = SampleSource(model, **of_source)
        return super().from_options(own, model)

    def score_questions(self, questions: Sequence[Trace]) -> list[Score]:
        """Of questions that nobody has answered, each a trace with a prompt and no response, where `of_question` is true."""
        return [self._scored(0, lambda question=q: self.uncertainty(question)) for q in questions]  # type: ignore[misc]

    def samples(self, trace: Trace) -> Samples:
        """Of the trace's prompt. Raises `NoLogProbsError` where this scorer reads those and an endpoint gave none."""
        drawn = self.source.samples(trace, self.sampling)
        if not self.model.has_weights and self.asks == "log_probs":
            told = sum(len(row) == len(ids) > 0 for row, ids in zip(drawn.log_probs, drawn.ids, strict=True))
            if told < len(drawn.ids):
                raise NoLogProbsError(f"the endpoint gave log-probabilities of {told} of {len(drawn.ids)} samples")
        return drawn


class Compared(Sampled):
    """A scorer that reads samples and what they mean."""

    def __init__(
        self, model: LocalModel, sampling: Sampling, source: SampleSource | None, equivalence: Equivalence | None
    ) -> None:
        super().__init__(model, sampling, source)
        if equivalence is None:
            from guardrail.scoring.baselines.embedding_equivalence import default_equivalence  # loads a model

            equivalence = default_equivalence()
        self.equivalence = equivalence

    @property
    def options(self) -> dict[str, Any]:
        return {**super().options, "equivalence": dict(self.equivalence.options)}

    @classmethod
    def from_options(cls, options: Mapping[str, Any], model: LocalModel) -> Self:
        from guardrail.scoring.baselines.equivalence_spec import equivalence_from  # some load a model

        recorded = options.get("equivalence")
        if not isinstance(recorded, Mapping):
            raise ScoringError(
                f"the options of {cls.name!r} do not say when two answers are the same: equivalence {recorded!r}"
            )
        return super().from_options({**options, "equivalence": equivalence_from(recorded)}, model)
