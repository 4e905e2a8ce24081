"""One string names a grader with its options. Imports a grader's libraries only when that grader is asked for."""

from __future__ import annotations

import math
from typing import Any

from guardrail.errors import DataError
from guardrail.grading.protocol import Grader
from guardrail.grading.rules import AliasGrader, ExactGrader, F1Grader

_RULES: dict[str, type[Grader]] = {g.kind: g for g in (AliasGrader, ExactGrader, F1Grader)}
GRADERS: tuple[str, ...] = (*_RULES, "semantic", "bem", "judge")
"""The kinds that `get_grader` knows."""


def get_grader(spec: str) -> Grader:
    """The grader that `KIND`, `KIND:MODEL`, `KIND@THRESHOLD` or `KIND:MODEL@THRESHOLD` names; its `name` is such a string
    again.

        get_grader("semantic@0.8").name  # "semantic:all-minilm-l6-v2@0.8"
        get_grader("judge:local:smollm2-135m")

    Nothing is loaded here. Raises `DataError`, which lists the kinds, for another, and for options that a kind does not take.
    """
    kind, model, threshold = _parts(spec)
    if kind not in GRADERS:
        raise DataError(f"no grader {kind!r}; the kinds are {', '.join(GRADERS)}")
    if kind in _RULES:
        if model or threshold is not None:
            raise DataError(f"the grader {kind} takes no options, and {spec!r} gives some; write {kind}")
        return _RULES[kind]()
    options: dict[str, Any] = {} if threshold is None else {"threshold": threshold}
    if model:
        options["model"] = model
    if kind == "semantic":
        from guardrail.grading.semantic import SemanticGrader

        return SemanticGrader(**options)
    if kind == "bem":
        from guardrail.grading.bem import BemGrader

        return BemGrader(**options)
    from guardrail.grading.chat_judge import JudgeGrader

    return JudgeGrader(model=spec.partition(":")[2])  # a model's name may hold an @


def _parts(spec: str) -> tuple[str, str, float | None]:
    head, at, tail = spec.rpartition("@")
    threshold = _number(tail) if at else None
    kind, colon, model = (spec if threshold is None else head).partition(":")
    if colon and not model:
        raise DataError(f"the grader {spec!r} ends where its model should stand; write {kind} or {kind}:MODEL")
    if at and threshold is None and not colon:
        raise DataError(f"the threshold {tail!r} of the grader {spec!r} is no number; write {head}@0.7, for example")
    return kind, model, threshold


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
