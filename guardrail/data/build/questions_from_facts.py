"""Questions about the rows of the tables in facts/, one function a subject.

Knows nothing about passages, nor which of the questions are used and in which split.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guardrail.data.build.drafts import Draft
from guardrail.data.build.tables import PUBLISHED, country_forms, first, forms, in_text, is_or_are, river, table
from guardrail.data.build.wording import number_forms, ordinal, reveals, slug

if TYPE_CHECKING:
    from collections.abc import Iterator

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

PLURALS = {"sheep": "sheep", "deer": "deer", "salmon": "salmon", "goose": "geese", "wolf": "wolves"}
LATIN_CLASSES = {
    "mammal": "Mammalia",
    "bird": "Aves",
    "amphibian": "Amphibia",
    "reptile": "Reptilia",
    "insect": "Insecta",
    "arachnid": "Arachnida",
}

WORD_QUESTIONS = {
    "opposite": 'What is the opposite of the word "{}"?',
    "plural": 'What is the plural of the noun "{}"?',
    "past": 'What is the simple past tense of the verb "to {}"?',
}


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
        question = f"In which {asked} {is_or_are(row['name'])} {row['name']}?"
        yield Draft("landmark", f"landmark-{slug(row['name'])}", question, answers)


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


def word_questions() -> Iterator[Draft]:
    for row in table("words"):
        kind, word = row["kind"], row["word"]
        template = WORD_QUESTIONS.get(kind, f'What is the {kind.title()} for "{{}}"?')
        shown = kind if kind in WORD_QUESTIONS else "translation"
        yield Draft(shown, f"{kind}-{slug(word)}", template.format(word), forms(row["answers"]))


def trivia_questions() -> Iterator[Draft]:
    for row in table("trivia"):
        if reveals(row["question"], forms(row["answers"])):
            raise ValueError(f"trivia.csv: the question of {row['id']} contains its answer")
        yield Draft(row["kind"], f"{row['kind']}-{row['id']}", row["question"], forms(row["answers"]))
