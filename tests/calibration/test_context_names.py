"""The name of a conversation's kind, what stands around a question, and a curve that is drawn to that of the others."""

from __future__ import annotations

import json

import numpy as np
import pytest

from guardrail import IsotonicCalibrator
from guardrail.calibration.contexts import (
    PARTS,
    PLAIN,
    Setting,
    around,
    context_of,
    differs,
    fits,
    frame_of,
    in_words,
    plain_question,
    source_of,
)
from guardrail.calibration.curve_fit import (
    context_out_of_fold,
    context_probabilities,
    cross_validated_predictions,
    curve_of_others,
    drawn,
)
from guardrail.calibration.folds import stratified_folds
from guardrail.calibration.metrics import calibration_metrics
from guardrail.calibration.pooling import Curve, fit_blocks, fitted_probabilities
from guardrail.calibration.profiles import FOLDS
from guardrail.errors import CalibrationError, DataError

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Who?"}
SAID = {"role": "assistant", "content": "He."}
CALL = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "search", "arguments": {}}}]}
GAVE = {"role": "tool", "content": "Goethe"}


@pytest.mark.parametrize(
    ("messages", "facts", "name"),
    [
        ([USER], {"plain": True}, "plain"),
        ([SYSTEM, USER], {"plain": True}, "plain"),
        ([USER], {}, "wording"),
        ([USER], {"plain": True, "evidence": True}, "evidence"),
        ([USER], {"evidence": True}, "wording+evidence"),
        ([SYSTEM, USER], {}, "system"),
        ([SYSTEM, USER, SAID, USER], {}, "system+turns"),
        ([USER, SAID, USER], {"evidence": True}, "turns+evidence"),
        ([USER, SAID], {}, "turns"),
        ([USER, CALL, GAVE], {}, "tools"),
        ([SYSTEM, USER, CALL, GAVE], {"tools": True, "thinking": True}, "system+tools+thinking"),
        ([USER, CALL, GAVE, SAID, USER], {}, "turns+tools"),
        ([SYSTEM], {}, "system"),
    ],
)
def test_names(messages, facts, name):
    assert context_of(messages, **facts) == name
    assert set(name.split("+")) <= {*PARTS, PLAIN}


def test_names_in_words():
    assert in_words("plain") == "a plain question"
    assert in_words("system") == "a system message"
    assert in_words("system+turns+tools") == "a system message, several turns and tools"
    assert in_words("weather") == "weather"  # of a later version


@pytest.mark.parametrize(
    ("messages", "prompt", "system", "question"),
    [
        ([USER], "{question}", None, "Who?"),
        ([{"role": "user", "content": "Say: Who? Now."}], "Say: {question} Now.", None, "Who?"),
        ([SYSTEM, USER], "{question}", "Be brief.", "Who?"),
        ([{"role": "user", "content": "Who? I ask: Who?"}], "{question} I ask: {question}", None, "Who?"),
        ([{"role": "user", "content": "Who? I ask: What?"}], "{question} I ask: {question}", None, None),
        ([{"role": "user", "content": "Say {question}"}], "Say {question}", None, "{question}"),
        ([{"role": "user", "content": "Say: "}], "Say: {question}", None, None),
        ([{"role": "user", "content": "Say:   "}], "Say: {question}", None, None),
        ([USER], "{question}", "Be brief.", None),
        ([SYSTEM, USER], "{question}", None, None),
        ([USER, SAID, USER], "{question}", None, None),
        ([USER, SAID], "{question}", None, None),
        ([{**USER, "name": "Faust"}], "{question}", None, None),
    ],
)
def test_what_is_what_calibration_asked(messages, prompt, system, question):
    assert plain_question(messages, prompt, system) == question


def test_what_stands_around_a_question():
    texts = ["Context: a\nQ: Who? Now.", "Context: b c\nQ: What? Now."]
    frame = frame_of([around(texts[0], "Who?"), around(texts[1], "What?")])
    assert frame == ["Context: ", " Now."]
    assert fits("Context: z\nQ: Why? Now.", frame)
    assert not fits("Q: Why? Now.", frame)
    assert not fits("Context: Now.", ["Context: N", " Now."])  # too short to hold both
    assert around("Rewritten", "Who?") == ("Rewritten", "Rewritten")
    assert fits("one", ["one"])
    assert not fits("one more", ["one"])


def test_how_conversations_differ_from_those_of_a_curve():
    at = Setting(0.0, ("search",))
    source = source_of([([SYSTEM, USER], "Who?", at), ([SYSTEM, {**USER, "content": "What?"}], "What?", at)], [32, 48])
    assert source == {
        "system": ["Be brief."], "user": ["", ""], "temperature": 0.0, "max_new_tokens": 48, "tools": ["search"],
    }  # fmt: skip
    assert differs(source, [SYSTEM, USER], Setting()) == []
    assert differs(source, [SYSTEM, USER], None) == []
    assert differs(source, [{**SYSTEM, "content": "Be long."}, USER], at) == [
        "another system message than in calibration"
    ]
    assert differs(source, [SYSTEM, USER], Setting(0.0, ("search", "rm"))) == ["tools that the calibration had not: rm"]
    kept = Setting(constrained=True)
    assert differs(source, [SYSTEM, USER], kept) == ["decoding kept to a schema"]
    assert differs(source_of([([SYSTEM, USER], "Who?", kept)], [32], passages=2), [SYSTEM, USER], kept) == []
    assert source_of([([SYSTEM, USER], "Who?", kept)], [32], passages=2)["passages"] == 2
    always, some = (
        source_of([([SYSTEM, USER], "Who?", s) for s in (kept, other)], [8, 8]) for other in (kept, Setting())
    )
    assert differs(always, [SYSTEM, USER], Setting()) == ["decoding not kept to a schema"]
    assert [differs(some, [SYSTEM, USER], s) for s in (kept, Setting(), None)] == [[], [], []]
    assert differs({}, [SYSTEM, USER], at) == []
    with pytest.raises(DataError, match=r"temperatures 0, 0\.7"):
        source_of([([USER], "Who?", Setting()), ([USER], "Who?", Setting(0.7))], [8, 8])


def test_a_curve_is_drawn_to_another_by_hand():
    """Common: one block at 1/2. Of 30 answers with scores 0, 10 of 20 with score 1: 20 right of 50 in all."""
    common = Curve.through(fit_blocks(np.array([0.0] * 20 + [1.0] * 20), np.array([True, False] * 20)))
    scores = np.array([0.0] * 30 + [1.0] * 20)
    correct = np.array([True] * 18 + [False] * 12 + [True] * 2 + [False] * 18)
    level = (20 + 10 * 0.5) / 60
    np.testing.assert_allclose(drawn(scores, correct, common), level)
    expected = [(18 + 10 * level) / 40, (2 + 10 * level) / 30]
    np.testing.assert_allclose(
        context_probabilities(scores, correct, common, np.array([0.0, 1.0])), expected, rtol=1e-9
    )


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("n", [30, 60, 150])
def test_drawing_is_worth_it(n):
    """Of contexts that differ by a normal step of 0.7 on the logit scale: less excess log loss than either curve alone."""
    rng, at = np.random.default_rng(0), np.linspace(-2, 2, 101)
    loss = {"drawn": [], "alone": [], "common": []}
    for _ in range(60):
        level = rng.normal(-0.3, 0.8)
        everywhere = rng.normal(size=600)
        right = rng.random(600) < sigmoid(level - 1.2 * everywhere)
        step = rng.normal(0, 0.7)
        scores = rng.normal(size=n)
        correct = rng.random(n) < sigmoid(level + step - 1.2 * scores)
        if not 5 <= correct.sum() <= n - 5:
            continue
        common = Curve.through(fit_blocks(everywhere, right))
        true = sigmoid(level + step - 1.2 * at)
        told = {
            "drawn": context_probabilities(scores, correct, common, at),
            "alone": fitted_probabilities(scores, correct, at),
            "common": common.at(at)[0],
        }
        for name, p in told.items():
            loss[name].append(float(np.mean(true * np.log(true / p) + (1 - true) * np.log((1 - true) / (1 - p)))))
    mean = {name: np.mean(values) for name, values in loss.items()}
    assert mean["drawn"] < min(mean["alone"], mean["common"])


def test_a_context_is_drawn_to_the_answers_of_the_others():
    """What a context's own answers are leaves what they are drawn to as it was, and its own curve is not drawn to itself."""
    rng = np.random.default_rng(2)
    scores, at = rng.normal(size=100), np.arange(40)
    correct = rng.random(100) < sigmoid(-scores)
    others = Curve.through(fit_blocks(scores[40:], correct[40:]))
    flipped = np.concatenate([~correct[:40], correct[40:]])
    for right in (correct, flipped):
        assert curve_of_others(scores, right, at).points == others.points
    assert curve_of_others(scores, correct, np.arange(100)) is None  # a chain of one context
    assert curve_of_others(scores, correct, np.arange(71)) is None  # 29 are left
    rare = np.concatenate([correct[:40], [True] * 4, [False] * 56])
    assert curve_of_others(scores, rare, at) is None  # 4 right ones are left


def test_the_figures_of_a_context_come_from_folds_of_its_own():
    """Against a slow reference; the figures of a chain of one context are those of its one curve."""
    rng = np.random.default_rng(3)
    scores, at = rng.normal(size=120), np.arange(0, 120, 2)
    correct = rng.random(120) < sigmoid(-scores)
    found = context_out_of_fold(scores, correct, at, seed=0)
    s, c = scores[at], correct[at]
    common = Curve.through(fit_blocks(scores[1::2], correct[1::2]))
    expected = np.empty(60)
    for test in stratified_folds(c, FOLDS, seed=0):
        train = np.setdiff1d(np.arange(60), test)
        expected[test] = context_probabilities(s[train], c[train], common, s[test])
    np.testing.assert_array_equal(found, expected)
    alone = context_out_of_fold(scores, correct, np.arange(120), seed=0)
    np.testing.assert_array_equal(alone, cross_validated_predictions(scores, correct, folds=FOLDS, seed=0))


def fitted(drawn=True):
    rng = np.random.default_rng(1)
    scores = rng.normal(size=200)
    correct = rng.random(200) < sigmoid(-2 * scores)
    towards = Curve.through(fit_blocks(scores, correct)) if drawn else None
    few = scores[:40], rng.random(40) < 0.4
    metrics = calibration_metrics(few[0], np.full(40, 0.5), few[1])
    return IsotonicCalibrator().fit(scores, correct).with_context(
        "system", *few, scorer="hybridgrad", options={}, metrics=metrics, towards=towards
    )  # fmt: skip


def test_a_file_holds_what_a_curve_is_drawn_to(tmp_path):
    made = fitted()
    made.save(tmp_path / "c.json")
    again = IsotonicCalibrator.load(tmp_path / "c.json")
    assert again.contexts == made.contexts
    assert again.predict(0.3, context="system") == made.predict(0.3, context="system")
    content = json.loads((tmp_path / "c.json").read_text())
    for change in (
        lambda own: own.update(towards=own["towards"][:-1]),
        lambda own: own.update(towards=[0.9] * len(own["towards"])),
        lambda own: own.pop("towards"),
        lambda own: own.update(pseudo_answers=2.0),
    ):
        edited = json.loads(json.dumps({key: value for key, value in content.items() if key != "digest"}))
        change(edited["contexts"]["system"])
        with pytest.raises(CalibrationError, match="contexts.system"):
            IsotonicCalibrator.from_dict(edited)
    assert "towards" not in fitted(drawn=False).to_dict()["contexts"]["system"]


def test_a_context_that_is_not_there_is_said():
    with pytest.raises(CalibrationError, match="no curve for the context 'tools', but for system"):
        fitted().predict(0.1, context="tools")
