"""A tiny model that writes the very token ids that a test gives, for what hangs on tokens and not on text."""

from __future__ import annotations

from tokenizers import AddedToken
from transformers import LogitsProcessorList

from guardrail.model.local import LocalModel
from guardrail.testing import tiny_model, tiny_tokenizer
from tests.helpers.scripted_claims import _Script

TOOL_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}"
    "{% for c in m['tool_calls'] or [] %}CALL{{ c['function'] | tojson }}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% for t in tools or [] %}{{ t['function']['name'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""CALL is what the template puts before a call."""


def tool_model(*tokens: str, marker: str = "<tool_call>", special: bool = False) -> LocalModel:
    """A model whose template shows tools, and marks calls with `marker`; its tokenizer has a token for each of `tokens`."""
    tokenizer = tiny_tokenizer(TOOL_TEMPLATE.replace("CALL", marker))
    tokenizer.add_tokens([AddedToken(token, special=special, normalized=False) for token in tokens])
    model = tiny_model(vocab_size=len(tokenizer), max_position_embeddings=2048)
    return LocalModel(model.eval(), tokenizer, name="tiny-tools")


def spelt(local: LocalModel, text: str) -> list[int]:
    """The text in ordinary tokens, whatever the tokenizer has added."""
    return [i for letter in text for i in local.tokenizer(letter, add_special_tokens=False)["input_ids"]]


def tokens(local: LocalModel, text: str) -> list[int]:
    """The text as its tokenizer has it, added tokens for what they spell."""
    ids: list[int] = local.tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def say(local: LocalModel, *turns: list[int]) -> LocalModel:
    """The model, which now writes these ids and its end token, a turn after the other; the last one again and again."""
    generate, left = local.model.generate, list(turns)

    def says(*, input_ids, logits_processor, **options):
        ids = [*(left.pop(0) if len(left) > 1 else left[0]), *[local.eos_ids[0]] * 2]
        script = _Script(ids, input_ids.shape[1])
        return generate(
            input_ids=input_ids, logits_processor=LogitsProcessorList([*logits_processor, script]), **options
        )

    local.model.generate = says
    return local
