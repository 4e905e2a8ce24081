"""The tables in facts/, and what a cell of them means: its accepted forms, and its words in a sentence.

A cell holds the accepted forms of one answer, separated by bars, the usual one first. An empty cell means that there is
no single undisputed answer, or that it may change; such a cell gives neither a question nor a sentence.
"""

from __future__ import annotations

import csv
from pathlib import Path

from guardrail.data.build.wording import plain

FACTS = Path(__file__).resolve().parent / "facts"

# Forms whose year of publication is the year they appeared: plays and poems were often seen or read before they became
# a book.
PUBLISHED = ("novel", "novella", "book")

Row = dict[str, str]


def table(name: str) -> list[Row]:
    with (FACTS / f"{name}.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def forms(cell: str) -> tuple[str, ...]:
    """The accepted forms in a cell, separated by bars, each also without accents."""
    written = [form for form in cell.split("|") if form]
    return tuple(dict.fromkeys([*written, *map(plain, written)]))


def first(cell: str) -> str:
    return cell.split("|")[0]


def country_forms(cell: str) -> tuple[str, ...]:
    """The forms of a country cell and the other names of these countries from countries.csv."""
    aliases = {first(row["name"]): row["name"] for row in table("countries")}
    return forms("|".join(aliases.get(form, form) for form in cell.split("|")))


def in_text(country: str) -> str:
    """A country's usual name as it stands in a sentence: "the Netherlands"."""
    articles = {first(row["name"]): row["article"] for row in table("countries")}
    return f"{articles.get(country, '')} {country}".strip()


def is_or_are(landmark: str) -> str:
    plural = landmark.startswith(("the ruins", "the rock churches", "Victoria Falls", "the Petronas Towers"))
    return "are" if plural else "is"


def river(name: str) -> str:
    return f"the {name}" if "River" in name or name == "Rio Grande" else f"the river {name}"
