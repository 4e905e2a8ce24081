"""What an adapter puts into `Guard.answer_batch` beside the conversations. Internal: it may change in any release."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from guardrail.errors import ModelError
from guardrail.model.stopping import OnStep, Snapshot
from guardrail.pipeline.claims import NO_BEGINNING, Beginning, ClaimPipeline
from guardrail.pipeline.collecting import collecting
from guardrail.pipeline.conversation import Conversation, SearchContext
from guardrail.pipeline.form import AnswerForm
from guardrail.pipeline.streaming import ClaimStream
from guardrail.types import Claim, JudgedClaim, Trace


def _seen(traces: Sequence[Trace]) -> None:
    pass


def _never(trace: Trace) -> bool:
    return False


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Hooks:
    """Calls into an adapter, and what it wants of the passes.

    is_tool_call: responses for which it is true get the action `answer` unscored (`tool_call`). on_step: sees every token,
    see `LocalModel`. search_contexts: contexts for the search of each conversation's evidence, none or one for each.
    claim_stream: judges the claims of one conversation as they come; then no `retrieve` rule on the whole answer looks anything
    up.
    on_generated: told the responses of each pass, before they are scored. on_judged: called once all verdicts are there, before
    observers are told of them. form: of all answers. ends: what on_step raises to end the call, whatever a policy says about
    failing parts.
    """

    is_tool_call: Callable[[Trace], bool] = _never
    on_step: OnStep | None = None
    search_contexts: Sequence[SearchContext] = ()
    claim_stream: ClaimStream | None = None
    on_generated: Callable[[Sequence[Trace]], None] = _seen
    on_judged: Callable[[], None] = _nothing
    form: AnswerForm | None = None
    ends: tuple[type[Exception], ...] = ()

    @property
    def judged_claims(self) -> Mapping[Claim, JudgedClaim]:
        """The claims that were judged while the answer was generated."""
        return self.claim_stream.judged if self.claim_stream is not None else {}

    @property
    def beginning(self) -> Beginning:
        """Where those stand."""
        return self.claim_stream.beginning if self.claim_stream is not None else NO_BEGINNING

    @property
    def failure(self) -> str:
        """What failed while the claims were judged; empty where nothing did."""
        return self.claim_stream.failure if self.claim_stream is not None else ""

    @property
    def begun(self) -> bool:
        """Whether claims were judged, or failed to be, while the answer was generated: it cannot be generated again then."""
        return bool(self.judged_claims or self.failure)

    def contexts(self, n: int) -> Sequence[SearchContext]:
        """A search context for each of `n` conversations."""
        return self.search_contexts or [nullcontext] * n

    def of_rows(self, rows: Sequence[int]) -> Hooks:
        """For a second model, which answers these of the conversations: nothing of it streams, and it calls no tools."""
        contexts = [self.search_contexts[i] for i in rows] if self.search_contexts else ()
        return Hooks(on_step=self.on_step, search_contexts=contexts, on_generated=self.on_generated, ends=self.ends)

    def watcher(
        self, claims: ClaimPipeline | None, conversations: Sequence[Conversation], stops: Sequence[str], policy: str
    ) -> OnStep | None:
        """What sees every step of the generation. Raises `ModelError` where claims cannot be streamed."""
        stream, on_step = self.claim_stream, self.on_step
        if stream is None or collecting() is not None:
            return on_step
        if claims is None or len(conversations) != 1:
            raise ModelError(
                f"claims are streamed for one conversation and a policy that looks at claims, not for {len(conversations)} and "
                f"{policy!r}; take the policy 'per_claim', or Guard(..., claims=SentenceClaims())"
            )
        stream.begin(claims, conversations[0], stops)

        def both(rows: list[list[int]], snapshot: Snapshot) -> bool:
            ended = on_step is not None and on_step(rows, snapshot)
            return stream(rows, snapshot) or bool(ended)

        return both


NO_HOOKS = Hooks()
