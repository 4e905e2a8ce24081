"""Questions -> disjoint parts, such that wordings of one question never straddle two."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

from guardrail.datasets.questions import QuestionRow, near_digest, question_digest
from guardrail.errors import DataError


def parse_parts(text: str) -> dict[str, float]:
    """`calibration=0.4,tune=0.3,test=0.3` -> shares, which must sum to 1. Raises `DataError`."""
    parts: dict[str, float] = {}
    for item in text.split(","):
        name, equals, share = (piece.strip() for piece in item.partition("="))
        try:
            value = float(share) if equals else math.nan
        except ValueError:
            value = math.nan
        if not name.replace("-", "").replace("_", "").isalnum() or not 0 < value < 1:
            raise DataError(
                f"{item.strip()!r} is no part; write name=share with a share between 0 and 1, such as test=0.3"
            )
        if name in parts:
            raise DataError(f"the part {name!r} comes twice; give each a name of its own")
        parts[name] = value
    if not math.isclose(total := sum(parts.values()), 1, abs_tol=1e-6):
        raise DataError(f"the shares sum to {total:g}; they must sum to 1")
    return parts


def split(rows: Sequence[QuestionRow], parts: Mapping[str, float], seed: int = 0) -> dict[str, list[QuestionRow]]:
    """Each part's rows, in their order. parts: names and shares, as `parse_parts` gives them.

    Rows go together when a wording of one (the question, one of its `paraphrases`) equals one of the other in plain form, or
    when their `group` is the same. Where a group goes depends on its wordings and the seed alone: not on the order of the rows,
    nor on other groups, so that a question stays in its part when the data grow; only a new row that joins a group may take it
    along to another part. Sizes are therefore near the shares, not equal to them.

    Raises `DataError` for a part that stays empty.
    """
    names, edges = list(parts), _edges(list(parts.values()))
    out: dict[str, list[QuestionRow]] = {name: [] for name in names}
    for row, group in zip(rows, groups_of(rows), strict=True):
        place = int(hashlib.sha256(f"{seed}:{group}".encode()).hexdigest()[:13], 16) / 16**13  # uniform in [0, 1)
        out[names[sum(place >= edge for edge in edges)]].append(row)
    if empty := [name for name, found in out.items() if not found]:
        raise DataError(
            f"the part {empty[0]!r} is empty: {len(rows)} questions are too few for its share of {parts[empty[0]]:g}; "
            "take more questions or larger shares"
        )
    return out


def groups_of(rows: Sequence[QuestionRow]) -> list[str]:
    """For each row the name of its group: the least digest among those of all wordings in it."""
    parent = list(range(len(rows)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[str, int] = {}
    digests: list[list[str]] = []
    for i, row in enumerate(rows):
        texts = (row.question, *row.extra.get("paraphrases", ()))
        digests.append([digest for text in texts for digest in (question_digest(text), near_digest(text))])
        keys = list(digests[i])
        if isinstance(group := row.extra.get("group"), str | int):
            keys.append(f"group {group}")
        for key in keys:
            parent[root(i)] = root(first.setdefault(key, i))
    least: dict[int, str] = {}
    for i, found in enumerate(digests):
        least[root(i)] = min([*found, *([least[root(i)]] if root(i) in least else [])])
    return [least[root(i)] for i in range(len(rows))]


def _edges(shares: Sequence[float]) -> list[float]:
    """Where each part but the last ends, in [0, 1]."""
    return [math.fsum(shares[: i + 1]) for i in range(len(shares) - 1)]
