"""The whole pipeline: messages -> Trace -> Score -> Confidence -> Decision -> Verdict. Knows nothing about files or screens."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, Self

from guardrail.actions import Retriever, find_evidence, query_of, render, with_evidence
from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.provenance import Provenance, check_compatible, differences
from guardrail.calibration.shipped import shipped_calibrator
from guardrail.case import Case, PassOn, Searching, share, unlike_in_length
from guardrail.errors import CalibrationError, CalibratorMismatchError, ModelError
from guardrail.messages import as_messages
from guardrail.model.loading import load_model
from guardrail.model.local import LocalModel
from guardrail.model.spec import DEFAULT_MODEL
from guardrail.model.stopping import OnStep
from guardrail.observation import Observation, Observer
from guardrail.policy import Policy
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.scoring.profile import Profile
from guardrail.scoring.protocol import Scorer
from guardrail.telemetry import with_telemetry
from guardrail.types import Confidence, Message, Score, Tool, Trace, Verdict

Conversation = str | Sequence[Message]


class Guard:
    """Answers with a calibrated confidence, and does what a policy says about it.

    calibrator: fitted on this model (anything else is refused). None takes the one that comes with guardrail for this model; a
    policy that looks at confidence cannot do without. scorer: None makes the HybridGrad scorer with the profile that the
    calibrator was fitted with. retriever: any LangChain retriever; without one, retrieve rules are passed over. observers:
    called with each verdict; OpenTelemetry is one of them where it is installed (`guardrail.telemetry`).

    A string is a question: it goes into the prompt that the calibrator was fitted with. Messages are used as they are.
    Raises `CalibrationError` and `CalibratorMismatchError` at once, not at the first answer.
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
    ) -> None:
        self.model = model
        self.policy = policy if isinstance(policy, Policy) else Policy.load(policy)
        self.retriever = retriever
        self.observers = with_telemetry(observers)
        if calibrator is None and (found := shipped_calibrator(model.identity)) and _fits(found[1], scorer):
            calibrator_name, calibrator = found
        self.calibrator, self.calibrator_name = calibrator, calibrator_name if calibrator else None
        if calibrator is None and self.policy.needs_confidence:
            raise CalibrationError(
                f"policy {self.policy.name!r} looks at confidence, and there is no calibrator for {model.name}; make one: "
                f"guardrail calibrate DATA.jsonl -o calibrator.json --model {model.name} (or use the policy 'observe')"
            )
        self.scorer = scorer or self._fitting_scorer()
        if calibrator is not None:
            origin = _origin(calibrator)
            check_compatible(origin, model.identity, self.scorer.name, self.scorer.options, calibrator_name)

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
    ) -> Self:
        """Load everything by name: the model (see `load_model`), a policy's name or file, a calibrator's file."""
        loaded = Policy.load(policy) if not isinstance(policy, Policy) else policy  # its mistakes before the slow part
        name = "given" if isinstance(calibrator, IsotonicCalibrator) else os.fspath(calibrator or "")
        if calibrator is not None and not isinstance(calibrator, IsotonicCalibrator):
            calibrator = IsotonicCalibrator.load(calibrator)
        model = load_model(model_spec, device=device, dtype=dtype, chat_template=chat_template, progress=progress)
        return cls(
            model=model,
            calibrator=calibrator,
            policy=loaded,
            retriever=retriever,
            calibrator_name=name,
            observers=observers,
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
    ) -> list[Verdict]:
        """`answer` for many conversations, in order, `batch_size` at a time on the model.

        tools: what the model may call, for its chat template. pass_on: responses for which it is true get the action `answer`
        unscored (`tool_call`). retrieve: False passes `retrieve` rules over. on_step: sees every token, see `LocalModel`.
        searching: contexts for the search of each conversation's evidence, none or one for each.
        """
        if batch_size < 1:
            raise ModelError(f"the batch size is {batch_size}; it must be at least 1")
        limit = max_new_tokens if max_new_tokens is not None else self.usual_length
        cases = [self._case(c, system) for c in conversations]
        usual = self._usual("temperature") or 0.0
        sampled = f"temperature {temperature:g}, not the {usual:g} of the calibration" if temperature != usual else ""
        for case, within in zip(cases, searching or [nullcontext] * len(cases), strict=True):
            case.searching = within
            case.unlike = "; ".join(filter(None, [case.unlike, sampled, "tools in the prompt" if tools else ""]))
        for start in range(0, len(cases), batch_size):
            pending = cases[start : start + batch_size]
            while pending:
                began = time.perf_counter()
                traces = self.model.generate_batch(
                    [with_evidence(case.messages, case.evidence) for case in pending],
                    max_new_tokens=limit,
                    keep=self.scorer.keep,
                    temperature=temperature,
                    seed=seed,
                    stop=stop,
                    tools=tools,
                    on_step=on_step,
                )
                share(pending, "generate", began)
                self._judge(pending, traces, may_retrieve=retrieve, pass_on=pass_on)
                pending = [case for case in pending if case.again]
        return [self._verdict(case) for case in cases]

    def check(self, messages: Conversation, answer_text: str, *, system: str | None = None) -> Verdict:
        """Score, calibrate and decide on a text that exists already; `retrieve` rules are passed over."""
        case = self._case(messages, system)
        self._judge([case], [self.model.trace(case.messages, answer_text)], may_retrieve=False)
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
            self._judge([case], [self.model.trace(asked, text)], may_retrieve=True)
            if not case.again:
                return self._verdict(case)

    @property
    def usual_length(self) -> int:
        """The token limit of answers: the one that the calibrator was fitted with, 150 without."""
        length = self._usual("max_new_tokens")
        return length if isinstance(length, int) else 150

    def _usual(self, option: str) -> Any:
        origin = self.calibrator.provenance if self.calibrator else None
        return origin.generation.get(option) if origin else None

    def _fitting_scorer(self) -> HybridGradScorer:
        if self.calibrator is None:
            return HybridGradScorer(self.model)
        origin = _origin(self.calibrator)
        if origin.scorer != HybridGradScorer.name:
            raise CalibratorMismatchError(f"this calibrator was fitted on scorer {origin.scorer!r}; give that scorer")
        try:
            profile = Profile.model_validate(origin.profile)
        except ValueError as error:
            raise CalibrationError(
                f"the profile in {self.calibrator_name} is not one: {' '.join(str(error).split())[:200]}"
            ) from error
        return HybridGradScorer(self.model, profile=profile)

    def _case(self, conversation: Conversation, system: str | None) -> Case:
        origin = self.calibrator.provenance if self.calibrator else None
        if isinstance(conversation, str):
            question = origin.prompt.replace("{question}", conversation) if origin else conversation
            usual = origin.system if origin else None
            unlike = "" if system in (None, usual) else "another system message than in calibration"
            return Case(as_messages(question, system or usual), conversation, unlike)
        messages = as_messages(conversation, system)
        unlike = "messages of your own, not the prompt of the calibration"
        asked = any(m["role"] == "user" for m in messages)  # without a question there is nothing to retrieve for
        return Case(messages, query_of(messages) if asked else "", unlike)

    def _judge(
        self, cases: Sequence[Case], traces: Sequence[Trace], *, may_retrieve: bool, pass_on: PassOn | None = None
    ) -> None:
        """One pass: score, calibrate and decide; a case that shall answer again has its evidence and `again` set."""
        passed = [pass_on is not None and pass_on(trace) for trace in traces]
        for case, trace in [pair for pair, on in zip(zip(cases, traces, strict=True), passed, strict=True) if on]:
            case.pass_on(trace)
        cases = [case for case, on in zip(cases, passed, strict=True) if not on]
        traces = [trace for trace, on in zip(traces, passed, strict=True) if not on]
        began = time.perf_counter()
        scores = self.scorer.score_traces(traces)
        share(cases, "score", began)
        for case, trace, score in zip(cases, traces, scores, strict=True):
            began = time.perf_counter()
            confidence = self._confidence(score, case, trace)
            case.spend("calibrate", began)
            self._decide(
                case,
                trace,
                score,
                confidence,
                may_retrieve=may_retrieve and self.retriever is not None and bool(case.query.strip()),
            )

    def _confidence(self, score: Score, case: Case, trace: Trace) -> Confidence:
        if self.calibrator is None:
            return Confidence.none(f"unscored: {score.unscored}" if score.unscored else "there is no calibrator")
        confidence = self.calibrator.predict(score)
        unlike = "given with evidence" if case.evidence else case.unlike
        unlike = "; ".join(filter(None, [unlike, unlike_in_length(trace, self._usual("max_new_tokens"))]))
        return replace(confidence, basis="extrapolated", reason=unlike) if unlike and not score.unscored else confidence

    def _decide(self, case: Case, trace: Trace, score: Score, confidence: Confidence, *, may_retrieve: bool) -> None:
        case.again = False
        while True:
            began = time.perf_counter()
            decision = self.policy.decide(
                confidence,
                score,
                evidence=case.evidence,
                finish_reason=trace.finish_reason,
                retriever=may_retrieve,
                fired=case.fired,
            )
            case.spend("decide", began)
            case.attempt(trace, score, confidence, decision)
            if decision.action != "retrieve" or self.retriever is None:
                return
            case.fired.append(decision.rule)
            began = time.perf_counter()
            with case.searching():
                found = find_evidence(self.retriever, case.query, self.policy.retrieval.passages)
            case.spend("retrieve", began)
            if found and found != case.evidence:
                case.evidence, case.again = found, True
                return

    def _verdict(self, case: Case) -> Verdict:
        last = case.attempts[-1]
        began = time.perf_counter()
        text = render(last.decision, last.answer, last.confidence)
        case.spend("render", began)
        verdict = Verdict(
            text=text,
            attempts=tuple(case.attempts),
            timing_ms=dict(case.timing_ms),
            model=self.model.name,
            calibrator=self.calibrator_name,
            policy=self.policy.name,
        )
        for observer in self.observers:
            observer(Observation(case.messages, verdict, tuple(case.stages)))
        return verdict


def _origin(calibrator: IsotonicCalibrator) -> Provenance:
    if calibrator.provenance is None:
        raise CalibratorMismatchError(
            "this calibrator does not say what it was fitted on; fit it with provenance=..., or with guardrail calibrate"
        )
    return calibrator.provenance


def _fits(calibrator: IsotonicCalibrator, scorer: Scorer | None) -> bool:
    """Whether a calibrator that nobody asked for may be used with the scorer that somebody gave."""
    origin = _origin(calibrator)
    return scorer is None or not differences(origin, origin.model, scorer.name, scorer.options)
