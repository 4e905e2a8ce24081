"""How far an endpoint's numbers are from those of a copy of its weights that reads the same tokens, and what reading costs.

The same questions are put to guardrail's own server and to llama.cpp's, which multiplies the embedded model's 4-bit weights as
they are. The copy has these weights in float32, and so has our server: what differs there is rounding alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from guardrail import load_model
from guardrail.calibration.controls import Controls, measure_controls
from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.metrics import Estimate, auroc, bootstrap_interval, ece, wilson_interval
from guardrail.calibration.origin import origin_of
from guardrail.calibration.shipped import shipped_calibrator
from guardrail.datasets.questions import QuestionRow, load_data
from guardrail.grading import get_grader
from guardrail.grading.protocol import AnswerRow
from guardrail.model.local import LocalModel
from guardrail.runs.scores import asking_of
from guardrail.runs.text_vectors import text_vectors
from guardrail.scoring.baselines.g_nll import answer_log_probs, g_nll
from guardrail.scoring.registry import scorer, scorer_from
from guardrail.types import Score, Trace
from tests.benchmarks.measure import spread
from tests.benchmarks.subject import EMBEDDED
from tests.helpers.endpoints import own_endpoint
from tests.helpers.llama_server import llama_server

QUESTIONS = 100


@dataclass(frozen=True, slots=True)
class Answered:
    """What one engine came to, answer by answer: what it told of its tokens, and what the copy read of the same ones.

    told, read: log p of the tokens, nats, (T,) each. score: the shipped calibrator's, of the copy. answering, reading: seconds
    of CPU, of this process with the engine in it: other work on the machine does not count.
    """

    trace: Trace
    told: np.ndarray
    read: np.ndarray
    score: Score
    answering: float
    reading: float


def remote(data: Sequence[str], limit: int | None) -> None:
    """Print the tables, each question in the shipped calibrator's prompt.

    data: files of questions, or `bundled` for the held-out ones. limit: questions of each.
    """
    torch.set_num_threads(1)
    copy = load_model(EMBEDDED, device="cpu")
    shipped = shipped_calibrator(copy.identity)
    assert shipped is not None
    for source in data:
        rows = load_data(source, "heldout", limit or QUESTIONS).rows
        print(f"\n### {Path(source).name}, {len(rows)} questions\n", flush=True)
        found: dict[str, list[Answered]] = {}
        for name, spec in _engines(copy):
            found[name] = list(_answers(load_model(spec, score_with=EMBEDDED, device="cpu"), shipped[1], rows))
        _differences(found)
        _cost(found, list(_answers(copy, shipped[1], rows)))
        _quality(found, rows, shipped[1])


def _engines(copy: LocalModel) -> Iterator[tuple[str, str]]:
    """The name of each engine with the spec of the model behind it, while it runs."""
    with _own(copy) as spec:
        yield "`guardrail serve`, float32", spec
    with llama_server() as spec:
        yield "llama.cpp, Q4_1", spec


@contextmanager
def _own(copy: LocalModel) -> Iterator[str]:
    # with a scorer that no shipped calibrator is of: the prompt of one would stand around every question
    with own_endpoint(copy, scorer=scorer("g-nll", copy)) as url:
        yield f"openai:{url}#{copy.name}"


def _answers(model: LocalModel, calibrator: IsotonicCalibrator, rows: Sequence[QuestionRow]) -> Iterator[Answered]:
    """model: an engine with a copy that reads, or the copy alone, which then answers, too, and keeps what scoring can use."""
    origin = origin_of(calibrator)
    stacked, asking = scorer_from(origin.scorer, origin.scorer_options, model), asking_of(origin)
    for row in rows:
        start = time.process_time()
        messages, longest = asking.messages(row.question), origin.max_new_tokens or 64
        trace = model.generate(messages, max_new_tokens=longest, keep=stacked.keep)
        written = time.process_time()
        (score,) = stacked.score_traces([trace])
        done = time.process_time()
        read = np.array(answer_log_probs(model, trace) if trace.response_ids else [])
        yield Answered(trace, np.array(trace.log_probs or ()), read, score, written - start, done - written)


def _differences(found: dict[str, list[Answered]]) -> None:
    """How far the engine's numbers are from the copy's on the same tokens."""
    first, *_ = found.values()
    print("| engine | unscored | log-probabilities told, of answers | difference a token, nats: median, 99 %, largest | "
          "G-NLL: Spearman, largest difference | the text that the copy writes |")  # fmt: skip
    print("|" + " --- |" * 6, flush=True)
    for name, answers in found.items():
        told = [a for a in answers if len(a.told) == len(a.read) > 0]
        apart = np.abs(np.concatenate([a.told - a.read for a in told]))
        sums = np.array([[g_nll(a.told), g_nll(a.read)] for a in told])
        same = sum(a.trace.text == b.trace.text for a, b in zip(answers, first, strict=True))
        cells = [
            name,
            str(sum(a.score.unscored is not None for a in answers)),
            f"{len(told)}/{len(answers)}",
            f"{np.median(apart):.2g}, {np.quantile(apart, 0.99):.2g}, {apart.max():.2g}",
            f"{spearmanr(sums[:, 0], sums[:, 1])[0]:.3f}, {np.abs(sums[:, 0] - sums[:, 1]).max():.2g}",
            f"{same}/{len(answers)}",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


def _cost(found: dict[str, list[Answered]], alone: list[Answered]) -> None:
    """What an answer and its score cost with an engine and a copy, against one process that writes and scores."""
    print("\n| | tokens | answer, CPU ms | score, CPU ms | both, times one process |")
    print("|" + " --- |" * 5, flush=True)
    for name, answers in {"one process": alone, **found}.items():
        alike = [  # answers of another length cost something else
            (a.answering + a.reading) / (b.answering + b.reading)
            for a, b in zip(answers, alone, strict=True)
            if len(a.trace.response_ids) == len(b.trace.response_ids)
        ]
        cells = [
            name,
            spread([float(len(a.trace.response_ids)) for a in answers]),
            spread([a.answering * 1000 for a in answers]),
            spread([a.reading * 1000 for a in answers]),
            f"{np.median(alike):.2f} ({np.quantile(alike, 0.1):.2f} to {np.quantile(alike, 0.9):.2f}), of {len(alike)}",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


def _quality(found: dict[str, list[Answered]], rows: Sequence[QuestionRow], calibrator: IsotonicCalibrator) -> None:
    """How well the copy's scores tell right answers of the engine from wrong ones, beside what needs no copy."""
    print("\n| engine | right | AUROC: stacked, read here | HybridGrad, read here | G-NLL, told | text alone "
          "| stacked less text | shipped calibrator: mean said, ECE |")  # fmt: skip
    print("|" + " --- |" * 8, flush=True)
    for name, all_answers in found.items():
        kept = [
            (row, a)
            for row, a in zip(rows, all_answers, strict=True)
            if a.score.unscored is None and len(a.told) == len(a.read)
        ]
        answers = [a for _, a in kept]
        grader = get_grader("alias")
        grades = grader.grade([AnswerRow(row.question, a.trace.text, tuple(row.answers)) for row, a in kept])
        correct = np.array(grades, dtype=bool)
        stacked = np.array([a.score.value for a in answers])
        p = np.array([calibrator.predict(a.score).p_correct for a in answers])
        text = _text_alone([row.question for row, _ in kept], [a.trace.text for a in answers], stacked, correct)
        columns = [stacked, [a.score.parts["hybridgrad"] for a in answers], [g_nll(a.told) for a in answers]]
        cells = [name, _share(wilson_interval(int(correct.sum()), len(correct)))]
        cells += [_share(bootstrap_interval(auroc, column, correct)) for column in columns]
        cells += [_share(text.text.auroc), _share(text.text.difference)]
        cells += [f"{p.mean():.3f}, {_share(bootstrap_interval(ece, p, correct))}"]
        print(f"| {' | '.join(cells)} |", flush=True)


def _text_alone(questions: list[str], said: list[str], uncertainty: np.ndarray, correct: np.ndarray) -> Controls:
    vectors = text_vectors(chain(questions, said))
    texts = [vectors.of(questions), vectors.of(said)]
    return measure_controls(texts, uncertainty, correct, embedding=vectors.embedding)


def _share(e: Estimate) -> str:
    return f"{e.value:.3f} ({e.low:.3f} to {e.high:.3f})"
