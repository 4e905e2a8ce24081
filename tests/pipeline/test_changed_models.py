"""A guard whose model or scorer changes after it was made shows no confidence, and shows one again when it is put back."""

from __future__ import annotations

import weakref

import pytest
import torch

from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.provenance import Provenance
from guardrail.errors import CalibratorMismatchError
from guardrail.guard import Guard
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.testing import CHATML, tiny_local_model, tiny_model
from guardrail.types import Score


@pytest.fixture
def local():
    return tiny_local_model()


@pytest.fixture
def guard(local):
    return guard_of(local)


def guard_of(local):
    scorer = HybridGradScorer(local)
    provenance = Provenance(
        model=local.identity, scorer=scorer.name, profile=scorer.options, prompt="{question}", system=None, data="x",
        n=60, accuracy=0.5, created="2026-01-01", command="a test", versions={}, grader="exact",
        generation={"max_new_tokens": 4},
    )  # fmt: skip
    scores = [10.0 ** (i / 10 - 6) for i in range(60)]
    calibrator = IsotonicCalibrator().fit(scores, [i < 30 for i in range(60)], provenance=provenance)
    return Guard(model=local, calibrator=calibrator, policy="observe")


def first(local):
    return local.model.model.layers[0].self_attn.q_proj


def in_place(local):
    with torch.no_grad():
        first(local).weight.mul_(1.5)


def through_data(local):
    first(local).weight.data.mul_(1.5)


def swapped_data(local):
    first(local).weight.data = first(local).weight.data * 1.5


def other_state(local):
    local.model.load_state_dict(tiny_model(seed=1).state_dict())


def another_dtype(local):
    local.model.bfloat16()


def a_new_parameter(local):
    first(local).weight = torch.nn.Parameter(first(local).weight.detach() * 1.5)


def parametrised(local):
    class Twice(torch.nn.Module):
        def forward(self, weight):
            return 2 * weight

    torch.nn.utils.parametrize.register_parametrization(first(local), "weight", Twice())


def an_adapter(local):
    from peft import LoraConfig

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        local.model.add_adapter(LoraConfig(r=2, target_modules=["v_proj"], init_lora_weights=False))


def one_optimiser_step(local):
    parameters = list(local.model.parameters())
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    torch.optim.SGD(parameters, lr=0.001).step()
    for parameter in parameters:
        parameter.grad = None


def another_template(local):
    local.tokenizer.chat_template = CHATML.replace("assistant", "bot")


def a_steering_hook(local):
    local.model.model.layers[1].mlp.register_forward_hook(lambda module, args, output: output * 1.5)


def a_hook_on_what_enters(local):
    local.model.model.layers[0].register_forward_pre_hook(lambda module, args: None)


def a_hook_on_every_module(local):
    handle = torch.nn.modules.module.register_module_forward_hook(lambda module, args, output: None)
    weakref.finalize(local, handle.remove)


def another_activation(local):
    local.model.model.layers[0].mlp.act_fn = torch.nn.ReLU()


def a_patched_forward(local):
    mlp = local.model.model.layers[0].mlp
    mlp.forward = lambda x: type(mlp).forward(mlp, x) * 1.5


def another_class(local):
    class Other(type(first(local))):
        pass

    first(local).__class__ = Other


def another_setting(local):
    local.model.model.layers[0].self_attn.scaling *= 2


def another_epsilon(local):
    local.model.model.norm.variance_epsilon = 0.1


def a_number_of_the_config(local):
    local.model.config.rms_norm_eps = 0.1


def a_number_inside_the_config(local):
    local.model.config.rope_parameters["rope_theta"] = 7.0


def an_unsaved_buffer(local):
    local.model.model.rotary_emb.inv_freq[1] *= 1.5


def an_unsaved_buffer_through_data(local):
    local.model.model.rotary_emb.inv_freq.data.mul_(1.5)


CHANGES = [in_place, through_data, swapped_data, other_state, another_dtype, a_new_parameter, parametrised, an_adapter,
           one_optimiser_step, another_template, a_steering_hook, a_hook_on_what_enters, a_hook_on_every_module,
           another_activation, a_patched_forward, another_class, another_setting, another_epsilon, a_number_of_the_config,
           a_number_inside_the_config, an_unsaved_buffer, an_unsaved_buffer_through_data]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_no_confidence_after(change, local, guard):
    assert guard.check("What?", "Lyon").confidence.p_correct is not None
    change(local)
    with pytest.raises(CalibratorMismatchError, match="no longer fits"):
        guard.check("What?", "Lyon")


def test_no_confidence_of_an_answer_after(local, guard):
    assert guard.answer("What?").confidence.p_correct is not None
    in_place(local)
    with pytest.raises(CalibratorMismatchError, match="no longer fits"):
        guard.answer("What?")


def test_what_is_put_back_fits_again(local, guard):
    before = guard.check("What?", "Lyon")
    kept = {name: x.clone() for name, x in local.model.state_dict().items()}
    other_state(local)
    with pytest.raises(CalibratorMismatchError):
        guard.check("What?", "Lyon")
    local.model.load_state_dict(kept)
    assert guard.check("What?", "Lyon").confidence == before.confidence


def test_a_hook_that_is_taken_away_again(local, guard):
    before = guard.check("What?", "Lyon")
    handle = first(local).register_forward_hook(lambda module, args, output: 2 * output)
    with pytest.raises(CalibratorMismatchError, match="others than then: hooks"):
        guard.check("What?", "Lyon")
    handle.remove()
    assert guard.check("What?", "Lyon").confidence == before.confidence


def test_what_changes_no_number_keeps_its_confidence(local, guard):
    before = guard.check("What?", "Lyon")
    local.model.train()
    local.model.config.use_cache = False
    local.model.config.pad_token_id = 1
    local.model.requires_grad_(False)
    assert guard.check("What?", "Lyon").confidence == before.confidence


def test_an_adapter_that_is_switched_or_scaled(local):
    an_adapter(local)
    guard = guard_of(local)
    assert guard.check("What?", "Lyon").confidence.p_correct is not None
    local.model.disable_adapters()
    with pytest.raises(CalibratorMismatchError):
        guard.check("What?", "Lyon")
    local.model.enable_adapters()
    assert guard.check("What?", "Lyon").confidence.p_correct is not None
    local.model.model.layers[0].self_attn.v_proj.scaling["default"] *= 2
    with pytest.raises(CalibratorMismatchError):
        guard.check("What?", "Lyon")


def test_a_scorer_whose_options_change(guard):
    scorer = guard.scorer
    assert isinstance(scorer, HybridGradScorer)
    scorer.profile = scorer.profile.model_copy(update={"reduction": "sum"})
    with pytest.raises(CalibratorMismatchError, match="profile reduction"):
        guard.check("What?", "Lyon")


def test_a_score_of_another_scorer_is_not_calibrated(guard):
    other = Score.of("g-nll", 1e-4, length=2)
    for calibrate in (guard.calibrator.predict, guard.calibrated.confidence):
        with pytest.raises(CalibratorMismatchError, match="'hybridgrad', and this is one of 'g-nll'"):
            calibrate(other)
