"""Tells the run of one call of a chat model of its verdict. Knows nothing about how a verdict is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForLLMRun,
    BaseRunManager,
    CallbackManager,
    CallbackManagerForLLMRun,
)
from langchain_core.runnables import RunnableConfig

from guardrail.langchain.events import adispatch_verdict, dispatch_verdict


def tell(metadata: Mapping[str, Any], run_manager: CallbackManagerForLLMRun | None) -> None:
    """Send the event of a verdict to the handlers of the model's run; without one, to those of the run around it."""
    if run_manager is None or run_manager.handlers:
        dispatch_verdict(metadata, _under(run_manager))


async def atell(metadata: Mapping[str, Any], run_manager: AsyncCallbackManagerForLLMRun | None) -> None:
    """`tell` for async code."""
    if run_manager is None or run_manager.handlers:
        await adispatch_verdict(metadata, _under(run_manager))


def _under(run_manager: BaseRunManager | None) -> RunnableConfig | None:
    """A config whose events belong to the model's own run; None leaves them to the run around it."""
    if run_manager is None:
        return None
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
