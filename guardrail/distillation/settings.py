"""How an adapter is trained. Imports nothing heavy: the command line reads it before any model is loaded."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from guardrail.errors import DataError

if TYPE_CHECKING:
    from guardrail.stated import Turn

Teacher = Literal["sampling", "hybridgrad", "labels"]
"""Who says how sure the model is. sampling: how often its samples say the same. hybridgrad: the calibrated confidence of its
greedy answer, from one pass. labels: nobody; a proper scoring rule on right or wrong."""

Objective = Literal["likelihood", "brier", "log-score", "soft-labels", "ranking", "rlcr", "epicar"]
"""What the training makes small; y is the teacher's probability, or right or wrong where nobody teaches. likelihood: - log p of
the label of the teacher's bin. brier: the squared distance of the mean of what is stated from y. log-score: its logarithmic
score. soft-labels: the cross-entropy to y spread over the two labels next to it. ranking: of two answers, the likelier one is
stated surer. rlcr: the reward right minus Brier, expected over the labels; these: `objectives.py`. epicar: - log p of own right
answers, and of the highest or the lowest label behind right and wrong ones."""

BY_LIKELIHOOD = ("likelihood", "epicar")

_ABOUT_SAMPLES = ("samples", "temperature", "equivalence", "chosen")


def only_for_samples(teacher: Teacher, **given: Any) -> None:
    """Raise `DataError` for options that a teacher would pass over: all that is about samples, and their shares, without
    samples; of wrong answers for `labels`, which learns all. given: by name, each None, or K's default 1, where not asked for.
    """
    ignored = [] if teacher == "sampling" else [name for name in _ABOUT_SAMPLES if given.get(name) is not None]
    if teacher == "labels" and given.get("wrong_per_question", 1) != 1:
        ignored.append("wrong_per_question")
    if ignored:
        names = ", ".join("--" + {"chosen": "shares"}.get(name, name).replace("_", "-") for name in ignored)
        raise DataError(f"--teacher {teacher} makes nothing of {names}; leave that out, or take --teacher sampling")


def checked_objective(given: Objective | None, teacher: Teacher, turn: Turn, batch_size: int = 8) -> Objective:
    """The objective of a training. Raises `DataError` for one that there is not, or that goes with no such teacher, turn or
    batches."""
    if given not in (None, *get_args(Objective)):
        raise DataError(f"there is no objective {given!r}; the objectives are {', '.join(get_args(Objective))}")
    if teacher == "labels" and given == "likelihood":
        raise DataError("--teacher labels has no label to learn by likelihood; leave --objective out")
    objective = given or ("brier" if teacher == "labels" else "likelihood")
    if objective == "epicar" and (teacher, turn) != ("labels", "same"):
        raise DataError(
            "--objective epicar learns right answers and what is stated behind them; give --teacher labels --turn same"
        )
    if objective not in BY_LIKELIHOOD and turn == "same":
        why = f"--objective {objective}" if given else "--teacher labels"
        raise DataError(f"{why} scores the labels of a turn of their own; leave --turn same out")
    if objective == "ranking" and batch_size < 2:
        raise DataError("--objective ranking compares the answers of a batch; give --batch-size 2 or more")
    return objective


@dataclass(frozen=True, slots=True)
class Training:
    """LoRA on every linear layer of the decoder, AdamW with a linear decay.

    Attributes:
        epochs: How often each lesson is read.
        batch_size: Lessons a step.
        learning_rate: At the start.
        rank: Of the adapter; alpha is twice that.
        seed: Of the order of lessons, and of the adapter's first weights.

    Raises:
        DataError: For a number that is not above 0, or not finite.
    """

    epochs: float = 2.0
    batch_size: int = 8
    learning_rate: float = 3e-4
    rank: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "learning_rate", "rank"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise DataError(f"{name.replace('_', ' ')} is {value}; it must be greater than 0 and finite")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)
