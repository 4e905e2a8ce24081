"""Builds questions.jsonl and passages.jsonl from the tables in facts/: `python -m guardrail.data.build`.

What it does: turns entity tables (countries, elements, books, ...) and hand-written rows (trivia.csv) into
questions and passages. Everything is decided by hashes of names, so two runs give the same bytes.

What it does not know about: who loads the files and how answers are judged. An empty cell in a table means that
there is no single undisputed answer, or that it may change; such a cell gives neither a question nor a sentence.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from guardrail.data import passages_path, questions_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

FACTS = Path(__file__).resolve().parent / "facts"

# Of every hundred entities this many get a passage, so that retrieval can help and can also find nothing.
COVERAGE = 66
SENTENCES_PER_PASSAGE = 4

# Units that many countries share: "dollar" is a poor answer for Fiji and a good one for the United States. Such a
# currency is only asked about when the table lists the bare unit as an accepted form.
SHARED_UNITS = {"dollar", "pound", "franc", "rupee", "dinar", "peso", "shilling"}

# Symbols and codes that are also English words (or what "it's" leaves behind) turn up in wrong answers too.
# fmt: off
ENGLISH_WORDS = {
    "a", "al", "am", "as", "at", "be", "he", "hi", "ho", "i", "id", "in", "is", "it",
    "la", "ma", "me", "no", "of", "oh", "ok", "or", "pa", "s", "so", "us",
}
# fmt: on

# The capital of the United Kingdom is also the capital of England.
ALSO_CAPITAL_OF = {"London": ("England",)}

PRACTITIONERS = {
    "physics": "physicist",
    "chemistry": "chemist",
    "mathematics": "mathematician",
    "biology": "biologist",
    "astronomy": "astronomer",
    "botany": "botanist",
    "genetics": "geneticist",
    "medicine": "physician",
    "philosophy": "philosopher",
    "physiology": "physiologist",
    "psychology": "psychologist",
}

# Plays and poems were often seen or read before they became a book, so their years are not asked.
PUBLISHED = ("novel", "novella", "book")

PLURALS = {"sheep": "sheep", "deer": "deer", "salmon": "salmon", "goose": "geese", "wolf": "wolves"}
LATIN_CLASSES = {
    "mammal": "Mammalia",
    "bird": "Aves",
    "amphibian": "Amphibia",
    "reptile": "Reptilia",
    "insect": "Insecta",
    "arachnid": "Arachnida",
}

SUMS = [(2, 3), (4, 5), (7, 8), (6, 9), (12, 15), (23, 34), (38, 27), (56, 78), (125, 250), (99, 47), (364, 289)]
SUMS += [(1, 6), (3, 5), (8, 9), (11, 14), (45, 55), (67, 86), (148, 253), (777, 444), (1250, 375)]
DIFFERENCES = [(9, 4), (10, 3), (15, 8), (20, 7), (50, 18), (100, 36), (81, 47), (250, 125), (1000, 373), (512, 64)]
DIFFERENCES += [(8, 2), (13, 5), (42, 17), (90, 61), (305, 148), (730, 256)]
PRODUCTS = [(2, 4), (3, 3), (5, 6), (7, 8), (6, 9), (9, 9), (8, 4), (7, 6), (11, 11), (12, 12), (15, 6), (13, 7)]
PRODUCTS += [(4, 5), (3, 8), (9, 7), (12, 8), (14, 5), (25, 8), (19, 6), (17, 13), (24, 16), (35, 27), (48, 52)]
QUOTIENTS = [(8, 2), (12, 3), (45, 9), (56, 7), (72, 8), (100, 4), (144, 12), (132, 11), (225, 15), (1001, 13)]
SQUARE_ROOTS = [9, 16, 49, 64, 81, 121, 169, 225, 400, 625]
PERCENTAGES = [(50, 80), (10, 90), (25, 40), (20, 60), (75, 200), (15, 300), (5, 260), (12, 150)]
ROMAN = [4, 6, 7, 9, 11, 14, 19, 24, 40, 49, 60, 90, 99, 150, 400, 500, 900, 1000, 1066, 1492, 1789, 1984]

Row = dict[str, str]


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


# --- small tools -------------------------------------------------------------------------------------------------


def table(name: str) -> list[Row]:
    with (FACTS / f"{name}.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def hashed(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")


def chosen(text: str, share: int) -> bool:
    return hashed(text) % 100 < share


def pick(key: str, options: tuple[str, ...]) -> str:
    """One of the options, always the same for one key."""
    return options[hashed(f"pick:{key}") % len(options)]


# Letters that do not decompose into a plain letter and an accent; "ß" is two letters.
KEYBOARD = str.maketrans("øØłŁđʻ₀₁₂₃₄₅₆₇₈₉", "oOlLd'0123456789") | {ord("ß"): "ss"}


def plain(text: str) -> str:
    """The text without accents and other letters that a keyboard lacks."""
    text = text.translate(KEYBOARD)
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", plain(text).lower().replace("'", "")).strip("-")


def normalized(text: str) -> str:
    """Lower case, no punctuation, single spaces: for comparing questions and for finding answers in them."""
    return " ".join(re.sub(r"[^\w\s]", " ", plain(text).lower()).split())


def reveals(question: str, answers: Iterable[str]) -> bool:
    """Whether an accepted answer stands in the question as whole words."""
    words = f" {normalized(question)} "
    return any(f" {normalized(answer)} " in words for answer in answers)


def forms(cell: str) -> tuple[str, ...]:
    """The accepted forms in a cell, separated by bars, each also without accents."""
    written = [form for form in cell.split("|") if form]
    return tuple(dict.fromkeys([*written, *map(plain, written)]))


def first(cell: str) -> str:
    return cell.split("|")[0]


def sentence(text: str) -> str:
    return text[0].upper() + text[1:]


# fmt: off
ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
    "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen",
    "sixteen", "seventeen", "eighteen", "nineteen",
)
# fmt: on
TENS = ("zero", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def number_words(n: int) -> str:
    """English words for 0 to 9999."""
    if n < 20:
        return ONES[n]
    if n < 100:
        return TENS[n // 10] + (f"-{ONES[n % 10]}" if n % 10 else "")
    size, name = (100, "hundred") if n < 1000 else (1000, "thousand")
    return f"{number_words(n // size)} {name}" + (f" {number_words(n % size)}" if n % size else "")


def number_forms(n: int) -> tuple[str, ...]:
    words = number_words(n)
    british = words.replace("hundred ", "hundred and ")
    return tuple(dict.fromkeys([str(n), f"{n:,}", words, words.replace("-", " "), british, british.replace("-", " ")]))


def ordinal(n: int) -> str:
    suffix = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{suffix}"


def roman(n: int) -> str:
    parts = ((1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"), (40, "XL"))
    text = ""
    for value, letters in (*parts, (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")):
        text += letters * (n // value)
        n %= value
    return text


def a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiouAEIO' else 'a'} {noun}"


def country_forms(cell: str) -> tuple[str, ...]:
    """The forms of a country cell and the other names of these countries from countries.csv."""
    aliases = {first(row["name"]): row["name"] for row in table("countries")}
    return forms("|".join(aliases.get(form, form) for form in cell.split("|")))


def in_text(country: str) -> str:
    """A country's usual name as it stands in a sentence: "the Netherlands"."""
    articles = {first(row["name"]): row["article"] for row in table("countries")}
    return f"{articles.get(country, '')} {country}".strip()


# --- questions ---------------------------------------------------------------------------------------------------


def country_questions() -> Iterator[Draft]:
    for row in table("countries"):
        key, name = slug(first(row["name"])), in_text(first(row["name"]))
        # A US state has the same name.
        where = f"the country {name}" if name == "Georgia" else name
        if row["capital"]:
            capital, group = first(row["capital"]), f"country-capital-{key}"
            yield Draft("capital", f"capital-{key}", f"What is the capital of {where}?", forms(row["capital"]), group)
            question = f"Which country has {capital} as its capital?"
            countries = forms(row["name"]) + ALSO_CAPITAL_OF.get(capital, ())
            yield Draft("capital-of", f"capital-of-{key}", question, countries, group, share=40)
        currency = forms(row["currency"])
        bare = {form.split()[-1] for form in currency} & SHARED_UNITS
        if currency and bare <= set(currency):
            yield Draft("currency", f"currency-{key}", f"What is the currency of {where}?", currency, share=70)
        if row["continent"]:
            question = f"On which continent is {where}?"
            yield Draft("continent", f"continent-{key}", question, forms(row["continent"]), share=50)
        if row["language"]:
            question = f"What is the official language of {where}?"
            yield Draft("language", f"language-{key}", question, forms(row["language"]), share=75)


def element_questions() -> Iterator[Draft]:
    for row in table("elements"):
        name, symbol, number, key = first(row["name"]), row["symbol"], row["number"], slug(first(row["name"]))
        group = f"element-{key}"
        low = name.lower()
        if symbol.lower() not in ENGLISH_WORDS:
            yield Draft("symbol", f"symbol-{key}", f"What is the chemical symbol of {low}?", (symbol,), group)
        question = f"Which chemical element has the symbol {symbol}?"
        yield Draft("element", f"element-{key}", question, forms(row["name"]), group, 50)
        question = f"What is the atomic number of {low}?"
        yield Draft("atomic-number", f"number-{key}", question, number_forms(int(number)), group, 40)
        question = f"Which chemical element has the atomic number {number}?"
        yield Draft("element", f"element-number-{key}", question, forms(row["name"]), group, 25)
        if row["family"] in ("alkali metal", "alkaline earth metal", "halogen", "noble gas"):
            plural = row["family"] + ("es" if row["family"].endswith("gas") else "s")
            question = f"Which named group of the periodic table does {low} belong to?"
            yield Draft("element-family", f"family-{key}", question, (row["family"], plural), share=80)


def book_questions() -> Iterator[Draft]:
    for row in table("books"):
        key = slug(row["title"])
        form = row["form"] if row["language"] == "English" else f"{row['language']} {row['form']}"
        yield Draft("author", f"author-{key}", f"Who wrote the {form} {row['title']}?", forms(row["author"]), share=80)
        if row["year"] and row["form"] in PUBLISHED:
            question = f"In which year was the {form} {row['title']} first published as a book?"
            yield Draft("book-year", f"book-year-{key}", question, (row["year"],), share=20)


def scientist_questions() -> Iterator[Draft]:
    for row in table("scientists"):
        name, key = first(row["name"]), slug(first(row["name"]))
        if row["born_in"]:
            question = f"In which present-day country was {name} born?"
            yield Draft("birth-country", f"birth-country-{key}", question, country_forms(row["born_in"]))
        fields = forms(row["field"])
        people = tuple(PRACTITIONERS[field] for field in fields if field in PRACTITIONERS)
        question = f"In which field did {name} mainly work?"
        yield Draft("field", f"field-{key}", question, fields + people, share=70)
        if row["known_for"]:
            question = f"Who is known for {row['known_for']}?"
            yield Draft("scientist", f"scientist-{key}", question, forms(row["name"]))


def us_questions() -> Iterator[Draft]:
    for row in table("us_states"):
        name, key, code = row["name"], slug(row["name"]), row["postal_code"]
        group = f"us-capital-{key}"
        if row["capital"]:
            question = f"What is the capital of the US state of {name}?"
            yield Draft("us-capital", f"us-capital-{key}", question, forms(row["capital"]), group)
            question = f"Which US state has {first(row['capital'])} as its capital?"
            yield Draft("us-capital", f"us-capital-of-{key}", question, (name,), group, 35)
        if row["nickname"]:
            question = f"Which US state has the nickname {row['nickname']}?"
            yield Draft("us-nickname", f"us-nickname-{key}", question, (name,), share=60)
        if code.lower() not in ENGLISH_WORDS:
            question = f"What is the two-letter postal code of the US state of {name}?"
            yield Draft("us-postal-code", f"us-postal-code-{key}", question, (code,), share=50)
    for row in table("us_presidents"):
        question = f"Who was the {ordinal(int(row['number']))} president of the United States?"
        yield Draft("us-president", f"us-president-{row['number']}", question, forms(row["name"]))


def art_questions() -> Iterator[Draft]:
    for row in table("paintings"):
        key, title = slug(row["title"]), row["title"].rstrip("?")
        yield Draft("painter", f"painter-{key}", f"Who painted {title}?", forms(row["artist"]))
    for row in table("music"):
        key = slug(row["work"])
        question = f"Who composed the {row['form']} {row['work']}?"
        yield Draft("composer", f"composer-{key}", question, forms(row["composer"]), share=80)
    for row in table("films"):
        key = slug(row["title"])
        question = f"Who directed the {row['year']} film {row['title']}?"
        yield Draft("film-director", f"film-director-{key}", question, forms(row["director"]))


def event_questions() -> Iterator[Draft]:
    for row in table("events"):
        key = slug(f"{row['event']} {row['verb'] if row['verb'] in ('begin', 'end') else ''}")
        yield Draft("event-year", f"year-{key}", f"In which year did {row['event']} {row['verb']}?", (row["year"],))


def animal_questions() -> Iterator[Draft]:
    for row in table("animals"):
        name, key = row["name"], slug(row["name"])
        # The example says what sort of answer is wanted; it must not be the answer.
        example = "A sparrow is a bird." if row["class"] == "reptile" else "A lizard is a reptile."
        question = f"{example} What class of animal is the {name}?"
        yield Draft("animal-class", f"animal-class-{key}", question, class_forms(row["class"]), share=70)
        if row["young"]:
            question = f"What is a young {name} called?"
            yield Draft("animal-young", f"animal-young-{key}", question, forms(row["young"]))
        if row["female"]:
            question = f"What is a female {name} called?"
            yield Draft("animal-female", f"animal-female-{key}", question, forms(row["female"]))
        if row["group"]:
            question = f"What is the collective noun for a group of {PLURALS.get(name, name + 's')}?"
            yield Draft("animal-group", f"animal-group-{key}", question, forms(row["group"]))


def class_forms(cell: str) -> tuple[str, ...]:
    plurals = "|".join(form if form == "fish" else f"{form}s" for form in cell.split("|"))
    return forms(f"{cell}|{plurals}|{LATIN_CLASSES.get(first(cell), '')}")


def place_questions() -> Iterator[Draft]:
    for row in table("rivers"):
        name = river(row["name"])
        question = f"Into which body of water does {name} flow?"
        yield Draft("river-mouth", f"river-mouth-{slug(row['name'])}", question, forms(row["mouth"]))
    for row in table("cities"):
        name, key = row["name"], slug(row["name"])
        if row["country"]:
            question = f"In which country is the city of {name}?"
            yield Draft("city-country", f"city-country-{key}", question, country_forms(row["country"]), share=85)
        if row["river"]:
            yield Draft("city-river", f"city-river-{key}", f"On which river does {name} stand?", forms(row["river"]))
    for row in table("mountains"):
        question = f"What is the highest mountain of {row['country']}?"
        yield Draft("mountain", f"mountain-{slug(row['country'])}", question, forms(row["mountain"]))
    for row in table("landmarks"):
        asked, answers = ("city", forms(row["city"])) if row["city"] else ("country", country_forms(row["country"]))
        question = f"In which {asked} {be(row['name'])} {row['name']}?"
        yield Draft("landmark", f"landmark-{slug(row['name'])}", question, answers)


def be(landmark: str) -> str:
    plural = landmark.startswith(("the ruins", "the rock churches", "Victoria Falls", "the Petronas Towers"))
    return "are" if plural else "is"


def river(name: str) -> str:
    return f"the {name}" if "River" in name or name == "Rio Grande" else f"the river {name}"


def sport_questions() -> Iterator[Draft]:
    for row in table("world_cups"):
        year = row["year"]
        question = f"Which country won the men's football World Cup of {year}?"
        yield Draft("world-cup", f"world-cup-winner-{year}", question, country_forms(row["winner"]))
        if row["host"]:
            question = f"Which country hosted the men's football World Cup of {year}?"
            yield Draft("world-cup", f"world-cup-host-{year}", question, country_forms(row["host"]), share=60)
    for row in table("olympics"):
        question = f"Which city hosted the {row['season']} Olympic Games of {row['year']}?"
        yield Draft("olympics", f"olympics-{row['season'].lower()}-{row['year']}", question, forms(row["city"]))


def astronomy_questions() -> Iterator[Draft]:
    for row in table("planets"):
        question = f"Which is the {row['position']} planet from the Sun?"
        yield Draft("astronomy", f"planet-{row['position']}", question, (row["name"],))
    for row in table("moons"):
        question = f"Which planet has a moon called {row['name']}?"
        yield Draft("astronomy", f"moon-{slug(row['name'])}", question, (row["planet"],))


WORD_QUESTIONS = {
    "opposite": 'What is the opposite of the word "{}"?',
    "plural": 'What is the plural of the noun "{}"?',
    "past": 'What is the simple past tense of the verb "to {}"?',
}


def word_questions() -> Iterator[Draft]:
    for row in table("words"):
        kind, word = row["kind"], row["word"]
        template = WORD_QUESTIONS.get(kind, f'What is the {kind.title()} for "{{}}"?')
        shown = kind if kind in WORD_QUESTIONS else "translation"
        yield Draft(shown, f"{kind}-{slug(word)}", template.format(word), forms(row["answers"]))


def arithmetic_questions() -> Iterator[Draft]:
    tasks = [(f"{x} plus {y}", x + y) for x, y in SUMS]
    tasks += [(f"{x} minus {y}", x - y) for x, y in DIFFERENCES]
    tasks += [(f"{x} times {y}", x * y) for x, y in PRODUCTS]
    tasks += [(f"{x} divided by {y}", x // y) for x, y in QUOTIENTS]
    tasks += [(f"{x} percent of {y}", x * y // 100) for x, y in PERCENTAGES]
    tasks += [(f"the square root of {x}", round(x**0.5)) for x in SQUARE_ROOTS]
    for task, result in tasks:
        yield Draft("arithmetic", f"arithmetic-{slug(task)}", f"What is {task}?", number_forms(result))
    for n in ROMAN:
        question = f"Which number does the Roman numeral {roman(n)} stand for?"
        yield Draft("roman-numeral", f"roman-numeral-{n}", question, number_forms(n))


def trivia_questions() -> Iterator[Draft]:
    for row in table("trivia"):
        if reveals(row["question"], forms(row["answers"])):
            raise ValueError(f"trivia.csv: the question of {row['id']} contains its answer")
        yield Draft(row["kind"], f"{row['kind']}-{row['id']}", row["question"], forms(row["answers"]))


QUESTION_SOURCES: tuple[Callable[[], Iterator[Draft]], ...] = (
    country_questions,
    element_questions,
    book_questions,
    scientist_questions,
    us_questions,
    art_questions,
    event_questions,
    animal_questions,
    place_questions,
    sport_questions,
    astronomy_questions,
    word_questions,
    arithmetic_questions,
    trivia_questions,
)


def split_of(group: str) -> str:
    return "calibration" if hashed(group) % 2 == 0 else "heldout"


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


# --- passages ----------------------------------------------------------------------------------------------------


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
            sentences.append(f"{title} is classed as {a(row['family'])}.")
        if row["state"]:
            sentences.append(f"At room temperature it is {a(row['state'])}.")
        yield Fact(title, f"element-{slug(title)}", tuple(sentences))


def book_facts() -> Iterator[Fact]:
    for row in table("books"):
        title, author, form = row["title"], first(row["author"]), row["form"]
        options = (f"{title} is {a(form)} by {author}.", f"{author} wrote the {form} {title}.")
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
        sentences = [f"The {name} is {a(kind)}."]
        sentences += [f"A young {name} is called {a(first(row['young']))}."] if row["young"] else []
        sentences += [f"The female is called {a(first(row['female']))}."] if row["female"] else []
        sentences += [f"A group of these animals is called {a(first(row['group']))}."] if row["group"] else []
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
        text = sentence(f"{row['name']} {be(row['name'])} in {place}.")
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
        text = f"{row['name']} is the {row['position']} planet from the Sun and {a(row['type'])} planet."
        if row["type"].endswith("giant"):
            text = f"{row['name']} is the {row['position']} planet from the Sun and {a(row['type'])}."
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


FACT_SOURCES: tuple[Callable[[], Iterator[Fact]], ...] = (
    country_facts,
    element_facts,
    book_facts,
    scientist_facts,
    us_facts,
    art_facts,
    event_facts,
    animal_facts,
    place_facts,
    sport_facts,
    astronomy_facts,
    word_facts,
    trivia_facts,
)


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
    passages_path().write_text(to_jsonl(passage_rows()), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
