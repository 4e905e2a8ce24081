"""Answers -> what named scorers say of them and what each costs, as a run file's records."""

from __future__ import annotations

import hashlib
import inspect
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guardrail.errors import ScoringError
from guardrail.model.recording import Keep
from guardrail.runs.cost import peak_extra, seconds
from guardrail.scoring.baselines.base import Sampled
from guardrail.scoring.baselines.samples import SampleSource, TooLongError
from guardrail.scoring.protocol import scores_spans
from guardrail.scoring.registry import reader_of, scorer
from guardrail.waiting import seconds_since

if TYPE_CHECKING:
    import torch

    from guardrail.model.local import LocalModel
    from guardrail.scoring.baselines.equivalence import Equivalence
    from guardrail.scoring.protocol import Scorer
    from guardrail.types import Score, Trace

GENERATION = "generation"
"""The name under which `seconds` holds the time of generation."""


@dataclass(frozen=True, slots=True)
class ScorerPass:
    """Scorers by the names that records have them under. memory: questions at whose answers memory is measured, too.

    One answer at a time, so that a scorer's seconds do not depend on what stands beside it. Samples that several scorers read
    are drawn once, and their time counts for each of them, as if it were alone.
    """

    scorers: Mapping[str, Scorer] = field(default_factory=dict)
    memory: Collection[str] = ()

    @property
    def header(self) -> dict[str, Any]:
        """What a run's header says of them; nothing where there are none."""
        told = {
            name: {"scorer": s.name, "options": dict(s.options)} | _code_of(type(s)) for name, s in self.scorers.items()
        }
        return {"scorers": told} if told else {}

    def keep(self, own: Keep) -> Keep:
        """What generation should keep for all of them."""
        found = Keep.joined([own, *(s.keep for s in self.scorers.values() if s.keep is not None)])
        assert found is not None  # noqa: S101  (one is given)
        return found

    def record(self, question: str, trace: Trace, device: torch.device) -> dict[str, Any]:
        """What a record holds of one answer, by scorer.

        scores: None where there is none, and then `unscored_by` has the reason. seconds: beyond generation; generation's own is
        there, too. memory: peak bytes, where it is measured and the system tells.
        """
        if not self.scorers:
            return {}
        out: dict[str, Any] = {"scores": {}, "seconds": {GENERATION: trace.generate_ms / 1000}}
        unscored: dict[str, str] = {}
        memory: dict[str, int | None] = {}
        for name, scoring in self.scorers.items():
            score, out["seconds"][name] = _timed(scoring, trace, device)
            out["scores"][name] = None if score.unscored else score.value
            if score.unscored:
                unscored[name] = score.unscored
            elif question in self.memory:
                memory[name] = _peak(scoring, trace, device)
        return out | ({"unscored_by": unscored} if unscored else {}) | ({"memory": memory} if memory else {})

    def record_spans(self, trace: Trace, spans: Sequence[tuple[int, int]]) -> list[dict[str, float | None]]:
        """What the scorers say of the parts of an answer, by name, one mapping a span; None where one has no number.

        Raises `ScoringError` for a scorer that scores whole answers alone.
        """
        out: list[dict[str, float | None]] = [{} for _ in spans]
        for name, scoring in self.scorers.items():
            if not scores_spans(scoring):
                raise ScoringError(f"scorer {name!r} scores whole answers, and no parts of them")
            for told, score in zip(out, scoring.score_spans([trace], [spans])[0], strict=True):
                told[name] = score.number
        return out


def _code_of(kind: type) -> dict[str, str]:
    """The SHA-256 of a scorer's source, of one that is not guardrail's own: under the same name and options it may be another
    one tomorrow."""
    if kind.__module__.partition(".")[0] == "guardrail":
        return {}
    try:
        source = Path(inspect.getfile(kind)).read_bytes()
    except (OSError, TypeError):  # of a notebook
        try:
            source = inspect.getsource(kind).encode()
        except (OSError, TypeError):
            return {}
    return {"code": hashlib.sha256(source).hexdigest()}


def pass_for(scorer: Scorer) -> ScorerPass:
    """What has to score the answers for a calibrator of this scorer, beside the pass that every record holds."""
    needed = reader_of(scorer.name, scorer.options).reads
    of_its_own = {scorer.name: scorer, **getattr(scorer, "reads", {})}
    return ScorerPass({name: of_its_own[name] for name in needed})


def scorer_for(
    local: LocalModel,
    name: str,
    *,
    max_new_tokens: int,
    samples: int | None = None,
    source: SampleSource | None = None,
    equivalence: Equivalence | None = None,
) -> Scorer:
    """The scorer of that name for answers of at most so many tokens: its samples are no longer.

    samples: how many are drawn; None is the paper's number. source: one that other scorers draw from, too.
    equivalence: when two texts say the same, for those that ask. Raises `ScoringError` for a name that does not exist, and
    `samples` for a scorer that draws none.
    """
    source = source or SampleSource(local, max_new_tokens=max_new_tokens)
    options: dict[str, Any] = {} if samples is None else {"samples": samples}
    return scorer(name, local, source=source, equivalence=equivalence, **options)


def _timed(scoring: Scorer, trace: Trace, device: torch.device) -> tuple[Score, float]:
    """The score, and the seconds it takes alone: those of the samples' draw, whoever asked for it first, and its own."""
    drawing = _drawing(scoring, trace)
    scores: list[Score] = []
    own = seconds(lambda: scores.extend(scoring.score_traces([trace])), device)
    return scores[0], drawing + own


def _drawing(scoring: Scorer, trace: Trace) -> float:
    if not isinstance(scoring, Sampled) or not trace.text.strip():
        return 0.0
    start = time.perf_counter()
    try:
        return scoring.samples(trace).seconds
    except TooLongError:  # the scorer says so itself
        return seconds_since(start)


def _peak(scoring: Scorer, trace: Trace, device: torch.device) -> int | None:
    """Of what the scorer needs: its samples, drawn again, and the score; one comes after the other."""
    works: list[Callable[[], object]] = [lambda: scoring.score_traces([trace])]
    if isinstance(scoring, Sampled):
        works.append(lambda: scoring.source.draw(trace, scoring.sampling))
    found = [peak_extra(work, device) for work in works]
    return max((one for one in found if one is not None), default=None)


def spread_out(questions: Sequence[str], wanted: int) -> frozenset[str]:
    """At most `wanted` of the questions, evenly spaced, the same ones each time: at these memory is measured."""
    step = max(1, len(questions) // wanted)
    return frozenset(questions[step // 2 :: step][:wanted])
