"""NaN and infinity in every parameter of tiny models, one at a time: refused by name, and without a score where they matter."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from guardrail.errors import ModelError
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.testing import tiny_local_model
from tests.faults.outcomes import CHANGED, SAME, WRONG, of_score

FAMILIES = ("llama", "qwen2", "gemma2", "gpt2", "phi3", "mixtral", "lfm2")
VALUES = (math.nan, math.inf, -math.inf)


@contextmanager
def damaged(parameter, value):
    """The middle one of a parameter's numbers replaced."""
    flat = parameter.data.view(-1)
    at, before = len(flat) // 2, flat[len(flat) // 2].clone()
    flat[at] = value
    try:
        yield
    finally:
        flat[at] = before


def cases(families=FAMILIES):
    """(what was done, what it came to) of every parameter and value: at the identity, of an answer, and of a given text."""
    for family in families:
        local = tiny_local_model(family, vocab_size=261)
        scorer = HybridGradScorer(local)
        given = local.trace("What?", "Lyon")
        sound = scorer.score_traces([given])[0].number
        for name, parameter in local.model.named_parameters():
            for value in VALUES:
                with damaged(parameter, value):
                    done = f"{value} in {name} of {family}"
                    try:
                        local.identity  # noqa: B018
                        yield f"{done}: identity", WRONG
                    except ModelError as error:
                        yield f"{done}: identity", "refused by name" if name in str(error) else WRONG
                    yield f"{done}: given", of_score(scorer, given, sound)
                    if value is not VALUES[0]:
                        continue
                    [answer] = local.generate_batch(["What?"], max_new_tokens=3, keep=scorer.keep)
                    answer = replace(answer, text=answer.text or ("" if answer.fault else "x"))
                    yield f"{done}: answer", of_score(scorer, answer, math.nan)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_number_comes_of_damaged_weights(family):
    found = list(cases([family]))
    assert len(found) > 7 * 10
    assert [done for done, outcome in found if outcome == WRONG] == []
    nan = [outcome for done, outcome in found if done.startswith("nan") and done.endswith("given")]
    assert CHANGED not in nan  # NaN either has no part in an answer, or leaves none
    assert any(outcome == "unscored not_finite" for outcome in nan)
    assert all(outcome in (SAME, "unscored not_finite") for outcome in nan)


def test_one_broken_row_does_not_end_a_sampled_batch():
    local = tiny_local_model(vocab_size=261)
    questions, broken = ["Who?", "Where?", "When?"], 1
    options = {"max_new_tokens": 4, "temperature": 0.8, "seed": 3}
    sound = local.generate_batch(questions, **options)

    def hook(_, __, output):
        output = output.clone()
        if output.shape[0] == 3:
            output[broken] = math.nan
        return output

    handle = local.model.lm_head.register_forward_hook(hook)
    found = local.generate_batch(questions, **options)
    handle.remove()
    assert [trace.fault for trace in found] == [None, "not_finite", None]
    assert [found[i].response_ids for i in (0, 2)] == [sound[i].response_ids for i in (0, 2)]
    scores = HybridGradScorer(local).score_traces(found)
    assert scores[1].unscored == "not_finite"


def test_an_empty_answer_of_broken_logits_says_why():
    local = tiny_local_model(vocab_size=261)
    scorer = HybridGradScorer(local)
    with damaged(local.model.model.norm.weight, math.nan):
        [trace] = local.generate_batch(["What?"], max_new_tokens=3)
        assert trace.text == ""
        assert scorer.score_traces([trace])[0].unscored == "not_finite"


def test_model_inspect_says_it_in_our_words(tmp_path, cli):
    local = tiny_local_model(vocab_size=261)
    local.model.model.norm.weight.data[3] = math.nan
    local.model.save_pretrained(tmp_path / "model")
    local.tokenizer.save_pretrained(tmp_path / "model")
    run = cli("model", "inspect", tmp_path / "model")
    assert run.returncode == 1
    assert "NaN or infinit" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("name", ["g-nll", "ln-pe", "p-true", "semgrad", "paragrad", "exgrad", "inside"])
def test_every_scorer_of_a_broken_model_gives_no_number(name):
    from guardrail.scoring.registry import scorer_from

    local = tiny_local_model(vocab_size=261)
    options = {"reduction": "mean", "token": -4, "band": "code", "samples": 2, "max_new_tokens": 3, "seed": 0,
               "temperature": 1.0, "top_p": 1.0, "top_k": 0, "alpha": 0.001, "token_source": "given"}  # fmt: skip
    scorer = scorer_from(name, options_of(name, options), local)
    trace = local.trace("What?", "Lyon")
    assert scorer.score_traces([trace])[0].number is not None
    with torch.no_grad(), damaged(local.model.model.norm.weight, math.nan):
        assert scorer.score_traces([trace])[0].unscored == "not_finite"


def options_of(name, options):
    wanted = {
        "semgrad": ("token", "token_source", "band", "reduction"), "paragrad": ("reduction",), "exgrad": ("reduction",),
        "ln-pe": ("samples", "temperature", "top_p", "top_k", "max_new_tokens", "seed"),
        "inside": ("samples", "temperature", "top_p", "top_k", "max_new_tokens", "seed", "alpha"),
    }  # fmt: skip
    return {key: options[key] for key in wanted.get(name, ())}
