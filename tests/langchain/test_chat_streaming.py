"""Streams: the pieces are the text; whoever goes away gives the model back; the verdict reaches the runs around."""

from __future__ import annotations

import asyncio
import gc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda

from guardrail.langchain import ChatGuarded, read_metadata
from guardrail.langchain.streaming import TextStream
from guardrail.model.stopping import is_stopped
from guardrail.testing import tiny_local_model, tiny_tokenizer

LOCAL = tiny_local_model(vocab_size=261, max_position_embeddings=8192)
FEW = 800  # steps; a generation that nobody ends has 1,172, measured: 10 for a stream, 60 in 0.3 seconds
TOKENIZER = tiny_tokenizer()


def chat(**options):
    return ChatGuarded(model=LOCAL, policy="observe", stream_policy="passthrough", **options)


@given(st.text(max_size=40), st.lists(st.text(min_size=1, max_size=3), max_size=2))
@example("a日b", ["\ufffd"])
@example("aé", ["\ufffd", "aé"])
@example("a\ufffd日", ["b", "\ufffd"])
@example("日\ufffd", ["日\ufffd"])
def test_pieces_joined_are_the_text(text, stops):
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    stream, pieces = TextStream(TOKENIZER, [2], stops), []
    whole = TOKENIZER.decode(ids, skip_special_tokens=True)
    for n in range(1, len(ids) + 1):
        pieces.append(stream.feed(ids[:n]))
        if is_stopped(TOKENIZER, ids[:n], stops):
            break
    cut = min([whole.find(stop) for stop in stops if stop in whole], default=len(whole))
    final = whole[:cut].strip()
    assert "".join([*pieces, stream.remaining(final)]) == final


def test_half_characters_and_stop_strings_wait():
    stream = TextStream(TOKENIZER, [2], ["END"])
    ids = TOKENIZER("a é EN", add_special_tokens=False)["input_ids"]
    assert [stream.feed(ids[:n]) for n in range(1, len(ids) + 1)] == ["a", "", "", " é", "", "", ""]
    assert stream.remaining("a é EN") == " EN"


def test_a_stream_with_a_stop_string_is_what_invoke_gives():
    whole = chat(max_tokens=20).invoke("Who?").content
    stop = next(whole[i : i + 2] for i in range(3, len(whole)) if whole.index(whole[i : i + 2]) == i)
    stopped = chat(max_tokens=20, stop=stop)
    assert "".join(c.content for c in stopped.stream("Who?")) == stopped.invoke("Who?").content


class Steps:
    """How many steps of a generation have run: passes of the first layer."""

    def __init__(self):
        self.ran = 0

    def __enter__(self):
        self.hook = LOCAL.anatomy.layers[0].register_forward_hook(self)
        return self

    def __exit__(self, *_):
        self.hook.remove()

    def __call__(self, *_):
        self.ran += 1


def test_leaving_a_stream_ends_the_generation():
    with Steps() as steps:
        stream = chat(max_tokens=4000).stream("Who?")
        next(stream)
        stream.close()
        chat(max_tokens=1).invoke("Who?")  # waits for the model, that is for the end of what ran
        for _ in chat(max_tokens=4000).stream("Who?"):
            break
        gc.collect()
        chat(max_tokens=1).invoke("Who?")
    assert steps.ran < FEW


def test_cancelling_tasks_ends_the_generation():
    async def leave(start):
        task = asyncio.create_task(start())
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await chat(max_tokens=1).ainvoke("Who?")

    async def read():
        async for _ in chat(max_tokens=4000).astream("Who?"):
            pass

    async def queued():
        """Those that have not begun are dropped, too."""
        await asyncio.gather(*[chat(max_tokens=4000).ainvoke("Who?") for _ in range(5)])

    async def together():
        await chat(max_tokens=4000).abatch(["Who?", "When?"])

    async def prompts():
        await chat(max_tokens=4000).agenerate([[HumanMessage("Who?")], [HumanMessage("When?")]])

    for start in (lambda: chat(max_tokens=4000).ainvoke("Who?"), read, queued, together, prompts):
        with Steps() as steps:
            assert asyncio.run(leave(start)).content
        assert steps.ran < FEW


def test_errors_reach_the_reader():
    with pytest.raises(Exception, match="max_new_tokens is 0"):
        list(chat(max_tokens=0).stream("Who?"))

    async def read():
        return [c async for c in chat(max_tokens=0).astream("Who?")]

    with pytest.raises(Exception, match="max_new_tokens is 0"):
        asyncio.run(read())


class Events(BaseCallbackHandler):
    def __init__(self):
        self.seen = []

    def on_custom_event(self, name, data, **kwargs):
        self.seen.append((name, data["action"]))


VERDICT = ("guardrail.verdict", "answer")


def test_the_verdict_is_an_event_of_the_run():
    held, events = ChatGuarded(model=LOCAL, policy="observe", max_tokens=2), Events()
    held.invoke("Who?", {"callbacks": [events]})
    asyncio.run(held.ainvoke("Who?", {"callbacks": [events]}))
    held.batch(["a", "b"], {"callbacks": [events]})
    assert events.seen == [VERDICT] * 4

    async def custom(runnable):
        seen = [e async for e in runnable.astream_events("Who?", version="v2") if e["event"] == "on_custom_event"]
        return [(e["name"], e["data"]["action"]) for e in seen]

    chain = RunnableLambda(lambda q: q) | held
    assert asyncio.run(custom(chain)) == [VERDICT]
    assert asyncio.run(custom(RunnableLambda(lambda q: q) | chat(max_tokens=2))) == [VERDICT]
    assert read_metadata(list(held.stream("Who?"))[-1])["action"] == "answer"  # nobody to tell: no error


def test_a_stream_tells_its_own_run_once():
    class Told(BaseCallbackHandler):
        def __init__(self):
            self.runs, self.told = [], []

        def on_chat_model_start(self, *args, run_id, **kwargs):
            self.runs.append(run_id)

        def on_custom_event(self, name, data, *, run_id, **kwargs):
            self.told.append((name, run_id))

    async def read(model, config):
        return [chunk async for chunk in model.astream("Who?", config)]

    for made in (chat(max_tokens=2), ChatGuarded(model=LOCAL, policy="observe", max_tokens=2)):
        for quiet in (False, "tool_calling", True):  # True: LangChain's stream is an invoke
            model, told = made.model_copy(update={"disable_streaming": quiet}), Told()
            list(model.stream("Who?", {"callbacks": [told]}))
            asyncio.run(read(model, {"callbacks": [told]}))
            list((RunnableLambda(lambda q: q) | model).stream("Who?", {"callbacks": [told]}))
            assert told.told == [("guardrail.verdict", run) for run in told.runs]
            assert len(told.runs) == 3


@pytest.mark.parametrize("run", [ChatGuarded.batch, lambda *a, **k: asyncio.run(ChatGuarded.abatch(*a, **k))])
def test_a_callback_that_asks_the_same_chat_keeps_its_own_options(run):
    made = chat(max_tokens=4)

    class Asking(BaseCallbackHandler):
        run_inline = True

        def __init__(self):
            self.said = []

        def on_chat_model_start(self, serialized, messages, **kwargs):
            if messages[0][-1].text == "one" and run is ChatGuarded.batch:
                self.said.append(made.invoke("inside", max_tokens=1))

    asking = Asking()
    out = run(made, ["one", "two", "three"], {"callbacks": [asking]})
    assert [m.usage_metadata["output_tokens"] for m in out] == [4, 4, 4]
    assert [m.usage_metadata["output_tokens"] for m in asking.said] == [1] * len(asking.said)
