"""`ChatGuarded`: a LangChain chat model that generates, scores, decides, and only then speaks.

Generation, scoring and policy are the Guard's; here are LangChain's surfaces. Knows nothing about agents.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

from langchain_core.callbacks import (
    AsyncCallbackManagerForLLMRun,
    BaseRunManager,
    CallbackManagerForLLMRun,
)
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.prompt_values import ChatPromptValue, PromptValue
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel

from guardrail.errors import ChatTemplateError, LowConfidenceError, ModelError
from guardrail.langchain.batches import SharedPasses
from guardrail.langchain.batching import join_batch
from guardrail.langchain.call import MARK, Call, Options, check_kept, conversation_of
from guardrail.langchain.call_forms import CallForms
from guardrail.langchain.live import StreamingRun
from guardrail.langchain.reply import Reply, reply_to, text_chunk
from guardrail.langchain.runs import VerdictEvents, asend_verdict_event, internal_source, send_verdict_event, within_run
from guardrail.langchain.streaming import Watch
from guardrail.langchain.structured import json_output
from guardrail.langchain.tool_calls import ParsedCalls, forms_among, parse_tool_calls
from guardrail.pipeline.hooks import Hooks
from guardrail.types import Trace, Verdict

T = TypeVar("T")


class ChatGuarded(VerdictEvents, SharedPasses):
    """A local model with a guard, as a LangChain chat model: what the policy holds back leaves on no surface.

        >>> from guardrail.langchain import ChatGuarded
        >>> from guardrail.testing import tiny_local_model
        >>> chat = ChatGuarded(model=tiny_local_model(), policy="observe", max_tokens=4)
        >>> message = chat.invoke("What is the capital of France?")
        >>> message.response_metadata["guardrail"]["action"]
        'answer'

    Nothing of it is pickled: a model has a lock and weights; build one in each process.

    Args:
        model: A spec for `load_model`, which device, dtype, chat_template and chat_template_kwargs go to, or a
            `LocalModel`.
        policy: As in `Guard`, and so calibrator, retriever, scorer, observers, claims, claim_calibrator and verifier.
        max_tokens: LangChain's word for `max_new_tokens`. None takes the limit of the calibration. This one, temperature, seed
            and stop can be given to a call, too: `chat.invoke(messages, stop=["\\n"], max_tokens=20)`.
        temperature: 0 is greedy, as the calibration was; any other makes confidences `extrapolated`.
        seed: Makes sampling repeatable, also in a batch (which then runs one by one).
        stop: Strings that end an answer.
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
        call = self.call(messages, stop, kwargs, run_manager)
        reply = self._reply(call, self._verdict(call))
        send_verdict_event(reply.metadata, run_manager)
        return ChatResult(generations=[ChatGeneration(message=reply.message())])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = self.call(messages, stop, kwargs, run_manager)
        reply = self._reply(call, await self._averdict(call))
        await asend_verdict_event(reply.metadata, run_manager)
        return ChatResult(generations=[ChatGeneration(message=reply.message())])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        call = self.call(messages, stop, kwargs, run_manager)
        if self._held(call):
            reply = self._reply(call, self._verdict(call))
            rest = reply.text
        else:
            with self._live(call) as live:
                yield from map(text_chunk, live)
                reply = self._reply(call, live.verdict, enforced=live.enforced, shown=live.shown)
                rest = live.rest
        if rest:
            yield text_chunk(rest)
        send_verdict_event(reply.metadata, run_manager)
        yield reply.last_chunk()

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        call = self.call(messages, stop, kwargs, run_manager)
        if self._held(call):
            reply = self._reply(call, await self._averdict(call))
            rest = reply.text
        else:
            with self._live(call) as live:
                async for piece in live:
                    yield text_chunk(piece)
                reply = self._reply(call, live.verdict, enforced=live.enforced, shown=live.shown)
                rest = live.rest
        if rest:
            yield text_chunk(rest)
        await asend_verdict_event(reply.metadata, run_manager)
        yield reply.last_chunk()

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

        tool_choice: a name shows that tool only, "none" shows none; nothing forces a local model to call one.
        score_tool_calls: judge turns that call tools; names judge those that call one of these. None is what the model has,
        and the tools that nothing can run: an agent's `response_format` comes as such, and its arguments are the answer.

        Raises `ChatTemplateError` where the template takes no tools, and `ModelError` for what a local model cannot keep
        (strict=True, parallel_tool_calls=False).
        """
        if not self._guard.model.takes_tools:
            raise ChatTemplateError(
                f"the chat template of {self.model_name} takes no tools; use a model whose template does, or give such a "
                "template (chat_template=...)"
            )
        check_kept(kwargs)
        if score_tool_calls is None and not self.score_tool_calls:
            score_tool_calls = "ls_structured_output_format" in kwargs or forms_among(tools) or None
        formatted = [convert_to_openai_tool(tool) for tool in tools]
        return self.bind(tools=formatted, tool_choice=tool_choice, score_tool_calls=score_tool_calls, **kwargs)

    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False, method: str | None = None, **kwargs: Any
    ) -> Runnable[LanguageModelInput, dict[str, Any] | BaseModel]:
        """The answer as an object of `schema`, judged like any answer: held back, it is None or an error, never a guess.

        method: "function_calling" (the default where the template takes tools; None where the model calls nothing) or
        "json_mode", "json_schema": the answer is read as JSON, so ask for it in the prompt; nothing constrains the decoding.
        Raises `ModelError` for another method, for options that do not exist, and for strict=True with "json_mode".
        """
        method = method or ("function_calling" if self._guard.model.takes_tools else "json_mode")
        if method not in ("function_calling", "json_mode", "json_schema"):
            raise ModelError(f"there is no method {method!r}; use 'function_calling', 'json_mode' or 'json_schema'")
        if method == "json_mode":
            check_kept(
                kwargs
            )  # the others take it, as LangChain's suites want: their answers are checked, not constrained
        if unknown := sorted(kwargs.keys() - {"strict"}):
            raise ModelError(
                f"with_structured_output has no option {', '.join(unknown)}; there are: method, include_raw"
            )
        if method == "function_calling":
            return super().with_structured_output(schema, include_raw=include_raw)
        return json_output(self, schema, include_raw)

    # --- inside ---

    def _convert_input(self, model_input: LanguageModelInput) -> PromptValue:
        if isinstance(model_input, str) and self.as_question == "string":
            return ChatPromptValue(messages=[HumanMessage(model_input, additional_kwargs={MARK: True})])
        return super()._convert_input(model_input)

    def call(
        self,
        messages: Sequence[BaseMessage],
        stop: Sequence[str] | None,
        given: dict[str, Any],
        run_manager: BaseRunManager | None = None,
    ) -> Call:
        """What a Guard is asked, and how; `given` are the options of one call. Raises what these raise, see `invoke`."""
        own = Options(self.max_tokens, self.temperature, self.seed, self.stop, score_tool_calls=self.score_tool_calls)
        options = own.changed(stop, given)
        search_context = partial(self._search_context, run_manager)
        return Call(
            conversation_of(messages, self.as_question, options), options, search_context, internal_source(run_manager)
        )

    @contextmanager
    def _search_context(self, run_manager: BaseRunManager | None) -> Iterator[None]:
        """A retriever is traced, and may ask this very model: others take their turns meanwhile."""
        with self._turns.yield_turn(), within_run(run_manager):
            yield

    def _live(self, call: Call) -> StreamingRun:
        return StreamingRun(self._guard.model, call, self._verdicts, by_claim=self.stream_policy == "claim")

    def _held(self, call: Call) -> bool:
        return self.stream_policy == "answer" or bool(call.options.tools)

    def _verdict(self, call: Call) -> Verdict:
        if (shared := join_batch(self, call)) is not None:
            return shared.result()
        return self._verdicts([call])[0]

    async def _averdict(self, call: Call) -> Verdict:
        if (shared := join_batch(self, call)) is not None:
            return await asyncio.wrap_future(shared)
        watch = Watch()
        try:
            return (await asyncio.wrap_future(self._beside(lambda: self._verdicts([call], watch))))[0]
        except asyncio.CancelledError:
            watch.abandon()
            raise

    def _beside(self, work: Callable[[], T]) -> Future[T]:
        return self._turns.submit(partial(copy_context().run, work))

    def _verdicts(self, calls: Sequence[Call], watch: Watch | None = None) -> list[Verdict]:
        """The verdicts on calls with equal options, in one batch on the model. A watch with a text stream asks for the
        model's own text: then nothing is retrieved, for it would replace what is out already."""
        options = calls[0].options
        sampled = options.temperature > 0 and options.seed is not None  # repeatable: no row's draws hang on the others'
        return self._guard.answer_batch(
            [call.conversation for call in calls],
            max_new_tokens=options.max_tokens,
            batch_size=1 if sampled else self.batch_size,
            temperature=options.temperature,
            seed=options.seed,
            stop=options.stop,
            tools=options.tools,
            retrieve=watch is None or watch.stream is None,
            hooks=Hooks(
                is_tool_call=partial(self._is_tool_call, options),
                on_step=watch,
                search_contexts=[call.search_context for call in calls],
                claim_stream=watch.claims if watch else None,
            ),
        )

    def _is_tool_call(self, options: Options, trace: Trace) -> bool:
        """Whether a response goes out unscored: it calls tools, and none whose call is to be judged."""
        if not options.tools or options.score_tool_calls is True:
            return False
        calls = self._parsed(trace, options).calls
        return bool(calls) and not any(call["name"] in options.forms for call in calls)

    def _parsed(self, trace: Trace, options: Options) -> ParsedCalls:
        """The tool calls of a response."""
        model = self._guard.model
        ids = [i for i in trace.response_ids if i not in model.eos_ids]
        return parse_tool_calls(CallForms.of(model.tokenizer).mark(model.tokenizer, ids), options.tool_names)

    def _reply(self, call: Call, verdict: Verdict, *, enforced: bool = True, shown: str | None = None) -> Reply:
        if enforced:
            self._raise_if_asked(call, verdict)
        trace = verdict.attempts[-1].trace
        parsed = self._parsed(trace, call.options) if trace is not None and call.options.tools else None
        return reply_to(verdict, parsed, enforced=enforced, include_original=self.include_original, shown=shown)

    def _raise_if_asked(self, call: Call, verdict: Verdict) -> None:
        """Raises `LowConfidenceError` where there must be no message: an abstention that is to be an error, or the policy's
        wording in what LangChain asked for itself, which would go on as a summary or a query."""
        if call.internal and (verdict.action == "abstain" or verdict.text != verdict.answer):
            raise LowConfidenceError(
                f"policy {verdict.policy!r} decided {verdict.action!r} on a text that LangChain asked for itself "
                f"({call.internal}), and its wording must not stand in for that text; give that part chat.unguarded() as its "
                "model",
                verdict,
            )
        if self.raise_on_abstain and verdict.action == "abstain":
            raise LowConfidenceError(f"policy {verdict.policy!r} abstains: {verdict.explanation}", verdict)
