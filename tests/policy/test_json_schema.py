"""The JSON Schema of a policy file agrees with the files that load, and with the keys that the loader knows."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from guardrail.errors import PolicyError
from guardrail.policy import Policy
from guardrail.policy.schema import MAPPINGS, json_schema

SCHEMA = json_schema()
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": int | float}


def valid(value: Any, schema: dict[str, Any]) -> bool:
    """Whether a value fits a schema, of the words of JSON Schema that ours uses for types and choices."""
    if "$ref" in schema:
        return valid(value, SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]])
    if "type" in schema and not isinstance(value, TYPES[schema["type"]]):
        return False
    if value not in schema.get("enum", [value]) or value != schema.get("const", value):
        return False
    if "anyOf" in schema and not any(valid(value, each) for each in schema["anyOf"]):
        return False
    if "oneOf" in schema and sum(valid(value, each) for each in schema["oneOf"]) != 1:
        return False
    if isinstance(value, list):
        return all(valid(item, schema.get("items", {})) for item in value)
    if isinstance(value, dict) and "properties" in schema:
        known = schema["properties"]
        return (
            value.keys() <= known.keys()
            and all(key in value for key in schema.get("required", ()))
            and all(valid(item, known[key]) for key, item in value.items())
        )
    return not isinstance(value, float) or schema.get("minimum", value) <= value <= schema.get("maximum", value)


@pytest.mark.parametrize("name", Policy.shipped())
def test_every_shipped_policy_is_valid(name: str) -> None:
    assert valid(yaml.safe_load(Policy.load(name).text), SCHEMA)


@pytest.mark.parametrize(
    ("rule", "loads"),
    [
        ("{name: a, when: {label: low}, then: answer}", True),
        ("{name: a, when: {label: [low, medium], unscored: not_finite}, then: answer}", True),
        ("{name: a, when: {any: [{in_range: true}, {not: {confidence: {above: 0.5}}}]}, then: hedge}", True),
        ("{name: a, for: claim, when: {kind: row}, then: drop}", True),
        ("{name: a, for: claim, then: answer}", False),
        ("{name: a, then: drop}", False),
        ("{name: a, when: {label: lowest}, then: answer}", False),
        ("{name: a, when: {confidence: {over: 0.5}}, then: answer}", False),
        ("{name: a, when: {confidence: {above: 1.5}}, then: answer}", False),
        ("{when: {label: low}, then: answer}", False),
    ],
)
def test_what_is_valid_loads_and_what_is_not_does_not(rule: str, loads: bool) -> None:
    text = f"version: 1\nname: p\nrules: [{rule}]\n"
    assert valid(yaml.safe_load(text), SCHEMA) is loads
    if loads:
        Policy.from_text(text, "p.yaml")
    else:
        with pytest.raises(PolicyError):
            Policy.from_text(text, "p.yaml")


def test_every_mapping_has_the_keys_that_the_loader_knows() -> None:
    mappings = {model for unit in MAPPINGS.values() for model in unit.values()}
    for model in mappings:
        schema = SCHEMA["$defs"].get(model.__name__, SCHEMA)
        assert schema["properties"].keys() == set(model.keys()), model
        assert schema["additionalProperties"] is False
    assert "null" not in json.dumps(SCHEMA)
