"""Several facts about one subject, asked together: rows for claims, from the tables in facts/, one function a subject.

Knows nothing about splits, nor how the questions are put together into one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from guardrail.data.build.questions_from_facts import PRACTITIONERS, SHARED_UNITS, class_forms
from guardrail.data.build.tables import PUBLISHED, country_forms, first, forms, in_text, is_or_are, river, table
from guardrail.data.build.wording import number_forms, slug

if TYPE_CHECKING:
    from collections.abc import Iterator


# "It is part of the African continent."
ADJECTIVES = {
    "Africa": "African",
    "Asia": "Asian",
    "Europe": "European",
    "North America": "North American",
    "South America": "South American",
}


@dataclass(frozen=True, slots=True)
class FactDraft:
    """A question about one fact, the words by which a claim about it is known, and what is accepted.

    told_by: ids of the questions for whole answers that ask for it or tell it.
    """

    question: str
    about: tuple[str, ...]
    values: tuple[str, ...]
    told_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SubjectDraft:
    """A subject with everything that can be asked about it, in the order of asking."""

    kind: str
    id: str
    facts: tuple[FactDraft, ...]


def country_subjects() -> Iterator[SubjectDraft]:
    for row in table("countries"):
        key, name = slug(first(row["name"])), in_text(first(row["name"]))
        where = f"the country {name}" if name == "Georgia" else name
        currency = forms(row["currency"])
        shared = {form.split()[-1] for form in currency} & SHARED_UNITS
        facts = []
        if row["capital"]:
            told_by = (f"capital-{key}", f"capital-of-{key}")
            facts.append(FactDraft(f"What is the capital of {where}?", ("capital",), forms(row["capital"]), told_by))
        if currency and shared <= set(currency):
            question = f"What is the currency of {where}?"
            facts.append(FactDraft(question, ("currency",), _plurals(currency), (f"currency-{key}",)))
        if row["continent"]:
            question = f"On which continent is {where}?"
            facts.append(FactDraft(question, ("continent",), _continent(row["continent"]), (f"continent-{key}",)))
        if row["language"]:
            question = f"What is the official language of {where}?"
            about = ("official language", "language", "languages")
            facts.append(FactDraft(question, about, forms(row["language"]), (f"language-{key}",)))
        yield SubjectDraft("country", f"country-{key}", tuple(facts))


def element_subjects() -> Iterator[SubjectDraft]:
    for row in table("elements"):
        key, low = slug(first(row["name"])), first(row["name"]).lower()
        told_by = tuple(f"{kind}-{key}" for kind in ("symbol", "element", "number", "element-number"))
        facts = [
            FactDraft(
                f"What is the chemical symbol of {low}?", ("chemical symbol", "symbol"), (row["symbol"],), told_by
            ),
            FactDraft(
                f"What is the atomic number of {low}?", ("atomic number",), number_forms(int(row["number"])), told_by
            ),
        ]
        if row["state"]:
            question = f"What is the state of {low} at room temperature?"
            facts.append(FactDraft(question, ("room temperature", "state of matter"), (row["state"],)))
        yield SubjectDraft("element", f"element-{key}", tuple(facts))


def book_subjects() -> Iterator[SubjectDraft]:
    for row in table("books"):
        key = slug(row["title"])
        work = f"the {row['form']} {row['title']}"
        about = ("written by", "author", "wrote", "writer")
        facts = [FactDraft(f"Who wrote {work}?", about, forms(row["author"]), (f"author-{key}",))]
        if row["year"] and row["form"] in PUBLISHED:
            question = f"In which year was {work} first published?"
            facts.append(FactDraft(question, ("published", "publication"), (row["year"],), (f"book-year-{key}",)))
        # the question for whole answers tells the language unless it is English
        told_by = () if row["language"] == "English" else (f"author-{key}",)
        question = f"In which language was {work} written?"
        facts.append(FactDraft(question, ("language", "written in"), (row["language"],), told_by))
        yield SubjectDraft("book", f"book-{key}", tuple(facts))


def scientist_subjects() -> Iterator[SubjectDraft]:
    for row in table("scientists"):
        name, key = first(row["name"]), slug(first(row["name"]))
        facts = []
        if row["born_in"]:
            question = f"In which country was {name} born?"
            told_by = (f"birth-country-{key}",)
            facts.append(FactDraft(question, ("country", "country of birth"), country_forms(row["born_in"]), told_by))
        if row["born"]:
            facts.append(FactDraft(f"In which year was {name} born?", ("born", "year of birth"), (row["born"],)))
        fields = forms(row["field"])
        people = tuple(PRACTITIONERS[field] for field in fields if field in PRACTITIONERS)
        question = f"In which field did {name} mainly work?"
        facts.append(FactDraft(question, ("field", "worked", "work"), fields + people, (f"field-{key}",)))
        yield SubjectDraft("scientist", f"scientist-{key}", tuple(facts))


def us_state_subjects() -> Iterator[SubjectDraft]:
    for row in table("us_states"):
        name, key = row["name"], slug(row["name"])
        state = f"the US state of {name}"
        facts = []
        if row["capital"]:
            told_by = (f"us-capital-{key}", f"us-capital-of-{key}")
            facts.append(FactDraft(f"What is the capital of {state}?", ("capital",), forms(row["capital"]), told_by))
        code = (f"us-postal-code-{key}",)
        question = f"What is the two-letter postal code of {state}?"
        facts.append(FactDraft(question, ("postal code", "abbreviation"), (row["postal_code"],), code))
        about = ("statehood", "became a state", "become a state", "admitted", "joined")
        facts.append(FactDraft(f"In which year did {state} become a state?", about, (row["statehood"],)))
        if row["nickname"]:
            nickname = tuple(dict.fromkeys([row["nickname"], row["nickname"].removeprefix("The ")]))
            question = f"What is the nickname of {state}?"
            facts.append(FactDraft(question, ("nickname", "nicknamed"), nickname, (f"us-nickname-{key}",)))
        yield SubjectDraft("us-state", f"us-state-{key}", tuple(facts))


def work_subjects() -> Iterator[SubjectDraft]:
    for row in table("films"):
        key, film = slug(row["title"]), f"the film {row['title']}"
        told_by = (f"film-director-{key}",)  # which tells the year, too
        about = ("directed", "director")
        director = FactDraft(f"Who directed {film}?", about, forms(row["director"]), told_by)
        year = FactDraft(f"In which year was {film} released?", ("released", "release"), (row["year"],), told_by)
        yield SubjectDraft("film", f"film-{key}", (director, year))
    for row in table("paintings"):
        if row["city"]:
            key, title = slug(row["title"]), row["title"].rstrip("?")
            by = ("painted", "painter", "artist", "painting by")
            artist = FactDraft(f"Who painted {title}?", by, forms(row["artist"]), (f"painter-{key}",))
            city = FactDraft(f"In which city can {title} be seen?", ("city",), forms(row["city"]))
            yield SubjectDraft("painting", f"painting-{key}", (artist, city))


def place_subjects() -> Iterator[SubjectDraft]:
    for row in table("landmarks"):
        if row["city"] and row["country"]:
            name, told_by = row["name"], (f"landmark-{slug(row['name'])}",)
            verb = is_or_are(name)
            city = FactDraft(f"In which city {verb} {name}?", ("city",), forms(row["city"]), told_by)
            country = FactDraft(f"In which country {verb} {name}?", ("country",), country_forms(row["country"]))
            yield SubjectDraft("landmark", f"landmark-{slug(name)}", (city, country))
    for row in table("cities"):
        if row["country"] and row["river"]:
            name, key = row["name"], slug(row["name"])
            question = f"In which country is the city of {name}?"
            country = FactDraft(question, ("country",), country_forms(row["country"]), (f"city-country-{key}",))
            question = f"On which river does {name} stand?"
            stream = FactDraft(question, ("river",), forms(row["river"]), (f"city-river-{key}",))
            yield SubjectDraft("city", f"city-{key}", (country, stream))
    for row in table("rivers"):
        name, told_by = river(row["name"]), (f"river-mouth-{slug(row['name'])}",)
        into = ("flows into", "empties into", "mouth", "body of water")
        mouth = FactDraft(f"Into which body of water does {name} flow?", into, forms(row["mouth"]), told_by)
        continent = FactDraft(f"On which continent is {name}?", ("continent",), _continent(row["continent"]))
        yield SubjectDraft("river", f"river-{slug(row['name'])}", (mouth, continent))


def animal_subjects() -> Iterator[SubjectDraft]:
    for row in table("animals"):
        name, key = row["name"], slug(row["name"])
        question = f"What class of animal is the {name}?"
        facts = [FactDraft(question, ("class", "type"), class_forms(row["class"]), (f"animal-class-{key}",))]
        for column, question, about in (
            ("young", f"What is a young {name} called?", ("young", "baby")),
            ("female", f"What is a female {name} called?", ("female",)),
            ("group", "What is a group of these animals called?", ("group",)),
        ):
            if row[column]:
                facts.append(FactDraft(question, about, _plurals(forms(row[column])), (f"animal-{column}-{key}",)))
        yield SubjectDraft("animal", f"animal-{key}", tuple(facts))


def _continent(cell: str) -> tuple[str, ...]:
    return (*forms(cell), *(ADJECTIVES[name] for name in forms(cell) if name in ADJECTIVES))


def _plurals(names: tuple[str, ...]) -> tuple[str, ...]:
    """The forms, and those of one plain word also in the plural: "people pay in euros"."""
    return tuple(dict.fromkeys([*names, *(f"{n}s" for n in names if n.isalpha() and not n.endswith("s"))]))
