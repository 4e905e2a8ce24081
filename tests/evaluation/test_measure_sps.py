"""From rows to a profile on a tiny model: the same as by all pairs, whatever the batches; the file is strict."""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np
import pytest
import torch

from guardrail.calibration.sps_profile import SpsProfile
from guardrail.datasets.paraphrases import ParaphraseRow
from guardrail.errors import CalibratorMismatchError, DataError, ModelError, ScoringError
from guardrail.evaluation.sps import measure_sps
from guardrail.runs.asking import Asking
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.testing import tiny_local_model

ASKING = Asking("Answer.\n{question}")
OPTIONS = {"name": "rows.jsonl", "command": "guardrail sps"}
ROWS = [
    ParaphraseRow(f"What is number {i}?", tuple(f"{word} number {i} is what{'?' * j}!" for j, word in enumerate(words)))
    for i, words in enumerate([["The", "A"], ["That"], ["Our", "Your", "My"]] * 4)
]


@pytest.fixture(scope="module")
def local():
    return tiny_local_model()


@pytest.fixture(scope="module")
def found(local):
    return measure_sps(local, ROWS, ASKING, **OPTIONS)


def test_the_map_is_that_of_all_pairs(local, found):
    groups = []
    for row in ROWS[:4]:
        ids = [local.encode_prompt(ASKING.messages(text)) for text in row.texts]
        with torch.no_grad():
            states = [local.model(torch.tensor([i]), output_hidden_states=True).hidden_states for i in ids]
        groups.append(np.array([[h[0, found.offsets].numpy() for h in text[:-1]] for text in states], dtype=np.float64))
    unit = [g / np.linalg.norm(g, axis=-1, keepdims=True) for g in groups]
    within = np.mean([np.mean([(a * b).sum(-1) for a, b in combinations(g, 2)], axis=0) for g in unit], axis=0)
    across = np.mean([np.einsum("ikod,jkod->ko", g, h) / len(g) / len(h) for g, h in combinations(unit, 2)], axis=0)
    result = measure_sps(local, ROWS[:4], ASKING, **OPTIONS)
    assert np.array(result.sps)[:-1] == pytest.approx(within - across, abs=1e-5)
    assert result.upper == (2, 3)
    assert result.upper_mean == pytest.approx((within - across)[2:].mean(0), abs=1e-5)


@pytest.mark.parametrize("budget", [1, 300, 100_000])
def test_batches_do_not_matter(local, found, budget):
    other = measure_sps(local, ROWS, ASKING, tokens_per_pass=budget, **OPTIONS)
    assert np.array(other.sps) == pytest.approx(np.array(found.sps), abs=1e-5)


def test_what_the_profile_holds(local, found):
    assert found.layers == tuple(range(5))
    assert found.offsets == tuple(range(-11, 0))  # ten, and the template's own, which lies farther in bytes
    assert found.template_token == local.semantic_token.offset == -11
    assert (found.data.questions, found.data.paraphrases) == (12, 24)
    assert found.token == found.offsets[int(np.argmax(found.upper_mean))]
    assert found.tokens[-1].share == 1.0  # the template's own
    evidence = found.evidence
    for mean, interval in zip(found.upper_mean, evidence.upper_mean, strict=True):
        assert interval.low <= interval.value == mean <= interval.high
        assert interval.n == 12
    second = sorted(found.upper_mean)[-2]
    assert evidence.runner_up.difference.value == pytest.approx(max(found.upper_mean) - second)
    assert 0 < evidence.chosen_in <= 1
    assert measure_sps(local, ROWS[:9], ASKING, **OPTIONS).evidence is None


def test_the_file_comes_back_and_a_scorer_takes_it(found, local, tmp_path):
    found.save(tmp_path / "p.json")
    again = SpsProfile.load(tmp_path / "p.json")
    assert again == found
    profile = again.profile_for(local.identity)
    assert profile.token == found.token
    assert HybridGradScorer(local, profile=profile).options["token"] == found.token


def test_another_models_profile_is_refused(found):
    other = tiny_local_model(seed=1).identity
    with pytest.raises(CalibratorMismatchError, match=r"of tiny-llama, another model: weights .* guardrail sps"):
        found.profile_for(other)
    for field in ("dtype", "chat_template"):
        with pytest.raises(CalibratorMismatchError, match=field):
            found.profile_for(found.model.model_copy(update={field: "x"}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"token": -1, "upper_mean": None}, "upper_mean"),
        ({"token": 3}, "token"),
        ({"kind": "guardrail bench"}, "kind"),
        ({"layers": [1, 2]}, "layers are not 0, 1"),
        ({"offsets": [-1, -2]}, "ascending"),
        ({"offsets": [-2, -1]}, "2 offsets, but rows of"),
        ({"upper": [3, 9]}, "does not lie in the layers"),
        ({"template_token": -99}, "none of the offsets"),
        ({"extra": 1}, "extra"),
        ({"version": 2}, "version"),
    ],
)
def test_an_edited_file_is_refused(found, tmp_path, change, message):
    (tmp_path / "p.json").write_text(json.dumps({**json.loads(found.model_dump_json()), **change}))
    with pytest.raises(DataError, match=rf"p\.json: not an SPS profile: .*{message}"):
        SpsProfile.load(tmp_path / "p.json")


def test_numbers_must_follow_from_each_other(found, tmp_path):
    data = json.loads(found.model_dump_json())
    worst = found.offsets[int(np.argmin(found.upper_mean))]
    means = list(found.upper_mean)
    means[0] += 0.1
    for change, message in (
        ({"token": worst}, "not the one with the largest"),
        ({"upper_mean": means}, "does not follow"),
    ):
        (tmp_path / "p.json").write_text(json.dumps({**data, **change}))
        with pytest.raises(DataError, match=message):
            SpsProfile.load(tmp_path / "p.json")
    for text in ("", "{}", "[]", "\xff"):
        (tmp_path / "p.json").write_text(text, encoding="latin-1")
        with pytest.raises(DataError, match="not an SPS profile"):
            SpsProfile.load(tmp_path / "p.json")
    with pytest.raises(DataError, match="cannot read"):
        SpsProfile.load(tmp_path / "gone.json")


def test_rows_that_cannot_be_measured(local):
    with pytest.raises(DataError, match="two questions or more"):
        measure_sps(local, ROWS[:1], ASKING, **OPTIONS)
    with pytest.raises(DataError, match="each with a paraphrase"):
        measure_sps(local, [*ROWS, ParaphraseRow("Alone?", ())], ASKING, **OPTIONS)
    with pytest.raises(ModelError, match="does not fit into the context of 256"):
        measure_sps(local, [*ROWS, ParaphraseRow("x" * 300, ("y",))], ASKING, **OPTIONS)
    broken = tiny_local_model(seed=2)
    assert broken.anatomy  # read while it is sound
    broken.model.get_input_embeddings().weight.data[:] = float("nan")
    with pytest.raises(ScoringError, match="no direction"):
        measure_sps(broken, ROWS, ASKING, **OPTIONS)
