"""Verdict -> the message that LangChain gets.

Nothing of what the model said is in it but what the policy let through: not in the content, not in calls, not in metadata.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, InvalidToolCall, ToolCall
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from guardrail.claims.fields import keys_of
from guardrail.langchain.metadata import METADATA_KEY, shown_hash, verdict_metadata
from guardrail.langchain.tool_calls import ParsedCalls, without_args
from guardrail.types import JudgedClaim, Trace, Verdict


@dataclass(frozen=True, slots=True)
class Reply:
    """What a message holds, whole or in chunks. metadata: of the verdict, see `VerdictMetadata`."""

    text: str
    metadata: dict[str, Any]
    response_metadata: dict[str, Any]
    usage: UsageMetadata
    calls: tuple[ToolCall, ...] = ()
    invalid: tuple[InvalidToolCall, ...] = field(default=())
    thinking: str = ""

    @property
    def _additional(self) -> dict[str, Any]:
        return {"reasoning_content": self.thinking} if self.thinking else {}

    def message(self) -> AIMessage:
        return AIMessage(
            self.text,
            tool_calls=list(self.calls),
            additional_kwargs=self._additional,
            invalid_tool_calls=list(self.invalid),
            response_metadata=self.response_metadata,
            usage_metadata=self.usage,
        )

    def result(self) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self.message())])

    def last_chunk(self) -> ChatGenerationChunk:
        """Everything but the text: the metadata are in exactly one chunk, since equal keys of two would be merged."""
        chunk = AIMessageChunk(
            content="",
            additional_kwargs=self._additional,
            tool_call_chunks=[
                tool_call_chunk(name=c["name"], args=json.dumps(c["args"]), id=c["id"], index=i)
                for i, c in enumerate(self.calls)
            ],
            response_metadata=self.response_metadata,
            usage_metadata=self.usage,
            chunk_position="last",
        )
        return ChatGenerationChunk(message=chunk)


def text_chunk(text: str) -> ChatGenerationChunk:
    """A piece of the answer."""
    return ChatGenerationChunk(message=AIMessageChunk(content=text))


def withholds(verdict: Verdict) -> str:
    """What an error says of a verdict that shows nothing of the answer."""
    return f"policy {verdict.policy!r} {'asks back' if verdict.action == 'ask_back' else 'abstains'}: {verdict.explanation}"


def reply_to(
    verdict: Verdict,
    parsed: ParsedCalls | None,
    *,
    enforced: bool,
    include_original: bool,
    shown: str | None = None,
) -> Reply:
    """The reply that a verdict allows. parsed: the tool calls in the response, None where no tools were offered. shown: what
    was shown already, or will be; None is the verdict's text, or if that is not enforced the model's own.

    A turn of calls that passes unscored keeps its calls and loses the text beside them, also that in invalid calls, which
    nobody has judged; no policy was enforced on it. Where the policy judged it and abstains, hedges, or changes one of its
    claims, the calls go, for they have no room for its wording, and the wording stays; a field held back is null in them.
    """
    text = (verdict.text if enforced else verdict.answer) if shown is None else shown
    calls: tuple[ToolCall, ...] = ()
    invalid: tuple[InvalidToolCall, ...] = ()
    judged = verdict.score.unscored != "tool_call"
    unchanged = verdict.action == "answer" and verdict.text == verdict.answer
    by_field = verdict.action == "answer" and any(claim.claim.path is not None for claim in verdict.claims)
    if parsed is not None and (parsed.calls or parsed.invalid) and (unchanged or by_field):
        calls = _without_fields(parsed.calls, verdict.claims)
        text, invalid = (parsed.text, parsed.invalid) if judged else ("", tuple(map(without_args, parsed.invalid)))
    metadata = verdict_metadata(
        verdict,
        enforced=enforced and judged,
        include_original=include_original,
        text_hash=shown_hash(text, calls),
    )
    reason = "tool_calls" if calls else verdict.attempts[-1].finish_reason
    return Reply(
        text,
        metadata,
        {METADATA_KEY: metadata, "model_name": verdict.model, "finish_reason": reason},
        usage_of(verdict),
        calls,
        invalid,
        _thinking(verdict, unchanged=unchanged and judged, include_original=include_original),
    )


def unjudged_reply(trace: Trace, parsed: ParsedCalls | None, model: str) -> Reply:
    """A response as it is, without a verdict. parsed: as in `reply_to`."""
    calls, text = (parsed.calls, parsed.text) if parsed is not None and parsed.calls else ((), trace.text)
    about = {"model_name": model, "finish_reason": "tool_calls" if calls else trace.finish_reason}
    return Reply(text, {}, about, tokens_of([trace]), calls)


def _without_fields(calls: tuple[ToolCall, ...], claims: Sequence[JudgedClaim]) -> tuple[ToolCall, ...]:
    """The calls with null for each of their fields that is held back."""
    for judged in claims:
        path = judged.claim.path
        if path is None or judged.shown:
            continue
        *above, last = keys_of(path)
        if len(calls) > 1:
            place: Any = calls[int(above.pop(0))]["args"]
        else:
            place = calls[0]["args"]
        for key in above:
            place = place[int(key) if isinstance(place, list) else key]
        place[int(last) if isinstance(place, list) else last] = None
    return calls


def _thinking(verdict: Verdict, *, unchanged: bool, include_original: bool) -> str:
    """What the model thought, where its answer goes out as it is: the thoughts behind a held-back answer would tell it."""
    trace = verdict.attempts[-1].trace
    told = trace is not None and ((unchanged and not trace.unfinished_thinking) or include_original)
    return trace.thinking if trace is not None and told else ""


def usage_of(verdict: Verdict) -> UsageMetadata:
    """Tokens read and written in all passes: evidence makes the model read and answer again, and a second one may, too."""
    if (told := verdict.escalation) is not None:
        read, written = told.first.read + told.second.read, told.first.written + told.second.written
        return UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)
    return tokens_of(
        {a.trace.prompt_ids: a.trace for a in verdict.attempts if a.trace is not None}.values()
    )  # one a pass


def tokens_of(traces: Collection[Trace]) -> UsageMetadata:
    """Tokens read and written in some passes."""
    read, written = sum(t.tokens_read for t in traces), sum(t.tokens_written for t in traces)
    return UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)
