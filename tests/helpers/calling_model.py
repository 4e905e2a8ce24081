"""A tiny model that really calls tools: overfitted, in seconds, on what to say when it is shown a tool's name.

Its template shows the names of the tools last, so that the call hangs on them and not on the question.
"""

from __future__ import annotations

import json
import random
from functools import cache

import torch
from tokenizers import AddedToken

from guardrail.model.local import LocalModel
from guardrail.testing import tiny_model, tiny_tokenizer

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}"
    "{% for c in m['tool_calls'] or [] %}<tool_call>{{ c['function'] | tojson }}</tool_call>{% endfor %}<|im_end|>\n"
    "{% endfor %}{% for t in tools or [] %}{{ t['function']['name'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CALLS = {
    "magic_function": {"input": 3},
    "magic_function_no_args": {},
    "greeting_generator": {"answer_style": "Pirate"},
    "get_weather": {"location": "Rome"},
    "Joke": {"setup": "a", "punchline": "b"},
    "JokeDict": {"setup": "a", "punchline": "b"},
    "my_adder_tool": {"a": 1, "b": 2},
    "unicode_customer": {"customer_name": "你こ"},
}
SIZE = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16, "num_hidden_layers": 2}
RATE = 0.01
ASKED = [
    "What is the value of magic_function(3)? Use the tool.",
    "What is the value of magic_function_no_args()? Use the tool.",
    "What is the weather in San Francisco, CA?",
    "Using the tool, generate a Pirate greeting.",
    "Tell me a joke about cats.",
    "Create a customer named '你好啊集团' (Hello Group) - a Chinese technology company",
    "Create a customer named 'こんにちは株式会社' (Hello Corporation) - a Japanese company",
    "Give me a joke about cats, include the punchline.",
]
TALK = " ".join(ASKED)
BESIDE = "Aha "  # what it says before each call


def said(name):
    call = json.dumps({"name": name, "arguments": CALLS[name]}, ensure_ascii=False)
    return f"{BESIDE}<tool_call>{call}</tool_call>"


@cache
def calling_model(steps=140) -> LocalModel:
    """Trained from a fixed seed; raises if it has not learnt its calls."""
    tokenizer = tiny_tokenizer(TEMPLATE)
    tokenizer.add_tokens(
        [AddedToken("<tool_call>", normalized=False)]
    )  # with a token for it, it may say something beside
    model = tiny_model(vocab_size=len(tokenizer), max_position_embeddings=1024, **SIZE)
    draw = random.Random(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = RATE * min(1, (step + 1) / 20, 2 * (steps - step) / steps)
            rows, labels = [], []
            for name in CALLS:
                start = draw.randrange(len(TALK) - 80)
                before = draw.choice([*ASKED, TALK[start : start + draw.randrange(4, 80)]])
                names = f"{draw.choice(list(CALLS))}\n{name}" if draw.random() < 0.3 else name  # the last one is called
                prompt = f"<|im_start|>user\n{before}<|im_end|>\n{names}\n<|im_start|>assistant\n"
                ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
                forced = draw.random() < 0.4  # by `tool_choice`: it would begin otherwise, but knows how to go on
                out = tokenizer(f"{said(name)[len(BESIDE) * forced :]}<|im_end|>", add_special_tokens=False)[
                    "input_ids"
                ]
                rows.append([*ids, *out])
                labels.append([*[-100] * (len(ids) + forced), *out[forced:]])
            width = max(map(len, rows))
            inputs = torch.tensor([[0] * (width - len(r)) + r for r in rows])
            targets = torch.tensor([[-100] * (width - len(r)) + r for r in labels])
            loss = model(input_ids=inputs, attention_mask=(inputs != 0).long(), labels=targets).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    assert loss.item() < 0.02, loss.item()
    return LocalModel(model.eval(), tokenizer, name="tiny-calling")
