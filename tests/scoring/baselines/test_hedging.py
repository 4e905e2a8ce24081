"""Words of doubt in answers: their order is fixed, what they mean is fitted."""

from __future__ import annotations

import numpy as np
import pytest

from guardrail import IsotonicCalibrator
from guardrail.errors import ScoringError
from guardrail.languages import doubt_in, languages
from guardrail.scoring.registry import scorer
from guardrail.testing import tiny_local_model


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("It is certainly Suva.", 0),
        ("Suva", 1),
        ("It's probably Suva.", 2),
        ("Almost certainly Suva.", 2),
        ("I THINK it is Suva", 2),
        ("Perhaps Suva?", 3),
        ("It is Suva, I'm sure.", 0),
        ("I'm not sure, but it is Suva.", 4),
        ("I’m not sure about it: maybe Suva, definitely in Fiji.", 4),
        ("No doubt it is Suva.", 0),
        ("I am not absolutely certain, but Suva.", 4),
        ("I wouldn't say I'm sure it is Suva.", 4),
        ("I cannot be sure; Suva.", 4),
        ("Suva, but I'm not 100% sure.", 4),
        ("It is far from certain that it is Suva.", 4),
        ("I'm hardly certain. Suva", 4),
        ("I don't know.", 5),
        ("I don't know, perhaps Suva", 4),
        ("Lake May be a lake", 3),
        ("Surely Temple", 0),
        ("Die Hauptstadt von Fidschi ist wahrscheinlich Suva.", 2),
        ("Ich bin mir nicht sicher, ob es die Stadt Suva ist.", 4),
        ("C'est peut-être la ville de Suva, dans les Fidji.", 3),
        ("No estoy seguro de que la capital sea Suva.", 4),
        ("也许是东京。", 3),
        ("我不确定，可能是东京。", 4),
        ("たぶん東京です。", 2),
        ("Suva sur Mer", 1),  # "sûr" is French, and this is no French sentence
        ("", 1),
    ],
)
def test_the_most_doubtful_words_count(text, level):
    assert doubt_in(text) == level


def test_no_phrase_stands_at_two_levels():
    for one in languages():
        phrases = [*one.sure, *one.leaning, *one.wavering, *one.doubting]
        assert len(set(phrases)) == len(phrases), one.language


def test_answers_and_their_parts_have_levels_and_what_is_empty_has_none():
    local = tiny_local_model(vocab_size=261, max_position_embeddings=512)
    made, text = scorer("hedging", local), "It is certainly big. Perhaps it is red."
    trace = local.trace("What is it?", text)
    first = len("It is certainly big.")
    assert made.score_traces([trace])[0].value == 3
    assert [s.value for s in made.score_spans([trace], [[(0, first), (first, len(text))]])[0]] == [0, 3]
    assert made.score_traces([local.trace("What is it?", " ")])[0].unscored == "empty_answer"
    with pytest.raises(ScoringError, match="not within the response's"):
        made.score_spans([trace], [[(0, 500)]])


def test_what_a_level_means_is_fitted():
    rng = np.random.default_rng(0)
    truth = {0: 0.9, 1: 0.7, 2: 0.5, 3: 0.3, 4: 0.1}
    levels = rng.integers(0, 5, 4000)
    right = rng.uniform(size=4000) < np.array([truth[int(level)] for level in levels])
    fitted = IsotonicCalibrator().fit(levels.astype(float), right)
    found = [fitted.predict(float(level)).p_correct for level in range(5)]
    assert found == pytest.approx([0.9, 0.7, 0.5, 0.3, 0.1], abs=0.04)
