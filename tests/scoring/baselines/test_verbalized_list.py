"""Claims as one list, a stated confidence each: read by hand, from replies, and through a guard."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import guardrail
from guardrail.errors import ScoringError
from guardrail.langchain import ChatGuarded, StatedModel
from guardrail.model.token_log_probs import token_log_probs
from guardrail.scoring.baselines.verbalized import VerbalizedScorer, stated_doubt
from guardrail.scoring.baselines.verbalized_list import LISTED, MOST, VerbalizedListScorer, labels_in, numbered
from guardrail.scoring.registry import scorer_from
from guardrail.stated import Wording
from guardrail.testing import tiny_local_model
from tests.helpers.stating_chat import Stating, written

ANSWER = "It is big. It is red."
PARTS = [(0, 10), (10, 21)]
LABELS = Wording().labels
MIDDLES = [0.1, 0.3, 0.5, 0.7, 0.9]
ASKED = "What are the double of {} and its sum with and its difference from 1?"


@pytest.fixture(scope="module")
def local():
    return tiny_local_model(vocab_size=261, max_position_embeddings=1024)


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        ("1: high\n2: very low", [3, 0]),
        ("1. High.\n2) Very Low", [3, 0]),
        ("Here they are:\n\n- 2: low\n- 1: **medium**", [2, 1]),
        ("1: high\n2: I do not know", [3, None]),
        ("1: high\n1: low\n2: low", [None, 1]),
        ("1: high\n1: high\n2: low", [3, 1]),
        ("1: high\n2: low\n3: low", [None, None]),
        ("0: high\n1: low", [None, None]),
        ("1: high confidence\n2: not high", [None, None]),
        ("high\nlow", [None, None]),
        ("1: high 2: low", [None, None]),
        ("", [None, None]),
    ],
)
def test_each_line_states_one_label_of_one_statement_or_none(reply, told):
    assert labels_in(reply, 2, LABELS) == told


@given(st.text(alphabet="012: .\nhiglowvery", max_size=60), st.integers(1, 3))
def test_whatever_is_replied_each_statement_has_a_label_or_none(reply, count):
    told = labels_in(reply, count, LABELS)
    assert len(told) == count
    assert all(k is None or k in range(5) for k in told)
    assert (
        labels_in("\n".join(f"{n}: {LABELS[k]}" for n, k in enumerate(told, 1) if k is not None), count, LABELS) == told
    )


def test_a_label_is_read_behind_its_number_by_hand(local):
    trace, scorer = local.trace("What {is} it?", ANSWER), VerbalizedListScorer(local)
    (scores,) = scorer.score_spans([trace], [PARTS])
    asked = LISTED.format(statements="1. It is big.\n2. It is red.", labels="very low, low, medium, high or very high")
    turns = ({"role": "assistant", "content": ANSWER}, {"role": "user", "content": asked})
    prompt = local.encode_prompt((*trace.messages, *turns))
    for k, score in enumerate(scores, 1):
        lines = [local.encode_response(f"{k}: {label}", ended=False) for label in LABELS]
        sums = [float(token_log_probs(local, [(prompt, line)])[0].sum()) for line in lines]
        assert score.value == pytest.approx(stated_doubt(sums, MIDDLES), abs=1e-5)
    assert [score.length for score in scores] == [10, 11]
    assert {score.scorer for score in scores} == {"verbalized-list"}
    assert scores[0].value != scores[1].value


def test_statements_are_a_line_each():
    assert numbered(["One\n2. thing.", "Other"]) == "1. One 2. thing.\n2. Other"


def test_answers_do_not_mix_and_long_ones_are_asked_about_in_several_lists(local):
    scorer, many = VerbalizedListScorer(local), [(k, k + 1) for k in range(MOST + 2)]
    long, short = local.trace("What is it?", "abcdefghijklmnopqrstuvwxyz"), local.trace("What is it?", ANSWER)
    together = scorer.score_spans([long, short, short], [many, [], PARTS])
    assert [len(row) for row in together] == [MOST + 2, 0, 2]
    assert together[0][MOST:] == scorer.score_spans([long], [many[MOST:]])[0]
    assert together[2] == scorer.score_spans([short], [PARTS])[0]
    assert scorer.score_traces([short])[0].value == VerbalizedScorer(local).score_traces([short])[0].value


def test_what_generation_kept_changes_no_number(local):
    scorer = VerbalizedListScorer(local)
    kept = local.generate("What is it?", max_new_tokens=12, keep=scorer.keep)
    with_kept, without = (scorer.score_spans([t], [[(0, 5), (3, 12)]])[0] for t in (kept, replace(kept, state=None)))
    np.testing.assert_allclose([s.value for s in with_kept], [s.value for s in without], atol=1e-5)
    assert kept.state is not None


def test_what_cannot_be_asked_about_has_no_number(local):
    short = tiny_local_model(vocab_size=261, max_position_embeddings=128)
    scores = VerbalizedListScorer(short).score_spans([short.trace("Who?", ANSWER)], [PARTS])[0]
    assert [(s.unscored, s.length) for s in scores] == [("prompt_too_long", 10), ("prompt_too_long", 11)]
    scorer = VerbalizedListScorer(local)
    assert scorer.score_spans([local.trace("Who?", " ")], [[(0, 1)]])[0][0].unscored == "empty_answer"
    with pytest.raises(ScoringError, match="not within the response's"):
        scorer.score_spans([local.trace("Who?", ANSWER)], [[(0, 99)]])
    options = json.loads(json.dumps(scorer.options))
    assert scorer_from("verbalized-list", options, local).options == options


def tells(messages):
    """Right of sums and doubles, mostly, and wrong of differences, as it knows; of numbers that end in 7 it says nothing."""
    n = int(re.search(r"\d+", messages[0].content)[0])
    statements = re.findall(r"^(\d+)\. (.+)$", messages[-1].content, re.MULTILINE)
    if statements:
        lines = [(k, "Low" if "difference" in text else "Very high") for k, text in statements]
        return "\n".join(f"{k}: {label}" for k, label in lines if n % 10 != 7 or label != "Low")
    if messages[-1].content == Wording().question:
        return "High"
    sure = f"The sum is {n + 1 if n % 9 else n}. The double is {2 * n if n % 8 else n}."
    return f"{sure} The difference is {n if n % 9 else n - 1}."


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lists")
    rows = [
        {
            "question": ASKED.format(n),
            "facts": [
                {"about": [what], "values": [str(value)]}
                for what, value in {"sum": n + 1, "double": 2 * n, "difference": n - 1}.items()
            ],
        }
        for n in range(20, 36)
        if n % 10 != 7
    ]
    file = folder / "claims.json"
    options = {"unit": "claim", "scorer": "verbalized-list", "prompt": "{question}", "cache": False}
    fit = guardrail.calibrate(StatedModel(Stating(says=tells)), written(folder / "facts.jsonl", rows), file, **options)
    assert (fit.calibrator.unit, fit.calibrator.provenance.scorer) == ("claim", "verbalized-list")
    assert fit.metrics["auroc"].value > 0.8
    return file


@pytest.mark.parametrize(("stream_policy", "lists"), [("answer", 1), ("claim", 2)])
def test_a_chat_model_states_a_confidence_in_each_claim_of_its_list(fitted, stream_policy, lists):
    model = StatedModel(Stating(says=tells, asked=[]))
    chat = ChatGuarded(model=model, policy="per_claim", claim_calibrator=str(fitted), stream_policy=stream_policy)
    first, *rest = chat.stream(ASKED.format(50))
    message = sum(rest, first)
    told = message.response_metadata["guardrail"]["claims"]
    assert [(c["action"], c["unscored"]) for c in told] == [("keep", None), ("keep", None), ("drop", None)]
    assert told[0]["confidence"] > 0.7 > 0.2 > told[2]["confidence"]
    assert "51" in message.text
    assert "difference" not in message.text
    assert sum(asked[-1].content.startswith("These are the statements") for asked, _ in model.chat.asked) == lists


def test_a_claim_that_the_list_leaves_out_is_unscored_and_dropped(fitted):
    guard = guardrail.Guard(model=StatedModel(Stating(says=tells)), policy="per_claim", claim_calibrator=str(fitted))
    verdict = guard.answer(ASKED.format(47))
    assert [(c.action, c.score.unscored) for c in verdict.claims] == [
        ("keep", None),
        ("keep", None),
        ("drop", "unstated"),
    ]
