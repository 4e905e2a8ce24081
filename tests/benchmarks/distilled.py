"""What adapters state of held-out answers, and what a teacher of samples would teach; both as Markdown.

    python -m tests.benchmarks.distilled adapters QUESTIONS LIMIT RUN.jsonl NAME=DIR ...
    python -m tests.benchmarks.distilled teacher SAMPLES.run.jsonl [EQUIVALENCE]

`adapters` is the cheap part of `guardrail bench --suite distillation`: the base's greedy answers, and what each adapter states
of them beside what the base states when it is merely asked, in the usual words.
RUN.jsonl keeps what was done. `teacher` draws nothing: it takes the first N of the samples that `guardrail distill --teacher
sampling` left.
"""

from __future__ import annotations

import json
import sys
from itertools import chain
from pathlib import Path

import numpy as np

from guardrail.calibration.controls import measure_controls
from guardrail.calibration.metrics import auroc, bootstrap_interval
from guardrail.calibration.resampling import compare
from guardrail.datasets.questions import check_no_leak, data_hash, load_questions_from, question_digest
from guardrail.distillation.candidates import answered, candidates_of
from guardrail.distillation.targets import probabilities, share_ece, targets_of
from guardrail.evaluation.bench_distillation import _view
from guardrail.evaluation.distillation_figures import BINS
from guardrail.grading import get_grader
from guardrail.model.loading import load_model
from guardrail.model.spec import DEFAULT_MODEL
from guardrail.runs.asking import Asking, RunOptions, records_of, run_header
from guardrail.runs.prompts import DIRECT
from guardrail.runs.scorer_pass import ScorerPass
from guardrail.runs.text_vectors import text_vectors
from guardrail.scoring.baselines.clusters import clusters
from guardrail.scoring.baselines.equivalence import compare_all
from guardrail.scoring.baselines.equivalence_spec import equivalence_named
from guardrail.scoring.baselines.verbalized import VerbalizedScorer
from guardrail.stated import Wording

SAMPLES = (2, 3, 5, 10)
MOST_WRONG = (0, 1, 2, None)


def told(e):
    return f"{e.value:.3f} ({e.low:.3f} to {e.high:.3f})"


def table(headings, rows):
    for line in (headings, ["---"] * len(headings), *rows):
        print("| " + " | ".join(map(str, line)) + " |")


def teacher(path: str, equivalence: str = "normalised") -> None:
    records = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()[1:]]
    grader, same, most = get_grader("alias"), equivalence_named(equivalence), len(records[0]["samples"])
    grader.load()
    for r in records:
        r["clusters"] = clusters(compare_all(same, r["question"], r["samples"]).same).tolist()
    curve = []
    for n in [n for n in SAMPLES if n < most] + [most]:  # a sample's cluster depends on those before it alone
        found = candidates_of(
            [{**r, "samples": r["samples"][:n], "clusters": r["clusters"][:n]} for r in records], grader
        )
        shares, right = np.array([c.share for c in found]), np.array([c.right for c in found])
        asked = np.unique([c.question for c in found], return_inverse=True)[1]
        apart = bootstrap_interval(auroc, -shares, right, groups=asked)
        errors = [
            bootstrap_interval(share_ece, probabilities(shares, right, how), right, groups=asked)
            for how in ("none", "isotonic")
        ]
        curve.append([n, len(found), f"{right.mean():.2f}", told(apart), *map(told, errors)])
    print(f"{len(records)} questions, {most} samples each; the same by {equivalence}.\n")
    table(["N", "clusters", "right", "AUROC of shares", "ECE", "ECE once calibrated"], curve)
    kept = []
    for how in ("none", "isotonic"):
        for wrong in MOST_WRONG:
            targets, teaching = targets_of(found, Wording(), chosen=how, wrong_per_question=wrong)
            share = f"{sum(t.right for t in targets) / len(targets):.2f}"
            kept.append([how, "all" if wrong is None else wrong, len(targets), share, *teaching.bins])
    print(f"\nWhat {most} samples teach:\n")
    table(["shares", "wrong a question", "answers", "right", *Wording().labels], kept)


def adapters(data: str, limit: int, run: str, *named: str) -> None:
    local, asking, file = load_model(DEFAULT_MODEL), Asking(DIRECT, None, 32), Path(run)
    questions = load_questions_from(data, "heldout", limit)
    views = {name: _view(local, Path(folder)) for name, _, folder in (one.partition("=") for one in named)}
    for view in views.values():
        check_no_leak(view.taught, [q.question for q in questions])
    scorers = {"asked": VerbalizedScorer(local)}
    for name, view in views.items():
        scorers[name] = VerbalizedScorer(view)
    options = RunOptions(file, True, True, 8, lambda done, of, _: print(done, "of", of, file=sys.stderr, flush=True))
    answers = answered(local, questions, asking, options)
    found = candidates_of(answers, get_grader("alias"))
    own = [{"key": question_digest(c.question), "question": c.question} for c in found]
    contents = [f"{c.question}\n{c.answer}" for c in found]

    def stated(name):
        def work(batch):
            traces = [local.trace(asking.messages(found[i].question), found[i].answer) for i in batch]
            return [{"doubt": float(score.value)} for score in scorers[name].score_traces(traces)]

        about = run_header(local, asking, data_hash(questions), **ScorerPass({"stated": scorers[name]}).header)
        records = records_of(own, contents, work, about, options.beside(name.replace(" ", "-")), local)
        return np.array([record["doubt"] for record in records])

    u = {name: stated(name) for name in scorers}
    right = np.array([c.right for c in found])
    plain = compare(u, right)
    binned = compare({n: -np.minimum(((1 - x) * BINS).astype(int), BINS - 1) for n, x in u.items()}, right)
    rows = [
        [n, told(plain.metrics[n]["auroc"]), told(binned.metrics[n]["auroc"]), told(plain.difference(n, "asked")),
         f"{np.quantile(1 - x, 0.05):.2f} to {np.quantile(1 - x, 0.95):.2f}",
         " ".join(str(c) for c in np.bincount(np.minimum(((1 - x) * BINS).astype(int), BINS - 1), minlength=BINS))]
        for n, x in u.items()
    ]  # fmt: skip
    print(f"{len(right)} answers of {Path(data).stem}, {right.mean():.3f} right.\n")
    table(["stated", "AUROC", "AUROC of bins", "minus asked", "5 to 95 % of what is stated", "answers in bins"], rows)
    columns = [[c.question for c in found], [c.answer for c in found]]
    vectors = text_vectors(chain.from_iterable(columns))
    best = max(views or scorers, key=lambda n: plain.metrics[n]["auroc"].value)
    texts = measure_controls([vectors.of(c) for c in columns], u[best], right, embedding=vectors.embedding)
    for what, one in (("question and answer", texts.text), ("the question alone", texts.question)):
        print(f"\nA reader of {what}: {told(one.auroc)}; {best} minus it: {told(one.difference)}.")


if __name__ == "__main__":
    part, *rest = sys.argv[1:]
    teacher(*rest) if part == "teacher" else adapters(rest[0], int(rest[1]), *rest[2:])
