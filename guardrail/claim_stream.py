"""Judges each claim of an answer while the answer is being generated, and hands on what may be shown of it so far.

A claim is judged once the text behind it shows that it is complete, on the states that generation has kept until then; its
score is the one it has in the finished answer, since nothing behind a claim acts on it. What has been handed on is never
changed: rules on the whole answer come too late for it. Knows nothing about LangChain.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from guardrail.actions.rewrite import rewrite
from guardrail.types import Claim, Claims, JudgedClaim, Verdict

if TYPE_CHECKING:
    from guardrail.case import Case
    from guardrail.claim_stage import ClaimStage
    from guardrail.model.stopping import Snapshot

LOOKAHEAD = 12
"""Characters that must follow a claim: "Dr." may end a sentence, until " Who" follows."""


class ClaimStream:
    """An `on_step` of one generation, for one case of a Guard. emit: called with every piece that may be shown.

    Joined, the pieces and `rest(verdict)` are `verdict.text`, unless a rule on the whole answer changed it (`verdict.action`
    is not "answer"), or the answer's end made an earlier claim another one.
    """

    def __init__(self, emit: Callable[[str], None]) -> None:
        self._emit = emit
        self._stage: ClaimStage | None = None
        self._case: Case | None = None
        self._judged: dict[Claim, JudgedClaim] = {}
        self._length = 0
        self.sent = ""

    def begin(self, stage: ClaimStage, case: Case) -> None:
        """What the claims are judged by; called by the Guard before the generation starts."""
        self._stage, self._case = stage, case
        case.known = self._judged

    def __call__(self, rows: list[list[int]], snapshot: Snapshot) -> None:
        stage, case = self._stage, self._case
        if stage is None or case is None:
            return
        text: str = stage.model.tokenizer.decode(rows[0], skip_special_tokens=True).strip()
        if len(text) < self._length + LOOKAHEAD:  # nothing can have become complete
            return
        taken = stage.extractor.extract(text, question=case.query)
        complete = _complete(taken, len(text))
        if all(claim in self._judged for claim in complete.claims):
            return
        self._length = complete.claims[-1].end
        with snapshot() as traces:
            judged, _ = stage.judge(
                traces[0],
                question=case.query,
                unlike=case.unlike_claims,
                searching=case.searching,
                taken=Claims(complete.claims),
                known=self._judged,
            )
        self._judged.update((claim.claim, claim) for claim in judged)
        self._send(rewrite(text[: self._length], judged, complete.asides).text)

    def rest(self, verdict: Verdict) -> str:
        """What is left to show once the verdict is there: nothing of an answer that the policy holds back."""
        if not self.sent:
            return verdict.text
        if verdict.action == "abstain":
            return ""
        whole = rewrite(verdict.answer, verdict.claims, verdict.asides)
        if whole.text.startswith(self.sent):
            return whole.text[len(self.sent) :]
        # the end made another claim of an earlier one: what was not shown yet follows, claim by claim
        later = [c.shown for c in whole.claims if c.claim not in self._judged and c.shown]
        return "".join(f" {text}" for text in later)

    def kept_its_word(self, verdict: Verdict) -> bool:
        """Whether what was shown is what the policy made of the answer, so that nothing came too late."""
        return self.sent + self.rest(verdict) == verdict.text

    def _send(self, text: str) -> None:
        if text.startswith(self.sent) and len(text) > len(self.sent):
            new, self.sent = text[len(self.sent) :], text
            self._emit(new)


def _complete(taken: Claims, length: int) -> Claims:
    """The claims that enough text follows, and the asides between them."""
    claims = tuple(c for c in taken.claims if c.end + LOOKAHEAD <= length)
    end = claims[-1].end if claims else 0
    return Claims(claims, tuple(a for a in taken.asides if a.end is not None and a.end <= end))
