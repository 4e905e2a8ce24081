"""What all models have in common whose weights are elsewhere: they write, and nobody here looks inside."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import torch

from guardrail.deadlines import Lock
from guardrail.errors import ModelError, UnsupportedModelError
from guardrail.messages import as_messages, check_finish, check_text
from guardrail.model.continuous.sharing import check_elsewhere
from guardrail.model.local import LocalModel
from guardrail.model.remote.abilities import Abilities
from guardrail.model.remote.address import PREFIX
from guardrail.model.remote.side_by_side import side_by_side
from guardrail.model.remote.spelling import END, Speller, spelt, words_of
from guardrail.plain_text import trimmed
from guardrail.stated import Wording
from guardrail.types import FinishReason, Message, Tool, Trace

T = TypeVar("T")


class WeightlessModel(LocalModel):
    """A chat model that stands where a `LocalModel` stands and has no weights: whatever needs them raises
    `UnsupportedModelError`, and a scorer that does is refused by name.

    Token ids in its Traces spell their tokens (`remote.spelling`); those of a prompt stand for its messages.

    A subclass gives `identity`, `version`, `abilities`, `generate_batch` and `draw`.

    Args:
        name: The model's name.
        wording: How it states its confidence; None where it is not known to.
        concurrency: How many requests run at once, at most.
    """

    has_weights = False
    answers_here = False
    stays = ("", "lock")

    def __init__(self, name: str, *, wording: Wording | None = None, concurrency: int = 4) -> None:
        if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
            raise ModelError(f"concurrency is {concurrency!r:.40}; it is the number of requests at once, at least 1")
        self.name, self.concurrency = name, concurrency
        self.tokenizer, self.chat_template_kwargs = Speller(), {}
        self.lock = Lock()
        self.wording, self.taught, self.confidence_adapter = wording, frozenset(), None

    @property
    @abstractmethod
    def abilities(self) -> Abilities:
        """What it tells beside the text."""

    @abstractmethod
    def draw(
        self, messages: Sequence[Message], n: int, *, seed: int, max_new_tokens: int, temperature: float, top_p: float
    ) -> list[Trace]:
        """n sampled answers to one conversation."""

    @property
    def context(self) -> int | None:
        """None: nobody here counts the tokens of a prompt, and the endpoint refuses one that is too long."""
        return None

    @property
    def device(self) -> torch.device:
        """Where the requests are made."""
        return torch.device("cpu")

    @property
    def eos_ids(self) -> list[int]:
        return [END]

    @property
    def end_tokens(self) -> list[str]:
        return []

    @property
    def takes_tools(self) -> bool:
        """Tools are not offered to an endpoint: what it makes of them has no score."""
        return False

    def _needs_weights(self) -> NoReturn:
        raise UnsupportedModelError(
            f"{self.name} is behind an endpoint, and this needs its weights; `guardrail.scoring.registry.able_for(model)`, or "
            f"`guardrail model inspect {PREFIX}URL#NAME`, lists the scorers that work there; load the weights here for the "
            "others"
        )

    @property
    def model(self) -> NoReturn:  # type: ignore[override]
        self._needs_weights()

    @property
    def anatomy(self) -> NoReturn:
        self._needs_weights()

    @property
    def semantic_token(self) -> NoReturn:
        self._needs_weights()

    @contextmanager
    def shared(  # type: ignore[override]
        self, max_rows: int = 16, on_timing: Any = None, driver: str = "guardrail"
    ) -> Iterator[None]:
        """Nothing to share: requests run side by side anyway. Raises `UnsupportedModelError` for another driver."""
        check_elsewhere(self.name, driver)
        yield None

    def encode_prompt(self, messages: str | Sequence[Message], tools: Sequence[Tool] = ()) -> list[int]:
        """An id for each message, which spells it: the endpoint has the tokens. Raises `ModelError` for tools."""
        if tools:
            raise ModelError(f"{self.name} is behind an endpoint, which is offered no tools; leave them out")
        return [spelt(json.dumps(dict(m), sort_keys=True, default=repr).encode()) for m in as_messages(messages)]

    def encode_response(self, text: str, *, ended: bool = True) -> list[int]:
        return [*words_of(text), *([END] if ended else [])]

    def unthinking(self, prompt: Sequence[int]) -> list[int]:
        return []

    def trace(self, messages: str | Sequence[Message], answer: str, *, finish_reason: FinishReason = "given") -> Trace:
        """The Trace of an answer that exists already, without log-probabilities: an endpoint gives none of a given text."""
        check_finish(finish_reason)
        conversation = as_messages(messages)
        text, stated = self.without_confidence(trimmed(check_text(answer, "an answer")))
        ids = self.encode_response(text, ended=finish_reason != "length")
        return Trace(
            conversation, tuple(self.encode_prompt(conversation)), tuple(ids), text, finish_reason, stated=stated
        )

    def each(self, works: Sequence[Callable[[], T]]) -> list[T]:
        """What each gives, several at a time, in order. Raises what the first of them raises."""
        if len(works) > 1:
            self.abilities  # noqa: B018  (asked once, before all of them)
        return side_by_side(works, self.concurrency)
