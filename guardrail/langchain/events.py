"""Tells a LangChain run of a verdict: the custom event `guardrail.verdict`, whose data is the `VerdictMetadata`.

    async for event in chain.astream_events(question, version="v2"):
        if event["event"] == "on_custom_event" and event["name"] == "guardrail.verdict":
            event["data"]["label"]

Where there is no run (a judged text outside any chain), nothing is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import adispatch_custom_event, dispatch_custom_event
from langchain_core.runnables.config import (
    ensure_config,
    get_async_callback_manager_for_config,
    get_callback_manager_for_config,
)

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig

VERDICT_EVENT = "guardrail.verdict"
"""The event's name."""


def dispatch_verdict(metadata: Mapping[str, Any], config: RunnableConfig | None = None) -> None:
    """Send the event to the handlers of the run in `config`, or of the current one."""
    config = ensure_config(config)
    if get_callback_manager_for_config(config).parent_run_id is not None:
        dispatch_custom_event(VERDICT_EVENT, dict(metadata), config=config)


async def adispatch_verdict(metadata: Mapping[str, Any], config: RunnableConfig | None = None) -> None:
    """`dispatch_verdict` for async code."""
    config = ensure_config(config)
    if get_async_callback_manager_for_config(config).parent_run_id is not None:
        await adispatch_custom_event(VERDICT_EVENT, dict(metadata), config=config)
