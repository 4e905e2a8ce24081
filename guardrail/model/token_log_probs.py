"""Log-probabilities of tokens under the model itself: of those that generation draws, and of those that exist already.

Under the model itself: at temperature 1 over the whole vocabulary, however the tokens were chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch
from torch import Tensor
from transformers import LogitsProcessor

from guardrail.errors import ModelError
from guardrail.kernels.frozen import untouched, weights_version
from guardrail.kernels.memory import halve_on_out_of_memory, too_large
from guardrail.model.decoder import run_decoder
from guardrail.model.inert import Inert
from guardrail.model.loaded import LoadedModel
from guardrail.model.prompts import kept_prefix, pad, shared_prefix
from guardrail.types import GenerationState, Message, Trace

Pair = tuple[Sequence[int], Sequence[int]]
"""Prompt ids and response ids."""

_TOKENS_PER_PASS = 4096
_LOGITS_AT_ONCE = 2**25  # entries in float32: 128 MiB


class NotFiniteError(ModelError):
    """The model's logits are NaN or infinite: there is nothing to draw from."""


class FiniteRows(LogitsProcessor):  # type: ignore[misc]
    """Finds the rows of one generation whose logits are NaN or infinite, and ends them, so that the others go on.

    Drawing from such a row would crash a GPU's context, and the most likely of its tokens is none. It must be the first
    processor, as transformers hands it the model's own logits. end: an end-of-turn id.
    """

    def __init__(self, end: int) -> None:
        self._end = end
        self._broken: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        now = ~scores.amax(-1).isfinite()  # NaN and +inf are the largest; all -inf leaves nothing to draw
        self._broken = now if self._broken is None else self._broken | now
        ended = torch.full_like(scores, torch.finfo(scores.dtype).min)
        ended[:, self._end] = 0.0
        return torch.where(self._broken.unsqueeze(1), ended, scores)

    def broken(self, rows: int) -> list[bool]:
        """After the generation, for each row."""
        return [False] * rows if self._broken is None else self._broken.tolist()


class StepEntropies(LogitsProcessor):  # type: ignore[misc]
    """Records the entropy of the model's own distribution at each token of one generation, nats.

    It must come before temperature, top-k and top-p, and before what keeps an answer to a form. No pass of its own: the logits
    are those that the token is drawn from, and only one number of them stays.
    """

    def __init__(self) -> None:
        self._steps: list[Tensor] = []  # (B,) each

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        log_p = scores.float().log_softmax(-1)  # (B, V)
        self._steps.append(-torch.where(log_p.isfinite(), log_p.exp() * log_p, 0.0).sum(-1))
        return scores

    def of(self, lengths: Sequence[int]) -> list[tuple[float, ...]]:
        """Of the first tokens of each row, so many each."""
        rows = torch.stack(self._steps, dim=1).tolist() if self._steps else [[]] * len(lengths)  # (B, T)
        return [tuple(row[:length]) for row, length in zip(rows, lengths, strict=True)]


class DrawnLogProbs(LogitsProcessor):  # type: ignore[misc]
    """Records log p of each token of one generation, nats.

    It must come before temperature, top-k and top-p. Which token was drawn shows only at the next step, so one step's
    distribution waits, (B, V), and never T of them.
    """

    def __init__(self) -> None:
        self._waiting: Tensor | None = None
        self._drawn: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self._take(input_ids[:, -1])
        self._waiting = scores.float().log_softmax(-1)
        return scores

    def of(self, sequences: Tensor, lengths: Sequence[int]) -> list[tuple[float, ...]]:
        """After the generation, for each row of `sequences` its first `lengths` log-probabilities, nats."""
        self._take(sequences[:, -1])
        rows = torch.stack(self._drawn, dim=1).tolist()
        return [tuple(row[:n]) for row, n in zip(rows, lengths, strict=True)]

    def _take(self, tokens: Tensor) -> None:
        if self._waiting is not None:
            self._drawn.append(self._waiting.gather(1, tokens.to(self._waiting.device).unsqueeze(1)).squeeze(1))
            self._waiting = None


def token_log_probs(local: LoadedModel, pairs: Sequence[Pair]) -> list[Tensor]:
    """log p of every response token, nats: (T,) float64 on the CPU for each pair, in order; a response of none gives (0,).

    Several pairs in one forward pass, padded on the right, which no causal model sees; where neighbours share a prompt, it runs
    once. Raises `ModelError` for an empty prompt, a pair beyond the model's context, and a single pair that does not fit into
    memory.
    """

    def work(group: Sequence[Pair]) -> list[Tensor]:
        return _forward(local, group)

    for pair in pairs:
        _check(local, pair)
    found: list[Tensor] = []
    with local.lock:
        for group in _groups(pairs, 1 if not local.anatomy.cached else _TOKENS_PER_PASS):
            found += halve_on_out_of_memory(work, group, _too_big)
    return found


def likeliest_tokens(local: LoadedModel, trace: Trace, k: int) -> tuple[Tensor, Tensor]:
    """At each place of an answer the token that stands there, then the k - 1 likeliest others: ids and log p, nats, (T, k).

    On the CPU, from what generation kept, or from one forward pass. Raises `ModelError` as `token_log_probs`.
    """
    _check(local, (trace.prompt_ids, trace.response_ids))
    with torch.inference_mode(False), torch.no_grad():
        log_probs = kept_log_probs(local, trace)
        if log_probs is None:
            with local.lock, untouched(local.model):
                (states,) = _predicting(local, [(trace.prompt_ids, trace.response_ids)])
                log_probs = distributions(local, states)
        chosen = torch.tensor(trace.response_ids, device=log_probs.device).unsqueeze(1)
        others = log_probs.scatter(1, chosen, -torch.inf).topk(min(k, log_probs.shape[1]) - 1, dim=-1)
        ids, found = torch.cat([chosen, others.indices], 1), torch.cat([log_probs.gather(1, chosen), others.values], 1)
        return ids.cpu(), found.double().cpu()


def kept_log_probs(local: LoadedModel, trace: Trace) -> Tensor | None:
    """log p, nats, (T, V), from what generation kept of the head; None where it kept none, or of other ids or weights."""
    state = trace.state
    if state is None or state.head_outputs is None or state.ids != (*trace.prompt_ids, *trace.response_ids):
        return None
    if state.weights != weights_version(local.model):
        return None
    z, cap = state.head_outputs.float() * local.anatomy.scale, local.anatomy.softcap
    return (z if cap is None else cap * torch.tanh(z / cap)).log_softmax(-1)


def log_likelihoods(local: LoadedModel, messages: str | Sequence[Message], answers: Sequence[str]) -> list[float]:
    """log P(answer | messages) of each answer, in order: summed over its tokens without the end-of-turn token, in nats.

        log_likelihoods(model, "What is the capital of Japan?", ["Tokyo", "Kyoto"])  # [-1.9, -6.3], say

    The prompt runs once, whatever the number of answers. An answer of no token has 0; one that does not fit into the model's
    context behind the prompt has NaN. Raises `ModelError` where a single answer runs out of memory.
    """
    prompt = local.encode_prompt(messages)
    prompt = [*prompt, *local.unthinking(prompt)]
    inert = Inert(local.tokenizer)
    ids = [inert.encode(inert.text(a)) for a in answers]
    context = local.anatomy.context
    sums = [0.0 if not row else float("nan") for row in ids]
    fit = [i for i, row in enumerate(ids) if row and (context is None or len(prompt) + len(row) <= context)]

    def work(group: Sequence[int]) -> list[float]:
        states = states_behind(local, prompt, [ids[i] for i in group])
        return [float(log_probs_of(local, one, ids[i]).sum()) for i, one in zip(group, states, strict=True)]

    def too_big(i: int) -> ModelError:
        what = f"the likelihood of one answer of {len(ids[i])} tokens behind a prompt of {len(prompt)}"
        return too_large(what, "give a shorter passage")

    with local.lock, torch.inference_mode(), untouched(local.model):
        values = halve_on_out_of_memory(work, fit, too_big) if fit else []
    for i, value in zip(fit, values, strict=True):
        sums[i] = value
    return sums


def next_token_log_probs(local: LoadedModel, prompt: Sequence[int]) -> Tensor:
    """The distribution of the token that follows a prompt: log p, nats, (V,) float64 on the CPU."""
    _check(local, (prompt, ()))
    with local.lock, torch.inference_mode(False), torch.no_grad(), untouched(local.model):
        hidden = _states(local, [list(prompt)])[0, -1:]
        return distributions(local, hidden)[0].double().cpu()


@torch.inference_mode(False)
@torch.no_grad()
def _forward(local: LoadedModel, pairs: Sequence[Pair]) -> list[Tensor]:
    with untouched(local.model):
        states = _predicting(local, pairs)
        return [log_probs_of(local, one, response) for one, (_, response) in zip(states, pairs, strict=True)]


def log_probs_of(local: LoadedModel, predicting: Tensor, response: Sequence[int]) -> Tensor:
    """(T, D), the states that predict a response -> log p of its tokens, nats, (T,) float64 on the CPU."""
    y = torch.tensor(list(response), dtype=torch.long).unsqueeze(1)
    step = max(1, _LOGITS_AT_ONCE // local.anatomy.head.out_features)
    found = torch.zeros(len(y), dtype=torch.float64)
    for t in range(0, len(y), step):
        log_probs = distributions(local, predicting[t : t + step])
        found[t : t + step] = log_probs.gather(1, y[t : t + step].to(log_probs.device)).squeeze(1).cpu()
    return found


def _predicting(local: LoadedModel, pairs: Sequence[Pair]) -> list[Tensor]:
    """The final hidden states that predict each response, (T, D). One prompt that all of them share runs once."""
    prompt, responses = list(pairs[0][0]), [list(response) for _, response in pairs]
    if len(pairs) > 1 and all(list(p) == prompt for p, _ in pairs):
        return states_behind(local, prompt, responses)
    states = _states(local, [[*p, *response[:-1]] for p, response in pairs])  # the last token predicts nothing here
    starts = [len(p) - 1 for p, _ in pairs]
    return [hidden[n : n + len(r)] for hidden, n, r in zip(states, starts, responses, strict=True)]


def states_behind(
    local: LoadedModel,
    prompt: Sequence[int],
    responses: Sequence[Sequence[int]],
    *,
    start: int | None = None,
    behind: Callable[[int], AbstractContextManager[None]] | None = None,
    state: GenerationState | None = None,
) -> list[Tensor]:
    """The final hidden states that predict each response, (T, D), side by side behind one prompt, which runs once.

    Responses are padded on the right, which a causal model does not see. Inside `untouched`, without gradients.

    start: where in the prompt `behind` begins; by default at its last token, which predicts their first ones. behind: entered
    for each pass over what stands from there on, given where in the pass `start` lies. Without a KV cache it is one pass.
    state: what generation kept of an answer; what the prompt has in common with it, before `start`, does not run again.
    """
    tails = pad(responses, local.pad_id)[0][:, :-1].to(local.device)  # a last token predicts nothing here
    N, T = len(responses), tails.shape[1] + 1
    last = len(prompt) - 1
    start = last if start is None else start
    cache, shared = None, 0
    if local.anatomy.cached and last:
        cache, shared = kept_prefix(local, state, prompt[: min(start, last)])
        if shared < start:
            cache, shared = shared_prefix(local, prompt[shared:start], 1, cache), start
        if N > 1:
            if shared < last:
                with behind(0) if behind else nullcontext():
                    cache, shared = shared_prefix(local, prompt[shared:last], N, cache), last
            elif cache is not None:
                cache.batch_repeat_interleave(N)
    head = torch.tensor([list(prompt[shared:])], device=local.device).expand(N, -1)
    with behind(max(start - shared, 0)) if behind else nullcontext():
        out = run_decoder(
            local.anatomy.decoder,
            torch.cat([head, tails], 1),
            mask=torch.ones((N, len(prompt) - 1 + T), dtype=torch.long, device=local.device),
            cache=cache,
        )[0][:, -T:]
    return [states[: len(row)] for states, row in zip(out, responses, strict=True)]


def _states(local: LoadedModel, rows: Sequence[list[int]]) -> Tensor:
    """The final hidden states, (B, S, D), of rows padded on the right."""
    ids, mask = (x.to(local.device) for x in pad(rows, local.pad_id))
    return cast(Tensor, run_decoder(local.anatomy.decoder, ids, mask=mask).last_hidden_state)


def distributions(local: LoadedModel, hidden: Tensor) -> Tensor:
    """Final hidden states, (T, D) -> log p of the token that each predicts, nats, (T, V), float32."""
    return local.anatomy.logits(hidden.to(local.anatomy.head.weight.device)).float().log_softmax(-1)


def _groups(pairs: Sequence[Pair], budget: int) -> list[Sequence[Pair]]:
    """Neighbours together, up to `budget` padded tokens: those of one prompt, or else those of prompts that differ."""
    groups: list[list[Pair]] = []
    for pair in pairs:
        trial = [*groups[-1], pair] if groups else [pair]
        alike = len({tuple(p) for p, _ in trial}) in (1, len(trial))
        if len(trial) > 1 and alike and len(trial) * max(len(p) + len(r) for p, r in trial) <= budget:
            groups[-1] = trial
        else:
            groups.append([pair])
    return list(groups)


def _check(local: LoadedModel, pair: Pair) -> None:
    prompt, response = pair
    context = local.anatomy.context
    if not prompt:
        raise ModelError("the prompt has no token, so nothing predicts the response; give a prompt")
    if context is not None and len(prompt) + len(response) - 1 > context:
        raise ModelError(f"{len(prompt)} + {len(response)} tokens exceed the context of {local.name}, {context}")


def _too_big(pair: Pair) -> ModelError:
    what = f"reading {len(pair[0])} + {len(pair[1])} tokens"
    return too_large(what, "shorten them, or use a device with more memory")
