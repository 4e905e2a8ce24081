"""Continuous batching: answers that several threads ask for share the model's passes.

One thread owns the loop. Between two steps new prompts run, together where they begin alike, and join; answers that end leave
at once. Nothing here says what a step does for an answer: that is `Run`'s. Models whose caches cannot be merged take turns, as
without it.
"""

from __future__ import annotations

import inspect
import logging
import threading
from collections import deque
from collections.abc import Sequence
from contextvars import ContextVar, copy_context
from itertools import islice
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import DynamicCache

from guardrail.deadlines import check_deadline, sooner
from guardrail.errors import ModelError
from guardrail.kernels.frozen import untouched, weights_version
from guardrail.model.continuous.cache import SharedCache
from guardrail.model.continuous.micro_batches import CROWD, ENOUGH, MicroBatches
from guardrail.model.continuous.parts import Parts, SharedPassError, failed
from guardrail.model.continuous.prefill import Prefill
from guardrail.model.continuous.row import Row
from guardrail.model.continuous.sharing import OnTiming
from guardrail.model.decoder import cache_keyword
from guardrail.model.loaded import LoadedModel
from guardrail.model.recording import Keep
from guardrail.model.run import Decoding, PromptBatch, Response, counts_plainly
from guardrail.waiting import seconds_since

_log = logging.getLogger(__name__)

_inside: ContextVar[bool] = ContextVar("guardrail_continuous_inside", default=False)
_PATIENCE = 2  # steps
_NEAR = 1e-3  # of the largest logit: float32 noise is a hundredth of it, a wrong position a hundred times as much


class ContinuousBatching:
    """Shares the passes of one model among callers; `LocalModel.shared` makes one.

    Attributes:
        max_rows: How many answers run at once; the others wait, first come, first served.
        merges: Whether this model's caches can be merged, proved on a few tokens. Where not, callers take turns.
        scoring: Joins the scoring of answers that are done at about the same time.
    """

    def __init__(self, local: LoadedModel, max_rows: int = 16, on_timing: OnTiming | None = None) -> None:
        self._local, self.max_rows, self._on_timing = local, max_rows, on_timing
        self.merges = can_merge(local)
        self.scoring = MicroBatches(local.lock, max_rows)
        self._queue: deque[Row] = deque()
        self._rows: list[Row] = []
        self._cache = SharedCache()
        self._prefill = Prefill(local, _logits)
        self._version = 0  # of the weights that `_rows` run on
        self._parts = Parts(local, max_rows)
        self._news = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name="guardrail-continuous", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many answers have not begun."""
        return len(self._queue)

    @property
    def running(self) -> int:
        """How many answers are generated right now."""
        return len(self._rows)

    @property
    def alive(self) -> bool:
        """Whether the loop runs."""
        return self._thread.is_alive()

    def takes(self, prompts: Sequence[Sequence[int]], decoding: Decoding, keep: Keep | None) -> bool:
        """Whether a call is for the loop: one prompt, of a thread that neither holds the lock nor serves the loop."""
        one = len(prompts) == 1
        return self.merges and one and not self._closed and not self._local.lock.held and not _inside.get()

    def close(self, *, drain: bool = True) -> None:
        """Take nothing more, and end once what runs and waits is done; without `drain`, those callers get a `ModelError`."""
        with self._news:
            self._closed = True
            if not drain:
                for row in (*self._queue, *self._rows):
                    row.left.set()
            self._news.notify_all()
        self._thread.join()

    def drive(self, batch: PromptBatch) -> list[Response]:
        """Answer one prompt in the loop; a `generate.Drive`. Raises what its own steps raise, and `SharedPassError`."""
        own = copy_context()
        own.run(_inside.set, True)
        row = Row(batch, own)
        with self._news:
            if self._closed or not self.alive:
                raise ModelError("the shared generation of this model has ended; open it again with `model.shared()`")
            self._queue.append(row)
            self._news.notify_all()
        try:
            if not row.done.wait(sooner(None)):
                check_deadline()
        finally:
            row.left.set()  # where it is not done, its place is free at the next token
        if row.error is not None:
            raise row.error
        if row.response is None:
            raise ModelError("the shared generation of this model was closed before this answer was there")
        return [row.response]

    def _loop(self) -> None:
        error: BaseException = ModelError("the shared generation of this model was closed")
        try:
            while self._next():
                with self._local.lock, torch.inference_mode(False), torch.no_grad():
                    self._leave()
                    if self._rows:
                        self._step()
                while self._queue and len(self._rows) < self.max_rows and not self._company():
                    with self._local.lock, torch.inference_mode(False), torch.no_grad():
                        self._admit()
                self.scoring.stepped(len(self._rows))
        except BaseException as caught:
            error = caught
            raise
        finally:  # nobody waits for a loop that is gone
            self.scoring.stepped(0)
            with self._news:
                self._closed = True
                for row in (*self._rows, *self._queue):
                    row.fail(error)

    def _next(self) -> bool:
        """Wait for something to do; False where there will be nothing more."""
        with self._news:
            self._news.wait_for(lambda: self._rows or self._queue or self._closed)
            return bool(self._rows or self._queue)

    def _company(self) -> bool:
        """Whether a prompt waits a step more for others to share its pass: among many answers, each step without it costs
        less than a pass of its own."""
        first = self._queue[0]
        first.steps += 1
        crowd = len(self._rows) >= CROWD
        return crowd and len(self._queue) < ENOUGH and first.steps <= _PATIENCE

    def _leave(self) -> None:
        """Free the places of callers that are gone, and of rows whose time is over."""
        for row in list(self._rows):
            try:
                row.context.run(check_deadline)
            except Exception as error:
                self._remove(row, error)
                continue
            if row.left.is_set():
                self._remove(row, ModelError("its caller waits no more"))

    def _admit(self) -> None:
        """Run the prompt that waits first, with those behind it that run in the same pass."""
        version = weights_version(self._local.model)
        with self._news:  # others come meanwhile
            first = list(islice(self._queue, self.max_rows - len(self._rows)))
        group = self._prefill.group(first, version)
        opened = []
        for row in group:
            try:
                if not row.left.is_set():
                    row.context.run(check_deadline)
                    row.open()
                    self._time("wait", row.begun - row.asked)
                    opened.append(row)
            except BaseException as error:  # whatever its caller's code raises, the others go on
                row.fail(error)
        if opened and self._rows and version != self._version:
            self._fail_all(_changed())
        self._begin(opened, version)
        for _ in group:
            self._queue.popleft()

    def _begin(self, rows: Sequence[Row], version: int) -> None:
        """Run prompts together; where that fails, each alone and by its own deadline."""
        found: list[tuple[Tensor, DynamicCache] | None] = [None] * len(rows)
        if len(rows) > 1:
            try:
                found = [*self._prefill.run(rows, version)]
            except Exception:
                _log.debug("a pass of %d prompts has failed; each is run alone", len(rows), exc_info=True)
        for row, filled in zip(rows, found, strict=True):
            try:
                row.context.run(self._join, row, filled, version)
            except BaseException as error:
                row.fail(error)

    def _join(self, row: Row, filled: tuple[Tensor, DynamicCache] | None, version: int) -> None:
        """Take a prompt's first token, and let it go on with the others. filled: what its pass gave, if it has run."""
        logits, cache = filled or self._prefill.run([row], version)[0]
        if self._take(row, logits):
            self._time("generate", seconds_since(row.begun))
            row.done.set()
            return
        try:
            self._cache.add(cache, len(row.prompt))
        except Exception as error:
            if not isinstance(error, ValueError):  # that one came before anything was changed
                self._fail_all(failed(error))
            raise failed(error) from error
        self._rows.append(row)
        self._version = version
        self._see_caches()

    def _step(self) -> None:
        """One token for every row."""
        local, rows = self._local, list(self._rows)
        if weights_version(local.model) != self._version:
            self._fail_all(_changed())
            return
        try:
            self._cache.ready()
        except Exception as error:
            self._fail_all(failed(error))
            return
        found = self._parts.run(rows, self._cache, lambda ids, mask: _logits(local, ids, mask, self._cache.cache))
        self._cache.advance()
        for row, logits in zip(rows, found, strict=True):
            try:
                if isinstance(logits, SharedPassError):
                    raise logits
                if row.context.run(self._take, row, logits):
                    self._remove(row)
            except BaseException as error:
                self._remove(row, error)

    def _take(self, row: Row, logits: Tensor) -> bool:
        ended = row.take(logits)
        if ended:
            row.finish()
        return ended

    def _remove(self, row: Row, error: BaseException | None = None) -> None:
        at, last = self._rows.index(row), self._rows.pop()
        if last is not row:
            self._rows[at] = last
        self._cache.remove(at)
        self._see_caches()
        row.run.recording = None
        self._time("generate", seconds_since(row.begun))
        row.error = error
        row.done.set()

    def _see_caches(self) -> None:
        for r, row in enumerate(self._rows):
            if row.run.recording is not None:
                row.run.recording.cache = self._cache.row(r)

    def _fail_all(self, error: BaseException) -> None:
        for row in list(self._rows):
            self._remove(row, error)

    def _time(self, what: Literal["wait", "generate"], seconds: float) -> None:
        if self._on_timing is None:
            return
        try:
            self._on_timing(what, seconds)
        except Exception:  # a metric is no reason to lose answers
            _log.exception("on_timing of a shared generation failed")


def can_merge(local: LoadedModel) -> bool:
    """Whether rows of different lengths, merged, get the logits that each gets alone: proved on a few tokens."""
    if not local.anatomy.cached or not counts_plainly(local.model):
        return False
    vocabulary = local.anatomy.head.out_features
    prompts = [[(7 * i + k) % vocabulary for i in range(n)] for k, n in enumerate((3, 11))]
    shared, alone = SharedCache(), []
    with local.lock, torch.inference_mode(False), torch.no_grad(), untouched(local.model):
        try:
            for prompt in prompts:
                cache, ids = DynamicCache(), torch.tensor([prompt], device=local.device)
                _logits(local, ids, torch.ones_like(ids), cache)
                shared.add(cache, len(prompt))
                alone.append(_logits(local, ids[:, :1], torch.ones_like(ids[:, :1]).expand(1, len(prompt) + 1), cache))
            shared.ready()
            first = torch.tensor([prompt[:1] for prompt in prompts], device=local.device)
            together, expected = _logits(local, first, shared.mask(local.device), shared.cache), torch.cat(alone)
        except (RuntimeError, TypeError, ValueError, AttributeError, IndexError, KeyError, NotImplementedError):
            return False  # a cache or an attention of another kind
    # half precision rounds at 2^-8; a NaN compares as False
    near = _NEAR if together.dtype == torch.float32 else 0.05
    return bool((together - expected).abs().max() <= near * expected.abs().max())


def _logits(local: LoadedModel, ids: Tensor, mask: Tensor, cache: Any) -> Tensor:
    """(B, V) of the last tokens. ids: (B, S) that follow what is cached; mask: (B, C + S)."""
    takes = inspect.signature(local.model.forward).parameters
    given: dict[str, Any] = {cache_keyword(local.model.forward): cache, "use_cache": True}
    if "position_ids" in takes:
        given["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
    if "logits_to_keep" in takes:
        given["logits_to_keep"] = 1
    logits: Tensor = local.model(input_ids=ids, attention_mask=mask, **given).logits[:, -1]
    return logits


def _changed() -> ModelError:
    return ModelError("the model's weights or adapters changed while it answered, so nothing is answered; ask again")
