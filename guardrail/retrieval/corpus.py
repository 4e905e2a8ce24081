"""How many passages of a corpus have a name, and how many have two: a full-text index in SQLite that answers in milliseconds.

What a model has hardly read about, or never read about together, it makes up (QuCo-RAG, arXiv 2512.19134, which counts in the
corpus that the model was trained on; here the corpus is the user's, which stands for it as well as it can). Knows nothing about
models, embeddings or policies.
"""

from __future__ import annotations

import os
import re
import sqlite3
import unicodedata
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from threading import Lock

from guardrail.errors import RetrievalError
from guardrail.plain_text import words
from guardrail.retrieval.passages import Passage, read_passages
from guardrail.types import NameCounts
from guardrail.types.names import MOST_COUNTED

_KIND = "guardrail corpus 1"
_SUFFIXES = (".db", ".sqlite")
_STARTERS = frozenset(
    words(
        "a an the what which who whom whose when where why how is are was were do does did has have had can could will would "
        "should in on at of from for to by with after before during name give tell list say find if and or please "
        "it this that these those there he she they we you my your his her its our their explain describe compare"
    )
)
_WORD = re.compile(r"[^\W_](?:[\w'’.-]*\w)?")
_JOINERS = frozenset(words("of the de la le du des von van der den y e da di al bin"))
_QUOTED = re.compile(r"[\"“«]([^\"”»]{2,80})[\"”»]")


class Corpus:
    """A full-text index of passages, to be asked how many have a name.

        corpus = Corpus.load("notes/")
        corpus.count("Burkina Faso")  # 3
        corpus.together("Burkina Faso", "Ouagadougou")  # 1

    Names are compared as whole words in a row; case and accents do not matter. Safe for threads.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection, self._lock = connection, Lock()

    @classmethod
    def build(cls, passages: Iterable[Passage], path: str | os.PathLike[str] | None = None) -> Corpus:
        """Index passages, in memory or in a new file that `load` opens again.

        Raises `RetrievalError` for a file that exists or cannot be written, and for no passage.
        """
        if path is not None and Path(path).exists():
            raise RetrievalError(f"{os.fspath(path)} exists, and may be another corpus; give another file")
        try:
            connection = sqlite3.connect(":memory:" if path is None else os.fspath(path), check_same_thread=False)
            connection.execute("CREATE TABLE about (kind TEXT)")
            connection.execute(
                "CREATE VIRTUAL TABLE passages USING fts5(text, content='', tokenize='unicode61 remove_diacritics 2')"
            )
            rows = ((passage.text,) for passage in passages)
            connection.executemany("INSERT INTO passages(text) VALUES (?)", rows)
            connection.execute("INSERT INTO about VALUES (?)", (_KIND,))
            connection.commit()
        except sqlite3.Error as error:
            raise RetrievalError(
                f"the corpus cannot be indexed: {error}; SQLite needs FTS5, and the file a folder"
            ) from error
        out = cls(connection)
        if not out._matches("SELECT rowid FROM passages", ()):
            raise RetrievalError("a corpus of no passages knows no name; give texts")
        return out

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Corpus:
        """A file of `build` (.db, .sqlite), or texts as `load_retriever` takes them, which are indexed in memory.

        Raises `RetrievalError` for what is neither.
        """
        if Path(path).suffix.lower() not in _SUFFIXES:
            return cls.build(read_passages(path))
        try:
            connection = sqlite3.connect(f"{Path(path).resolve().as_uri()}?mode=ro", uri=True, check_same_thread=False)
            kind = connection.execute("SELECT kind FROM about").fetchone()
        except sqlite3.Error as error:
            raise RetrievalError(f"{os.fspath(path)}: not a corpus ({error}); make one with Corpus.build") from error
        if kind != (_KIND,):
            raise RetrievalError(f"{os.fspath(path)}: not a corpus of this version; make it again with Corpus.build")
        return cls(connection)

    def count(self, name: str) -> int:
        """Passages that have the name, at most `MOST_COUNTED`; 0 for a name without a letter or digit."""
        return self._found(_phrase(name))

    def together(self, first: str, second: str) -> int:
        """Passages that have both names, at most `MOST_COUNTED`."""
        phrases = _phrase(first), _phrase(second)
        return self._found(" AND ".join(phrases)) if all(phrases) else 0

    def counts(self, question: str) -> NameCounts:
        """The names of a question with their counts, and the pairs of them that no passage has."""
        names = names_in(question)
        apart = tuple(pair for pair in combinations(names, 2) if not self.together(*pair))
        return NameCounts(tuple((name, self.count(name)) for name in names), apart)

    def _found(self, query: str) -> int:
        return self._matches("SELECT rowid FROM passages WHERE passages MATCH ?", (query,)) if query else 0

    def _matches(self, select: str, values: tuple[str, ...]) -> int:
        with self._lock:
            (found,) = self._connection.execute(
                f"SELECT count(*) FROM ({select} LIMIT {MOST_COUNTED})",  # noqa: S608  (no value of anyone's)
                values,
            ).fetchone()
        return int(found)


def _phrase(name: str) -> str:
    """Words in a row, as FTS5 spells it; nothing that a name holds is read as an operator."""
    words = re.findall(r"\w+", unicodedata.normalize("NFC", name))
    return '"' + " ".join(words) + '"' if words else ""


def names_in(question: str) -> tuple[str, ...]:
    """The names in a question, as written: what stands in quotes, and runs of words that begin with a capital letter, with
    numbers and "of", "de" between them. Each once.

        names_in("In which year did Apollo 11 land on the Moon?")  # ("Apollo 11", "Moon")

    The first word of a sentence counts as a name only where it is none that many begin with ("What's"), and "I" only behind a
    name. A question without capital letters, and one in a script that has none, has no names.
    """
    question = unicodedata.normalize("NFC", question)
    quoted = [m[1].strip() for m in _QUOTED.finditer(question)]
    rest = _QUOTED.sub(" . ", question)
    found: list[str] = []
    run: list[str] = []
    end = 0
    for m in [*_WORD.finditer(rest), None]:
        gap = rest[end : m.start()] if m else ""
        word = m[0] if m else ""
        begins = end == 0 or any(mark in gap for mark in ".?!:")
        behind = bool(run) and gap.isspace()
        common = (begins and _starts_many(word)) or (re.fullmatch(r"I(['’]\w+)?", word) is not None and not behind)
        is_name = word[:1].isupper() and not common
        goes_on = behind and (is_name or word.isdigit() or word in _JOINERS)
        if not goes_on:
            found.append(_trimmed(run))
            run = []
        if goes_on or is_name:
            run.append(word)
        end = m.end() if m else end
    return tuple(dict.fromkeys(name for name in [*quoted, *found] if name))


def _starts_many(word: str) -> bool:
    """Whether many sentences begin with it: "What", "What's", "Isn't"."""
    plain = word.casefold()
    return any(re.sub(ending, "", plain) in _STARTERS for ending in ("$", r"['’]\w+$", r"n['’]t$"))


def _trimmed(run: list[str]) -> str:
    """A run without the joiners that nothing follows; a possessive ending is none of the name."""
    while run and run[-1] in _JOINERS:
        run = run[:-1]
    return re.sub(r"['’]s$", "", " ".join(run))
