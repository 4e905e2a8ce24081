"""`GuardrailCallbackHandler`: judges what an existing chain's chat model said. It observes, annotates, or raises.

A callback cannot hold text back: LangChain calls it after the model is done, and streamed text is out by then. To hold
text back use `ChatGuarded`, `GuardRunnable` or, in agents, `GuardrailMiddleware`.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.outputs import ChatGeneration, LLMResult

from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.errors import DataError, LowConfidenceError
from guardrail.guard import Guard
from guardrail.langchain.convert import to_chat_messages
from guardrail.langchain.events import dispatch_verdict
from guardrail.langchain.huggingface import from_chat_huggingface
from guardrail.langchain.metadata import METADATA_KEY, verdict_metadata
from guardrail.langchain.reply import withholds
from guardrail.langchain.review import described, finish_reason_of, is_final, spoken
from guardrail.types import WITHHELD, Message, Verdict

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from guardrail.policy import Policy

_MOST_PENDING = 10_000
"""Runs that have started and not ended. LangChain forgets to end some: the later ones of a batch whose first one raised."""


class GuardrailCallbackHandler(BaseCallbackHandler):
    """Scores what a chat model said and writes the verdict into the message's `response_metadata["guardrail"]`.

        >>> handler = GuardrailCallbackHandler(guard)
        >>> message = chain.invoke("What is the capital of France?", config={"callbacks": [handler]})
        >>> message.response_metadata["guardrail"]["action"]
        'answer'

    The text stays as it is, whatever the policy says (`enforced` is False); `action` says what it would have done. Also of an
    answer that was streamed, but then the metadata does not reach the caller, whose chunks are out already: use `on_verdict`
    or the event `guardrail.verdict`. Turns of tool calls and messages that a guard has let out are left alone.

    A handler that may raise lets every error through (`raise_error`). One that only observes does not: LangChain logs a
    warning, and the message has no verdict. Runs in the thread, or the event loop, of the chain (`run_inline`): in async
    code scoring blocks the loop, since LangChain swallows what a handler raises anywhere else. One handler may serve any
    number of runs at the same time.

    Args:
        guard: On the model that answers, or on its local twin where the answering one runs elsewhere; the score is always
            that of the guard's model.
        on_verdict: Called with each `Verdict`.
        raise_on_abstain: Raise `LowConfidenceError`, which holds the verdict, where the policy says abstain.
        raise_below: Raise it where the calibrated probability is below this, in [0, 1], or unknown.

    Raises:
        DataError: For a `raise_below` that is no probability.
        LowConfidenceError: During a run, as `raise_on_abstain` and `raise_below` ask.
    """

    run_inline = True

    def __init__(
        self,
        guard: Guard,
        *,
        on_verdict: Callable[[Verdict], None] | None = None,
        raise_on_abstain: bool = False,
        raise_below: float | None = None,
    ) -> None:
        if raise_below is not None and not 0.0 <= raise_below <= 1.0:
            raise DataError(f"raise_below is {raise_below}; it is a probability, from 0 to 1")
        self.guard = guard
        self.on_verdict = on_verdict
        self.raise_on_abstain = raise_on_abstain
        self.raise_below = raise_below
        self.raise_error = raise_on_abstain or raise_below is not None
        self._pending: OrderedDict[UUID, tuple[Message, ...]] = OrderedDict()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"GuardrailCallbackHandler({described(self.guard)})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A handler of its own on the same guard: weights and locks are not copied."""
        options = {name: getattr(self, name) for name in ("on_verdict", "raise_on_abstain", "raise_below")}
        return type(self)(self.guard, **options)

    @classmethod
    def from_chat_huggingface(
        cls,
        chat: Any,
        *,
        policy: Policy | str | os.PathLike[str] = "default",
        calibrator: IsotonicCalibrator | str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> Self:
        """A handler whose guard is on the very model of a `ChatHuggingFace` over a pipeline; options as the class has them.

        Raises `ModelError` where that model is not local, `CalibrationError` where the policy needs a calibrator.
        """
        return cls(Guard(model=from_chat_huggingface(chat), policy=policy, calibrator=calibrator), **options)

    def on_chat_model_start(
        self, serialized: dict[str, Any], messages: list[list[BaseMessage]], *, run_id: UUID, **kwargs: Any
    ) -> None:
        """Keep what is asked until the run ends."""
        asked = tuple(to_chat_messages(messages[0]))
        with self._lock:
            self._pending[run_id] = asked
            while len(self._pending) > _MOST_PENDING:
                self._pending.popitem(last=False)

    def on_llm_start(self, serialized: dict[str, Any], prompts: list[str], *, run_id: UUID, **kwargs: Any) -> None:
        """Refuse a model that is no chat model: its prompts are no conversation. Raises `DataError`."""
        raise DataError(
            f"GuardrailCallbackHandler judges chat models, and {serialized.get('name', 'this one')!r} takes text; "
            "wrap it in a chat model (ChatHuggingFace), or use Guard.check on its question and answer"
        )

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Judge every generation; annotate all, and tell of all, before raising `LowConfidenceError` for the first that is too
        unsure, or else what `on_verdict` raised.

        Raises `DataError` for an answer whose question this handler has not seen.
        """
        asked = self._forget(run_id)
        found = [g for row in response.generations for g in row if isinstance(g, ChatGeneration)]
        unjudged = [g for g in found if is_final(g.message)]
        if not unjudged:
            return
        if asked is None:
            raise DataError(f"run {run_id} ended without a start that this handler saw, so its answer cannot be judged")
        verdicts = [self._judge(generation, asked) for generation in unjudged]
        raised: list[Exception] = []
        for verdict in verdicts:
            try:
                dispatch_verdict(verdict_metadata(verdict, enforced=False))
                if self.on_verdict:
                    self.on_verdict(verdict)
            except Exception as error:
                raised.append(error)
        for verdict in verdicts:
            self._raise_if_unsure(verdict)
        if raised:
            raise raised[0]

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Forget the run."""
        self._forget(run_id)

    def _forget(self, run_id: UUID) -> tuple[Message, ...] | None:
        with self._lock:
            return self._pending.pop(run_id, None)

    def _judge(self, generation: ChatGeneration, asked: Sequence[Message]) -> Verdict:
        message = generation.message
        finish = finish_reason_of(message, generation.generation_info)
        verdict = self.guard.check(asked, spoken(self.guard, asked, str(message.text)), finish_reason=finish)
        metadata = verdict_metadata(verdict, enforced=False)
        message.response_metadata = {**message.response_metadata, METADATA_KEY: metadata}
        return verdict

    def _raise_if_unsure(self, verdict: Verdict) -> None:
        p = verdict.confidence.p_correct
        if self.raise_on_abstain and verdict.action in WITHHELD:
            raise LowConfidenceError(withholds(verdict), verdict)
        if self.raise_below is not None and (p is None or p < self.raise_below):
            sure = f"unknown ({verdict.confidence.reason})" if p is None else f"{p:.2f}"
            raise LowConfidenceError(f"confidence is {sure}; raise_below is {self.raise_below:.2f}", verdict)
