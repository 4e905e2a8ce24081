"""Ties what happens in one call of a chat model to its run: the event of its verdict, the search for its evidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config, var_child_runnable_config

from guardrail.langchain.events import adispatch_verdict, dispatch_verdict


def run_ahead(
    chat: BaseChatModel, config: RunnableConfig | None, kind: type[CallbackManager] | type[AsyncCallbackManager]
) -> tuple[RunnableConfig, RunnableConfig]:
    """The run that a stream of `chat` will have, known before LangChain makes it: `_stream` is given no run of its own.

    Returns:
        A config to stream with, and one whose events belong to that run.
    """
    config = ensure_config(config)
    config = {**config, "run_id": config.get("run_id") or uuid4()}
    manager = kind.configure(
        config.get("callbacks"), chat.callbacks, chat.verbose, config.get("tags"), chat.tags, config.get("metadata")
    )
    manager.parent_run_id = config["run_id"]
    return config, {"callbacks": manager}


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
