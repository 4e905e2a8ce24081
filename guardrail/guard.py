"""The whole pipeline: messages -> Trace -> Score -> Confidence -> Decision -> Verdict."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from guardrail.actions import render
from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.shipped import named_calibrator
from guardrail.claims import AtomicClaims, ClaimExtractor
from guardrail.errors import CalibrationError, ModelError
from guardrail.messages import as_messages
from guardrail.model.loading import load_model
from guardrail.model.local import LocalModel
from guardrail.model.recording import Keep
from guardrail.model.spec import DEFAULT_MODEL
from guardrail.model.stopping import OnStep, Snapshot, check_stops
from guardrail.observers.protocol import Observation, Observer
from guardrail.observers.telemetry import with_telemetry
from guardrail.pipeline.answer_pass import Judge
from guardrail.pipeline.calibrated import Calibrated, calibrated
from guardrail.pipeline.claims import claim_stage
from guardrail.pipeline.conversation import Case, PassOn, Searching, share
from guardrail.pipeline.streaming import ClaimStream
from guardrail.policy import Policy, check_proof
from guardrail.retrieval import Retriever, query_of, with_evidence
from guardrail.scoring.protocol import Scorer
from guardrail.types import DEFAULT_MAX_NEW_TOKENS, Message, Tool, Trace, Verdict

if TYPE_CHECKING:
    from guardrail.verification.protocol import Verifier

Conversation = str | Sequence[Message]


class Guard:
    """Answers with a calibrated confidence, and does what a policy says about it.

    calibrator: fitted on this model (anything else is refused). None takes the one that comes with guardrail for this model; a
    policy that looks at confidence cannot do without. scorer: None makes the HybridGrad scorer with the profile that the
    calibrator was fitted with. retriever: any LangChain retriever; without one, retrieve rules are passed over. observers:
    called with each verdict; OpenTelemetry is one of them where it is installed (`guardrail.observers.telemetry`).

    claims: what takes an answer apart; None is `SentenceClaims` where the policy speaks of claims, and nothing elsewhere.
    claim_calibrator: as `calibrator`, for claims. verifier: what decides whether evidence supports a claim.

    A policy with a proof (`guardrail tune`) works with the calibrator that it was tuned with and no other.

    A string is a question: it goes into the prompt that the calibrator was fitted with (the claims' one, where there are
    claims). Messages are used as they are. Raises `CalibrationError` and `CalibratorMismatchError` at once, not at the first
    answer.
    """

    def __init__(
        self,
        *,
        model: LocalModel,
        scorer: Scorer | None = None,
        calibrator: IsotonicCalibrator | None = None,
        policy: Policy | str | os.PathLike[str] = "default",
        retriever: Retriever | None = None,
        calibrator_name: str = "given",
        observers: Sequence[Observer] = (),
        claims: ClaimExtractor | None = None,
        claim_calibrator: IsotonicCalibrator | None = None,
        claim_calibrator_name: str = "given",
        verifier: Verifier | None = None,
    ) -> None:
        self.model = model
        self.policy = policy if isinstance(policy, Policy) else Policy.load(policy)
        self.retriever = retriever
        self.observers = with_telemetry(observers)
        self.calibrated = calibrated(model, "answer", scorer, calibrator, calibrator_name)
        if self.calibrator is None and self.policy.needs_confidence:
            raise CalibrationError(
                f"policy {self.policy.name!r} looks at confidence, and there is no calibrator for {model.name}; make one: "
                f"guardrail calibrate DATA.jsonl -o calibrator.json --model {model.name} (or use the policy 'observe')"
            )
        check_proof(self.policy.proof, self.policy.name, self.calibrator, self.calibrator_name)
        self.claim_stage = claim_stage(
            model,
            self.policy,
            retriever,
            claims,
            claim_calibrator,
            name=claim_calibrator_name,
            verifier=verifier,
            answers=self.calibrated.scorer,
        )

    @property
    def scorer(self) -> Scorer:
        """Of whole answers."""
        return self.calibrated.scorer

    @property
    def calibrator(self) -> IsotonicCalibrator | None:
        return self.calibrated.calibrator

    @property
    def calibrator_name(self) -> str | None:
        return self.calibrated.name

    @classmethod
    def from_pretrained(
        cls,
        model_spec: str = DEFAULT_MODEL,
        *,
        policy: Policy | str | os.PathLike[str] = "default",
        calibrator: IsotonicCalibrator | str | os.PathLike[str] | None = None,
        retriever: Retriever | None = None,
        device: str | None = None,
        dtype: Any = None,
        chat_template: str | None = None,
        progress: Callable[[str], None] | None = None,
        observers: Sequence[Observer] = (),
        claims: ClaimExtractor | None = None,
        claim_calibrator: IsotonicCalibrator | str | os.PathLike[str] | None = None,
        verifier: Verifier | None = None,
    ) -> Self:
        """Load by name: the model (see `load_model`), the policy (name or file), calibrators (file or `shipped:NAME`)."""
        loaded = Policy.load(policy) if not isinstance(policy, Policy) else policy  # its mistakes before the slow part
        fitted, name = named_calibrator(calibrator)
        fitted_on_claims, name_of_claims = named_calibrator(claim_calibrator)
        model = load_model(model_spec, device=device, dtype=dtype, chat_template=chat_template, progress=progress)
        return cls(
            model=model,
            calibrator=fitted,
            policy=loaded,
            retriever=retriever,
            calibrator_name=name,
            observers=observers,
            claims=claims,
            claim_calibrator=fitted_on_claims,
            claim_calibrator_name=name_of_claims,
            verifier=verifier,
        )

    def answer(
        self,
        messages: Conversation,
        *,
        system: str | None = None,
        max_new_tokens: int | None = None,
        temperature: float = 0.0,
        seed: int | None = None,
        stop: str | Sequence[str] | None = None,
    ) -> Verdict:
        """Generate, score, calibrate, decide and act.

        max_new_tokens: None takes the limit that the calibrator was fitted with, 150 without a calibrator. temperature 0 is
        greedy; `seed` makes another one repeatable. stop: strings that end the answer and are not in it. What differs from the
        decoding of the calibration makes the confidence `extrapolated`.
        """
        options: dict[str, Any] = {"temperature": temperature, "seed": seed, "stop": stop}
        return self.answer_batch([messages], system=system, max_new_tokens=max_new_tokens, **options)[0]

    def answer_batch(
        self,
        conversations: Sequence[Conversation],
        *,
        system: str | None = None,
        max_new_tokens: int | None = None,
        batch_size: int = 8,
        temperature: float = 0.0,
        seed: int | None = None,
        stop: str | Sequence[str] | None = None,
        tools: Sequence[Tool] = (),
        pass_on: PassOn | None = None,
        retrieve: bool = True,
        on_step: OnStep | None = None,
        searching: Sequence[Searching] = (),
        claim_stream: ClaimStream | None = None,
    ) -> list[Verdict]:
        """`answer` for many conversations, in order, `batch_size` at a time on the model.

        tools: what the model may call, for its chat template. pass_on: responses for which it is true get the action `answer`
        unscored (`tool_call`). retrieve: False passes `retrieve` rules over. on_step: sees every token, see `LocalModel`.
        searching: contexts for the search of each conversation's evidence, none or one for each. claim_stream: judges the
        claims of one conversation as they come; then nothing is retrieved for the answer as a whole. Raises `ModelError`
        where that cannot be done.
        """
        if batch_size < 1:
            raise ModelError(f"the batch size is {batch_size}; it must be at least 1")
        limit = max_new_tokens if max_new_tokens is not None else self.usual_length
        cases = [self._case(c, system) for c in conversations]
        usual = self._asked_as.usual("temperature") or 0.0
        sampled = f"temperature {temperature:g}, not the {usual:g} of the calibration" if temperature != usual else ""
        for case, within in zip(cases, searching or [nullcontext] * len(cases), strict=True):
            case.searching = within
            case.differs(sampled, "tools in the prompt" if tools else "")
        if claim_stream is not None:
            on_step = self._streaming(claim_stream, cases, on_step, check_stops(stop))
        for start in range(0, len(cases), batch_size):
            pending = cases[start : start + batch_size]
            while pending:
                began = time.perf_counter()
                traces = self.model.generate_batch(
                    [with_evidence(case.messages, case.evidence) for case in pending],
                    max_new_tokens=limit,
                    keep=self._keep,
                    temperature=temperature,
                    seed=seed,
                    stop=stop,
                    tools=tools,
                    on_step=on_step,
                )
                share(pending, "generate", began)
                again = retrieve and claim_stream is None
                self._judge(pending, traces, may_retrieve=again, may_verify=retrieve, pass_on=pass_on)
                pending = [case for case in pending if case.again]
        return [self._verdict(case) for case in cases]

    def check(self, messages: Conversation, answer_text: str, *, system: str | None = None) -> Verdict:
        """Score, calibrate and decide on a text that exists already; `retrieve` rules are passed over."""
        case = self._case(messages, system)
        self._judge([case], [self.model.trace(case.messages, answer_text)], may_retrieve=False, may_verify=False)
        return self._verdict(case)

    def judge(
        self, messages: Conversation, *, system: str | None = None
    ) -> Generator[tuple[Message, ...], str, Verdict]:
        """`answer` with the texts coming from elsewhere: yields what to answer, is sent the text, returns the verdict.

            judging = guard.judge("Who wrote Faust?")
            messages = next(judging)        # what to answer
            judging.send("Goethe")          # more messages where the policy retrieves: the same ones with passages in them;
                                            # else StopIteration, whose `value` is the Verdict

        Whoever drives it decides where the text comes from, and whether sync or async. `check` is for a single text.
        """
        case = self._case(messages, system)
        while True:
            asked = with_evidence(case.messages, case.evidence)
            text = yield asked
            self._judge([case], [self.model.trace(asked, text)], may_retrieve=True, may_verify=True)
            if not case.again:
                return self._verdict(case)

    @property
    def usual_length(self) -> int:
        """The token limit of answers: the one that the calibrator was fitted with, 150 without."""
        length = self._asked_as.usual("max_new_tokens")
        return length if isinstance(length, int) else DEFAULT_MAX_NEW_TOKENS

    def _judge(self, cases: Sequence[Case], traces: Sequence[Trace], **options: Any) -> None:
        """One pass, with the retriever that the guard has now."""
        stage = self.claim_stage and replace(self.claim_stage, retriever=self.retriever)
        Judge(self.calibrated, stage, self.policy, self.retriever).judge(cases, traces, **options)

    @property
    def _asked_as(self) -> Calibrated:
        """Whose prompt a question goes into: the claims' where answers are taken apart, since those are longer ones."""
        stage = self.claim_stage
        return stage.calibrated if stage is not None and stage.calibrated.origin else self.calibrated

    def _streaming(
        self, stream: ClaimStream, cases: Sequence[Case], on_step: OnStep | None, stops: Sequence[str]
    ) -> OnStep:
        if self.claim_stage is None or len(cases) != 1:
            raise ModelError(
                f"claims are streamed for one conversation and a policy that looks at claims, not for {len(cases)} and "
                f"{self.policy.name!r}; take the policy 'per_claim', or Guard(..., claims=SentenceClaims())"
            )
        if isinstance(self.claim_stage.extractor, AtomicClaims):
            raise ModelError("claims are streamed as they come, and the extractor 'atomic' reads whole answers")
        stream.begin(self.claim_stage, cases[0], stops)

        def both(rows: list[list[int]], snapshot: Snapshot) -> None:
            if on_step is not None:
                on_step(rows, snapshot)
            stream(rows, snapshot)

        return both

    @property
    def _keep(self) -> Keep | None:
        keeps = [self.scorer.keep, *([self.claim_stage.scorer.keep] if self.claim_stage else [])]
        return Keep.joined([keep for keep in keeps if keep is not None])

    def _case(self, conversation: Conversation, system: str | None) -> Case:
        origin, answers = self._asked_as.origin, self.calibrated.origin
        if isinstance(conversation, str):
            question = origin.prompt.replace("{question}", conversation) if origin else conversation
            usual = origin.system if origin else None
            case = Case(as_messages(question, system or usual), conversation)
            case.differs("another system message than in calibration" if system not in (None, usual) else "")
            if origin and answers and (origin.prompt, origin.system) != (answers.prompt, answers.system):
                case.unlike = "; ".join(filter(None, [case.unlike, "the prompt of the claims' calibration"]))
            return case
        messages = as_messages(conversation, system)
        asked = any(m["role"] == "user" for m in messages)  # without a question there is nothing to retrieve for
        case = Case(messages, query_of(messages) if asked else "")
        case.differs("messages of your own, not the prompt of the calibration")
        return case

    def _verdict(self, case: Case) -> Verdict:
        last = case.attempts[-1]
        began = time.perf_counter()
        text = render(last.decision, case.text, last.confidence)
        case.spend("render", began)
        verdict = Verdict(
            text=text,
            attempts=tuple(case.attempts),
            timing_ms=dict(case.timing_ms),
            model=self.model.name,
            calibrator=self.calibrator_name,
            policy=self.policy.name,
            claims=case.claims,
            asides=case.asides,
            claim_calibrator=self.claim_stage.calibrated.name if self.claim_stage else None,
        )
        for observer in self.observers:
            observer(Observation(case.messages, verdict, tuple(case.stages)))
        return verdict
