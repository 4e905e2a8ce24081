"""What a chat model without weights says is not judged yet: no tracer that LangChain switches on by itself is told it."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from langchain_core.tracers import LangChainTracer
from langchain_core.tracers.context import tracing_v2_enabled
from langsmith import utils

from guardrail.langchain import ChatGuarded, StatedModel
from tests.helpers.stating_chat import Stating

POLICY = "version: 1\nname: never\nrules:\n  - {name: all, then: abstain}\n"


@pytest.mark.parametrize("turn", ["after", "same"])
@pytest.mark.parametrize("switched_on", ["by the environment", "by a context manager"])
@pytest.mark.parametrize("timeout", [None, 60])  # without one the call runs in the caller's thread
def test_a_tracer_hears_the_guarded_message_alone(monkeypatch, tmp_path, turn, switched_on, timeout):
    heard = []
    for name in ("_persist_run_single", "_update_run_single"):
        monkeypatch.setattr(LangChainTracer, name, lambda _, run: heard.append((run.name, str(run.outputs))))
    monkeypatch.setenv("LANGSMITH_API_KEY", "none")
    monkeypatch.setenv("LANGSMITH_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("LANGSMITH_TRACING", str(switched_on == "by the environment").lower())
    utils.get_env_var.cache_clear()
    (tmp_path / "never.yaml").write_text(POLICY)
    model = StatedModel(Stating(says=lambda _: "Goethe (with low confidence)"), turn=turn)
    chat = ChatGuarded(model=model, policy=str(tmp_path / "never.yaml"), timeout=timeout)
    with tracing_v2_enabled() if "manager" in switched_on else nullcontext():
        chat.invoke("Who wrote Faust?")
    utils.get_env_var.cache_clear()
    assert {name for name, _ in heard} == {"ChatGuarded"}
    assert not any("Goethe" in outputs for _, outputs in heard)
