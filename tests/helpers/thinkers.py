"""Tiny models that think, with the marks that chat templates have. Not a test."""

from __future__ import annotations

import torch

from guardrail.model.local import LocalModel
from guardrail.testing import CHATML, tiny_model, tiny_tokenizer

FINAL = "<|start|>assistant<|channel|>final<|message|>"
# (tokens of the tokenizer, what the template says of marks, open, close)
MARKS = {
    "qwen": (["<think>", "</think>"], "", "<think>", "</think>"),
    "spelt": ([], "{# <think></think> #}", "<think>", "</think>"),
    "magistral": (["[THINK]", "[/THINK]"], "", "[THINK]", "[/THINK]"),
    "seed": (["<seed:think>", "</seed:think>"], "", "<seed:think>", "</seed:think>"),
    "cohere": (["<|START_THINKING|>", "<|END_THINKING|>"], "", "<|START_THINKING|>", "<|END_THINKING|>"),
    "kimi": (["◁think▷", "◁/think▷"], "", "◁think▷", "◁/think▷"),
    "apertus": (["<|inner_prefix|>", "<|inner_suffix|>"], "", "<|inner_prefix|>", "<|inner_suffix|>"),
    "openthinker": ([], "{# <|begin_of_thought|> <|end_of_thought|> #}", "<|begin_of_thought|>", "<|end_of_thought|>"),
    "reasoning": ([], "{# <reasoning></reasoning> #}", "<reasoning>", "</reasoning>"),
    "gemma4": (["<|channel>", "<channel|>"], "", "<|channel>thought\n", "<channel|>"),
    "gpt_oss": (
        ["<|channel|>", "<|message|>", "<|start|>", "<|end|>", "<|return|>"],
        "",
        "<|channel|>analysis<|message|>",
        f"<|end|>{FINAL}",
    ),
}


def thinker(kind, template=CHATML, **options):
    """A tiny model whose tokenizer and template have these marks."""
    added, said, _, _ = MARKS[kind]
    tokenizer = tiny_tokenizer(said + template)
    tokenizer.add_special_tokens({"additional_special_tokens": added})
    return LocalModel(tiny_model(max_position_embeddings=512), tokenizer, name=kind, **options)


def ids_of(local, text):
    return local.tokenizer(text, add_special_tokens=False)["input_ids"]


def saying(local, text, monkeypatch):
    """The model whose greedy answer is this text: a stand-in for weights that think, with everything behind them real."""
    ids = [*ids_of(local, text), local.eos_ids[0]]
    prompts = {}

    def forced(input_ids, scores):
        width = prompts.setdefault("width", input_ids.shape[1])
        step = min(input_ids.shape[1] - width, len(ids) - 1)
        out = torch.full_like(scores, -1e9)
        out[:, ids[step]] = 0
        return out

    plain = local.model.generate

    def generate(**options):
        prompts.clear()
        options["logits_processor"].append(forced)
        return plain(**options)

    monkeypatch.setattr(local.model, "generate", generate)
    return local
