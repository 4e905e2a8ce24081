"""Samples -> candidates -> what the model is to state of each."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guardrail.distillation.candidates import Candidate, candidates_of, check_enough
from guardrail.distillation.distill import distill
from guardrail.distillation.labels import Labels
from guardrail.distillation.objectives import labels_loss
from guardrail.distillation.settings import Objective, Training, checked_objective
from guardrail.distillation.targets import probabilities, share_ece, targets_of
from guardrail.errors import DataError
from guardrail.grading.rules import AliasGrader
from guardrail.model.prompts import pad
from guardrail.scoring.baselines.clusters import clusters
from guardrail.scoring.baselines.equivalence import SameWords, compare_all
from guardrail.stated import Wording
from guardrail.testing import tiny_local_model


def test_one_sample_stands_for_its_cluster_and_has_its_share():
    texts = ["Paris", "the paris.", "Lyon", "PARIS!", ""]
    same = compare_all(SameWords(), "", texts).same
    labels = clusters(same).tolist()
    assert labels == [0, 0, 1, 0, 2]
    record = {"question": "Capital of France?", "accepted": ["Paris"], "samples": texts, "clusters": labels}
    found = candidates_of([record], AliasGrader())
    assert [(c.right, c.share) for c in found] == [(True, 0.6), (False, 0.2)]  # the empty one counts among the five
    drawn = {candidates_of([record], AliasGrader(), seed=seed)[0].answer for seed in range(40)}
    assert drawn == {"Paris", "the paris.", "PARIS!"}


def test_ece_of_shares_by_hand():
    # bins of 1/30: (0.9, 0.9) and (0.5); |1.8 - 1| / 3 + |0.5 - 1| / 3
    assert share_ece(np.array([0.9, 0.9, 0.5]), np.array([True, False, True])) == pytest.approx((0.8 + 0.5) / 3)
    assert share_ece(np.array([1.0, 0.0]), np.array([True, False])) == 0.0


def shares(n=400, seed=0, power=1.0):
    rng = np.random.default_rng(seed)
    share = rng.uniform(size=n)
    return share, rng.uniform(size=n) < share**power


def test_calibrated_shares_are_left_as_they_are_and_others_are_not():
    candidates = [
        Candidate(f"q{i}", "a", bool(r), float(s)) for i, (s, r) in enumerate(zip(*shares(20_000), strict=True))
    ]
    told = targets_of(candidates, Wording())[1]
    assert told.map == "none"
    assert told.ece < 0.03
    bold = [
        Candidate(f"q{i}", "a", bool(r), float(s)) for i, (s, r) in enumerate(zip(*shares(2000, power=4), strict=True))
    ]
    targets, told = targets_of(bold, Wording(), wrong_per_question=None)
    assert (told.map, told.answers) == ("isotonic", 2000)
    assert sum(t.bin == 0 for t in targets) > 900  # share**4 < 0.2 for two thirds


def test_temperature_moves_shares_towards_what_is_right():
    share, right = shares(4000, power=1.0)
    over = 1 / (1 + np.exp(-3 * np.log(share / (1 - share))))  # three times too sure on the logit scale
    again = probabilities(over, right, "temperature")
    assert np.abs(again - share).mean() < 0.02
    assert probabilities(share, right, "none") is share


@given(st.integers(0, 3))
def test_so_many_wrong_answers_a_question_are_learnt_the_surest_first(most):
    own = [Candidate("q", "right", True, 0.3), *(Candidate("q", f"wrong {i}", False, 0.1 * i) for i in range(3))]
    kept, told = targets_of(
        [*own, Candidate("other", "x", True, 0.5)], Wording(), chosen="none", wrong_per_question=most
    )
    assert [t.answer for t in kept if not t.right] == [f"wrong {i}" for i in range(3) if i >= 3 - most]
    assert (told.right, told.questions, sum(told.bins)) == (2, 2, len(kept))


def test_too_few_answers_and_answers_without_a_share_are_refused():
    alike = [Candidate(f"q{i}", "a", True, 0.5) for i in range(40)]
    with pytest.raises(DataError, match="40 answers, 40 of them right"):
        check_enough(alike)
    with pytest.raises(DataError, match="29 answers"):
        check_enough(alike[:29])
    with pytest.raises(DataError, match="nothing to state"):
        targets_of([Candidate("q", "a", True)], Wording())


def test_labels_that_begin_alike_need_one_path():
    labels = Labels.of([(7, 1), (1,), (2,), (3,), (7, 3)], (0.1, 0.3, 0.5, 0.7, 0.9))
    assert labels.paths == ((7,),)
    assert Labels.of([(1,), (2,)], (0.25, 0.75)).paths == ((),)
    assert Labels.of([(1, 2, 3), (1, 4), (5, 6)], (0.1, 0.5, 0.9)).paths == ((1, 2), (5,))


def test_the_brier_score_of_the_labels_by_hand():
    # vocabulary of 4; the prompt ends at position 1; label A is token 0, label B tokens 1, 2
    labels = Labels.of([(0,), (1, 2)], (0.25, 0.75))
    logits = torch.full((1, 3, 4), -math.inf)
    logits[0, 1] = torch.log(torch.tensor([0.2, 0.6, 0.2, 0.0]))
    logits[0, 2] = torch.log(torch.tensor([0.5, 0.0, 0.5, 0.0]))
    # p(A) = 0.2, p(B) = 0.6 * 0.5 = 0.3: 0.4 and 0.6
    right = labels_loss("brier", logits, torch.tensor([1]), torch.tensor([1.0]), labels)
    wrong = labels_loss("brier", logits, torch.tensor([1]), torch.tensor([0.0]), labels)
    assert right.item() == pytest.approx((1 - 0.55) ** 2)  # it states 0.4 * 0.25 + 0.6 * 0.75
    assert wrong.item() == pytest.approx(0.55**2)
    taught = labels_loss("brier", logits, torch.tensor([1]), torch.tensor([0.3]), labels)  # a teacher's probability
    assert taught.item() == pytest.approx((0.3 - 0.55) ** 2)


@pytest.mark.parametrize(
    ("asked", "teacher", "turn", "found"),
    [
        (None, "sampling", "same", "likelihood"),
        (None, "labels", "after", "brier"),
        ("brier", "hybridgrad", "after", "brier"),
        ("likelihood", "labels", "after", "no label to learn"),
        ("brier", "sampling", "same", "--objective brier scores the labels of a turn of their own"),
        ("rlcr", "labels", "after", "rlcr"),
        ("log-score", "sampling", "after", "log-score"),
        ("soft-labels", "labels", "same", "--objective soft-labels scores the labels of a turn of their own"),
        (None, "labels", "same", "--teacher labels scores the labels of a turn of their own"),
        ("epicar", "labels", "same", "epicar"),
        ("epicar", "labels", "after", "give --teacher labels --turn same"),
        ("epicar", "sampling", "same", "give --teacher labels --turn same"),
        ("reward", "sampling", "after", "there is no objective 'reward'"),
    ],
)
def test_an_objective_goes_with_its_teacher_and_turn(asked, teacher, turn, found):
    if found in get_args(Objective):
        assert checked_objective(asked, teacher, turn) == found
        return
    with pytest.raises(DataError, match=found):
        checked_objective(asked, teacher, turn)


def test_ranking_needs_two_answers_a_batch(tmp_path):
    assert checked_objective("ranking", "hybridgrad", "after", batch_size=2) == "ranking"
    with pytest.raises(DataError, match="compares the answers of a batch; give --batch-size 2 or more"):
        distill(
            lambda: pytest.fail("the model was loaded"), "bundled", tmp_path, teacher="labels", objective="ranking",
            training=Training(batch_size=1),
        )  # fmt: skip


def test_a_target_keeps_the_probability_that_its_bin_is_of():
    found, _ = targets_of([Candidate("q", "a", True, 0.37), Candidate("r", "b", False, 0.12)], Wording(), chosen="none")
    assert [(one.bin, one.probability) for one in found] == [(1, 0.37), (0, 0.12)]


def test_labels_on_several_paths_have_the_probabilities_of_passes_of_their_own():
    tokens = [(1, 2, 3), (1, 4), (5, 6), (7,)]
    labels = Labels.of(tokens, (0.1, 0.4, 0.6, 0.9))
    local = tiny_local_model(vocab_size=64)
    prompts = [[9, 10, 11], [9, 12]]

    def passed(rows):
        ids, mask = pad(rows, 0)
        with torch.no_grad():
            return local.model(input_ids=ids, attention_mask=mask).logits

    together = passed([[*prompt, *path] for prompt in prompts for path in labels.paths])
    ends = torch.tensor([len(prompt) - 1 for prompt in prompts for _ in labels.paths])
    found = labels.log_probs(together, ends)
    for i, prompt in enumerate(prompts):
        for k, row in enumerate(tokens):
            log_p = passed([[*prompt, *row]])[0].log_softmax(-1)
            alone = sum(log_p[len(prompt) - 1 + j, token] for j, token in enumerate(row))
            assert found[i, k].item() == pytest.approx(alone.item(), rel=1e-4)


def test_it_is_least_where_what_is_stated_is_the_share_of_right_answers_and_not_all_on_one_label():
    labels = Labels.of([(0,), (1,), (2,), (3,), (4,)], (0.1, 0.3, 0.5, 0.7, 0.9))
    free = torch.zeros(5, requires_grad=True)  # the same logits for four answers, one of them right
    right = torch.tensor([1.0, 0.0, 0.0, 0.0])
    optimiser = torch.optim.Adam([free], lr=0.05)
    for _ in range(400):
        optimiser.zero_grad()
        loss = labels_loss("brier", free.expand(4, 1, 5), torch.zeros(4, dtype=torch.long), right, labels)
        loss.backward()
        optimiser.step()
    p = free.detach().softmax(-1)
    assert float(p @ torch.tensor(labels.middles)) == pytest.approx(0.25, abs=0.01)
    assert float(p.max()) < 0.9
