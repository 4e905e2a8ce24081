"""Answers with their claims marked in them: `‹drop Paris is large.›` is a claim, `«heading Cities»` an aside.

An action may carry a probability (`hedge41`) and a kind (`drop/atomic`).
"""

from __future__ import annotations

import re

from guardrail.calibration.labels import label_for
from guardrail.types import Aside, Claim, ClaimDecision, Confidence, JudgedClaim, Score

SCORED = Score(hybridgrad=2e-4, semgrad=2e-4, paragrad=1e-4, entropy=3.9, nll=7.1, length=4)
_MARK = re.compile(r"‹(keep|hedge|drop|retrieve)(\d*)(?:/(\w+))? (.*?)›|«(\w+) (.*?)»", re.DOTALL)


def judged(
    answer: str,
    start: int,
    end: int,
    action: str,
    p: float | None = 0.41,
    kind: str = "sentence",
    say: str | None = None,
) -> JudgedClaim:
    """A claim with a decision; tokens play no part in rewriting."""
    confidence = Confidence.none("no calibrator") if p is None else Confidence(p, p, p, label_for(p))
    decision = ClaimDecision(action, "a rule", "because", say)  # type: ignore[arg-type]
    return JudgedClaim(Claim(answer[start:end], start, end, kind), 0, 1, SCORED, confidence, decision)  # type: ignore[arg-type]


def marked(text: str) -> tuple[str, list[JudgedClaim], list[Aside]]:
    """The answer without the marks, its claims and its asides."""
    answer, at = "", 0
    found: list[tuple[int, int, re.Match[str]]] = []
    for match in _MARK.finditer(text):
        answer += text[at : match.start()]
        inner = match[4] if match[1] else match[6]
        found.append((len(answer), len(answer) + len(inner), match))
        answer += inner
        at = match.end()
    answer += text[at:]
    claims = [
        judged(answer, s, e, m[1], int(m[2]) / 100 if m[2] else 0.41, m[3] or "sentence") for s, e, m in found if m[1]
    ]
    asides = [Aside(m[6], s, e, m[5]) for s, e, m in found if not m[1]]  # type: ignore[arg-type]
    return answer, claims, asides
