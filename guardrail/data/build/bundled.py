"""Builds questions.jsonl, claim_questions.jsonl, list_questions.jsonl and passages.jsonl: `python -m guardrail.data.build`.

What it does: asks every source for its questions and sentences, keeps some of them, assigns the questions to the two
splits, puts the sentences together in passages, and writes the files.

What it knows nothing about: the tables, how a question or a sentence is worded, who loads the files, and how answers
are judged.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING

from guardrail.data import claim_questions_path, list_questions_path, passages_path, questions_path
from guardrail.data.build import claims_from_facts, passages_from_facts, questions_from_facts, questions_from_numbers
from guardrail.data.build.choices import chosen, stable_hash
from guardrail.data.build.tables import forms, table
from guardrail.data.build.wording import normalized, reveals, slug

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from guardrail.data.build.claims_from_facts import FactDraft, SubjectDraft
    from guardrail.data.build.drafts import Draft, Fact

# Of every hundred entities this many get a passage, so that retrieval can help and can also find nothing.
COVERAGE = 66
SENTENCES_PER_PASSAGE = 4

# The order of the rows in the files.
QUESTION_SOURCES: tuple[Callable[[], Iterator[Draft]], ...] = (
    questions_from_facts.country_questions,
    questions_from_facts.element_questions,
    questions_from_facts.book_questions,
    questions_from_facts.scientist_questions,
    questions_from_facts.us_questions,
    questions_from_facts.art_questions,
    questions_from_facts.event_questions,
    questions_from_facts.animal_questions,
    questions_from_facts.place_questions,
    questions_from_facts.sport_questions,
    questions_from_facts.astronomy_questions,
    questions_from_facts.word_questions,
    questions_from_numbers.arithmetic_questions,
    questions_from_facts.trivia_questions,
)

CLAIM_SOURCES: tuple[Callable[[], Iterator[SubjectDraft]], ...] = (
    claims_from_facts.country_subjects,
    claims_from_facts.element_subjects,
    claims_from_facts.book_subjects,
    claims_from_facts.scientist_subjects,
    claims_from_facts.us_state_subjects,
    claims_from_facts.work_subjects,
    claims_from_facts.place_subjects,
    claims_from_facts.animal_subjects,
)

FACT_SOURCES: tuple[Callable[[], Iterator[Fact]], ...] = (
    passages_from_facts.country_facts,
    passages_from_facts.element_facts,
    passages_from_facts.book_facts,
    passages_from_facts.scientist_facts,
    passages_from_facts.us_facts,
    passages_from_facts.art_facts,
    passages_from_facts.event_facts,
    passages_from_facts.animal_facts,
    passages_from_facts.place_facts,
    passages_from_facts.sport_facts,
    passages_from_facts.astronomy_facts,
    passages_from_facts.word_facts,
    passages_from_facts.trivia_facts,
)


def split_of(group: str) -> str:
    return "calibration" if stable_hash(group) % 2 == 0 else "heldout"


def question_rows() -> list[dict[str, object]]:
    """All rows of questions.jsonl, without questions that would contain their answer ("... of Kuwait?")."""
    rows: list[dict[str, object]] = []
    seen: dict[str, str] = {}
    for draft in (draft for source in QUESTION_SOURCES for draft in source()):
        if not chosen(draft.id, draft.share) or reveals(draft.question, draft.answers):
            continue
        for name in (f"id {draft.id}", f"question {normalized(draft.question)}"):
            if name in seen:
                raise ValueError(f"{draft.id}: {name!r} is taken by {seen[name]}")
            seen[name] = draft.id
        group = draft.group or draft.id
        row = {"id": draft.id, "kind": draft.kind, "group": group, "question": draft.question}
        rows.append({**row, "answers": list(draft.answers), "split": split_of(group)})
    return rows


def claim_rows() -> list[dict[str, object]]:
    """All rows of claim_questions.jsonl: two facts or more of one subject, none that the other split's answers tell."""
    splits = {str(row["id"]): str(row["split"]) for row in question_rows()}
    rows: list[dict[str, object]] = []
    for draft in (draft for source in CLAIM_SOURCES for draft in source()):
        split, facts = facts_of_one_split(draft, splits)
        if len(facts) > 1:
            question = "\n".join(f"{i}. {fact.question}" for i, fact in enumerate(facts, start=1))
            row = {"id": draft.id, "kind": draft.kind, "question": question}
            told = [{"about": list(fact.about), "values": list(fact.values)} for fact in facts]
            rows.append({**row, "facts": told, "split": split})
    return rows


def list_rows() -> list[dict[str, object]]:
    """All rows of list_questions.jsonl: questions whose several answers are all needed."""
    rows: list[dict[str, object]] = []
    for row in table("lists"):
        items = [list(forms(item)) for item in row["items"].split(";")]
        if len(items) < 2 or reveals(row["question"], [form for item in items for form in item if len(form) > 2]):
            raise ValueError(f"lists.csv: {row['id']} has fewer than two items, or its question contains one")
        name = f"list-{row['id']}"
        told = {"id": name, "kind": row["kind"], "question": row["question"]}
        rows.append({**told, "answers": items, "answers_needed": "all", "split": split_of(name)})
    return rows


def facts_of_one_split(draft: SubjectDraft, splits: dict[str, str]) -> tuple[str, list[FactDraft]]:
    """The split that leaves more of the subject's facts, and these facts; a hash of the subject settles a tie."""
    left = {
        split: [fact for fact in draft.facts if all(splits.get(id_, split) == split for id_ in fact.told_by)]
        for split in ("calibration", "heldout")
    }
    usual = split_of(f"claims-{draft.id}")
    split = max(left, key=lambda name: (len(left[name]), name == usual))
    return split, left[split]


def passage_rows() -> list[dict[str, str]]:
    """All rows of passages.jsonl: the sentences of one title, a few a passage."""
    by_title: dict[str, list[str]] = defaultdict(list)
    for fact in (fact for source in FACT_SOURCES for fact in source()):
        if not fact.key or chosen(f"passage:{fact.key}", COVERAGE):
            by_title[fact.title].extend(fact.sentences)
    rows = []
    for title, sentences in by_title.items():
        for start in range(0, len(sentences), SENTENCES_PER_PASSAGE):
            text = " ".join(sentences[start : start + SENTENCES_PER_PASSAGE])
            number = start // SENTENCES_PER_PASSAGE + 1
            rows.append({"id": f"{slug(title)}-{number}", "title": title, "text": text})
    return rows


def to_jsonl(rows: Iterable[object]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def main() -> None:
    questions_path().write_text(to_jsonl(question_rows()), encoding="utf-8", newline="\n")
    claim_questions_path().write_text(to_jsonl(claim_rows()), encoding="utf-8", newline="\n")
    list_questions_path().write_text(to_jsonl(list_rows()), encoding="utf-8", newline="\n")
    passages_path().write_text(to_jsonl(passage_rows()), encoding="utf-8", newline="\n")
