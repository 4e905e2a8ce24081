"""Questions with paraphrases -> the SPS map of a model and the token that it proposes. Nothing is generated."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from guardrail.calibration.bootstrap import tail_of
from guardrail.calibration.record import MetricRecord
from guardrail.calibration.sps_profile import Evidence, Rival, SpsData, SpsProfile, TokenSeen
from guardrail.datasets.paraphrases import ParaphraseRow, paraphrases_hash
from guardrail.errors import DataError, ModelError
from guardrail.evaluation.fit import versions
from guardrail.kernels.memory import halve_on_out_of_memory, too_large
from guardrail.model.local import LocalModel
from guardrail.model.prompt_states import prompt_states
from guardrail.runs.asking import Asking, Progress
from guardrail.runs.readings import offsets_of
from guardrail.scoring.profile import band_start
from guardrail.scoring.sps import Floats, Sps, SpsSums, unit_sum
from guardrail.waiting import rate

ENOUGH = 10
"""Questions from which a bootstrap interval is given: with fewer it would be too narrow."""


def measure_sps(
    local: LocalModel,
    rows: Sequence[ParaphraseRow],
    asking: Asking,
    *,
    name: str,
    command: str,
    tokens_per_pass: int = 4096,
    draws: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> SpsProfile:
    """SPS at every layer and the last ten tokens of the prompt (and the chat template's own), with intervals.

    rows: two or more, each with a paraphrase. asking: the prompt that questions go into, the one of the calibration to
    come. name: of the data. tokens_per_pass: padded tokens of one pass, which bounds its memory. draws, seed: of the
    bootstrap.

    Raises `DataError` for rows that cannot be compared, `ModelError` for a prompt shorter than ten tokens or longer
    than the context, and `ScoringError` for states that are not finite.
    """
    if tokens_per_pass < 1:
        raise DataError(f"tokens_per_pass is {tokens_per_pass}; it must be at least 1")
    if len(rows) < 2 or not all(row.paraphrases for row in rows):
        raise DataError(f"SPS takes two questions or more, each with a paraphrase; got {len(rows)} rows")
    offsets, layers = offsets_of(local), len(local.anatomy.layers)
    first = band_start("code", layers)
    prompts = [[local.encode_prompt(asking.messages(text)) for text in row.texts] for row in rows]
    result = _sums(local, prompts, offsets, slice(first, layers), tokens_per_pass, progress).result()
    upper = result.upper_mean
    best = int(upper.argmax())
    template = local.semantic_token.offset
    return SpsProfile(
        model=local.identity,
        data=SpsData(
            name=name,
            hash=paraphrases_hash(rows),
            questions=len(rows),
            paraphrases=sum(len(row.paraphrases) for row in rows),
        ),
        prompt=asking.prompt,
        system=asking.system,
        layers=tuple(range(layers + 1)),
        offsets=offsets,
        sps=tuple(tuple(row) for row in result.sps.tolist()),
        upper=(first, layers - 1),
        upper_mean=tuple(upper.tolist()),
        token=offsets[best],
        template_token=template,
        tokens=_tokens_seen(local, prompts, offsets),
        evidence=_evidence(result, offsets, template, draws, seed) if len(rows) >= ENOUGH else None,
        created=datetime.now(UTC).date().isoformat(),
        command=command,
        versions=versions(),
    )


def _sums(
    local: LocalModel,
    prompts: Sequence[Sequence[Sequence[int]]],
    offsets: Sequence[int],
    kept: slice,
    budget: int,
    progress: Progress | None,
) -> SpsSums:
    """Groups of like length together, for less padding; no more than a pass and one group's sum is held at a time."""
    sums = SpsSums(kept)
    longest = [max(map(len, group)) for group in prompts]
    order = [(g, prompt) for g in sorted(range(len(prompts)), key=longest.__getitem__) for prompt in prompts[g]]
    lengths = [len(prompt) for _, prompt in order]
    open_group: Floats | None = None
    members, start = 0, time.perf_counter()
    at = 0
    while at < len(order):
        end = _pass_end(lengths, at, budget)
        states = halve_on_out_of_memory(
            lambda batch: list(prompt_states(local, batch, offsets).numpy()), [p for _, p in order[at:end]], _too_big
        )
        for n, state in enumerate(states, start=at):
            unit = unit_sum(state[None], offsets)
            open_group, members = (unit if open_group is None else open_group + unit), members + 1
            if n + 1 == len(order) or order[n + 1][0] != order[n][0]:
                sums.add(open_group, members)
                open_group, members = None, 0
        at = end
        if progress:
            progress(at, len(order), rate(at, start))
    return sums


def _pass_end(lengths: Sequence[int], at: int, budget: int) -> int:
    """Where a pass that begins at `at` ends: as many prompts as the budget of padded tokens takes, one at least."""
    end = at + 1
    while end < len(lengths) and max(lengths[at : end + 1]) * (end + 1 - at) <= budget:
        end += 1
    return end


def _too_big(prompt: Sequence[int]) -> ModelError:
    return too_large(f"one prompt of {len(prompt)} tokens", "use a smaller model or a device with more")


def _tokens_seen(
    local: LocalModel, prompts: Sequence[Sequence[Sequence[int]]], offsets: Sequence[int]
) -> tuple[TokenSeen, ...]:
    flat = [prompt for group in prompts for prompt in group]
    found = []
    for offset in offsets:
        (token, times), *_ = Counter(prompt[offset] for prompt in flat).most_common(1)
        found.append(TokenSeen(text=local.tokenizer.decode([token]), share=times / len(flat)))
    return tuple(found)


def _evidence(result: Sps, offsets: Sequence[int], template: int, draws: int, seed: int) -> Evidence:
    upper, redrawn, questions = result.upper_mean, result.redrawn(draws, seed), len(result.within)
    best = int(upper.argmax())

    def estimate(value: float, drawn: Floats) -> MetricRecord:
        low, high = np.quantile(drawn, [tail_of(0.95), 1 - tail_of(0.95)]).tolist()
        return MetricRecord(value=float(value), low=min(low, float(value)), high=max(high, float(value)), n=questions)

    def rival(column: int) -> Rival:
        drawn = redrawn[:, best] - redrawn[:, column]
        return Rival(token=offsets[column], difference=estimate(upper[best] - upper[column], drawn))

    runner_up = int(np.argsort(-upper, kind="stable")[1])
    return Evidence(
        upper_mean=tuple(estimate(value, redrawn[:, o]) for o, value in enumerate(upper)),
        chosen_in=float((redrawn.argmax(1) == best).mean()),
        runner_up=rival(runner_up),
        template=None if offsets[best] == template else rival(offsets.index(template)),
    )
