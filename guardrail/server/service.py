"""A request -> a Guard of the policy that it names -> a reply. Knows nothing about HTTP."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import BaseMessage, convert_to_messages

from guardrail.calibration.labels import label_for
from guardrail.guard import Guard
from guardrail.langchain import ChatGuarded
from guardrail.langchain.answering import Answering
from guardrail.langchain.call import Call, Options, conversation_of
from guardrail.langchain.settings import StreamPolicy
from guardrail.model.constraint import can_keep
from guardrail.model.local import LocalModel
from guardrail.policy import Policy
from guardrail.policy.obstacles import NO_SECOND, NOT_ASKED
from guardrail.server.errors import ApiError
from guardrail.server.requests import ChatMessage, ChatRequest, CountedNames, DecidedClaim, DecideRequest, ScoreRequest
from guardrail.server.settings import ServerSettings
from guardrail.types import Confidence, Evidence, Message, NameCounts, Score, Trace, Verdict, Verification


@dataclass(slots=True)
class Service:
    """The model and its guards, one for each policy that a request may name.

    Attributes:
        model: The model.
        settings: What the operator allows.
        sources: Policies by their name on the command line (name or file), or as they are; the first is the default.
        options: Of each Guard: calibrator, retriever and the like, by `ChatGuarded`'s names.
        second: Of the second model, which policies with `escalate` rules may ask: `model`, and options of its Guard.
    """

    model: LocalModel
    settings: ServerSettings
    sources: Sequence[str | Policy]
    options: dict[str, Any] = field(default_factory=dict)
    second: dict[str, Any] | None = None
    chats: dict[tuple[str, bool], ChatGuarded] = field(init=False)
    policies: dict[str, Policy] = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _reading: threading.Lock = field(default_factory=threading.Lock)  # one reload after the other

    def __post_init__(self) -> None:
        self.reload()

    def reload(self, sources: Sequence[str | Policy] | None = None) -> None:
        """Read all policies again, or take others, all or nothing. Raises `GuardrailError`; then what was there stays."""
        with self._reading:
            sources = self.sources if sources is None else sources
            policies, chats = self.read(sources)
            with self._lock:
                self.sources, self.policies, self.chats = sources, policies, chats

    def read(self, sources: Sequence[str | Policy]) -> tuple[dict[str, Policy], dict[tuple[str, bool], ChatGuarded]]:
        """Policies, and the chat model of each; nothing changes. Raises `GuardrailError`."""
        policies = load_policies(sources)
        return policies, {(name, False): self._chat(policy, claims=False) for name, policy in policies.items()}

    @property
    def default(self) -> str:
        """The policy of a request that names none."""
        return next(iter(self.policies))

    def policy(self, name: str | None) -> Policy:
        """A policy by its name. Raises `ApiError`."""
        policies = self.policies
        if name is None:
            return next(iter(policies.values()))
        if name not in policies:
            raise ApiError(
                400, "not_allowed", f"no such policy here; there are: {', '.join(policies)}", param="guardrail.policy"
            )
        return policies[name]

    def guarded(
        self,
        policy: str | None,
        *,
        claims: bool = False,
        include_original: bool = False,
        stream_policy: StreamPolicy | None = None,
    ) -> ChatGuarded:
        """The chat model that a request's options ask for. Raises `ApiError` for what the operator does not allow."""
        if include_original and not self.settings.allow_original:
            raise ApiError(
                400, "not_allowed", "include_original is not allowed here", param="guardrail.include_original"
            )
        streams = stream_policy or self.settings.stream_policies[0]
        if streams not in self.settings.stream_policies:
            allowed = ", ".join(self.settings.stream_policies)
            raise ApiError(400, "not_allowed", f"stream_policy is one of: {allowed}", param="guardrail.stream_policy")
        with self._lock:  # the policy, too: one from before a reload is not to be kept after it
            chosen = self.policy(policy)
            claims = claims and not (chosen.judges_claims or chosen.looks_at_claims)  # those look at claims anyway
            key = (chosen.name, claims)
            if key not in self.chats:
                self.chats[key] = self._chat(chosen, claims=claims)
            chat = self.chats[key]
        return chat.model_copy(update={"include_original": include_original, "stream_policy": streams})

    def _chat(self, policy: Policy, *, claims: bool) -> ChatGuarded:
        given = {**self.options, "claims": "sentences"} if claims else dict(self.options)
        if self.second is not None and policy.escalates:
            given["escalate_to"] = Guard(
                policy=policy,
                retriever=given.get("retriever"),
                claims="sentences" if claims else None,
                **self.second,
            )
        return ChatGuarded(model=self.model, policy=policy, as_question="single", **given)

    def answered_by(self, verdict: Verdict) -> LocalModel:
        """The model that wrote the answer of a verdict: the second one, where a rule has escalated to it."""
        if verdict.escalation is None or self.second is None:
            return self.model
        second: LocalModel = self.second["model"]
        return second

    def check_model(self, name: str | None) -> None:
        """Raises `ApiError` for another model than the one here."""
        if name is not None and name != self.model.name:
            message = f"there is no model {name!r:.80} here; there is: {self.model.name}"
            raise ApiError(404, "model_not_found", message, param="model")

    def call(self, request: ChatRequest, timeout: float | None) -> tuple[Answering, Call]:
        """What a Guard is asked, and how. Raises `ApiError`, `ModelError` and `DataError` for what cannot be kept."""
        chat = self.guarded(**request.guardrail.model_dump(exclude={"mode", "webhook"}))
        given: dict[str, Any] = {"max_tokens": self._limit(request, chat), "timeout": timeout}
        given |= {key: value for key in ("temperature", "seed") if (value := getattr(request, key)) is not None}
        if request.tools:
            if not self.model.takes_tools:
                raise ApiError(400, "invalid_value", "the chat template of this model takes no tools", param="tools")
            given["tools"] = [tool.model_dump(exclude_none=True) for tool in request.tools]
        if request.tool_choice is not None:
            choice = request.tool_choice
            given["tool_choice"] = choice if isinstance(choice, str) else choice.model_dump()
        if request.response_format is not None:
            given["response_format"] = request.response_format.model_dump(by_alias=True, exclude_none=True)
        stop = [request.stop] if isinstance(request.stop, str) else request.stop
        answering = chat._answering
        call = answering.call(to_langchain(request.messages), stop, given)
        # Mistakes of the request show here, in their own words: those of model work are told to nobody
        self.model.encode_prompt(call.conversation, call.options.tools)
        form = answering.form(call.options)
        if form is not None and form.constraint is not None:
            can_keep(self.model, form.constraint, insist=True)
        return answering, call

    def given(self, request: ScoreRequest, options: dict[str, Any]) -> tuple[ChatGuarded, str | list[Message], Trace]:
        """The chat model that checks a text, what that text answers, and its tokens. Raises `ApiError`, `ModelError`,
        `DataError`."""
        chat = self.guarded(options.get("policy"), **{k: v for k, v in options.items() if k != "policy"})
        messages = conversation_of(to_langchain(request.messages), "single", Options())
        trace = self.model.trace(messages, request.answer, finish_reason=request.finish_reason)  # as in `call`
        return chat, messages, trace

    def _limit(self, request: ChatRequest, chat: ChatGuarded) -> int:
        asked, most = request.max_completion_tokens or request.max_tokens, self.settings.max_tokens
        if asked is not None and most is not None and asked > most:
            raise ApiError(
                400, "not_allowed", f"an answer has at most {most} tokens here", param="max_completion_tokens"
            )
        usual = chat.guard.usual_length
        return asked or (usual if most is None else min(usual, most))


def load_policies(sources: Sequence[str | Policy]) -> dict[str, Policy]:
    """Policies by their own names. Raises `PolicyError`, `ApiError`'s base for two of one name."""
    from guardrail.errors import PolicyError

    out: dict[str, Policy] = {}
    for source in sources:
        policy = source if isinstance(source, Policy) else Policy.load(source)
        if policy.name in out and out[policy.name] != policy:
            raise PolicyError(
                f"{policy.source}: there is another policy called {policy.name!r}; give it a name of its own"
            )
        out[policy.name] = policy
    return out


def to_langchain(messages: Sequence[ChatMessage]) -> list[BaseMessage]:
    """OpenAI's messages as LangChain's. Raises `ApiError` for arguments of a tool call that are not JSON."""
    try:
        return convert_to_messages([{"content": "", **m.model_dump(exclude_none=True)} for m in messages])
    except ValueError:
        raise ApiError(
            400, "invalid_value", "a tool call's arguments are a JSON object, as text", param="messages"
        ) from None


def decide(policy: Policy, request: DecideRequest) -> dict[str, Any]:
    """What a policy makes of a confidence, without a model."""
    claims = None if request.claims is None else [_confidence(c) for c in request.claims]
    confidence = _confidence(request)
    decision = policy.decide(
        confidence,
        _score(request.confidence, request.length, request.unscored),
        evidence=[Evidence("")] * request.evidence,
        finish_reason=request.finish_reason,
        retriever=request.retriever,
        claims=claims,
        no_escalation="" if request.second_model else NO_SECOND,
        no_retry="" if request.retry else NOT_ASKED,
        ambiguity=None if request.ambiguity is None else Score.of("given", request.ambiguity, length=0),
        spread=request.spread,
        names=None if request.names is None else _names(request.names),
        consistency=request.consistency,
    )
    return {
        "object": "guardrail.decision",
        "policy": policy.name,
        "action": decision.action,
        "rule": decision.rule,
        "label": confidence.label,
        "explanation": decision.explanation,
        "template": decision.template,
        **({"prefix": decision.prefix} if decision.prefix else {}),
        "claims": [_decided(policy, claim, request.retriever) for claim in request.claims or ()],
    }


def by_threshold(threshold: float) -> Policy:
    """Answer from there on, abstain below and where there is no confidence."""
    rule = f"  - name: threshold\n    when: {{confidence: {{at_least: {threshold!r}}}}}\n    then: answer\n"
    return Policy.from_text(f"version: 1\nname: threshold\nrules:\n{rule}", "threshold")


def _decided(policy: Policy, claim: DecidedClaim, retriever: bool) -> dict[str, Any]:
    confidence = _confidence(claim)
    decision = policy.decide_claim(
        confidence,
        _score(claim.confidence, claim.length, None),
        kind=claim.kind,
        verification=None if claim.support is None else Verification(claim.support, "given"),
        retriever=retriever,
    )
    out = {name: getattr(decision, name) for name in ("action", "rule", "explanation", "template")}
    return {**out, "label": confidence.label}


def _confidence(given: DecideRequest | DecidedClaim) -> Confidence:
    if given.confidence is None:
        return Confidence.none("no confidence was given")
    p = given.confidence
    return Confidence(p, p, p, label_for(p), given.in_range, familiarity=given.familiarity)


def _names(given: CountedNames) -> NameCounts:
    return NameCounts(tuple(given.counts.items()), tuple((first, second) for first, second in given.apart))


def _score(confidence: float | None, length: int, unscored: Any) -> Score:
    """Policies ask whether there is a score, and of how many tokens; its number is nobody's."""
    if confidence is None:
        return Score.none(unscored or "error", "no confidence was given", length=length)
    return Score.of("given", 0.0, length=length)
