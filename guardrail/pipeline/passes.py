"""Pass after pass: generate and judge, and again where evidence was found. And before the first: whether to search at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from guardrail.deadlines import check_deadline
from guardrail.errors import GuardrailError
from guardrail.kernels.memory import TooLargeError
from guardrail.pipeline.answer_pass import NO_ROOM, AnswerPass
from guardrail.pipeline.collecting import collecting
from guardrail.pipeline.conversation import Conversation, timed
from guardrail.pipeline.failures import MISTAKES, noted
from guardrail.pipeline.finished import Finished
from guardrail.pipeline.questions import AmbiguityScorer, QuestionPipeline
from guardrail.policy import Policy
from guardrail.types import AskedFirst, Confidence, Score, Trace


def _generated(
    pending: Sequence[Conversation], generate: Callable[[Sequence[Conversation]], list[Trace]], one_pass: AnswerPass
) -> list[Trace]:
    """What is generated. Where passages are too much for the memory, there is an answer without them, or will be."""
    try:
        return generate(pending)
    except TooLargeError:
        more = [bool(c.attempts) or c.searched_first for c in pending]
        if one_pass.hooks.begun or not any(more):
            raise
    # outside the handler: the exception's traceback holds the tensors of the failed try
    rest = iter(generate([c for c, has in zip(pending, more, strict=True) if not has]))
    return [
        Trace(c.prompt, (), (), "", "length", fault="out_of_memory") if has else next(rest)
        for c, has in zip(pending, more, strict=True)
    ]


def finish(
    pending: Sequence[Conversation], generate: Callable[[Sequence[Conversation]], list[Trace]], one_pass: AnswerPass
) -> list[Finished]:
    """Generate, score, calibrate and decide, again and again for those whose evidence has changed.

    Raises `DeadlineError` where that is not done in time.
    """
    check_deadline()
    if not pending:
        return []
    traces = _generated(pending, generate, one_pass)
    one_pass.hooks.on_generated(traces)
    scores = one_pass.score(pending, traces)
    outcomes = [one_pass.run(*each) for each in zip(pending, traces, scores, strict=True)]  # calibrate and decide
    del traces  # their states are as large as the model's cache
    later = iter(finish([each for each in outcomes if isinstance(each, Conversation)], generate, one_pass))
    return [next(later) if isinstance(each, Conversation) else each for each in outcomes]


def ask_first(pending: Sequence[Conversation], one_pass: AnswerPass) -> list[Conversation]:
    """The conversations with passages where the policy searches before anything is generated, and with what was asked of the
    question.

    Those that nothing can be searched for stay as they are. Raises what a search, or asking, raises where the policy says so;
    where it says abstain, what failed stands in the conversation.
    """
    pending = _measured(pending, one_pass)
    rule, questions = one_pass.policy.ask_first, one_pass.questions
    at = [i for i, c in enumerate(pending) if c.query.strip() and not c.evidence]
    if rule is None or questions is None or one_pass.retriever is None or not at:
        return list(pending)
    out = list(pending)
    with timed("ask first", *(out[i] for i in at)):
        known = _known(questions, [out[i].query for i in at], one_pass.policy)
    for i, confidence in zip(at, known, strict=True):
        if isinstance(confidence, str):
            out[i] = replace(out[i], search_failure=confidence)
            continue
        searched, why = rule.decide(confidence)
        out[i] = replace(out[i], asked_first=AskedFirst(confidence, searched, why))
        if searched:
            out[i] = _searched(out[i], one_pass)
    return out


def _measured(pending: Sequence[Conversation], one_pass: AnswerPass) -> list[Conversation]:
    """The conversations with the score of their question, where the policy asks whether it is ambiguous."""
    if one_pass.ambiguity is None or collecting() is not None:
        return list(pending)
    with timed("ambiguity", *pending):
        found = _ambiguities(one_pass.ambiguity, pending, one_pass.policy)
    return [
        replace(c, search_failure=one) if isinstance(one, str) else replace(c, ambiguity=one)
        for c, one in zip(pending, found, strict=True)
    ]


def _ambiguities(scorer: AmbiguityScorer, pending: Sequence[Conversation], policy: Policy) -> list[Score | str]:
    """The score of each question, or why the policy abstains. Where the batch fails, each is scored alone."""
    try:
        return list(scorer.scores([c.messages for c in pending]))
    except MISTAKES:
        raise
    except GuardrailError as error:
        if policy.on_error == "raise":
            raise
        if len(pending) == 1:
            why = noted(error)
            return [why if policy.on_error == "abstain" else Score.none("error", why, length=0)]
    return [each for one in pending for each in _ambiguities(scorer, [one], policy)]


def _known(questions: QuestionPipeline, queries: Sequence[str], policy: Policy) -> list[Confidence | str]:
    """P(IK) of each, or why the policy abstains. Where the batch fails, each is asked about alone."""
    try:
        return list(questions.p_ik(queries))
    except MISTAKES:
        raise
    except GuardrailError as error:
        if policy.on_error == "raise":
            raise
        if len(queries) == 1:
            why = noted(error)
            return [why if policy.on_error == "abstain" else Confidence.none(why)]
    return [each for query in queries for each in _known(questions, [query], policy)]


def _searched(conversation: Conversation, one_pass: AnswerPass) -> Conversation:
    assert one_pass.retriever is not None  # noqa: S101  (for the type checker)
    try:
        found = one_pass.found(one_pass.retriever, conversation)
    except GuardrailError as error:
        if one_pass.policy.on_error == "raise" or isinstance(error, MISTAKES):
            raise
        return replace(conversation, search_failure=noted(error))
    room = one_pass.room.fit(conversation.messages, found) if found else ()
    return replace(conversation, evidence=room, passages_left_out=NO_ROOM if found and not room else "")
