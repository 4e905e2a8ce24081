"""Pass after pass: generate and judge, and again where evidence was found."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from guardrail.deadlines import check_deadline
from guardrail.kernels.memory import TooLargeError
from guardrail.pipeline.answer_pass import AnswerPass, Finished
from guardrail.pipeline.conversation import Conversation
from guardrail.types import Trace


def _generated(
    pending: Sequence[Conversation], generate: Callable[[Sequence[Conversation]], list[Trace]]
) -> list[Trace]:
    """What is generated. Where passages are too much for the memory, the answer without them is still there."""
    try:
        return generate(pending)
    except TooLargeError:
        if not all(conversation.attempts for conversation in pending):
            raise
        return [Trace(c.prompt, (), (), "", "length", fault="out_of_memory") for c in pending]


def finish(
    pending: Sequence[Conversation], generate: Callable[[Sequence[Conversation]], list[Trace]], one_pass: AnswerPass
) -> list[Finished]:
    """Generate, score, calibrate and decide, again and again for those that new evidence was found for.

    Raises `DeadlineError` where that is not done in time.
    """
    check_deadline()
    if not pending:
        return []
    traces = _generated(pending, generate)
    scores = one_pass.score(pending, traces)
    outcomes = [one_pass.run(*each) for each in zip(pending, traces, scores, strict=True)]  # calibrate and decide
    del traces  # their states are as large as the model's cache
    later = iter(finish([each for each in outcomes if isinstance(each, Conversation)], generate, one_pass))
    return [next(later) if isinstance(each, Conversation) else each for each in outcomes]
