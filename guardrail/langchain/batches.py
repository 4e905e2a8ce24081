"""`batch`, `abatch` and `generate` of a chat model whose model answers many at once. Knows nothing about that model.

Each input runs through the chat model's own `invoke`, so callbacks, caches, run ids and errors are LangChain's; what is shared
is the pass on the model, see `BatchBarrier`.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar, cast

from langchain_core.callbacks import Callbacks
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import LLMResult
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import get_config_list, get_executor_for_config

from guardrail.errors import ModelError
from guardrail.langchain.batching import BatchBarrier, BatchMember, KnownPrompts, Start
from guardrail.langchain.call import Call
from guardrail.langchain.settings import GuardedSettings
from guardrail.langchain.streaming import Watch
from guardrail.types import Verdict

T = TypeVar("T")

Configs = RunnableConfig | list[RunnableConfig] | None


class SharedPasses(GuardedSettings):
    """A guarded chat model whose batches share passes on the model."""

    @abstractmethod
    def call(self, messages: Sequence[BaseMessage], stop: Sequence[str] | None, given: dict[str, Any]) -> Call:
        """What a Guard is asked, and how."""

    @abstractmethod
    def _verdicts(self, calls: Sequence[Call], watch: Watch | None = None) -> Sequence[Verdict]: ...

    @abstractmethod
    def _beside(self, work: Callable[[], T]) -> Future[T]: ...

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """`invoke` for many inputs, in order; `batch_size` of them (or `max_concurrency`) share a pass on the model."""
        return _batch_together(self, inputs, config, return_exceptions, kwargs)

    async def abatch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """`batch` for async code."""
        return await _abatch_together(self, inputs, config, return_exceptions, kwargs)

    def generate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **kwargs: Any,
    ) -> LLMResult:
        """LangChain's `generate`; several prompts share a pass on the model."""
        with _prompts_together(self, messages, stop, kwargs):
            return super().generate(messages, stop, callbacks, **kwargs)

    async def agenerate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **kwargs: Any,
    ) -> LLMResult:
        """`generate` for async code."""
        with _prompts_together(self, messages, stop, kwargs, self._beside):
            return await super().agenerate(messages, stop, callbacks, **kwargs)


def _batch_together(
    chat: SharedPasses,
    inputs: Sequence[LanguageModelInput],
    config: Configs,
    return_exceptions: bool,
    kwargs: dict[str, Any],
) -> list[AIMessage]:
    """`invoke` for each input, in threads, a group of them at a time."""
    configs = get_config_list(config, len(inputs)) if inputs else []
    out: list[AIMessage] = []
    for start, group in _groups(chat, configs):
        gathering = BatchBarrier(chat._verdicts, len(group))
        slots = [BatchMember(gathering, chat) for _ in group]

        def one(given: LanguageModelInput, own: RunnableConfig, slot: BatchMember) -> AIMessage | Exception:
            with slot:
                try:
                    return chat.invoke(given, own, **kwargs)
                except Exception as error:
                    if return_exceptions:
                        return error
                    raise

        # max_concurrency is the group's size already: a smaller pool would never let the last input arrive
        with get_executor_for_config({"max_concurrency": len(group)}) as threads:
            try:
                out += cast("list[AIMessage]", list(threads.map(one, inputs[start : start + len(group)], group, slots)))
            except BaseException as error:
                if not isinstance(error, Exception):  # Ctrl-C: leaving the pool would wait for the whole pass
                    gathering.abandon()
                raise
    return out


async def _abatch_together(
    chat: SharedPasses,
    inputs: Sequence[LanguageModelInput],
    config: Configs,
    return_exceptions: bool,
    kwargs: dict[str, Any],
) -> list[AIMessage]:
    """`ainvoke` for each input, as tasks, a group of them at a time."""
    configs = get_config_list(config, len(inputs)) if inputs else []
    out: list[AIMessage] = []
    for start, group in _groups(chat, configs):
        gathering = BatchBarrier(chat._verdicts, len(group), chat._beside)

        async def one(
            given: LanguageModelInput, own: RunnableConfig, gathering: BatchBarrier = gathering
        ) -> AIMessage | Exception:
            with BatchMember(gathering, chat):
                try:
                    return await chat.ainvoke(given, own, **kwargs)
                except Exception as error:
                    if return_exceptions:
                        return error
                    raise

        tasks = [one(i, c) for i, c in zip(inputs[start : start + len(group)], group, strict=True)]
        out += cast("list[AIMessage]", await asyncio.gather(*tasks))
    return out


def _prompts_together(
    chat: SharedPasses,
    prompts: Sequence[Sequence[BaseMessage]],
    stop: Sequence[str] | None,
    kwargs: dict[str, Any],
    start: Start | None = None,
) -> AbstractContextManager[object]:
    """A context for `generate` in which its prompts share a pass."""
    if len(prompts) < 2:
        return nullcontext()
    given = {name: value for name, value in kwargs.items() if name not in _RUN_FIELDS}
    return KnownPrompts(chat._verdicts, [chat.call(messages, stop, given) for messages in prompts], chat, start)


_RUN_FIELDS = {"tags", "metadata", "run_name", "run_id", "ls_structured_output_format", "structured_output_format"}


def _groups(chat: SharedPasses, configs: Sequence[RunnableConfig]) -> list[tuple[int, Sequence[RunnableConfig]]]:
    if not configs:
        return []
    most = configs[0].get("max_concurrency")
    if most is not None and most < 1:
        raise ModelError(f"max_concurrency is {most}; give at least 1, or None for the model's own batch_size")
    size = chat.batch_size if most is None else min(chat.batch_size, most)
    return [(start, configs[start : start + size]) for start in range(0, len(configs), size)]
