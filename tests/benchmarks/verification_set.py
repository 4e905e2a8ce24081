"""Claims with a passage each, and what the passage says about them: made from the bundled facts, always the same.

Seven sorts. stated: the fact that the passage tells, in other words. negated: the same with "not". changed: with another
subject's value. swapped: with a value that the passage gives for something else. foreign: a fact beside a passage on another
subject of its kind. borrowed: with the value that this passage gives its own subject. silent: something that the subject's own
passage does not tell. Only "stated" is supported; "negated", "changed" and "swapped" are contradicted; nothing is found about
the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from guardrail.data import passages_path
from guardrail.data.build.choices import stable_hash
from guardrail.data.build.tables import first, forms, in_text, river, table
from guardrail.data.build.wording import ordinal, reveals, sentence
from guardrail.retrieval.passages import Passage, read_passages
from guardrail.types import Support

Sort = Literal["stated", "negated", "changed", "swapped", "foreign", "borrowed", "silent"]
LABELS: dict[Sort, Support] = {
    "stated": "supported",
    "negated": "contradicted",
    "changed": "contradicted",
    "swapped": "contradicted",
    "foreign": "not found",
    "borrowed": "not found",
    "silent": "not found",
}


@dataclass(frozen=True, slots=True)
class Check:
    """A claim, the question that it is part of an answer to, one passage, half: 0 chooses bounds, 1 measures."""

    sort: Sort
    kind: str
    question: str
    claim: str
    passage: Passage
    half: int

    @property
    def label(self) -> Support:
        return LABELS[self.sort]


@dataclass(frozen=True, slots=True)
class _Told:
    """One value of one subject. patterns: with {} for the value. silent: statements that no passage makes or denies."""

    kind: str
    subject: str
    values: tuple[str, ...]
    patterns: tuple[str, ...]
    silent: tuple[str, ...] = ()


def check_set(each: int = 24) -> list[Check]:
    """At most `each` facts of a kind, each in all the sorts that it has, in a fixed order. A subject is in one half only."""
    passages = read_passages(passages_path())
    kinds: dict[str, list[tuple[_Told, Passage]]] = {}
    for told in _facts():
        if (passage := _passage(told, passages)) is not None:
            kinds.setdefault(told.kind, []).append((told, passage))
    return [
        check
        for pairs in kinds.values()
        for check in _checks(sorted(pairs, key=lambda p: stable_hash(f"{p[0].kind} {p[0].subject}"))[:each], pairs)
    ]


def _checks(chosen: list[tuple[_Told, Passage]], pairs: list[tuple[_Told, Passage]]) -> Iterator[Check]:
    for told, passage in chosen:
        number = stable_hash(f"{told.kind} {told.subject} wording")
        half = stable_hash(told.subject) % 2
        pattern = told.patterns[number % len(told.patterns)]
        question = f"Tell me about {told.subject}."
        others = [
            t.values[0] for t, _ in pairs if not reveals(t.values[0], told.values) and t.values[0] != told.values[0]
        ]
        inside = [v for v in others if reveals(passage.text, [v])]
        outside = [v for v in others if not reveals(passage.text, [v])]

        def check(
            sort: Sort,
            claim: str,
            passage: Passage = passage,
            question: str = question,
            half: int = half,
            told: _Told = told,
        ) -> Check:
            return Check(sort, told.kind, question, sentence(claim), passage, half)

        yield check("stated", pattern.format(told.values[0]))
        if (denied := _negated(pattern)) is not None and number % 3 == 0:
            yield check("negated", denied.format(told.values[0]))
        if outside:
            yield check("changed", pattern.format(outside[number % len(outside)]))
        if inside:
            yield check("swapped", pattern.format(inside[number % len(inside)]))
        foreign = [(t, p) for t, p in pairs if not reveals(p.text, [told.subject])]
        if foreign:
            other, elsewhere = foreign[number % len(foreign)]
            yield check("foreign", pattern.format(told.values[0]), elsewhere)
            if other.values[0] in others:
                yield check("borrowed", pattern.format(other.values[0]), elsewhere)
        if told.silent:
            yield check("silent", told.silent[number % len(told.silent)])


def _negated(pattern: str) -> str | None:
    """With "not" behind the first "is", "was" or "are"; None where there is none."""
    made = re.sub(r"\b(is|was|are)\b", r"\1 not", pattern, count=1)
    return made if made != pattern else None


def _passage(told: _Told, passages: tuple[Passage, ...]) -> Passage | None:
    """The passage that tells it; several subjects may share one."""
    fits = [p for p in passages if reveals(p.text, [told.subject]) and reveals(p.text, told.values[:1])]
    lead = [p for p in fits if p.text.lower().startswith(told.subject.lower())]
    return (lead or fits or [None])[0]


def _facts() -> Iterator[_Told]:
    for row in table("countries"):
        name = in_text(first(row["name"]))
        bare = first(row["name"])
        silent = (
            f"{name} became independent in {1810 + stable_hash(bare) % 180}.",
            f"About {2 + stable_hash(bare) % 90} million people live in {name}.",
            f"The flag of {name} has {2 + stable_hash(bare) % 4} colours.",
        )
        if row["capital"]:
            patterns = (
                f"The capital of {name} is {{}}.",
                f"The capital city of {name} is called {{}}.",
                f"{{}} is the capital of {name}.",
            )
            yield _Told("capital", bare, forms(row["capital"]), patterns, silent)
        if row["currency"]:
            patterns = (f"The currency of {name} is the {{}}.", f"In {name}, people use the {{}} as money.")
            yield _Told("currency", bare, forms(row["currency"]), patterns, silent)
        if row["continent"]:
            yield _Told(
                "continent", bare, forms(row["continent"]), (f"{name} is located in {{}}.", f"{name} is part of {{}}.")
            )
        if row["language"]:
            patterns = (f"The official language of {name} is {{}}.", f"{{}} is the official language of {name}.")
            yield _Told("language", bare, forms(row["language"]), patterns)
    for row in table("elements"):
        name = first(row["name"])
        silent = (f"{name} was discovered in {1700 + stable_hash(name) % 250}.", f"{name} is used in batteries.")
        patterns = (f"The atomic number of {name.lower()} is {{}}.", f"{name} has the atomic number {{}}.")
        yield _Told("atomic number", name, (row["number"],), patterns, silent)
        patterns = (f"The chemical symbol of {name.lower()} is {{}}.", f"{name} is written {{}} for short.")
        yield _Told("symbol", name, (row["symbol"],), patterns)
    for row in table("books"):
        title, form = row["title"], row["form"]
        silent = (
            f"{title} has {12 + stable_hash(title) % 60} chapters.",
            f"{title} was made into a film in {1930 + stable_hash(title) % 80}.",
        )
        patterns = (f"The author of {title} is {{}}.", f"{title} was written by {{}}.")
        yield _Told("author", title, forms(row["author"]), patterns, silent)
        if row["year"]:
            yield _Told(
                "book year",
                title,
                (row["year"],),
                (f"The {form} {title} came out in {{}}.", f"{title} was published in {{}}."),
            )
    for row in table("scientists"):
        name = first(row["name"])
        silent = (
            f"{name} died in {1890 + stable_hash(name) % 100}.",
            f"{name} had {1 + stable_hash(name) % 6} children.",
        )
        if row["born_in"]:
            yield _Told(
                "born in", name, forms(row["born_in"]), (f"{name} was born in {{}}.", f"{name} came from {{}}."), silent
            )
    for row in table("us_states"):
        name = row["name"]
        silent = (
            f"About {1 + stable_hash(name) % 9} million people live in {name}.",
            f"The governor of {name} is {'a woman' if stable_hash(name) % 2 else 'a man'}.",
        )
        if row["capital"]:
            yield _Told(
                "state capital",
                name,
                forms(row["capital"]),
                (f"The capital of {name} is {{}}.", f"{{}} is {name}'s capital."),
                silent,
            )
        yield _Told(
            "statehood",
            name,
            (row["statehood"],),
            (f"{name} joined the United States in {{}}.", f"{name} became a state in {{}}."),
        )
    for row in table("us_presidents"):
        name = first(row["name"])
        silent = (
            f"{name} was a lawyer before he became president.",
            f"{name} was married for {20 + stable_hash(name) % 30} years.",
        )
        yield _Told(
            "took office",
            name,
            (row["took_office"],),
            (f"{name} became president in {{}}.", f"{name} took office in {{}}."),
            silent,
        )
        yield _Told("president", name, (ordinal(int(row["number"])),), (f"{name} was the {{}} US president.",))
    for row in table("paintings"):
        title = row["title"].rstrip("?")
        silent = (f"{title} was painted in {1500 + stable_hash(title) % 400}.",)
        yield _Told(
            "painter",
            title,
            forms(row["artist"]),
            (f"{{}} painted {title}.", f"{title} is a painting by {{}}."),
            silent,
        )
    for row in table("music"):
        work = row["work"]
        silent = (f"{work} was first performed in {1700 + stable_hash(work) % 200}.",)
        yield _Told(
            "composer",
            work,
            forms(row["composer"]),
            (f"{work} was composed by {{}}.", f"The composer of {work} is {{}}."),
            silent,
        )
    for row in table("films"):
        silent = (f"{row['title']} won {1 + stable_hash(row['title']) % 7} Oscars.",)
        yield _Told(
            "director",
            row["title"],
            forms(row["director"]),
            (f"{{}} directed {row['title']}.", f"The director of {row['title']} was {{}}."),
            silent,
        )
    for row in table("events"):
        event = row["event"]
        silent = (f"{event} lasted {2 + stable_hash(event) % 9} days.",)
        patterns = (f"{event} {row['past']} in {{}}.", f"It was in {{}} that {event} {row['past']}.")
        yield _Told("event year", event, (row["year"],), patterns, silent)
    for row in table("animals"):
        name = row["name"]
        silent = (f"A {name} can live for {3 + stable_hash(name) % 60} years.",)
        if row["young"]:
            yield _Told(
                "young animal",
                name,
                forms(row["young"]),
                (f"The young of a {name} is called a {{}}.", f"A baby {name} is a {{}}."),
                silent,
            )
    for row in table("rivers"):
        name = river(row["name"])
        silent = (f"{name} is {300 + 10 * (stable_hash(name) % 400)} kilometres long.",)
        yield _Told(
            "river mouth",
            row["name"],
            forms(row["mouth"]),
            (f"{name} ends in the {{}}.", f"{name} flows into the {{}}."),
            silent,
        )
    for row in table("cities"):
        if row["river"]:
            name = row["name"]
            silent = (f"{name} was founded in {900 + stable_hash(name) % 900}.",)
            yield _Told(
                "city river",
                name,
                forms(row["river"]),
                (f"The river {{}} runs through {name}.", f"{name} lies on the {{}}."),
                silent,
            )
    for row in table("olympics"):
        games = f"{row['season']} Olympic Games of {row['year']}"
        silent = (f"The {games} had {20 + stable_hash(games) % 150} events.",)
        yield _Told(
            "olympics",
            games,
            forms(row["city"]),
            (f"The {games} took place in {{}}.", f"{{}} hosted the {games}."),
            silent,
        )
    for row in table("world_cups"):
        cup = f"World Cup of {row['year']}"
        silent = (f"The final of the {cup} ended {1 + stable_hash(cup) % 4} to 0.",)
        yield _Told(
            "world cup",
            cup,
            forms(row["winner"]),
            (f"{{}} won the {cup}.", f"The winner of the {cup} was {{}}."),
            silent,
        )
