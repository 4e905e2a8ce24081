"""`UnguardedChat`: the model of a guarded chat model without its guard, for text that no person reads as an answer.

A summary of a conversation or a rewritten query is no answer, and a policy's wording in it is wrong: "I do not know" would
become the history. Knows nothing about policies or scores.
"""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import Field

from guardrail.deadlines import Deadline, before
from guardrail.langchain.call import Options
from guardrail.langchain.convert import to_chat_messages
from guardrail.model.constraint import Constraint, Form
from guardrail.model.local import LocalModel


class UnguardedChat(BaseChatModel):
    """A local model as a chat model that nothing judges; made by `ChatGuarded.unguarded`.

    Its messages have no verdict, so that a guard further on takes none of them for judged. What it says must not be shown
    as an answer.

    Attributes:
        local: The model.
        max_tokens: The longest answer, in tokens.
        temperature: 0 is greedy.
        seed: Makes sampling repeatable.
        stop: Strings that end an answer.
        timeout: Seconds that a call may take, as in `ChatGuarded`; None is no limit.
    """

    local: Any = Field(repr=False)
    max_tokens: int
    temperature: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    timeout: float | None = None

    @property
    def model_name(self) -> str:
        """The model's name."""
        local: LocalModel = self.local
        return local.name

    @property
    def _llm_type(self) -> str:
        return "guardrail-unguarded"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        options = Options(self.max_tokens, self.temperature, self.seed, self.stop, timeout=self.timeout)
        options = options.changed(stop, kwargs)
        local: LocalModel = self.local
        form = Constraint((Form(options.schema),)) if options.schema is not None and options.kept else None
        with before(Deadline.after(options.timeout)):
            (trace,) = local.generate_batch(
                [to_chat_messages(messages)],
                max_new_tokens=options.max_tokens or self.max_tokens,
                temperature=options.temperature,
                seed=options.seed,
                stop=options.stop,
                constraints=[form] if form else (),
            )
        read, written = len(trace.prompt_ids), len(trace.response_ids)
        message = AIMessage(
            trace.text,
            response_metadata={"model_name": local.name, "finish_reason": trace.finish_reason},
            usage_metadata=UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written),
        )
        return ChatResult(generations=[ChatGeneration(message=message)])
