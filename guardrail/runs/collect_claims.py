"""Questions -> answers taken apart into graded claims, with every number that one pass gives of each; resumable.

The whole answer is read in the same pass, as one more span: what claims are compared with.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from guardrail.calibration.provenance import ExtractorIdentity
from guardrail.claims.align import with_tokens
from guardrail.claims.complete import take_apart
from guardrail.datasets.claims import ClaimRow, claim_data_hash, row_digest
from guardrail.model.question_states import middle_layer, states_of
from guardrail.model.recording import Keep
from guardrail.runs.asking import Asking, RunOptions, records_of, run_header
from guardrail.runs.claim_answers import ClaimAnswers, graded
from guardrail.runs.readings import layers_of, numbers_of, offsets_of, record_of
from guardrail.runs.scorer_pass import ScorerPass
from guardrail.runs.states import packed
from guardrail.runs.told import told_of_claims
from guardrail.scoring.gradient_pass import GradientPass
from guardrail.scoring.profile import band_start
from guardrail.scoring.stacked.words import token_pieces

if TYPE_CHECKING:
    from guardrail.claims.protocol import ClaimExtractor
    from guardrail.model.local import LocalModel
    from guardrail.types import Trace


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
        options,
        local,
    )
    return graded(rows, records, offsets_of(local), layers_of(local))


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
    record = record_of(trace)
    if local.has_weights:
        middle = middle_layer(local)
        record |= packed(states_of(local, [trace], middle)[0], middle)
    record |= {
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
