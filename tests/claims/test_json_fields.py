"""JSON taken apart: every value at its exact place, whatever the text; and where null may stand for one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from guardrail.claims import JsonFields, extractor
from guardrail.claims.complete import take_apart
from guardrail.claims.fields import allows_null, keys_of, pointer
from tests.helpers.growth import superlinear


def found(text, tools=()):
    return {c.path: text[c.start : c.end] for c in JsonFields(tools).extract(text).claims}


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ('{"city": "Lima", "n": 3}', {"/city": '"Lima"', "/n": "3"}),
        ('{"a": {"b": [1, {"c": true}]}, "d": null}', {"/a/b/0": "1", "/a/b/1/c": "true", "/d": "null"}),
        ('{"a": {}, "b": [], "c": ""}', {"/a": "{}", "/b": "[]", "/c": '""'}),
        ('{"q": "say \\"}\\" \\u00e9 \\\\", "r": -1.5e-3}', {"/q": '"say \\"}\\" \\u00e9 \\\\"', "/r": "-1.5e-3"}),
        ('{"a/b": 1, "c~d": 2, "": 3}', {"/a~1b": "1", "/c~0d": "2", "/": "3"}),
        (' { "a" :\n[ 1 ,\t2 ] } ', {"/a/0": "1", "/a/1": "2"}),
        ('```json\n{"a": 1}\n```', {"/a": "1"}),
        ("[]", {"": "[]"}),
        ("12", {"": "12"}),
        ('{"名前": "リマ 😀"}', {"/名前": '"リマ 😀"'}),
    ],
)
def test_every_value_has_its_path_and_its_place(text, fields):
    assert found(text) == fields


@pytest.mark.parametrize(
    "text",
    ['{"a": 1', '{"a": 1, "a": 2}', '{"a": NaN}', '{"a": 1} and more', "Lima", "{'a': 1}", '```json\n{"a": 1}\n``` ok'],
)
def test_what_is_no_json_is_one_claim(text):
    (claim,) = JsonFields().extract(text).claims
    assert (claim.text, claim.path, claim.kind) == (text, None, "sentence")
    assert JsonFields().fields(text) is None


def test_blank_text_claims_nothing():
    assert JsonFields().extract(" \n").claims == ()


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


@given(values, st.sampled_from([None, 2]), st.booleans())
def test_the_fields_are_the_value(value, indent, ascii_only):
    """Each place holds the JSON of what stands at its path, and nothing of the text is left out."""
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    taken = take_apart(JsonFields(), text)
    assert not any(aside.reason == "unread" for aside in taken.asides)
    for claim in taken.claims:
        place = value
        for key in keys_of(claim.path):
            place = place[int(key) if isinstance(place, list) else key]
        assert json.loads(text[claim.start : claim.end]) == place
        assert not place or not isinstance(place, (dict, list))


CALL = '{"name": "City", "arguments": {"name": "Lima", "n": [1]}}'


@pytest.mark.parametrize(
    "text",
    [
        CALL,
        f"<tool_call>\n{CALL}\n</tool_call>",
        f"[TOOL_CALLS] [{CALL}]",
        f" [{CALL}]",
        '[TOOL_CALLS]City[ARGS]{"name": "Lima", "n": [1]}',
        'City{"name": "Lima", "n": [1]}',
        CALL.replace("arguments", "parameters"),
    ],
)
def test_the_fields_of_a_call_are_its_arguments(text):
    assert found(text, ["City"]) == {"/name": '"Lima"', "/n/0": "1"}


def test_several_calls_have_an_index_before_their_paths():
    text = f"<tool_call>{CALL}</tool_call><tool_call>{CALL}</tool_call>"
    assert list(found(text, ["City"])) == ["/0/name", "/0/n/0", "/1/name", "/1/n/0"]


@pytest.mark.parametrize("text", ["Lima.", f"Here it is: {CALL}", f"{CALL} I think", '{"name": "City", "arg', "[1"])
def test_text_beside_a_call_would_be_judged_by_nobody(text):
    assert JsonFields(["City"]).fields(text) is None


def test_an_extractor_by_name():
    assert extractor("fields").name == "fields"


@pytest.mark.parametrize("path", [(), ("a",), ("a/b", "c~d", 0), ("", "~1")])
def test_a_pointer_can_be_read_again(path):
    assert keys_of(pointer(path)) == [str(key) for key in path]


class Street(BaseModel):
    name: str
    number: int | None


class Home(BaseModel):
    street: Street
    old: Street | None
    tags: list[str | None]
    names: list[str]
    pair: tuple[int, str | None]
    notes: dict[str, str | None]
    anything: object


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/street", False),
        ("/street/name", False),
        ("/street/number", True),
        ("/old", True),
        ("/old/name", False),
        ("/tags/0", True),
        ("/names/0", False),
        ("/pair/0", False),
        ("/pair/1", True),
        ("/pair/2", False),
        ("/notes/x", True),
        ("/anything", True),
        ("/nowhere", False),
        ("", False),
    ],
)
def test_where_a_class_allows_null(path, allowed):
    assert allows_null(Home.model_json_schema(), keys_of(path)) is allowed


@pytest.mark.parametrize(
    ("schema", "allowed"),
    [
        ({}, True),
        (True, True),
        (False, False),
        ({"type": "null"}, True),
        ({"type": "string"}, False),
        ({"enum": ["a", None]}, True),
        ({"const": None, "type": "string"}, False),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, True),
        ({"allOf": [{"type": ["string", "null"]}, {"enum": ["a"]}]}, False),
        ({"not": {"type": "string"}}, False),
        ({"minLength": 3}, False),
        ({"$ref": "http://elsewhere/schema"}, False),
        ({"$ref": "#"}, False),
        ({"$ref": "#/$defs/x", "$defs": {"x": {"type": ["null"]}}}, True),
        ("nonsense", False),
    ],
)
def test_null_at_the_root(schema, allowed):
    assert allows_null(schema, []) is allowed


def test_of_several_objects_nobody_knows_which_it_is():
    one, other = ({"type": "object", "properties": {"a": {"type": t}}} for t in ("string", ["string", "null"]))
    assert not allows_null({"anyOf": [one, other]}, ["a"])
    assert allows_null({"anyOf": [other, {"type": "object", "properties": {"b": {}}}]}, ["a"])


@pytest.mark.parametrize(
    "schema",
    [{"type": 3}, {"type": None}, {"enum": 3}, {"allOf": 3}, {"anyOf": None}, {"oneOf": {}}, {"items": {}, "prefixItems": 3},
     {"properties": 3}, {"$ref": 3}, {"$ref": "#/a/b"}, {"$ref": "#"}, {"additionalProperties": 3}],
)  # fmt: skip
@pytest.mark.parametrize("path", [[], ["0"], ["²"], ["9" * 5000], ["a", "1"]])
def test_what_is_no_right_schema_is_no_leave_for_null(schema, path):
    assert allows_null(schema, path) is False


def test_many_calls_take_linear_time():
    def taken(n):
        answer = json.dumps([{"name": "t", "arguments": {"x": 1}}] * n)
        return lambda: JsonFields(["t"]).extract(answer)

    assert len(taken(3)().claims) == 3
    assert not superlinear(taken(250), taken(2_000), 8)
