"""Answers that are kept to a form while they are generated, by tiny random models that would never write one."""

from __future__ import annotations

import copy
import json
import re

import pytest
import torch

from guardrail.errors import MissingExtraError, ModelError
from guardrail.model.constraint import Constraint, Form
from guardrail.model.generate import Decoding, generate
from guardrail.model.local import LocalModel
from guardrail.model.token_log_probs import token_log_probs
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.testing import CHATML, tiny_local_model, tiny_model
from tests.helpers.thinkers import MARKS, ids_of, thinker
from tests.helpers.tokenizer_kinds import KINDS

FLAGS = {
    "type": "object",
    "properties": {"sure": {"type": "boolean"}, "size": {"enum": ["small", "large"]}},
    "required": ["sure", "size"],
}
DIGIT = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 9}}, "required": ["n"]}
ASKED = "What is the capital of France?"


def written(local, *schemas, n=60, **options):
    constraints = [None if s is None else Constraint.json(s) for s in schemas]
    return local.generate_batch([ASKED] * len(schemas), max_new_tokens=n, constraints=constraints, **options)


@pytest.mark.parametrize("options", [{}, {"temperature": 1.5, "seed": 3}])
def test_rows_of_a_batch_are_kept_to_their_own_schemas(options):
    flags, digit, free = written(tiny_local_model(), FLAGS, DIGIT, None, **options)
    assert set(json.loads(flags.text)) == {"sure", "size"}
    assert json.loads(flags.text)["size"] in ("small", "large")
    assert json.loads(digit.text)["n"] in range(10)
    assert flags.finish_reason == digit.finish_reason == "stop"
    with pytest.raises(ValueError, match="Expecting"):
        json.loads(free.text)


def test_a_row_says_alone_what_it_says_in_a_batch():
    local = tiny_local_model()
    together = written(local, FLAGS, DIGIT, None)
    alone = [written(local, schema)[0] for schema in (FLAGS, DIGIT, None)]
    assert [t.response_ids for t in together] == [t.response_ids for t in alone]


@pytest.mark.parametrize(
    "schema", [{"type": "object"}, {"type": "array"}, {"type": "array", "items": {"type": "boolean"}}]
)
def test_what_a_schema_leaves_open_is_open(schema):
    local = tiny_local_model()
    texts = {written(local, schema, n=1 + 12, temperature=1.0, seed=seed)[0].text[:2] for seed in range(12)}
    assert not texts <= {"{}", "[]"}


def test_at_the_limit_the_json_is_cut():
    (trace,) = written(tiny_local_model(), FLAGS, n=5)
    assert (trace.finish_reason, len(trace.response_ids)) == ("length", 5)
    assert '{"sure": true, "size": "small"}'[:3] == trace.text[:3]


def test_a_stop_string_still_ends_the_answer():
    (trace,) = written(tiny_local_model(), FLAGS, stop=[","])
    assert trace.text in ('{"sure": true', '{"sure": false')
    assert trace.stop_string


def test_what_is_measured_is_the_models_own():
    """The mask changes which token is drawn; its likelihood, and so the score, is what a second pass over the ids gives."""
    local = tiny_local_model()
    scorer = HybridGradScorer(local)
    kept = local.generate_batch([ASKED], max_new_tokens=60, constraints=[Constraint.json(FLAGS)], keep=scorer.keep)[0]
    messages = kept.messages
    decoding = Decoding(60, log_probs=True, constraints=(Constraint.json(FLAGS),))
    (drawn,) = generate(local, [messages], [local.encode_prompt(messages)], decoding, None, [False])
    again = token_log_probs(local, [(kept.prompt_ids, kept.response_ids)])[0]
    assert drawn.log_probs == pytest.approx(again.tolist(), abs=1e-4)
    given = local.trace(messages, kept.text)
    assert given.response_ids == kept.response_ids
    with_states, without = scorer.score_traces([kept, given])
    assert with_states.value == pytest.approx(without.value, rel=1e-4)
    assert with_states.nll == pytest.approx(-again.sum().item(), rel=1e-4)


@pytest.mark.parametrize("kind", MARKS)
def test_a_thought_is_free_and_the_answer_behind_it_is_not(kind):
    """The model is made to open a thought, to say what is no JSON, and to close it; from there on it is on its own."""
    local = thinker(kind)
    *_, opening, closing = MARKS[kind]
    script = [*ids_of(local, opening), *ids_of(local, "Hm."), *ids_of(local, closing)]
    with_scripted_beginning(local, script)
    (trace,) = written(local, FLAGS, n=120)
    assert trace.thinking == "Hm."
    assert set(json.loads(trace.text)) == {"sure", "size"}


@pytest.mark.parametrize("kind", MARKS)
def test_a_model_that_may_think_is_kept_from_its_first_token(kind):
    """It opens a thought, or its answer's channel, or answers; it cannot say anything else."""
    (trace,) = written(thinker(kind), FLAGS, n=200)
    if not trace.unfinished_thinking:
        assert set(json.loads(trace.text)) == {"sure", "size"}


def test_an_answer_in_a_prompt_that_opens_a_thought_waits_for_its_end():
    template = "{% for m in messages %}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}<think>{% endif %}"
    local = thinker("qwen", template)
    (trace,) = written(local, FLAGS, n=8)
    assert trace.unfinished_thinking
    with_scripted_beginning(local, [*ids_of(local, '{"su'), *ids_of(local, "re</think>")])
    (trace,) = written(local, FLAGS, n=120)
    assert trace.thinking == '{"sure'
    assert set(json.loads(trace.text)) == {"sure", "size"}


def test_text_around_the_json_is_kept_with_its_control_tokens():
    local = thinker("qwen")
    local.tokenizer.add_special_tokens(
        {"additional_special_tokens": ["<call>", "</call>"]}, replace_extra_special_tokens=False
    )
    forms = (Form(json.dumps(DIGIT), "<call>one ", "\n</call>"), Form(json.dumps(FLAGS), "<call>two ", "\n</call>"))
    (trace,) = local.generate_batch([ASKED], max_new_tokens=120, constraints=[Constraint(forms)])
    said = local.tokenizer.decode(trace.response_ids)
    assert said.startswith("<call>")
    assert said.endswith("\n</call><|im_end|>")
    name, _, text = said.removeprefix("<call>").partition(" ")
    assert set(json.loads(text.partition("\n")[0])) == ({"n"} if name == "one" else {"sure", "size"})


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "foo"}, 'Unsupported type "foo"'),
        ({"$ref": "#/$defs/x"}, r"Cannot find field '\$defs'"),
        ({"type": "string", "pattern": "(?<=a)b"}, "Lookbehind"),
        ({"enum": []}, "must not be empty"),
        ({"items": {"$ref": "file:///a.json"}}, "nothing is fetched from elsewhere"),
    ],
)
def test_a_schema_that_cannot_be_kept_is_refused(schema, why):
    with pytest.raises(ModelError, match=f"{why}.*change the schema"):
        written(tiny_local_model(), schema)


def test_a_vocabulary_that_cannot_spell_the_schema_is_refused():
    local = tiny_local_model()
    missing = ids_of(local, "z")[0]
    vocabulary = {token: i for token, i in local.tokenizer.get_vocab().items() if i != missing}
    local.tokenizer.get_vocab = lambda: vocabulary
    with pytest.raises(ModelError, match="has no token for what the schema asks for"):
        written(local, {"type": "object", "properties": {"animal": {"enum": ["zebra"]}}, "required": ["animal"]})


def test_without_the_extra_the_error_names_it(monkeypatch):
    monkeypatch.setattr("guardrail.model.constraint.can_constrain", lambda: False)
    with pytest.raises(MissingExtraError, match=r"hybridgrad-guardrail\[structured\]"):
        written(tiny_local_model(), FLAGS)


def test_a_constraint_for_each_conversation():
    with pytest.raises(ModelError, match="1 constraints for 2 conversations"):
        tiny_local_model().generate_batch([ASKED, ASKED], constraints=[None])


def with_scripted_beginning(local, ids):
    """The model, whose replies begin with these ids; what follows is its own, under whatever mask there is."""
    generate = local.model.generate

    def begins(*, input_ids, logits_processor, **options):
        def script(so_far, scores):
            at = so_far.shape[1] - input_ids.shape[1]
            if at >= len(ids):
                return scores
            forced = torch.full_like(scores, -torch.inf)
            forced[:, ids[at]] = 0.0
            return forced

        logits_processor.append(script)
        return generate(input_ids=input_ids, logits_processor=logits_processor, **options)

    local.model.generate = begins


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_tokenizer_spells_the_schema_or_is_refused(kind):
    tokenizer = copy.deepcopy(KINDS[kind]())
    tokenizer.chat_template = CHATML
    local = LocalModel(tiny_model(vocab_size=len(tokenizer) + 5, max_position_embeddings=1024), tokenizer)
    schema = {"type": "object", "properties": {"is": {"enum": ["big", "small; fast"]}}, "required": ["is"]}
    try:
        (trace,) = written(local, schema)
    except ModelError as error:
        assert re.search("has no token for|does not read its tokenizer right", str(error))  # noqa: PT017
        assert kind in ("unigram", "word_piece")
    else:
        assert json.loads(trace.text)["is"] in ("big", "small; fast")
