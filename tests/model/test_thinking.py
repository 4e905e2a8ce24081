"""Where the thinking of a reply ends, for the marks that chat templates have."""

from __future__ import annotations

from dataclasses import replace

import pytest

from guardrail import Guard, HybridGradScorer, ModelError
from guardrail.model.thinking import Thinking
from guardrail.testing import CHATML
from tests.helpers.thinkers import MARKS, ids_of, saying, thinker


@pytest.mark.parametrize("kind", MARKS)
def test_the_answer_is_what_follows_the_thought(kind):
    local, (_, _, opening, closing) = thinker(kind), MARKS[kind]
    ids = ids_of(local, f"{opening}Let me see. Lyon?{closing}\n\nParis")
    split = local.thinking.split(ids)
    assert local.tokenizer.decode(ids[split.start :]) == "Paris"
    assert (split.unfinished, split.text) == (False, "Let me see. Lyon?")
    assert Thinking.of(local.tokenizer).split(ids_of(local, "Paris")).start == 0


@pytest.mark.parametrize("kind", MARKS)
def test_a_thought_that_does_not_end_is_no_answer_at_any_token(kind):
    local, (_, _, opening, closing) = thinker(kind), MARKS[kind]
    ids = ids_of(local, f"{opening}Lyon, I think")
    split = local.thinking.split(ids)
    assert (split.start, split.unfinished) == (len(ids), True)
    whole = ids_of(local, f"{opening}Lyon, I think{closing}Paris")
    shown = [
        local.tokenizer.decode(local.thinking.spoken(whole[:n]), skip_special_tokens=True) for n in range(len(whole))
    ]
    assert set(shown) <= {"", "P", "Pa", "Par", "Pari", "Paris"}  # a stream shows none of it, marks included


@pytest.mark.parametrize("kind", [kind for kind in MARKS if kind not in ("gpt_oss", "gemma4")])
def test_a_thought_that_the_generation_prompt_opens(kind):
    _, _, opening, closing = MARKS[kind]
    local = thinker(kind, CHATML.replace("assistant\n", f"assistant\n{opening}\n"))
    prompt = local.encode_prompt("Hello")
    assert local.thinking.opened_by(prompt)
    assert not thinker(kind).thinking.opened_by(prompt[:-9])
    ids = ids_of(local, f"Lyon?{closing}\nParis")
    split = local.thinking.split(ids, opened=True)
    assert (local.tokenizer.decode(ids[split.start :]), split.text) == ("Paris", "Lyon?")
    assert local.thinking.split(ids_of(local, "Lyon?"), opened=True).unfinished
    # a given text without a thought is an answer: the prompt's mark is closed in front of it
    trace = local.trace("Hello", "Paris")
    assert (trace.text, trace.thinking) == ("Paris", "")
    assert local.tokenizer.decode(trace.prompt_ids).endswith(closing)
    given = local.trace("Hello", f"Lyon?{closing}\nParis")
    assert (given.text, given.thinking) == ("Paris", "Lyon?")


def test_a_mark_that_is_only_quoted_begins_no_thought():
    local = thinker("qwen")
    spelt = [i for piece in ("Write <thi", "nk> and </thi", "nk> around it") for i in ids_of(local, piece)]
    assert local.thinking.split(spelt) == replace(local.thinking.split([]), text="")
    assert local.trace("How?", "Write `<think>` first.").text == "Write `<think>` first."


def test_two_thoughts_and_a_closing_token_alone():
    local = thinker("qwen")
    for text in ("<think>a</think><think>b</think>Paris", "Lyon<think>b</think>Paris", "Lyon</think>Paris"):
        ids = ids_of(local, text)
        assert local.tokenizer.decode(ids[local.thinking.split(ids).start :]) == "Paris"


ANALYSIS, START = "<|channel|>analysis<|message|>Lyon?<|end|>", "<|start|>assistant"
CHANNELS = {  # what a reply of channels says; None: it has not come to an answer
    f"{ANALYSIS}{START}<|channel|>final <|constrain|>json<|message|>Paris": "Paris",
    f"{ANALYSIS}{START}<|channel|>commentary<|message|>Lyon?<|end|>{START}<|channel|>final<|message|>Paris": "Paris",
    f"{ANALYSIS}{START}<|channel|>commentary<|message|>Paris": "Paris",
    f"<|channel|>final<|message|>Lyon?<|end|>{START}<|channel|>final<|message|>Paris": "Paris",
    f"<|channel|> analysis<|message|>Lyon?<|end|>{START}<|channel|>final<|message|>Paris": "Paris",
    f"Lyon?<|end|>{START}<|channel|>final<|message|>Paris": "Paris",
    f"{ANALYSIS}{ANALYSIS}{START}<|channel|>final<|message|>Paris": "Paris",
    "<|channel|>analysis to=python <|constrain|>json<|message|>Lyon?": None,
    "<|channel|>plan<|message|>Lyon?<|end|>": None,
    f"<|channel|>final<|message|>Paris<|end|>{START}<|channel|>analysis<|message|>Lyon?": None,
    f"{ANALYSIS}{START}<|channel|>": None,
    ANALYSIS: None,
}


@pytest.mark.parametrize("reply", CHANNELS)
def test_no_channel_but_that_of_an_answer_is_one(reply):
    local = thinker("gpt_oss")
    ids = ids_of(local, reply)
    split, expected = local.thinking.split(ids), CHANNELS[reply]
    assert local.tokenizer.decode(ids[split.start :], skip_special_tokens=True) == (expected or "")
    given = local.trace("Hello", reply)
    assert (given.text, given.unfinished_thinking) == (expected or "", expected is None)
    if not reply.startswith(("Lyon?", "<|channel|>final")):  # what was said first has been shown
        for n in range(len(ids)):
            shown = local.tokenizer.decode(local.thinking.spoken(ids[:n]), skip_special_tokens=True)
            assert (expected or "").startswith(shown)


@pytest.mark.parametrize(
    "given",
    [
        "<think>Lyon?<think>Lyon?</think>Lyon?</think>Paris",
        "Lyon?\n</think>\n\nParis",
        "Rome.\n<think>\nLyon?\n</think>\nParis",
    ],
)
def test_a_given_text_shows_no_thought_whose_beginning_is_lost_or_repeated(given):
    trace = thinker("qwen").trace("Hello", given)
    assert (trace.text, trace.unfinished_thinking) == ("Paris", False)
    assert "Lyon?" in trace.thinking


def test_a_later_thought_that_does_not_end_leaves_no_answer():
    assert thinker("qwen").trace("Hello", "Paris.\n<think>\nLyon?").unfinished_thinking
    assert thinker("qwen").trace("How?", "End with `</think>`\nand go on.").text.startswith("End with")


@pytest.mark.parametrize("kind", MARKS)
def test_the_answer_is_scored_given_the_thought(kind, monkeypatch):
    _, _, opening, closing = MARKS[kind]
    local = saying(thinker(kind), f"{opening}Lyon?{closing}Paris", monkeypatch)
    scorer = HybridGradScorer(local)
    seen = []
    [trace] = local.generate_batch(
        ["Hello"], keep=scorer.keep, stop=["yon"], on_step=lambda rows, _: seen.append(rows[0])
    )
    assert (trace.text, trace.thinking) == ("Paris", "Lyon?")
    assert not any("yon" in local.tokenizer.decode(row) for row in seen)
    assert local.tokenizer.decode(trace.prompt_ids).endswith(closing)
    kept = scorer.score_trace(trace)
    again = scorer.score_trace(replace(trace, state=None))
    assert kept.length == len("Paris") + 1
    assert kept.hybridgrad == pytest.approx(again.hybridgrad, rel=1e-4)
    # the same text given, and as a span of the whole reply: eq. 6 restricted to the answer, t* in the question
    given = scorer.score_trace(local.trace("Hello", f"{opening}Lyon?{closing}Paris"))
    assert given.hybridgrad == pytest.approx(kept.hybridgrad, rel=1e-4)
    asked = trace.prompt_ids[: -trace.thinking_tokens]
    reply = (*trace.prompt_ids[-trace.thinking_tokens :], *trace.response_ids)
    whole = replace(trace, prompt_ids=asked, response_ids=reply, thinking_tokens=0, state=None)
    [[part]] = scorer.score_spans([whole], [[(trace.thinking_tokens, len(reply))]])
    assert part.hybridgrad == pytest.approx(kept.hybridgrad, rel=1e-4)
    without = scorer.score_trace(local.trace("Hello", "Paris"))
    assert without.nll != pytest.approx(kept.nll, rel=1e-3)  # it is the answer given the thought


def test_unfinished_thinking_is_unscored(monkeypatch):
    local = saying(thinker("qwen"), "<think>Lyon, or is it Paris? Let me see.", monkeypatch)
    guard = Guard(model=local, policy="observe")
    verdict = guard.answer("Hello", max_new_tokens=12)
    assert (verdict.score.unscored, verdict.answer) == ("unfinished_thinking", "")
    assert "Lyon" not in verdict.text
    checked = guard.check("Hello", "<think>Lyon")
    assert checked.score.unscored == "unfinished_thinking"
    assert guard.check("Hello", "<think>Lyon</think>").score.unscored == "empty_answer"


SWITCHED = CHATML.replace(
    "assistant\n", "assistant\n{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
)


def test_switches_reach_the_template_and_are_part_of_the_identity():
    plain, off = thinker("qwen", SWITCHED), thinker("qwen", SWITCHED, chat_template_kwargs={"enable_thinking": False})
    assert off.tokenizer.decode(off.encode_prompt("Hello")).endswith("<think>\n\n</think>\n\n")
    assert not off.thinking.opened_by(off.encode_prompt("Hello"))
    assert off.semantic_token.offset == plain.semantic_token.offset - 6
    assert HybridGradScorer(off).profile.token == off.semantic_token.offset
    assert plain.identity.chat_template != off.identity.chat_template
    assert plain.identity.chat_template == thinker("qwen", SWITCHED, chat_template_kwargs={}).identity.chat_template
    with pytest.raises(ModelError, match="must not hold 'add_generation_prompt'"):
        thinker("qwen", chat_template_kwargs={"add_generation_prompt": False})
    with pytest.raises(ModelError, match="is a mapping"):
        thinker("qwen", chat_template_kwargs="enable_thinking")
