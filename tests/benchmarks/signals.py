"""What each signal adds to the stacked score: python -m tests.benchmarks.signals [-n QUESTIONS] [--attention] [FILE.jsonl ...]

Prints the tables of docs/results/signals.md. Variants of the stacked score, each fitted on so many of the bundled calibration
questions (all, if not told): in random folds, without a tenth of the kinds of question, and on up to MOST questions of each
file; differences are paired, from the stacked score. Then SemGrad of single layers and of the last five alone,
and what a pass that ends there costs. With --attention RAUQ too, a forward pass for each answer. Answers come from the cache
where it has them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from guardrail.calibration.folds import stratified_folds
from guardrail.calibration.linear import fit_linear
from guardrail.calibration.metrics import auroc, bootstrap_difference, bootstrap_interval
from guardrail.calibration.stacking import fit_stacked, stacked_scores
from guardrail.datasets.questions import load_data
from guardrail.grading import get_grader
from guardrail.model.loading import load_model
from guardrail.model.recording import Keep
from guardrail.model.spec import DEFAULT_MODEL
from guardrail.runs.asking import Asking, RunOptions
from guardrail.runs.cache import RecordCache
from guardrail.runs.collect import collect
from guardrail.runs.prompts import DIRECT
from guardrail.runs.scores import readings_of
from guardrail.runs.text_vectors import text_vectors
from guardrail.scoring.gradient_pass import GradientPass
from guardrail.scoring.profile import band_start
from guardrail.scoring.registry import scorer
from tests.benchmarks.probes import groups_of_kinds

MOST = 300
TOP = 5
ASKING = Asking(DIRECT)
BEFORE, PROBED = "stacked", ("with the probe", "with the probe and rauq")


class Answered:
    """Graded answers of one data set, n of them.

    readings: what the stacked score reads. layers: SemGrad by layer of the band and prompt token, J the sum, (n, layers,
    tokens). attends: RAUQ, (n,), or None. texts: unit vectors of question and answer, (n, D).
    """

    def __init__(self, local, data, split, most, attention):
        rows = load_data(data, split, most).rows
        answers = collect(local, rows, get_grader("alias"), ASKING, RunOptions(cache=True))
        records = [answers.records[i] for i in answers.scored]
        kind = {row.question: row.extra.get("kind", "") for row in rows}
        self.kinds = np.array([kind[r["question"]] for r in records])
        self.correct, self.readings = answers.correct[answers.scored], readings_of(answers, ASKING)
        self.offsets = answers.signals.offsets
        length = np.array([len(r["log_probs"]) for r in records])
        read = np.array([[row[-len(self.offsets) :] for row in r["semgrad"]] for r in records])
        self.layers = read * length[:, None, None]
        self.attends = None
        if attention:
            rauq = scorer("rauq", local)  # one trace at a time: each holds the states of its whole prompt
            traces = (local.trace(ASKING.messages(r["question"]), r["answer"]) for r in records)
            self.attends = np.array([rauq.score_traces([trace])[0].value for trace in traces])
        with RecordCache() as cache:
            vectors = text_vectors([t for r in records for t in (r["question"], r["answer"])], cache=cache)
        self.texts = np.hstack([vectors.of([r[key] for r in records]) for key in ("question", "answer")])

    def variants(self):
        """Readings by the name of the variant that is fitted on them, and the names of what is weighed beside."""
        norms = {f"layer {k}": values for k, values in enumerate(self.layers.mean(2).T)}
        shares = self.layers.sum(2)
        shares = shares / shares.sum(1, keepdims=True)
        peak = self.layers.sum(2).argmax(1) / self.layers.shape[1]
        top = shares[:, -TOP:].sum(1)
        pattern = {"share of the last five": top, "share below": 1 - top, "peak": peak, "peak from above": 1 - peak}
        topmost = [
            replace(r, semgrad=dict(zip(self.offsets, row.tolist(), strict=True)))
            for r, row in zip(self.readings, self.layers[:, -TOP:].mean(1) / self._lengths[:, None], strict=True)
        ]
        found = {
            BEFORE: (self.readings, {}),
            "with the probe": (self.readings, {}),
            "gradients of the last five layers alone": (topmost, {}),
            "with norms by layer": (self.readings, norms),
            "with shares and peak of layers": (self.readings, pattern),
        }
        if self.attends is not None:
            found["with rauq"] = self.readings, {"rauq": self.attends}
            found["with the probe and rauq"] = self.readings, {"rauq": self.attends}
        return found

    @property
    def _lengths(self):
        return np.array([len(r.tokens.log_probs) for r in self.readings])


def weighed(readings, more):
    """The readings with more numbers, as if they were other scorers'."""
    return [replace(r, scores={name: float(v[i]) for name, v in more.items()}) for i, r in enumerate(readings)]


def held(known, tests):
    """AUROC of each variant over parts of the answers, each fitted on the rest; and its scores, ranked within each part."""
    ranks = {name: np.empty(len(known.correct)) for name in known.variants()}
    found = {name: [] for name in ranks}
    for test in tests:
        rest = np.setdiff1d(np.arange(len(known.correct)), test)
        for name, (readings, more) in known.variants().items():
            rows = weighed(readings, more)
            model = fit_stacked(
                [rows[i] for i in rest], known.correct[rest], None, {m: {} for m in more}, name in PROBED
            )
            scores = stacked_scores(model, [rows[i] for i in test])
            ranks[name][test] = scores
            found[name].append(auroc(scores, known.correct[test]))
    return found, ranks


def print_held(known):
    folds = stratified_folds(known.correct, 5)
    (random, scores), (kinds, _) = held(known, folds), held(known, groups_of_kinds(known.kinds))
    print("| | random folds | minus stacked | without a tenth of the kinds (lowest) |\n| --- | --- | --- | --- |")
    for name in random:
        apart = bootstrap_difference(auroc, (scores[name], known.correct), (scores[BEFORE], known.correct))
        tenth = f"{np.mean(kinds[name]):.3f} ({min(kinds[name]):.3f})"
        print(
            f"| {name} | {np.mean(random[name]):.3f} | {'' if name == BEFORE else _text(apart)} | {tenth} |", flush=True
        )


def print_others(known, name, other):
    print(f"\n{name}: {len(other.correct)} answers, {int(other.correct.sum())} right\n")
    print("| | AUROC | minus stacked |\n| --- | --- | --- |")
    scores, there = {}, other.variants()
    for variant, (readings, more) in known.variants().items():
        model = fit_stacked(weighed(readings, more), known.correct, None, {m: {} for m in more}, variant in PROBED)
        scores[variant] = stacked_scores(model, weighed(*there[variant]))
    if other.attends is not None:
        scores["rauq"] = other.attends
    scores["reads the texts"] = 1 - fit_linear(known.texts, known.correct).p_correct(other.texts)
    for variant, values in scores.items():
        own = bootstrap_interval(auroc, values, other.correct)
        apart = bootstrap_difference(auroc, (values, other.correct), (scores[BEFORE], other.correct))
        print(f"| {variant} | {_text(own)} | {'' if variant == BEFORE else _text(apart)} |", flush=True)


def print_layers(named, first):
    """SemGrad alone, J the sum, at the token of the prompt that ranks best over the whole band on the first data set."""
    known = named[0][1]
    band = [auroc(x, known.correct) for x in known.layers.mean(1).T]
    at = int(np.argmax(band))
    print(f"\nSemGrad at the token {known.offsets[at]}:\n\n| layers | {' | '.join(name for name, _ in named)} |")
    print("| --- |" + " --- |" * len(named))
    count = known.layers.shape[1]
    for k in range(count):
        print(f"| {first + k} | {' | '.join(f'{auroc(d.layers[:, k, at], d.correct):.3f}' for _, d in named)} |")
    for label, part in ((f"{first} to {first + count - 1}", slice(None)), (f"the last {TOP}", slice(-TOP, None))):
        cells = [f"{auroc(d.layers[:, part, at].mean(1), d.correct):.3f}" for _, d in named]
        print(f"| {label} | {' | '.join(cells)} |")
    both = spearmanr(known.layers[:, :, at].mean(1), known.layers[:, -TOP:, at].mean(1)).statistic
    print(f"\nRank correlation of the last {TOP} layers' with the whole band's: {both:.3f}")


def print_cost(local):
    """A pass that goes back to each layer, of one answer of 8 tokens, and RAUQ; each with what generation kept for it."""
    count = len(local.anatomy.layers)
    question = ASKING.messages(
        "Which river flows through the capital of the country where the painter Vermeer was born?"
    )
    attends, reading = scorer("rauq", local), GradientPass(local)
    steps = {"generation": lambda: local.generate(question, max_new_tokens=8)}
    for first in (band_start("code", count), count - TOP):
        kept = local.generate(question, max_new_tokens=8, keep=Keep(first, -6))
        rows = reading.rows_of([kept])
        steps[f"gradients from layer {first} on"] = lambda rows=rows, first=first: reading.read(rows, [-6, -1], first)
    told = local.generate(question, max_new_tokens=8, keep=attends.keep)
    steps["rauq"] = lambda: attends.score_traces([told])
    seconds = {name: [] for name in steps}
    for _ in range(15):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - start)
    whole = statistics.median(seconds["generation"])
    print("\n| | ms, median of 15, taken in turns | of generation |\n| --- | --- | --- |")
    for name, taken in seconds.items():
        median = statistics.median(taken)
        print(f"| {name} | {1000 * median:.0f} | {median / whole:.1%} |")


def _text(e):
    return f"{e.value:.3f} ({e.low:.3f} to {e.high:.3f})"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-n", type=int, default=None)
    parser.add_argument("--attention", action="store_true")
    parser.add_argument("files", nargs="*")
    asked = parser.parse_args()
    local = load_model(DEFAULT_MODEL)
    known = Answered(local, "bundled", "calibration", asked.n, asked.attention)
    print(f"bundled calibration questions: {len(known.correct)} answers, {known.correct.mean():.3f} right\n")
    print_held(known)
    others = [(Path(file).stem, Answered(local, file, "heldout", MOST, asked.attention)) for file in asked.files]
    for name, other in others:
        print_others(known, name, other)
    print_layers([("bundled", known), *others], band_start("code", len(local.anatomy.layers)))
    print_cost(local)


if __name__ == "__main__":
    main()
