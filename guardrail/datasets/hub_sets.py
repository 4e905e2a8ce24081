"""The data sets of the hub that are known here: where each is, its splits, and how its columns become a row.

Column layouts as in the data sets' cards; of KalshiBench as in the script that makes it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class HubSet:
    """path, config: as `datasets.load_dataset` takes them. splits: that its card names. without_answers: those of them whose
    answers are withheld. columns: that `read` looks at; it gives `question`, `answers` and what else is worth keeping. licence:
    as its card or its authors' repository names it; nothing of it comes with guardrail.
    """

    path: str
    config: str | None
    splits: tuple[str, ...]
    columns: tuple[str, ...]
    read: Callable[[Row], dict[str, Any]]
    licence: str
    without_answers: tuple[str, ...] = ()

    @property
    def with_answers(self) -> tuple[str, ...]:
        return tuple(split for split in self.splits if split not in self.without_answers)


def _sciq(row: Row) -> dict[str, Any]:
    return {"question": row["question"], "answers": [row["correct_answer"]]}


def _trivia_qa(row: Row) -> dict[str, Any]:
    answer = row["answer"]
    return {"question": row["question"], "answers": [answer["value"], *answer["aliases"]], "id": row["question_id"]}


def _nq_open(row: Row) -> dict[str, Any]:
    question = row["question"].strip()  # written as typed into a search engine: small letters, no question mark
    return {"question": question, "answers": list(row["answer"])}


def _truthful_qa(row: Row) -> dict[str, Any]:
    return {
        "question": row["question"],
        "answers": [row["best_answer"], *row["correct_answers"]],
        "incorrect_answers": list(row["incorrect_answers"]),
        "kind": row["category"],
    }


def _simpleqa(row: Row) -> dict[str, Any]:
    return {"question": row["problem"], "answers": [row["answer"]]}


def _popqa(row: Row) -> dict[str, Any]:
    answers = row["possible_answers"]  # a JSON list in a string
    answers = json.loads(answers) if isinstance(answers, str) else list(answers)
    return {"question": row["question"], "answers": answers, "id": row["id"], "kind": row["prop"]}


def _kalshibench(row: Row) -> dict[str, Any]:
    """The rules by which the market was settled are part of what is asked."""
    question = "\n\n".join(part for part in (row["question"], row["description"], "Answer yes or no.") if part)
    return {"question": question, "answers": [row["ground_truth"]], "id": row["id"], "kind": row["category"]}


def _folktexts(row: Row) -> dict[str, Any]:
    either = " or ".join(row["choices"])
    asked = (row["instruction"], row["description"], f"{row['question']} Answer with one of these: {either}")
    return {"question": "\n\n".join(asked), "answers": [row["answer"]], "id": row["id"]}


HUB_SETS: dict[str, HubSet] = {
    "sciq": HubSet(
        "allenai/sciq", None, ("train", "validation", "test"), ("question", "correct_answer"), _sciq, "CC BY-NC 3.0"
    ),
    "trivia_qa": HubSet(
        "mandarjoshi/trivia_qa",
        "rc.nocontext",
        ("train", "validation", "test"),
        ("question", "question_id", "answer"),
        _trivia_qa,
        "Apache-2.0",
        without_answers=("test",),
    ),
    "nq_open": HubSet(
        "google-research-datasets/nq_open",
        None,
        ("train", "validation"),
        ("question", "answer"),
        _nq_open,
        "CC BY-SA 3.0",
    ),
    "truthful_qa": HubSet(
        "truthfulqa/truthful_qa",
        "generation",
        ("validation",),
        ("question", "best_answer", "correct_answers", "incorrect_answers", "category"),
        _truthful_qa,
        "Apache-2.0",
    ),
    "simpleqa": HubSet("basicv8vc/SimpleQA", None, ("test",), ("problem", "answer"), _simpleqa, "MIT"),
    "kalshibench": HubSet(
        "2084Collective/kalshibench-v2",
        None,
        ("train",),
        ("id", "question", "description", "category", "ground_truth"),
        _kalshibench,
        "MIT",
    ),
    "folktexts": HubSet(
        "acruz/folktexts",
        "ACSIncome",
        ("train", "validation", "test"),
        ("id", "instruction", "description", "question", "choices", "answer"),
        _folktexts,
        "MIT; data: U.S. Census Bureau terms of service",
    ),
    "popqa": HubSet(
        "akariasai/PopQA", None, ("test",), ("id", "prop", "question", "possible_answers"), _popqa, "none named"
    ),
}
