"""`ChatGuarded`: a LangChain chat model that generates, scores, decides, and only then speaks.

Generation, scoring and policy are the Guard's; here are LangChain's surfaces, sync beside async. The fields stand in
`settings`, one call in `answering`, what a stream sends in `exchange`, what a batch shares in `batches`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForLLMRun,
    CallbackManager,
    CallbackManagerForLLMRun,
    Callbacks,
)
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult, LLMResult
from langchain_core.prompt_values import ChatPromptValue, PromptValue
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel

from guardrail.errors import ChatTemplateError, ModelError
from guardrail.langchain import exchange
from guardrail.langchain.answering import Answering
from guardrail.langchain.batches import abatch_together, batch_together, prompts_together
from guardrail.langchain.call import MARK
from guardrail.langchain.call_forms import CallForms
from guardrail.langchain.events import adispatch_verdict, dispatch_verdict
from guardrail.langchain.metadata import read_metadata
from guardrail.langchain.runs import asend_verdict_event, internal_source, run_ahead, send_verdict_event
from guardrail.langchain.settings import GuardedSettings
from guardrail.langchain.standard_options import check_kept
from guardrail.langchain.structured import json_output, response_format, schema_of
from guardrail.langchain.tool_calls import forms_among
from guardrail.model.constraint import Constraint, can_keep


class ChatGuarded(GuardedSettings):
    """A local model with a guard, as a LangChain chat model: what the policy holds back leaves on no surface.

        >>> from guardrail.langchain import ChatGuarded
        >>> from guardrail.testing import tiny_local_model
        >>> chat = ChatGuarded(model=tiny_local_model(), policy="observe", max_tokens=4)
        >>> message = chat.invoke("What is the capital of France?")
        >>> message.response_metadata["guardrail"]["action"]
        'answer'

    Nothing of it is pickled: a model has a lock and weights; build one in each process.

    What other chat models are given and this one can do without is taken, here and by a call, and has no effect: `api_key`,
    `max_retries`, `organization`, `stream_usage`; so is the neutral value of what it cannot keep (`n=1`, `logprobs=False`,
    `top_p=1`, `base_url=None` and the like), and any other value of that is a `ModelError` that says why.

    Args:
        model: A spec for `load_model`, which device, dtype, chat_template and chat_template_kwargs go to, or a
            `LocalModel`.
        policy: As in `Guard`.
        calibrator: As in `Guard`.
        retriever: As in `Guard`.
        scorer: As in `Guard`.
        claims: As in `Guard`, or an extractor's name.
        claim_calibrator: As in `Guard`.
        question_calibrator: As in `Guard`.
        verifier: As in `Guard`.
        escalate_to: As in `Guard`. A turn with tools is never escalated, nor is one that streams before its verdict.
        observers: As in `Guard`.
        device: See `load_model`.
        dtype: See `load_model`.
        chat_template: See `load_model`.
        chat_template_kwargs: See `load_model`.
        max_tokens: LangChain's word for `max_new_tokens`. None takes the limit of the calibration. This one, temperature, seed,
            stop and timeout can be given to a call, too: `chat.invoke(messages, stop=["\\n"], max_tokens=20)`.
        temperature: 0 is greedy, as the calibration was; any other makes confidences `extrapolated`.
        seed: Makes sampling repeatable, also in a batch (which then runs one by one).
        stop: Strings that end an answer.
        timeout: Seconds that a call may take, from waiting for the model to the verdict; None is no limit. What is not there by
            then is a `TimeoutError`, on every surface: no policy makes an answer of it, and fallbacks and retries catch it.
        stream_policy: "answer": nothing leaves before the verdict. "claim": each sentence leaves as soon as its own claim has
            passed the policy, and rules on the whole answer come too late for it (`enforced: False` where one would have
            acted; the last chunk has the verdict). "passthrough": tokens leave as they come, the verdict is in the last chunk
            with `enforced: False`, and nothing is held back or retrieved. Calls with tools are always held.
        streaming: `invoke` streams, too, for callbacks that want tokens.
        as_question: What goes into the prompt of the calibration. "string": what is given as a plain string (as in `Guard`);
            "single": also a single human message; "never". Everything else is used as it is, and its confidence is
            `extrapolated`.
        score_tool_calls: Judge turns that call tools like answers. By default they pass unscored, without the text beside
            them, unless they call a form (`with_structured_output`, an agent's `response_format`): its arguments are the
            answer.
        raise_on_abstain: Raise `LowConfidenceError`, which holds the verdict, where the policy abstains, in place of a message
            with its wording. Tokens and claims that have left a stream before stay out.
        include_original: Put what the model said into the metadata, held back or not.
        batch_size: Rows in one pass.
        built: Not for users: the Guard that copies of this chat model share.

    Raises:
        GuardrailError: Those of `Guard`, when it is built: a wrong policy, a missing or foreign calibrator.
    """

    # --- LangChain's surfaces ---

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = self._answering.call(messages, stop, kwargs, run_manager)
        reply = self._answering.reply(call, self._answering.verdict(call))
        send_verdict_event(reply.metadata, run_manager)
        return reply.result()

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = self._answering.call(messages, stop, kwargs, run_manager)
        reply = self._answering.reply(call, await self._answering.averdict(call))
        await asend_verdict_event(reply.metadata, run_manager)
        return reply.result()

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        return exchange.stream(self._answering, self._answering.call(messages, stop, kwargs, run_manager), run_manager)

    def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        return exchange.astream(self._answering, self._answering.call(messages, stop, kwargs, run_manager), run_manager)

    def stream(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        """The answer in chunks, the verdict in the last one; see `stream_policy` for what leaves before it.

        Raises what `invoke` raises, at the first chunk.
        """
        config, run = run_ahead(self, config, CallbackManager)
        for chunk in super().stream(input, config, stop=stop, **kwargs):
            if isinstance(chunk, AIMessageChunk) and (metadata := read_metadata(chunk)):  # a message has told it
                dispatch_verdict(metadata, run)
            yield chunk

    async def astream(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """`stream` for async code."""
        config, run = run_ahead(self, config, AsyncCallbackManager)
        async for chunk in super().astream(input, config, stop=stop, **kwargs):
            if isinstance(chunk, AIMessageChunk) and (metadata := read_metadata(chunk)):  # a message has told it
                await adispatch_verdict(metadata, run)
            yield chunk

    def _should_stream(self, *, async_api: bool, run_manager: Any = None, **kwargs: Any) -> bool:
        """What LangChain asks for itself never streams from `invoke`: there it says nothing of the run that asked."""
        streams = super()._should_stream(async_api=async_api, run_manager=run_manager, **kwargs)
        return streams and not internal_source(run_manager)

    def _should_use_protocol_streaming(self, *, async_api: bool, run_manager: Any = None, **kwargs: Any) -> bool:
        streams = super()._should_use_protocol_streaming(async_api=async_api, run_manager=run_manager, **kwargs)
        return streams and not internal_source(run_manager)

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """`invoke` for many inputs, in order; `batch_size` of them (or `max_concurrency`) share a pass on the model."""
        return batch_together(self._answering, inputs, config, return_exceptions, kwargs)

    async def abatch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """`batch` for async code."""
        return await abatch_together(self._answering, inputs, config, return_exceptions, kwargs)

    def generate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **kwargs: Any,
    ) -> LLMResult:
        """LangChain's `generate`; several prompts share a pass on the model."""
        with prompts_together(self._answering, messages, stop, kwargs):
            return super().generate(messages, stop, callbacks, **kwargs)

    async def agenerate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **kwargs: Any,
    ) -> LLMResult:
        """`generate` for async code."""
        with prompts_together(self._answering, messages, stop, kwargs, self._answering.beside):
            return await super().agenerate(messages, stop, callbacks, **kwargs)

    # --- tools and structured output ---

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: Any = None,
        score_tool_calls: bool | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The model with tools, shown through its chat template.

        tool_choice: "any" has the model call one of them, and a name that one, which alone is shown, then: with the extra
        `structured`, decoding keeps it so, arguments included; without, nothing forces a local model. "none" shows none.
        score_tool_calls: judge turns that call tools; names judge those that call one of these. None is what the model has,
        and the tools that nothing can run: an agent's `response_format` comes as such, and its arguments are the answer.

        Raises `ChatTemplateError` where the template takes no tools, and `ModelError` for what a local model cannot keep
        (parallel_tool_calls=False, and strict=True where the model may answer without a call).
        """
        if tools and not self._guard.model.takes_tools:
            raise ChatTemplateError(
                f"the chat template of {self.model_name} takes no tools; use a model whose template does, or give such a "
                "template (chat_template=...)"
            )
        formatted = [convert_to_openai_tool(tool) for tool in tools]
        own = {name: value for name, value in kwargs.items() if name not in ("strict", "response_format")}
        check_kept(own if "response_format" in kwargs or tool_choice not in (None, "auto", "none") else kwargs)
        if kwargs.get("strict") and "response_format" not in kwargs:
            local = self._guard.model
            can_keep(local, CallForms.of(local.tokenizer).constraint(formatted), insist=True)
            kwargs = own
        if score_tool_calls is None and not self.score_tool_calls:
            score_tool_calls = "ls_structured_output_format" in kwargs or forms_among(tools) or None
        return self.bind(tools=formatted, tool_choice=tool_choice, score_tool_calls=score_tool_calls, **kwargs)

    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False, method: str | None = None, **kwargs: Any
    ) -> Runnable[LanguageModelInput, dict[str, Any] | BaseModel]:
        """The answer as an object of `schema`, judged like any answer: held back, it is None or an error, never a guess.

        Its fields are the claims in the metadata (include_raw=True), judged by the policy's rules for claims; one that is held
        back is null where the schema allows that, and otherwise the whole is held back.

        method: "function_calling" (the default where the template takes tools; None where the model calls nothing) or
        "json_mode", "json_schema": the answer is read as JSON, so ask for it in the prompt. strict: with the extra
        `structured`, decoding is kept to the schema; True insists on it, False has the answer only checked.

        Raises `ModelError` for another method, for options that do not exist, for strict=True with "json_mode" or with a schema
        that cannot be kept, and `MissingExtraError` for strict=True without the extra.
        """
        method = method or ("function_calling" if self._guard.model.takes_tools else "json_mode")
        if method not in ("function_calling", "json_mode", "json_schema"):
            raise ModelError(f"there is no method {method!r}; use 'function_calling', 'json_mode' or 'json_schema'")
        if method == "json_mode":
            check_kept(kwargs)
        if unknown := sorted(kwargs.keys() - {"strict"}):
            raise ModelError(
                f"with_structured_output has no option {', '.join(unknown)}; there are: method, include_raw"
            )
        local, strict = self._guard.model, kwargs.get("strict")
        if method == "function_calling":
            if strict:
                can_keep(local, CallForms.of(local.tokenizer).constraint([convert_to_openai_tool(schema)]), insist=True)
            return super().with_structured_output(schema, include_raw=include_raw)
        wanted = schema_of(schema)
        kept = strict is not False and can_keep(local, Constraint.json(wanted), insist=bool(strict))
        return json_output(self.bind(response_format=response_format(wanted, kept=kept)), schema, include_raw)

    # --- inside ---

    def _convert_input(self, model_input: LanguageModelInput) -> PromptValue:
        if isinstance(model_input, str) and self.as_question == "string":
            return ChatPromptValue(messages=[HumanMessage(model_input, additional_kwargs={MARK: True})])
        return super()._convert_input(model_input)

    @property
    def _answering(self) -> Answering:
        return Answering(self, self._guard, self._turns)
