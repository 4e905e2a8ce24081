"""The same answer and the same passages in other orders: how far the order alone moves the confidence.

Which passage stands first says nothing about what is true, but a model that reads from left to right is moved by it (LLMs are
Bayesian, in expectation, not in realization: arXiv 2507.11768). The answer is not made again: it is scored once for each order,
which costs a pass on the model and no generation. Knows nothing about policies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice, permutations
from math import factorial
from random import Random

from guardrail.pipeline.conversation import Conversation
from guardrail.pipeline.room import Room
from guardrail.types import Confidence, InOrders, Trace

_LISTED = 6  # so many passages have few enough orders (720) to be listed


def orders_of(n: int, most: int, seed: str) -> list[tuple[int, ...]]:
    """At most `most` different orders of n things: the one that they are in, its reverse, and others drawn at random.

    seed: the same one draws the same orders, on every machine.
    """
    first = tuple(range(n))
    wanted = min(most, factorial(n))
    out = list(dict.fromkeys([first, first[::-1]]))[:wanted]
    drawing = Random(hashlib.sha256(seed.encode()).digest())  # noqa: S311  (no secret)
    if n <= _LISTED:
        others = [order for order in permutations(first) if order not in out]
        return out + drawing.sample(others, wanted - len(out))
    while len(out) < wanted:
        order = tuple(drawing.sample(first, n))
        out += [order] if order not in out else []
    return out


def in_orders(
    room: Room,
    conversation: Conversation,
    trace: Trace,
    confidence: Confidence,
    most: int,
    judge: Callable[[Sequence[Trace]], Sequence[Confidence]],
) -> InOrders | None:
    """The confidence of an answer with its passages in several orders; None with fewer than two passages, or for a model that
    thought before it answered, since thoughts are not put into other prompts.

    confidence: with the passages as they stood in the prompt. most: of the orders. judge: from traces to confidences.
    """
    n = len(conversation.evidence)
    orders = orders_of(n, most, conversation.query) if n > 1 and not trace.thought else []
    if len(orders) < 2:
        return None
    others = [
        replace(conversation, evidence=tuple(conversation.evidence[i] for i in order))
        for order in islice(orders, 1, None)
    ]
    traces = [each.marked(room.trace(each.prompt, trace.text, trace.finish_reason)) for each in others]
    return InOrders((confidence.p_correct, *(found.p_correct for found in judge(traces))))
