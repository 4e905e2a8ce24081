"""The evaluation of Uncertainty Distillation: what is stated, on five bins, beside what is fitted and what is asked.

One command is about one set of questions. Questions like those of the fit are in domain, others are the shift: whatever is
fitted (the lexical baseline, P(IK), HybridGrad, stacked) is fitted on `fit` both times, and adapters are taught already.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from guardrail.calibration.metrics import Floats
from guardrail.calibration.pooling import fitted_probabilities
from guardrail.datasets.questions import check_no_leak, leak_digests, load_questions_from
from guardrail.errors import DataError, ModelError
from guardrail.evaluation.bench import quartiles
from guardrail.evaluation.distillation_figures import DistillationBench, method_rows
from guardrail.evaluation.setting import (
    ModelSource,
    StrPath,
    check_apart,
    check_output,
    fitted,
    grader_from,
    model_from,
    run_file,
    silent,
)
from guardrail.files import write_whole
from guardrail.grading import get_grader
from guardrail.runs.prompts import DIRECT

if TYPE_CHECKING:
    from guardrail.calibration.isotonic import IsotonicCalibrator
    from guardrail.grading import Grader
    from guardrail.model.local import LocalModel
    from guardrail.runs.progress import Say
    from guardrail.scoring.protocol import Scorer

_APART = "the data, the fit, the output and the run must be different files"
LEXICAL, PROMPTING = "lexical", "prompting"
FITTED = ("pik", "hybridgrad", "stacked")
"""Calibrated on the questions of the fit; so is the lexical baseline. The others state a probability of their own."""
SAMPLED = "self-consistency"
"""Semantic clustering: the share of the samples that are in the answer's cluster."""
_ORDER = (PROMPTING, LEXICAL, "pik", "p-true", SAMPLED, "hybridgrad", "stacked")


def bench_distillation(
    model: ModelSource,
    data: StrPath,
    adapters: Mapping[str, StrPath],
    *,
    fit: StrPath = "bundled",
    fit_limit: int | None = None,
    output: StrPath | None = None,
    grader: Grader | str | None = None,
    limit: int | None = None,
    resume: bool = False,
    run: StrPath | None = None,
    samples: int | None = None,
    max_new_tokens: int = 64,
    prompt: str = DIRECT,
    system: str | None = None,
    command: str = "guardrail.evaluation.bench_distillation",
    progress: Say | None = None,
) -> DistillationBench:
    """AUROC on five bins, accuracy, the two top bins and accuracy by bin, of adapters and of what they compete with.

    Args:
        model: The base of all adapters.
        data: Questions with accepted answers that nothing was fitted on or taught with; "bundled": the held-out ones.
        adapters: Folders of `guardrail distill --turn after`, by the names of their rows. They share the base's answers.
        fit: Questions that the lexical baseline, P(IK), HybridGrad and stacked are fitted on; "bundled": those for calibration.
        fit_limit: Use at most so many of them.
        output: Where to write the figures, as JSON.
        grader, limit, resume, run, max_new_tokens, prompt, system, command, progress: As for `bench`. The answers to `fit`
            stand beside the run's file, in RUN.fit.jsonl.
        samples: Of semantic clustering; None for the scorer's own number.

    Raises:
        DataError: For files and questions that cannot be used, or that an adapter was taught with.
        ModelError: For an adapter of another base, or one of `--turn same`, whose answers are others.
        CalibrationError: For too few right, or wrong, answers.
    """
    say, source = progress or silent, os.fspath(data)
    figures = None if output is None else Path(output)
    if figures is not None:
        check_output(figures, "the figures")
    if taken := sorted(set(adapters) & set(_ORDER)):
        raise DataError(f"an adapter is called {taken[0]!r}, as another row is; give it another name")
    file = run_file(run, figures, resume)
    check_apart(_APART, source, None if os.fspath(fit) == "bundled" else fit, figures, file)
    chosen = grader_from(grader) or get_grader("alias")
    questions = load_questions_from(source, "heldout", limit)
    fitted_on = load_questions_from(os.fspath(fit), "calibration", fit_limit)
    asked = [q.question for q in questions]
    check_no_leak(leak_digests(q.question for q in fitted_on), asked)
    local = model_from(model, say)
    views = {name: _view(local, Path(folder)) for name, folder in adapters.items()}
    for view in views.values():
        check_no_leak(view.taught, asked)

    # torch is needed from here on
    from guardrail.evaluation.calibrate import calibrate
    from guardrail.evaluation.controls import text_reader
    from guardrail.runs.asking import Asking, RunOptions
    from guardrail.runs.collect import collect
    from guardrail.runs.progress import counter
    from guardrail.runs.scorer_pass import GENERATION, ScorerPass, scorer_for
    from guardrail.runs.scores import readings_of
    from guardrail.scoring.baselines.verbalized import VerbalizedScorer

    asking = Asking(prompt, system, max_new_tokens)
    fit_file = None if file is None else file.with_name(file.name + ".fit.jsonl")
    curves: dict[str, IsotonicCalibrator] = {}
    scorers: dict[str, Scorer] = {}
    for name in FITTED:
        say(f"fitting {name}")
        again = fit_file is not None and fit_file.is_file() and (resume or name != FITTED[0])
        found = calibrate(
            local, fit, scorer=name, limit=fit_limit, run=fit_file, resume=again, grader=chosen, prompt=prompt,
            system=system, max_new_tokens=max_new_tokens, progress=say,
        )  # fmt: skip
        use = fitted(local, "answer", found.calibrator, "")
        curves[name], scorers[name] = use.calibrator, use.scorer
    known = collect(local, fitted_on, chosen, asking, RunOptions(fit_file, fit_file is not None))
    scorers[PROMPTING] = VerbalizedScorer(local)
    scorers["p-true"] = scorer_for(local, "p-true", max_new_tokens=max_new_tokens)
    scorers[SAMPLED] = scorer_for(local, SAMPLED, max_new_tokens=max_new_tokens, samples=samples)
    scorers |= {name: VerbalizedScorer(view) for name, view in views.items()}
    options = RunOptions(file, resume, batch_size=1, progress=counter("questions answered and scored", say))
    answers = collect(local, questions, chosen, asking, options, scorers=ScorerPass(scorers))

    records = [answers.records[i] for i in answers.scored.tolist()]
    whole = [all(r["scores"][name] is not None for name in scorers) for r in records]
    kept = replace(answers, scored=answers.scored[np.array(whole, dtype=np.bool_)])
    records = [r for r, all_ in zip(records, whole, strict=True) if all_]
    u = {name: np.array([r["scores"][name] for r in records], dtype=np.float64) for name in scorers}
    lexical = [
        np.array([1.0 - float(np.exp(reading.tokens.log_probs).mean()) for reading in readings_of(of, asking)])
        for of in (known, replace(answers, scored=answers.scored))
    ]
    p: dict[str, Floats] = {
        name: np.array([curves[name].predict(x).p_correct for x in values]) if name in curves else 1.0 - values
        for name, values in u.items()
    }
    p[LEXICAL] = fitted_probabilities(
        lexical[0], known.correct[known.scored], lexical[1][np.array(whole, dtype=np.bool_)]
    )
    seconds = {name: quartiles([r["seconds"][name] for r in records]) for name in scorers}
    rows, accuracy = method_rows({name: p[name] for name in [*views, *_ORDER]}, kept.correct[kept.scored], seconds)
    best = max(rows, key=lambda row: row.binned.value)
    # among few answers calibrate finds no weights for `stacked` that beat the best single scorer, and takes that one
    took = {name: scorers[name].name for name in FITTED if scorers[name].name != name}
    with text_reader(say) as reader:
        controls = reader.of_answers(kept, 1.0 - p[best.name])
    result = DistillationBench(
        asked=len(answers.records),
        n=len(records),
        accuracy=accuracy,
        rows=tuple(replace(r, name=f"{r.name} (fell back on {took[r.name]})") if r.name in took else r for r in rows),
        generation=quartiles([r["seconds"][GENERATION] for r in records]),
        controls=controls,
        about={
            "model": local.identity.model_dump(),
            "data": source,
            "fit": {"data": os.fspath(fit), "n": len(fitted_on)},
            "grader": chosen.name,
            "asking": asking.to_dict(),
            "command": command,
        },
    )
    if figures is not None:
        write_whole(figures, json.dumps(result.to_dict(), indent=1, allow_nan=False) + "\n", "the figures", DataError)
    return result


def _view(local: LocalModel, folder: Path) -> LocalModel:
    """The base with an adapter beside it: one module, whose answers all share."""
    from guardrail.model.confidence_adapter import stated_by
    from guardrail.model.local import LocalModel

    told = stated_by(folder, local.model)
    if told is None:
        raise DataError(
            f"{folder} states no confidence: it has no stated_confidence.json; give a folder of guardrail distill"
        )
    stated, adapter = told
    if adapter is None:
        raise ModelError(
            f"{folder} was taught with --turn same: its answers are others than the base's; measure it by itself, with "
            f"guardrail bench DATA --model {folder} --scorers verbalized"
        )
    return LocalModel(
        local.model, local.tokenizer, name=str(folder), chat_template_kwargs=local.chat_template_kwargs, stated=stated,
        confidence_adapter=adapter,
    )  # fmt: skip
