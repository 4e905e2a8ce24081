"""One answer of a shared loop: its draws, its stops, its error. What a step does is `Run`'s, as in a batch of its own."""

from __future__ import annotations

import time
from contextvars import Context
from threading import Event

import torch
from torch import Tensor
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from guardrail.model.run import PromptBatch, Response, Run


class Row:
    """A batch of one prompt on its way through the loop.

    Attributes:
        context: The caller's context variables: its deadline, its spans.
        done: Set once there is a response or an error.
        left: Set where the caller waits no more.
        steps: After how many of others' steps it could have begun.
        asked: When it was handed in, in seconds of `perf_counter`; begun: when its prompt ran.
    """

    def __init__(self, batch: PromptBatch, own: Context) -> None:
        self._batch, self.decoding, self.keep, self.room = batch, batch.decoding, batch.keep, batch.room
        (self.prompt,) = batch.prompts
        self.context = own
        self.done, self.left = Event(), Event()
        self.steps = 0
        self.asked, self.begun = time.perf_counter(), 0.0
        self.response: Response | None = None
        self.error: BaseException | None = None

    def open(self) -> None:
        """Before its first pass."""
        local = self._batch.local
        self.begun = time.perf_counter()
        self.run = Run(self._batch)
        self._steps = self.run.steps()
        self.out, d = self.run.ids.to(local.device), self.decoding
        self._ends = frozenset(local.eos_ids)
        self._choose = LogitsProcessorList(self.run.processors)
        self._generator: torch.Generator | None = None
        if d.temperature > 0:
            seed = int(torch.randint(2**62, ()).item()) if d.seed is None else d.seed
            self._generator = torch.Generator(local.device)
            self._generator.manual_seed(seed)
            # as transformers orders them, and where it leaves them out
            self._choose += [TemperatureLogitsWarper(float(d.temperature))] if d.temperature != 1 else []
            self._choose += [TopKLogitsWarper(d.top_k)] if d.top_k else []
            self._choose += [TopPLogitsWarper(d.top_p)] if d.top_p < 1 else []

    def take(self, logits: Tensor) -> bool:
        """Choose the next token by the model's logits, (1, V), and say whether it is the last."""
        scores = self._choose(self.out, logits.to(copy=True, dtype=torch.float32, device=self.out.device))
        if self._generator is not None:
            token = torch.multinomial(scores.softmax(-1), 1, generator=self._generator)
        else:
            token = scores.argmax(-1, keepdim=True)
        self.out = torch.cat([self.out, token], dim=1)
        ended = self._steps is not None and bool(self._steps(self.out, None)[0])
        length = self.out.shape[1] - self.run.width
        return ended or int(token) in self._ends or length >= self.room

    def finish(self) -> None:
        """Read what it came to, while its cache is there."""
        (self.response,) = self.run.responses(self.out)

    def fail(self, error: BaseException) -> None:
        """Its caller raises the error."""
        self.error = error
        self.done.set()
