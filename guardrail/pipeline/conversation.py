"""One conversation on its way through a Guard: a frozen value, and a stopwatch that goes with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace

from guardrail.calibration.contexts import Setting, context_of, differs, in_words, plain_question, thinking_differs
from guardrail.calibration.provenance import Unit
from guardrail.calibration.record import ContextName
from guardrail.errors import DataError, ModelError
from guardrail.messages import as_messages, before_answer, check_text, question_at, unmarked
from guardrail.observers.protocol import Stage
from guardrail.pipeline.calibrated import Calibrated
from guardrail.pipeline.collecting import Seen, collecting
from guardrail.pipeline.form import AnswerForm
from guardrail.policy.obstacles import ASKED_AGAIN
from guardrail.retrieval import query_of, with_evidence, without_evidence
from guardrail.retrieval.budget import CUT
from guardrail.types import (
    AskedFirst,
    Attempt,
    Confidence,
    Consistency,
    Decision,
    Evidence,
    InOrders,
    Message,
    NameCounts,
    Score,
    Trace,
)
from guardrail.waiting import seconds_since

Prompt = str | Sequence[Message]
"""A question as a string, which goes into the calibration's prompt, or messages, which are used as they are."""

SearchContext = Callable[[], AbstractContextManager[object]]
"""Makes a context in which the evidence for one conversation is searched, for whoever traces that or works meanwhile."""


class Stopwatch:
    """Wall time by stage, in milliseconds, and the stages in the order in which they ran."""

    def __init__(self) -> None:
        self.timing_ms: dict[str, float] = {}
        self.stages: list[Stage] = []

    def book(self, stage: str, began: float, rows: int = 1, unit: Unit = "answer") -> None:
        """Book the time since `began` (seconds of `perf_counter`), divided among `rows` conversations."""
        ended = began + seconds_since(began)
        self.timing_ms[stage] = self.timing_ms.get(stage, 0.0) + (ended - began) * 1000 / rows
        self.stages.append(Stage(stage, began, ended, rows, unit))

    def lap(self, unit: Unit) -> Callable[[str], None]:
        """A function that books the time since its last call under the stage's name that it is called with."""
        began = time.perf_counter()

        def book(stage: str) -> None:
            nonlocal began
            self.book(stage, began, unit=unit)
            began = time.perf_counter()

        return book


@dataclass(frozen=True, slots=True)
class Conversation:
    """What is asked, and what has come of it so far.

    extrapolation_reasons, claim_extrapolation_reasons: how its prompt or its decoding differs from the answers' and from the
    claims' calibration. plain: whether its messages are what the answers' calibration asked. setting: how it is answered,
    where that is known. evidence: the passages that go into the prompt. attempts: the passes so far, oldest first. form: what
    the answer is to be; None is any text. asked_first: what was known before anything was generated, where the policy asks;
    search_failure: why asking, or the search that it led to, failed; passages_left_out: why its passages are not in the prompt.
    prefix: how the reply has to begin, by the rule that let the model answer once more.
    ambiguity: the score of the question, where the policy asks whether it is ambiguous; names: the question's, counted.
    """

    messages: tuple[Message, ...]
    query: str
    extrapolation_reasons: tuple[str, ...] = ()
    claim_extrapolation_reasons: tuple[str, ...] = ()
    plain: bool = False
    setting: Setting | None = None
    evidence: tuple[Evidence, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    search_context: SearchContext = nullcontext
    form: AnswerForm | None = None
    asked_first: AskedFirst | None = None
    search_failure: str = ""
    passages_left_out: str = ""
    ambiguity: Score | None = None
    names: NameCounts | None = None
    prefix: str = ""
    stopwatch: Stopwatch = field(default_factory=Stopwatch, compare=False, repr=False)

    @property
    def prompt(self) -> tuple[Message, ...]:
        """The messages with the evidence in them."""
        return with_evidence(self.messages, self.evidence)

    def context(self, thinking: bool = False) -> ContextName:
        """What kind of conversation it is. thinking: whether the model thought before it answered."""
        return context_of(
            self.messages,
            plain=self.plain,
            evidence=bool(self.evidence),
            tools=bool(self.setting and self.setting.tools),
            thinking=thinking,
            prefix=bool(self.prefix),
        )

    def seen(self, trace: Trace, limit: int) -> Seen:
        """What whoever collects is shown. limit: the most tokens that the answer could have."""
        return Seen(self.messages, self.evidence, trace, self.setting or Setting(), limit)

    def marked(self, trace: Trace) -> Trace:
        """The trace with what was put into its prompt, for scorers that compare."""
        return replace(trace, evidence=self.evidence, asked=self.messages) if self.evidence else trace

    @property
    def retrieved_by(self) -> tuple[str, ...]:
        """The policy's rules that have looked something up for it."""
        return tuple(a.decision.rule for a in self.attempts if a.decision.action == "retrieve")

    @property
    def found_by(self) -> str | None:
        """The rule whose search has found the passages that are in its prompt; None where no rule's has."""
        before = [a for a in self.attempts if a.evidence != self.evidence and a.decision.action == "retrieve"]
        return before[-1].decision.rule if before and self.evidence else None

    @property
    def no_retry(self) -> str:
        """Why the model may not answer once more; empty where it may."""
        if any(a.decision.action == "retry" for a in self.attempts):
            return ASKED_AGAIN
        return "the answer is kept to a form" if self.form is not None else ""

    @property
    def searched_first(self) -> bool:
        """Whether its passages were found before anything was generated, so that there is no answer without them yet."""
        return bool(self.evidence) and self.asked_first is not None and not self.attempts

    def tried(
        self,
        trace: Trace,
        score: Score,
        confidence: Confidence,
        decision: Decision,
        orders: InOrders | None = None,
        agreed: Consistency | None = None,
    ) -> Conversation:
        """This conversation after one more pass. The trace's states are dropped: they are as large as the model's cache."""
        kept = replace(trace, state=None)
        passages, reason = self.evidence, trace.finish_reason
        attempt = Attempt(trace.text, score, confidence, decision, reason, passages, kept, orders, trace.prefix, agreed)
        return replace(self, attempts=(*self.attempts, attempt))


@contextmanager
def timed(stage: str, *conversations: Conversation) -> Iterator[None]:
    """Book the time that the block takes, divided evenly among the conversations."""
    began = time.perf_counter()
    yield
    for conversation in conversations:
        conversation.stopwatch.book(stage, began, len(conversations))


def opened(
    asked: Prompt,
    system: str | None,
    *,
    prompts: Calibrated,
    answers: Calibrated,
    setting: Setting | None = None,
    answer: str | None = None,
    search_context: SearchContext = nullcontext,
    form: AnswerForm | None = None,
) -> Conversation:
    """The conversation that a question or messages begin.

    prompts: the calibration whose prompt a question goes into. answers: that of whole answers. setting: how it is answered;
    None where the answer comes from elsewhere. answer: where there is one already; messages that end in it end before it.
    form: what it is to be.
    """
    if system is not None:
        system = unmarked(check_text(system, "a system message"))
    if answer is not None:
        check_text(answer, "an answer")
    source, whole = (None, None) if collecting() else (prompts.origin, answers.origin)
    if setting is not None and form is not None and form.constraint is not None:
        setting = replace(setting, constrained=True)
    decoding = decoding_differs(prompts, setting) if setting is not None else []
    of_answers: tuple[str, ...] = ()
    of_claims: tuple[str, ...] = ()
    if isinstance(asked, str):
        asked, given = without_evidence(unmarked(asked))
        question = source.prompt.replace("{question}", asked) if source else asked
        usual = source.system if source else None
        messages, query = as_messages(question, system or usual), asked
        of_claims = ("another system message than in calibration",) if system not in (None, usual) else ()
        differ = source and whole and (source.prompt, source.system) != (whole.prompt, whole.system)
        of_answers = (*of_claims, "the prompt of the claims' calibration") if differ else of_claims
    else:
        messages = as_messages(asked, system)
        messages = messages if answer is None else before_answer(messages, answer) or messages
        messages, given = _passages_apart(messages)
        known, known_of_claims = (
            plain_question(messages, origin.prompt, origin.system) if origin else None for origin in (whole, source)
        )
        has_question = question_at(messages) is not None  # without one there is nothing to retrieve for
        query = known or known_of_claims or (query_of(messages) if has_question else "")
        of_answers = () if known else (_own_messages(messages),)
        of_claims = () if known_of_claims else (_own_messages(messages),)
    return Conversation(
        messages,
        query,
        (*of_answers, *decoding),
        (*of_claims, *decoding),
        plain=not of_answers,
        setting=setting,
        evidence=given,
        search_context=search_context,
        form=form,
    )


def _passages_apart(messages: tuple[Message, ...]) -> tuple[tuple[Message, ...], tuple[Evidence, ...]]:
    """The messages without the passages that a chain has put in front of the last question, and these."""
    at = question_at(messages)
    if at is None or not isinstance(messages[at]["content"], str):
        return messages, ()
    text, evidence = without_evidence(messages[at]["content"])
    return (*messages[:at], {**messages[at], "content": text}, *messages[at + 1 :]), evidence


def _own_messages(messages: Sequence[Message]) -> str:
    name = context_of(messages)
    more = "" if name == "wording" else f" (with {in_words(name)})"
    return f"messages of your own, not the prompt of the calibration{more}"


def check_batch(conversations: object, batch_size: object) -> None:
    """Raise `DataError` for what is no list, and `ModelError` for a batch size that is no whole number from 1."""
    if isinstance(conversations, str | bytes) or not isinstance(conversations, Sequence):
        raise DataError(f"a batch is a list of questions or conversations, not {conversations!r:.80}")
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ModelError(f"the batch size is {batch_size!r:.80}; it must be at least 1, a whole number")


def decoding_differs(calibrated: Calibrated, setting: Setting) -> list[str]:
    """How the decoding differs from the calibration's."""
    usual = calibrated.usual("temperature") or 0.0
    out = _sampled(setting, usual) + (["tools in the prompt"] if setting.tools else [])
    return out + (["decoding kept to a schema"] if setting.constrained else [])


def _sampled(setting: Setting, usual: float) -> list[str]:
    if setting.temperature == usual:
        return []
    return [f"temperature {setting.temperature:g}, not the {usual:g} of the calibration"]


def length_differs(trace: Trace, usual: int | None) -> str:
    """How the answer's end differs from those of the calibration, whose limit was `usual` tokens; empty if it does not."""
    length = len(trace.response_ids)
    if trace.stop_string:
        return "ended by a stop string"
    if usual is None or (length <= usual and (length == usual or trace.finish_reason != "length")):
        return ""
    return f"{'cut at ' if trace.finish_reason == 'length' else ''}{length} tokens, the calibration's limit was {usual}"


def why_extrapolated(
    conversation: Conversation,
    reasons: Sequence[str],
    trace: Trace,
    calibrated: Calibrated,
    context: ContextName | None = None,
) -> str:
    """Why a confidence is extrapolated, in words; empty if it is not.

    reasons: how the conversation differs from those of the common curve, without passages. context: whose own curve is used.
    """
    own = calibrated.source_of(context) if context else {}
    given = list(reasons)
    if context is not None or calibrated.through is not None:
        usual = own.get("temperature", calibrated.usual("temperature") or 0.0)
        given = differs(own, conversation.messages, conversation.setting)
        given += _sampled(conversation.setting, usual) if conversation.setting else []
    if own.get("prefix", "") != conversation.prefix:
        given.append("begun with words that were given, unlike the calibration's")
    if context is None and calibrated.through is not None:
        name = in_words(conversation.context(trace.thought))
        given = [f"{name}, of which the calibration through {calibrated.through} has seen too little", *given]
    if calibrated.origin is not None and calibrated.through is None:
        given += thinking_differs(calibrated.usual("thinking"), trace.thought)
    scorer = calibrated.contexts[context] if context else calibrated.scorer
    if trace.thought and trace.thinking_entropies is None and getattr(scorer, "watches_thoughts", False):
        given.append("its thinking was given, and the score weighs how one is drawn")
    if conversation.evidence:
        passages = own.get("passages")
        if any(passage.text.endswith(CUT) for passage in conversation.evidence):
            given.append("given with evidence, cut to fit the model's context")
        elif passages is None:
            given.append("given with evidence")
        elif len(conversation.evidence) > passages:
            given.append(f"given with {len(conversation.evidence)} passages, the calibration's limit was {passages}")
    limit = own.get("max_new_tokens", calibrated.usual("max_new_tokens"))
    return "; ".join(filter(None, [*given, length_differs(trace, limit)]))
