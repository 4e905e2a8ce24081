"""An endpoint writes the answers, a copy of its weights in memory reads them: every scorer works, also those that need weights.

The copy reads the very tokens that the endpoint wrote, or the answer stays unscored (`other_tokens`): a score of other tokens
would be the score of another answer.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from guardrail.errors import ModelError
from guardrail.model import chat
from guardrail.model.constraint import Constraint
from guardrail.model.continuous.sharing import check_elsewhere
from guardrail.model.identity import ModelIdentity
from guardrail.model.local import LocalModel
from guardrail.model.recording import Keep
from guardrail.model.remote.model import RemoteModel
from guardrail.model.remote.replies import Reply
from guardrail.model.run import Response, ended_reply, trace_of
from guardrail.model.stopping import OnStep
from guardrail.types import DEFAULT_MAX_NEW_TOKENS, Message, Tool, Trace


class RereadModel(LocalModel):
    """A model behind an endpoint with a copy of its weights here: the endpoint answers, the copy reads and scores.

        remote = RemoteModel("http://127.0.0.1:8000/v1", "smollm2-135m")
        model = RereadModel(remote, load_model("smollm2-135m"))
        Guard(model=model, policy="observe").answer("What is the capital of Japan?").score  # HybridGrad

    Everything but the answer comes from the copy: scores, P(True), samples, the states that familiarity is read from. Its
    tokens are the endpoint's: those of `return_token_ids` (vLLM) or of the log-probabilities (llama.cpp) where it tells them,
    else the text in the copy's own tokens. Either way the ids have to spell the text, the prompt has to be the copy's, and the
    tokens as many as the endpoint counts. The end of the turn is the last of them, as in generation here; where the endpoint
    leaves it out it is the copy's own.

    Args:
        remote: The endpoint. It is asked for token ids from now on.
        copy: The weights that it serves, or those that they were quantised from, with their chat template.

    Attributes:
        remote: As given.
        copy: As given.

    Raises:
        ModelError: The copy has no weights here.
    """

    answers_here = False
    stays = (*LocalModel.stays, "copy", "remote", "remote.lock")

    def __init__(self, remote: RemoteModel, copy: LocalModel) -> None:
        if not (copy.has_weights and copy.answers_here):
            raise ModelError(
                f"{copy.name} has no weights here, so it can read no answer; score with a model that is loaded here"
            )
        super().__init__(
            copy.model,
            copy.tokenizer,
            name=remote.name,
            chat_template_kwargs=copy.chat_template_kwargs,
            confidence_adapter=copy.confidence_adapter,
        )
        self.wording, self.taught = copy.wording, copy.taught
        self.remote, self.copy = remote, copy
        remote.want_ids()

    @property
    def identity(self) -> ModelIdentity:
        """The copy's, with the endpoint's engine and the model's name there: another engine makes confidences extrapolated."""
        return super().identity.model_copy(update={"engine": f"{self.remote.engine}: {self.remote.name}"})

    @property
    def version(self) -> Hashable:
        """What changes with the copy's weights or with the engine."""
        return super().version, self.remote.version

    @property
    def takes_tools(self) -> bool:
        """As of the endpoint: it is offered none."""
        return False

    @contextmanager
    def shared(  # type: ignore[override]
        self, max_rows: int = 16, on_timing: object = None, driver: str = "guardrail"
    ) -> Iterator[None]:
        """Nothing to share: no answer is generated here. Raises `UnsupportedModelError` for another driver."""
        check_elsewhere(self.name, driver)
        yield None

    def encode_prompt(self, messages: str | Sequence[Message], tools: Sequence[Tool] = ()) -> list[int]:
        """Prompt ids through the copy's chat template. Raises `ModelError` for tools."""
        if tools:
            return self.remote.encode_prompt(messages, tools)  # raises
        return super().encode_prompt(messages)

    def reply(self, messages: str | Sequence[Message], *, max_new_tokens: int) -> Trace:
        """The copy's, as all but the answer is."""
        return self.copy.reply(messages, max_new_tokens=max_new_tokens)

    def generate_batch(
        self,
        conversations: Sequence[str | Sequence[Message]],
        *,
        max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS,
        temperature: float = 0.0,
        seed: int | None = None,
        truncate: bool = False,
        keep: Keep | None = None,
        stop: str | Sequence[str] | None = None,
        tools: Sequence[Tool] = (),
        on_step: OnStep | None = None,
        constraints: Sequence[Constraint | None] = (),
        prefixes: Sequence[str] = (),
    ) -> list[Trace]:
        """Ask the endpoint, as `RemoteModel.generate_batch` does; the Traces are in the copy's token ids."""
        return self.remote.generate_batch(
            conversations,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
            stop=stop,
            tools=tools,
            on_step=on_step,
            constraints=constraints,
            prefixes=prefixes,
            reader=self,
        )

    def read(self, messages: tuple[Message, ...], prompt: list[int], reply: Reply, stops: Sequence[str]) -> Trace:
        """The Trace of a reply in the copy's ids. prompt: of the messages. stops: the stop strings that were asked for.

        Where it cannot be read as it was written, its `fault` is `other_tokens`, and `fault_detail` says why.
        """
        why = self._other_prompt(prompt, reply)
        if not why and reply.token_ids is not None:
            trace, why = self._of_ids(prompt, reply.token_ids, reply, stops)
        elif not why:
            trace, why = self._of_text(messages, prompt, reply, stops)
        if why:
            ids = self.encode_response(reply.text, ended=False)
            trace = Trace((), tuple(prompt), tuple(ids), reply.text, reply.finish, thinking=reply.thinking)
            trace = replace(trace, fault="other_tokens", fault_detail=why)
        told = reply.tokens or ()
        log_probs = (
            tuple(token.log_prob for token in told) if len(told) == len(trace.response_ids) and not why else None
        )
        return replace(trace, messages=messages, finish_reason=reply.finish, log_probs=log_probs)

    def _other_prompt(self, prompt: Sequence[int], reply: Reply) -> str:
        """Why the endpoint has read another prompt than the copy reads; empty where nothing says so."""
        if reply.prompt_ids is not None and reply.prompt_ids != tuple(prompt):
            return "the endpoint's prompt has other tokens than the copy's: it has another chat template or tokenizer"
        if reply.prompt_tokens is not None and reply.prompt_tokens != len(prompt):
            return (
                f"the endpoint read {reply.prompt_tokens} prompt tokens and the copy reads {len(prompt)}: it has another chat "
                "template or tokenizer"
            )
        return ""

    def _of_ids(self, prompt: list[int], told: Sequence[int], reply: Reply, stops: Sequence[str]) -> tuple[Trace, str]:
        """The Trace of the ids that the endpoint has written, and why it is none."""
        ids = list(told)
        if any(i >= self._rows for i in ids):
            return _NONE, f"the endpoint's token {max(ids)} is none of the copy's {self._rows}: another vocabulary"
        cut_off = reply.finish == "length" or bool(stops) or reply.stop_string
        if not cut_off and ids[-1] not in self.eos_ids:
            end = chat.end_of_turn(self.tokenizer, self.eos_ids)
            ids += [] if end is None else [end]
        reply_ids, split, text = ended_reply(self, ids, stops, self.thinking.opened_by(prompt))
        trace = trace_of(self, prompt, Response(reply_ids, split, text, None, 0.0))
        if trace.text != self.without_confidence(reply.text).answer:
            return _NONE, "the endpoint's token ids spell another text than its answer in the copy's tokenizer"
        if trace.thought != bool(reply.thinking):
            return _NONE, "the endpoint's token ids do not show where its thinking ends"
        at_stop = bool(stops) and reply.finish == "stop" and trace.response_ids[-1:] and ids[-1] not in self.eos_ids
        return replace(trace, stop_string=trace.stop_string or reply.stop_string or bool(at_stop)), ""

    def _of_text(
        self, messages: tuple[Message, ...], prompt: Sequence[int], reply: Reply, stops: Sequence[str]
    ) -> tuple[Trace, str]:
        """The Trace of the text in the copy's own tokens, and why these are not those that were written."""
        if reply.thinking or reply.unfinished_thinking or self.thinking.opened_by(prompt):
            return _NONE, "the model thinks before it answers, and the endpoint does not tell its token ids"
        at_stop = reply.stop_string or (bool(stops) and reply.finish == "stop")  # most do not say what ended it
        given = self.trace(
            messages, reply.text, finish_reason="length" if at_stop or reply.finish == "length" else "given"
        )
        body = self.encode_response(reply.text, ended=False)
        if self.tokenizer.decode(body, skip_special_tokens=True).strip() != reply.text:
            return _NONE, "the answer's text is another one once it is in the copy's tokens"
        counts = [len(reply.tokens) - reply.ended] if reply.tokens is not None else []
        with_end = len(body) + (reply.finish != "length")  # its end is counted or not
        counts += [n for n in [reply.written] if not at_stop and n is not None and n != with_end]
        if (other := next((n for n in counts if n != len(body)), None)) is not None:
            return _NONE, f"the endpoint wrote {other} tokens, and the copy's tokenizer makes {len(body)} of its answer"
        return replace(given, stop_string=at_stop), ""


_NONE = Trace((), (), (), "", "length")
"""In the place of a Trace where there is a reason against it."""
