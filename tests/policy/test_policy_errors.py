"""A wrong policy file is one line: file, line, what is wrong, and the nearest valid key or value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from guardrail.errors import PolicyError
from guardrail.policy import Policy

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "version: 1\nname: p\n"


def message(text: str) -> str:
    with pytest.raises(PolicyError) as caught:
        Policy.from_text(text, "my.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def rule(text: str) -> str:
    """The message for one rule, which stands on line 4."""
    return message(f"{HEAD}rules:\n  - {{name: a, {text}}}\n")


def when(text: str) -> str:
    return rule(f"then: answer, when: {text}")


def test_unknown_key_names_its_line_and_the_nearest_key() -> None:
    text = f"{HEAD}rules:\n  - name: a\n    then: answer\n    when:\n      confidnce: {{at_least: 1}}\n"
    assert message(text) == "my.yaml:7: unknown key 'confidnce' in rules[0].when; did you mean 'confidence'?"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEAD + "rulez: []\n", ":3: unknown key 'rulez' at the top level; did you mean 'rules'?"),
        (HEAD + "name: q\nrules: []\n", ":3: duplicate key 'name' at the top level; line 2 has it already"),
        (HEAD + "rules:\n", ":3: rules has no value"),
        (HEAD + "rules: {a: b}\n", ":3: rules wants a list, not a mapping"),
        (HEAD, ":1: missing key 'rules' at the top level"),
        ("version: 1\nrules: []\n", ":1: missing key 'name' at the top level"),
        ("version: 1\nname: ' '\nrules: []\n", ":2: name is empty"),
        ("version: 2\nname: p\nrules: []\n", ":1: version 2 is unknown; this guardrail reads version 1"),
        ("version: true\nname: p\nrules: []\n", ":1: version true is unknown; this guardrail reads version 1"),
        ("version: '1'\nname: p\nrules: []\n", ":1: version '1' is unknown; this guardrail reads version 1"),
        ("version: 1.0\nname: p\nrules: []\n", ":1: version 1.0 is unknown; this guardrail reads version 1"),
        (HEAD + "retrieval: {passages: 0}\nrules: []\n", ":3: retrieval.passages is 0; it must be at least 1"),
        (HEAD + "retrieval: {max_passes: 9}\nrules: []\n", ":3: retrieval.max_passes is 9; it must be at most 5"),
        (
            HEAD + "5: 3\nrules: []\n",
            ":3: unknown key '5' at the top level; valid keys: version, name, description, retrieval, "
            "limits, ask_first, on_error, wording, rules, proof, claims_proof, ambiguity, sampling",
        ),
        ("version: 1\nname: no\nrules: []\n", ":2: name wants text, not false; put it in quotes"),
        (
            HEAD + "rules: [answer]\n",
            ":3: rules[0] wants keys (name, for, when, then, because, say, retry, retrieve), not 'answer'",
        ),
        (
            "- a\n",
            ":1: a policy is a mapping with the keys version, name, description, retrieval, limits, "
            "ask_first, on_error, wording, rules, proof, claims_proof, ambiguity, sampling",
        ),
        ("# only this\n", ": the file is empty; the smallest policy is 'version: 1', 'name: ...' and 'rules: []'"),
        ("", ": the file is empty; the smallest policy is 'version: 1', 'name: ...' and 'rules: []'"),
    ],
)
def test_file(text: str, expected: str) -> None:
    assert message(text) == f"my.yaml{expected}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "then: reply",
            "rules[0].then is 'reply'; valid: answer, hedge, retrieve, abstain, ask_back, escalate, retry; "
            "did you mean 'retry'?",
        ),
        (
            "then: abstan",
            "rules[0].then is 'abstan'; valid: answer, hedge, retrieve, abstain, ask_back, escalate, retry; "
            "did you mean 'abstain'?",
        ),
        ("when: {}", "missing key 'then' in rules[0]"),
        (
            "then: answer, zzz: 1",
            "unknown key 'zzz' in rules[0]; valid keys: name, for, when, then, because, say, retry, retrieve",
        ),
        ("then: answer, label: low", "unknown key 'label' in rules[0]; it belongs under 'when'"),
        ("then: answer, when:", "rules[0].when has no value"),
        (
            "then: answer, say: x",
            "rules[0] has 'say', but then: answer shows no wording; only hedge, abstain and ask_back do",
        ),
        (
            "then: hedge, say: x",
            "rules[0] hedges, but its 'say' does not contain {answer}; to withhold the answer, use abstain",
        ),
        (
            "then: abstain, say: 'not sure: {answer}'",
            "rules[0] abstains, but its 'say' shows {answer}; to show the answer with a warning, use hedge",
        ),
    ],
)
def test_rule(text: str, expected: str) -> None:
    assert rule(text) == f"my.yaml:4: {expected}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{confidence: {at_least: 1.5}}", "confidence.at_least is 1.5; it must be at most 1"),
        ("{confidence: {below: -0.1}}", "confidence.below is -0.1; it must be at least 0"),
        ("{confidence: {at_least: .nan}}", "confidence.at_least is nan, which is no finite number"),
        ("{confidence: {at_least: -.inf}}", "confidence.at_least is -inf, which is no finite number"),
        ("{confidence: {at_least: true}}", "confidence.at_least wants a number, not true"),
        ("{confidence: {at_least: '0.8'}}", "confidence.at_least wants a number, not '0.8'"),
        ("{confidence: 0.8}", "confidence wants keys (at_least, above, at_most, below), not 0.8"),
        ("{confidence: {}}", "confidence is empty; it wants one of: at_least, above, at_most, below"),
        (
            "{confidence: {at_least: 0.9, at_most: 0.1}}",
            "confidence can never hold: no value is at_least 0.9 and at_most 0.1",
        ),
        (
            "{confidence: {at_least: 0.5, below: 0.5}}",
            "confidence can never hold: no value is at_least 0.5 and below 0.5",
        ),
        ("{confidence: {above: 1}}", "confidence can never hold: no value is above 1.0"),
        ("{confidence: {above: 0.1, at_least: 0.2}}", "confidence has both at_least and above; keep one of them"),
        ("{length: {at_most: yes}}", "length.at_most wants a whole number, not true"),
        ("{length: {at_most: 6.5}}", "length.at_most wants a whole number, not 6.5"),
        ("{length: {below: 0}}", "length can never hold: no value is below 0"),
        (
            "{label: [high, hgih]}",
            "label[1] is 'hgih'; valid: very low, low, medium, high, very high; did you mean 'high'?",
        ),
        ("{label: []}", "label is empty"),
        ("{evidence: yes}", "evidence is true; valid: present, absent"),
        (
            "{finish_reason: stopped}",
            "finish_reason is 'stopped'; valid: stop, length, given, prompt_too_long; did you mean 'stop'?",
        ),
        ("{in_range: 1}", "in_range wants true or false, not 1"),
        ("{any: []}", "any is empty"),
    ],
)
def test_condition(text: str, expected: str) -> None:
    assert when(text) == f"my.yaml:4: rules[0].when.{expected}"


def test_conditions_inside_any_and_not() -> None:
    assert when("{any: [{}]}") == "my.yaml:4: rules[0].when has an empty condition in 'any', which always holds"
    assert when("{not: {}}") == "my.yaml:4: rules[0].when has an empty 'not', which never holds"
    nested = "{not: {any: [{label: low}, {labl: low}]}}"
    assert when(nested) == "my.yaml:4: unknown key 'labl' in rules[0].when.not.any[1]; did you mean 'label'?"


def test_unscored_reason_lists_the_reasons() -> None:
    assert when("{unscored: nan}").startswith("my.yaml:4: rules[0].when.unscored wants true, false or some of: empty_")


@pytest.mark.parametrize(
    "template", ["{anwser}", "{answer.__class__}", "{answer[0]}", "{answer!r}", "{answer:>9}", "{}", "{0}"]
)
def test_wording_allows_four_plain_placeholders(template: str) -> None:
    text = f"{HEAD}wording:\n  hedge:\n    low: '{{answer}} {template}'\nrules: []\n"
    allowed = "placeholders are {answer}, {confidence}, {label}, {explanation}"
    assert message(text) == f"my.yaml:5: wording.hedge.low holds the unknown placeholder {template}; {allowed}"


def test_other_wording_mistakes() -> None:
    assert "wording.abstain has a brace without its partner" in message(
        HEAD + "wording: {abstain: 'a { b'}\nrules: []\n"
    )
    assert "wording.hedge.low does not contain {answer}" in message(
        HEAD + "wording: {hedge: {low: no}}\nrules: []\n".replace("no", "'x'")
    )
    assert "did you mean 'very low'?" in message(HEAD + "wording: {hedge: {verylow: '{answer}'}}\nrules: []\n")


def test_rules_that_contradict_the_order() -> None:
    two = HEAD + "rules:\n  - {name: a, then: answer%s}\n  - {name: %s, then: abstain%s}\n"
    assert message(two % ("", "a", "")) == "my.yaml:5: duplicate rule name 'a'; line 4 has it already"
    never = "my.yaml:5: rule 'b' can never fire: 'a' (line 4) matches whatever it matches"
    assert message(two % ("", "b", "")) == never
    narrow = ", when: {confidence: {at_least: 0.8}, evidence: absent}"
    assert message(two % (", when: {confidence: {at_least: 0.6}}", "b", narrow)) == never
    assert message(two % (", when: {unscored: true}", "b", ", when: {unscored: empty_answer}")) == never
    assert message(two % (", when: {label: [low, high]}", "b", ", when: {label: low}")) == never


def test_the_name_of_no_match_is_taken() -> None:
    text = HEAD + "rules: [{name: no rule matched, then: answer}]\n"
    assert "which is taken" in message(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEAD + "rules: [\n", "my.yaml:4: not valid YAML: "),
        (HEAD + "rules:\n\t- a\n", "my.yaml:4: not valid YAML: found character '\\t' that cannot start any token"),
        (HEAD + "rules: []\n\x00", "my.yaml:4: not valid YAML: the character U+0000 is not allowed"),
        (HEAD + "rules: []\n---\na: 1\n", "my.yaml:4: a second YAML document starts here; a policy is one document"),
        ("version: &v 1\nname: *v\n", "my.yaml:1: anchors and aliases (& and *) are not allowed; write the value out"),
        (
            "version: !!python/name:os.system 1\n",
            "my.yaml:1: tags (tag:yaml.org,2002:python/name:os.system) are not allowed",
        ),
        ("version: " + "[" * 5000, "my.yaml:1: nested deeper than 24 levels"),
        ("version: " + "9" * 5000, "my.yaml:1: version is no usable number: 99999999999999999999..."),
        ("#" * 70_000, "my.yaml: larger than 64 KiB; a policy is a short file of rules"),
        ("? [a]\n: b\n", "my.yaml:1: a key at the top level is not plain text"),
    ],
)
def test_yaml_that_is_broken_or_too_clever(text: str, expected: str) -> None:
    assert message(text).startswith(expected)


def load_error(name: str | Path) -> str:
    with pytest.raises(PolicyError) as caught:
        Policy.load(name)
    return str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"version: 1\nname: caf\xe9\n")
    assert load_error(path) == f"{path}:2: not UTF-8: byte 0xe9; save the file as UTF-8"
    assert load_error(tmp_path) == f"cannot read policy '{tmp_path}': Is a directory"
    assert (
        load_error(str(tmp_path / "no.yaml")) == f"cannot read policy '{tmp_path}/no.yaml': No such file or directory"
    )
    large = tmp_path / "large.yaml"
    large.write_text("#" * 70_000)
    assert load_error(large) == f"{large}: larger than 64 KiB; a policy is a short file of rules"


def test_a_misspelt_name_lists_the_shipped_policies() -> None:
    expected = (
        "shipped policies: ask_back, default, observe, per_claim, retrieve_first, strict; did you mean 'default'?"
    )
    assert load_error("defualt") == f"no policy or file 'defualt'; {expected}"


def test_the_first_mistake_in_the_file_is_reported() -> None:
    text = f"{HEAD}rules:\n  - {{name: a, then: answer, when: {{labl: low}}}}\n  - {{nam: b}}\n"
    assert message(text).startswith("my.yaml:4: unknown key 'labl'")


def test_the_wording_of_abstentions_never_shows_the_answer() -> None:
    text = "version: 1\nname: x\nrules: [{name: a, then: abstain}]\nwording: {abstain: 'It may be {answer}'}\n"
    with pytest.raises(PolicyError, match=r"wording.abstain shows \{answer\} while it abstains"):
        Policy.from_text(text, "my.yaml")
