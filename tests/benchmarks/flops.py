"""What an answer and its score cost in arithmetic: floating-point operations of matrix products, which no machine changes.

From them follows what the guard adds at least where many clients share all else, such as the reading of the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from guardrail import Guard, load_model
from guardrail.data import load_questions
from guardrail.model.continuous.prefixes import common
from tests.benchmarks.subject import EMBEDDED

T = TypeVar("T")
QUESTIONS, TOKENS = 8, 32


class Counter(TorchDispatchMode):
    """Inside, `operations` grows by two for each product of two numbers that is added up."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if (count := flop_registry.get(func._overloadpacket)) is not None:
            self.operations += count(*args, **(kwargs or {}), out_val=out)
        return out


def counted(work: Callable[[], T]) -> tuple[T, int]:
    """What it gives, and its operations."""
    with Counter() as counter:
        return work(), counter.operations


def flops() -> None:
    """Print millions of operations an answer; always on the embedded model and bundled questions."""
    model = load_model(EMBEDDED, device="cpu")
    guard = Guard(model=model)
    origin, scorer = guard.calibrated.origin, guard.calibrated.scorer
    prompt = origin.prompt if origin else "{question}"
    made = scored = first = tokens = 0
    prompts = []
    for question in load_questions("heldout")[:QUESTIONS]:
        asked = prompt.replace("{question}", question.question)
        (trace,), all_of_it = counted(
            lambda asked=asked: [model.generate(asked, max_new_tokens=TOKENS, keep=scorer.keep)]
        )
        _, before_it = counted(lambda asked=asked: model.generate(asked, max_new_tokens=1))
        _, of_score = counted(lambda trace=trace: scorer.score_traces([trace]))
        made, first, scored = made + all_of_it, first + before_it, scored + of_score
        tokens += len(trace.response_ids)
        prompts.append(trace.prompt_ids)
    n = QUESTIONS * 1e6
    print(f"{QUESTIONS} bundled questions, {tokens / QUESTIONS:.1f} tokens an answer, scorer {scorer.name}.\n")
    print("| | million operations an answer |\n| --- | --- |")
    print(f"| prompt and first token | {first / n:.0f} |\n| the other tokens | {(made - first) / n:.0f} |")
    print(f"| score | {scored / n:.0f} |\n")
    kept, whole = min(common(prompts[0], other) for other in prompts[1:]), sum(map(len, prompts)) / QUESTIONS
    shared = made - first * kept / whole
    print(
        f"A prompt has {whole:.1f} tokens, and all begin with the same {kept}: kept, an answer is {shared / n:.0f} million."
    )
    print(f"score / answer: {scored / made:.1%}; with the beginning kept {scored / shared:.1%}")
