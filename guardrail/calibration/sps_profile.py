"""What `guardrail sps` found for one model, as a JSON file: its SPS map and the token that it proposes, for this model
alone.
"""

from __future__ import annotations

import json
import math
import os
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from guardrail.calibration.record import MetricRecord
from guardrail.errors import CalibratorMismatchError, DataError
from guardrail.files import read_text, write_whole
from guardrail.json_text import parse
from guardrail.model.identity import SAME, ModelIdentity, told_apart
from guardrail.scoring.profile import Profile

_STRICT = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class SpsData(BaseModel):
    """name: the file's. hash: SHA-256 of questions and paraphrases. questions, paraphrases: how many there were of each."""

    model_config = _STRICT
    name: str
    hash: str
    questions: Annotated[int, Field(ge=2)]
    paraphrases: Annotated[int, Field(ge=2)]


class TokenSeen(BaseModel):
    """The token that stands most often at an offset, as text, and in which share of the prompts."""

    model_config = _STRICT
    text: str
    share: Annotated[float, Field(gt=0, le=1)]

    @property
    def label(self) -> str:
        """The text on one short line, white space as escapes: `\\n`, `<|im_start|>`, `␣the`."""
        shown = json.dumps(self.text, ensure_ascii=False)[1:-1].replace(" ", "␣")
        return shown if len(shown) <= 14 else f"{shown[:13]}…"


class Rival(BaseModel):
    """Another token, and the proposed one's mean SPS minus this one's, paired by question."""

    model_config = _STRICT
    token: int
    difference: MetricRecord


class Evidence(BaseModel):
    """95 % bootstrap intervals, drawn by question. upper_mean: of every offset. chosen_in: the share of draws in which
    the proposed token is the best one, too. template: None where the chat template's own token is the proposed one.

    The token is the best of all on these questions, so its own figure is slightly too high and so is its lead:
    `chosen_in` and other questions say more.
    """

    model_config = _STRICT
    upper_mean: tuple[MetricRecord, ...]
    chosen_in: Annotated[float, Field(ge=0, le=1)]
    runner_up: Rival
    template: Rival | None


class SpsProfile(BaseModel):
    """The file of `guardrail sps`; its numbers are checked against each other, so that an edited one cannot pass.

    sps: a row for each of `layers`, h^(0) .. h^(L), a column for each of `offsets` from the prompt's end; higher = the
    state keeps more of a question's meaning. upper: first and last l of the upper half, h^(first) .. h^(last), which
    SemGrad reads; upper_mean: SPS over it. token: the offset with the largest upper_mean, the proposed t*.
    template_token: the chat template's. evidence: None with too few questions for an interval.

        found = SpsProfile.load("profile.json")
        scorer = HybridGradScorer(local, profile=found.profile_for(local.identity))
    """

    model_config = _STRICT
    kind: Literal["guardrail sps"] = "guardrail sps"
    version: Literal[1] = 1
    model: ModelIdentity
    data: SpsData
    prompt: str
    system: str | None
    layers: tuple[int, ...]
    offsets: tuple[int, ...]
    sps: tuple[tuple[float, ...], ...]
    upper: tuple[int, int]
    upper_mean: tuple[float, ...]
    token: Annotated[int, Field(le=-1)]
    template_token: Annotated[int, Field(le=-1)]
    tokens: tuple[TokenSeen, ...]
    evidence: Evidence | None
    created: str
    command: str
    versions: dict[str, str]

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.layers != tuple(range(len(self.layers))) or len(self.layers) != len(self.sps):
            raise ValueError(
                f"layers are not 0, 1, ... with a row of sps each ({len(self.layers)}, {len(self.sps)} rows)"
            )
        if not self.offsets or list(self.offsets) != sorted(set(self.offsets)) or self.offsets[-1] > -1:
            raise ValueError(f"offsets {self.offsets} are not negative and ascending")
        widths = {len(row) for row in self.sps} | {len(self.upper_mean), len(self.tokens)}
        widths |= {len(self.evidence.upper_mean)} if self.evidence else set()
        if widths != {len(self.offsets)}:
            raise ValueError(f"{len(self.offsets)} offsets, but rows of {sorted(widths)} numbers")
        first, last = self.upper
        if not 0 <= first <= last < len(self.layers):
            raise ValueError(f"the upper half {self.upper} does not lie in the layers")
        for column, mean in enumerate(self.upper_mean):
            found = sum(row[column] for row in self.sps[first : last + 1]) / (last + 1 - first)
            if not math.isclose(found, mean, rel_tol=1e-6, abs_tol=1e-9):
                raise ValueError(
                    f"upper_mean {mean} at token {self.offsets[column]} does not follow from sps ({found})"
                )
        best = self.offsets[self.upper_mean.index(max(self.upper_mean))]
        if self.token != best:
            raise ValueError(f"token {self.token} is not the one with the largest upper_mean, {best}")
        if self.template_token not in self.offsets:
            raise ValueError(f"template_token {self.template_token} is none of the offsets")
        return self

    def profile_for(self, model: ModelIdentity) -> Profile:
        """Eq. 6 at the proposed token. Raises `CalibratorMismatchError` for another model than the file's."""
        for name in told_apart(self.model, model):
            theirs, ours = getattr(self.model, name), getattr(model, name)
            raise CalibratorMismatchError(
                f"this SPS profile is of {self.model.name}, another model: {SAME[name]} {theirs[:16]} (in use: {ours[:16]}). "
                f"Measure one for {model.name}: guardrail sps PARAPHRASES.jsonl -o profile.json --model {model.name}"
            )
        return Profile(token=self.token, token_source=f"SPS of {self.data.questions} questions ({self.data.name})")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write JSON, whole or not at all. Raises `DataError`."""
        write_whole(path, self.model_dump_json(indent=1) + "\n", "the SPS profile", DataError)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote. Raises `DataError`, with the file's name, for anything else."""
        source = os.fspath(path)
        try:
            text = read_text(path)
            found = cls.model_validate_json(text)
            parse(text)
            return found
        except OSError as error:
            raise DataError(f"{source}: cannot read the SPS profile: {error.strerror}") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise DataError(
                f"{source}: not an SPS profile: {f'{where}: ' if where else ''}{first['msg'].removeprefix('Value error, ')}; "
                "make one: guardrail sps PARAPHRASES.jsonl -o profile.json"
            ) from error
        except ValueError as error:
            raise DataError(
                f"{source}: not an SPS profile: {error}; make one: guardrail sps PARAPHRASES.jsonl -o profile.json"
            ) from error
