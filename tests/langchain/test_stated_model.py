"""Any LangChain chat model without weights, guarded by what it states: on every surface, with all the ways replies go wrong."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

import guardrail
from guardrail import Guard
from guardrail.errors import CalibratorMismatchError, EndpointError, ModelError, ScoringError, UnsupportedModelError
from guardrail.langchain import ChatGuarded, GuardRunnable, StatedModel
from guardrail.scoring.registry import able_for, scorer
from guardrail.stated import Wording
from tests.helpers.langchain_doubles import Passages
from tests.helpers.stating_chat import OtherStating, Stating, knows_sums, sums, written

RIGHT = 19 / 22  # 18 of the 20 sums that it is as sure of are right, with one right and one wrong added
SURE, UNSURE = "What is 12 plus 12?", "What is 40 plus 40?"


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A calibrator file for each turn, fitted by asking the scripted model."""
    folder = tmp_path_factory.mktemp("stated")
    data, files = written(folder / "sums.jsonl", sums()), {}
    for turn in ("same", "after"):
        files[turn] = folder / f"{turn}.json"
        model = StatedModel(Stating(says=knows_sums), turn=turn)
        fit = guardrail.calibrate(model, data, files[turn], prompt="{question}", cache=False)
        assert fit.calibrator.provenance.scorer == "verbalized"
        assert fit.metrics["accuracy"].value == pytest.approx(0.5)
        assert fit.metrics["auroc"].value > 0.8
    return files


def guarded(fitted, says=knows_sums, turn="same", kind=Stating, **options):
    chat = kind(says=says)
    return ChatGuarded(model=StatedModel(chat, turn=turn), calibrator=str(fitted[turn]), **options), chat


def through(surface, chat, question):
    """The message that one surface gives; chunks are added up."""

    match surface:
        case "invoke":
            return chat.invoke(question)
        case "batch":
            return chat.batch([question, question])[1]
        case "abatch":
            return asyncio.run(chat.abatch([question, question]))[1]
        case "stream":
            first, *rest = chat.stream(question)
            return sum(rest, first)
        case "ainvoke":
            return asyncio.run(chat.ainvoke(question))
        case _:
            return asyncio.run(_sum(chat.astream(question)))


async def _sum(chunks):
    first, *rest = [chunk async for chunk in chunks]
    return sum(rest, first)


SURFACES = ("invoke", "ainvoke", "batch", "abatch", "stream", "astream")


@pytest.mark.parametrize("turn", ["same", "after"])
@pytest.mark.parametrize("surface", SURFACES)
def test_what_is_stated_decides_on_every_surface_and_is_not_shown(fitted, surface, turn):
    chat, _ = guarded(fitted, turn=turn)
    message = through(surface, chat, SURE)
    told = message.response_metadata["guardrail"]
    assert (message.text, told["action"], told["basis"]) == ("24", "answer", "calibrated")
    assert told["confidence"] == pytest.approx(RIGHT)
    message = through(surface, chat, UNSURE)
    told = message.response_metadata["guardrail"]
    assert (told["action"], told["confidence"]) == ("abstain", pytest.approx(1 - RIGHT))
    assert not {"80", "81"} & set(message.text.split())


def replying(text):
    return lambda messages: text


@pytest.mark.parametrize(
    ("said", "unscored"),
    [
        ("Paris", "unstated"),
        ("Paris (with high confidence) (with very low confidence)", "unstated"),
        ("Paris (with high confidence) is what I say", "unstated"),
        ("", "no_response_tokens"),
        ("(with very high confidence)", "no_response_tokens"),
        ("<think>Paris (with very high confidence)", "unfinished_thinking"),
    ],
)
@pytest.mark.parametrize("surface", ["invoke", "astream"])
def test_a_reply_without_a_confidence_or_without_an_answer_is_never_sure(fitted, surface, said, unscored):
    chat, _ = guarded(
        fitted, replying(AIMessage(said, response_metadata={"finish_reason": "length"} if "<think>" in said else {}))
    )
    message = through(surface, chat, SURE)
    told = message.response_metadata["guardrail"]
    assert (told["unscored"], told["action"], told["confidence"]) == (unscored, "abstain", None)
    assert "Paris" not in str(message)


@pytest.mark.parametrize(
    "said",
    [
        "Paris (with very high confidence)",
        "Paris\n (WITH Very  High confidence). ",
        "Paris (with very high confidence) (with very high confidence)",
        AIMessage([{"type": "text", "text": "Paris "}, {"type": "text", "text": "(with very high confidence)"}]),
        AIMessage("Paris (with very high confidence)", additional_kwargs={"reasoning_content": "Hm."}),
    ],
)
def test_a_label_in_any_spelling_is_read_and_taken_out(fitted, said):
    message = guarded(fitted, replying(said))[0].invoke(SURE)
    assert (message.text, message.response_metadata["guardrail"]["action"]) == ("Paris", "answer")


CALL = {"name": "search", "args": {"q": "Paris"}, "id": "1", "type": "tool_call"}


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (AIMessage("Paris (with very high confidence)", tool_calls=[CALL]), EndpointError),
        (RuntimeError("rate limit"), RuntimeError),
        (AIMessage([{"type": "image_url", "image_url": {"url": "x"}}]), guardrail.DataError),
    ],
)
@pytest.mark.parametrize("surface", SURFACES)
def test_what_is_no_answer_is_an_error_and_no_message(fitted, surface, said, error):
    with pytest.raises(error):
        through(surface, guarded(fitted, replying(said))[0], SURE)


@pytest.mark.parametrize(
    ("reply", "unscored"),
    [("**Very high**", None), ("High, I think", "unstated"), ("high or low", "unstated"), ("", "unstated")],
)
def test_the_turn_that_asks_is_read_strictly(fitted, reply, unscored):
    says = lambda messages: "24" if len(messages) == 1 else reply  # noqa: E731
    chat, model = guarded(fitted, says, turn="after")
    told = chat.invoke([HumanMessage(SURE)]).response_metadata["guardrail"]
    assert (told["unscored"], told["action"]) == (unscored, "abstain" if unscored else "answer")
    assert [m.content for m in model.asked[1][0]] == [SURE, "24", Wording().question]


def test_a_turn_that_cannot_be_asked_abstains_and_shows_nothing(fitted):
    says = lambda messages: "Goethe" if len(messages) == 1 else RuntimeError("gone")  # noqa: E731
    message = guarded(fitted, says, turn="after")[0].invoke(SURE)
    assert message.response_metadata["guardrail"]["rule"] == "on error"
    assert "Goethe" not in str(message)


def test_the_question_that_asks_stands_behind_what_the_user_says_last(fitted):
    chat, model = guarded(fitted, stop=("\n",), max_tokens=7)
    chat.invoke([SystemMessage("Be brief."), HumanMessage(SURE)])
    (((system, user), options),) = model.asked
    assert system.content == "Be brief."
    assert user.content.startswith(f"{SURE}\nBehind your answer, state how")
    assert user.content.endswith("(with high confidence), (with very high confidence)")
    assert options == {"temperature": 0.0, "max_tokens": 7, "stop": ["\n"]}
    with pytest.raises(ModelError, match="there is none; add one"):
        chat.invoke([SystemMessage("Be brief.")])


def test_nobody_below_the_caller_hears_what_is_not_judged(fitted):
    chat, _ = guarded(fitted, replying("Goethe (with low confidence)"))
    heard = []

    class Listening(BaseCallbackHandler):
        def on_llm_end(self, response, **_):
            heard.append(str(response))

        def on_llm_new_token(self, token, **_):
            heard.append(token)

    async def events():
        return [str(e) async for e in chat.astream_events(UNSURE, version="v2", config={"callbacks": [Listening()]})]

    heard += asyncio.run(events())
    assert heard
    assert not any("Goethe" in each or "(with" in each for each in heard)


def test_passages_are_looked_up_and_the_second_answer_is_judged(fitted):
    def says(messages):
        found = "<reference>" in messages[-1].content
        return "80 (with very high confidence)" if found else "81 (with low confidence)"

    chat, model = guarded(fitted, says, policy="retrieve_first", retriever=Passages(found=["40 plus 40 is 80."]))
    told = chat.invoke(UNSURE).response_metadata["guardrail"]
    assert told["actions"][0] == "retrieve"
    assert told["evidence"][0]["text"] == "40 plus 40 is 80."
    assert told["basis"] == "extrapolated"  # the calibration had no passages
    assert "Behind your answer" in model.asked[-1][0][-1].content


def test_a_calibrator_is_bound_to_the_name_the_wording_and_the_settings(fitted):
    file = str(fitted["same"])

    def guard(chat, **options):
        return Guard(model=StatedModel(chat, **options), calibrator=file)

    named = guard(OtherStating(says=knows_sums), turn="same").answer(SURE).confidence
    assert (named.p_correct, named.basis) == (pytest.approx(RIGHT), "extrapolated")
    assert "answered by 'OtherStating', and the calibration's answers by 'Stating'" in named.reason
    for chat, options in (
        (Stating(says=knows_sums, model_name="stating-2"), {"turn": "same"}),
        (Stating(says=knows_sums), {"turn": "after"}),
        (Stating(says=knows_sums), {"turn": "same", "sent": ("max_tokens",)}),
        (Stating(says=knows_sums), {"wording": Wording(turn="same", labels=("unsure", "sure"))}),
    ):
        with pytest.raises((CalibratorMismatchError, ScoringError)):
            guard(chat, **options)


def test_what_stands_elsewhere_is_judged_too(fitted):
    chat = Stating(says=knows_sums)
    guard = Guard(model=StatedModel(chat, turn="same"), calibrator=str(fitted["same"]))
    assert guard.check(SURE, "24 (with very high confidence)").text == "24"
    assert guard.check(SURE, "24").score.unscored == "unstated"
    message = GuardRunnable(guard, model=FakeListChatModel(responses=["24 (with very high confidence)"])).invoke(SURE)
    assert message.text == "24"


def test_without_weights_other_scorers_work_and_what_needs_them_says_so():
    model = StatedModel(FakeListChatModel(responses=["Paris."]))
    assert {"verbalized", "self-consistency", "hedging", "verbal-percent"} <= set(able_for(model))
    assert scorer("hedging", model).score_traces([model.trace("Where?", "Maybe Paris.")])[0].value > 0
    with pytest.raises(ScoringError, match="needs weights"):
        scorer("hybridgrad", model)
    with pytest.raises(UnsupportedModelError, match="needs its weights"):
        model.anatomy  # noqa: B018
    chat = Stating(says=replying("Paris"))
    options = {"seed": 0, "max_new_tokens": 4, "temperature": 0.7, "top_p": 0.9}
    assert len(StatedModel(chat).draw([{"role": "user", "content": "Where?"}], 3, **options)) == 3
    assert chat.asked[0][1] == {"temperature": 0.7, "max_tokens": 4, "top_p": 0.9}


@pytest.mark.parametrize(
    ("given", "options", "said"),
    [
        ("gpt-4o", {}, "is no LangChain chat model"),
        (FakeListChatModel(responses=["x"]).with_retry(), {}, "put what is around it"),
        (FakeListChatModel(responses=["x"]), {"turn": "before"}, "'after' or 'same'"),
        (FakeListChatModel(responses=["x"]), {"turn": "same", "wording": Wording()}, "that of the wording"),
        (FakeListChatModel(responses=["x"]), {"sent": ("seed",)}, "a call sets temperature and max_tokens"),
        (FakeListChatModel(responses=["x"]), {"concurrency": 0}, "at least 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(given, options, said):
    with pytest.raises(ModelError, match=said):
        StatedModel(given, **options)


def test_a_call_keeps_its_options_or_refuses_them():
    chat = ChatGuarded(model=StatedModel(FakeListChatModel(responses=["x"]), sent=()), policy="observe")
    with pytest.raises(ModelError, match="is sent no temperature"):
        chat.invoke("Where?", temperature=0.5)
    with pytest.raises(ModelError, match="draws without a seed"):
        ChatGuarded(model=StatedModel(FakeListChatModel(responses=["x"])), policy="observe").invoke(
            "Where?", temperature=0.5, seed=1
        )
    with pytest.raises(ModelError, match="is guarded already"):
        StatedModel(chat)


def test_an_answer_that_comes_too_late_is_a_timeout():
    slow = Stating(says=lambda _: time.sleep(1) or "Paris")
    with pytest.raises(TimeoutError):
        ChatGuarded(model=StatedModel(slow), policy="observe", timeout=0.1).invoke("Where?")


def test_async_calls_and_a_batch_are_asked_side_by_side():
    meeting = threading.Barrier(2, timeout=30)  # each waits for the other: one after the other would break it
    chat = ChatGuarded(model=StatedModel(Stating(says=lambda m: (meeting.wait() and "1") or "0")), policy="observe")

    async def two():
        return await asyncio.gather(chat.ainvoke("Where?"), chat.ainvoke("Who?"))

    assert len(asyncio.run(two())) == 2
    assert len(chat.batch(["Where?", "Who?"])) == 2


class Standard:
    @property
    def chat_model_class(self):
        return ChatGuarded

    @property
    def chat_model_params(self):
        chat = Stating(says=replying("Hello (with high confidence)"))
        return {"model": StatedModel(chat, turn="same"), "policy": "observe"}

    @property
    def has_tool_calling(self):
        return False  # tools are not offered to it

    @property
    def has_structured_output(self):
        return False


class TestStatedUnit(Standard, ChatModelUnitTests): ...


class TestStatedIntegration(Standard, ChatModelIntegrationTests): ...
