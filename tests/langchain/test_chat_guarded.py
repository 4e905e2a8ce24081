"""`ChatGuarded`: what goes in, what comes out, options at call time, batches, and what it refuses."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField

from guardrail import CalibrationError, Guard, HybridGradScorer, IsotonicCalibrator, ModelError, Policy
from guardrail.calibration.provenance import Provenance
from guardrail.errors import DataError, GuardrailError
from guardrail.langchain import ChatGuarded, read_metadata
from guardrail.testing import tiny_local_model

LOCAL = tiny_local_model(vocab_size=261, max_position_embeddings=1024)


@pytest.fixture(scope="module")
def chat():
    return ChatGuarded(model=LOCAL, policy="observe", max_tokens=6)


@pytest.fixture(scope="module")
def calibrated():
    provenance = Provenance(
        model=LOCAL.identity, scorer="hybridgrad", profile=HybridGradScorer(LOCAL).options, prompt="Q: {question}",
        system="Be short.", data="x", n=100, accuracy=0.5, created="2026-01-01", command="test", versions={},
        grader="exact", generation={"max_new_tokens": 6, "temperature": 0.0},
    )  # fmt: skip
    scores, correct = [i / 1000 for i in range(100)], [i % 100 < 50 for i in range(100)]
    return ChatGuarded(
        model=LOCAL, policy="observe", calibrator=IsotonicCalibrator().fit(scores, correct, provenance=provenance)
    )


def inside(text):
    """Two characters of a text that stand nowhere before, with something in front."""
    return next(text[i : i + 2] for i in range(2, len(text)) if text.index(text[i : i + 2]) == i and text[:i].strip())


def test_the_answer_and_its_score_are_the_guards(chat):
    messages = [{"role": "user", "content": "Who?"}]
    verdict = Guard(model=LOCAL, policy="observe").answer(messages, max_new_tokens=6)
    message = chat.invoke([HumanMessage("Who?")])
    assert message.content == verdict.text
    metadata = read_metadata(message)
    assert metadata["score"]["hybridgrad"] == pytest.approx(verdict.score.hybridgrad, rel=1e-6)
    assert message.response_metadata["model_name"] == metadata["model"] == "tiny-llama"
    assert message.response_metadata["finish_reason"] == "length"
    assert message.usage_metadata == {
        "input_tokens": len(LOCAL.encode_prompt(messages)),
        "output_tokens": 6,
        "total_tokens": len(LOCAL.encode_prompt(messages)) + 6,
    }
    json.dumps(message.response_metadata, allow_nan=False)


def test_history_and_system_messages_reach_the_template(chat):
    history = [SystemMessage("Be short."), HumanMessage("Hi"), AIMessage("Hello"), HumanMessage("Who?")]
    plain = [
        {"role": r, "content": c}
        for r, c in zip(["system", "user", "assistant", "user"], [m.content for m in history], strict=True)
    ]
    assert chat.invoke(history).content == LOCAL.generate(plain, max_new_tokens=6).text
    assert chat.invoke(history).usage_metadata["input_tokens"] == len(LOCAL.encode_prompt(plain))
    chain = ChatPromptTemplate.from_messages([("system", "Be short."), ("human", "{q}")]) | chat
    assert chain.invoke({"q": "Who?"}).content == LOCAL.generate([plain[0], plain[3]], max_new_tokens=6).text


def test_a_string_is_a_question_and_messages_are_as_they_are(calibrated):
    asked = LOCAL.generate(
        [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Q: Who?"}], max_new_tokens=6
    )
    assert calibrated.invoke("Who?").usage_metadata["input_tokens"] == len(asked.prompt_ids)
    assert read_metadata(calibrated.invoke("Who?"))["basis"] == "calibrated"
    bare = calibrated.invoke([HumanMessage("Who?")])
    assert bare.usage_metadata["input_tokens"] < len(asked.prompt_ids)
    assert read_metadata(bare)["basis"] == "extrapolated"

    single = calibrated.model_copy(update={"as_question": "single"})
    assert read_metadata(single.invoke([HumanMessage("Who?")]))["basis"] == "calibrated"
    assert read_metadata(single.invoke([SystemMessage("x"), HumanMessage("Who?")]))["basis"] == "extrapolated"
    never = calibrated.model_copy(update={"as_question": "never"})
    assert read_metadata(never.invoke("Who?"))["basis"] == "extrapolated"


def test_other_decoding_than_the_calibrations_is_said(calibrated):
    sampled = read_metadata(calibrated.invoke("Who?", temperature=0.7, seed=1))
    assert (sampled["basis"], sampled["basis_reason"]) == (
        "extrapolated",
        "temperature 0.7, not the 0 of the calibration",
    )
    stop = inside(calibrated.invoke("Who?").content)
    stopped = read_metadata(calibrated.invoke("Who?", stop=[stop]))
    assert (stopped["basis"], stopped["basis_reason"]) == ("extrapolated", "ended by a stop string")
    assert read_metadata(calibrated.invoke("Who?", stop=["not in it at all"]))["basis"] == "calibrated"


def test_options_at_call_time(chat):
    assert chat.invoke("Who?", max_tokens=2).usage_metadata["output_tokens"] == 2
    assert chat.bind(max_tokens=3).invoke("Who?").usage_metadata["output_tokens"] == 3
    one, two = (chat.invoke("Who?", temperature=2.0, seed=s).content for s in (1, 2))
    assert one != two
    assert chat.invoke("Who?", temperature=2.0, seed=1).content == one
    assert chat.invoke("Who?", stop=[]).content == chat.invoke("Who?").content


def test_a_stop_string_ends_the_answer_and_is_not_in_it(chat):
    whole = chat.invoke("Who?", max_tokens=12)
    stop = inside(whole.content)
    cut = chat.invoke("Who?", max_tokens=12, stop=[stop])
    assert cut.content == whole.content[: whole.content.index(stop)].strip()
    assert cut.response_metadata["finish_reason"] == "stop"
    assert read_metadata(cut)["score"]["length"] == cut.usage_metadata["output_tokens"] < 12
    fixed = ChatGuarded(model=LOCAL, policy="observe", max_tokens=12, stop=stop)
    assert fixed.invoke("Who?").content == cut.content


@pytest.mark.parametrize("run", [ChatGuarded.batch, lambda *a, **k: asyncio.run(ChatGuarded.abatch(*a, **k))])
def test_a_batch_shares_passes_and_keeps_each_inputs_run(chat, run, monkeypatch):
    passes = []
    original = LOCAL.generate_batch
    monkeypatch.setattr(LOCAL, "generate_batch", lambda c, **k: passes.append(len(c)) or original(c, **k))
    inputs = [f"Number {i}?" for i in range(11)]
    runs = [uuid4() for _ in inputs]
    started = []

    class Handler(BaseCallbackHandler):
        def on_chat_model_start(self, *a, run_id, tags=None, **k):
            started.append((run_id, tuple(tags)))

    configs = [{"run_id": r, "tags": [f"t{i}"], "callbacks": [Handler()]} for i, r in enumerate(runs)]
    out = run(chat, inputs, configs)
    assert passes == [8, 3]
    assert sorted(started) == sorted((r, (f"t{i}",)) for i, r in enumerate(runs))
    assert [m.id for m in out] == [f"lc_run--{r}-0" for r in runs]
    assert [m.content for m in out] == [chat.invoke(i).content for i in inputs]
    passes.clear()
    run(chat, inputs[:5], {"max_concurrency": 2})
    assert passes == [2, 2, 1]
    assert run(chat, []) == []


@pytest.mark.parametrize("run", [ChatGuarded.batch, lambda *a, **k: asyncio.run(ChatGuarded.abatch(*a, **k))])
def test_an_error_in_a_batch_meets_its_own_input_only(chat, run):
    image = [HumanMessage([{"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}])]
    half = [HumanMessage("\ud800")]  # fails in the Guard, when all have arrived
    out = run(chat, ["one", image, half, "two"], return_exceptions=True)
    assert [type(o) for o in out] == [AIMessage, DataError, DataError, AIMessage]
    assert out[3].content == chat.invoke("two").content
    with pytest.raises(DataError, match="image_url"):
        run(chat, ["one", image])


def test_a_batch_with_cached_inputs_waits_for_nobody():
    chat = ChatGuarded(model=LOCAL, policy="observe", max_tokens=4, cache=InMemoryCache())
    first = chat.invoke("one").content
    assert chat.batch(["one", "two", "one"])[0].content == first
    assert chat.batch(["one", "two"])[0].content == first  # all from the cache


def test_several_prompts_of_generate_share_a_pass(chat, monkeypatch):
    passes = []
    original = LOCAL.generate_batch
    monkeypatch.setattr(LOCAL, "generate_batch", lambda c, **k: passes.append(len(c)) or original(c, **k))
    prompts = [[HumanMessage(f"Number {i}?")] for i in range(3)]
    sync = chat.generate(prompts)
    later = asyncio.run(chat.agenerate(prompts))
    assert passes == [3, 3]
    for result in (sync, later):
        assert [g[0].text for g in result.generations] == [chat.invoke(p).content for p in prompts]
        assert len(result.run) == 3


def test_a_seeded_batch_is_the_serial_run(chat):
    inputs = ["one", "two", "three"]
    batch = chat.batch(inputs, temperature=1.5, seed=3)
    assert [m.content for m in batch] == [chat.invoke(i, temperature=1.5, seed=3).content for i in inputs]


def summary(message):
    return message.content, read_metadata(message)["score"]["hybridgrad"]


def test_threads_and_tasks_give_the_serial_answers(chat):
    chat, inputs = chat.model_copy(update={"max_tokens": 3}), [f"Number {i}?" for i in range(8)]
    serial = [summary(chat.invoke(i)) for i in inputs]
    with ThreadPoolExecutor(32) as threads:
        threaded = list(threads.map(lambda i: summary(chat.invoke(i)), inputs * 2))

    async def tasks():
        return await asyncio.gather(*[chat.ainvoke(i) for i in inputs * 4])

    got = [*threaded, *(summary(m) for m in asyncio.run(tasks()))]
    assert [text for text, _ in got] == [text for text, _ in serial] * 6
    assert [score for _, score in got] == pytest.approx([score for _, score in serial] * 6, rel=1e-5)


def test_two_models_do_not_mix():
    other = tiny_local_model("qwen2", vocab_size=261)
    a, b = (ChatGuarded(model=m, policy="observe", max_tokens=4) for m in (LOCAL, other))
    with ThreadPoolExecutor(8) as threads:
        names = list(threads.map(lambda c: c.invoke("Who?").response_metadata["model_name"], [a, b] * 4))
    assert names == ["tiny-llama", "tiny-qwen2"] * 4


def test_configurable_fields_and_copies(chat):
    loose = chat.configurable_fields(max_tokens=ConfigurableField(id="n"))
    assert loose.with_config(configurable={"n": 2}).invoke("Who?").usage_metadata["output_tokens"] == 2
    for copied in (copy.copy(chat), copy.deepcopy(chat), chat.model_copy(deep=True)):
        assert copied.guard.model is LOCAL
        assert copied.invoke("Who?").content == chat.invoke("Who?").content
    with pytest.raises(ModelError, match="build one in each process"):
        pickle.dumps(chat)
    assert "0x" not in repr(chat)


def test_caches_tell_policies_and_options_apart():
    cache = InMemoryCache()
    never = Policy.from_text(
        "version: 1\nname: observe\nrules:\n  - {name: never, then: abstain, say: 'No.'}\n", "x.yaml"
    )
    yes, no = (ChatGuarded(model=LOCAL, policy=p, max_tokens=4, cache=cache) for p in ("observe", never))
    assert yes.invoke("Who?").content != "No."
    assert no.invoke("Who?").content == "No."
    assert len(yes.invoke("Who?", max_tokens=2).content) < len(yes.invoke("Who?").content)


def test_from_a_guard(chat):
    guard = Guard(model=LOCAL, policy="observe")
    made = ChatGuarded.from_guard(guard, max_tokens=6)
    assert made.guard is guard
    assert made.invoke("Who?").content == chat.invoke("Who?").content


def test_from_a_folder_and_a_pipeline(tiny_folder):
    chat = ChatGuarded.from_model_id(str(tiny_folder), policy="observe", max_tokens=4, device="cpu")
    assert chat.invoke("Who?").response_metadata["model_name"] == str(tiny_folder)

    from transformers import pipeline

    pipe = pipeline("text-generation", model=LOCAL.model, tokenizer=LOCAL.tokenizer)
    assert ChatGuarded.from_pipeline(pipe, policy="observe", max_tokens=4).guard.model.model is LOCAL.model


def test_from_chat_huggingface(chat):
    huggingface = pytest.importorskip("langchain_huggingface")
    from transformers import pipeline

    pipe = pipeline("text-generation", model=LOCAL.model, tokenizer=LOCAL.tokenizer)
    theirs = huggingface.ChatHuggingFace(
        llm=huggingface.HuggingFacePipeline(pipeline=pipe), tokenizer=LOCAL.tokenizer, model_id="mine"
    )
    ours = ChatGuarded.from_chat_huggingface(theirs, policy="observe", max_tokens=6)
    assert ours.invoke("Who?").content == chat.invoke("Who?").content
    with pytest.raises(ModelError, match="no local model"):
        ChatGuarded.from_chat_huggingface(chat)


REFUSED = {
    "an empty conversation": ((lambda c: c.invoke([])), DataError, "conversation is empty"),
    "an image": ((lambda c: c.invoke([HumanMessage([{"type": "image"}])])), DataError, "'image'; guardrail reads text"),
    "an unknown option": ((lambda c: c.invoke("x", temprature=1)), ModelError, "did you mean 'temperature'"),
    "no tokens": ((lambda c: c.invoke("x", max_tokens=0)), ModelError, "max_new_tokens is 0"),
    "an empty stop string": ((lambda c: c.invoke("x", stop=[""])), ModelError, "not empty"),
    "a word": ((lambda c: c.invoke("x", max_tokens="3")), ModelError, "max_tokens is '3'; it must be a whole number"),
    "a hot word": ((lambda c: c.invoke("x", temperature="hot")), ModelError, "temperature is 'hot'"),
    "a bare module": ((lambda c: ChatGuarded(model=LOCAL.model, policy="observe")), ModelError, "LocalModel\\(module"),
    "cold": ((lambda c: c.invoke("x", temperature=-1)), ModelError, "temperature is -1"),
    "tools": (
        (lambda c: c.bind_tools([{"title": "f", "description": "x", "properties": {}}])),
        GuardrailError,
        "takes no tools",
    ),
    "claims": (
        (lambda c: ChatGuarded(model=LOCAL, policy="observe", stream_policy="claim")),
        ModelError,
        "needs a guard that looks at claims",
    ),
    "no calibrator": ((lambda c: ChatGuarded(model=LOCAL)), CalibrationError, "looks at confidence"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(chat, name):
    call, error, text = REFUSED[name]
    with pytest.raises(error, match=text):
        call(chat)


def test_a_misspelt_field_is_refused():
    with pytest.raises(ValueError, match="max_token"):
        ChatGuarded(model=LOCAL, policy="observe", max_token=3)


def test_tokens_are_counted_by_the_models_own_tokenizer(chat):
    messages = [SystemMessage("Be short."), HumanMessage("Who?")]
    assert chat.get_num_tokens("Who?") == 4
    assert chat.get_num_tokens_from_messages(messages) == chat.invoke(messages).usage_metadata["input_tokens"]


def test_odd_but_right(chat):
    assert chat.invoke([SystemMessage("Be short.")]).content
    assert (
        chat.invoke([HumanMessage([{"type": "text", "text": "Who"}, "?"])]).content
        == chat.invoke([HumanMessage("Who?")]).content
    )
    assert chat.invoke(
        [HumanMessage("x"), AIMessage("", tool_calls=[]), ToolMessage("3", tool_call_id="1"), HumanMessage("y")]
    )


@pytest.mark.parametrize(
    "blank", ["", " ", "\n\t", "\u3000", [HumanMessage("")], [HumanMessage("x"), HumanMessage(" ")]]
)
def test_a_blank_question_is_refused(chat, invoke, blank):
    with pytest.raises(DataError, match="blank"):
        invoke(chat, blank)
    with pytest.raises(DataError, match="blank"):
        list(chat.stream(blank))
