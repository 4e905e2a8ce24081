"""Words of courtesy, doubt and negation in other languages than English, from guardrail/data/languages.

A file there is YAML with the keys of `Language`, and no others. English has lists of its own where they are used.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import cache
from importlib import resources
from typing import Annotated

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from guardrail.errors import DataError
from guardrail.folding import folded
from guardrail.segmentation import words_in

_FOLDER = "guardrail.data.languages"
_NOT_KNOWN = frozenset(
    ("i dont know", "i do not know", "i dont know the answer", "i do not know the answer", "unknown")
)
_SURE = frozenset(["sure", "certain", "certainly", "confident", "positive", "definite", "definitely"])
_DENYING = frozenset(["not", "never", "cannot", "hardly", "barely", "far", "less", "nobody"])
_REACH = 5  # words between a denial and what it denies
_FEWEST = 2  # different telling words, before a text in Latin letters counts as that language's


def _flat(value: object) -> object:
    """Lists of lists, as the files have them to keep lines short, as one list."""
    if not isinstance(value, list):
        return value
    return tuple(item for part in value for item in (part if isinstance(part, list) else [part]))


Phrases = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_flat)]


class Language(BaseModel):
    """What a text says in a language without claiming anything, and how it denies.

    telling: words of grammar by which a text is known to be in it; none where the script tells. negations: words, or several
    in a row. greetings: whole sentences. offers: how sentences begin that offer help or wish well. fillers: whole statements
    that answer nothing. sure, leaning, wavering, doubting: phrases of an answer that say how sure whoever gives it is, from
    "certainly" over "probably" and "perhaps" to "I am not sure".
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    language: Annotated[str, Field(pattern="^[a-z]{2,3}$")]
    telling: Phrases
    negations: Phrases
    greetings: Phrases
    offers: Phrases
    fillers: Phrases
    sure: Phrases = ()
    leaning: Phrases = ()
    wavering: Phrases = ()
    doubting: Phrases = ()


def read_language(text: str, source: str) -> Language:
    """A file's content. Raises `DataError`, with the place, for what is none: unknown or missing keys, other values."""
    try:
        return Language.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise DataError(f"{source}: not YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(
            f"{source}: {where}: {first['msg']}; the keys are {', '.join(Language.model_fields)}"
        ) from error


@cache
def languages() -> tuple[Language, ...]:
    """All that come with guardrail, sorted by name."""
    files = sorted(
        (f for f in resources.files(_FOLDER).iterdir() if f.name.endswith(".yaml")), key=lambda file: file.name
    )
    return tuple(read_language(file.read_text(encoding="utf-8"), file.name) for file in files)


def plain(phrase: str) -> str:
    """A phrase as phrases are compared: its words, without case, apostrophes and marks that may be left out."""
    text = phrase.replace("'", "").replace("’", "")
    return " ".join(map(folded, words_in(text)))


def is_greeting(sentence: str) -> bool:
    """Whether a whole sentence is a greeting, thanks, praise of the question or an offer, in one of the languages.

    >>> is_greeting("Gerne!"), is_greeting("如果您有任何问题，请随时告诉我。"), is_greeting("Gerne, Suva.")
    (True, True, False)
    """
    said = plain(sentence)
    greetings, offers = _courtesies()
    return said in greetings or f"{said} ".startswith(offers)


def is_filler(statement: str) -> bool:
    """Whether a whole statement says only that the answer is not known, in one of the languages."""
    return plain(statement) in _fillers()


def negations_in(words: Iterable[str]) -> frozenset[str]:
    """The negations that count in a text of these `folded` words; English ones are not among them.

    Those of languages whose script tells them always. A language in Latin letters counts where at least two of its words of
    grammar are among the words, and more than English ones, or where there is nothing else: `nicht` and `no es` alone are
    German and Spanish, and `pas` is a name in Nord-Pas-de-Calais.
    """
    said = set(words)
    return frozenset().union(*(_folded(one.negations) for one in languages() if _is_spoken(one, said)))


def denies(text: str) -> bool:
    """Whether there is a negation in a text, in the language that it is in; English ones are not looked for.

    >>> denies("Paris ist nicht die Hauptstadt."), denies("北京不是日本的首都"), denies("It is in Nord-Pas-de-Calais.")
    (True, True, False)
    """
    said = plain(text)
    return any(f" {negation} " in f" {said} " for negation in negations_in(said.split()))


def doubt_in(text: str) -> int:
    """How unsure an answer says it is, by its words: the most doubtful that is in it.

    0 sure ("certainly"), 1 no such word, 2 leaning ("probably"), 3 wavering ("perhaps"), 4 doubting ("I am not sure"), 5 it
    says only that it does not know. English words count in every text, other ones where the text is in their language.

    >>> doubt_in("It is certainly Suva."), doubt_in("Suva"), doubt_in("I think Suva, but I'm not sure.")
    (0, 1, 4)
    """
    words = plain(text).split()
    if is_filler(text) or " ".join(words) in _NOT_KNOWN:
        return 5
    levels: set[int] = {4} if _denied_certainty(words) else set()
    for one in languages():
        if one.language == "en" or _is_spoken(one, words):
            between = " " if one.language == "en" or one.telling else ""  # ICU cuts a phrase as its neighbours have it
            said = between + between.join(words) + between
            for phrase, level in _hedges(one, between):
                if phrase in said:
                    levels.add(level)
                    said = said.replace(phrase, f"{between}|{between}")  # "almost certainly" is not "certainly"
    return max(levels - {0}, default=0 if levels else 1)


def _denied_certainty(words: list[str]) -> bool:
    """Whether an English text denies that it is sure, in whatever words: "I wouldn't say I'm sure", "not 100 sure"."""
    for i, word in enumerate(words):
        before = words[max(0, i - _REACH) : i]
        if word in _SURE and any(one in _DENYING or one.endswith("nt") for one in before):
            return True
    return False


@cache
def _hedges(language: Language, between: str) -> tuple[tuple[str, int], ...]:
    """The phrases with their levels, the longest first. between: what stands between words, and around a phrase."""
    of = {0: language.sure, 2: language.leaning, 3: language.wavering, 4: language.doubting}
    found = [(plain(phrase).split(), level) for level, phrases in of.items() for phrase in phrases]
    found.sort(key=lambda pair: -len("".join(pair[0])))
    return tuple((between + between.join(words) + between, level) for words, level in found)


def _is_spoken(language: Language, words: Collection[str]) -> bool:
    """Whether a text of these words counts as being in a language other than English."""
    if language.language == "en":
        return False
    telling, said = _folded(language.telling), set(words)
    if not telling or (said and said <= telling | _folded(language.negations)):
        return True
    return len(said & telling) >= max(_FEWEST, len(said & _english()) + 1)


@cache
def _folded(phrases: tuple[str, ...]) -> frozenset[str]:
    return frozenset(map(plain, phrases))


@cache
def _courtesies() -> tuple[frozenset[str], tuple[str, ...]]:
    spoken = languages()
    return (
        frozenset().union(*(_folded(one.greetings) for one in spoken)),
        tuple(sorted(f"{offer} " for one in spoken for offer in _folded(one.offers))),
    )


@cache
def _fillers() -> frozenset[str]:
    return frozenset().union(*(_folded(one.fillers) for one in languages()))


@cache
def _english() -> frozenset[str]:
    return next(_folded(one.telling) for one in languages() if one.language == "en")
