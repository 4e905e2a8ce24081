"""`batch` and `abatch` of a chat model whose model answers many at once. Knows nothing about that model.

Each input runs through the chat model's own `invoke`, so callbacks, caches, run ids and errors are LangChain's; what is shared
is the pass on the model, see `Gathering`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, cast

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import get_config_list, get_executor_for_config

from guardrail.errors import ModelError
from guardrail.langchain.batching import Answer, Gathering, Prompts, Slot, Start

if TYPE_CHECKING:
    from guardrail.langchain.chat import ChatGuarded

Configs = RunnableConfig | list[RunnableConfig] | None


def batch_together(
    chat: ChatGuarded,
    answer: Answer,
    inputs: Sequence[LanguageModelInput],
    config: Configs,
    return_exceptions: bool,
    kwargs: dict[str, Any],
) -> list[AIMessage]:
    """`invoke` for each input, in threads, a group of them at a time."""
    configs = get_config_list(config, len(inputs)) if inputs else []
    out: list[AIMessage] = []
    for start, group in _groups(chat, configs):
        gathering = Gathering(answer, len(group))
        slots = [Slot(gathering, chat) for _ in group]

        def one(given: LanguageModelInput, own: RunnableConfig, slot: Slot) -> AIMessage | Exception:
            with slot:
                try:
                    return chat.invoke(given, own, **kwargs)
                except Exception as error:
                    if return_exceptions:
                        return error
                    raise

        # max_concurrency is the group's size already: a smaller pool would never let the last input arrive
        with get_executor_for_config({"max_concurrency": len(group)}) as threads:
            out += cast("list[AIMessage]", list(threads.map(one, inputs[start : start + len(group)], group, slots)))
    return out


async def abatch_together(
    chat: ChatGuarded,
    answer: Answer,
    beside: Callable[[Callable[[], None]], object],
    inputs: Sequence[LanguageModelInput],
    config: Configs,
    return_exceptions: bool,
    kwargs: dict[str, Any],
) -> list[AIMessage]:
    """`ainvoke` for each input, as tasks, a group of them at a time."""
    configs = get_config_list(config, len(inputs)) if inputs else []
    out: list[AIMessage] = []
    for start, group in _groups(chat, configs):
        gathering = Gathering(answer, len(group), beside)

        async def one(
            given: LanguageModelInput, own: RunnableConfig, gathering: Gathering = gathering
        ) -> AIMessage | Exception:
            with Slot(gathering, chat):
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
    chat: ChatGuarded,
    answer: Answer,
    prompts: Sequence[Sequence[BaseMessage]],
    stop: Sequence[str] | None,
    kwargs: dict[str, Any],
    start: Start | None = None,
) -> AbstractContextManager[object]:
    """A context for `generate` in which its prompts share a pass."""
    if len(prompts) < 2:
        return nullcontext()
    given = {name: value for name, value in kwargs.items() if name not in _RUN_FIELDS}
    return Prompts(answer, [chat.call(messages, stop, given) for messages in prompts], chat, start)


_RUN_FIELDS = {"tags", "metadata", "run_name", "run_id", "ls_structured_output_format", "structured_output_format"}


def _groups(chat: ChatGuarded, configs: Sequence[RunnableConfig]) -> list[tuple[int, Sequence[RunnableConfig]]]:
    if not configs:
        return []
    most = configs[0].get("max_concurrency")
    if most is not None and most < 1:
        raise ModelError(f"max_concurrency is {most}; give at least 1, or None for the model's own batch_size")
    size = chat.batch_size if most is None else min(chat.batch_size, most)
    return [(start, configs[start : start + size]) for start in range(0, len(configs), size)]
