"""What a `ChatGuarded` refuses to become: settings that the guard would not follow, a cache of unjudged text."""

from __future__ import annotations

import asyncio
import copy

import numpy as np
import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.globals import set_llm_cache
from langchain_core.messages import HumanMessage
from langchain_core.runnables import ConfigurableField

from guardrail import ModelError, Policy
from guardrail.langchain import (
    ChatGuarded,
    GuardrailCallbackHandler,
    GuardrailMiddleware,
    GuardRunnable,
    as_retriever_gate,
    read_metadata,
)
from guardrail.testing import tiny_local_model
from tests.helpers.langchain_doubles import UNSURE, Fixed, Passages, judging

LOCAL = tiny_local_model(vocab_size=261, max_position_embeddings=1024)
NEVER = Policy.from_text(
    "version: 1\nname: never\nrules:\n  - {name: never, then: abstain, say: 'No.'}\n", "never.yaml"
)


def chat(**options):
    return ChatGuarded(model=LOCAL, policy="observe", max_tokens=4, **options)


@pytest.mark.parametrize(
    "field", ["model", "policy", "calibrator", "retriever", "scorer", "observers", "chat_template"]
)
def test_what_the_guard_is_made_of_does_not_change(field):
    made = chat()
    with pytest.raises(ModelError, match=f"{field} cannot change"):
        setattr(made, field, NEVER)
    with pytest.raises(ModelError, match=f"{field} cannot change"):
        made.model_copy(update={field: NEVER})
    assert getattr(made, field) is getattr(made.model_copy(update={field: getattr(made, field)}), field)


def test_what_a_call_may_change_does():
    made = chat()
    made.max_tokens = 2
    assert made.invoke("Who?").usage_metadata["output_tokens"] == 2
    assert made.model_copy(update={"max_tokens": 3}).invoke("Who?").usage_metadata["output_tokens"] == 3


def test_passthrough_takes_no_cache():
    for cache in (InMemoryCache(), True):
        with pytest.raises(ModelError, match="takes no cache"):
            chat(stream_policy="passthrough", cache=cache)
    live, held = chat(stream_policy="passthrough"), chat(cache=InMemoryCache())
    with pytest.raises(ModelError, match="takes no cache"):
        live.cache = InMemoryCache()
    with pytest.raises(ModelError, match="takes no cache"):
        held.stream_policy = "passthrough"
    with pytest.raises(ModelError, match="takes no cache"):
        held.model_copy(update={"stream_policy": "passthrough"})
    assert chat().model_copy(update={"stream_policy": "passthrough"}).cache is False
    assert chat().cache is None


def test_what_passed_through_is_in_no_global_cache():
    """LangChain makes `invoke` stream for `astream_events` and caches what it streamed."""
    live = ChatGuarded(model=LOCAL, policy=NEVER, max_tokens=4, stream_policy="passthrough")

    async def streamed():
        return [event async for event in live.astream_events([HumanMessage("Who?")], version="v2")]

    cache = InMemoryCache()
    set_llm_cache(cache)
    try:
        assert any(e["event"] == "on_chat_model_stream" for e in asyncio.run(streamed()))
        message = live.invoke([HumanMessage("Who?")])
    finally:
        set_llm_cache(None)
    assert (message.content, read_metadata(message)["enforced"]) == ("No.", True)
    assert cache._cache == {}


@pytest.mark.parametrize("most", [0, -1])
def test_a_batch_of_no_size(most):
    with pytest.raises(ModelError, match=f"max_concurrency is {most}"):
        chat().batch(["a", "b"], {"max_concurrency": most})
    with pytest.raises(ModelError, match=f"max_concurrency is {most}"):
        asyncio.run(chat().abatch(["a", "b"], {"max_concurrency": most}))


def test_copies_share_the_guard_where_nothing_of_it_changes():
    guard = judging(LOCAL, UNSURE, calibrator_name="mine.json")
    made = ChatGuarded.from_guard(guard, max_tokens=4)
    fields = {n: ConfigurableField(id=n) for n in ("max_tokens", "policy", "retriever")}
    loose = made.configurable_fields(**fields)
    one, _ = loose._prepare({"configurable": {"max_tokens": 2}})
    assert (one.guard, one.max_tokens, one._turns) == (guard, 2, made._turns)
    other, _ = loose._prepare({"configurable": {"policy": NEVER}})
    assert other.guard is not guard
    assert (other.guard.policy, other.guard.calibrator_name) == (NEVER, "mine.json")
    found = Passages(queries=[])
    assert loose._prepare({"configurable": {"retriever": found}})[0].guard.retriever is found
    assert read_metadata(loose.invoke("Who?", {"configurable": {"max_tokens": 2}}))["calibrator"] == "mine.json"


def test_a_model_that_was_loaded_by_name_can_be_configured(tiny_folder):
    made = ChatGuarded(model=str(tiny_folder), policy="observe", device="cpu", max_tokens=4)
    loose = made.configurable_fields(max_tokens=ConfigurableField(id="n"))
    assert loose._prepare({"configurable": {"n": 2}})[0].guard is made.guard


def keys(chat):
    return chat._get_llm_string()


def test_cache_keys_tell_guards_apart():
    def other(scorer, options):
        scored = Fixed(scorer)
        scored.options = options
        return ChatGuarded(model=LOCAL, policy="observe", scorer=scored)

    found = [chat(retriever=Passages(queries=[])) for _ in range(2)]
    scored = [other(1.0, {}), other(2.0, {}), other(1.0, {"a": 1})]
    all_keys = [keys(c) for c in (chat(), *found, *scored)]
    assert len(set(all_keys)) == len(all_keys)
    assert keys(chat()) == keys(chat())  # nothing in it that a retriever or a scorer could hide
    for made in (found[0], scored[0]):
        assert keys(made) == keys(made.model_copy()) == keys(copy.deepcopy(made))


JSON_MODE = {"schema": {"title": "x", "type": "object"}, "method": "json_mode"}
TOOL = {"type": "function", "function": {"name": "f", "description": "x", "parameters": {"type": "object"}}}
REFUSED = {
    "device": (lambda: chat(device="cpu"), "device says how to load"),
    "dtype": (lambda: chat(dtype="float32"), "dtype says how to load"),
    "chat_template": (lambda: chat(chat_template="x"), "chat_template says how to load"),
    "device of a guard": (lambda: ChatGuarded.from_guard(chat().guard, device="cpu"), "device cannot be given here"),
    "json, strict": (lambda: chat().with_structured_output(**JSON_MODE, strict=True), "strict=True cannot be kept"),
    "json, tools": (lambda: chat().with_structured_output(**JSON_MODE, tools=[TOOL]), "no option tools"),
    "strict": (lambda: chat().invoke("x", strict=True), "strict=True cannot be kept"),
    "parallel": (lambda: chat().invoke("x", parallel_tool_calls=False), "parallel_tool_calls=False cannot be kept"),
    "choice": (lambda: chat().invoke("x", tool_choice="any"), "tool_choice is 'any', and the call has no tools"),
    "odd choice": (lambda: chat().invoke("x", tools=[TOOL], tool_choice=3), "names 3, and there is no such tool"),
    "a word": (lambda: chat().invoke("x", score_tool_calls="yes"), "score_tool_calls is 'yes'; it is True, False"),
    "a number": (lambda: chat().invoke("x", score_tool_calls=1), "score_tool_calls is 1; it is True, False"),
    "no such tool": (lambda: chat().invoke("x", score_tool_calls=["g"]), "tools are: none"),
    "a large seed": (lambda: chat().invoke("x", temperature=1.0, seed=2**70), "must fit into 64 bits"),
    "half a token": (lambda: chat().invoke("x", max_tokens=1.5), "must be a whole number"),
    "yes": (lambda: chat().invoke("x", seed=True), "must be a whole number"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_ignored_is_refused(name):
    call, text = REFUSED[name]
    with pytest.raises(ModelError, match=text):
        call()


def test_what_holds_anyway_is_taken():
    plain = chat().invoke("x").content
    assert chat().invoke("x", strict=None, parallel_tool_calls=True, tool_choice="none").content == plain


def test_numpys_numbers():
    given = {"max_tokens": np.int64(2), "seed": np.int32(3), "temperature": np.float32(1.5)}
    assert chat().invoke("x", **given).content == chat().invoke("x", max_tokens=2, seed=3, temperature=1.5).content
    made = ChatGuarded(model=LOCAL, policy="observe", **given)
    assert (made.max_tokens, made.seed, made.temperature) == (2, 3, 1.5)
    assert type(made.max_tokens) is int


def test_what_holds_a_guard_is_shown_and_copied():
    guard = judging(LOCAL, UNSURE)
    held = [
        *(GuardRunnable(guard), GuardrailCallbackHandler(guard, raise_below=0.5), GuardrailMiddleware(guard)),
        *(as_retriever_gate(guard, Passages(queries=[]), below=0.5), chat(retriever=object())),
    ]
    for one in held:
        assert "0x" not in repr(one)
        copied = copy.deepcopy(one)
        assert type(copied) is type(one)
        assert copied.guard.model is LOCAL
    assert copy.deepcopy(held[1]).raise_below == 0.5
