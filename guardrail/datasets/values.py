"""The values of a row, checked: text, answers that are accepted, labels. Every error opens with the row's place."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from guardrail.errors import DataError
from guardrail.folding import spelt_out
from guardrail.plain_text import says_something

EXAMPLE = '{"question": "What is the capital of France?", "answers": ["Paris"]}'
_SEVERAL = '"answers": [["red"], ["blue", "navy blue"]], "answers_needed": "all"'

Items = tuple[tuple[str, ...], ...]
"""Several answers that are all needed: the accepted forms of each."""


def accepted_answers(row: Mapping[str, Any], where: str) -> tuple[tuple[str, ...], Items]:
    """All accepted forms; and, where `answers_needed` is "all", those of each answer, else none. Raises `DataError`."""
    answers, needed = row["answers"], row.get("answers_needed", "any")
    # other keys are the caller's, but this one misspelt would call right what gives one answer of several
    if close := [key for key in get_close_matches("answers_needed", row, 3, 0.8) if key != "answers_needed"]:
        raise DataError(f"{where}: the unknown key {close[0]!r}; write `answers_needed`")
    if needed not in ("any", "all"):
        raise DataError(
            f'{where}: `answers_needed` is {needed!r}; write "any" (one of them is enough, the default) or "all"'
        )
    if not isinstance(answers, list):
        raise DataError(f'{where}: `answers` must be a list of strings, such as ["Paris"], not {kind_of(answers)}')
    if not answers:
        raise DataError(f"{where}: `answers` is empty; list at least one accepted answer, or remove the row")
    if needed == "any":
        return tuple(_form(answer, where) for answer in answers), ()
    items = tuple(_item(answer, where) for answer in answers)
    forms = [form for item in items for form in item]
    if twice := next((form for form in forms if forms.count(form) > 1), None):
        raise DataError(f"{where}: {twice!r} is listed twice among the answers that are all needed; keep one")
    return tuple(forms), items


def as_items(value: Any, where: str) -> Items:
    """The `items` of a record or a label: lists of forms. Raises `DataError`."""
    if not isinstance(value, list) or not all(isinstance(item, list) for item in value):
        raise DataError(f"{where}: `items` must be a list of lists of forms, one for each answer that is needed")
    return tuple(_item(item, where) for item in value)


def _item(value: Any, where: str) -> tuple[str, ...]:
    """One of several answers: a form, or a list of forms."""
    if value == []:
        raise DataError(f"{where}: one of the `answers` is an empty list; give its forms: {_SEVERAL}")
    return tuple(dict.fromkeys(_form(form, where) for form in (value if isinstance(value, list) else [value])))


def _form(answer: Any, where: str) -> str:
    if isinstance(answer, list):
        raise DataError(f"{where}: `answers` holds a list, which has a meaning only where all are needed: {_SEVERAL}")
    if not isinstance(answer, str):
        raise DataError(f"{where}: `answers` holds {kind_of(answer)}; put it in quotes")
    if not any(c.isalnum() for c in spelt_out(answer)):  # ㋋ is 12月
        raise DataError(f"{where}: the accepted answer {answer!r} has no letter or digit, so nothing can match it")
    return answer


def checked_label(answer: object, correct: object, where: str) -> tuple[str, bool]:
    """An answer and what a person says of it. Raises `DataError`."""
    if not isinstance(answer, str):
        raise DataError(f"{where}: the `answer` of a label must be a string, not {kind_of(answer)}")
    if correct is None:
        raise DataError(
            f"{where}: `correct` is null: nobody has judged this answer yet; write true or false, or remove the row"
        )
    if not isinstance(correct, bool):
        raise DataError(f"{where}: `correct` of a label must be true or false, not {kind_of(correct)}")
    if correct and not says_something(answer):
        raise DataError(
            f"{where}: the answer {answer!r} says nothing, so it cannot be right; write false, or remove the row"
        )
    return answer, correct


def checked_text(value: object, key: str, where: str) -> str:
    """A string that is not blank; `key` names it in the message."""
    if not isinstance(value, str):
        raise DataError(f"{where}: `{key}` must be a string, not {kind_of(value)}")
    if not value.strip():
        raise DataError(f"{where}: `{key}` is empty; write it, or remove the row")
    return value


def kind_of(value: object) -> str:
    """What a JSON value is, in words."""
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}
    return names[type(value)]
