"""What a bench makes of scores and times, and how these are taken."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from guardrail.calibration.metrics import aurc, auroc, prr
from guardrail.calibration.profiles import Signals
from guardrail.errors import CalibrationError, ScoringError
from guardrail.evaluation.bench import bench, contenders, verdict
from guardrail.model.recording import Keep
from guardrail.runs.answers import Answers
from guardrail.runs.asking import Asking
from guardrail.runs.cost import peak_extra
from guardrail.runs.scorer_pass import GENERATION, ScorerPass, spread_out
from guardrail.scoring.baselines.equivalence import TokenF1
from guardrail.scoring.baselines.samples import SampleSource
from guardrail.scoring.registry import scorer
from guardrail.testing import tiny_local_model
from guardrail.types import Score

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def local():
    return tiny_local_model()


def answered(correct, **scores):
    """Answers whose records hold these scores, None for unscored, and seconds 0.1 times the scorer's place."""
    records = tuple(
        {
            "unscored": None,
            "scores": {name: values[i] for name, values in scores.items()},
            "seconds": {name: 0.1 * (k + 1) for k, name in enumerate(scores)} | {GENERATION: 2.0},
            **({"memory": dict.fromkeys(scores, 3000000 + i)} if i < 3 else {}),
        }
        for i in range(len(correct))
    )
    nothing = np.zeros(len(correct))
    signals = Signals((), {}, nothing, nothing, nothing)
    return Answers(records, np.asarray(correct), np.arange(len(correct)), signals)


def named(*names):
    return {name: SimpleNamespace(name=name, options={"of": name}) for name in names}


def sample(n=400, seed=0):
    rng = np.random.default_rng(seed)
    correct = rng.random(n) < 0.5
    good = rng.normal(size=n) - 1.2 * correct
    return correct, good, good + 0.05 * rng.normal(size=n), rng.normal(size=n)


def test_figures_are_those_of_the_answers_that_every_scorer_scored():
    correct, good, near, noise = sample()
    noise, near = noise.tolist(), near.tolist()
    near[3] = near[7] = noise[7] = None
    found = bench(
        answered(correct, hybridgrad=good.tolist(), near=near, noise=noise), named("hybridgrad", "near", "noise")
    )
    kept = np.setdiff1d(np.arange(400), [3, 7])
    assert (found.asked, found.n, found.accuracy.n) == (400, 398, 398)
    assert found.accuracy.value == correct[kept].mean()
    assert [row.unscored for row in found.rows] == [0, 2, 1]
    row = found.row("hybridgrad")
    assert row.difference is None
    for name, metric in (("auroc", auroc), ("aurc", aurc), ("prr", prr)):
        assert getattr(row, name).value == pytest.approx(metric(good[kept], correct[kept]))
    other = found.row("noise")
    assert other.difference.value == pytest.approx(other.auroc.value - row.auroc.value)
    assert other.difference.high < 0
    assert (other.seconds.median, found.generation.median) == (pytest.approx(0.3), 2.0)
    assert other.memory_mb == pytest.approx(3.000001)
    assert other.to_dict()["options"] == {"of": "noise"}


def test_the_verdict_names_the_best_and_says_what_cannot_be_told():
    correct, good, near, noise = (column.tolist() for column in sample())
    both = bench(answered(correct, hybridgrad=noise, near=near, good=good), named("hybridgrad", "near", "good"))
    first, second = verdict(both)
    assert first.startswith(f"{both.best.name} has the highest AUROC, 0.")
    assert "1 of the other 2 cannot be told from it: " in first
    assert second.startswith(f"{both.best.name} is better than hybridgrad, by 0.")

    close = bench(answered(correct, hybridgrad=good, near=near, bad=noise), named("hybridgrad", "near", "bad"))
    said = " ".join(verdict(close))
    assert "1 of the other 2 cannot be told from it" in said
    assert ("hybridgrad is not separable from near on 400 answers" in said) == (close.best.name == "near")

    few = bench(answered(correct[:30], hybridgrad=good[:30], near=near[:30]), named("hybridgrad", "near"))
    assert verdict(few)[0].startswith("No two of the 2 scorers can be told apart on 30 answers")
    alone = bench(answered(correct, hybridgrad=good), named("hybridgrad"))
    assert "nothing to compare it with" in verdict(alone)[0]
    apart = bench(answered(correct, hybridgrad=good, bad=noise), named("hybridgrad", "bad"))
    assert verdict(apart)[0].endswith("all of the other 1 are worse by more than chance would make them.")


def test_too_few_of_one_kind_are_no_comparison():
    correct = np.arange(20) < 4
    numbers = [float(i) for i in range(20)]
    with pytest.raises(
        CalibrationError, match=r"20 of 20 answers were scored by every scorer, 4 of them right; .* at least 5"
    ):
        bench(answered(correct, hybridgrad=numbers), named("hybridgrad"))
    with pytest.raises(CalibrationError, match=r"^0 of 20 answers"):
        bench(answered(correct, hybridgrad=numbers, never=[None] * 20), named("hybridgrad", "never"))


def test_samples_are_drawn_once_and_charged_to_each_that_reads_them(local, monkeypatch):
    source, draws = SampleSource(local, max_new_tokens=3), []
    draw = SampleSource.draw
    monkeypatch.setattr(
        SampleSource, "draw", lambda self, *a: draws.append(draw(self, *a)) or replace(draws[-1], seconds=1000.0)
    )
    options = {"source": source, "equivalence": TokenF1(), "samples": 2}
    made = {name: scorer(name, local, **options) for name in ("ln-pe", "semantic-entropy")}
    made |= {"other": scorer("ln-pe", local, source=source, samples=2), "g-nll": scorer("g-nll", local)}
    trace = local.trace("What is {it}?", "a lake")
    for order in (list(made), list(reversed(made))):
        source._sets.clear()
        draws.clear()
        taken = ScorerPass({name: made[name] for name in order}).record("k", trace, CPU)["seconds"]
        assert len(draws) == 1
        assert draws[0].seconds > 0  # as it was measured
        assert all(taken[name] > 1000 for name in ("ln-pe", "semantic-entropy", "other"))
        assert 0 < taken["g-nll"] < 1000


def test_a_record_holds_numbers_or_the_reason(local):
    names = ("g-nll", "p-true", "hybridgrad")
    made = ScorerPass({name: scorer(name, local) for name in names}, memory=["k"])
    fine = local.trace("What is {it}?", "a lake")
    record = made.record("k", fine, CPU)
    assert record["scores"] == {name: s.score_traces([fine])[0].value for name, s in made.scorers.items()}
    assert set(record["seconds"]) == {*names, GENERATION}
    assert set(record["memory"]) == set(names)
    assert "memory" not in made.record("another", fine, CPU)
    long = made.record("k", local.trace("x" * 150, "y" * 20), CPU)  # fits, but for p-true's prompt
    assert (long["scores"]["p-true"], long["unscored_by"]) == (None, {"p-true": "prompt_too_long"})
    assert made.header["scorers"]["p-true"] == {"scorer": "p-true", "options": {}}
    assert ScorerPass().record("k", fine, CPU) == {} == ScorerPass().header
    assert made.keep(Keep(3, -1)) == Keep.joined(
        [Keep(3, -1), made.scorers["hybridgrad"].keep, made.scorers["g-nll"].keep]
    )


def test_nan_is_no_score(local):
    class Broken:
        name, options, keep = "broken", {}, None

        def score_traces(self, traces):
            return [Score.of("broken", float("nan"), length=1) for _ in traces]

    record = ScorerPass({"broken": Broken()}).record("k", local.trace("a", "b"), CPU)
    assert record["scores"] == {"broken": None}
    assert record["unscored_by"] == {"broken": "not_finite"}


def test_scored_by_leaves_out_what_a_scorer_has_no_number_of():
    answers = answered([True, False, True], sar=[1.0, None, 2.0])
    narrowed = answers.scored_by("sar")
    assert narrowed.scored.tolist() == [0, 2]
    assert [r["unscored"] for r in narrowed.records] == [None, "not_finite", None]
    assert narrowed.scored_by("sar").scored.tolist() == [0, 2]
    with pytest.raises(CalibrationError, match="3 of 3 answers have nothing of the scorer 'deg'"):
        answers.scored_by("deg")


def test_contenders(local):
    asking = Asking("{question}", max_new_tokens=7)
    made = contenders(local, ["ln-pe", "g-nll", "ln-pe"], asking, samples=3)
    assert list(made) == ["ln-pe", "g-nll", "hybridgrad"]
    assert (made["ln-pe"].options["samples"], made["ln-pe"].options["max_new_tokens"]) == (3, 7)
    other = scorer("hybridgrad", local, semantic_token=-3)
    assert list(contenders(local, ["g-nll"], asking, fitted_on=[other]))[-1] == "hybridgrad (calibrated profile)"
    assert list(contenders(local, ["g-nll"], asking, fitted_on=[scorer("hybridgrad", local)])) == [
        "g-nll",
        "hybridgrad",
    ]
    more = contenders(local, ["ln-pe"], asking, samples=3, fitted_on=[scorer("ln-pe", local, samples=9), other])
    assert list(more) == ["ln-pe", "hybridgrad", "ln-pe (calibrated options)", "hybridgrad (calibrated profile)"]
    with pytest.raises(ScoringError, match="two calibrators hold hybridgrad with different options"):
        contenders(local, ["g-nll"], asking, fitted_on=[other, scorer("hybridgrad", local, semantic_token=-2)])
    compared = contenders(local, ["ccp", "g-nll"], asking, equivalence=TokenF1())
    assert compared["ccp"].options["equivalence"] == {"kind": "token f1", "threshold": 0.25}


def test_peak_memory_is_that_of_the_work():
    found = peak_extra(lambda: torch.ones(25_000_000).sum(), CPU)
    if found is None:
        pytest.skip("this system does not tell")
    assert 80e6 < found < 250e6
    small = peak_extra(lambda: torch.ones(10).sum(), CPU)
    assert small < 20e6


def test_memory_is_measured_on_answers_spread_over_the_data():
    keys = [str(i) for i in range(100)]
    assert sorted(spread_out(keys, 5), key=int) == ["10", "30", "50", "70", "90"]
    assert spread_out(keys[:3], 5) == {"0", "1", "2"}
    assert spread_out([], 5) == frozenset()
