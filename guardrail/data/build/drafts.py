"""What the builder collects before it writes rows: drafts of questions, and facts for passages."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Draft:
    """A question before it is checked and assigned to a split."""

    kind: str
    id: str
    question: str
    answers: tuple[str, ...]
    group: str = ""
    share: int = 100  # ask this many of a hundred, chosen by a hash of the id


@dataclass(frozen=True, slots=True)
class Fact:
    """Sentences about one entity, which a passage takes all or none of; facts with one title share passages."""

    title: str
    key: str
    sentences: tuple[str, ...]
