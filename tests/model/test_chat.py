"""The chat template decides the prompt's ids, the semantic token and the end of a turn."""

from __future__ import annotations

import pytest

from guardrail.errors import ChatTemplateError
from guardrail.model.chat import end_of_turn, prompt_ids, semantic_token
from guardrail.testing import CHATML, tiny_tokenizer

LLAMA3 = (
    "{{ '<s>' }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n{{ m['content'] | trim }}"
    "<|eot_id|>{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
MISTRAL = (
    "{{ '<s>' }}{% for m in messages %}{% if m['role'] == 'user' %}"
    "[INST]{{ m['content'] }}[/INST]{% else %}{{ m['content'] }}</s>{% endif %}{% endfor %}"
)
USER = [{"role": "user", "content": "Hello"}]


def tokenizer(template, *special):
    made = tiny_tokenizer(template)
    made.add_special_tokens({"additional_special_tokens": list(special)})
    return made


@pytest.mark.parametrize(
    ("template", "special", "offset", "text"),
    [
        # <|im_start|>assistant\n: the role has 9 byte tokens here, then the newline
        (CHATML, [], -11, "<|im_start|>"),
        (CHATML, ["assistant"], -3, "<|im_start|>"),  # Qwen's shape: the role is one token
        (
            LLAMA3,
            ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "assistant", "\n\n"],
            -4,
            "<|start_header_id|>",
        ),
        (MISTRAL, ["[INST]", "[/INST]", "</s>"], -2, "a"),  # the last token of the user's text, before [/INST]
    ],
)
def test_semantic_token_is_read_off_the_template(template, special, offset, text):
    token = semantic_token(tokenizer(template, *special))
    assert (token.offset, token.text) == (offset, text)
    ids = prompt_ids(tokenizer(template, *special), [{"role": "user", "content": "Which river flows through Vienna"}])
    assert tokenizer(template, *special).decode([ids[offset]]) == text


def test_no_second_bos():
    made = tokenizer(MISTRAL, "[INST]", "[/INST]", "</s>")
    assert prompt_ids(made, USER).count(made.bos_token_id) == 1


def test_end_of_turn_is_what_the_template_puts_after_a_reply():
    made = tokenizer(LLAMA3, "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
    eot = made.convert_tokens_to_ids("<|eot_id|>")
    assert end_of_turn(made, [made.bos_token_id, eot]) == eot
    assert end_of_turn(made, [made.pad_token_id]) == made.pad_token_id
    assert end_of_turn(made, []) is None


def test_no_template_names_the_option():
    with pytest.raises(ChatTemplateError, match="no chat template; give one with --chat-template FILE"):
        prompt_ids(tiny_tokenizer(chat_template=None), USER)


def test_a_template_that_refuses():
    made = tiny_tokenizer("{{ raise_exception('Only user messages!') }}")
    with pytest.raises(ChatTemplateError, match="rejects the messages: Only user messages!"):
        prompt_ids(made, USER)


def test_a_template_that_crashes():
    with pytest.raises(ChatTemplateError, match="division by zero"):
        prompt_ids(tiny_tokenizer("{{ 1 / 0 }}"), USER)


def test_a_template_that_hides_the_text():
    with pytest.raises(ChatTemplateError, match="give semantic_token"):
        semantic_token(tiny_tokenizer("{% for m in messages %}{{ m['content'] | upper }}{% endfor %}"))
