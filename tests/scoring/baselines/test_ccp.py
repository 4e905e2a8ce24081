"""CCP against its formula worked out by hand, token by token on a model whose distribution is known, and its spans."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import guardrail
from guardrail.errors import GuardrailError, ScoringError
from guardrail.model.token_log_probs import likeliest_tokens
from guardrail.scoring.baselines.ccp import Ccp, token_ccp
from guardrail.scoring.baselines.equivalence import Comparison, TokenF1
from guardrail.scoring.baselines.nli_equivalence import NliEquivalence
from guardrail.scoring.registry import scorer_from
from guardrail.testing import tiny_local_model
from tests.helpers.random_nli import save_nli


def test_the_formula_by_hand():
    """0.5 stands there, 0.2 says the same, 0.3 contradicts: 0.7 / 1. The neutral 0.2 is in neither sum: 0.5 / 0.8."""
    p = np.log([0.5, 0.2, 0.3])
    assert token_ccp(p, [1, 1, -1]) == pytest.approx(math.log(0.7))
    assert token_ccp(p, [1, 0, -1]) == pytest.approx(math.log(0.5 / 0.8))
    assert token_ccp(p, [1, 0, 0]) == 0.0
    assert token_ccp([-np.inf, -1.0], [1, -1]) == -np.inf, "an impossible token that is contradicted is the least sure"
    assert math.isnan(token_ccp([np.nan, -1.0], [1, -1]))


class Says:
    """Two texts are related as a table of their last characters says; what is asked is kept."""

    options = {"kind": "table"}

    def __init__(self, relation):
        self.relation, self.asked = relation, []

    def compare(self, question, left, right):
        self.asked += zip(left, right, strict=True)
        found = np.array([self.relation(a, b) for a, b in zip(left, right, strict=True)], dtype=np.float64)
        return Comparison(found > 0, (1 + found) / 2, (1 - found) / 2, found)


def known(local, trace):
    """The model's own log p at every place of the answer, (T, V), by a plain forward pass."""
    ids = torch.tensor([[*trace.prompt_ids, *trace.response_ids]])
    with torch.no_grad():
        logits = local.model(ids).logits[0, len(trace.prompt_ids) - 1 : -1]
    return logits.double().log_softmax(-1).numpy()


def test_a_score_by_hand_on_a_model_of_letters():
    """Of "is lake qz" the last word is left, a token a letter; the others are a function word and asked for."""
    local = tiny_local_model()
    trace = local.trace("Which lake?", "is lake qz")
    at = [t for t, i in enumerate(trace.response_ids) if local.tokenizer.decode([i]) in ("q", "z")]
    log_p, expected, pairs = known(local, trace), 0.0, []
    for t in at:
        stands = trace.response_ids[t]
        order = [i for i in np.argsort(-log_p[t]) if i != stands][:4]
        before = local.tokenizer.decode(list(trace.response_ids[:t]), skip_special_tokens=True)
        texts = [local.tokenizer.decode([*trace.response_ids[:t], i], skip_special_tokens=True) for i in order]
        kept = [np.exp(log_p[t, stands])]
        against = []
        for i, text in zip(order, texts, strict=True):
            if any(c.isalnum() for c in text[len(before) :]):
                pairs.append(text)
                (against if text[-1] in "aeiou" else kept).append(np.exp(log_p[t, i]))
        expected -= math.log(sum(kept) / (sum(kept) + sum(against)))
    equivalence = Says(lambda _, b: -1.0 if b[-1] in "aeiou" else 1.0)
    score = Ccp(local, k=5, equivalence=equivalence).score_traces([trace])[0]
    assert score.value == pytest.approx(expected, rel=1e-4, abs=1e-9)
    assert [b for _, b in equivalence.asked] == pairs


def test_the_likeliest_tokens_stand_behind_the_one_that_is_there():
    local = tiny_local_model()
    trace = local.generate("Who?", max_new_tokens=5, keep=Ccp(local, equivalence=TokenF1()).keep)
    for one in (trace, replace(trace, state=None)):
        ids, found = likeliest_tokens(local, one, 4)
        log_p = known(local, trace)
        assert ids[:, 0].tolist() == list(trace.response_ids)
        assert found.numpy() == pytest.approx(np.take_along_axis(log_p, ids.numpy(), 1), abs=1e-4)
        others = [
            sorted(row[[i for i in range(len(row)) if i != y]])[::-1][:3]
            for row, y in zip(log_p, trace.response_ids, strict=True)
        ]
        assert found[:, 1:].numpy() == pytest.approx(np.array(others), abs=1e-4)


def test_all_that_wavers_is_the_wording_is_sure_and_all_that_wavers_is_the_fact_is_not():
    local = tiny_local_model()
    trace = local.trace("Who?", "zqx")
    sure, neutral, unsure = (
        Ccp(local, k=8, equivalence=Says(lambda *_, r=r: r)).score_traces([trace])[0].value for r in (1.0, 0.0, -1.0)
    )
    assert sure == neutral == pytest.approx(0.0, abs=1e-12)
    assert unsure > 0.5


def test_spans_are_scored_apart_and_one_of_function_words_by_all_of_its_tokens():
    local = tiny_local_model()
    trace = local.trace("Who?", "it was zq")
    scorer = Ccp(local, k=8, equivalence=Says(lambda *_: -1.0))
    end = len(trace.response_ids)
    words = next(t for t, i in enumerate(trace.response_ids) if local.tokenizer.decode([i]) == "z")
    function, content, whole = scorer.score_spans([trace], [[(0, words), (words, end), (0, end)]])[0]
    assert function.value > 0.5, "a claim without a word of its own is no sure one"
    assert content.value == pytest.approx(whole.value)
    assert (function.length, content.length) == (words, end - words)
    assert whole == scorer.score_traces([trace])[0]
    with pytest.raises(ScoringError, match=r"the span \[3, 3\) is empty"):
        scorer.score_spans([trace], [[(3, 3)]])
    assert scorer.score_spans([local.trace("Who?", " ")], [[(0, 1)]])[0][0].unscored == "empty_answer"
    with pytest.raises(ScoringError, match="k is 1"):
        Ccp(local, k=1, equivalence=TokenF1())


def test_both_directions_of_entailment_are_one_relation(monkeypatch):
    """Fadeeva et al.: one direction is enough, unless the other says the opposite."""
    classes = {"entail": (1.0, 0.0, 0.0), "neutral": (0.0, 1.0, 0.0), "contra": (0.0, 0.0, 1.0)}
    table = {
        ("entail", "entail"): 1, ("entail", "neutral"): 1, ("neutral", "neutral"): 0,
        ("entail", "contra"): 0, ("contra", "neutral"): -1, ("contra", "contra"): -1,
    }  # fmt: skip
    nli = object.__new__(NliEquivalence)
    for (forward, backward), relation in table.items():
        for one, other in ((forward, backward), (backward, forward)):
            rows = np.array([classes[one], classes[other]])
            monkeypatch.setattr(NliEquivalence, "_probabilities", lambda self, pairs, rows=rows: rows)
            found = nli.compare("", ["a"], ["b"])
            assert found.relations.tolist() == [relation]
            assert found.same.tolist() == [one == other == "entail"]
    assert TokenF1().compare("", ["a", "a"], ["a", "b"]).relations.tolist() == [1.0, -1.0]


def test_an_nli_model_given_by_name_calibrates_and_is_made_again_from_the_file(tmp_path):
    """A real cross-encoder of random weights, from `calibrate` to the scorer that the calibrator's file makes."""
    rows = []
    for i in range(36):
        said = f"Bern is {'big' if i % 3 else 'lima'} {i}."
        rows.append({"question": f"Which {i}?", "answer": said, "claims": [{"text": said, "correct": i % 2 == 0}]})
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "nli").mkdir()
    name, local = save_nli(tmp_path / "nli"), tiny_local_model()
    found = guardrail.calibrate(
        local, tmp_path / "data.jsonl", tmp_path / "c.json", unit="claim", scorer="ccp", prompt="{question}",
        equivalence=f"nli:{name}", cache=False, run=tmp_path / "run.jsonl",
    )  # fmt: skip
    origin = found.calibrator.provenance
    assert origin.scorer_options["equivalence"] == {"kind": "nli", "model": name}
    records = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()[1:]]
    again = scorer_from("ccp", origin.scorer_options, local)
    by_name = Ccp(local, equivalence=NliEquivalence(name))
    for record in records[:4]:
        [claim] = record["claims"]
        span = (claim["token_start"], claim["token_end"])
        trace = local.trace(record["question"], record["answer"])
        value = claim["scores"]["ccp"]
        assert again.score_spans([trace], [[span]])[0][0].value == pytest.approx(value, rel=1e-5, abs=1e-9)
        assert by_name.score_spans([trace], [[span]])[0][0].value == pytest.approx(value, rel=1e-5, abs=1e-9)
    assert len({round(r["claims"][0]["scores"]["ccp"], 6) for r in records}) > 1
    assert found.calibrator.unit == "claim"
    for scorer, unit, kind, says in (
        ("g-nll", "answer", f"nli:{name}", "g-nll compares none"),
        ("ccp", "claim", "nil:x", "there is no equivalence 'nil:x'"),
    ):
        with pytest.raises(GuardrailError, match=says):
            guardrail.calibrate(local, tmp_path / "data.jsonl", unit=unit, scorer=scorer, equivalence=kind)
