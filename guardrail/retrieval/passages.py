"""Files -> passages: reads text, Markdown and JSONL, and cuts them into paragraphs of bounded length.

Knows nothing about search or embeddings.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from guardrail.errors import RetrievalError
from guardrail.files import read_text
from guardrail.json_text import parse

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

MAX_CHARACTERS = 800
"""The longest passage. all-MiniLM-L6-v2 reads 256 tokens, about 1,000 characters of English, and nothing after that."""

TEXT_SUFFIXES = (".txt", ".md")

_HEADING_LINE = re.compile(r"^(#{1,6})[ \t]+(.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of text and where it came from: a path below the folder, or the id of a row."""

    text: str
    source: str


def read_passages(path: str | os.PathLike[str]) -> tuple[Passage, ...]:
    """All passages of a folder (.txt and .md, subfolders too, sorted by path), of one such file, or of a .jsonl file.

    Raises `RetrievalError` when there is nothing to read, or for a malformed row (with file and line).
    """
    root = Path(path)
    if root.is_dir():
        files = sorted(file for file in root.rglob("*") if file.suffix.lower() in TEXT_SUFFIXES and file.is_file())
        if not files:
            raise RetrievalError(f"{root}: no .txt or .md file in this folder")
        passages = tuple(p for file in files for p in _from_text(file, file.relative_to(root).as_posix()))
    elif not root.exists():
        raise RetrievalError(f"{root}: no such file or folder; give a folder of .txt or .md files, or a .jsonl file")
    elif root.suffix.lower() in TEXT_SUFFIXES:
        passages = tuple(_from_text(root, root.name))
    elif root.suffix.lower() == ".jsonl":
        passages = tuple(_from_rows(root))
    else:
        raise RetrievalError(f"{root}: cannot read {root.suffix or 'this kind of'} files; use .txt, .md or .jsonl")
    if not passages:
        raise RetrievalError(f"{root}: no text in it")
    return passages


def split(text: str, limit: int = MAX_CHARACTERS) -> Iterator[str]:
    """Paragraphs, each with the Markdown headings it stands under; long ones are cut after a sentence.

    Every piece has 1 to `limit` characters; a word longer than `limit` is cut where it is.
    """
    headings: list[tuple[int, str]] = []  # (level, text), outermost first
    bare = False  # the innermost heading has nothing under it yet
    for block in re.split(r"\n\s*\n", _HEADING_LINE.sub(r"\n\n\g<0>\n\n", text.replace("\r\n", "\n")).strip()):
        heading = _HEADING_LINE.fullmatch(block.strip())
        if heading is None:
            yield from _under(headings, block.strip(), limit)
            bare = False
            continue
        level = len(heading[1])
        if bare and level <= headings[-1][0]:
            yield from _under(headings, "", limit)
        headings = [*((n, title) for n, title in headings if n < level), (level, heading[2].strip())]
        bare = True
    if bare:
        yield from _under(headings, "", limit)


def _under(headings: list[tuple[int, str]], text: str, limit: int) -> Iterator[str]:
    """A paragraph's pieces. It says "it" for what its heading names: without that it is not found or understood."""
    path = " / ".join(title for _, title in headings)[: limit // 2]
    if not path or not text:
        yield from _bounded(path or text, limit)
    else:
        yield from (f"{path}\n{piece}" for piece in _bounded(text, limit - len(path) - 1))


def _bounded(text: str, limit: int) -> Iterator[str]:
    while len(text) > limit:
        window = text[: limit + 1]
        ends = [match.end() for match in re.finditer(r"[.!?…。！？][\"')\]]*\s", window)]
        # An early sentence end would leave a scrap of a few words; a space late in the window is better than that.
        cut = next((end for end in reversed(ends) if end > limit // 3), 0) or window.rfind(" ") + 1 or limit
        if head := text[:cut].strip():
            yield head
        text = text[cut:].strip()
    if text:
        yield text


def _from_text(file: Path, source: str) -> Iterator[Passage]:
    for piece in split(_read(file)):
        yield Passage(piece, source)


def _from_rows(file: Path) -> Iterator[Passage]:
    for line_number, line in enumerate(_read(file).split("\n"), start=1):  # not splitlines: JSON may hold U+2028
        if not line.strip():
            continue
        where = f"{file}:{line_number}"
        try:
            row = parse(line)
        except json.JSONDecodeError as error:
            raise RetrievalError(f"{where}: not valid JSON: {error}") from error
        except ValueError as error:
            raise RetrievalError(f"{where}: not JSON that can be used: {error}") from error
        if not isinstance(row, dict):
            raise RetrievalError(f"{where}: a row is an object such as {{'id': ..., 'title': ..., 'text': ...}}")
        text, title = row.get("text"), row.get("title") or ""
        if not isinstance(text, str) or not text.strip():
            raise RetrievalError(f"{where}: the row has no 'text'")
        if not isinstance(title, str):
            raise RetrievalError(f"{where}: 'title' is not a text")
        if title.strip() and title.lower() not in text.lower():
            text = f"# {' '.join(title.split())}\n\n{text}"
        identity = row.get("id")
        source = f"{file.name}:{line_number}" if identity is None else str(identity)
        try:
            f"{source}{text}".encode()
        except UnicodeEncodeError as error:
            raise RetrievalError(f"{where}: a \\ud... escape is half of a surrogate pair") from error
        for piece in split(text):
            yield Passage(piece, source)


def _read(file: Path) -> str:
    try:
        return read_text(file, most=None)
    except UnicodeDecodeError as error:
        raise RetrievalError(f"{file}: not UTF-8 at byte {error.start}; save it as UTF-8") from error
    except OSError as error:
        raise RetrievalError(f"{file}: cannot be read: {error.strerror or error}") from error
