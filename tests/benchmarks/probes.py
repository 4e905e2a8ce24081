"""What probes on hidden states are worth beside the stacked score: python -m tests.benchmarks.probes [FILE.jsonl ...]

Prints the tables of docs/results/probes.md: AUROC of the stacked score, of `pik` and `probe`, and of their sums, each the
log-odds of being wrong. First on the bundled calibration questions, in random folds and without a tenth of the kinds of
question; then fitted on all of them, on up to MOST questions of each file, with the paired difference from the stacked score.
Answers come from the cache where it has them; their states are read again from their texts, since older records have none.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from guardrail.calibration.folds import stratified_folds
from guardrail.calibration.metrics import auroc, bootstrap_difference, bootstrap_interval
from guardrail.calibration.stacking import fit_stacked, stacked_scores
from guardrail.calibration.state_probe_fit import fit_state_probe
from guardrail.datasets.questions import load_data
from guardrail.grading import get_grader
from guardrail.messages import question_of
from guardrail.model.loading import load_model
from guardrail.model.question_states import answer_states, middle_layer, states_of
from guardrail.model.spec import DEFAULT_MODEL
from guardrail.runs.asking import Asking, RunOptions
from guardrail.runs.collect import collect
from guardrail.runs.prompts import DIRECT
from guardrail.runs.scores import readings_of
from guardrail.scoring.stacked.words import asked_words, telling_tokens, token_pieces, words_of

MOST = 150
ASKING = Asking(DIRECT)


class Answered:
    """Answers with what each score reads: `readings`; `pik` and `probe`, states, (n, D); `kinds` of the questions."""

    def __init__(self, local, data, split, most=None):
        rows = load_data(data, split, most).rows
        answers = collect(local, rows, get_grader("alias"), ASKING, RunOptions(cache=True))
        records = [answers.records[i] for i in answers.scored]
        kind = {row.question: row.extra.get("kind", "") for row in rows}
        self.kinds = np.array([kind[r["question"]] for r in records])
        self.correct, self.readings = answers.correct[answers.scored], readings_of(answers, ASKING)
        layer = self.layer = middle_layer(local)
        traces = [local.trace(ASKING.messages(r["question"]), r["answer"]) for r in records]
        self.pik = np.stack(states_of(local, traces, layer))
        self.probe = np.stack(answer_states(local, traces, layer, [telling(local, trace) for trace in traces]))

    def fit(self, at):
        """Of the answers at these places: the stacked model, and both probes."""
        correct = self.correct[at]
        stacked = fit_stacked([self.readings[i] for i in at], correct)
        return stacked, *(fit_state_probe(x[at], correct, self.layer) for x in (self.pik, self.probe))

    def scores(self, fitted, at):
        stacked, pik, probe = fitted
        base = stacked_scores(stacked, [self.readings[i] for i in at])
        knows, true = pik.numbers(self.pik[at]), probe.numbers(self.probe[at])
        return {
            "stacked": base,
            "pik": knows,
            "probe": true,
            "stacked + pik": base + knows,
            "stacked + probe": base + true,
        }


def telling(local, trace):
    pieces = token_pieces(local.tokenizer, trace.response_ids)
    return telling_tokens(words_of(pieces), asked_words(question_of(trace.messages)), len(pieces))


def held(known, tests):
    """Mean and lowest AUROC of each score over parts of the answers, each fitted on the rest."""
    found = []
    for test in tests:
        rest = np.setdiff1d(np.arange(len(known.correct)), test)
        scores = known.scores(known.fit(rest), test)
        found.append({name: auroc(values, known.correct[test]) for name, values in scores.items()})
    return {name: (np.mean([f[name] for f in found]), min(f[name] for f in found)) for name in found[0]}


def groups_of_kinds(kinds, groups=10, seed=0):
    names = np.random.default_rng(seed).permutation(sorted(set(kinds)))
    return [np.flatnonzero(np.isin(kinds, names[g::groups])) for g in range(groups)]


def main(files):
    local = load_model(DEFAULT_MODEL)
    known = Answered(local, "bundled", "calibration")
    print(f"{len(known.correct)} calibration answers: AUROC, mean (lowest)\n")
    print("| | random folds | without a tenth of the kinds |\n| --- | --- | --- |", flush=True)
    columns = held(known, stratified_folds(known.correct, 5)), held(known, groups_of_kinds(known.kinds))
    for name in columns[0]:
        print(f"| {name} | {' | '.join(f'{c[name][0]:.3f} ({c[name][1]:.3f})' for c in columns)} |", flush=True)
    fitted = known.fit(np.arange(len(known.correct)))
    for file in files:
        other = Answered(local, file, "heldout", MOST)
        scores, correct = other.scores(fitted, np.arange(len(other.correct))), other.correct
        print(f"\n{Path(file).stem}: {len(correct)} answers, {correct.mean():.3f} right\n")
        print("| | AUROC | minus stacked |\n| --- | --- | --- |")
        for name, values in scores.items():
            own = bootstrap_interval(auroc, values, correct)
            apart = bootstrap_difference(auroc, (values, correct), (scores["stacked"], correct))
            print(f"| {name} | {_text(own)} | {'' if name == 'stacked' else _text(apart)} |", flush=True)


def _text(e):
    return f"{e.value:.3f} ({e.low:.3f} to {e.high:.3f})"


if __name__ == "__main__":
    main(sys.argv[1:])
