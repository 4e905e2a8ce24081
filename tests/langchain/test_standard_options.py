"""Options that any chat model is given: taken where a local model can do without, refused where it would answer otherwise."""

from __future__ import annotations

import pytest
from langchain_core.runnables import ConfigurableField
from pydantic import ValidationError

from guardrail import ModelError
from guardrail.langchain import ChatGuarded
from guardrail.langchain.standard_options import KEPT, WITHOUT_EFFECT
from guardrail.testing import tiny_local_model

LOCAL = tiny_local_model(vocab_size=261, max_position_embeddings=1024)
SECRET = "sk-not-to-be-shown"
TAKEN = {"api_key": SECRET, "max_retries": 2, "organization": "us", "stream_usage": False}
OTHERWISE = {
    "base_url": "http://localhost:8000/v1",
    "frequency_penalty": 0.5,
    "logit_bias": {"50256": -100},
    "logprobs": True,
    "n": 3,
    "parallel_tool_calls": False,
    "presence_penalty": 0.5,
    "response_format": {"type": "json_object"},
    "strict": True,
    "top_k": 40,
    "top_logprobs": 5,
    "top_p": 0.9,
}
MISSPELT = {
    "max_token": "max_tokens",
    "max_new_tokens": "max_tokens",
    "temprature": "temperature",
    "time_out": "timeout",
    "request_timeout": "timeout",
    "sead": "seed",
    "max_retry": "max_retries",
    "topp": "top_p",
}


def chat(**options):
    return ChatGuarded(model=LOCAL, policy="observe", max_tokens=4, **options)


def test_the_tables_are_tried_whole():
    assert TAKEN.keys() == WITHOUT_EFFECT
    assert OTHERWISE.keys() == KEPT.keys()


@pytest.mark.parametrize("name", TAKEN)
def test_what_a_local_model_can_do_without(name, invoke):
    plain = chat().invoke("Who?").content
    for value in (TAKEN[name], None):
        assert invoke(chat(**{name: value}), "Who?").content == plain
        assert invoke(chat(), "Who?", **{name: value}).content == plain


def test_no_key_is_kept_or_shown():
    made = chat(**TAKEN)
    assert SECRET not in f"{made!r} {made.model_dump(exclude={'model'})!r} {made._identifying_params} {vars(made)}"
    with pytest.raises(ValidationError) as error:
        chat(**TAKEN, max_token=3)
    assert SECRET not in str(error.value)
    assert SECRET not in repr(error.value)


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_would_be_another_answer_is_refused(name, invoke):
    with pytest.raises(ModelError, match=f"{name}=.* cannot be kept, for "):
        chat(**{name: OTHERWISE[name]})
    if name == "response_format":  # a call may have one: see test_fields
        return
    with pytest.raises(ModelError, match=f"{name}=.* cannot be kept, for "):
        invoke(chat(), "Who?", **{name: OTHERWISE[name]})
    with pytest.raises(ModelError, match=f"{name}=.* cannot be kept, for "):
        chat().unguarded().invoke("Who?", **{name: OTHERWISE[name]})


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_holds_here_anyway_is_taken(name):
    plain = chat().invoke("Who?").content
    for value in (KEPT[name][0], None):
        assert chat(**{name: value}).invoke("Who?", **{name: value}).content == plain


@pytest.mark.parametrize("name", MISSPELT)
def test_a_misspelt_name_fails_with_the_nearest(name, invoke):
    with pytest.raises(ValidationError, match=f"ChatGuarded has no option '{name}'; did you mean '{MISSPELT[name]}'"):
        chat(**{name: 1})
    with pytest.raises(ModelError, match=f"a call has no option '{name}'; did you mean '{MISSPELT[name]}'"):
        invoke(chat(), "Who?", **{name: 1})


def test_a_name_that_is_near_to_nothing_fails_with_all_of_them():
    with pytest.raises(ModelError, match="a call has no option 'colour'; there are: max_tokens, .*, timeout, "):
        chat().invoke("Who?", colour="red")
    with pytest.raises(ValidationError, match="ChatGuarded has no option 'colour'; there are: .*policy, .*timeout, "):
        chat(colour="red")


@pytest.mark.parametrize("value", [0, -2, "10", (1.0, 2.0), True])
def test_what_is_no_timeout(value, invoke):
    with pytest.raises(ModelError, match="it is the number of seconds that a call may take"):
        chat(timeout=value)
    with pytest.raises(ModelError, match="it is the number of seconds that a call may take"):
        invoke(chat(), "Who?", timeout=value)


def test_what_was_left_out_does_not_come_back_with_a_copy():
    loose = chat(**TAKEN, timeout=60).configurable_fields(max_tokens=ConfigurableField(id="n"))
    one, _ = loose._prepare({"configurable": {"n": 2}})
    assert (one.max_tokens, one.timeout, one.model_copy().timeout) == (2, 60.0, 60.0)
    assert loose.invoke("Who?", {"configurable": {"n": 2}}).usage_metadata["output_tokens"] == 2
