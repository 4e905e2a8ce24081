"""What CCP is worth for claims, alone and weighed: python -m tests.benchmarks.claim_scorers [QUESTIONS]

Prints the tables of docs/results/ccp.md: AUROC over the claims of so many bundled calibration questions (150), with intervals
that draw whole answers; the stacked score is fitted on the other folds. Answers come from the cache where it has them.
"""

from __future__ import annotations

import sys

import numpy as np

from guardrail.calibration.metrics import auroc, bootstrap_difference, bootstrap_interval
from guardrail.calibration.stacking import out_of_fold_stacked
from guardrail.claims.sentences import SentenceClaims
from guardrail.datasets.claims import load_claim_rows
from guardrail.model.loading import load_model
from guardrail.model.spec import DEFAULT_MODEL
from guardrail.runs.asking import Asking, RunOptions
from guardrail.runs.collect_claims import collect_claims
from guardrail.runs.prompts import IN_SENTENCES, LONGEST
from guardrail.runs.scorer_pass import ScorerPass
from guardrail.runs.scores import claim_readings_of
from guardrail.scoring.registry import scorer

ASKING = Asking(IN_SENTENCES, max_new_tokens=LONGEST["claim"])
