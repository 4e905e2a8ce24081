"""What the training of the labels' probabilities makes small: by hand, by its gradient, at its least, and on a tiny model."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftModel

from guardrail.distillation.labels import Labels
from guardrail.distillation.lessons import Question, invocation_of
from guardrail.distillation.objectives import LOSSES
from guardrail.distillation.settings import Training
from guardrail.distillation.tails import collated_tails, taught_labels_loss
from guardrail.distillation.training import UNFINISHED, train_labels
from guardrail.runs.asking import Asking
from guardrail.stated import Wording
from guardrail.testing import tiny_local_model

MIDDLES = torch.tensor([0.25, 0.75], dtype=torch.float64)
FIVE = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9], dtype=torch.float64)
# two answers; the labels have probabilities 0.2 and 0.3 of the first, 0.1 and 0.1 of the second: s = 0.55 and 0.5
LOG_P = torch.tensor([[0.2, 0.3], [0.1, 0.1]], dtype=torch.float64).log()
RIGHT_WRONG = torch.tensor([1.0, 0.0], dtype=torch.float64)
LOGIT = math.log(0.55 / 0.45)


@pytest.mark.parametrize(
    ("objective", "y", "expected"),
    [
        ("brier", RIGHT_WRONG, (0.45**2 + 0.5**2) / 2),
        ("log-score", RIGHT_WRONG, -(math.log(0.55) + math.log(0.5)) / 2),
        ("soft-labels", RIGHT_WRONG, -(math.log(0.3) + math.log(0.1)) / 2),
        # 0.45 lies 0.4 of the way from 0.25 to 0.75; 0.9 is beyond the last middle
        ("soft-labels", [0.45, 0.9], -(0.6 * math.log(0.2) + 0.4 * math.log(0.3) + math.log(0.1)) / 2),
        ("ranking", RIGHT_WRONG, math.log(1 + math.exp(-LOGIT))),
        ("ranking", [0.2, 0.5], math.log(1 + math.exp(LOGIT))),
        # right: 1 - 0.4 * 0.75^2 - 0.6 * 0.25^2; wrong: - (0.25^2 + 0.75^2) / 2
        ("rlcr", RIGHT_WRONG, -((1 - 0.4 * 0.5625 - 0.6 * 0.0625) - 0.3125) / 2),
    ],
)
def test_each_loss_by_hand(objective, y, expected):
    found = LOSSES[objective](LOG_P, torch.as_tensor(y, dtype=torch.float64), MIDDLES)
    assert found.item() == pytest.approx(expected)


def test_pairs_weigh_as_much_as_their_answers_differ_and_alike_answers_teach_no_order():
    log_p = torch.tensor([[0.5, 0.5], [0.2, 0.8], [0.9, 0.1]], dtype=torch.float64).log().requires_grad_()
    a, b, c = (math.log(s / (1 - s)) for s in (0.5, 0.65, 0.3))

    def lost(surer, other):
        return math.log(1 + math.exp(other - surer))

    y = torch.tensor([0.1, 0.6, 0.2], dtype=torch.float64)  # 0.5 b before a, 0.4 b before c, 0.1 c before a
    expected = 0.5 * lost(b, a) + 0.4 * lost(b, c) + 0.1 * lost(c, a)
    assert LOSSES["ranking"](log_p, y, MIDDLES).item() == pytest.approx(expected)
    alike = LOSSES["ranking"](log_p, torch.full((3,), 0.4, dtype=torch.float64), MIDDLES)
    assert alike.item() == 0
    assert torch.autograd.grad(alike, log_p)[0].abs().max() == 0


@pytest.mark.parametrize("objective", LOSSES)
def test_the_gradient_is_that_of_small_steps(objective):
    log_p = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).requires_grad_()
    y = torch.tensor([1.0, 0.0, 0.0, 0.37], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: LOSSES[objective](x, y, FIVE), log_p)


def least(objective, y, steps=1500):
    """The labels' probabilities, the same ones for all of y, that make the loss smallest."""
    free = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([free], lr=0.05)
    for _ in range(steps):
        optimiser.zero_grad()
        LOSSES[objective](free.log_softmax(-1).expand(len(y), 5), y, FIVE).backward()
        optimiser.step()
    return free.detach().softmax(-1)


@pytest.mark.parametrize("objective", ["brier", "log-score"])
@pytest.mark.parametrize("right", [1, 2, 3])
def test_proper_scores_are_least_where_what_is_stated_is_the_share_of_right_answers(objective, right):
    p = least(objective, torch.tensor([1.0] * right + [0.0] * (4 - right), dtype=torch.float64))
    assert float(p @ FIVE) == pytest.approx(right / 4, abs=2e-3)


def test_soft_labels_are_least_at_the_mean_target():
    assert least("soft-labels", torch.tensor([0.36], dtype=torch.float64)).tolist() == pytest.approx(
        [0, 0.7, 0.3, 0, 0], abs=5e-3
    )
    p = least("soft-labels", torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64))
    assert p.tolist() == pytest.approx([0.75, 0, 0, 0, 0.25], abs=5e-3)


def test_the_reward_puts_everything_on_the_label_nearest_to_the_share():
    p = least("rlcr", torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64), steps=6000)
    assert int(p.argmax()) == 1  # the middle 0.3
    assert float(p.max()) > 0.95


def test_the_gradient_of_the_reward_is_the_policy_gradient_of_all_samples_with_the_mean_reward_as_baseline():
    logits = torch.randn(1, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    for y in (1.0, 0.0):
        found = torch.autograd.grad(LOSSES["rlcr"](logits, torch.tensor([y], dtype=torch.float64), FIVE), logits)[0]
        p, total = logits.detach().softmax(-1)[0], torch.zeros(5, dtype=torch.float64)
        reward = [y - (q - y) ** 2 for q in FIVE.tolist()]
        mean = sum(float(p[k]) * reward[k] for k in range(5))
        for k in range(5):
            score = torch.autograd.grad(logits.log_softmax(-1)[0, k], logits)[0][0]
            total -= p[k] * (reward[k] - mean) * score
        torch.testing.assert_close(found[0], total)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6), st.integers(0, 99))
def test_only_soft_labels_see_what_is_no_label(y, seed):
    """The others judge the labels' shares: a whole vocabulary in which labels are rarer is the same to them."""
    log_p = torch.randn(len(y), 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).log_softmax(-1)
    y = torch.tensor(y, dtype=torch.float64)
    for name, loss in LOSSES.items():
        shift = loss(log_p - 3, y, FIVE).item() - loss(log_p, y, FIVE).item()
        assert shift == pytest.approx(3 if name == "soft-labels" else 0, abs=1e-9)


@pytest.mark.parametrize("objective", LOSSES)
def test_training_makes_it_smaller_and_moves_the_adapter_alone(objective, tmp_path):
    local, asking = tiny_local_model("llama", vocab_size=261), Asking("{question}")
    invocation = invocation_of(local, asking, Wording())
    tokens = [local.encode_response(label, ended=False) for label in Wording().labels]
    labels = Labels.of(tokens, FIVE.tolist())
    asked = [(f"What is number {i}?", "even" if i % 2 else "odd", float(i % 2)) for i in range(8)]
    prompts = [local.encode_prompt(Wording().asking_after(asking.messages(q), a)) for q, a, _ in asked]
    questions = [Question(tuple(prompt), y) for prompt, (_, _, y) in zip(prompts, asked, strict=True)]
    before = {name: x.clone() for name, x in local.model.state_dict().items()}
    training = Training(epochs=12, batch_size=4, learning_rate=1e-2, rank=2)
    train_labels(
        local, questions, labels, objective, tmp_path, training, invocation, "base", lambda _: None, resume=False
    )
    after = local.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], x) for name, x in before.items())
    rows = [{"prompt": list(one.prompt), "right": one.right} for one in questions]
    batch = collated_tails(rows, labels, invocation, local.pad_id, split=True)
    adapter = PeftModel.from_pretrained(local.model, str(tmp_path / UNFINISHED)).eval()
    with torch.no_grad():
        taught = taught_labels_loss(local, adapter, batch, labels, objective).item()
        with adapter.disable_adapter():
            plain = taught_labels_loss(local, adapter, batch, labels, objective).item()
    assert taught < plain - 0.02 * abs(plain)
