"""An answer's samples: several generations from one prompt, drawn once and shared by the scorers that want the same ones."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from guardrail.errors import ScoringError
from guardrail.kernels.frozen import on_input, untouched
from guardrail.kernels.memory import TooLargeError
from guardrail.model.decoder import run_decoder
from guardrail.model.generate import generate
from guardrail.model.local import LocalModel
from guardrail.model.recording import Keep
from guardrail.model.remote.weightless import WeightlessModel
from guardrail.model.run import Decoding
from guardrail.model.token_log_probs import NotFiniteError
from guardrail.types import DEFAULT_MAX_NEW_TOKENS, Trace
from guardrail.waiting import seconds_since

Floats = NDArray[np.float64]


class TooLongError(ScoringError):
    """What a scorer has to run exceeds the model's context; the answer stays unscored."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How samples are drawn. n: how many. temperature: greater than 0. top_p in (0, 1], 1 = all; top_k, 0 = all.

    states: whether each sample comes with its middle layer's state. Raises `ScoringError` for values that make no sense.

        Sampling(10, temperature=0.5, top_p=0.99, top_k=5, states=True)   # INSIDE
    """

    n: int
    temperature: float
    top_p: float = 1.0
    top_k: int = 0
    states: bool = False

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ScoringError(f"samples is {self.n}; it must be at least 1")
        if not (0 < self.temperature < math.inf):
            raise ScoringError(
                f"the temperature of samples is {self.temperature}; it must be greater than 0 and finite"
            )
        if not 0 < self.top_p <= 1:
            raise ScoringError(f"top_p is {self.top_p}; it must be in (0, 1], 1 for all tokens")
        if self.top_k < 0:
            raise ScoringError(f"top_k is {self.top_k}; it must be at least 0, 0 for all tokens")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, as a scorer's options record it."""
        out = asdict(self)
        del out["states"]
        return {"samples": out.pop("n"), **out}


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """N samples of one prompt.

    ids: response ids, the end-of-turn token included. texts: without it, stripped. log_probs: (T_n,) for each sample, of its
    tokens under the model itself (temperature 1), nats. states: (N, D), h^(L/2) at the last token that generation read, the one
    before the end of turn; None where not asked for. seconds: wall time of drawing them. thoughts: what each sample thought
    before it answered, token ids with their marks; empty for one that did not.
    """

    ids: tuple[tuple[int, ...], ...]
    texts: tuple[str, ...]
    log_probs: tuple[Floats, ...]
    states: Floats | None = None
    seconds: float = 0.0
    thoughts: tuple[tuple[int, ...], ...] = ()


class SampleSource:
    """Draws samples from one model and remembers the last `remembered` sets of them.

    The draws depend on the prompt, the sampling, the limit and the seed alone, not on who asked before; the caller's random
    generators stay as they are. Threads take turns, by the model's lock.

        source = SampleSource(model, max_new_tokens=30, seed=0)
        source.samples(trace, Sampling(10, temperature=1.0)).texts
    """

    def __init__(
        self, model: LocalModel, *, max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS, seed: int = 0, remembered: int = 256
    ) -> None:
        if max_new_tokens < 1:
            raise ScoringError(f"max_new_tokens is {max_new_tokens}; it must be at least 1")
        if remembered < 1:
            raise ScoringError(f"remembered is {remembered}; it must be at least 1")
        self.model, self.max_new_tokens, self.seed = model, max_new_tokens, seed
        self._remembered = remembered
        self._sets: OrderedDict[Hashable, Samples] = OrderedDict()

    def samples(self, trace: Trace, sampling: Sampling) -> Samples:
        """Samples of the trace's prompt; its own response has no part in them.

        Raises `TooLongError` for a prompt that leaves no room for an answer.
        """
        with self.model.lock:
            key = (trace.prompt_ids, sampling, self.model.version)
            if key not in self._sets:
                self._sets[key] = self.draw(trace, sampling)
                if len(self._sets) > self._remembered:
                    self._sets.popitem(last=False)
            self._sets.move_to_end(key)
            return self._sets[key]

    def draw(self, trace: Trace, sampling: Sampling) -> Samples:
        """As `samples`, whether they are remembered or not; these are not."""
        context = self.model.context
        if context is not None and len(trace.prompt_ids) >= context:
            raise TooLongError(f"{len(trace.prompt_ids)} prompt tokens leave no room for samples, context {context}")
        with self.model.lock:
            start = time.perf_counter()
            drawn = self._draw(trace, sampling)
            return replace(drawn, seconds=seconds_since(start))  # its numbers are on the CPU: nothing is pending

    def _draw(self, trace: Trace, sampling: Sampling) -> Samples:
        if isinstance(self.model, WeightlessModel):
            if sampling.top_k:
                raise ScoringError(f"top_k is {sampling.top_k}, which endpoints do not take; draw from all tokens (0)")
            drawn = self.model.draw(
                trace.messages,
                sampling.n,
                seed=self.seed,
                max_new_tokens=self.max_new_tokens,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
            )
            return _samples_of(drawn)
        decoding = Decoding(
            self.max_new_tokens,
            sampling.temperature,
            self.seed,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            log_probs=True,
        )
        middle = len(self.model.anatomy.layers) // 2
        keep = Keep(middle, -1) if sampling.states and self.model.anatomy.cached else None
        n = sampling.n
        drawn = generate(self.model, [trace.messages] * n, [list(trace.prompt_ids)] * n, decoding, keep, [False] * n)
        if trace.prefix:  # so that they are compared with answers that begin alike
            drawn = [replace(one, text=f"{trace.prefix} {one.text}") if one.text else one for one in drawn]
        if any(one.fault == "not_finite" for one in drawn):
            raise NotFiniteError("NaN or infinity in the model's logits: no sample can be drawn")
        if any(one.fault == "out_of_memory" for one in drawn):
            raise TooLargeError(f"samples of a prompt of {len(trace.prompt_ids)} tokens do not fit into memory")
        states = [self._state(one, middle).double().cpu().numpy() for one in drawn] if sampling.states else None
        return _samples_of(drawn, None if states is None else np.stack(states))

    def _state(self, sample: Trace, middle: int) -> Tensor:
        """h^(middle) at the last token that generation read, (D,): that before the end of turn, or before a cut."""
        at = sample.thinking_tokens + max(0, len(sample.response_ids) - 1)  # 0: the prompt's last token
        if sample.state is not None:
            return sample.state.band_states[at].float()
        return self._read_again(
            [*sample.prompt_ids, *sample.response_ids[: max(0, len(sample.response_ids) - 1)]], middle
        )

    @torch.inference_mode(False)
    @torch.no_grad()
    def _read_again(self, ids: list[int], middle: int) -> Tensor:
        """For models whose cache generation cannot keep: one forward pass."""
        read: list[Tensor] = []
        with untouched(self.model.model) as stack:
            on_input(stack, self.model.anatomy.layers[middle], read.append)
            run_decoder(self.model.anatomy.decoder, torch.tensor([ids], device=self.model.device))
        return read[0][0, -1].float()


def _samples_of(drawn: Sequence[Trace], states: Floats | None = None) -> Samples:
    return Samples(
        tuple(one.response_ids for one in drawn),
        tuple(one.text for one in drawn),
        tuple(np.array(one.log_probs or (), dtype=np.float64) for one in drawn),
        states,
        thoughts=tuple(one.prompt_ids[len(one.prompt_ids) - one.thinking_tokens :] for one in drawn),
    )
