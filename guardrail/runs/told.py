"""Answers of a model behind an endpoint -> records, with what it told of their tokens in the place of a pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from guardrail.model.remote.spelling import END
from guardrail.runs.readings import record_of
from guardrail.scoring.scorable import unscorable
from guardrail.scoring.stacked.words import token_pieces
from guardrail.scoring.suffix import Row

if TYPE_CHECKING:
    from guardrail.model.local import LocalModel
    from guardrail.runs.scorer_pass import ScorerPass
    from guardrail.types import Trace


def told(trace: Trace, scorers: ScorerPass, local: LocalModel) -> dict[str, Any]:
    """The record of an answer, with the log-probabilities of its tokens where the endpoint told them.

    Where nothing else scores it (`scorers`), an answer without them is unscored: they are what its number is made of.
    """
    record = record_of(trace) | {"pieces": token_pieces(local.tokenizer, trace.response_ids)}
    row = Row(trace.prompt_ids, trace.response_ids, thinking=trace.thinking_tokens)
    refused = unscorable(None, frozenset([END]), row, trace)
    if refused is not None:
        return record | {"unscored": refused.unscored}
    if trace.log_probs is not None:
        return record | {"log_probs": list(trace.log_probs)}
    return record if scorers.scorers else record | {"unscored": "no_log_probs"}


def told_of_claims(
    trace: Trace, spans: Sequence[tuple[int, int]], scorers: ScorerPass, local: LocalModel
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What a pass would tell of a whole answer, and of its claims: the log-probabilities of their tokens, where there are some.

    spans: the claims' places in `response_ids`.
    """
    whole = told(trace, scorers, local)
    numbers: dict[str, Any] = {key: value for key, value in whole.items() if key in ("unscored", "log_probs")}
    parts = [{"log_probs": numbers["log_probs"][start:end]} if "log_probs" in numbers else {} for start, end in spans]
    return numbers, parts
