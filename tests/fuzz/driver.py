"""Mutated inputs -> readers, by a fixed seed; an input with an outcome that was not seen before is mutated further.

An outcome is what a target tells: the class and wording of a refusal without its values, or the shape of what was read. Knows
nothing about what is read. A fault is any error that a target does not expect, and more than two seconds of one processor.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

SLOWEST = 2.0  # seconds of one processor for one input
_MOST = 600  # inputs that are mutated further
_LONGEST = 4000  # bytes
_VALUES = re.compile(r"'[^']*'|\"[^\"]*\"|\d+")
_ODD = [  # what every reader must bear, beside a target's own pieces
    b"", b"\x00", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\r\n", b"\n", b"\n\n", b"\t", b" ", b"\xe2\x80\xa8",
    b"\xc2\xa0", b"\xe3\x80\x80", b"\xe2\x80\x8b", b"\xe2\x80\xae", b"\\ud800", b"\\u0000", b"NaN", b"Infinity", b"-1",
    b"0", b"1e999", b"1e-9", b"true", b"null", b"[]", b"{}", b"[" * 400, b"[" * 1500, b'{"a":' * 200, b"9" * 5000, b'"',
    b"'", b"\\", b",", b":", b"a" * 1000, b"\xf0\x9f\x8e\x89", b"e\xcc\x81\xcc\x81",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Target:
    """What is fuzzed.

    name: what the command line calls it. read: takes bytes, returns the outcome, raises for a fault. corpus: valid inputs to
    begin with. pieces: of its grammar, put in here and there. share: how many of 1000 inputs of a run are for it.
    """

    name: str
    read: Callable[[bytes], str]
    corpus: Sequence[bytes]
    pieces: Sequence[bytes]
    share: int


@dataclass(frozen=True, slots=True)
class Fault:
    """An input that a target failed on."""

    target: str
    data: bytes
    error: str

    def __str__(self) -> str:
        return f"{self.target}: {self.error}: {self.data[:200]!r}"


@dataclass(slots=True)
class Findings:
    """What came of a target's inputs. slowest: seconds of one processor."""

    inputs: int = 0
    outcomes: set[str] = field(default_factory=set)
    faults: list[Fault] = field(default_factory=list)
    slowest: float = 0.0


def outcome_of(error: BaseException) -> str:
    """An error's class and wording, without what it quotes."""
    return f"{type(error).__name__}: {_VALUES.sub('_', str(error))[:80]}"


def mutated(rng: random.Random, data: bytes, other: bytes, pieces: Sequence[bytes]) -> bytes:
    """One to four changes: a piece put in, a part cut, doubled or replaced, a byte changed, lines moved or taken over."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        a, b = sorted((rng.randint(0, len(data)), rng.randint(0, len(data))))
        b = min(b, a + rng.choice((1, 4, 16, 64, 1000)))
        match rng.randrange(9):
            case 0 | 1:
                data = data[:a] + rng.choice(pieces) + data[a:]
            case 2:
                data = data[:a] + rng.choice(pieces) + data[b:]
            case 3:
                data = data[:a] + data[b:]
            case 4:
                data = data[:b] + data[a:b] * rng.choice((1, 1, 2, 50)) + data[b:]
            case 5:
                data = data[:a] + bytes([rng.randrange(256)]) + data[a + 1 :]
            case 6:
                lines, theirs = data.split(b"\n"), other.split(b"\n")
                lines.insert(rng.randint(0, len(lines)), rng.choice(theirs))
                data = b"\n".join(lines)
            case 7:
                data = data[:a] + other[a:]
            case _:
                lines = data.split(b"\n")
                rng.shuffle(lines)
                data = b"\n".join(lines)
    return data[:_LONGEST]


def fuzz(target: Target, *, inputs: int | None = None, seconds: float | None = None, seed: int = 0) -> Findings:
    """Give a target so many inputs, or as many as fit into the time; the corpus itself comes first."""
    rng = random.Random(f"{target.name} {seed}")
    found, kept = Findings(), list(target.corpus)
    pieces = [*target.pieces, *target.pieces, *_ODD]
    queue = list(target.corpus)
    end = None if seconds is None else time.monotonic() + seconds
    while (inputs is None or found.inputs < inputs) and (end is None or time.monotonic() < end):
        data = queue.pop() if queue else mutated(rng, rng.choice(kept), rng.choice(kept), pieces)
        found.inputs += 1
        began = time.thread_time()
        try:
            outcome = target.read(data)
        except Exception as error:  # a fault of whatever kind
            outcome = outcome_of(error)
            if outcome not in found.outcomes:
                found.faults.append(Fault(target.name, data, outcome))
        spent = time.thread_time() - began
        found.slowest = max(found.slowest, spent)
        if spent > SLOWEST:
            found.faults.append(Fault(target.name, data, f"took {spent:.1f} s"))
        if outcome not in found.outcomes:
            found.outcomes.add(outcome)
            kept.append(data)
            if len(kept) > _MOST:
                kept.pop(len(target.corpus))
    return found
