"""One pass's readout -> the named numbers that are stacked. Each is higher where the model is less sure, and never negative.

| name | unit | what |
| --- | --- | --- |
| new_nll | nats | -log p, summed over the tokens of the new words |
| new_entropy | nats | entropy, summed over the same tokens |
| least_likely_word | nats | -log p of the new word that has most of it, summed over its tokens |
| nll_mean, nll_max | nats | -log p of the tokens, all of them: mean, and the least likely one's |
| paragrad | | eq. 5 of arXiv 2605.04638, J the mean over tokens |
| semgrad[-6] | | eq. 4 at the token 6 from the prompt's end, band "code", J the sum over tokens; -1 is the last one |
| score[NAME] | | the number of another scorer, by its name |
| probe | nats | log-odds of being wrong, by a probe on the states at the answer's words that the question does not have |
| evidence.NAME | | of an answer with passages in its prompt: see `evidence.py` |
| thinking.NAME | | of an answer that was thought about: see `thinking.py` |

A new word is one that the question does not hold and the model does not use all the time. Where an answer has none (it only
repeats the question), every token counts as new: an answer that says nothing is no sure one. A claim has the same numbers of
its own tokens and, as "so_far.new_nll" and so on, the first five of the answer from its beginning to the end of the claim: what
comes behind a claim takes no part, so a streamed answer's claims have the scores that they have in the end. Knows nothing about
weights.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from guardrail.errors import ScoringError
from guardrail.scoring.stacked.evidence import NAMES as OF_EVIDENCE
from guardrail.scoring.stacked.evidence import PREFIX as EVIDENCE
from guardrail.scoring.stacked.evidence import EvidenceReading, evidence_features
from guardrail.scoring.stacked.thinking import NAMES as OF_THINKING
from guardrail.scoring.stacked.thinking import PREFIX as THINKING
from guardrail.scoring.stacked.thinking import thinking_features
from guardrail.scoring.stacked.words import Word, within
from guardrail.scoring.states.model import StateProbe

OF_TOKENS = ("new_nll", "new_entropy", "least_likely_word", "nll_mean", "nll_max")
SO_FAR = "so_far."
PROBE = "probe"
_SEMGRAD = re.compile(r"semgrad\[(-[1-9]\d*)\]")
_SCORE = re.compile(r"score\[(.+)\]")


State = tuple[int, NDArray[np.float64]]
"""A layer, and what entered it, (D,)."""


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """T tokens of an answer: its words with their tokens; entropies and log_probs, nats, (T,).

    words: None in records of versions that did not keep them.
    """

    words: tuple[Word, ...] | None
    entropies: NDArray[np.float64]
    log_probs: NDArray[np.float64]

    def part(self, start: int, end: int) -> Tokens:
        """Those of `response_ids[start:end]`."""
        words = None if self.words is None else within(self.words, start, end)
        return Tokens(words, self.entropies[start:end], self.log_probs[start:end])


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What one pass told about one answer, or about one claim of it.

    asked: the words of what was asked, casefolded. paragrad, semgrad: J the mean over `tokens`; semgrad by prompt token, as an
    offset from the prompt's end, of the band "code". so_far: for a claim, the answer up to its end. text_band: semgrad of the
    band "text", where the model has one. scores: the numbers of other scorers, by name; None where one has none. evidence: of
    an answer with passages in its prompt; their words are not among the asked ones then. state: a layer,
    and what entered it at the end of the prompt, (D,); answer_state: the mean of what entered it at the answer's words that the
    question does not have; None where a record does not hold it. thought: the entropies of the thinking before a whole answer,
    nats, (K,); None where there was none, or they were not measured.
    """

    tokens: Tokens
    asked: Collection[str]
    paragrad: float
    semgrad: Mapping[int, float]
    so_far: Tokens | None = None
    text_band: Mapping[int, float] = field(default_factory=dict)
    scores: Mapping[str, float | None] = field(default_factory=dict)
    evidence: EvidenceReading | None = None
    state: State | None = None
    answer_state: State | None = None
    thought: NDArray[np.float64] | None = None


def features(reading: Reading, common: Collection[str], probe: StateProbe | None = None) -> dict[str, float]:
    """All features of a reading by name.

    common: the words that the model uses all the time, casefolded. probe: says something of an answer whose states were kept.
    """
    length = len(reading.tokens.log_probs)
    out = {
        **_of_tokens(reading.tokens, reading.asked, common),
        "paragrad": reading.paragrad,
        **{f"semgrad[{token}]": value * length for token, value in reading.semgrad.items()},
        **{score_feature(name): value for name, value in reading.scores.items() if value is not None},
    }
    if probe is not None and reading.answer_state is not None and reading.answer_state[0] == probe.layer:
        out[PROBE] = float(probe.numbers(reading.answer_state[1][None])[0])
    if reading.evidence is not None:
        new, at = _new(reading.tokens, reading.asked, common)
        out |= evidence_features(reading.evidence, reading.asked, new, at)
    if reading.thought is not None and len(reading.thought):
        out |= thinking_features(reading.thought)
    if reading.so_far is not None:
        so_far = _of_tokens(reading.so_far, reading.asked, common)
        out |= {f"{SO_FAR}{name}": value for name, value in so_far.items()}
    return out


def _of_tokens(tokens: Tokens, asked: Collection[str], common: Collection[str]) -> dict[str, float]:
    if tokens.words is None:
        raise ScoringError(
            "these answers were collected without their tokens' texts, which the stacked scorer needs; ask again, with "
            "--no-cache and without --resume"
        )
    nll, length = -tokens.log_probs, len(tokens.log_probs)
    new, at = _new(tokens, asked, common)
    spans = [slice(w.start, w.end) for w in new] or [slice(t, t + 1) for t in range(length)]
    return {
        "new_nll": float(nll[at].sum()),
        "new_entropy": float(tokens.entropies[at].sum()),
        "least_likely_word": max(float(nll[span].sum()) for span in spans),
        "nll_mean": float(nll.mean()),
        "nll_max": float(nll.max()),
    }


def _new(tokens: Tokens, asked: Collection[str], common: Collection[str]) -> tuple[list[Word], NDArray[np.bool_]]:
    """The new words, and which tokens they have, (T,): all, where no word is new."""
    new = [w for w in tokens.words or () if w.text not in asked and w.text not in common]
    at = np.full(len(tokens.log_probs), not new, dtype=np.bool_)
    for word in new:
        at[word.start : word.end] = True
    return new, at


def prompt_tokens(names: Sequence[str]) -> list[int]:
    """The prompt tokens whose SemGrad these features read, ascending."""
    return sorted({int(match[1]) for match in map(_SEMGRAD.fullmatch, names) if match})


def score_feature(scorer: str) -> str:
    """The name of the feature that is another scorer's number."""
    return f"score[{scorer}]"


def scorers_in(names: Sequence[str]) -> list[str]:
    """The other scorers whose numbers these features are."""
    return [match[1] for match in map(_SCORE.fullmatch, names) if match]


def exists(name: str) -> bool:
    """Whether a feature of that name can be read."""
    of_tokens = name.removeprefix(SO_FAR) in OF_TOKENS or name in ("paragrad", PROBE)
    of_evidence = name.startswith(EVIDENCE) and name.removeprefix(EVIDENCE) in OF_EVIDENCE
    of_thinking = name.startswith(THINKING) and name.removeprefix(THINKING) in OF_THINKING
    return of_tokens or of_evidence or of_thinking or any(pattern.fullmatch(name) for pattern in (_SEMGRAD, _SCORE))
