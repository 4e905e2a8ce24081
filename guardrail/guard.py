"""The whole pipeline: messages -> Trace -> Score -> Confidence -> Decision -> Verdict."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Self

from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.claims import ClaimExtractor
from guardrail.deadlines import Deadline, before
from guardrail.messages import given_answer
from guardrail.model.loading import load_model
from guardrail.model.local import LocalModel
from guardrail.model.spec import DEFAULT_MODEL
from guardrail.model.stopping import check_decoding
from guardrail.observers.protocol import Observer
from guardrail.observers.telemetry import with_telemetry
from guardrail.pipeline.agreement import samples_of
from guardrail.pipeline.answer_pass import AnswerPass
from guardrail.pipeline.assembly import CalibratorSource, answer_calibration, loaded, read
from guardrail.pipeline.batch import Batch, of_given_text
from guardrail.pipeline.calibrated import Calibrated
from guardrail.pipeline.claims import ClaimPipeline, claim_pipeline
from guardrail.pipeline.conversation import Conversation, Prompt, check_batch, opened
from guardrail.pipeline.escalation import Ask, acted, checked_second
from guardrail.pipeline.fields import field_pipeline
from guardrail.pipeline.finished import Finished
from guardrail.pipeline.form import Schema, forms_of
from guardrail.pipeline.hooks import NO_HOOKS, Hooks
from guardrail.pipeline.passes import ask_first, finish
from guardrail.pipeline.questions import ambiguity_scorer, question_pipeline
from guardrail.pipeline.room import Room
from guardrail.policy import Policy
from guardrail.retrieval import Retriever
from guardrail.scoring.protocol import Scorer
from guardrail.types import DEFAULT_MAX_NEW_TOKENS, FinishReason, GivenAnswer, Message, Tool, Verdict
from guardrail.verification.protocol import Verifier


class Guard:
    """Answers with a calibrated confidence, and does what a policy says about it.

    A string is a question: it goes into the prompt of the calibration (that of the claims', where there are claims).
    Messages are used as they are. A policy with a proof (`guardrail tune`) works with the calibrator that it was tuned with.

    Args:
        model: The model that answers.
        scorer: None makes the scorer that the calibrator was fitted with, or HybridGrad.
        calibrator: A fitted one, a file, or `shipped:NAME`; it must be fitted on this model. None takes the one that comes
            with guardrail for this model; a policy that looks at confidence cannot do without.
        policy: A `Policy`, the name of one, or its file.
        retriever: Any LangChain retriever; without one, retrieve rules are passed over.
        observers: Called with an `Observation` of each verdict; OpenTelemetry (`guardrail.observers.telemetry`), if installed.
        claims: What takes an answer apart, or its name ("sentences", "atomic"). None: "sentences" if the policy has claims.
        claim_calibrator: As `calibrator`, for claims.
        question_calibrator: A calibrator on the scorer `pik`, with which a policy's `ask_first` decides before an answer.
        escalate_to: The guard of a second model, with its calibrator and the same policy, which names none, for `escalate`.
        verifier: Decides whether evidence supports a claim. None asks the model itself.
        calibrator_name: Deprecated, a calibrator knows its own; what verdicts call it.
        claim_calibrator_name: Deprecated, as `calibrator_name`.

    Raises:
        CalibrationError: A calibrator cannot be read, or the policy needs one and there is none.
        CalibratorMismatchError: A calibrator was fitted on something else than it would be used for.
        PolicyError: The policy cannot be read or kept, or is not that of `escalate_to`.
    """

    def __init__(
        self,
        *,
        model: LocalModel,
        scorer: Scorer | None = None,
        calibrator: CalibratorSource | None = None,
        policy: Policy | str | os.PathLike[str] = "default",
        retriever: Retriever | None = None,
        observers: Sequence[Observer] = (),
        claims: ClaimExtractor | str | None = None,
        claim_calibrator: CalibratorSource | None = None,
        verifier: Verifier | None = None,
        calibrator_name: str | None = None,
        claim_calibrator_name: str | None = None,
        question_calibrator: CalibratorSource | None = None,
        escalate_to: Guard | None = None,
    ) -> None:
        self.model = model
        self.policy = policy if isinstance(policy, Policy) else Policy.load(policy)
        self.retriever = retriever
        self.observers = with_telemetry(observers)
        self.calibrated = answer_calibration(model, self.policy, scorer, calibrator, calibrator_name)
        of_claims: dict[str, Any] = {"name": claim_calibrator_name, "verifier": verifier, "answers": self.scorer}
        self.claim_pipeline = claim_pipeline(model, self.policy, retriever, claims, claim_calibrator, **of_claims)
        self.question_calibrator = question_calibrator
        self.questions = question_pipeline(model, self.policy, question_calibrator)
        self.ambiguity, self.samples = ambiguity_scorer(model, self.policy), samples_of(model, self.policy)
        self.escalate_to = checked_second(escalate_to, self.policy, self.calibrator, self.calibrator_name)

    @property
    def scorer(self) -> Scorer:
        """What scores whole answers."""
        return self.calibrated.scorer

    @property
    def calibrator(self) -> IsotonicCalibrator | None:
        """The calibrator of whole answers."""
        return self.calibrated.calibrator

    @property
    def calibrator_name(self) -> str | None:
        """What messages and verdicts call the calibrator; None without one."""
        return self.calibrated.name

    @cached_property
    def _fields(self) -> ClaimPipeline:
        """What judges the fields of JSON answers; made for the first of them."""
        return field_pipeline(self.model, self.policy, self.claim_pipeline)

    @property
    def usual_length(self) -> int:
        """The token limit of answers: the one that the calibrator was fitted with, 150 without."""
        origin = self._prompt_source.origin
        return (origin.max_new_tokens if origin else None) or DEFAULT_MAX_NEW_TOKENS

    @classmethod
    def from_pretrained(
        cls,
        model_spec: str = DEFAULT_MODEL,
        *,
        scorer: Scorer | None = None,
        calibrator: CalibratorSource | None = None,
        policy: Policy | str | os.PathLike[str] = "default",
        retriever: Retriever | None = None,
        observers: Sequence[Observer] = (),
        claims: ClaimExtractor | str | None = None,
        claim_calibrator: CalibratorSource | None = None,
        verifier: Verifier | None = None,
        question_calibrator: CalibratorSource | None = None,
        escalate_to: Guard | None = None,
        device: str | None = None,
        dtype: Any = None,
        chat_template: str | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> Self:
        """Load a model by name and make a Guard of it.

        Args:
            model_spec: A hub id, a folder, a .gguf file or a short name, for `load_model`, which also takes device, dtype,
                chat_template, chat_template_kwargs and progress. All others are as in `Guard`.
        """
        policy = policy if isinstance(policy, Policy) else Policy.load(policy)  # mistakes show before the slow part
        fitted: dict[str, Any] = {"calibrator": loaded(calibrator)[0], "claim_calibrator": loaded(claim_calibrator)[0]}
        fitted |= {"question_calibrator": read(question_calibrator)[0], "escalate_to": escalate_to}
        parts: dict[str, Any] = {"scorer": scorer, "retriever": retriever, "claims": claims, "verifier": verifier}
        template: dict[str, Any] = {"chat_template": chat_template, "chat_template_kwargs": chat_template_kwargs}
        model = load_model(model_spec, device=device, dtype=dtype, progress=progress, **template)
        return cls(model=model, policy=policy, observers=observers, **fitted, **parts)

    def answer(
        self,
        messages: Prompt,
        *,
        system: str | None = None,
        max_new_tokens: int | None = None,
        temperature: float = 0.0,
        seed: int | None = None,
        stop: str | Sequence[str] | None = None,
        timeout: float | None = None,
        schema: Schema | None = None,
    ) -> Verdict:
        """Generate, score, calibrate, decide and act.

        What differs from the decoding of the calibration makes the confidence `extrapolated`.

        Args:
            messages: A question, or a conversation.
            system: The system message; None takes the calibration's for a question.
            max_new_tokens: None takes the limit that the calibrator was fitted with, 150 without a calibrator.
            temperature: 0 is greedy.
            seed: Makes a temperature above 0 repeatable.
            stop: Strings that end the answer and are not in it.
            timeout: Seconds for all of it, waiting for the model included. No verdict by then is a `TimeoutError`.
            schema: A JSON schema or a pydantic class, to which decoding keeps the answer (extra `structured`); its fields
                are the verdict's claims. Ask for them in the prompt, too: the model is not shown the schema.

        Returns:
            What to show, and why.
        """
        options: dict[str, Any] = {"temperature": temperature, "seed": seed, "stop": stop, "timeout": timeout}
        return self.answer_batch([messages], system=system, max_new_tokens=max_new_tokens, schema=schema, **options)[0]

    def answer_batch(
        self,
        conversations: Sequence[Prompt],
        *,
        system: str | None = None,
        max_new_tokens: int | None = None,
        batch_size: int = 8,
        temperature: float = 0.0,
        seed: int | None = None,
        stop: str | Sequence[str] | None = None,
        tools: Sequence[Tool] = (),
        retrieve: bool = True,
        timeout: float | None = None,
        schema: Schema | Sequence[Schema | None] | None = None,
        hooks: Hooks = NO_HOOKS,
    ) -> list[Verdict]:
        """`answer` for many conversations, in order.

        Args:
            conversations: Questions, conversations, or both.
            system: As in `answer`, and so max_new_tokens, temperature, seed and stop.
            batch_size: How many share a pass on the model.
            tools: What the model may call, for its chat template.
            retrieve: False passes `retrieve`, `escalate` and `retry` rules over.
            timeout: Seconds for all of them together, as in `answer`.
            schema: As in `answer`, for all or a list of one for each.
            hooks: Internal, for adapters.

        Raises:
            DataError: It is no list of questions and conversations, or something is no schema.
            ModelError: An option or a schema cannot be kept.
        """
        check_batch(conversations, batch_size)
        length = self.usual_length if max_new_tokens is None else max_new_tokens
        check_decoding(length, temperature, seed)
        forms = [hooks.form] * len(conversations) if hooks.form else forms_of(schema, len(conversations))
        batch = Batch(conversations, forms, system, length, batch_size, temperature, seed, stop, tools, retrieve, hooks)
        second = self.escalate_to or self  # whom no decision asks
        limit = max_new_tokens or second.usual_length
        with before(Deadline.after(timeout)):
            one_pass, finished = self._finished(batch)
            return self._told(finished, one_pass, lambda rows: second._finished(batch.of_rows(rows, limit)))

    def check(
        self,
        messages: Prompt,
        answer_text: str,
        *,
        system: str | None = None,
        finish_reason: FinishReason = "given",
        timeout: float | None = None,
        schema: Schema | None = None,
    ) -> Verdict:
        """Score, calibrate and decide on a text that exists already; rules that would replace it are passed over.

        Args:
            messages: What was asked, as in `answer`.
            answer_text: The answer to it.
            system: As in `answer`, and so timeout.
            finish_reason: Why it ends where it does; `length` judges it as cut off, without an end-of-turn token.
            schema: As in `answer`: the fields of a text that is JSON are the claims. Nothing checks them against the schema.

        Raises `DataError` for a finish reason that such an answer cannot have.
        """
        form = forms_of(schema, 1)[0]
        conversation = self._opened(messages, system, answer=answer_text, form=form)
        trace = self.model.trace(conversation.prompt, answer_text, finish_reason=finish_reason)
        one_pass = self._one_pass(retrieve=False, fields=form is not None)
        with before(Deadline.after(timeout)):
            return self._told(finish(ask_first([conversation], one_pass), lambda _: [trace], one_pass), one_pass)[0]

    def judge(
        self, messages: Prompt, *, system: str | None = None, schema: Schema | None = None
    ) -> Generator[tuple[Message, ...], str | GivenAnswer, Verdict]:
        """`answer` with the texts coming from elsewhere: yields what to answer, is sent the text, returns the verdict.

            judging = guard.judge("Who wrote Faust?")
            messages = next(judging)        # what to answer
            judging.send("Goethe")          # more messages where the policy retrieves: the same ones with passages in them;
                                            # else StopIteration, whose `value` is the Verdict

        `check` is for a single text. An answer that was cut off is sent as `GivenAnswer(text, "length")`.

        Args:
            messages: A question, or a conversation.
            system: As in `answer`, and schema as in `check`.
        """
        one_pass = self._one_pass(fields=schema is not None)
        opening = self._opened(messages, system, form=forms_of(schema, 1)[0])
        outcome: Conversation | Finished = ask_first([opening], one_pass)[0]
        while isinstance(outcome, Conversation):
            text, ended = given_answer((yield outcome.prompt))
            trace = self.model.trace(outcome.prompt, text, finish_reason=ended)
            (score,) = one_pass.score([outcome], [trace])
            outcome = one_pass.run(outcome, trace, score)
        return self._told([outcome], one_pass)[0]

    @property
    def _prompt_source(self) -> Calibrated:
        """Whose prompt a question goes into: the claims' where answers are taken apart, since those are longer ones."""
        claims = self.claim_pipeline
        return claims.calibrated if claims is not None and claims.calibrated.origin else self.calibrated

    def _opened(self, prompt: Prompt, system: str | None, **options: Any) -> Conversation:
        return opened(prompt, system, prompts=self._prompt_source, answers=self.calibrated, **options)

    def _finished(self, batch: Batch) -> tuple[AnswerPass, list[Finished]]:
        """What becomes of a batch on this guard's own model, and what has judged it."""
        room = Room(self.model, batch.max_new_tokens, batch.tools)
        one_pass = self._one_pass(room, retrieve=batch.retrieve, fields=any(batch.forms), hooks=batch.hooks)
        judged = replace(one_pass, no_escalation=batch.no_escalation(self.escalate_to), no_retry=batch.no_retry)
        return judged, batch.finished(judged, self._opened)

    def _one_pass(
        self, room: Room | None = None, *, retrieve: bool = True, fields: bool = False, hooks: Hooks = NO_HOOKS
    ) -> AnswerPass:
        """A pass with the retriever that the guard has now, for whole answers and for claims; fields: where any has a form."""
        found, room = self.retriever if retrieve else None, room or Room(self.model, self.usual_length)
        parts = self.claim_pipeline and replace(self.claim_pipeline, retriever=found)
        asked = (self._fields if fields else None), self.questions, self.ambiguity, of_given_text(self.escalate_to)
        return AnswerPass(room, self.calibrated, parts, self.policy, found, hooks, *asked, samples=self.samples)

    def _told(self, finished: Sequence[Finished], one_pass: AnswerPass, ask: Ask | None = None) -> list[Verdict]:
        """Act, let the second model answer what is to be escalated, and tell the observers."""
        finished, verdicts = acted(finished, one_pass, ask)
        one_pass.tell(self.observers, finished, verdicts)
        return verdicts
