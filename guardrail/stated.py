"""How a model states its own confidence in words: the five labels, where they stand, and how they are read. Needs no model."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from guardrail.errors import DataError
from guardrail.files import read_text
from guardrail.json_text import parse
from guardrail.types import LABELS, Message

FILE = "stated_confidence.json"
"""Beside an adapter: how the model that it belongs to states its confidence."""

Turn = Literal["after", "same"]
"""after: in a turn of its own, which the answer does not depend on. same: at the end of the answer."""


class Stated(NamedTuple):
    """An answer taken apart. answer: without what it says of itself. bin: which label it states, from 0; None for none."""

    answer: str
    bin: int | None


class Wording(BaseModel):
    """In which words a confidence is asked for and stated. Its bins are equal parts of [0, 1], one a label.

    Attributes:
        turn: Where it is stated.
        labels: What is said of each bin, least confident first.
        suffix: What follows an answer, with `{label}` (turn `same`).
        instruction: What a prompt ends with that asks for it (turn `same`).
        question: What is asked in the turn after the answer (turn `after`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    turn: Turn = "after"
    labels: tuple[str, ...] = LABELS
    suffix: str = " (with {label} confidence)"
    instruction: str = "\nAdditionally state how confident you are in your answer."
    question: str = (
        "How confident are you that your answer is right? Reply with very low, low, medium, high or very high."
    )

    @field_validator("labels")
    @classmethod
    def _told_apart(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        plain = [" ".join(label.casefold().split()) for label in labels]
        if len(labels) < 2 or not all(plain) or len(set(plain)) < len(plain):
            raise ValueError(f"there must be at least two labels, all different, not {list(labels)}")
        if begins := next((a for a in plain for b in plain if a != b and b.startswith(a)), None):
            raise ValueError(f"no label may begin another, as {begins!r} does: they could not be told apart")
        return labels

    @model_validator(mode="after")
    def _says_which(self) -> Wording:
        if self.suffix.count("{label}") != 1:
            raise ValueError(
                f"suffix must hold {{label}} once, as in ' (with {{label}} confidence)', not {self.suffix!r}"
            )
        if not self.question.strip():
            raise ValueError("question is empty; say how the confidence is asked for")
        return self

    @classmethod
    def load(cls, path: str | Path) -> Wording:
        """A YAML file of some of its attributes; the others keep their defaults.

        Raises `DataError` for a file that cannot be read, with unknown keys, or that says what is no wording.
        """
        try:
            return cls.model_validate(yaml.safe_load(read_text(path)))
        except OSError as error:
            raise DataError(f"cannot read {str(path)!r}: {error.strerror}") from error
        except yaml.YAMLError as error:
            raise DataError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
        except ValidationError as error:
            raise DataError(f"{path}: {_first(error)}; the keys are {', '.join(cls.model_fields)}") from error

    def bin_of(self, probability: float) -> int:
        """The label, from 0, of a probability of being right.

        Wording().bin_of(0.2)   # 1: a bin holds its lower end
        """
        if not 0 <= probability <= 1:
            raise DataError(f"a probability must be in [0, 1], not {probability!r}")
        return min(int(probability * len(self.labels)), len(self.labels) - 1)

    def middle(self, of: int) -> float:
        """The middle of a bin, a probability of being right."""
        return (of + 0.5) / len(self.labels)

    def stating(self, answer: str, of: int) -> str:
        """The answer with a bin's label behind it, as a model of turn `same` is taught to write it."""
        return answer.rstrip() + self.suffix.replace("{label}", self.labels[of])

    def taken_from(self, text: str) -> Stated:
        """What `stating` put together, whatever its case, white space and last full stop. What is stated elsewhere than at the
        end is text of the answer, and two labels that contradict each other state nothing."""
        answer, said = text, set[str]()
        while (found := self._at_the_end.search(answer)) is not None:
            answer = answer[: found.start()].rstrip()
            said.add(_plain(found["label"]))
        if len(said) != 1:
            return Stated(text, None)
        return Stated(answer, [_plain(label) for label in self.labels].index(said.pop()))

    def spelt_out(self) -> Wording:
        """The same words with an instruction that names every form: for a model that was not taught any."""
        forms = [self.suffix.replace("{label}", label).strip() for label in self.labels]
        instruction = (
            f"\nBehind your answer, state how confident you are that it is right, as one of these: {', '.join(forms)}"
        )
        return self.model_copy(update={"instruction": instruction})

    def asking_after(self, messages: tuple[Message, ...], answer: str) -> tuple[Message, ...]:
        """The conversation that asks for the confidence in a turn of its own, in an answer or in one claim of it."""
        turns: tuple[Message, ...] = (
            {"role": "assistant", "content": answer},
            {"role": "user", "content": self.question},
        )
        return (*messages, *turns)

    @cached_property
    def _at_the_end(self) -> re.Pattern[str]:
        before, after = (_loose(part) for part in self.suffix.split("{label}"))
        longest_first = sorted(self.labels, key=len, reverse=True)
        label = "|".join(_loose(label) for label in longest_first)
        return re.compile(rf"{before}(?P<label>{label}){after}\.?\s*\Z", re.IGNORECASE)


class StatedFile(BaseModel):
    """What stands in `FILE`.

    Attributes:
        version: Of the format.
        base: The model that was taught, as guardrail names it; adapter_config.json has the name that peft looks up.
        wording: What it was taught to say.
        taught: Digests of the questions that it was taught with, for which what it states says little of others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    base: str
    wording: Wording
    taught: tuple[str, ...] = ()

    @classmethod
    def load(cls, path: str | Path) -> StatedFile:
        """Raises `DataError` for a file that cannot be read, or is none of these."""
        try:
            return cls.model_validate(parse(read_text(path)))
        except OSError as error:
            raise DataError(f"cannot read {str(path)!r}: {error.strerror}") from error
        except ValidationError as error:
            raise DataError(f"{path}: {_first(error)}") from error
        except ValueError as error:
            raise DataError(f"{path}: not JSON: {error}") from error


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}{': ' if where else ''}{first['msg']}"


def _plain(label: str) -> str:
    return " ".join(label.casefold().split())


def _loose(text: str) -> str:
    """A pattern for a text whose white space may be any."""
    words = [re.escape(word) for word in text.split()]
    lead, trail = (r"\s*" if text[:1].isspace() else "", r"\s*" if text[-1:].isspace() else "")
    return lead + r"\s+".join(words) + trail
