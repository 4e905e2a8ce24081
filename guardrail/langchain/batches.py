"""What `batch`, `abatch` and `generate` of a guarded chat model do: their inputs share passes on the model.

Each input runs through the chat model's own `invoke`, so callbacks, caches, run ids and errors are LangChain's; what is shared
is the pass on the model, see `BatchBarrier`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import get_config_list, get_executor_for_config

from guardrail.errors import ModelError
from guardrail.langchain.answering import Answering
from guardrail.langchain.batching import BatchBarrier, BatchMember, KnownPrompts, Start
from guardrail.langchain.settings import GuardedSettings

Configs = RunnableConfig | list[RunnableConfig] | None


def batch_together(
    answering: Answering,
    inputs: Sequence[LanguageModelInput],
    config: Configs,
    return_exceptions: bool,
    kwargs: dict[str, Any],
) -> list[AIMessage]:
    """`invoke` for each input, in threads, a group of them at a time. Returns messages, or errors, in the inputs' order."""
    chat = answering.chat
    configs = get_config_list(config, len(inputs)) if inputs else []
    out: list[AIMessage] = []
    for start, group in _groups(chat, configs):
        gathering = BatchBarrier(answering.verdicts, len(group))
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


async def abatch_together(
    answering: Answering,
    inputs: Sequence[LanguageModelInput],
    config: Configs,
    return_exceptions: bool,
    kwargs: dict[str, Any],
) -> list[AIMessage]:
    """`batch_together` for async code: `ainvoke` for each input, as tasks."""
    chat = answering.chat
    configs = get_config_list(config, len(inputs)) if inputs else []
    out: list[AIMessage] = []
    for start, group in _groups(chat, configs):
        gathering = BatchBarrier(answering.verdicts, len(group), answering.beside)

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


def prompts_together(
    answering: Answering,
    prompts: Sequence[Sequence[BaseMessage]],
    stop: Sequence[str] | None,
    kwargs: dict[str, Any],
    start: Start | None = None,
) -> AbstractContextManager[object]:
    """A context for `generate` in which its prompts share a pass."""
    if len(prompts) < 2:
        return nullcontext()
    given = {name: value for name, value in kwargs.items() if name not in _RUN_FIELDS}
    calls = [answering.call(messages, stop, given) for messages in prompts]
    return KnownPrompts(answering.verdicts, calls, answering.chat, start)


_RUN_FIELDS = {"tags", "metadata", "run_name", "run_id", "ls_structured_output_format", "structured_output_format"}


def _groups(chat: GuardedSettings, configs: Sequence[RunnableConfig]) -> list[tuple[int, Sequence[RunnableConfig]]]:
    if not configs:
        return []
    most = configs[0].get("max_concurrency")
    if most is not None and most < 1:
        raise ModelError(f"max_concurrency is {most}; give at least 1, or None for the model's own batch_size")
    size = chat.batch_size if most is None else min(chat.batch_size, most)
    return [(start, configs[start : start + size]) for start in range(0, len(configs), size)]
