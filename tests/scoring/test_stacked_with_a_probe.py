"""The probe among the stacked score's features: by hand, fitted on what it has not seen, only ever less sure."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import guardrail
from guardrail.calibration.logistic import logistic
from guardrail.calibration.metrics import auroc
from guardrail.calibration.stacking import fit_stacked, out_of_fold_stacked, own_scores, stacked_scores
from guardrail.calibration.state_probe_fit import fit_state_probe, out_of_fold_numbers
from guardrail.datasets.questions import load_data
from guardrail.grading import get_grader
from guardrail.runs.asking import Asking, RunOptions
from guardrail.runs.collect import collect
from guardrail.runs.prompts import DIRECT
from guardrail.runs.scores import readings_of
from guardrail.scoring.profile import quantiles
from guardrail.scoring.readers import StackedReader
from guardrail.scoring.registry import scorer_from
from guardrail.scoring.stacked.features import PROBE, Reading, Tokens, features
from guardrail.scoring.stacked.model import StackedFeature, StackedModel
from guardrail.scoring.stacked.words import Word
from guardrail.testing import tiny_local_model
from tests.scoring.test_state_probe import probe

ASKING = Asking(DIRECT, max_new_tokens=6)
WEIGHED = StackedFeature(name=PROBE, weight=2.0, quantiles=(0.0, 2.0, 4.0))


def answers(n=300, *, telling, seed=0):
    """Readings whose states' second number is lower where the answer is wrong, `telling` times; all else is noise."""
    rng = np.random.default_rng(seed)
    correct = rng.random(n) < 0.4
    out = []
    for right in correct:
        tokens = Tokens((Word(f"w{rng.integers(1e9)}", 0, 1),), rng.random(2), -rng.gamma(2.0, 1.0, 2))
        state = rng.normal(size=12)
        state[1] += telling * (1.5 if right else -1.5)
        out.append(Reading(tokens, frozenset(), rng.random(), {-1: rng.random()}, answer_state=(3, state)))
    return out, correct


def test_a_number_by_hand_and_no_number_without_the_state():
    """The probe of `test_state_probe` says 2 of [3, 5]: the median, so half of the weight; 4 of [13/3, 0], the highest."""
    model = StackedModel(intercept=-1.0, common_words=(), features=(WEIGHED,), probe=probe(layer=3))
    reading = replace(answers(1, telling=0)[0][0], answer_state=(3, np.array([3.0, 5.0])))
    found = features(reading, frozenset(), model.probe)
    assert found[PROBE] == pytest.approx(2.0)
    assert model.number(found) == pytest.approx(-1.0 + 2.0 * 0.5)
    high = replace(reading, answer_state=(3, np.array([13 / 3, 0.0])))
    assert stacked_scores(model, [high]) == pytest.approx([-1.0 + 2.0])
    assert np.isnan(stacked_scores(model, [replace(reading, answer_state=(3, np.array([np.nan, 0.0])))]))
    for missing in (None, (2, np.array([3.0, 5.0]))):
        with pytest.raises(guardrail.ScoringError, match="reads 'probe', which this pass does not have"):
            stacked_scores(model, [replace(reading, answer_state=missing)])


def test_a_probe_and_its_feature_belong_together_and_older_files_are_as_they_were():
    plain = StackedFeature(name="new_nll", weight=1.0, quantiles=(0.0, 1.0))
    for change in ({"features": (plain,), "probe": probe()}, {"features": (WEIGHED,)}):
        with pytest.raises(ValueError, match="a probe and the feature 'probe' belong together"):
            StackedModel(**{"intercept": 0.0, "common_words": (), **change})
    older = StackedModel(intercept=0.0, common_words=(), features=(plain,)).model_dump(mode="json")
    assert sorted(older) == ["common_words", "features", "intercept"]
    with_one = StackedModel(intercept=0.0, common_words=(), features=(WEIGHED,), probe=probe())
    assert StackedModel.from_options(json.loads(json.dumps(with_one.model_dump(mode="json")))) == with_one


def test_weight_and_quantiles_come_from_probes_that_have_not_seen_the_answer():
    given, correct = answers(telling=1.0)
    model = fit_stacked(given, correct, probe=True)
    states = np.stack([r.answer_state[1] for r in given])
    said = out_of_fold_numbers(states, correct, 3)
    own = next(f for f in model.features if f.name == PROBE)
    assert own.weight > 0.5
    assert own.quantiles == pytest.approx(quantiles(said.tolist()))
    assert model.probe == fit_state_probe(states, correct, 3)
    rows = [{**features(r, model.common), PROBE: x} for r, x in zip(given, said.tolist(), strict=True)]
    assert own_scores(model, given, correct) == pytest.approx([model.number(row) for row in rows])
    assert auroc(1 - out_of_fold_stacked(given, correct, probe=True), correct) > 0.75


def test_states_that_tell_nothing_gain_nothing_and_their_own_answers_are_not_believed():
    """60 answers: in sample a probe on noise ranks them well, and a curve on that would promise it."""
    given, correct = answers(60, telling=0.0)
    said = fit_state_probe(np.stack([r.answer_state[1] for r in given]), correct, 3).numbers(
        np.stack([r.answer_state[1] for r in given])
    )
    assert auroc(said, correct) > 0.6
    many, right = answers(400, telling=0.0, seed=1)
    assert abs(auroc(1 - out_of_fold_stacked(many, right, probe=True), right) - 0.5) < 0.08


def test_a_probe_that_is_upside_down_out_of_fold_has_no_weight(monkeypatch):
    """A weight can only say "less sure": what ranks right answers as wrong ones is left out, and the probe with it."""
    from guardrail.calibration import stacking

    given, correct = answers(telling=1.0)
    upside_down = np.where(correct, 2.0, -2.0) + np.random.default_rng(0).normal(size=len(correct))
    monkeypatch.setattr(stacking, "out_of_fold_numbers", lambda *_: upside_down)
    assert logistic(upside_down[:, None], ~correct, negative=True)[0][0] < 0
    model = fit_stacked(given, correct, probe=True)
    assert PROBE not in [f.name for f in model.features]
    assert model.probe is None
    assert own_scores(model, given, correct) == pytest.approx(stacked_scores(model, given))


@pytest.mark.parametrize("change", [{"answer_state": None}, {"answer_state": (2, np.zeros(12))}])
def test_an_answer_without_the_same_state_and_answers_with_passages_have_no_probe(change):
    given, correct = answers(60, telling=1.0)
    assert fit_stacked(given, correct).probe is None, "only where it is asked for"
    assert fit_stacked([replace(given[0], **change), *given[1:]], correct, probe=True).probe is None


def test_a_scorer_says_what_the_records_say_kept_or_not_and_in_a_batch(tiny_folder, tiny_data):
    local = guardrail.load_model(str(tiny_folder), device="cpu")
    found = collect(local, load_data(str(tiny_data), "calibration").rows, get_grader("alias"), ASKING, RunOptions())
    readings = readings_of(found, ASKING)
    fitted = fit_state_probe(
        np.stack([r.answer_state[1] for r in readings]), found.sample.correct, readings[0].answer_state[0]
    )
    grid = tuple(quantiles(fitted.numbers(np.stack([r.answer_state[1] for r in readings])).tolist()))
    feature = StackedFeature(name=PROBE, weight=2.0, quantiles=grid)
    model = StackedModel(intercept=-1.0, common_words=(), features=(feature,), probe=fitted)
    options = json.loads(json.dumps(model.model_dump(mode="json")))
    scorer = scorer_from("stacked", options, local)
    expected = StackedReader("stacked", options).numbers(readings)
    records = [found.records[i] for i in found.scored[:6]]
    traces = local.generate_batch([ASKING.messages(r["question"]) for r in records], max_new_tokens=6, keep=scorer.keep)
    assert all(t.state is not None and t.state.band_layer <= fitted.layer for t in traces)
    for some in (traces, [replace(t, state=None) for t in traces]):
        assert [s.value for s in scorer.score_traces(some)] == pytest.approx(expected[:6].tolist(), rel=1e-3)
    assert scorer.explain(traces[0]) == pytest.approx({PROBE: scorer.score_traces(traces)[0].value + 1.0}, rel=1e-3)


def test_calibrate_weighs_it_where_it_is_asked_to_and_refuses_it_for_claims(tiny_folder, tiny_data, monkeypatch):
    """With a model whose answers are random it may get no weight: what is asked of the fit is looked at."""
    from guardrail.evaluation import fit

    asked, real = [], fit.select_stacked
    monkeypatch.setattr(
        fit, "select_stacked", lambda *given, **more: asked.append(more["probe"]) or real(*given, **more)
    )
    for weigh in (["probe"], []):
        guardrail.calibrate(str(tiny_folder), tiny_data, scorer="stacked", weigh=weigh, max_new_tokens=6)
    assert asked == [True, False]
    with pytest.raises(guardrail.DataError, match="--scorer probe scores whole answers; claims are scored by"):
        guardrail.calibrate(str(tiny_folder), tiny_data, unit="claim", scorer="stacked", weigh=["probe"])


def test_a_state_of_other_ids_is_not_read():
    """An edited answer keeps the state of the one it was made from: its probe must not read that."""
    local = tiny_local_model()
    first = local.generate("Who?", max_new_tokens=6, keep=scorer_keep(local))
    edited = replace(first, response_ids=first.response_ids[::-1])
    scorer = scorer_from("probe", wide(local).model_dump(mode="json"), local)
    kept, fresh = (scorer.score_traces([t])[0].value for t in (edited, replace(edited, state=None)))
    assert kept == pytest.approx(fresh, rel=1e-4)


def scorer_keep(local):
    return scorer_from("probe", wide(local).model_dump(mode="json"), local).keep


def wide(local):
    """A probe on the tiny model's own states."""
    rng = np.random.default_rng(0)
    width = local.anatomy.head.in_features
    correct = rng.random(80) < 0.5
    return fit_state_probe(rng.normal(size=(80, width)) + 3.0 * correct[:, None], correct, 1)
