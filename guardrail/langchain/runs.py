"""Ties what happens in one call of a chat model to its run: the event of its verdict, the search for its evidence.

Knows nothing about how a verdict is made.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForLLMRun,
    BaseRunManager,
    CallbackManager,
    CallbackManagerForLLMRun,
)
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessageChunk
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config, var_child_runnable_config

from guardrail.langchain.events import adispatch_verdict, dispatch_verdict
from guardrail.langchain.metadata import read_metadata


class VerdictEvents(BaseChatModel):
    """Streams that send the event of the verdict in their last chunk: LangChain gives `_stream` no run to send it to."""

    def stream(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        """The answer in chunks, the verdict in the last one; see `stream_policy` for what leaves before it.

        Raises what `invoke` raises, at the first chunk.
        """
        config = _with_run(config)
        run = self._run_of(config, CallbackManager)
        for chunk in super().stream(input, config, stop=stop, **kwargs):
            if isinstance(chunk, AIMessageChunk) and (metadata := read_metadata(chunk)):
                dispatch_verdict(metadata, run)
            yield chunk

    async def astream(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """`stream` for async code."""
        config = _with_run(config)
        run = self._run_of(config, AsyncCallbackManager)
        async for chunk in super().astream(input, config, stop=stop, **kwargs):
            if isinstance(chunk, AIMessageChunk) and (metadata := read_metadata(chunk)):
                await adispatch_verdict(metadata, run)
            yield chunk

    def _should_stream(self, *, async_api: bool, run_manager: Any = None, **kwargs: Any) -> bool:
        """What LangChain asks for itself never streams from `invoke`: there it says nothing of the run that asked."""
        if internal_source(run_manager):
            return False
        return super()._should_stream(async_api=async_api, run_manager=run_manager, **kwargs)

    def _should_use_protocol_streaming(self, *, async_api: bool, run_manager: Any = None, **kwargs: Any) -> bool:
        if internal_source(run_manager):
            return False
        return super()._should_use_protocol_streaming(async_api=async_api, run_manager=run_manager, **kwargs)

    def _run_of(
        self, config: RunnableConfig, kind: type[CallbackManager] | type[AsyncCallbackManager]
    ) -> RunnableConfig:
        """A config whose events belong to the run that a call with `config` will have."""
        manager = kind.configure(
            config.get("callbacks"), self.callbacks, self.verbose, config.get("tags"), self.tags, config.get("metadata")
        )
        manager.parent_run_id = config["run_id"]
        return {"callbacks": manager}


def _with_run(config: RunnableConfig | None) -> RunnableConfig:
    config = ensure_config(config)
    return {**config, "run_id": config.get("run_id") or uuid4()}


def send_verdict_event(metadata: Mapping[str, Any], run_manager: CallbackManagerForLLMRun | None) -> None:
    """Send the event of a verdict to the handlers of the model's run, if there are any."""
    if run_manager is not None and run_manager.handlers:
        dispatch_verdict(metadata, _config_of(run_manager))


async def asend_verdict_event(metadata: Mapping[str, Any], run_manager: AsyncCallbackManagerForLLMRun | None) -> None:
    """`send_verdict_event` for async code."""
    if run_manager is not None and run_manager.handlers:
        await adispatch_verdict(metadata, _config_of(run_manager))


def internal_source(run_manager: BaseRunManager | None) -> str:
    """What LangChain asks for itself in this run, by its own metadata: "summarization" and the like; else ""."""
    metadata = run_manager.metadata if run_manager is not None else None
    return str((metadata or {}).get("lc_source") or "")


@contextmanager
def within_run(run_manager: BaseRunManager | None) -> Iterator[None]:
    """While something is asked for a model's run, a retriever say, it is traced as a part of that run."""
    if run_manager is None or not run_manager.handlers:
        yield
        return
    if isinstance(run_manager, AsyncCallbackManagerForLLMRun):
        run_manager = run_manager.get_sync()
    token = var_child_runnable_config.set({**ensure_config(), **_config_of(run_manager)})
    try:
        yield
    finally:
        var_child_runnable_config.reset(token)


def _config_of(run_manager: BaseRunManager) -> RunnableConfig:
    """A config whose events and calls belong to the model's own run."""
    kind = AsyncCallbackManager if isinstance(run_manager, AsyncCallbackManagerForLLMRun) else CallbackManager
    manager = kind(
        handlers=run_manager.handlers,
        inheritable_handlers=run_manager.inheritable_handlers,
        parent_run_id=run_manager.run_id,
        tags=run_manager.tags,
        inheritable_tags=run_manager.inheritable_tags,
        metadata=run_manager.metadata,
        inheritable_metadata=run_manager.inheritable_metadata,
    )
    return {"callbacks": manager}
