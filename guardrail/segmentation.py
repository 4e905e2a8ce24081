r"""Where words begin and end, in every script.

Runs of letters, digits and underscores (`\w+`), with the marks that stand on them (an Indic vowel sign, a Thai tone). Chinese,
Japanese, Thai, Lao, Khmer and Burmese are written without spaces: a run that holds some of theirs is cut into words by the
rules and dictionaries of ICU (UAX 29). Those know everyday words; a name that they do not know falls into shorter pieces, of
single characters in Chinese. Nothing is lemmatised: 東京は is 東京 and は, but a German genitive stays another word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from guardrail.folding import marks

_RUN = re.compile(rf"\w(?:[\w\u200c\u200d{marks()}]*[\w{marks()}])?")
_UNSPACED = re.compile(
    "[\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f"  # Burmese, Shan
    "\u1780-\u17ff"  # Khmer
    "\u1950-\u19df\u1a20-\u1aaf\uaa80-\uaadf"  # Tai Le, New Tai Lue, Tai Tham, Tai Viet
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # Japanese kana and iteration marks
    "\u3100-\u312f\u31a0-\u31bf"  # Bopomofo
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"  # Han
)


def word_spans(text: str) -> Iterator[tuple[int, int]]:
    """The places of a text's words, in characters, in order.

    >>> [text[a:b] for text in ["It's in Suva.", "东京是日本的首都"] for a, b in word_spans(text)]
    ['It', 's', 'in', 'Suva', '东京', '是', '日本', '的', '首都']
    """
    for run in _RUN.finditer(text):
        if not _UNSPACED.search(run[0]):
            yield run.span()
            continue
        start = run.start()
        for part in _cut(run[0]):
            yield start, start + len(part)
            start += len(part)


def words_in(text: str) -> list[str]:
    """The words of a text as they stand there, in order."""
    return [text[start:end] for start, end in word_spans(text)]


def _cut(run: str) -> Iterator[str]:
    from icu4py.breakers import WordBreaker  # loads ICU's dictionaries, for the scripts that need them alone

    yield from WordBreaker(run, "und")  # what it iterates over, not its offsets: those count UTF-16 units
