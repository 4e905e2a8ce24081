"""A real NLI cross-encoder of random weights, saved as a user would have one."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

SEED = 1
NLI = {0: "CONTRADICTION", 1: "entailment", 2: "Neutral"}


def save_nli(folder: Path) -> str:
    """The folder, with a model in it that knows a few words."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words += ["lima", "is", "the", "capital", "of", "peru", "big", ".", "bern"]
    (folder / "vocab.txt").write_text("\n".join(words))
    config = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=64, id2label=NLI, label2id={v: k for k, v in NLI.items()}, initializer_range=1.0,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        BertForSequenceClassification(config).save_pretrained(folder)
    BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=64).save_pretrained(folder)
    return str(folder)
