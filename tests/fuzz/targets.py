"""What is fuzzed: everything that reads text of others. Each target says what must hold of what it let through."""

from __future__ import annotations

import json
import math
import random
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage

from guardrail.actions import rewrite
from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.claims import SentenceClaims
from guardrail.claims.align import with_tokens
from guardrail.datasets.questions import load_data
from guardrail.errors import GuardrailError
from guardrail.grading import get_grader
from guardrail.langchain.structured import json_output
from guardrail.langchain.tool_calls import parse_tool_calls
from guardrail.model.chat import prompt_ids
from guardrail.monitoring.entries import entries, labels
from guardrail.monitoring.replay import replay
from guardrail.policy import Policy
from guardrail.runs.run_answers import load_run
from guardrail.runs.run_file import read_run
from guardrail.testing import tiny_tokenizer
from guardrail.types import Confidence, Score
from tests.fuzz.driver import Target, outcome_of
from tests.helpers import sample_runs, sample_verdicts
from tests.helpers.marked_claims import judged

_TEMPORARY = tempfile.TemporaryDirectory(prefix="guardrail-fuzz-")  # goes when the process ends
_FOLDER = Path(_TEMPORARY.name)
_QUOTED = [b'"', b'{"', b'":', b'"}', b", ", b"[", b"]", b"\\", b"\\n", b"\\u00e9", b"1.5", b"false"]
CORPUS = Path(__file__).parent / "corpus"


def refusing(read: Callable[[bytes], str], *expected: type[Exception]) -> Callable[[bytes], str]:
    """A reader whose refusals, of our own tree, are outcomes."""

    def outcome(data: bytes) -> str:
        try:
            return read(data)
        except (GuardrailError, *expected) as error:
            return outcome_of(error)

    return outcome


def written(data: bytes, name: str) -> str:
    path = _FOLDER / name
    path.write_bytes(data)
    return str(path)


def policy(data: bytes) -> str:
    found = Policy.from_text(data.decode("utf-8", "surrogateescape"), "fuzzed.yaml")
    for p in (None, 0.1, 0.5, 0.99):
        sure = Confidence.none("unscored") if p is None else Confidence(p, p, p, "medium")
        score = Score.none("not_finite", "NaN") if p is None else Score(1.0, 1.0, 1.0, 1.0, 1.0, 3)
        decision = found.decide(sure, score)
        assert decision.action in ("answer", "hedge", "retrieve", "abstain", "ask_back")
        assert found.decide_claim(sure, score).action in ("keep", "hedge", "drop", "retrieve")
    return f"rules: {[rule.then for rule in found.rules][:4]}"


def calibrator(data: bytes) -> str:
    found = IsotonicCalibrator.load(written(data, "calibrator.json"))
    for score in (-1e300, *found.score_range, sum(found.score_range) / 2, 1e300):
        sure = found.predict(score)
        assert sure.p_correct is not None
        assert 0 < sure.low <= sure.p_correct <= sure.high < 1
    assert found.predict(math.nan).p_correct is None
    return f"blocks: {min(len(found.blocks), 3)}"


def rows(name: str) -> Callable[[bytes], str]:
    def read(data: bytes) -> str:
        found = load_data(written(data, name), "calibration")
        for row in found.rows:
            assert row.question.strip()
            assert row.answers
            json.dumps([row.question, *row.answers], ensure_ascii=False).encode()
        return f"rows: {min(len(found.rows), 5)} {sorted(found.rows[0].extra)[:3]}"

    return read


def run_file(data: bytes) -> str:
    path = written(data, "fuzzed.run.jsonl")
    header, lines = read_run(path)
    found = load_run(Path(path), get_grader("exact"))
    assert len(found.answers.records) <= len(lines)
    return f"run: {min(len(lines), 3)} {len(header)}"


def log(data: bytes) -> str:
    path, told = written(data, "verdicts.jsonl"), []
    for each in (*entries(path, "answer"), *entries(path, "claim")):
        told.append("torn" if each is None else f"{len(each.rows)} {each.tool_call}")
        for row in () if each is None else each.rows:
            assert math.isnan(row.score) or not row.unscored
    return f"log: {sorted(set(told))}"


def replayed(data: bytes) -> str:
    found = replay(written(data, "replayed.jsonl"))
    assert found.scored == 0, "nothing is scored without a model"
    assert found.decided + sum(found.not_decided.values()) == sum(found.not_scored.values())
    json.dumps(found.to_dict(), allow_nan=False)
    fields = sorted({each.field for each in found.differences})
    return f"replayed: {min(found.decided, 3)} {fields} {sorted(found.not_decided)} {found.torn > 0}"


def label_file(data: bytes) -> str:
    return f"labels: {min(len(labels(written(data, 'labels.jsonl'))), 3)}"


def tool_calls(data: bytes) -> str:
    found = parse_tool_calls(data.decode("utf-8", "replace"), ["add", "look_up"])
    for call in found.calls:
        assert call["name"] in ("add", "look_up")
        assert isinstance(call["args"], dict)
        json.dumps(call["args"], allow_nan=False)
    return f"calls: {len(found.calls)} {sorted({_words(str(c['error'])) for c in found.invalid})}"


def _words(error: str) -> str:
    return outcome_of(ValueError(error))[:60]


def structured(data: bytes) -> str:
    message = AIMessage(
        data.decode("utf-8", "replace"), response_metadata={"guardrail": {"version": 1, "action": "answer"}}
    )
    schema = {"title": "City", "type": "object", "properties": {"name": {"type": "string"}}}
    found = json_output(GenericFakeChatModel(messages=iter([message])), schema, False).invoke("?")
    assert isinstance(found, dict)
    json.dumps(found, allow_nan=False)
    return f"object: {len(found)}"


_TOKENIZER = tiny_tokenizer()
_MARKS = re.compile(
    r"(?<![^\n\r])(?:\[[xX]\]|[^\w\n\r]|(?:\d{1,9}[.)]|[A-Za-z]\))(?=\s|$))+"
)  # of items: numbers and boxes


def markdown(data: bytes) -> str:
    text = data.decode("utf-8", "replace")
    found = SentenceClaims().extract(text)
    covered = bytearray(len(text))
    for each in (*found.claims, *found.asides):
        if each.start is not None and each.end is not None:
            assert text[each.start : each.end] == each.text, "a span holds something else than its claim"
            covered[each.start : each.end] = b"\x01" * (each.end - each.start)
    for mark in _MARKS.finditer(text):
        covered[mark.start() : mark.end()] = b"\x01" * (mark.end() - mark.start())
    hidden = [i for i, c in enumerate(text) if c.isalnum() and not covered[i]]
    assert not hidden, f"text is neither claim nor aside: {text[hidden[0] :][:30]!r}"
    _aligned(text, found)
    rng = random.Random(len(data))
    claims = [judged(text, c.start, c.end, rng.choice(("keep", "hedge", "drop")), kind=c.kind) for c in found.claims]
    out = rewrite(text, claims, found.asides)
    for claim, span in zip(out.claims, out.spans, strict=True):
        assert claim.shown == (out.text[slice(*span)] if span else ""), "a span holds something else than what is shown"
    return f"claims: {sorted({c.kind for c in found.claims})} {sorted({a.reason for a in found.asides})} {out.empty}"


def _aligned(text: str, found) -> None:
    ids = _TOKENIZER(text, add_special_tokens=False)["input_ids"]
    decoded = _TOKENIZER.decode(ids, skip_special_tokens=True)
    if decoded.strip() != text.strip():
        return
    kept, spans = with_tokens(found, ids, text, _TOKENIZER)
    for claim, (start, end) in zip(kept.claims, spans, strict=True):
        shown = _TOKENIZER.decode(ids[start:end], skip_special_tokens=True)
        assert claim.text.encode("utf-8", "replace") in shown.encode("utf-8", "replace"), (
            "tokens do not decode to their claim"
        )


def template(data: bytes) -> str:
    tokenizer = tiny_tokenizer(data.decode("utf-8", "replace"))
    return f"tokens: {min(len(prompt_ids(tokenizer, [{'role': 'user', 'content': 'Who?'}])), 40)}"


def _corpus(name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted(CORPUS.glob(f"{name}*"))]


def _lines(*values: object) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def _policies() -> list[bytes]:
    return [Policy.load(name).text.encode() for name in Policy.shipped()]


def _verdicts() -> list[bytes]:
    """Those that can stand in a log: one sample has NaN, one half a surrogate pair, which no line may hold."""
    found = [make().to_dict() for make in sample_verdicts.ALL.values()]
    lines = [_lines({"id": "a", "correct": True, "time": "2026-01-31T12:00:00", **each}) for each in found]
    return [line for line in lines if b"NaN" not in line and b"\\ud83d half" not in line]


def _run() -> bytes:
    records = sample_runs.records(4)
    return _lines(sample_runs.header(records), *records)


_JSON_ROWS = _lines(
    {"question": "Who wrote Faust?", "answers": ["Goethe"]}, {"question": "1 + 1?", "answers": ["2"], "id": 7}
)
_TABLE = b'question,answers,kind\nWho wrote Faust?,Goethe|J. W. Goethe,books\n"How, then?","[""so"", ""thus""]",x\n'

TARGETS = {
    each.name: each
    for each in (
        Target(
            "policy", refusing(policy), _policies(),
            [b"  ", b"- ", b": ", b"when:", b"then: answer", b"any:", b"all:", b"&a ", b"*a", b"!!int ", b"---\n", b"1:30",
             b"0100", b"5e-1", b".inf", b"|\n", b"{", b"# "], 30,
        ),
        Target(
            "calibrator", refusing(calibrator),
            [json.dumps(sample_runs.calibrator(60).to_dict()).encode()], [*_QUOTED, b'"n": 1', b'"p_correct": 0.5'], 110,
        ),
        Target("jsonl", refusing(rows("fuzzed.jsonl")), [_JSON_ROWS], [*_QUOTED, b'"answers": [', b'"labels": []'], 250),
        Target("csv", refusing(rows("fuzzed.csv")), [_TABLE], [b",", b'"', b'""', b"|", b"\n", b"[", b"answers;"], 230),
        Target("run", refusing(run_file), [_run()], [*_QUOTED, b'"unscored": null', b'"semgrad": [[1]]'], 60),
        Target("log", refusing(log), _verdicts(), [*_QUOTED, b'"claims": []', b'"attempts": [', b'"evidence"'], 60),
        Target("replay", refusing(replayed), _verdicts(), [*_QUOTED, b'"claims": []', b'"attempts": [', b"null"], 20),
        Target("labels", refusing(label_file), [_lines({"id": "a", "correct": True})], [*_QUOTED, b'"claim": 0'], 90),
        Target(
            "tool_calls", refusing(tool_calls), _corpus("tool_calls"),
            [*_QUOTED, b"<tool_call>", b"</tool_call>", b"[TOOL_CALLS]", b"[ARGS]", b"<think>", b"</think>", b"`", b"NaN",
             b'"name": "add"', b'"arguments": {}', b"<|python_tag|>"], 120,
        ),
        Target(
            "structured", refusing(structured, OutputParserException), [b'{"name": "Lima"}', b'```json\n{"name": "Lima"}\n```'],
            [*_QUOTED, b"```", b"```json\n", b"\n"], 10,
        ),
        Target(
            "markdown", refusing(markdown), _corpus("markdown"),
            [b"1. ", b"- ", b"> ", b"```\n", b"| a | b |\n|---|---|\n", b"**", b"__", b"`", b"# ", b". ", b"? ", b"\n\n",
             b"Paris is big.", b"\n    ", b"<b>", b"[a](b)", b"| ", b"However, ", b"\\", b"&nbsp;"], 15,
        ),
        Target(
            "template", refusing(template), _corpus("template"),
            [b"{{ ", b" }}", b"{% for m in messages %}", b"{% endfor %}", b"{% if ", b"{% endif %}", b"messages",
             b"['content']", b"raise_exception('no')", b".__class__", b"| tojson", b"{%- set x = "], 5,
        ),
    )
}  # fmt: skip
