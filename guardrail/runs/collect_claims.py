"""Questions -> answers taken apart into graded claims, with every number that one pass gives of each; resumable.

The whole answer is read in the same pass, as one more span: what claims are compared with.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from guardrail.calibration.folds import Groups
from guardrail.calibration.metrics import Bools
from guardrail.calibration.profiles import Signals
from guardrail.calibration.provenance import ExtractorIdentity
from guardrail.claims.align import with_tokens
from guardrail.claims.complete import take_apart
from guardrail.datasets.claims import ClaimRow, claim_data_hash, row_digest
from guardrail.errors import CalibrationError
from guardrail.grading.facts import grade_claim
from guardrail.model.recording import Keep
from guardrail.runs.asking import Asking, RunOptions, records_of, run_header
from guardrail.runs.readings import Sample, layers_of, log_prob_of, numbers_of, offsets_of, record_of, signals_of
from guardrail.runs.scorer_pass import ScorerPass
from guardrail.runs.told import told_of_claims
from guardrail.scoring.gradient_pass import GradientPass
from guardrail.scoring.profile import band_start
from guardrail.scoring.stacked.words import token_pieces

if TYPE_CHECKING:
    from guardrail.claims.protocol import ClaimExtractor
    from guardrail.model.local import LocalModel
    from guardrail.types import Trace


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


def identity_of(extractor: ClaimExtractor) -> ExtractorIdentity:
    return ExtractorIdentity(name=extractor.name, options=dict(extractor.options))


def collect_claims(
    local: LocalModel,
    rows: Sequence[ClaimRow],
    extractor: ClaimExtractor,
    asking: Asking,
    options: RunOptions,
    *,
    scorers: ScorerPass | None = None,
) -> ClaimAnswers:
    """Ask every question once (or take the row's answer), take it apart, read every claim, and grade.

    A person's label wins over the facts. The run's file has an answer a row. scorers: what else shall score each claim,
    beside the pass that every record holds.
    """
    scorers = scorers or ScorerPass()
    identity = identity_of(extractor).model_dump(mode="json")
    records = records_of(
        [{"key": row_digest(row), "question": row.question} for row in rows],
        [json.dumps([row.question, row.answer]) for row in rows],
        lambda batch: _ask(local, [rows[i] for i in batch], extractor, asking, scorers),
        run_header(local, asking, claim_data_hash(rows), unit="claim", extractor=identity, **scorers.header),
        options.on(local),
    )
    return graded(rows, records, offsets_of(local), layers_of(local))


def graded(
    rows: Sequence[ClaimRow], records: Sequence[dict[str, Any]], offsets: Sequence[int], layers: int
) -> ClaimAnswers:
    """The records of a run, graded by the rows. offsets: where they were read. layers: of the model."""
    kept: list[tuple[int, dict[str, Any], bool]] = []
    left_out: Counter[str] = Counter(about_no_fact=0, unscored=0, unaligned=0)
    for i, (row, record) in enumerate(zip(rows, records, strict=True)):
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


def _ask(
    local: LocalModel, rows: Sequence[ClaimRow], extractor: ClaimExtractor, asking: Asking, scorers: ScorerPass
) -> list[dict[str, Any]]:
    offsets = offsets_of(local)
    reading = GradientPass(local) if local.has_weights else None
    conversations = [asking.messages(row.question) for row in rows]
    asked = [i for i, row in enumerate(rows) if row.answer is None]
    keep = scorers.keep(Keep(band_start("code", layers_of(local)), offsets[0])) if local.has_weights else None
    generated = local.generate_batch(
        [conversations[i] for i in asked], max_new_tokens=asking.max_new_tokens, keep=keep
    ) if asked else []  # fmt: skip
    traces = dict(zip(asked, generated, strict=True))
    out = []
    for i, row in enumerate(rows):
        trace = traces.pop(i) if row.answer is None else local.trace(conversations[i], row.answer)
        out.append(_read(local, reading, trace, row, extractor, offsets, scorers))
    return out


def _read(
    local: LocalModel,
    reading: GradientPass | None,
    trace: Trace,
    asked: ClaimRow,
    extractor: ClaimExtractor,
    offsets: Sequence[int],
    scorers: ScorerPass,
) -> dict[str, Any]:
    """One answer's record: its claims with their places and numbers, and the numbers of the whole."""
    claims, spans = with_tokens(
        take_apart(extractor, trace.text, question=asked.question), trace.response_ids, trace.text, local.tokenizer
    )
    record = record_of(trace) | {
        "pieces": token_pieces(local.tokenizer, trace.response_ids),
        "claims": [
            {"text": c.text, "start": c.start, "end": c.end, "kind": c.kind, "token_start": a, "token_end": b}
            for c, (a, b) in zip(claims.claims, spans, strict=True)
        ],
        "unaligned": sum(aside.reason == "unaligned" for aside in claims.asides),
    }
    if reading is None:
        whole, parts = told_of_claims(trace, spans, scorers, local)
        if whole["unscored"] or not spans:
            return record | {"unscored": whole["unscored"]}
    else:
        row = reading.rows_of([trace])[0]
        refused = reading.unscorable(row, trace, [-1])
        if refused is not None:
            return record | {"unscored": refused.unscored}
        if not spans:
            return record
        reached = [o for o in offsets if -o <= row.asked]
        places, first = [(0, len(row.response_ids)), *spans], band_start("code", len(local.anatomy.layers))
        whole, *parts = map(numbers_of, reading.read_spans(row, places, reached, first, exgrad=True))  # one pass
    record["whole"], record["unscored"] = whole, whole.get("unscored")
    for claim, numbers in zip(record["claims"], parts, strict=True):
        claim.update(numbers)
    if scorers.scorers:
        whole_said, *said = scorers.record_spans(trace, [(0, len(trace.response_ids)), *spans])
        record["whole"]["scores"] = whole_said
        for claim, scores in zip(record["claims"], said, strict=True):
            claim["scores"] = scores
    return record
