"""Lines of a verdict log -> rows to compare: the score and the confidence before any evidence, the action, the label.

A line is an object of one of these forms, each with an optional `id`, `time` (ISO; without an offset it is UTC), and `correct`:

- `Verdict.to_dict()`: what `VerdictLog` writes and `guardrail ask --json` prints;
- `response_metadata["guardrail"]` of a LangChain message (contract version 1), bare, under `guardrail`, or the whole message
  as JSON. It holds the last pass only, so of an answer given with evidence the first score is not known.

Labels: `"correct": true`, in a claim of `claims` for claims.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from guardrail.calibration.provenance import Unit
from guardrail.datasets.questions import numbered_lines, parse_object
from guardrail.errors import DataError
from guardrail.json_text import parse
from guardrail.types import Score

_NEEDED = {"action", "confidence", "score", "policy", "evidence"}
_NAN = math.nan


@dataclass(frozen=True, slots=True)
class Row:
    """One answer, or one claim of it. Numbers that are not there are NaN.

    score, p_correct: of the first pass, without evidence. with_evidence: that pass is not known, or the label is about another
    one, or about a second model's answer.
    unscored: there was a pass without evidence, and it has no score. action, final, in_range: of the last pass; final is its
    p_correct. familiarity: of the question. correct: the label; None: there is none. context: whose curve of its own the pass
    without evidence has; None: the common one. last: what is known of the last pass, where it has such a curve.
    """

    score: float
    p_correct: float
    unscored: bool
    with_evidence: bool
    extrapolated: bool
    action: str
    final: float
    in_range: bool
    familiarity: float
    correct: bool | None
    context: str | None = None
    last: InContext | None = None


@dataclass(frozen=True, slots=True)
class InContext:
    """The score of a pass, and the curve that it was read on, by its kind of conversation."""

    context: str
    score: float
    extrapolated: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log: where it stands, when it was, who made it, and its rows."""

    where: str
    id: str | None
    time: datetime | None
    model: str
    calibrator: str
    policy: str
    rows: tuple[Row, ...]
    tool_call: bool = False


def entries(path: str, unit: Unit) -> Iterator[Entry | None]:
    """The log's lines, one by one; None for one that is no JSON, as a killed writer leaves it.

    Raises `DataError`, with file and line, for JSON that is no verdict.
    """
    for _, raw, where in numbered_lines(path):
        try:
            line = parse(raw.decode())
        except (json.JSONDecodeError, UnicodeDecodeError):
            yield None
            continue
        except ValueError as error:
            raise DataError(f"{where}: not JSON that can be used: {error}") from error
        yield entry(line, where, unit)


def entry(line: Any, where: str, unit: Unit) -> Entry:
    """One parsed line. Raises `DataError` for anything but the forms above."""
    outer = line if isinstance(line, Mapping) else {}
    record = _record(outer)
    if missing := sorted(_NEEDED - record.keys()):
        raise DataError(
            f"{where}: this is no verdict ({', '.join(missing)} missing); a line is the object of `guardrail ask --json`, "
            "as VerdictLog and `guardrail ask --log` write it"
        )
    try:
        label = outer.get("correct")
        whole, tool_call = _answer(record, _label(label, where))
        judge = record["escalation"]["first"] if "escalation" in record and "attempts" in record else record
        rows = (whole,) if unit == "answer" else tuple(_claim(c, record, where) for c in record.get("claims") or ())
        return Entry(
            where=where,
            id=_text(outer.get("id", record.get("id")), "id", where),
            time=_time(outer.get("time", record.get("time")), where),
            model=str(judge.get("model")),
            calibrator=str(judge.get("calibrator") if unit == "answer" else record.get("claim_calibrator")),
            policy=str(record["policy"]),
            rows=() if tool_call else rows,
            tool_call=tool_call,
        )
    except (TypeError, KeyError, AttributeError, IndexError) as error:
        raise DataError(f"{where}: this is no verdict as guardrail writes it ({error})") from error


def labels(path: str) -> dict[tuple[str, int | None], bool]:
    """A file of labels, `{"id": ..., "correct": true}` a line, with `"claim": 0` for the first claim of an answer.

    Raises `DataError` for anything else, and for two labels that contradict each other.
    """
    found: dict[tuple[str, int | None], bool] = {}
    for _, raw, where in numbered_lines(path):
        row = parse_object(raw, where)
        claim = row.get("claim")
        if (
            row.keys() - {"id", "correct", "claim"}
            or not isinstance(row.get("id"), str)
            or not isinstance(row.get("correct"), bool)
            or not (claim is None or (isinstance(claim, int) and not isinstance(claim, bool) and claim >= 0))
        ):
            raise DataError(
                f'{where}: a label is {{"id": "...", "correct": true or false}}, of a claim with "claim": 0'
            )
        if found.setdefault((row["id"], claim), row["correct"]) is not row["correct"]:
            raise DataError(f"{where}: {row['id']!r} was labelled otherwise before; keep one of the two")
    return found


def _record(outer: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = outer.get("guardrail") or (outer.get("response_metadata") or {}).get("guardrail")
    return inner if isinstance(inner, Mapping) else outer


def _answer(record: Mapping[str, Any], correct: bool | None) -> tuple[Row, bool]:
    first = (record.get("attempts") or [record])[0]
    number, reason = _number(first)
    clean = not first["evidence"]
    row = Row(
        score=number if clean else _NAN,
        p_correct=_float(first["confidence"]) if clean else _NAN,
        unscored=clean and math.isnan(number),
        with_evidence=bool(record["evidence"]) or "escalation" in record or "retry" in record.get("actions", ()),
        extrapolated=first.get("basis") == "extrapolated",
        action=str(record["action"]),
        final=_float(record["confidence"]),
        in_range=bool(record.get("in_range")),
        familiarity=_float(record.get("familiarity")),
        correct=None if record.get("reviewed") else correct,  # a person's text was shown
        context=_text(first.get("context"), "context", "") if clean else None,
        last=_last(record),
    )
    return row, reason == "tool_call"


def _last(record: Mapping[str, Any]) -> InContext | None:
    context, (number, _) = _text(record.get("context"), "context", ""), _number(record)
    if context is None or math.isnan(number):
        return None
    return InContext(context, number, record.get("basis") == "extrapolated")


def _claim(claim: Mapping[str, Any], record: Mapping[str, Any], where: str) -> Row:
    number, _ = _number(claim)
    evidence = bool(record["evidence"])
    p = _float(claim["confidence"])
    return Row(
        score=_NAN if evidence else number,
        p_correct=_NAN if evidence else p,
        unscored=not evidence and math.isnan(number),
        with_evidence=evidence,
        extrapolated=claim.get("basis") == "extrapolated",
        action={"keep": "answer", "drop": "abstain"}.get(claim["action"], str(claim["action"])),
        final=p,
        in_range=bool(claim.get("in_range")),
        familiarity=_float(claim.get("familiarity")),
        correct=_label(claim.get("correct"), where),
    )


def _number(scored: Mapping[str, Any]) -> tuple[float, str | None]:
    """The number that was calibrated, or NaN with the reason."""
    score: Mapping[str, Any] = scored.get("score") or {}
    reason = score.get("unscored") or scored.get("unscored")
    number = Score.number_in(score)
    return (_NAN, str(reason)) if reason or number is None else (_float(number), None)


def _float(value: Any) -> float:
    if value is None:
        return _NAN
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{str(value)[:40]!r} is no number")
    return float(value)


def _label(value: Any, where: str) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise DataError(f"{where}: `correct` is {json.dumps(value)[:40]}; it is true, false, or left out")
    return value


def _text(value: Any, key: str, where: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise DataError(f"{where}: `{key}` is {json.dumps(value)[:40]}; it is a string, or left out")
    return value


def _time(value: Any, where: str) -> datetime | None:
    text = _text(value, "time", where)
    return None if text is None else moment(text, where)


def moment(text: str, where: str) -> datetime:
    """An ISO date, or date and time; without an offset in UTC. Raises `DataError`."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise DataError(f"{where}: {text[:40]!r} is no ISO time, such as 2026-01-31T12:00:00+00:00") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def day_of(time: datetime) -> date:
    return time.astimezone(UTC).date()
