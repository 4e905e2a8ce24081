"""Texts that break readers: every shape of Markdown, white space, scripts and invisible characters, put together by chance.

`python -m tests.helpers.hostile_text 20000` says what so many came to, and counts the letters and digits that no claim and no
aside holds, what is shown of dropped claims, and kept texts that changed.
"""

from __future__ import annotations

import random
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import count

FRAGMENTS = (
    "Paris is big.", "Lyon", "It was 1868.", "1. ", "2. ", "10.", "3) ", "a) ", "(1) ", "- ", "* ", "• ", "[x] ", "- [ ] ",
    "> ", ">> ", "# ", "## ", "```", "```py\n", "~~~", "`c`", "``", "    code line", "\\", "\t", " ", " ", "\n", "\n\n", "\r",
    "\r\n", "\u00a0", "\u3000", "\u2028", "\u2029", "\x85", "\x0c", "\x0b", "\x1c", "\x1d", "\x1e", "\x1f", "\u1680", "\u2003",
    "\u2009", "\u205f", "\u202f", "\0", "\ufeff", "\u00ad", "\u200b", "\u202e", "\u2066", "\U000e0041", "\ud800", "\udc00",
    "e\u0301" * 3, "①", "½", "🙂", "<div>", "</div>", "<!-- x -->", "<b>bold</b>", "<![CDATA[a]]>", "<?p x?>",
    "| a | b |\n|---|---|\n| 1 | 2 |", "|---|", "| x |", "[a]: http://x.de 'T'", "[^1]: Note one.", "[^1]", "![i](u)",
    "[l](http://a.b)", "<http://x.y>", "===", "---", "***", "___", "&amp;", "&#65;", "$x^2$", "\\(a\\)", "$$", "**b**", "*",
    "_", "~~x~~", "^", "「東京は大きい。」", "『はい』", "『東京。", "“Yes.”", "«Oui.»",
    "مرحبا بالعالم.", "שלום עולם.", "Why?", "Sure!", "Note: ",
    ". ", "? ", "! ", "：", "。", "Dr. ", "e.g. ", "1", "a", "Z9",
)  # fmt: skip


def answers(chance: random.Random, n: int) -> Iterator[str]:
    """As many texts of one to thirteen fragments, or characters from all of Unicode."""
    for _ in range(n):
        yield "".join(
            chance.choice(FRAGMENTS) if chance.random() < 0.9 else chr(chance.choice([0x3000, 0x110000]) - 1 - i)
            for i in (chance.randrange(0x2FE0) for _ in range(chance.randrange(1, 14)))
        )


def with_unique_words(text: str) -> str:
    """Every word of Latin letters becomes one that occurs once, such as `Pqbx`."""
    numbers = count()
    spelt = str.maketrans("0123456789", "abcdefghij")
    return re.sub(r"[A-Za-z]{2,}", lambda m: f"{m[0][0]}q{str(next(numbers)).translate(spelt)}x", text)


def main(n: int, seed: int = 0) -> None:
    """Print how many texts were tried and what was found."""
    from guardrail.actions.rewriting.rewrite import rewrite
    from guardrail.claims import SentenceClaims
    from guardrail.claims.complete import unread
    from guardrail.types import ClaimDecision, Confidence, JudgedClaim, Score

    chance = random.Random(seed)
    left = shown = errors = changed = 0
    came_to: Counter[str] = Counter()
    for answer in map(with_unique_words, answers(chance, n)):
        try:
            taken = SentenceClaims().extract(answer)
            left += bool(unread(answer, taken))
            came_to.update([c.kind for c in taken.claims] + [a.reason for a in taken.asides] or ["nothing"])
            kept = [
                JudgedClaim(
                    claim, 0, 1, Score.none("not_finite"), Confidence.none("none"), ClaimDecision("keep", "", "")
                )
                for claim in taken.claims
            ]
            changed += rewrite(answer, kept, taken.asides).text != answer
            judged = [
                replace(claim, decision=ClaimDecision(chance.choice(("keep", "hedge", "drop")), "", ""))
                for claim in kept
            ]
            text = rewrite(answer, judged, taken.asides).text
            gone = [w for j in judged if j.action == "drop" for w in re.findall(r"[A-Za-z]q[a-j]+x", j.claim.text)]
            shown += any(word in text for word in gone)
        except Exception as error:  # counted: none may leave an extractor or the rewriting
            errors += 1
            sys.stdout.write(f"{error!r} {answer!a}\n")
    sys.stdout.write(
        f"{n} texts, seed {seed}: {left} with unread text, {shown} that show a dropped claim, {changed} that changed with "
        f"nothing dropped, {errors} errors\n"
        f"they came to: {', '.join(f'{k} {what}' for what, k in came_to.most_common())}\n"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
