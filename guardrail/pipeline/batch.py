"""Conversations that are answered together, and how: what a caller asks of a Guard, as one value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from guardrail.calibration.contexts import Setting
from guardrail.errors import PolicyError
from guardrail.model.local import LocalModel
from guardrail.model.stopping import check_stops
from guardrail.pipeline.answer_pass import AnswerPass
from guardrail.pipeline.conversation import Conversation, Prompt, timed
from guardrail.pipeline.finished import Finished
from guardrail.pipeline.form import AnswerForm
from guardrail.pipeline.hooks import Hooks
from guardrail.pipeline.passes import ask_first, finish
from guardrail.policy.obstacles import NO_SECOND
from guardrail.types import Tool, Trace

# why an answer must not be replaced
OUT_ALREADY = "the first answer has to stand"
SECOND = "the second model has answered"
NO_TOOLS = "the turn's tools are for the first model"


def of_given_text(second: object | None) -> str:
    """Why no second model is asked about a text from elsewhere. second: None where there is none."""
    return NO_SECOND if second is None else OUT_ALREADY


def generating(model: LocalModel, **options: Any) -> Callable[[Sequence[Conversation]], list[Trace]]:
    """What answers conversations on a model, each kept to its form; options: of `LocalModel.generate_batch`."""

    def generate(pending: Sequence[Conversation]) -> list[Trace]:
        kept = [c.form.constraint if c.form else None for c in pending]
        begun: dict[str, Any] = {"prefixes": [c.prefix for c in pending]} if any(c.prefix for c in pending) else {}
        with timed("generate", *pending):
            return model.generate_batch(
                [c.prompt for c in pending], constraints=kept if any(kept) else (), **begun, **options
            )

    return generate


@dataclass(frozen=True, slots=True)
class Batch:
    """prompts: what is asked. forms: of each answer. retrieve: whether an answer may be replaced by another one. escalated:
    whether a second model answers. The rest is as in `Guard.answer_batch`."""

    prompts: Sequence[Prompt]
    forms: Sequence[AnswerForm | None]
    system: str | None
    max_new_tokens: int
    batch_size: int
    temperature: float
    seed: int | None
    stop: str | Sequence[str] | None
    tools: Sequence[Tool]
    retrieve: bool
    hooks: Hooks
    escalated: bool = False

    def no_escalation(self, second: object | None) -> str:
        """Why no second model may be asked; empty where one may. second: None where there is none."""
        if self.escalated:
            return SECOND
        if second is None:
            return NO_SECOND
        if not self.retrieve or self.hooks.claim_stream is not None:
            return OUT_ALREADY
        return NO_TOOLS if self.tools else ""

    @property
    def no_retry(self) -> str:
        """Why the model may not answer once more, whatever the conversation; empty where it may."""
        return "" if self.retrieve and self.hooks.claim_stream is None else OUT_ALREADY

    def of_rows(self, rows: Sequence[int], max_new_tokens: int) -> Batch:
        """These of the prompts, for a second model and the length of its answers."""
        return replace(
            self,
            escalated=True,
            max_new_tokens=max_new_tokens,
            prompts=[self.prompts[i] for i in rows],
            forms=[self.forms[i] for i in rows],
            hooks=self.hooks.of_rows(rows),
        )

    def finished(self, one_pass: AnswerPass, open_: Callable[..., Conversation]) -> list[Finished]:
        """What becomes of each, in order. open_: makes the conversation of a prompt.

        Raises `DeadlineError` where that is not done in time, and `PolicyError` where a proof is about two models, and only
        the second is asked.
        """
        policy = one_pass.policy
        if (
            one_pass.no_escalation == NO_SECOND
            and policy.proof
            and policy.proof.second
            and one_pass.calibrated.calibrator
        ):
            raise PolicyError(
                f"this guard is the second of policy {policy.name!r}, whose proof is about both models together; ask the "
                "first, which has it as escalate_to"
            )
        setting, hooks, model = Setting.of(self.temperature, self.tools), self.hooks, one_pass.room.model
        asked = [
            open_(prompt, self.system, setting=setting, search_context=context, form=form)
            for prompt, context, form in zip(self.prompts, hooks.contexts(len(self.forms)), self.forms, strict=True)
        ]
        generate = generating(
            model,
            max_new_tokens=one_pass.room.answer,
            keep=one_pass.keep,
            on_step=hooks.watcher(one_pass.claim_pipeline, asked, check_stops(self.stop), one_pass.policy.name),
            temperature=self.temperature,
            seed=self.seed,
            stop=self.stop,
            tools=self.tools,
        )
        batches = (asked[start : start + self.batch_size] for start in range(0, len(asked), self.batch_size))
        return [each for batch in batches for each in finish(ask_first(batch, one_pass), generate, one_pass)]
