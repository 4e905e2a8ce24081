"""Transformers' own continuous batching as what shares the passes: `ContinuousBatchingManager`, with a paged cache.

It generates alone and keeps nothing for scoring: whoever holds the model's lock pauses it, and scoring reads the answer once
more. Made for a GPU, where its passes are packed and captured; on a CPU it works, and is slower than `batching`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, Literal

import torch
from transformers import GenerationConfig

from guardrail.deadlines import check_deadline, sooner
from guardrail.errors import ModelError
from guardrail.kernels.frozen import weights_version
from guardrail.model.continuous.micro_batches import MicroBatches
from guardrail.model.continuous.parts import SharedPassError
from guardrail.model.continuous.sharing import OnTiming
from guardrail.model.loaded import LoadedModel
from guardrail.model.recording import Keep
from guardrail.model.run import Decoding, PromptBatch, Response, Run

_PAGE = 32  # tokens
_TOKENS = 16384  # cached at once on a CPU, where nobody says how much memory is to spare
_PASS = 512  # tokens of one pass there: its mask is dense
_SHARE = 0.5  # of a GPU's free memory: scoring needs some, too
_NEAR = (
    1e-3,
    0.05,
)  # nats, in float32 and in less: rounding is a hundredth of it, a wrong position a hundred times as much


class PagedBatching:
    """Shares the passes of one model among callers by transformers' loop; `LocalModel.shared(driver="transformers")` makes one.

    It takes greedy answers without a form, of models that do not think first; the others take turns with the loop. An answer
    whose log-probabilities are not finite is generated again alone, which tells whose fault it is.

    Raises `ModelError` for a transformers without `ContinuousBatchingManager.pause`, an attention that it cannot page, and a
    model whose log-probabilities come out different in its loop.

    Attributes:
        max_rows: How many answers run at once; the others wait, first come, first served.
        merges: True: it was proved on a few tokens.
        scoring: Joins the scoring of answers that are done at about the same time.
        room: The longest prompt with its answer that the cache has room for, in tokens.
    """

    merges = True

    def __init__(self, local: LoadedModel, max_rows: int = 16, on_timing: OnTiming | None = None) -> None:
        self._local, self.max_rows, self._on_timing = local, max_rows, on_timing
        self.scoring = MicroBatches(local.lock, max_rows)
        self._rows: dict[str, SimpleQueue[Any]] = {}  # an output, or None once nothing more comes
        self._own, self._count, self._closed = Lock(), 0, False
        self._trained = [module for module in local.model.modules() if module.training]  # the manager ends that
        with local.lock:
            if local.lock.pauses is not None:
                raise ModelError(f"{local.name} is shared already by a model with the same config; use that one")
            self._manager = _manager(local, max_rows)
            self._version = weights_version(local.model)
            self.room = _longest(self._manager)
            self._manager.start()
            local.lock.pauses = self._paused
        self._thread = Thread(target=self._deliver, name="guardrail-paged", daemon=True)
        self._thread.start()
        try:
            self._prove()
        except BaseException:
            self.close(drain=False)
            raise

    @property
    def waiting(self) -> int:
        """How many answers have not begun."""
        return max(0, len(self._rows) - self.max_rows)

    @property
    def running(self) -> int:
        """How many answers are generated right now."""
        return min(len(self._rows), self.max_rows)

    @property
    def alive(self) -> bool:
        """Whether the loop runs."""
        return bool(self._manager.is_running())

    def takes(self, prompts: Sequence[Sequence[int]], decoding: Decoding, keep: Keep | None) -> bool:
        """Whether a call is for the loop: one greedy answer without a form that its cache has room for, of a thread that does
        not hold the lock. What scoring watches in a thought is seen by `batching` alone."""
        free = decoding.temperature == 0 and not any(decoding.constraints)
        unwatched = keep is None or not self._local.thinking.opens
        fits = len(prompts) == 1 and len(prompts[0]) + decoding.max_new_tokens <= self.room
        return free and unwatched and fits and not self._closed and not self._local.lock.held

    def close(self, *, drain: bool = True) -> None:
        """Take nothing more, and end once what runs and waits is done; without `drain`, those callers get a `ModelError`."""
        self._closed = True
        self._manager.stop(block=True, hard_stop=not drain)
        self._thread.join()
        with self._local.lock:
            self._local.lock.pauses = None
            self._manager.destroy()
            for module in self._trained:
                module.training = True

    def drive(self, batch: PromptBatch) -> list[Response]:
        """Answer one prompt in the loop; a `generate.Drive`. `on_step` runs in the caller's thread, while the loop goes on.

        Raises what its own steps raise, `ModelError` where the weights have changed, and `SharedPassError`.
        """
        (prompt,), local = batch.prompts, self._local
        run = Run(replace(batch, keep=None))  # nothing is kept here
        steps = run.steps()
        ids: list[int] = []
        begun = ended = 0.0
        with closing(self._outputs(*self._ask(prompt, batch.room, streaming=steps is not None))) as outputs:
            for output in outputs:
                ids, begun = output.generated_tokens, output.lifespan[0]
                if not ended:
                    self._time("wait", begun - output.created_time)
                ended = time.perf_counter()
                if steps is not None and bool(steps(torch.tensor([[*prompt, *ids]]), None)[0]):
                    break
        self._time("generate", ended - begun)
        with local.lock:
            if weights_version(local.model) != self._version:
                raise ModelError(
                    "the model's weights or adapters have changed since its passes were shared, so nothing is answered; leave "
                    "`model.shared()` and open it again"
                )
        (response,) = run.responses(torch.tensor([[*prompt, *ids]]))
        return [replace(response, ms=(ended - begun) * 1000)]

    def _ask(self, prompt: Sequence[int], room: int, *, streaming: bool) -> tuple[str, SimpleQueue[Any]]:
        """Hand a prompt in: the name of its request, and where its outputs come, one a token where `streaming`.

        Raises `ModelError` where the loop has ended.
        """
        mine: SimpleQueue[Any] = SimpleQueue()
        with self._own:
            self._count += 1
            ident = f"guardrail-{self._count}"
            self._rows[ident] = mine
        ends = self._local.eos_ids
        options = {"max_new_tokens": room, "streaming": streaming, "eos_token_id": ends, "request_id": ident}
        if self._closed or not self.alive or self._manager.add_request(list(prompt), **options) is None:
            with self._own:
                del self._rows[ident]
            raise _ended()
        return ident, mine

    def _outputs(self, ident: str, mine: SimpleQueue[Any]) -> Generator[Any]:
        """What comes for a request, the last one finished. Left before that, it is cancelled.

        Raises `ModelError` where the loop has ended, and `SharedPassError` for what failed in it.
        """
        finished = False
        try:
            while not finished:
                try:
                    output = mine.get(timeout=sooner(None))
                except Empty:
                    check_deadline()
                    continue
                if output is None or (output.error is not None and self._closed):
                    raise _ended()
                if output.error is not None:
                    raise SharedPassError(f"a pass for this answer has failed ({output.error}); ask again")
                if not all(map(math.isfinite, output.logprobs)):
                    raise SharedPassError("a pass for this answer gave NaN or infinite logits; ask again")
                finished = output.is_finished()
                yield output
        finally:
            with self._own:
                self._rows.pop(ident, None)
            if not finished:  # its place is free at the next token
                self._manager.cancel_request(ident)

    def _deliver(self) -> None:
        """Hand each output to whoever waits for it; nobody waits for a loop that is gone."""
        for output in self._manager:
            self._hand(output)
        while (output := self._manager.get_result(timeout=0.01)) is not None:
            self._hand(output)
        with self._own:
            for mine in self._rows.values():
                mine.put(None)

    def _hand(self, output: Any) -> None:
        with self._own:
            if (mine := self._rows.get(output.request_id)) is not None:
                mine.put(output)

    @contextmanager
    def _paused(self) -> Iterator[None]:
        """While somebody has the lock. A loop that is gone needs no pause."""
        with ExitStack() as stack:
            with suppress(RuntimeError):
                stack.enter_context(self._manager.pause())
            yield

    def _prove(self) -> None:
        """Raise `ModelError` where prompts of different lengths, together, get other log-probabilities than each alone."""
        local = self._local
        vocabulary = local.anatomy.head.out_features
        prompts = [[(7 * i + k) % vocabulary for i in range(n)] for k, n in enumerate((3, 11))]
        near = _NEAR[local.model.dtype != torch.float32]
        asked = [self._ask(prompt, 4, streaming=False) for prompt in prompts]
        for prompt, output in zip(prompts, [next(self._outputs(*each)) for each in asked], strict=True):
            ids = torch.tensor([[*prompt, *output.generated_tokens]], device=local.device)
            with local.lock, torch.no_grad():
                rows = local.model(input_ids=ids).logits[0, len(prompt) - 1 : -1].float().log_softmax(-1)
            alone = rows.gather(1, ids[0, len(prompt) :, None])[:, 0].tolist()
            if not all(abs(a - b) <= near * (1 + abs(b)) for a, b in zip(output.logprobs, alone, strict=True)):
                raise ModelError(
                    f"{local.name} gets other log-probabilities in transformers' continuous batching than alone; share its "
                    'passes with driver="guardrail"'
                )

    def _time(self, what: Literal["wait", "generate"], seconds: float) -> None:
        if self._on_timing is not None:
            with suppress(Exception):  # a metric is no reason to lose answers
                self._on_timing(what, seconds)


def _manager(local: LoadedModel, max_rows: int) -> Any:
    """Transformers' manager with its cache, not started. Raises `ModelError` where it cannot serve this model."""
    try:
        from transformers import ContinuousBatchingConfig
        from transformers.generation.continuous_batching import ContinuousBatchingManager

        if not hasattr(ContinuousBatchingManager, "pause"):
            raise ImportError("it has no ContinuousBatchingManager.pause")
    except ImportError as error:
        raise ModelError(
            f'driver="transformers" needs a newer transformers ({error}): pip install -U transformers; or take '
            'driver="guardrail"'
        ) from error
    attention = getattr(local.model.config, "_attn_implementation", None)
    if attention != "sdpa" and "flash" not in str(attention):
        raise ModelError(
            f"{local.name} has the attention {attention!r}, and transformers' continuous batching needs sdpa or a flash kind: "
            'load it with attn_implementation="sdpa", or share its passes with driver="guardrail"'
        )
    on_cpu = local.device.type == "cpu"
    cached = min(_TOKENS, max_rows * (local.context or _TOKENS))
    config = ContinuousBatchingConfig(
        page_size=_PAGE,
        num_blocks=max_rows + cached // _PAGE if on_cpu else None,
        max_batch_tokens=_PASS if on_cpu else None,
        max_memory_percent=None if on_cpu else _SHARE,
        max_requests_per_batch=max_rows,
        return_logprobs=True,
        auto_switch_to_flash=False,  # scoring runs on the attention that the model was loaded with
    )
    greedy = GenerationConfig(do_sample=False, eos_token_id=local.eos_ids, pad_token_id=local.pad_id)
    try:
        manager = local.model.init_continuous_batching(greedy, config)  # type: ignore[operator]
        manager.warmup()  # makes the cache, and on a GPU captures the passes
    except Exception as error:
        raise ModelError(
            f"{local.name} cannot be driven by transformers' continuous batching ({error}); share its passes with "
            'driver="guardrail"'
        ) from error
    return manager


def _longest(manager: Any) -> int:
    """The longest prompt with its answer that the empty cache has room for, in tokens: whole pages."""
    cache = manager.batch_processor.cache
    longest: int = min(each.tokens_per_page * each.num_blocks for each in cache.cache_allocators.values())
    return longest


def _ended() -> ModelError:
    return ModelError("the shared generation of this model has ended; open it again with `model.shared()`")
