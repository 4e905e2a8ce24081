"""Replies that begin with given words: what the model reads, what is scored, and that the words make no control token."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.claims.align import token_places
from guardrail.claims.sentences import SentenceClaims
from guardrail.errors import ModelError
from guardrail.langchain.reply import tokens_of
from guardrail.model.given_beginning import no_beginning
from guardrail.model.inert import Inert
from guardrail.model.local import LocalModel
from guardrail.scoring.baselines.samples import SampleSource, Sampling
from guardrail.scoring.registry import scorer
from guardrail.testing import tiny_model, tiny_tokenizer
from tests.helpers.speaking_model import say, spelt, tokens, tool_model

QUESTION = "Who wrote Faust?"
PREFIX = "In one word:"


@pytest.fixture(scope="module")
def local():
    return LocalModel(tiny_model(vocab_size=261, max_position_embeddings=512), tiny_tokenizer(), name="tiny")


def test_the_model_goes_on_from_the_words(local):
    (free,) = local.generate_batch([QUESTION], max_new_tokens=6)
    (begun,) = local.generate_batch([QUESTION], max_new_tokens=6, prefixes=[PREFIX])
    words = tokens(local, PREFIX)
    assert list(begun.prompt_ids) == [*local.encode_prompt(QUESTION), *words]
    assert begun.prompt_ids[: len(free.prompt_ids)] == free.prompt_ids
    assert (begun.prefix, begun.prefix_tokens, begun.thinking_tokens) == (PREFIX, len(words), len(words))
    assert not begun.thought
    assert (free.prefix, free.prefix_tokens) == ("", 0)


def test_what_it_says_is_what_it_says_of_a_prompt_that_ends_so(local):
    """A slow reference: greedy, token by token, on prompt and words."""
    import torch

    (begun,) = local.generate_batch([QUESTION], max_new_tokens=6, prefixes=[PREFIX])
    ids = [*local.encode_prompt(QUESTION), *tokens(local, PREFIX)]
    for expected in begun.response_ids:
        with torch.no_grad():
            (logits,) = local.model(input_ids=torch.tensor([ids])).logits
        assert int(logits[-1].argmax()) == expected
        ids.append(expected)


def test_the_text_is_the_words_and_what_follows():
    local = LocalModel(tiny_model(vocab_size=261), tiny_tokenizer(), name="speaker")
    (trace,) = say(local, spelt(local, " Goethe")).generate_batch([QUESTION], prefixes=[PREFIX])
    assert trace.text == f"{PREFIX} Goethe"
    assert local.tokenizer.decode(trace.response_ids, skip_special_tokens=True) == " Goethe"


def test_a_stop_string_ends_what_follows():
    local = LocalModel(tiny_model(vocab_size=261), tiny_tokenizer(), name="speaker")
    say(local, spelt(local, " Goethe. More"))
    (trace,) = local.generate_batch([QUESTION], prefixes=[PREFIX], stop=["."])
    assert (trace.text, trace.stop_string) == (f"{PREFIX} Goethe", True)


@pytest.mark.parametrize("said", ["", "  "])
def test_words_that_the_model_adds_nothing_to_are_no_answer(said):
    local = LocalModel(tiny_model(vocab_size=261), tiny_tokenizer(), name="silent")
    (trace,) = say(local, spelt(local, said)).generate_batch([QUESTION], prefixes=[PREFIX])
    assert trace.text == ""
    (score,) = scorer("hybridgrad", local).score_traces([trace])
    assert score.unscored == "empty_answer"


def test_a_batch_gives_what_single_ones_give_and_some_are_free(local):
    asked, words = [QUESTION, "Name a river.", "Who?"], [PREFIX, "", "Let us see. It"]
    together = local.generate_batch(asked, max_new_tokens=5, prefixes=words)
    alone = [local.generate_batch([q], max_new_tokens=5, prefixes=[w])[0] for q, w in zip(asked, words, strict=True)]
    assert [(t.prompt_ids, t.response_ids, t.text) for t in together] == [
        (t.prompt_ids, t.response_ids, t.text) for t in alone
    ]


def test_the_score_is_of_what_the_model_chose(local):
    """The sum of log p of the tokens behind the words, and the semantic token where the prompt has it."""
    import torch

    (trace,) = local.generate_batch([QUESTION], max_new_tokens=4, prefixes=[PREFIX])
    ids = [*trace.prompt_ids, *trace.response_ids]
    with torch.no_grad():
        (logits,) = local.model(input_ids=torch.tensor([ids])).logits
    log_p = logits.double().log_softmax(-1)
    start = len(trace.prompt_ids)
    expected = -sum(float(log_p[start + k - 1, i]) for k, i in enumerate(trace.response_ids))
    (score,) = scorer("g-nll", local).score_traces([trace])
    assert score.number == pytest.approx(expected, rel=1e-4)
    (gradient,) = scorer("hybridgrad", local).score_traces([trace])
    assert gradient.unscored is None
    assert gradient.length == len(trace.response_ids)


def test_samples_are_compared_with_answers_that_begin_alike(local):
    (trace,) = local.generate_batch([QUESTION], max_new_tokens=4, prefixes=[PREFIX])
    drawn = SampleSource(local, max_new_tokens=4).samples(trace, Sampling(n=3, temperature=1.0))
    assert all(text.startswith(PREFIX) or not text for text in drawn.texts)


def test_tokens_read_and_written_are_counted_by_who_chose_them(local):
    (trace,) = local.generate_batch([QUESTION], max_new_tokens=4, prefixes=[PREFIX])
    usage = tokens_of([trace])
    assert usage["input_tokens"] == len(trace.prompt_ids)
    assert usage["output_tokens"] == len(trace.response_ids)


@given(st.text(max_size=12), st.sampled_from(["<|im_end|>", "<|im_start|>system\n", "<tool_call>"]))
def test_no_words_make_a_control_token(around, mark):
    local = _TOOLS
    prompt = local.encode_prompt(QUESTION)
    (trace,) = local.generate_batch([QUESTION], max_new_tokens=1, prefixes=[f"x{around}{mark}{around}"])
    inert = Inert(local.tokenizer)
    assert not any(inert.is_control(i) for i in trace.prompt_ids[len(prompt) :])


_TOOLS = tool_model("<tool_call>")


def test_a_thought_that_the_prompt_opens_is_ended_first():
    template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}{# </think> #}"
    )
    local = LocalModel(tiny_model(vocab_size=261), tiny_tokenizer(template), name="thinker")
    (trace,) = say(local, spelt(local, " Goethe")).generate_batch([QUESTION], prefixes=[PREFIX])
    read = local.tokenizer.decode(trace.prompt_ids)
    assert read.endswith(f"<think>\n</think>{PREFIX}")
    assert (trace.text, trace.prefix, trace.thought) == (f"{PREFIX} Goethe", PREFIX, False)


def test_claims_have_the_tokens_behind_the_words():
    local = LocalModel(tiny_model(vocab_size=261), tiny_tokenizer(), name="speaker")
    say(local, spelt(local, " Goethe did. He was born in 1749."))
    (trace,) = local.generate_batch([QUESTION], prefixes=["I know it. I think that"])
    claims = SentenceClaims().extract(trace.text).claims
    places = token_places(trace, local.tokenizer, claims)
    spoken = [
        None if place is None else local.tokenizer.decode(trace.response_ids[slice(*place)]).strip() for place in places
    ]
    assert [claim.text for claim in claims][-1] == "He was born in 1749."
    assert spoken[0] is None  # all of it was given
    assert spoken[-2:] == ["Goethe did.", "He was born in 1749."]


def test_another_number_of_prefixes_is_refused(local):
    with pytest.raises(ModelError, match="2 prefixes for 1 conversations"):
        local.generate_batch([QUESTION], prefixes=["a", "b"])


def test_a_model_whose_answers_stand_in_a_channel_is_refused():
    template = (
        "{% for m in messages %}<|start|>{{ m['role'] }}<|message|>{{ m['content'] }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
    )
    tokenizer = tiny_tokenizer(template)
    tokenizer.add_tokens(["<|channel|>", "<|message|>", "<|end|>", "<|start|>"], special_tokens=True)
    local = LocalModel(tiny_model(vocab_size=len(tokenizer)), tokenizer, name="channels")
    assert "channel" in no_beginning(local)
    with pytest.raises(ModelError, match="channel of their own"):
        local.generate_batch([QUESTION], prefixes=[PREFIX])
