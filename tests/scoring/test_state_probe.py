"""P(IK): its number by hand, what a fit finds and does not find, and the whole way from labelled answers to a guard."""

from __future__ import annotations

import base64
from dataclasses import replace

import numpy as np
import pytest

import guardrail
from guardrail import Guard, IsotonicCalibrator
from guardrail.calibration.metrics import auroc
from guardrail.calibration.state_probe_fit import fit_state_probe, out_of_fold_numbers, out_of_fold_probe
from guardrail.errors import CalibrationError, CalibratorMismatchError, DataError, ScoringError
from guardrail.model.question_states import answer_states, middle_layer, states_of
from guardrail.model.recording import Keep
from guardrail.runs.prompts import DIRECT
from guardrail.runs.run_file import read_run
from guardrail.runs.states import state_of
from guardrail.scoring.registry import ready, scorer_from
from guardrail.scoring.states.model import StateProbe
from guardrail.testing import tiny_local_model


def text(x, dtype):
    return base64.b64encode(np.asarray(x).astype(dtype).tobytes()).decode()


def probe(**change):
    """Reads the first of two numbers, less 1, halved."""
    parts = {"layer": 1, "mean": text([1, 0], "<f4"), "axes": text([0.5, 0], "<f2"), "weights": (3.0,)}
    return StateProbe(**{**parts, "base": 1.0, "intercept": -1.0, "near": 2.0, "far": 4.0, **change})


def test_a_number_by_hand_and_its_fading():
    """Whitened 1: -1 + 3. Whitened 3, halfway between near and far: half of -1 + 9, half of the base. From 4 on: the base."""
    found = probe().numbers([[3, 5], [1, 0], [7, 0], [9, 0], [1000, 0], [-1000, 0]])
    assert found == pytest.approx([2.0, -1.0, 4.5, 1.0, 1.0, 1.0])
    assert np.isnan(probe().numbers([[np.nan, 0], [0, np.inf]])).all()
    with pytest.raises(ValueError, match=r"shape \(1, 3\); the probe's are \(n, 2\)"):
        probe().numbers([[1, 2, 3]])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"far": 2.0}, "far 2.0 must lie beyond near 2.0"),
        ({"axes": text([1, 2, 3], "<f2")}, "3 numbers in axes, for 2 in mean and 1 weights"),
        ({"mean": "?"}, "mean is no base64"),
        ({"mean": text([np.nan, 0], "<f4")}, "mean must be finite"),
        ({"weights": ()}, "weights"),
        ({"more": 1}, "more"),
    ],
)
def test_what_is_no_probe_is_refused(change, says):
    with pytest.raises(ValueError, match=says):
        StateProbe.from_options({**probe().model_dump(mode="json"), **change})


def states(n=500, *, telling, width=40, seed=0):
    rng = np.random.default_rng(seed)
    correct = rng.random(n) < 0.4
    out = rng.normal(size=(n, width)) * np.geomspace(5, 0.1, width)
    out[:, 1] += telling * np.where(correct, 4, -4)
    return out, correct


def test_a_fit_finds_what_tells_and_says_nothing_where_nothing_does():
    given, correct = states(telling=1.0)
    assert auroc(out_of_fold_numbers(given, correct, 1), correct) > 0.75
    p = out_of_fold_probe(given, correct, 1)
    assert abs(p.mean() - correct.mean()) < 0.05
    assert auroc(1 - p, correct) > 0.75
    noise, correct = states(telling=0.0)
    assert abs(auroc(out_of_fold_numbers(noise, correct, 1), correct) - 0.5) < 0.1


def test_the_curve_does_not_believe_what_a_probe_says_of_its_own_answers():
    """40 answers, as many directions as can be: in sample the probe looks good, out of fold it is a coin."""
    noise, correct = states(60, telling=0.0)
    own = auroc(fit_state_probe(noise, correct, 1).numbers(noise), correct)
    assert auroc(1 - out_of_fold_probe(noise, correct, 1), correct) < own


def test_far_from_what_it_was_fitted_on_a_fit_says_the_base_rate():
    given, correct = states(telling=1.0)
    found = fit_state_probe(given, correct, 1)
    away = given + 1000.0
    assert found.numbers(away) == pytest.approx([np.log((~correct).mean() / correct.mean())] * len(away))
    again = StateProbe.from_options(found.model_dump(mode="json"))
    assert (again.numbers(given) == found.numbers(given)).all()


def test_what_cannot_be_fitted_is_refused():
    given, correct = states(40, telling=0.0)
    with pytest.raises(CalibrationError, match="all of one kind"):
        fit_state_probe(given, np.ones(40, dtype=np.bool_), 1)
    given[3, 0] = np.nan
    with pytest.raises(CalibrationError, match="finite numbers are needed"):
        fit_state_probe(given, correct, 1)


@pytest.fixture(scope="module")
def local(tiny_folder):
    return guardrail.load_model(str(tiny_folder), device="cpu")


@pytest.fixture(scope="module", params=["pik", "probe"])
def fitted(local, tiny_data, tmp_path_factory, request):
    folder = tmp_path_factory.mktemp(request.param)
    fit = guardrail.calibrate(
        local, tiny_data, folder / "c.json", scorer=request.param, max_new_tokens=6, run=folder / "run.jsonl"
    )
    return fit, folder


def key_of(name):
    return "state" if name == "pik" else "answer_state"


def test_calibrate_fits_it_and_a_guard_scores_as_the_records_say(local, fitted):
    fit, folder = fitted
    name = fit.calibrator.provenance.scorer
    calibrator = IsotonicCalibrator.load(folder / "c.json")
    assert calibrator.provenance.scorer == name
    found = StateProbe.from_options(calibrator.provenance.scorer_options)
    assert found.layer == middle_layer(local)
    record = next(r for r in read_run(folder / "run.jsonl")[1].values() if r["unscored"] is None)
    guard = Guard(model=local, calibrator=calibrator, policy="observe")
    verdict = guard.answer(record["question"], max_new_tokens=6)
    assert verdict.score.name == name
    assert verdict.score.value == pytest.approx(found.numbers([state_of(record, key_of(name))[1]])[0], rel=1e-3)
    assert 0 <= verdict.confidence.p_correct <= 1
    assert fit.metrics["auroc"].n == fit.n


def test_one_answer_has_one_number_kept_or_not_alone_or_in_a_batch(local, fitted):
    origin = fitted[0].calibrator.provenance
    scorer = scorer_from(origin.scorer, origin.scorer_options, local)
    asked = [f"What is number {i}?" for i in (3, 1234)]
    traces = local.generate_batch(asked, max_new_tokens=6, keep=scorer.keep)
    together = [score.value for score in scorer.score_traces(traces)]
    apart = [scorer.score_traces([replace(trace, state=None)])[0].value for trace in traces]
    assert together == pytest.approx(apart, rel=1e-3)
    assert traces[0].state.band_layer == scorer.probe.layer
    given = scorer.score_traces([local.trace(asked[0], "something else")])[0].value
    if origin.scorer == "pik":  # the same for every answer
        assert given == pytest.approx(together[0], rel=1e-3)
        expected = scorer.probe.numbers(states_of(local, traces, scorer.probe.layer))
        assert together == pytest.approx(expected.tolist(), rel=1e-6)
    else:
        assert given != pytest.approx(together[0], rel=1e-3)
    assert scorer.score_traces([local.trace(asked[0], "")])[0].unscored == "empty_answer"


def test_what_is_shown_of_it_holds_no_arrays(cli, local, tiny_folder, tiny_data, tiny_heldout, fitted, tmp_path):
    name, run = fitted[0].calibrator.provenance.scorer, tmp_path / "run.jsonl"
    options = ("-m", tiny_folder, "--scorer", name, "--max-new-tokens", 6)
    printed = cli("calibrate", tiny_data, "-o", tmp_path / "c.json", *options).stdout
    assert f"scorer          {name}, layer " in printed
    guardrail.evaluate(local, tiny_heldout, tmp_path / "c.json", [], run=run)
    guardrail.report(run, tmp_path / "page.html", calibrator=tmp_path / "c.json")
    mean = fitted[0].calibrator.provenance.scorer_options["mean"][:40]
    assert mean not in printed
    assert mean not in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_evaluate_measures_it_and_older_records_are_asked_for_their_states(local, tiny_heldout, fitted, tmp_path):
    from guardrail.evaluation.familiar import with_states
    from guardrail.grading import get_grader
    from guardrail.runs.asking import Asking
    from guardrail.runs.run_answers import load_run
    from guardrail.runs.scores import scores_of

    run = tmp_path / "run.jsonl"
    found = guardrail.evaluate(local, tiny_heldout, fitted[1] / "c.json", [], run=run)
    assert found.n - found.unscored == found.metrics["auroc"].n
    answers = load_run(run, get_grader("alias")).answers
    calibrator = fitted[0].calibrator
    values = scores_of(calibrator, answers)
    key = key_of(calibrator.provenance.scorer)
    older = replace(answers, records=tuple({k: v for k, v in r.items() if k != key} for r in answers.records))
    with pytest.raises(CalibrationError, match="without the states that .* reads; ask again"):
        scores_of(calibrator, older)
    if key == "state":  # a prompt can be read again, an answer's tokens are not known
        again = with_states(local, Asking(DIRECT, None, 6), older)
        assert scores_of(calibrator, again) == pytest.approx(values, rel=1e-3)


def test_the_answers_own_words_are_read(local):
    """By hand: the states of the words that the question lacks, the last token left out, with what was kept and without."""
    trace = local.generate_batch(["What is number 3?"], max_new_tokens=6, keep=Keep(middle_layer(local), -1))[0]
    layer, start = middle_layer(local), len(trace.prompt_ids)
    rows = trace.state.band_states[start - trace.state.first :].float().numpy()
    found = answer_states(local, [trace] * 3, layer, [[1, 3], list(range(6)), []])
    assert found[0] == pytest.approx(rows[[1, 3]].mean(0), rel=1e-5)
    assert found[1] == pytest.approx(rows[: len(trace.response_ids) - 1].mean(0), rel=1e-5)
    assert np.isnan(found[2]).all()
    bare = answer_states(local, [replace(trace, state=None)], layer, [[1, 3]])[0]
    assert bare == pytest.approx(found[0], rel=1e-3, abs=1e-5)


def test_it_needs_a_calibrator_and_whole_answers(local, tiny_data):
    assert "pik" not in ready()
    with pytest.raises(ScoringError, match="scorer 'pik' has weights that a calibrator holds"):
        guardrail.bench(local, tiny_data, ["pik"])
    with pytest.raises(ScoringError, match="'pik' has weights"):
        guardrail.calibrate(local, tiny_data, scorer="stacked", weigh=["pik"])
    with pytest.raises(DataError, match="--scorer pik scores whole answers"):
        guardrail.calibrate(local, "bundled", scorer="pik", unit="claim")
    with pytest.raises(DataError, match="samples"):
        guardrail.calibrate(local, tiny_data, scorer="pik", samples=3)
    with pytest.raises((CalibratorMismatchError, ScoringError)):
        scorer_from("pik", probe().model_dump(mode="json"), tiny_local_model())
