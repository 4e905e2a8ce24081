"""What is measured: a model with its scorer, prompts of an exact length, answers of an exact length."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from itertools import cycle, islice
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from guardrail import HybridGradScorer, load_model
from guardrail.data import passages_path
from guardrail.model.local import LocalModel
from guardrail.types import Trace

EMBEDDED, LLAMA_8B = "smollm2-135m", "llama-8b-random"
MODELS = (EMBEDDED, LLAMA_8B)

_QUESTION = "What is the capital of Burkina Faso?"
_LLAMA_8B = {
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
}


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A model that never ends its answers by itself, and our scorer of it."""

    name: str
    local: LocalModel
    scorer: HybridGradScorer

    @property
    def device(self) -> torch.device:
        return self.local.device

    def fits(self, prompt: int, response: int) -> str:
        """Why the model cannot read and write that many tokens; empty if it can."""
        context = self.local.anatomy.context
        return f"context {context:,}" if context is not None and prompt + response > context else ""

    def prompt(self, tokens: int) -> str:
        """A user message of real text whose whole prompt, with the chat template, has exactly `tokens` tokens."""
        words = list(islice(cycle(_words()), tokens))
        low, high = 0, len(words)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self._length(words[:middle], 0) <= tokens else (low, middle - 1)
        for count in range(low, max(-1, low - 20), -1):  # the last few tokens are filled up with a short word
            filler = 0
            while (length := self._length(words[:count], filler)) < tokens:
                filler += 1
            if length == tokens:
                return _message(words[:count], filler)
        raise SystemExit(f"no prompt of {tokens} tokens: the chat template and a question alone need more")

    def _length(self, words: list[str], filler: int) -> int:
        return len(self.local.encode_prompt(_message(words, filler)))

    def answer(self, prompt: str, length: int, *, keep: bool) -> Trace:
        """Greedy generation of exactly `length` tokens."""
        trace = self.local.generate(prompt, max_new_tokens=length, keep=self.scorer.keep if keep else None)
        if len(trace.response_ids) != length:
            raise SystemExit(
                f"the answer has {len(trace.response_ids)} tokens, not {length}: its end token came after all"
            )
        return trace


def load_subject(name: str) -> Subject:
    """The embedded model on the CPU in float32, or a random Llama of the 8B shape on CUDA in bfloat16."""
    local = load_model(EMBEDDED, device="cpu")
    if name == LLAMA_8B:
        if not torch.cuda.is_available():
            raise SystemExit(f"{LLAMA_8B} needs a CUDA device, and there is none; leave --model out")
        local = random_llama(local.tokenizer, torch.device("cuda"), torch.bfloat16, **_LLAMA_8B)
    local.eos_ids = [local.anatomy.head.out_features - 1]  # hardly ever said: every answer has the length asked for
    return Subject(name, local, HybridGradScorer(local))


def random_llama(tokenizer: Any, device: torch.device, dtype: torch.dtype, **shape: int) -> LocalModel:
    """A Llama of this shape with random weights, made on the device, and a tokenizer that has a text for every id."""
    torch.manual_seed(0)
    with device:
        model = AutoModelForCausalLM.from_config(LlamaConfig(**shape, tie_word_embeddings=False), dtype=dtype)
    return LocalModel(model.eval(), _larger(tokenizer, shape["vocab_size"]), name=LLAMA_8B)


def header(subject: Subject, command: str) -> str:
    """Machine, versions and command, as the tables below them need them."""
    device = subject.device
    dtype = str(subject.local.anatomy.head.weight.dtype).removeprefix("torch.")
    place = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, transformers {version('transformers')}"
    return f"    {command}\n\n{subject.name}, {dtype}, {place}, {torch.get_num_threads()} threads; {versions}\n"


def command() -> str:
    return " ".join(["python -m tests.benchmarks", *sys.argv[1:]])


def _larger(tokenizer: Any, size: int) -> PreTrainedTokenizerFast:
    """The tokenizer with words added that no text holds: an answer of ids without a text would count as empty."""
    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    spec["model"]["vocab"] |= {f"\u0120w{i}": i for i in range(len(tokenizer), size)}
    larger = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(spec)),
        eos_token=tokenizer.eos_token,
        pad_token=tokenizer.pad_token,
    )
    larger.chat_template = tokenizer.chat_template
    return larger


def _words() -> Iterator[str]:
    with passages_path().open(encoding="utf-8") as lines:
        for line in lines:
            yield from json.loads(line)["text"].split()


def _message(words: list[str], filler: int) -> str:
    return f"{' '.join([*words, *['a'] * filler])}\n{_QUESTION}".lstrip()


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor()
    return f"{platform.machine()} ({name})"
