"""Claims of the embedded model: generated, taken apart, read and graded in one go."""

from __future__ import annotations

import numpy as np
import pytest

from guardrail.claims.sentences import SentenceClaims
from guardrail.datasets.claims import ClaimRow, load_claim_rows_from
from guardrail.runs.asking import Asking, RunOptions
from guardrail.runs.collect_claims import collect_claims
from guardrail.runs.prompts import IN_SENTENCES
from guardrail.scoring.hybridgrad import HybridGradScorer

pytestmark = pytest.mark.real_model


def test_claims_of_bundled_questions_are_graded_and_read(embedded_model):
    rows = [
        r for r in load_claim_rows_from("bundled", "calibration") if r.extra["id"] in ("country-peru", "element-tin")
    ]
    rows.append(ClaimRow("What is France?", load_claim_rows_from("bundled", "calibration")[0].facts, "France is nice."))
    asking = Asking(IN_SENTENCES, max_new_tokens=60)
    answers = collect_claims(embedded_model, rows, SentenceClaims(), asking, RunOptions())
    assert len(answers.claims) == len(answers.correct) == len(answers.signals) == len(answers.whole) > 0
    assert answers.left_out["about_no_fact"] >= 1  # "France is nice."
    trace = embedded_model.trace(asking.messages("What is France?"), "France is nice.")
    expected = HybridGradScorer(embedded_model).score_trace(trace)
    whole = answers.records[2]["whole"]
    assert np.mean(whole["entropies"]) == pytest.approx(expected.entropy, rel=1e-3)
    assert whole["paragrad"] == pytest.approx(expected.paragrad, rel=1e-3)
