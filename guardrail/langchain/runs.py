"""Where the events of one call of a chat model belong in LangChain's tree of runs."""

from __future__ import annotations

from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForLLMRun,
    BaseRunManager,
    CallbackManager,
)
from langchain_core.runnables import RunnableConfig


def under(run_manager: BaseRunManager | None) -> RunnableConfig | None:
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
