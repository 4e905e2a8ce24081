"""A tiny model that says what a test wants, with real states, scores and confidences; for tests of claims on every surface."""

from __future__ import annotations

import re
from functools import cache

import torch
from transformers import LogitsProcessor, LogitsProcessorList

from guardrail import Guard, IsotonicCalibrator, Policy
from guardrail.calibration.provenance import ExtractorIdentity, Provenance
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.testing import tiny_local_model

ANSWER = (
    "Paris is large. Lyon has two rivers.\n\n- Nice lies by the sea.\n- Metz is old.\n\n"
    "Also, Brest is far away. Toulon has a port."
)
QUESTION = "What about France?"

RULES = """
version: 1
name: strict
rules:
  - {name: unscored, for: claim, when: {unscored: true}, then: drop}
  - {name: contradicted, for: claim, when: {support: contradicted}, then: drop}
  - {name: supported, for: claim, when: {support: supported}, then: keep}
  - {name: sure, for: claim, when: {confidence: {at_least: 0.5}}, then: keep}
  - {name: look, for: claim, when: {confidence: {below: 0.5}}, then: retrieve}
"""
STRICT = Policy.from_text(f"{RULES}  - {{name: any, then: answer}}\n", "strict")
"""Keeps the claims that are sure, looks up and drops the others; the whole is an answer."""


def ruled(*rules: str) -> Policy:
    """STRICT with rules for the whole."""
    return Policy.from_text(RULES + "".join(f"  - {rule}\n" for rule in rules), "strict")


class _Script(LogitsProcessor):
    def __init__(self, ids, prompt):
        self.ids, self.prompt = ids, prompt

    def __call__(self, input_ids, scores):
        forced = torch.full_like(scores, -torch.inf)
        forced[:, self.ids[input_ids.shape[1] - self.prompt]] = 0.0
        return forced


def scripted(answer=ANSWER):
    """A local model that answers so whatever it is asked."""
    local = tiny_local_model(max_position_embeddings=512)
    local.tokenizer.add_tokens(re.findall(r"\s*\w+", answer))  # words are tokens, so that an answer takes few steps
    ids = [*local.encode_response(answer), *[local.eos_ids[0]] * 2]
    generate = local.model.generate

    def says(*, input_ids, logits_processor, **options):
        script = _Script(ids, input_ids.shape[1])
        return generate(
            input_ids=input_ids, logits_processor=LogitsProcessorList([*logits_processor, script]), **options
        )

    local.model.generate = says
    return local


france = cache(scripted)


def provenance(local, extractor=None, **changed):
    scorer = HybridGradScorer(local)
    return Provenance(**{
        "model": local.identity, "scorer": scorer.name, "profile": scorer.options, "prompt": "{question}", "system": None,
        "data": "x", "n": 100, "accuracy": 0.5, "created": "2026-01-01", "command": "test", "versions": {},
        "grader": "exact", "generation": {"max_new_tokens": 300}, "extractor": extractor, **changed,
    })  # fmt: skip


SENTENCES = ExtractorIdentity(name="sentences", options={"language": "en"})


def fitted(local, bound, extractor=SENTENCES, **changed):
    """Sure of scores below `bound`, unsure of those above."""
    scores = [bound * (0.2 + i / 100) for i in range(50)] + [bound * (1.3 + i / 100) for i in range(50)]
    correct = [i % 10 != 0 for i in range(50)] + [i % 10 == 0 for i in range(50)]
    return IsotonicCalibrator().fit(
        scores, correct, provenance=provenance(local, extractor, **changed), unit="claim" if extractor else "answer"
    )


@cache
def scores_of(local):
    """The claims' scores in the finished answer."""
    calibrator = fitted(local, 1.0)
    verdict = Guard(model=local, policy=STRICT, claim_calibrator=calibrator).answer(QUESTION)
    return [claim.score.hybridgrad for claim in verdict.claims]


@cache
def half_sure(local):
    """Sure of about half of the claims of what the model says."""
    scores = sorted(scores_of(local))
    return fitted(local, (scores[len(scores) // 2 - 1] + scores[len(scores) // 2]) / 2)


def guarded(local, policy=STRICT, **options):
    return Guard(model=local, policy=policy, claim_calibrator=half_sure(local), **options)
