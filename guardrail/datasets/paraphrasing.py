"""Paraphrases by a chat model: asks for a numbered list and reads it.

Not covered: whether a paraphrase means the same. A weak model changes the question or answers it; read the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from guardrail.datasets.paraphrases import ParaphraseRow, distinct, save_paraphrase_rows
from guardrail.datasets.questions import question_digest
from guardrail.errors import DataError, MissingExtraError, ModelError

Ask = Callable[[str], str]
"""A prompt -> the reply of a chat model."""

FEWEST = 2
"""Fewer usable paraphrases than this, or than were asked for, and the reply is refused."""

_PROMPT = (
    "Write {count} paraphrases of the question below. Each must ask for exactly the same thing in other words, and be one "
    "complete question. Do not answer it. Reply with a numbered list and nothing else.\n\nQuestion: {question}"
)
_MARK = re.compile(r"^\s*(?:[-*•–]\s+|\**\(?\d{1,3}\s*[.):\-]\)?\**\s*)(?P<text>.*)$")
_AROUND = " \t*_`\"'“”„«»"


def read_list(reply: str) -> list[str]:
    """The items of a numbered or bulleted list, in order, without marks, emphasis and quotation marks; lines before
    and after the list are passed over, and a line that goes on with an item belongs to it. No list: every line that
    ends with a question mark.

    >>> read_list("Sure!\\n1. **Who wrote Faust?**\\n2) By whom was\\n   Faust written?\\n\\nShall I go on?")
    ['Who wrote Faust?', 'By whom was Faust written?']
    """
    items: list[str] = []
    open_item = False
    for line in reply.splitlines():
        if (match := _MARK.match(line)) and any(c.isalpha() for c in match["text"]):
            items.append(match["text"])
            open_item = True
        elif open_item and line[:1].isspace() and line.strip():
            items[-1] += " " + line.strip()
        else:
            open_item = False
    if not items:
        items = [line for line in reply.splitlines() if line.rstrip(_AROUND).endswith("?")]
    return [item.strip(_AROUND) for item in items if any(c.isalpha() for c in item)]


def paraphrase(
    rows: Sequence[ParaphraseRow],
    ask: Ask,
    count: int,
    out: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[ParaphraseRow]:
    """The rows with `count` paraphrases where they had none; `out`: the file that they are written to, also when this is
    interrupted: given as the data again, only what is missing is asked for.

    Copies of a question, and of each other, are dropped. Raises `DataError` where fewer than two (or `count`) are left
    of a reply.
    """
    if count < 1:
        raise DataError(f"{count} paraphrases make no group; ask for 1 or more")
    done = list(rows)
    todo = [i for i, row in enumerate(rows) if not row.paraphrases]
    seen = {question_digest(text) for row in rows for text in row.texts}
    failed: list[tuple[str, str]] = []
    try:
        for n, i in enumerate(todo, start=1):
            question = rows[i].question
            reply = ask(_PROMPT.format(count=count, question=question))
            found = distinct(read_list(reply), seen)[:count]
            if len(found) < min(FEWEST, count):
                failed.append((question, " ".join(reply.split())[:120]))
            else:
                done[i] = ParaphraseRow(question, tuple(found))
            if progress:
                progress(n, len(todo))
    finally:
        save_paraphrase_rows(out, done)
    if failed:
        question, reply = failed[0]
        raise DataError(
            f"{len(failed)} of {len(todo)} questions got fewer than {min(FEWEST, count)} paraphrases; the first is "
            f"{question!r}, the reply {reply!r}. {out} holds the others: write the missing ones there, or give it as the data "
            "with a stronger --paraphrase-with"
        )
    return done


def names_langchain(spec: str) -> bool:
    """Whether a spec has the form `provider:model` of LangChain, and is no file either."""
    return ":" in spec and not Path(spec).exists()


def asks_langchain(spec: str) -> Ask:
    """`provider:model`, as LangChain's `init_chat_model` takes it -> what asks that model. Raises `MissingExtraError`
    without langchain, and `ModelError` for a spec that it does not know or a call that fails."""
    try:
        from langchain.chat_models import init_chat_model
    except ImportError as error:
        raise MissingExtraError(
            f"{spec!r} is a model of LangChain, which is not installed; run: pip install 'hybridgrad-guardrail[agents]'"
        ) from error
    try:
        model = init_chat_model(spec)
    except Exception as error:  # a provider's package may be missing, a key, a name: each raises its own
        raise ModelError(f"LangChain cannot make {spec!r}: {' '.join(str(error).split())[:300]}") from error

    def ask(prompt: str) -> str:
        try:
            return str(model.invoke(prompt).text)
        except Exception as error:  # network, quota, refusal: the provider's own
            raise ModelError(f"{spec!r} gave no reply: {' '.join(str(error).split())[:300]}") from error

    return ask
