"""The guard in LangChain, LangGraph and agents.

    from guardrail.langchain import ChatGuarded

    model = ChatGuarded(model="smollm2-135m", policy="default")
    message = model.invoke("What is the capital of France?")
    message.text, message.response_metadata["guardrail"]["confidence"]

Public names load on first use, so that importing this package imports neither torch nor LangChain's agents.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from guardrail.langchain.callback import GuardrailCallbackHandler
    from guardrail.langchain.chat import ChatGuarded
    from guardrail.langchain.events import VERDICT_EVENT
    from guardrail.langchain.gate import GatedRetriever, as_retriever_gate
    from guardrail.langchain.metadata import METADATA_VERSION, VerdictMetadata, read_metadata, verdict_metadata
    from guardrail.langchain.middleware import GuardrailMiddleware
    from guardrail.langchain.runnable import GuardRunnable
    from guardrail.langchain.stated import StatedModel

_LAZY = {
    "METADATA_VERSION": "guardrail.langchain.metadata",
    "VERDICT_EVENT": "guardrail.langchain.events",
    "ChatGuarded": "guardrail.langchain.chat",
    "GatedRetriever": "guardrail.langchain.gate",
    "GuardRunnable": "guardrail.langchain.runnable",
    "GuardrailCallbackHandler": "guardrail.langchain.callback",
    "GuardrailMiddleware": "guardrail.langchain.middleware",
    "StatedModel": "guardrail.langchain.stated",
    "VerdictMetadata": "guardrail.langchain.metadata",
    "as_retriever_gate": "guardrail.langchain.gate",
    "read_metadata": "guardrail.langchain.metadata",
    "verdict_metadata": "guardrail.langchain.metadata",
}

__all__ = [
    "METADATA_VERSION",
    "VERDICT_EVENT",
    "ChatGuarded",
    "GatedRetriever",
    "GuardRunnable",
    "GuardrailCallbackHandler",
    "GuardrailMiddleware",
    "StatedModel",
    "VerdictMetadata",
    "as_retriever_gate",
    "read_metadata",
    "verdict_metadata",
]

if find_spec("langchain") is None:
    # of the extra `agents`; asked for by name, it says so, and `import *` does without
    __all__.remove("GuardrailMiddleware")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'guardrail.langchain' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
