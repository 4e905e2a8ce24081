"""Sentences about the rows of the tables in facts/, one function a subject.

Knows nothing about questions, nor which of the sentences are used and how they are put together in passages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guardrail.data.build.choices import pick
from guardrail.data.build.drafts import Fact
from guardrail.data.build.tables import PUBLISHED, first, in_text, is_or_are, river, table
from guardrail.data.build.wording import ordinal, sentence, slug, with_article

if TYPE_CHECKING:
    from collections.abc import Iterator


def country_facts() -> Iterator[Fact]:
    for row in table("countries"):
        title, name = first(row["name"]), in_text(first(row["name"]))
        capital, currency = first(row["capital"]), first(row["currency"])
        continent, language = first(row["continent"]), first(row["language"])
        sentences = []
        if continent:
            places = (f"{name} is a country in {continent}.", f"{name} lies in {continent}.")
            sentences.append(sentence(pick(title, places)))
        if capital:
            full = f"{capital} is the capital of {name}."
            options = (f"The capital is {capital}.", full, f"Its capital is {capital}.")
            sentences.append(pick(f"{title}-capital", options) if sentences else full)
        if language:
            spoken = (f"The official language is {language}.", f"{language} is the official language.")
            sentences.append(pick(f"{title}-language", spoken))
        if currency:
            paid = (f"People pay with the {currency}.", f"The currency is the {currency}.")
            sentences.append(pick(f"{title}-currency", paid))
        yield Fact(title, f"country-{slug(title)}", tuple(sentences))


def element_facts() -> Iterator[Fact]:
    for row in table("elements"):
        title = first(row["name"])
        options = (
            f"{title} is a chemical element with the symbol {row['symbol']} and the atomic number {row['number']}.",
            f"The element {title.lower()} has the symbol {row['symbol']}. Its atomic number is {row['number']}.",
        )
        sentences = [pick(title, options)]
        if row["family"] and not row["family"].startswith("other"):
            sentences.append(f"{title} is classed as {with_article(row['family'])}.")
        if row["state"]:
            sentences.append(f"At room temperature it is {with_article(row['state'])}.")
        yield Fact(title, f"element-{slug(title)}", tuple(sentences))


def book_facts() -> Iterator[Fact]:
    for row in table("books"):
        title, author, form = row["title"], first(row["author"]), row["form"]
        options = (f"{title} is {with_article(form)} by {author}.", f"{author} wrote the {form} {title}.")
        sentences = [pick(title, options), f"It was written in {row['language']}."]
        if row["year"] and form in PUBLISHED:
            sentences.append(f"The {form} was first published as a book in {row['year']}.")
        yield Fact(title, f"book-{slug(title)}", tuple(sentences))


def scientist_facts() -> Iterator[Fact]:
    for row in table("scientists"):
        name, born_in = first(row["name"]), in_text(first(row["born_in"]))
        sentences = [f"{name} worked in {' and '.join(row['field'].split('|')[:2])}."]
        if born_in:
            year = f" in {row['born']}" if row["born"] else ""
            sentences.append(f"{name} was born{year} in what is today {born_in}.")
        if row["known_for"]:
            sentences.append(f"{name} is known for {row['known_for']}.")
        yield Fact(name, f"scientist-{slug(name)}", tuple(sentences))


def us_facts() -> Iterator[Fact]:
    for row in table("us_states"):
        name = row["name"]
        sentences = [f"{name} became a state of the United States in {row['statehood']}."]
        sentences += [f"Its capital is {first(row['capital'])}."] if row["capital"] else []
        sentences += [f"Its nickname is {row['nickname']}."] if row["nickname"] else []
        sentences.append(f"Letters sent there carry the code {row['postal_code']}.")
        yield Fact(f"{name} (US state)", f"us-state-{slug(name)}", tuple(sentences))
    for row in table("us_presidents"):
        name = first(row["name"])
        text = f"{name} was the {ordinal(int(row['number']))} president of the United States."
        yield Fact(name, f"us-president-{row['number']}", (text, f"{name} took office in {row['took_office']}."))


def art_facts() -> Iterator[Fact]:
    for row in table("paintings"):
        artist, title = first(row["artist"]), row["title"].rstrip("?")
        seen = f" It can be seen in {row['city']}." if row["city"] else ""
        yield Fact(f"Paintings by {artist}", f"painting-{slug(row['title'])}", (f"{artist} painted {title}.{seen}",))
    for row in table("music"):
        composer = first(row["composer"])
        text = f"{composer} composed the {row['form']} {row['work']}."
        yield Fact(f"Works by {composer}", f"music-{slug(row['work'])}", (text,))
    for row in table("films"):
        text = f"The film {row['title']} of {row['year']} was directed by {first(row['director'])}."
        yield Fact(f"Films of the {row['year'][:3]}0s", f"film-{slug(row['title'])}", (text,))


def event_facts() -> Iterator[Fact]:
    for row in table("events"):
        text = sentence(f"{row['event']} {row['past']} in {row['year']}.")
        yield Fact(row["theme"], f"event-{slug(row['event'])}-{row['verb']}", (text,))


def animal_facts() -> Iterator[Fact]:
    for row in table("animals"):
        name = row["name"]
        kind = first(row["class"])
        sentences = [f"The {name} is {with_article(kind)}."]
        sentences += [f"A young {name} is called {with_article(first(row['young']))}."] if row["young"] else []
        sentences += [f"The female is called {with_article(first(row['female']))}."] if row["female"] else []
        sentences += (
            [f"A group of these animals is called {with_article(first(row['group']))}."] if row["group"] else []
        )
        yield Fact(sentence(name), f"animal-{slug(name)}", tuple(sentences))


def place_facts() -> Iterator[Fact]:
    for row in table("rivers"):
        text = sentence(f"{river(row['name'])} flows into the {first(row['mouth'])}.")
        yield Fact(f"Rivers of {row['continent']}", f"river-{slug(row['name'])}", (text,))
    for row in table("cities"):
        name, where, stream = row["name"], first(row["country"]), first(row["river"])
        sentences = [f"{name} is a city in {in_text(where)}."] if where else []
        sentences += [f"{name} stands on the river {stream}."] if stream else []
        title = f"Cities of {in_text(where)}" if where else "Cities and rivers"
        yield Fact(title, f"city-{slug(name)}", tuple(sentences))
    for row in table("mountains"):
        text = f"The highest mountain of {row['country']} is {first(row['mountain'])}."
        yield Fact("Highest mountains", f"mountain-{slug(row['country'])}", (text,))
    for row in table("landmarks"):
        place = ", ".join(filter(None, (first(row["city"]), in_text(first(row["country"])))))
        text = sentence(f"{row['name']} {is_or_are(row['name'])} in {place}.")
        yield Fact("Famous sights", f"landmark-{slug(row['name'])}", (text,))


def sport_facts() -> Iterator[Fact]:
    for row in table("world_cups"):
        winner, host = first(row["winner"]), first(row["host"])
        where = f" in {in_text(host)}" if host else ""
        text = f"{winner} won the men's football World Cup of {row['year']}{where}."
        yield Fact(f"World Cup of {row['year']}", f"world-cup-{row['year']}", (text,))
    for row in table("olympics"):
        text = f"The {row['season']} Olympic Games of {row['year']} were held in {first(row['city'])}."
        yield Fact(f"{row['season']} Olympic Games", f"olympics-{row['season'].lower()}-{row['year']}", (text,))


def astronomy_facts() -> Iterator[Fact]:
    for row in table("planets"):
        text = f"{row['name']} is the {row['position']} planet from the Sun and {with_article(row['type'])} planet."
        if row["type"].endswith("giant"):
            text = f"{row['name']} is the {row['position']} planet from the Sun and {with_article(row['type'])}."
        named = (f"It is named after the {row['namesake']}.",) if row["namesake"] else ()
        yield Fact(f"{row['name']} (planet)", f"planet-{slug(row['name'])}", (text, *named))
    for row in table("moons"):
        text = f"{row['name']} is a moon of {row['planet']}."
        yield Fact("Moons of the planets", f"moon-{slug(row['name'])}", (text,))


def word_facts() -> Iterator[Fact]:
    patterns = {
        "opposite": ("Opposites", 'The opposite of "{}" is "{}".'),
        "plural": ("Irregular plurals", 'The plural of "{}" is "{}".'),
        "past": ("Irregular verbs", 'The simple past of "{}" is "{}".'),
    }
    for row in table("words"):
        language = row["kind"].title()
        title, pattern = patterns.get(row["kind"], (f"{language} words", f'In {language}, "{{}}" is "{{}}".'))
        text = pattern.format(row["word"], first(row["answers"]))
        yield Fact(title, f"word-{row['kind']}-{slug(row['word'])}", (text,))


def trivia_facts() -> Iterator[Fact]:
    # The table leaves the statement of about a third of its rows empty; what is written there is all used.
    for row in table("trivia"):
        if row["statement"]:
            yield Fact(row["theme"], "", (row["statement"],))
