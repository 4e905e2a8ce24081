"""What CCP is worth for claims, alone and weighed: python -m tests.benchmarks.claim_scorers [QUESTIONS]

Prints the table of docs/results/ccp.md: AUROC over the claims of so many bundled calibration questions (150), with intervals
that draw whole answers, beside a reader of the texts; the stacked score is fitted on the other folds. "No meaning" is CCP with
every alternative taken for another meaning: what is left of it is the probability of the claim's words.
"""

from __future__ import annotations

import statistics
import sys
import time

import numpy as np

from guardrail.calibration.metrics import auroc, bootstrap_difference, bootstrap_interval
from guardrail.calibration.profiles import FOLDS
from guardrail.calibration.stacking import out_of_fold_stacked
from guardrail.claims.sentences import SentenceClaims
from guardrail.datasets.claims import load_claim_rows_from
from guardrail.evaluation.controls import text_reader
from guardrail.model.loading import load_model
from guardrail.model.spec import DEFAULT_MODEL
from guardrail.runs.asking import Asking, RunOptions
from guardrail.runs.collect_claims import collect_claims
from guardrail.runs.prompts import IN_SENTENCES, LONGEST
from guardrail.runs.scorer_pass import ScorerPass
from guardrail.runs.scores import claim_readings_of
from guardrail.scoring.baselines.ccp import Ccp
from guardrail.scoring.baselines.equivalence import Comparison
from guardrail.scoring.registry import scorer

MOST = 150
ASKING = Asking(IN_SENTENCES, max_new_tokens=LONGEST["claim"])


class NoMeaning:
    """Two texts never say the same."""

    @property
    def options(self):
        return {"kind": "never the same"}

    def compare(self, question, left, right):
        nothing = np.zeros(len(left))
        return Comparison(nothing > 0, nothing, nothing + 1)


class Timed(Ccp):
    """Notes its seconds, an answer each."""

    def score_spans(self, traces, spans):
        start = time.perf_counter()
        found = super().score_spans(traces, spans)
        self.seconds = [*getattr(self, "seconds", ()), time.perf_counter() - start]
        return found


def main(most):
    local = load_model(DEFAULT_MODEL)
    rows = load_claim_rows_from("bundled", "calibration", most)
    timed = Timed(local)
    scorers = ScorerPass({"ccp": timed, "no meaning": scorer("ccp", local, equivalence=NoMeaning())})
    claims = collect_claims(
        local, rows, SentenceClaims(), ASKING, RunOptions(cache=True, progress=_progress), scorers=scorers
    )
    for name in scorers.scorers:
        claims = claims.scored_by(name)
    readings, correct, groups = claim_readings_of(claims, ASKING), claims.correct, claims.groups
    told = {name: np.array([r.scores[name] for r in readings]) for name in scorers.scorers}
    told["-log p of the claim"] = np.array([-r.tokens.log_probs.sum() for r in readings])
    told["paragrad"] = np.array([r.paragrad for r in readings])
    for name, options in (("stacked", None), ("stacked + ccp", {"ccp": dict(timed.options)})):
        p = out_of_fold_stacked(readings, correct, scorers=options, folds=FOLDS, groups=groups, answers=groups)
        told[name] = 1 - p
    print(f"{len(correct)} claims of {len(set(groups.tolist()))} answers, {correct.mean():.3f} right\n")
    print("| | AUROC | minus stacked |\n| --- | --- | --- |")
    for name, values in told.items():
        own = bootstrap_interval(auroc, values, correct, groups=groups)
        apart = bootstrap_difference(auroc, (values, correct), (told["stacked"], correct), groups=groups)
        print(f"| {name} | {_text(own)} | {'' if name == 'stacked' else _text(apart)} |", flush=True)
    with text_reader() as reader:
        controls = reader.of_claims(claims, told["stacked + ccp"])
    print(f"| reads the texts | {_text(controls.text.auroc)} | |")
    print(f"| reads the question | {_text(controls.question.auroc)} | |")
    if seconds := getattr(timed, "seconds", ()):
        print(f"\nCCP took a median of {statistics.median(seconds):.2f} s an answer")


def _progress(done, of, rate):
    print(f"{done} of {of}, {rate:.2f} a second", file=sys.stderr, flush=True)


def _text(e):
    return f"{e.value:.3f} ({e.low:.3f} to {e.high:.3f})"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else MOST)
