"""Claims -> the passages that may settle them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from guardrail.deadlines import sooner
from guardrail.retrieval import Retriever, find_evidence

if TYPE_CHECKING:
    from guardrail.types import Claim, Evidence

_PRONOUN = re.compile(
    r"[\s\W]*(?:it|its|he|his|she|hers?|they|their|theirs|this|that|these|those|there|here|such|both)\b", re.IGNORECASE
)


def evidence_for(
    retriever: Retriever, claims: Sequence[Claim], question: str, k: int, *, seconds: float | None = None
) -> list[tuple[Evidence, ...]]:
    """At most `k` passages for each claim, in order, best first; one search for each different query.

        found = evidence_for(load_retriever("notes/"), claims.claims, "Tell me about Japan.", k=1)

    seconds: how long to wait for one search; None waits for ever.

    Raises `RetrievalError` for whatever goes wrong in the retriever, as `find_evidence` does.
    """
    found: dict[str, tuple[Evidence, ...]] = {}
    for query in (query_for(claim, question) for claim in claims):
        if query not in found:
            found[query] = find_evidence(retriever, query, k, seconds=sooner(seconds))
    return [found[query_for(claim, question)] for claim in claims]


def query_for(claim: Claim, question: str) -> str:
    """What to search for: the claim, with the question in front where it does not name what it speaks of itself.

    That is where it begins with a pronoun or a word that points, and where it is a table's row or an item that is no sentence,
    whose subject may stand in a heading. A sentence is searched for as it is, since a question that asks for many things would
    drown it. English pronouns only: in another language a claim is searched for as it is.

    >>> query_for(Claim("It has 14 million people.", 0, 25), "Tell me about Tokyo.")
    'Tell me about Tokyo. It has 14 million people.'
    """
    text = " ".join(claim.text.split())
    fragment = claim.kind == "row" or (claim.kind == "item" and not text.endswith((".", "!", "。")))
    pointing = fragment or _PRONOUN.match(text)
    return " ".join(f"{question} {text}".split()) if pointing and text else text
