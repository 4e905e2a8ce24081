"""Trace -> Score: HybridGrad (arXiv 2605.04638, eq. 4 to 6) by the closed forms and one short backward pass.

Knows nothing about calibration; what cannot be scored comes back as an unscored Score, never as a number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from torch import nn

from guardrail.errors import ScoringError
from guardrail.model import chat
from guardrail.model.local import LocalModel
from guardrail.model.recording import Keep
from guardrail.scoring.gradient_pass import GradientPass, Pair, TooBigError, row_of_ids, too_big
from guardrail.scoring.gradients import Readout, Span
from guardrail.scoring.profile import Band, Profile, Reduction, band_start
from guardrail.scoring.protocol import RegisteredScorer
from guardrail.scoring.suffix import Row
from guardrail.types import Score, Trace


class HybridGradScorer(GradientPass, RegisteredScorer):
    """Scores answers of one model by eq. 6 of arXiv 2605.04638; higher = more uncertain.

    The model is left exactly as it was after each call.

    Args:
        model: A transformers causal language model, or a `LocalModel`.
        tokenizer: Whose chat template names the semantic token; a `LocalModel` has one.
        semantic_token: t* as a negative offset from the prompt's end (-1 = its last token); None derives it from the
            tokenizer's chat template.
        reduction: J is the mean or the sum over the response tokens.
        band: Layers whose hidden states SemGrad reads; see `Profile`.
        tau: Appendix D.3: alpha = exp(-mean entropy / tau).
        beta: Appendix D.3: the weight of ParaGrad.
        profile: All options at once, as a calibrator records them, in place of the keywords.
        tokens_per_pass: Padded tokens of one batched pass, which bounds its memory.

    Raises:
        ScoringError: For options that make no sense.
        UnsupportedModelError: For a model that cannot be scored.
    """

    name = "hybridgrad"

    def __init__(
        self,
        model: nn.Module | LocalModel,
        tokenizer: Any = None,
        *,
        semantic_token: int | None = None,
        reduction: Reduction = "mean",
        band: Band = "code",
        tau: float = 1.0,
        beta: float = 1.0,
        profile: Profile | None = None,
        tokens_per_pass: int = 4096,
    ) -> None:
        super().__init__(model, tokens_per_pass=tokens_per_pass)
        if profile is None:
            own = model if tokenizer is None and isinstance(model, LocalModel) else None
            token, source = _token(semantic_token, tokenizer, own)
            try:
                profile = Profile(token=token, token_source=source, band=band, reduction=reduction, tau=tau, beta=beta)
            except ValueError as error:
                raise ScoringError(_reasons(error)) from error
        self.profile = profile
        self._first_layer = band_start(profile.band, len(self.anatomy.layers))
        self.prove(self._first_layer)

    @property
    def options(self) -> dict[str, Any]:
        """The profile, JSON-ready."""
        return self.profile.model_dump(mode="json")

    @property
    def keep(self) -> Keep:
        """What generation should keep so that scoring need not compute it again."""
        return Keep(self._first_layer, self.profile.token)

    @classmethod
    def from_options(cls, options: Mapping[str, Any], model: LocalModel) -> Self:
        return cls(model, profile=Profile.model_validate(options))

    def score(self, prompt_ids: Sequence[int], response_ids: Sequence[int]) -> Score:
        """The score of one response to one prompt, both as token ids; the end-of-turn token belongs to the response."""
        return self.score_batch([(prompt_ids, response_ids)])[0]

    def score_batch(self, pairs: Sequence[Pair]) -> list[Score]:
        """The scores of (prompt ids, response ids) pairs of any lengths, in order; each as `score` would give it."""
        return self._score([row_of_ids(pair) for pair in pairs])

    def score_trace(self, trace: Trace) -> Score:
        """The score of what a model generated, using what generation kept."""
        return self.score_traces([trace])[0]

    def score_traces(self, traces: Sequence[Trace]) -> list[Score]:
        return self._score(self.rows_of(traces), traces)

    def _score(self, rows: Sequence[Row], traces: Sequence[Trace | None] | None = None) -> list[Score]:
        scores: list[Score | None] = [
            self.unscorable(row, trace, [self.profile.token])
            for row, trace in zip(rows, traces or [None] * len(rows), strict=True)
        ]
        todo = [i for i, score in enumerate(scores) if score is None]
        for chunk in self.groups([rows[i] for i in todo]):
            read = self.read if traces is None else self.read_what_fits
            readouts = read([rows[todo[j]] for j in chunk], [self.profile.token], self._first_layer)
            for i, readout in zip((todo[j] for j in chunk), readouts, strict=True):
                found = readout and self._from_readout(readout, len(rows[i].response_ids))
                scores[i] = found or too_big(rows[i], self.name)
        return [s for s in scores if s is not None]

    def score_spans(self, traces: Sequence[Trace], spans: Sequence[Sequence[Span]]) -> list[list[Score]]:
        """The scores of parts of answers: for each trace those of its spans, each `response_ids[start:end]`.

        J is restricted to the span's tokens; everything before the span acts as it did. Where the answer as a whole cannot
        be scored, none of its spans is. Raises `ScoringError` for a span that is not within the response.
        """
        scores = []
        for row, trace, parts in zip(self.rows_of(traces), traces, spans, strict=True):
            refused = self.unscorable(row, trace, [self.profile.token])
            if refused is not None:
                scores.append([replace(refused, length=max(0, end - start)) for start, end in parts])
                continue
            try:
                readouts = self.read_spans(row, parts, [self.profile.token], self._first_layer)
            except TooBigError:
                refused = too_big(row, self.name)
                scores.append([replace(refused, length=end - start) for start, end in parts])
                continue
            scores.append([self._from_readout(r, e - s) for r, (s, e) in zip(readouts, parts, strict=True)])
        return scores

    def _from_readout(self, readout: Readout, length: int) -> Score:
        return combine(readout.semgrad.mean().item(), readout, length, self.profile)


def combine(semgrad: float, readout: Readout, length: int, profile: Profile) -> Score:
    """The Score of a readout under a profile. semgrad: of the profile's token and band, mean reduction."""
    factor = length if profile.reduction == "sum" else 1
    entropy = readout.entropies.double().mean().item()
    numbers = (
        semgrad * factor,
        readout.paragrad * factor,
        entropy,
        -readout.log_probs.double().sum().item(),
    )
    fault = readout.fault()
    if fault is None and not all(map(math.isfinite, numbers)):
        fault = "NaN or infinity in a part of the score"
    number = math.nan if fault else profile.combine(*numbers[:3])
    if fault is None and not math.isfinite(number):
        fault = f"HybridGrad is {number}"
    if fault is not None:
        return Score.none("not_finite", fault, length=length)
    return Score(number, *numbers, length=length)


def paper_profile(local: LocalModel) -> Profile:
    """The paper's formula, eq. 6 at the chat template's token: the prior of every choice."""
    token = local.semantic_token
    return Profile(token=token.offset, token_source=token.source)


def _token(given: int | None, tokenizer: Any, local: LocalModel | None) -> tuple[int, str]:
    if given is not None:
        return given, "given"
    if tokenizer is None and local is None:
        raise ScoringError("give a tokenizer, whose chat template names the semantic token, or semantic_token=-N")
    found = chat.semantic_token(tokenizer) if local is None else local.semantic_token
    return found.offset, found.source


def _reasons(error: ValueError) -> str:
    errors = getattr(error, "errors", None)
    if errors is None:
        return str(error)
    return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']} (got {e['input']!r})" for e in errors())
