"""Questions -> graded answers with every number that a pass gives, in batches, resumable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from guardrail.datasets.questions import QuestionRow, data_hash, question_digest
from guardrail.messages import question_of
from guardrail.model.question_states import answer_states, middle_layer, states_of
from guardrail.model.recording import Keep
from guardrail.runs.answers import Answers, graded
from guardrail.runs.asking import Asking, RunOptions, records_of, run_header
from guardrail.runs.readings import layers_of, numbers_of, offsets_of, record_of
from guardrail.runs.scorer_pass import ScorerPass
from guardrail.runs.states import ANSWER_STATE, packed
from guardrail.runs.told import told
from guardrail.scoring.batching import by_token_budget
from guardrail.scoring.gradient_pass import GradientPass
from guardrail.scoring.profile import band_start
from guardrail.scoring.stacked.words import asked_words, telling_tokens, token_pieces, words_of

if TYPE_CHECKING:
    from guardrail.grading import Grader
    from guardrail.grading.hand_labels import HandLabels
    from guardrail.model.local import LocalModel
    from guardrail.types import Message, Trace


def collect(
    local: LocalModel,
    questions: Sequence[QuestionRow],
    grader: Grader,
    asking: Asking,
    options: RunOptions,
    *,
    scorers: ScorerPass | None = None,
    labels: HandLabels | None = None,
    ungraded_is_wrong: bool = False,
) -> Answers:
    """Ask every question once, and grade.

    scorers: what else shall score each answer, beside the pass that every record holds. labels, ungraded_is_wrong: see
    `graded`.
    """
    scorers = scorers or ScorerPass()
    offsets = offsets_of(local)
    records = records_of(
        [{"key": question_digest(q.question), **q.record} for q in questions],
        [q.question for q in questions],
        lambda batch: ask(
            local, [(q, asking.messages(q)) for q in (questions[i].question for i in batch)], asking, offsets, scorers
        ),
        run_header(local, asking, data_hash(questions), **scorers.header),
        options,
        local,
    )
    return graded(records, grader, offsets, layers_of(local), labels=labels, ungraded_is_wrong=ungraded_is_wrong)


def ask(
    local: LocalModel,
    asked: Sequence[tuple[str, Sequence[Message]]],
    asking: Asking,
    offsets: Sequence[int],
    scorers: ScorerPass,
    more: Callable[[Sequence[int], Sequence[Trace]], Sequence[Mapping[str, Any]]] | None = None,
) -> list[dict[str, Any]]:
    """The records of one batch. asked: each question, and how it is put. more: what else is kept of
    those that have a score; it is given their places in `asked`, and their traces."""
    begun: dict[str, Any] = {"prefixes": [asking.prefix] * len(asked)} if asking.prefix else {}
    traces = local.generate_batch(
        [messages for _, messages in asked],
        max_new_tokens=asking.max_new_tokens,
        **begun,
        keep=scorers.keep(kept_for(local)) if local.has_weights else None,
    )
    return read([question for question, _ in asked], local, traces, offsets, scorers, more)


def kept_for(local: LocalModel) -> Keep:
    """What generation keeps for `read`."""
    return Keep(band_start("code", len(local.anatomy.layers)), offsets_of(local)[0])


def read(
    questions: Sequence[str],
    local: LocalModel,
    traces: Sequence[Trace],
    offsets: Sequence[int],
    scorers: ScorerPass,
    more: Callable[[Sequence[int], Sequence[Trace]], Sequence[Mapping[str, Any]]] | None = None,
) -> list[dict[str, Any]]:
    """The records of answers, with every number that the pass gives. more: as in `ask`."""
    if not local.has_weights:
        return [
            told(trace, scorers, local) | scorers.record(question, trace, local.device)
            for question, trace in zip(questions, traces, strict=True)
        ]
    first = band_start("code", len(local.anatomy.layers))
    reading = GradientPass(local)
    rows, middle = reading.rows_of(traces), middle_layer(local)
    pieces = [token_pieces(local.tokenizer, trace.response_ids) for trace in traces]
    telling = [
        telling_tokens(words_of(parts), asked_words(question_of(trace.messages)), len(parts))
        for parts, trace in zip(pieces, traces, strict=True)
    ]
    of_prompts, of_answers = states_of(local, traces, middle), answer_states(local, traces, middle, telling)
    records = [
        record_of(trace)
        | packed(before, middle)
        | packed(within, middle, ANSWER_STATE)
        | {"pieces": parts}
        | scorers.record(question, trace, local.device)
        for question, trace, parts, before, within in zip(
            questions, traces, pieces, of_prompts, of_answers, strict=True
        )
    ]
    scorable: list[int] = []
    for i, (row, trace) in enumerate(zip(rows, traces, strict=True)):
        refused = reading.unscorable(row, trace, [-1])
        if refused is None:
            scorable.append(i)
        else:
            records[i]["unscored"] = refused.unscored
    if not scorable:
        return records
    shortest = min(rows[i].asked for i in scorable)
    reached = [o for o in offsets if -o <= shortest]
    for group in by_token_budget([rows[i] for i in scorable]):
        readouts = reading.read([rows[scorable[j]] for j in group], reached, first, exgrad=True)
        for j, readout in zip(group, readouts, strict=True):
            records[scorable[j]].update(numbers_of(readout))
    if more:
        for i, found in zip(scorable, more(scorable, [traces[i] for i in scorable]), strict=True):
            records[i].update(found)
    return records
