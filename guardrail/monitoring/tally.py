"""Rows of a log -> counts, in memory that does not grow with the log: only labels and days are kept one by one.

Rows of another calibrator are set aside by recomputing: the calibrator in hand must give a row's score the confidence that
stands beside it. A name may have changed, or be the same for another file; this cannot.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np

from guardrail.calibration.metrics import Estimate, Floats, wilson_interval
from guardrail.errors import DataError
from guardrail.monitoring.entries import Entry, Row, day_of
from guardrail.monitoring.reference import Reference
from guardrail.policy.proof import ClaimsProof, Proof
from guardrail.types import UNLIKE

_CHUNK = 8192
_SHOWN = {"answered": ("answer",), "shown": ("answer", "hedge")}


@dataclass(slots=True)
class Day:
    """What happened on one day, in UTC. said: sums of confidences."""

    scored: int = 0
    said: float = 0.0
    shown: int = 0
    decided: int = 0
    labelled: int = 0
    said_labelled: float = 0.0
    right: int = 0
    shown_labelled: int = 0
    shown_wrong: int = 0

    def plus(self, other: Day) -> Day:
        return Day(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))


@dataclass(slots=True)
class Labelled:
    """Labelled rows, one entry each: score and confidence (NaN where the label is about an answer given with evidence).

    model: the name of the model that answered.
    """

    score: array[float] = field(default_factory=lambda: array("d"))
    p_correct: array[float] = field(default_factory=lambda: array("d"))
    correct: array[int] = field(default_factory=lambda: array("b"))
    answer: array[int] = field(default_factory=lambda: array("q"))
    model: list[str] = field(default_factory=list)
    shown: dict[str, array[int]] = field(default_factory=lambda: {what: array("b") for what in _SHOWN})


@dataclass(slots=True)
class InContexts:
    """Labelled passes that were read on a curve of their own kind of conversation, one entry each."""

    context: list[str] = field(default_factory=list)
    score: array[float] = field(default_factory=lambda: array("d"))
    p_correct: array[float] = field(default_factory=lambda: array("d"))
    correct: array[int] = field(default_factory=lambda: array("b"))
    model: list[str] = field(default_factory=list)


class Tally:
    """What the monitor needs to know of a log; `add` each entry, then read.

    labels: from a file, by (id, claim). proof: only decisions that follow from it count for its promise. lost: of the answers
    whose kept claims are all labelled, whether one of these is wrong; an answer of which nothing is kept counts where any
    claim of it has a label, which says that somebody looked.
    """

    def __init__(
        self,
        reference: Reference,
        *,
        labels: Mapping[tuple[str, int | None], bool] | None = None,
        policy: str | None = None,
        proof: Proof | ClaimsProof | None = None,
        calibrated_only: bool = False,
    ) -> None:
        self.reference, self.labels, self._policy, self._proof = reference, labels or {}, policy, proof
        self._calibrated_only = calibrated_only
        self.cells: Floats = np.zeros(len(reference.counts))
        self.lines = self.scored = self.outside = self.extrapolated = self.unlike = self.with_evidence = 0
        self.set_aside: Counter[str] = Counter()
        self.models: Counter[str] = Counter()
        self.calibrators: Counter[str] = Counter()
        self.days: dict[date, Day] = {}
        self.labelled = Labelled()
        self.lost = array("b")
        self.in_contexts = InContexts()
        self.total: Counter[str] = Counter()
        self.used: set[tuple[str, int | None]] = set()
        self._unscored: Counter[str] = Counter()
        self._others: Counter[str] = Counter()
        self._waiting = array("d")
        self._clusters = np.zeros((3, len(reference.counts) - 1))  # sums of y * y, y * m, m * m over answers

    def add(self, entry: Entry) -> None:
        """Count one line. Raises `DataError` for a label that contradicts the line's own."""
        self.lines += 1
        if entry.tool_call:
            self.set_aside["tool calls, which are no answers"] += 1
        mine: list[float] = []
        judged: list[tuple[Row, bool | None]] = []
        for index, row in enumerate(entry.rows):
            key = (entry.id or "", None if self.reference.unit == "answer" else index)
            if self._belongs(entry, row):
                label = self._label(entry, row, key)
                self._count(entry, row, label, mine)
                judged.append((row, label))
        if isinstance(self._proof, ClaimsProof) and judged and len(judged) == len(entry.rows):
            self._count_answer(entry, judged)
        if self.reference.unit == "claim" and mine:
            below = np.searchsorted(np.sort(mine), self.reference.points, side="right")
            self._clusters += np.stack([below**2, below * len(mine), np.full(len(below), len(mine) ** 2)])
        self._waiting.extend(mine)
        if len(self._waiting) >= _CHUNK:
            self._flush()

    def finish(self) -> None:
        """Count what still waits; before this, `cells` may lag behind."""
        self._flush()
        for name in [name for name in self._unscored if self._others[name] and not self.calibrators[name]]:
            self.set_aside["of another calibrator"] += self._unscored.pop(name)

    @property
    def unscored(self) -> int:
        return self._unscored.total()

    @property
    def design_effect(self) -> float:
        """Of the share of scores below a point, averaged over the points; 1 for answers."""
        if self.reference.unit == "answer" or not self.scored:
            return 1.0
        share = np.cumsum(self.cells)[:-1] / self.scored
        yy, ym, mm = self._clusters
        clustered, independent = yy - 2 * share * ym + share**2 * mm, self.scored * share * (1 - share)
        inside = independent > 0
        return max(1.0, float(clustered[inside].sum() / independent[inside].sum())) if inside.any() else 1.0

    @property
    def unscored_share(self) -> Estimate | None:
        n = self.scored + self.unscored
        return wilson_interval(self.unscored, n) if n else None

    def _belongs(self, entry: Entry, row: Row) -> bool:
        """Whether a row was made with this calibrator and is one to count."""
        if np.isnan(row.score):
            known = row.with_evidence or row.unscored
            if not known:
                self.set_aside["without a score"] += 1
            return known
        if np.isnan(row.p_correct):
            self.set_aside["without a confidence"] += 1
            return False
        if not self._says(row.score, row, row.context, row.p_correct):
            self._others[entry.calibrator] += 1
            self.set_aside["of another calibrator"] += 1
            return False
        if self._calibrated_only and row.extrapolated:
            self.set_aside["extrapolated"] += 1
            return False
        self.calibrators[entry.calibrator] += 1
        self.models[entry.model] += 1
        return True

    def _says(self, score: float, row: Row, context: str | None, p_correct: float) -> bool:
        """Whether the calibrator in hand gives a score this confidence."""
        calibrator = self.reference.calibrator
        if context is not None and context not in calibrator.contexts:
            return False
        expected = calibrator.predict(score, None if np.isnan(row.familiarity) else row.familiarity, context).p_correct
        return expected is not None and abs(expected - p_correct) <= 1e-9

    def _count(self, entry: Entry, row: Row, correct: bool | None, mine: list[float]) -> None:
        day = self.days.setdefault(day_of(entry.time), Day()) if entry.time else Day()
        self.with_evidence += row.with_evidence
        if row.unscored:
            self._unscored[entry.calibrator] += 1
        scored = not np.isnan(row.score)
        if scored:
            mine.append(row.score)
            self.scored += 1
            low, high = self.reference.calibrator.score_range
            self.outside += not low <= row.score <= high
            self.extrapolated += row.extrapolated
            self.unlike += row.familiarity <= UNLIKE
            day.scored += 1
            day.said += row.p_correct
        counts = self._decided_as_promised(entry, row)
        if not counts:
            self.set_aside["decided by another policy (not counted as risk)"] += 1
        shown = {what: counts and row.action in actions for what, actions in _SHOWN.items()}
        self.total.update(what for what, is_so in shown.items() if is_so)
        day.decided += 1
        day.shown += row.action in _SHOWN["shown"]
        if correct is None:
            return
        self._keep_in_context(entry, row, correct)
        about_score = scored and not row.with_evidence
        kept = self.labelled
        kept.score.append(row.score if about_score else np.nan)
        kept.p_correct.append(row.p_correct if about_score else np.nan)
        kept.correct.append(correct)
        kept.answer.append(self.lines)
        kept.model.append(entry.model)
        for what, is_so in shown.items():
            kept.shown[what].append(is_so)
        if about_score:
            day.labelled += 1
            day.said_labelled += row.p_correct
            day.right += correct
        if row.action in _SHOWN["shown"]:
            day.shown_labelled += 1
            day.shown_wrong += not correct

    def _count_answer(self, entry: Entry, claims: Sequence[tuple[Row, bool | None]]) -> None:
        """One answer, for a promise about those that keep a wrong claim."""
        if not all(self._decided_as_promised(entry, row) for row, _ in claims):
            return
        self.total["answers"] += 1
        kept = [label for row, label in claims if row.action == "answer"]
        if None not in kept and any(label is not None for _, label in claims):
            self.lost.append(False in kept)

    def _keep_in_context(self, entry: Entry, row: Row, correct: bool) -> None:
        """Keep a labelled answer whose last pass was read on a curve of its own, if that is this calibrator's."""
        last, kept = row.last, self.in_contexts
        if last is None or (self._calibrated_only and last.extrapolated):
            return
        if not self._says(last.score, row, last.context, row.final):
            return
        kept.context.append(last.context)
        kept.score.append(last.score)
        kept.p_correct.append(row.final)
        kept.correct.append(correct)
        kept.model.append(entry.model)

    def _label(self, entry: Entry, row: Row, key: tuple[str, int | None]) -> bool | None:
        given = self.labels.get(key)
        correct = row.correct if given is None else given
        if correct is None or entry.id is None:
            return correct
        if row.correct is not None and row.correct is not correct:
            raise DataError(
                f"{entry.where}: {entry.id!r} is labelled {row.correct} here and {given} in the labels' file"
            )
        if key in self.used:
            self.set_aside["labels for an id that stands in the log twice"] += 1
            return None
        self.used.add(key)
        return correct

    def _decided_as_promised(self, entry: Entry, row: Row) -> bool:
        """Whether the decision is the policy's: its name, and where it has a proof, what the proof's rules say."""
        if self._policy is not None and entry.policy != self._policy:
            return False
        if self._proof is None:
            return True
        action = "abstain"
        counted = row.in_range and (row.familiarity > UNLIKE or not self._proof.familiar)
        shown, answered = (
            (None, self._proof) if isinstance(self._proof, ClaimsProof) else (self._proof.shown, self._proof.answered)
        )
        if counted and shown and row.final >= shown.threshold:
            action = "hedge"
        if counted and row.final >= answered.threshold:
            action = "answer"
        return row.action == action

    def _flush(self) -> None:
        if self._waiting:
            self.cells += self.reference.cells(np.frombuffer(self._waiting, dtype=np.float64))
            self._waiting = array("d")
