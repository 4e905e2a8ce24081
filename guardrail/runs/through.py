"""A chain that asks a guarded model -> graded answers with what the guard saw, resumable. Knows nothing about LangChain.

The chain gets a question, or the messages of a row, and may do with its model what it likes: the guard shows what it saw.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from guardrail.datasets.questions import data_hash, question_digest
from guardrail.errors import CalibrationError, DataError
from guardrail.messages import question_of
from guardrail.model.question_states import middle_layer, states_of
from guardrail.pipeline.collecting import Collector, Seen, collecting_in
from guardrail.runs.answers import Answers, graded
from guardrail.runs.asking import Asking, RunOptions, records_of, run_header
from guardrail.runs.chain_records import PROMPT
from guardrail.runs.collect import kept_for, read
from guardrail.runs.readings import layers_of, offsets_of
from guardrail.runs.returned import holds, text_of
from guardrail.runs.scorer_pass import ScorerPass
from guardrail.runs.states import packed
from guardrail.types import Trace

if TYPE_CHECKING:
    from guardrail.datasets.questions import QuestionRow
    from guardrail.grading import Grader
    from guardrail.grading.hand_labels import HandLabels
    from guardrail.model.local import LocalModel
    from guardrail.runs.chains import Chain

_TRIES = 5  # questions until a guard has to have seen an answer

RAISED, NOTHING, UNSEEN = "the chain raised", "the chain returned nothing", "its model did not say what it returned"


@dataclass(frozen=True, slots=True, eq=False)
class ThroughAnswers:
    """What a chain answered. left_out: rows that say nothing of a score, by reason; they are not among the answers."""

    local: LocalModel
    asking: Asking
    answers: Answers
    left_out: Mapping[str, int]


class _Run:
    """One pass over the rows. The model is known once a guard has seen an answer."""

    def __init__(self, chain: Chain, rows: Sequence[QuestionRow]) -> None:
        self.chain, self.rows = chain, rows
        self.collector = Collector(kept_for)
        self.first_error = ""
        self._made: dict[int, dict[str, Any]] = {}

    def begun(self) -> tuple[LocalModel, int]:
        """The model, and its token limit; the rows that were asked to learn it are kept. Raises `DataError` where no guard
        sees an answer."""
        for i in range(min(_TRIES, len(self.rows))):
            self._made[i] = self.record(i)
            if self.collector.model is not None and "limit" in self._made[i]:
                return self.collector.model, int(self._made[i]["limit"])
        why = f"; it raised {self.first_error}" if self.first_error else ""
        raise DataError(
            f"{self.chain.name} was asked {len(self._made)} questions, and returned no answer that a guarded model gave"
            f"{why}. It has to ask one: ChatGuarded, or a Guard, in this thread or in one that has its context"
        )

    def work(self, batch: Sequence[int]) -> list[dict[str, Any]]:
        return [self._made.pop(i) if i in self._made else self.record(i) for i in batch]

    def record(self, i: int) -> dict[str, Any]:
        """What a row comes to."""
        row = self.rows[i]
        self.collector.taken()
        try:
            with collecting_in(self.collector):
                returned = self.chain.ask(row)
        except (Exception, SystemExit) as error:  # the user's own code may raise anything; it is counted, and said
            told = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            self.first_error = self.first_error or told
            return _left_out(RAISED, error=told)
        if self.collector.conflict:
            raise DataError(self.collector.conflict)
        seen, text = self.collector.taken(), text_of(returned)
        if not text.strip():
            return _left_out(NOTHING)
        one = next((one for one in reversed(seen) if holds(text, one.trace.text)), None)
        local = self.collector.model
        if one is None or local is None:
            return _left_out(UNSEEN, answer=text)
        return _read(local, row.question, one) | {"answer": text, "calls": len(seen)}


def _left_out(reason: str, **more: str) -> dict[str, Any]:
    return {"answer": "", "finish_reason": "given", "unscored": "error", "left_out": reason, **more}


def _read(local: LocalModel, question: str, one: Seen) -> dict[str, Any]:
    (record,) = read([question], local, [one.trace], offsets_of(local), ScorerPass())
    alone = local.encode_prompt(({"role": "user", "content": question_of(one.messages)},))
    (state,) = states_of(local, [Trace((), tuple(alone), (), "", "given")], middle_layer(local))
    record.pop("state", None)
    return (
        record
        | packed(state, middle_layer(local))
        | {
            "asked": question_of(one.trace.messages),
            "messages": [dict(message) for message in one.messages],
            "passages": [passage.text for passage in one.evidence],
            "thinking": one.trace.thought,
            "temperature": one.setting.temperature,
            "tools": list(one.setting.tools),
            "constrained": one.setting.constrained,
            "limit": one.limit,
        }
    )


def collect_through(
    chain: Chain,
    rows: Sequence[QuestionRow],
    grader: Grader,
    options: RunOptions,
    *,
    labels: HandLabels | None = None,
    ungraded_is_wrong: bool = False,
) -> ThroughAnswers:
    """Put every row to the chain, and grade what it returned. options: rows go one by one, whatever its batch size.

    Of several answers that its model gave to one row, the last one that the returned text holds is the one whose numbers are
    kept. Rows for which the chain raised, returned nothing, or returned what its model did not say are counted and left out.

    Raises `DataError` where no guard saw an answer to the first questions, and for a chain of two models.
    """
    run = _Run(chain, rows)
    local, limit = run.begun()
    asking = Asking(PROMPT, None, limit)
    records = records_of(
        [
            {
                "key": question_digest(row.question),
                **row.record,
                "person": question_of(row.extra.get("messages", ())) or row.question,
            }
            for row in rows
        ],
        [json.dumps(chain.given(row), ensure_ascii=False) for row in rows],
        run.work,
        run_header(local, asking, data_hash(rows), through=chain.identity),
        chain.options(options),
        local,
    )
    left = Counter(str(record["left_out"]) for record in records if "left_out" in record)
    kept = [record for record in records if "left_out" not in record]
    if not kept:
        raise CalibrationError(
            f"{chain.name}: no answer is left ({', '.join(f'{n}: {why}' for why, n in left.items())})"
        )
    answers = graded(
        kept, grader, offsets_of(local), layers_of(local), labels=labels, ungraded_is_wrong=ungraded_is_wrong
    )
    return ThroughAnswers(local, asking, answers, left)
