"""The pipeline after generation: score, calibrate, decide, then look up and go on, or act."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from guardrail.actions import render
from guardrail.calibration.record import ContextName
from guardrail.claims.complete import completed
from guardrail.deadlines import sooner
from guardrail.errors import GuardrailError, PartError
from guardrail.model.recording import Keep
from guardrail.observers.protocol import Observer, tell
from guardrail.pipeline.agreement import Samples
from guardrail.pipeline.calibrated import Calibrated
from guardrail.pipeline.claims import ClaimPipeline, confidences_after_verification
from guardrail.pipeline.collecting import AS_IT_IS, collecting
from guardrail.pipeline.conversation import Conversation, timed, why_extrapolated
from guardrail.pipeline.failures import MISTAKES, ON_ERROR, failed, noted
from guardrail.pipeline.finished import Finished, Outcome
from guardrail.pipeline.hooks import Hooks
from guardrail.pipeline.leftover import leftover
from guardrail.pipeline.names import counted_names
from guardrail.pipeline.orders import in_orders
from guardrail.pipeline.questions import AmbiguityScorer, QuestionPipeline
from guardrail.pipeline.room import Room
from guardrail.pipeline.shared_scores import shared_scores
from guardrail.pipeline.unmeasured import TOOL_CALL, unmeasured
from guardrail.policy import Policy
from guardrail.policy.obstacles import NO_SECOND, NOT_ASKED
from guardrail.retrieval import Retriever, find_evidence
from guardrail.scoring.protocol import Scorer
from guardrail.types import (
    Aside,
    Confidence,
    Consistency,
    Decision,
    Evidence,
    InOrders,
    JudgedClaim,
    Score,
    Trace,
    Verdict,
)

NO_ROOM = "there is no room for passages beside the question"
DECIDED = "the decision is on this answer"

_TOO_LARGE = ("prompt_too_long", "out_of_memory")  # the passages are why, where the answer without them was scored


@dataclass(frozen=True, slots=True)
class AnswerPass:
    """What judges an answer, and its claims where there is a `claim_pipeline`. retriever: None looks nothing up. room: of the
    model that answers. fields: what judges the fields of JSON answers, where one is asked for. questions, ambiguity: what is
    known before an answer. no_escalation, no_retry: why no second model is asked, nor this one once more; empty where it may
    be. samples: what draws others of an answer's prompt, where a rule asks."""

    room: Room
    calibrated: Calibrated
    claim_pipeline: ClaimPipeline | None
    policy: Policy
    retriever: Retriever | None
    hooks: Hooks
    fields: ClaimPipeline | None = None
    questions: QuestionPipeline | None = None
    ambiguity: AmbiguityScorer | None = None
    no_escalation: str = NO_SECOND
    no_retry: str = NOT_ASKED
    samples: Samples | None = None

    @property
    def looks_up(self) -> Retriever | None:
        """What `retrieve` rules ask; nothing where claims are streamed, since it would replace what is out already."""
        return None if self.hooks.claim_stream is not None else self.retriever

    @property
    def keep(self) -> Keep | None:
        """What generation keeps for the scorers."""
        if (collector := collecting()) is not None:
            return collector.keep(self.room.model)
        scorers = [self.calibrated.scorer, *self.calibrated.contexts.values()]
        scorers += [claims.scorer for claims in (self.claim_pipeline, self.fields) if claims]
        return Keep.joined([scorer.keep for scorer in scorers if scorer.keep is not None])

    def score(self, conversations: Sequence[Conversation], traces: Sequence[Trace]) -> list[Score]:
        """Score the answers in one batch; turns of tool calls, and what the model could not answer, are left unscored.

        Where the batch fails, each is scored alone, and what fails alone is unscored (`error`), or raised where the policy
        says so.
        """
        known = [unmeasured(trace, self.calibrated.scorer.name, self.hooks.is_tool_call) for trace in traces]
        with timed("score", *(c for c, score in zip(conversations, known, strict=True) if score is None)):
            todo = [i for i, score in enumerate(known) if score is None]
            kinds = {i: self.context_of(conversations[i], traces[i]) for i in todo}
            for context in dict.fromkeys(kinds.values()):
                own = [i for i in todo if kinds[i] == context]
                found = self._scored([conversations[i].marked(traces[i]) for i in own], self._scorer(context))
                for i, score in zip(own, found, strict=True):
                    known[i] = score
        return [score for score in known if score is not None]

    def context_of(self, conversation: Conversation, trace: Trace) -> ContextName | None:
        """Whose curve is used: that of the conversation's kind, where the calibrator has one.

        Only a chain's kinds of conversation are told apart by thinking; other calibrations as a whole (`why_extrapolated`).
        """
        kind = conversation.context(trace.thought and self.calibrated.through is not None)
        return kind if kind in self.calibrated.contexts else None

    def _scorer(self, context: ContextName | None) -> Scorer:
        return self.calibrated.contexts[context] if context else self.calibrated.scorer

    def run(self, conversation: Conversation, trace: Trace, score: Score) -> Outcome:
        """Calibrate the score, take the claims apart, and follow the policy until it finishes or finds new evidence.

        What fails on the way is an abstention that says so, or an error where the policy says `on_error: raise`.
        """
        why = "prompt_too_long" if trace.finish_reason == "prompt_too_long" else score.unscored
        no_room = f"there is no room for the passages ({why})" if why in _TOO_LARGE and conversation.evidence else ""
        if no_room and conversation.searched_first and not self.hooks.begun:
            return replace(conversation, evidence=(), passages_left_out=no_room)
        if (collector := collecting()) is not None and score.unscored != "tool_call":
            collector.take(self.room.model, conversation.seen(trace, self.room.answer))
            return Finished(conversation.tried(trace, score, *AS_IT_IS), trace.text)
        try:
            failure = (
                self.hooks.failure or conversation.search_failure or (score.detail if score.unscored == "error" else "")
            )
            if failure and self.policy.on_error == "abstain":
                return self.given_up(conversation, trace, score, failure)
            if no_room and conversation.attempts:
                return self.decided_again(conversation, no_room)
            return self._judged(conversation, trace, score, conversation.passages_left_out)
        except Exception as caught:
            error = failed("guard", self, caught)
            if self.policy.on_error == "raise" or isinstance(error, MISTAKES):
                raise error from caught
            return self.given_up(conversation, trace, score, noted(error))

    def decided_again(self, conversation: Conversation, why: str = "") -> Outcome:
        """The policy's decision on the last attempt's answer, without looking anything up again."""
        before = conversation.attempts[-1]
        trace = before.trace or self.room.model.trace(conversation.messages, before.answer)
        conversation = replace(conversation, evidence=before.evidence, prefix=before.prefix)
        return replace(self, retriever=None, no_retry=self.no_retry or DECIDED)._judged(
            conversation, trace, before.score, why
        )

    def given_up(self, conversation: Conversation, trace: Trace, score: Score, why: str) -> Finished:
        """An abstention for what failed, without a confidence."""
        with timed("decide", conversation):
            confidence = Confidence.none(f"{ON_ERROR}: {why}")
            decision = Decision("abstain", ON_ERROR, why, self.policy.wording.abstain)
        return Finished(conversation.tried(trace, score, confidence, decision), trace.text)

    def _scored(self, traces: Sequence[Trace], scorer: Scorer) -> list[Score]:
        try:
            return shared_scores(self.room.model, scorer, traces)
        except MISTAKES:
            raise
        except Exception as caught:
            if len(traces) > 1:
                return [score for trace in traces for score in self._scored([trace], scorer)]
            error = failed("scorer", scorer, caught)
            if self.policy.on_error == "raise":
                raise error from caught
            return [Score.none("error", noted(error), length=len(traces[0].response_ids), name=scorer.name)]

    def _all_scored(self, traces: Sequence[Trace], scorer: Scorer) -> list[Score]:
        """Raises `PartError` for what fails alone, unless the policy goes on then."""
        scores = self._scored(traces, scorer)
        failures = [score.detail for score in scores if score.unscored == "error"]
        if failures and self.policy.on_error != "continue":
            raise PartError(failures[0])
        return scores

    def _judged(self, conversation: Conversation, trace: Trace, score: Score, trouble: str = "") -> Outcome:
        if score.unscored == "tool_call":
            confidence = Confidence.none("unscored: tool_call")
            decision = Decision("answer", "tool call", f"{TOOL_CALL}: passed on unscored")
            return Finished(conversation.tried(trace, score, confidence, decision), trace.text)
        with timed("calibrate", conversation):
            context = self.context_of(conversation, trace)
            reasons = why_extrapolated(
                conversation, conversation.extrapolation_reasons, trace, self.calibrated, context
            )
            known = None if score.unscored else self.calibrated.familiarity(conversation.query, trace)
            confidence = self.calibrated.confidence(score, reasons, known, context)
        names = conversation.names or counted_names(self.policy, self.retriever, conversation.query)
        conversation = replace(conversation, names=names)  # the same when it is decided again, without the retriever
        orders = self._in_orders(conversation, trace, confidence, (reasons, known, context))
        claims, asides = self._claims(conversation, trace)
        taken_apart = self.claim_pipeline is not None or bool(claims)
        agreed: Consistency | None = None
        while True:
            decide = partial(
                self.policy.decide,
                confidence,
                score,
                evidence=conversation.evidence,
                finish_reason=trace.finish_reason,
                retriever=self.looks_up is not None and bool(conversation.query.strip()),
                fired=conversation.retrieved_by,
                claims=confidences_after_verification(claims) if taken_apart else None,
                ambiguity=conversation.ambiguity,
                no_escalation=self.no_escalation,
                no_retry=self.no_retry or conversation.no_retry,
                spread=orders.spread if orders else None,
                names=names,
            )
            agreed = agreed or self._agreed(conversation, trace, decide)
            with timed("decide", conversation):
                decision = decide(consistency=agreed.share if agreed else None)
            if trouble:
                decision = replace(decision, explanation=f"{decision.explanation}; {trouble}")
            if decision.action == "retry":
                tried = conversation.tried(trace, score, confidence, decision, orders, agreed)
                return replace(tried, prefix=decision.prefix)
            if decision.action != "retrieve" or self.looks_up is None:
                wording = self.policy.wording.abstain
                text, claims, decision = leftover(conversation, trace.text, claims, asides, decision, wording)
                tried = conversation.tried(trace, score, confidence, decision, orders, agreed)
                return Finished(tried, text, claims, asides)
            conversation = conversation.tried(trace, score, confidence, decision, orders, agreed)
            found: tuple[Evidence, ...] = ()
            try:
                found = self.found(self.looks_up, conversation)
                if found and not (found := self.room.fit(conversation.messages, found)):
                    trouble = NO_ROOM
            except GuardrailError as error:
                if self.policy.on_error == "raise" or isinstance(error, MISTAKES):
                    raise
                trouble = noted(error)
                if self.policy.on_error == "abstain":
                    return self.given_up(conversation, trace, score, trouble)
            if found and found != conversation.evidence:
                return replace(conversation, evidence=found, passages_left_out="", prefix="")

    def _agreed(self, conversation: Conversation, trace: Trace, decide: Callable[..., Decision]) -> Consistency | None:
        """How many samples agree with the answer, where the decision hangs on that; drawn for no other."""
        if self.samples is None or not self.samples.sampling.undecided(decide):
            return None
        with timed("samples", conversation):
            return self.samples.agreeing(trace, self.room.answer, self._all_scored)

    def _in_orders(
        self, conversation: Conversation, trace: Trace, confidence: Confidence, how: tuple[Any, ...]
    ) -> InOrders | None:
        """With the passages in other orders, where the policy asks. how: reasons, familiarity and context of the confidence."""
        most, scorer = self.policy.search_of(conversation.found_by).orders, self._scorer(how[2])
        if most < 2 or confidence.p_correct is None:
            return None
        with timed("orders", conversation):
            return in_orders(
                self.room,
                conversation,
                trace,
                confidence,
                most,
                lambda traces: [self.calibrated.confidence(score, *how) for score in self._all_scored(traces, scorer)],
            )

    def found(self, retriever: Retriever, conversation: Conversation) -> tuple[Evidence, ...]:
        """The passages for a conversation's question, within the policy's limits: as many as the rule that searches wants."""
        rule = conversation.attempts[-1].decision.rule if conversation.attempts else None
        with timed("retrieve", conversation), conversation.search_context():
            return find_evidence(
                retriever,
                conversation.query,
                self.policy.search_of(rule).passages,
                seconds=sooner(self.policy.limits.retriever),
            )

    def tell(self, observers: Sequence[Observer], finished: Sequence[Finished], verdicts: Sequence[Verdict]) -> None:
        """Say that all verdicts are there. Observers hear of none while a chain is calibrated: nothing is decided then."""
        self.hooks.on_judged()
        if collecting() is None:
            tell(observers, [each.observed(verdict) for each, verdict in zip(finished, verdicts, strict=True)])

    def act(self, finished: Finished) -> Verdict:
        """Word the answer as the decision says."""
        conversation = finished.conversation
        last, stopwatch = conversation.attempts[-1], conversation.stopwatch
        by_field = self.fields if self.fields and any(c.claim.path is not None for c in finished.claims) else None
        claims = by_field or self.claim_pipeline
        with timed("render", conversation):
            text = render(last.decision, finished.text, last.confidence)
        return Verdict(
            text=text,
            attempts=conversation.attempts,
            timing_ms=dict(stopwatch.timing_ms),
            model=self.room.model.name,
            calibrator=self.calibrated.name,
            policy=self.policy.name,
            claims=finished.claims,
            asides=finished.asides,
            claim_calibrator=claims.calibrated.name if claims else None,
            asked_first=conversation.asked_first,
        )

    def _claims(self, conversation: Conversation, trace: Trace) -> tuple[tuple[JudgedClaim, ...], tuple[Aside, ...]]:
        taken = conversation.form.fields(trace.text) if conversation.form is not None else None
        pipeline = self.claim_pipeline if taken is None else self.fields
        if pipeline is None:
            return (), ()
        reasons = (*conversation.claim_extrapolation_reasons, *pipeline.extrapolation_reasons)
        return pipeline.run(
            trace,
            question=conversation.query,
            extrapolated=why_extrapolated(conversation, reasons, trace, pipeline.calibrated),
            taken=None if taken is None else completed(taken, trace.text),
            search_context=conversation.search_context,
            clock=conversation.stopwatch.lap("claim"),
            known=self.hooks.judged_claims,
            beginning=self.hooks.beginning,
        )
