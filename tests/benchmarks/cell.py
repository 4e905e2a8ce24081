"""One cell of the grid: generation, ours, the released way, G-NLL and Semantic Entropy on one prompt and one answer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cached_property
from typing import Any

import torch
from langchain_core.embeddings import Embeddings

from guardrail.types import GenerationState, Score, Trace
from tests.benchmarks.baselines import SAMPLES, g_nll, logits_of_generation, sampling_bytes, semantic_entropy
from tests.benchmarks.measure import Budget, Column, milliseconds, peak_extra, room
from tests.benchmarks.released import released_bytes, released_way
from tests.benchmarks.subject import Subject


class Cell:
    """One prompt length with one response length, and what its columns share."""

    def __init__(self, subject: Subject, embedder: Embeddings, prompt: int, response: int, budget: Budget) -> None:
        self.subject, self.embedder, self.length = subject, embedder, response
        self.local, self.scorer, self.device = subject.local, subject.scorer, subject.device
        self.size = (prompt, response)
        self.message = subject.prompt(prompt)
        self.guarded_first = False
        self.trace: Trace | None = None
        self.memory: dict[str, int | None] = {}
        self.semgrads: list[float] = []
        works: dict[str, Callable[[], Mapping[str, float]]] = {
            "answer": self._pair,
            "ids": self._from_ids,
            "released": self._released,
            "g_nll": self._g_nll,
            "entropy": self._entropy,
        }
        self.columns = {name: Column(work, budget) for name, work in works.items()}

    def measure(self) -> None:
        with logits_of_generation(
            self.local
        ) as outputs:  # this answer warms up generation and scoring, and is not timed
            self.trace = self.subject.answer(self.message, self.length, keep=True)
        self.logits = torch.cat(outputs)
        score = self._score()
        self._check(score)
        self.memory["scoring"] = peak_extra(self._score, self.device)
        self.memory["kept"] = kept_bytes(self.trace.state)
        needed = released_bytes(self.local.model.config, *self.size, self._bytes)
        if (left := room(self.device)) is not None and needed > left:
            self.columns["released"].why_not = f"does not fit (about {needed / 1e9:.0f} GB)"
        else:
            self.memory["released"] = peak_extra(self.columns["released"].warm_up, self.device)
            if self.columns["released"].why_not:
                self.memory["released"] = None
        if not self.batch:
            self.columns["entropy"].why_not = "does not fit"
        self.columns["ids"].warm_up()
        self.columns["g_nll"].warm_up()
        while wanted := [column for column in self.columns.values() if column.wanted]:
            for column in wanted:  # a round: interleaved, since the machine is not equally quiet all the time
                column.run()

    @cached_property
    def batch(self) -> int:
        """How many samples fit into memory together; 0 if not even one."""
        left = room(self.device)
        sizes = {b: sampling_bytes(self.local.model.config, *self.size, b, self._bytes) for b in (SAMPLES, 5, 2, 1)}
        return next((b for b, needed in sizes.items() if left is None or needed <= left), 0)

    @property
    def _bytes(self) -> int:
        return self.local.anatomy.head.weight.element_size()

    @property
    def _ids(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        assert self.trace is not None
        return self.trace.prompt_ids, self.trace.response_ids

    def _score(self) -> Score:
        assert self.trace is not None
        return self.scorer.score_trace(self.trace)

    def _check(self, score: Score) -> None:
        """What is timed must be a score, and the same one."""
        if score.unscored or score.nll is None or score.semgrad is None:
            raise SystemExit(f"the answer cannot be scored ({score.unscored}): nothing to measure")
        nll = g_nll(self.local, self.logits, self._ids[1])
        if abs(nll - score.nll) > 1e-2 * abs(nll) + 1e-2:
            print(f"WARNING: G-NLL is {nll} from the logits and {score.nll} in the score", file=sys.stderr)
        self.semgrads.append(score.semgrad)

    def _pair(self) -> dict[str, float]:
        """Generation alone and a guarded answer, by turns the one or the other first."""
        ms: dict[str, float] = {}

        def alone() -> None:
            ms["generation"] = milliseconds(
                lambda: self.subject.answer(self.message, self.length, keep=False), self.device
            )

        def guarded() -> None:
            self.trace = None  # as in use: the state of the answer before is gone

            def generate() -> None:
                self.trace = self.subject.answer(self.message, self.length, keep=True)

            ms["keeping"] = milliseconds(generate, self.device)
            ms["scoring"] = milliseconds(self._score, self.device)

        works = [guarded, alone] if self.guarded_first else [alone, guarded]
        self.guarded_first = not self.guarded_first
        for work in works:
            work()
        ms["guarded"] = ms["keeping"] + ms["scoring"]
        ms["added"] = (ms["guarded"] / ms["generation"] - 1) * 100
        ms["share"] = ms["scoring"] / ms["generation"] * 100
        ms["added ms"] = ms["guarded"] - ms["generation"]
        return ms

    def _from_ids(self) -> dict[str, float]:
        return {"ids": milliseconds(lambda: self.scorer.score(*self._ids), self.device)}

    def _released(self) -> dict[str, float]:
        def work() -> None:
            self.semgrads.append(released_way(self.local.model, *self._ids, self.scorer.profile.token)[0])

        return {"released": milliseconds(work, self.device)}

    def _g_nll(self) -> dict[str, float]:
        return {"g_nll": milliseconds(lambda: g_nll(self.local, self.logits, self._ids[1]), self.device)}

    def _entropy(self) -> dict[str, float]:
        def work() -> None:
            semantic_entropy(self.local, self.embedder, self.message, self.length, self.batch)

        return {"entropy": milliseconds(work, self.device)}

    def values(self, column: str, name: str = "") -> list[float]:
        return self.columns[column].values.get(name or column, [])

    def ratio(self, column: str, to: str) -> list[float]:
        """Of a column to scoring or generation, round by round."""
        return [a / b for a, b in zip(self.values(column), self.values("answer", to), strict=False)]

    @property
    def disagreement(self) -> float:
        """The largest relative difference of the released way's SemGrad from ours."""
        first = self.semgrads[0]
        return max(abs(s / first - 1) for s in self.semgrads)


def kept_bytes(state: GenerationState | None) -> int:
    """What generation kept for scoring beyond its own KV cache."""
    kept = [getattr(state, f.name) for f in fields(GenerationState) if not f.name.startswith("cache_")] if state else []
    return sum(x.nbytes for value in kept for x in _tensors(value))


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    return [x for part in parts for x in _tensors(part)]
