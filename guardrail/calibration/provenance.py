"""What a calibrator was fitted on, and whether it may be used here.

Knows nothing about how the hashes are made, nor about the calibration itself. A score means something only for the
model, the template and the scorer that made it, and for the unit it is about (a whole answer, or one claim as an extractor
cuts it), so a calibrator of another one is refused, with the command that makes the right one.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
)

from guardrail.errors import CalibratorMismatchError
from guardrail.model.identity import SAME, ModelIdentity, told_apart

__all__ = ["ExtractorIdentity", "ModelIdentity", "Provenance", "Unit", "check_compatible"]

Unit = Literal["answer", "claim"]
"""What one score, and so one probability, is about: a whole answer, or one claim of it."""

_SHOWN = 48  # characters of a value in a message: a profile may hold whole tables


class ExtractorIdentity(BaseModel):
    """What cut the answers into claims: its name, and every option that changes where a claim begins and ends."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    options: dict[str, JsonValue] = {}

    @field_validator("options")
    @classmethod
    def _plain_json(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        return _checked_json(value)


class Provenance(BaseModel):
    """Where a calibrator comes from: enough to refuse it elsewhere and to make it again.

    profile: the scorer's options (token, band, reduction, scale, tau, beta, ...). prompt: the question template.
    data: SHA-256 of the questions and accepted answers. questions: a digest of each, so that an evaluation on the same
    ones can be refused. n, accuracy: answers (or claims) used and the share that was right. extractor: what cut the claims;
    None for whole answers.
    source: where the questions come from (a file's name; a data set with split and revision). grading: the grader, and how many
    answers a person graded. Both are missing in files of earlier versions.
    recalibrated: where the curve was fitted again from a log, what it was fitted on and the digest of the calibrator before;
    n and accuracy are then those of the log, all else is kept. Missing where it was not.
    created: ISO date or date and time. command: what made the file. versions: of the packages that matter.
    generation: its options.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelIdentity
    scorer: str
    profile: dict[str, JsonValue]
    prompt: str
    system: str | None
    data: str
    questions: tuple[str, ...] = ()
    n: int = Field(ge=1)
    accuracy: float = Field(ge=0, le=1)
    created: str
    command: str
    versions: dict[str, str]
    grader: str
    generation: dict[str, JsonValue]
    extractor: ExtractorIdentity | None = None
    source: dict[str, JsonValue] = {}
    grading: dict[str, JsonValue] = {}
    recalibrated: dict[str, JsonValue] = {}

    @property
    def scorer_options(self) -> dict[str, JsonValue]:
        """The scorer's options, whichever scorer it is; `profile` in the file."""
        return self.profile

    @property
    def max_new_tokens(self) -> int | None:
        """The token limit of the answers; None where the file does not say."""
        limit = self.generation.get("max_new_tokens")
        return limit if isinstance(limit, int) else None

    @field_validator("profile", "generation", "source", "grading", "recalibrated")
    @classmethod
    def _plain_json(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        return _checked_json(value)

    @field_validator("generation")
    @classmethod
    def _usable(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        length, temperature = value.get("max_new_tokens", 1), value.get("temperature", 0.0)
        if isinstance(length, bool) or not isinstance(length, int) or length < 1:
            raise ValueError(f"max_new_tokens is {length!r:.40}, which is no token limit")
        if isinstance(temperature, bool) or not isinstance(temperature, int | float) or not temperature >= 0:
            raise ValueError(f"temperature is {temperature!r:.40}, which is no temperature")
        if (thinking := value.get("thinking", True)) is not True and thinking != "some":
            raise ValueError(f'thinking is {thinking!r:.40}; it is true or "some", or not there')
        return value

    @model_serializer(mode="wrap")
    def _without_what_is_not_known(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A file of an earlier version keeps its digest, which proofs of policies hold."""
        out: dict[str, Any] = handler(self)
        return {key: value for key, value in out.items() if value or key not in ("source", "grading", "recalibrated")}

    @field_validator("prompt")
    @classmethod
    def _takes_a_question(cls, value: str) -> str:
        if "{question}" not in value:
            raise ValueError("the prompt does not say where the {question} goes")
        return value

    @field_validator("created")
    @classmethod
    def _iso_date(cls, value: str) -> str:
        datetime.fromisoformat(value)
        return value


def check_unit(unit: Unit, wanted: Unit, source: str, model: str) -> None:
    """Raise `CalibratorMismatchError` when a calibrator's unit is not the one that is wanted.

    A score of a whole answer and one of a single claim have different scales: one's curve says nothing about the other.
    """
    if unit != wanted:
        raise CalibratorMismatchError(
            f"{source} is a calibrator of {unit}s, and one of {wanted}s is needed here; make it: {_command(wanted, model)}"
        )


def check_scorer(provenance: Provenance | None, scorer: str) -> None:
    """Raise `CalibratorMismatchError` for a score of another scorer than the calibrator was fitted on."""
    if provenance is not None and scorer != provenance.scorer:
        raise CalibratorMismatchError(
            f"this calibrator was fitted on scores of {provenance.scorer!r}, and this is one of {scorer!r}; fit one on those"
        )


def check_compatible(
    provenance: Provenance,
    model: ModelIdentity,
    scorer: str,
    profile: Mapping[str, Any],
    source: str,
    *,
    unit: Unit = "answer",
    wanted: Unit = "answer",
    extractor: ExtractorIdentity | None = None,
) -> None:
    """Raise `CalibratorMismatchError` when a calibrator was fitted on something else than what is in use.

    `source` is the calibrator's file or name, for the message. unit: the calibrator's. wanted: what it shall be used for.
    extractor: what cuts the claims here, where claims are wanted.
    """
    check_unit(unit, wanted, source, model.name)
    if found := differences(provenance, model, scorer, profile, extractor=extractor):
        raise CalibratorMismatchError(
            f"{source} was fitted on another set-up: {'; '.join(found)}. Fit one for {model.name}: "
            f"{_command(wanted, model.name)}"
        )


def differences(
    provenance: Provenance,
    model: ModelIdentity,
    scorer: str,
    profile: Mapping[str, Any],
    *,
    extractor: ExtractorIdentity | None = None,
) -> list[str]:
    """What differs between the calibration and what is in use, a phrase each, with both values.

    Weights, dtype, chat template, the ids that end an answer, scorer, every option in the profile, and for claims the
    extractor with its options must agree. The model's name need not: the same weights go by several names; the architecture
    follows from the weights.
    """
    pairs: list[tuple[str, Any, Any]] = [
        (f"model {SAME[field]}", getattr(provenance.model, field), getattr(model, field))
        for field in told_apart(provenance.model, model)
    ]
    pairs.append(("scorer", provenance.scorer, scorer))
    pairs += [(f"profile {key}", theirs, ours) for key, theirs, ours in _options(provenance.profile, profile)]
    theirs_, ours_ = _flat(provenance.extractor), _flat(extractor)
    pairs += [
        (key, theirs_.get(key, "absent"), ours_.get(key, "absent")) for key in sorted(theirs_.keys() | ours_.keys())
    ]
    return [f"{name} {_short(theirs)} (in use: {_short(ours)})" for name, theirs, ours in pairs if theirs != ours]


def same_options(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two scorers' options give the same scores."""
    return all(a == b for _, a, b in _options(first, second))


def _options(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Every option that changes a score, with both values as they are in a file, where tuples are lists."""
    a, b = (json.loads(json.dumps(dict(options))) for options in (first, second))
    return [
        (key, a.get(key, "absent"), b.get(key, "absent"))
        for key in sorted(a.keys() | b.keys())
        if not key.endswith("_source")  # where an option came from changes no score
    ]


def _flat(extractor: ExtractorIdentity | None) -> dict[str, Any]:
    """An extractor's name and options under the names that a message gives them."""
    if extractor is None:
        return {"extractor": "none"}
    options: dict[str, Any] = json.loads(json.dumps(extractor.options))
    return {"extractor": extractor.name, **{f"extractor option {key}": value for key, value in options.items()}}


def _command(unit: Unit, model: str) -> str:
    option = " --unit claim" if unit == "claim" else ""
    return f"guardrail calibrate DATA.jsonl{option} -o calibrator.json --model {model}"


def _checked_json(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    json.dumps(value, allow_nan=False)  # NaN is no JSON, and would make a profile differ from itself
    return value


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
