"""Every reader of a file, on bytes that are nearly right: what it gives is used, or it is an error of our tree, soon."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.sps_profile import SpsProfile
from guardrail.datasets.questions import load_data
from guardrail.errors import GuardrailError
from guardrail.grading.answer_files import load_answers
from guardrail.grading.hand_labels import load_hand_labels
from guardrail.monitoring.entries import entries, labels
from guardrail.policy import Policy
from guardrail.policy.tuned import policy_text
from guardrail.retrieval.passages import read_passages
from guardrail.runs.run_file import RunFile, read_run
from tests.calibration.test_isotonic import PROVENANCE
from tests.policy.test_policy_proof import proof

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

QUICK = settings(
    max_examples=60,
    deadline=timedelta(seconds=2),
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

POLICY = """version: 1
name: p
retrieval: {passages: 1, max_passes: 1}
wording: {abstain: No.}
rules:
  - {name: a, when: {confidence: {at_least: 0.5}, in_range: true}, then: answer}
  - {name: b, when: {any: [{label: [low]}, {not: {unscored: true}}], length: {at_most: 9}}, then: hedge, say: "{answer}?"}
  - {name: c, for: claim, when: {support: contradicted}, then: drop}
"""
ROWS = [
    {
        "question": "Who?",
        "answers": ["A", "B"],
        "labels": [{"answer": "A", "correct": True}],
        "paraphrases": ["Which?"],
    },
    {"messages": [{"role": "user", "content": "What?"}], "answers": ["2"]},
]
HAND = [{"question": "Who?", "answer": "A", "correct": True, "accepted": ["A"]}]
RUN = [{"kind": "guardrail run", "unit": "answer"}, {"key": "k", "question": "Who?", "answer": "A", "accepted": ["A"]}]
LOG = [
    {"action": "answer", "confidence": 0.5, "score": {"hybridgrad": 0.1}, "policy": "p", "evidence": [], "id": "1",
     "time": "2026-01-31T00:00:00Z", "claims": []},
]  # fmt: skip
LABELS = [{"id": "1", "correct": True}, {"id": "1", "claim": 0, "correct": False}]
PASSAGES = [{"id": "1", "title": "T", "text": "Some text."}]


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@cache
def calibrator() -> bytes:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=60)
    fitted = IsotonicCalibrator().fit(scores, rng.random(60) < 1 / (1 + np.exp(2 * scores)), provenance=PROVENANCE)
    content = {
        key: value for key, value in fitted.to_dict().items() if key != "digest"
    }  # else no edit would get further
    return json.dumps(content).encode()


def predicted(path: Path) -> object:
    return IsotonicCalibrator.load(path).predict(0.1)


def resumed(path: Path) -> object:
    with RunFile(path, RUN[0], resume=True) as run:
        return run.rows


READERS: dict[str, tuple[str, Callable[[], bytes], Callable[[Path], object]]] = {
    "policy": ("p.yaml", POLICY.encode, Policy.load),
    "proof": ("tuned.yaml", lambda: policy_text(proof()).encode(), Policy.load),
    "calibrator": ("c.json", calibrator, predicted),
    "sps": (
        "s.json",
        lambda: b'{"kind": "guardrail sps", "version": 1, "layers": [0, 1], "offsets": [-1]}',
        SpsProfile.load,
    ),
    "rows": ("q.jsonl", lambda: lines(ROWS), lambda path: load_data(str(path), "calibration")),
    "csv": (
        "q.csv",
        lambda: b"question,answers\nWho?,\"['A' 'B']\"\nWhat?,a|b\n",
        lambda path: load_data(str(path), "calibration"),
    ),
    "tsv": (
        "q.tsv",
        lambda: b'question\tanswers;\nWho?\ta;b\n"a ""b"""\tc\n',
        lambda path: load_data(str(path), "calibration"),
    ),
    "labelled": ("h.jsonl", lambda: lines(HAND), load_hand_labels),
    "answers": ("a.jsonl", lambda: lines(RUN), lambda path: load_answers(str(path))),
    "run": ("r.jsonl", lambda: lines(RUN), read_run),
    "resumed": ("r.jsonl", lambda: lines(RUN), resumed),
    "log": ("l.jsonl", lambda: lines(LOG), lambda path: list(entries(str(path), "answer"))),
    "claims of a log": ("l.jsonl", lambda: lines(LOG), lambda path: list(entries(str(path), "claim"))),
    "labels of a log": ("l.jsonl", lambda: lines(LABELS), lambda path: labels(str(path))),
    "passages": ("p.jsonl", lambda: lines(PASSAGES), read_passages),
}
SPLINTERS = st.sampled_from(
    [b"\x00", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\r", b"\n", b"\t", b'"', b"'", b"\\", b"{", b"}", b"[", b"]", b",",
     b":", b"-", b"|", b"~", b"# ", b"&a ", b"*a", b"!!int ", b"<<: ", b"%TAG", b"...\n", b"NaN", b"1e999", b"-0", b"0100",
     b"1:30", b"null", b"true", b"1" * 5000, b"9" * 400, b"[" * 3000, b"\\ud800", b"\xe2\x80\xa8", b"\xc2\xbd", b"\xd9\xa5"]
)  # fmt: skip


@st.composite
def spoilt(draw: st.DrawFn, whole: bytes) -> bytes:
    """A good file with a few places cut out, doubled, or with a splinter in them."""
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(whole)))
        end = draw(st.integers(at, min(len(whole), at + 30)))
        piece = draw(st.one_of(SPLINTERS, st.binary(max_size=8), st.just(whole[at:end] * 2), st.just(b"")))
        whole = whole[:at] + piece + whole[end:]
    return whole


@pytest.mark.parametrize(
    "name", sorted(READERS.keys() - {"sps"})
)  # a whole profile takes a model: its reader is given pieces of one
def test_a_good_file_is_read(name, tmp_path):
    file, content, read = READERS[name]
    (tmp_path / file).write_bytes(content())
    assert read(tmp_path / file) is not None


@pytest.mark.parametrize("name", READERS)
@given(data=st.data())
@QUICK
def test_a_spoilt_file_is_read_or_refused_in_words(name, tmp_path, data):
    file, content, read = READERS[name]
    (tmp_path / file).write_bytes(data.draw(spoilt(content())))
    only_our_errors(read, tmp_path / file)


@pytest.mark.parametrize("name", READERS)
@given(content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
@example(content=b"")
@example(content=b"\xef\xbb\xbf")
@example(content=b"\xff\xfe{\x00}\x00")
@example(content=b"[" * 100_000)
@example(content=b'{"a":' * 50_000)
@example(content=b"null\n")
@example(content=b"3\n")
@QUICK
def test_any_bytes_are_read_or_refused_in_words(name, tmp_path, content):
    file, _, read = READERS[name]
    (tmp_path / file).write_bytes(content)
    only_our_errors(read, tmp_path / file)


def values() -> st.SearchStrategy[Any]:
    plain = st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5), st.just(10**400)
    )
    return st.recursive(
        plain,
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
        max_leaves=4,
    )


@pytest.mark.parametrize("name", [name for name, (file, *_) in READERS.items() if file.endswith((".json", ".jsonl"))])
@given(data=st.data())
@QUICK
def test_a_value_of_another_type_is_read_or_refused_in_words(name, tmp_path, data):
    file, content, read = READERS[name]
    rows = [json.loads(line) for line in content().decode().splitlines()]
    place: Any = data.draw(st.sampled_from(rows))
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            break
        place = inner
    place[key] = data.draw(values())
    (tmp_path / file).write_bytes(lines(rows))
    only_our_errors(read, tmp_path / file)


def only_our_errors(read: Callable[[Path], object], path: Path) -> None:
    """Any other exception than one of our tree goes through, and fails the test."""
    with suppress(GuardrailError):
        assert read(path) is not None
