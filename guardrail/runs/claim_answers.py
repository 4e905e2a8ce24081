"""Graded claims of answers, from the records of a run. Needs no model, and no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from guardrail.calibration.folds import Groups
from guardrail.calibration.metrics import Bools
from guardrail.calibration.profiles import Signals
from guardrail.datasets.claims import ClaimRow
from guardrail.errors import CalibrationError
from guardrail.grading.facts import grade_claim
from guardrail.runs.readings import Sample, log_prob_of, signals_of


@dataclass(frozen=True, slots=True, eq=False)
class ClaimAnswers:
    """Answers with their claims. The arrays are over the n claims that are graded and scored, in the order of the text.

    records: one an answer, with `claims`. claims: the n records. correct: (n,). groups: (n,), the index of each claim's answer.
    signals: of the claims. whole: of each claim's whole answer. left_out: claims about none of the facts, claims without a
    score, and claims that no tokens could be found for; they are in no figure.
    """

    records: tuple[dict[str, Any], ...]
    claims: tuple[dict[str, Any], ...]
    correct: Bools
    groups: Groups
    signals: Signals
    whole: Signals
    left_out: dict[str, int]

    @property
    def sample(self) -> Sample:
        return Sample("claim", self.signals, self.correct, log_prob_of(self.claims), self.groups)

    @property
    def whole_sample(self) -> Sample:
        """The same claims, each with the numbers of its whole answer."""
        log_prob = log_prob_of([self.records[i]["whole"] for i in self.groups])
        return Sample("claim", self.whole, self.correct, log_prob, self.groups)

    def scored_by(self, scorer: str) -> ClaimAnswers:
        """Those alone that a scorer has a number of. Raises `CalibrationError` for claims that were collected without it."""
        if without := sum(scorer not in claim.get("scores", {}) for claim in self.claims):
            raise CalibrationError(
                f"{without} of {len(self.claims)} claims have nothing of the scorer {scorer!r}; collect them with it"
            )
        kept = np.array([i for i, c in enumerate(self.claims) if c["scores"][scorer] is not None], dtype=np.intp)
        return replace(
            self,
            claims=tuple(self.claims[i] for i in kept),
            correct=self.correct[kept],
            groups=self.groups[kept],
            signals=self.signals.take(kept),
            whole=self.whole.take(kept),
            left_out={**self.left_out, "unscored": self.left_out["unscored"] + len(self.claims) - len(kept)},
        )


def graded(
    rows: Sequence[ClaimRow], records: Sequence[dict[str, Any]], offsets: Sequence[int], layers: int
) -> ClaimAnswers:
    """The records of a run, graded by the rows. offsets: where they were read. layers: of the model."""
    kept: list[tuple[int, dict[str, Any], bool]] = []
    left_out: Counter[str] = Counter(about_no_fact=0, unscored=0, unaligned=0)
    for i, (row, record) in enumerate(zip(rows, records, strict=True)):
        if "left_out" in record:  # no worker survived it, so there are no claims
            left_out["lost"] += 1
            continue
        left_out["unaligned"] += record["unaligned"]
        for claim in record["claims"]:
            grade = row.label_of(claim["start"], claim["end"])
            if grade is None:
                grade = grade_claim(claim["text"], row.facts, question=row.question)
            if grade is None:
                left_out["about_no_fact"] += 1
            elif record["unscored"] or claim.get("unscored"):
                left_out["unscored"] += 1
            else:
                kept.append((i, claim, grade))
    claims = [claim for _, claim, _ in kept]
    return ClaimAnswers(
        records=tuple(records),
        claims=tuple(claims),
        correct=np.array([grade for *_, grade in kept], dtype=np.bool_),
        groups=np.array([i for i, *_ in kept], dtype=np.intp),
        signals=signals_of(claims, offsets, layers),
        whole=signals_of([records[i]["whole"] for i, *_ in kept], offsets, layers),
        left_out=dict(left_out),
    )
