import pytest
from pydantic import ValidationError

from guardrail.calibration.provenance import ModelIdentity, Provenance, check_compatible
from guardrail.errors import CalibratorMismatchError

MODEL = ModelIdentity(name="tiny", architecture="LlamaForCausalLM", weights="w1", dtype="float32", chat_template="t1")
PROFILE = {"token": -6, "reduction": "sum", "tau": 1.0, "band": [3, 4]}
FIELDS = {
    "model": MODEL,
    "scorer": "hybridgrad",
    "profile": PROFILE,
    "prompt": "{question}",
    "system": None,
    "data": "ab" * 32,
    "n": 100,
    "accuracy": 0.25,
    "created": "2026-02-03",
    "command": "guardrail calibrate q.jsonl -o c.json",
    "versions": {"torch": "2.13.0"},
    "grader": "alias",
    "generation": {"max_new_tokens": 32},
}
PROVENANCE = Provenance(**FIELDS)


def check(model=MODEL, scorer="hybridgrad", profile=PROFILE):
    return check_compatible(PROVENANCE, model, scorer, profile, "c.json")


def test_the_same_set_up_is_accepted():
    assert check() is None


def test_another_name_and_a_tuple_for_a_list_are_accepted():
    assert check(model=MODEL.model_copy(update={"name": "other"}), profile={**PROFILE, "band": (3, 4)}) is None


@pytest.mark.parametrize("field", ["weights", "dtype", "chat_template"])
def test_another_model_is_refused_with_both_values_and_the_command(field):
    other = MODEL.model_copy(update={field: "changed", "name": "org/other"})
    with pytest.raises(CalibratorMismatchError) as e:
        check(model=other)
    text = str(e.value)
    assert f"model {field} {getattr(MODEL, field)} (in use: changed)" in text
    assert text.startswith("c.json ")
    assert text.endswith("guardrail calibrate DATA.jsonl -o calibrator.json --model org/other")
    assert "\n" not in text


def test_another_scorer_is_refused():
    with pytest.raises(CalibratorMismatchError, match=r"scorer hybridgrad \(in use: entropy\)"):
        check(scorer="entropy")


def test_every_differing_option_is_named():
    with pytest.raises(CalibratorMismatchError) as e:
        check(profile={"token": -4, "reduction": "sum", "tau": 1.0, "beta": 2.0, "band": [3, 4]})
    assert "profile beta absent (in use: 2.0); profile token -6 (in use: -4)." in str(e.value)


def test_long_values_are_cut_in_the_message():
    with pytest.raises(CalibratorMismatchError) as e:
        check(profile={**PROFILE, "token": list(range(1000))})
    assert len(str(e.value)) < 300


@pytest.mark.parametrize(
    "change",
    [{"extra": 1}, {"accuracy": 1.5}, {"n": 0}, {"created": "yesterday"}, {"profile": {"tau": float("nan")}}],
)
def test_malformed_fields_are_refused(change):
    with pytest.raises(ValidationError):
        Provenance(**{**FIELDS, **change})


def test_json_round_trip():
    assert Provenance.model_validate_json(PROVENANCE.model_dump_json()) == PROVENANCE
