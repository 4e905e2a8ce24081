"""How like a calibration's questions those of a run are. Asks the model for states alone: a fraction of an answer's time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from guardrail.calibration.familiarity_fit import LEAST, Familiar
from guardrail.model.question_states import middle_layer, states_entering
from guardrail.runs.answers import Answers
from guardrail.runs.collect_claims import ClaimAnswers
from guardrail.runs.scores import Graded, asking_of

if TYPE_CHECKING:
    from guardrail.calibration.isotonic import IsotonicCalibrator
    from guardrail.calibration.metrics import Floats
    from guardrail.model.local import LocalModel
    from guardrail.runs.asking import Asking


def familiar_with(local: LocalModel, asking: Asking, asked: Sequence[str], kinds: Mapping[str, str]) -> Familiar | None:
    """What the questions of a calibration look like to the model; None where they are too few to tell others from.

    asked: the question behind each score, (n,). kinds: of those questions of which that is known.
    """
    questions = {question: i for i, question in enumerate(dict.fromkeys(asked))}
    if len(questions) < LEAST:
        return None
    layer = middle_layer(local)
    return Familiar(
        states=_states(local, asking, list(questions), layer),
        layer=layer,
        of=[questions[question] for question in asked],
        kinds=[kinds.get(question, "") for question in questions] if kinds else (),
    )


def with_familiarity(local: LocalModel, calibrator: IsotonicCalibrator, answers: Graded) -> Graded:
    """The same with each answer's, or claim's, `familiarity`, a p-value; unchanged where the calibrator knows no questions."""
    known, origin = calibrator.familiarity, calibrator.provenance
    if known is None or origin is None:
        return answers
    questions = list(dict.fromkeys(record["question"] for record in answers.records))
    p_values = known.p_values(_states(local, asking_of(origin), questions, known.layer))
    found = dict(zip(questions, p_values.tolist(), strict=True))
    records = tuple({**record, "familiarity": found[record["question"]]} for record in answers.records)
    if isinstance(answers, ClaimAnswers):
        own = [records[i]["familiarity"] for i in answers.groups.tolist()]
        claims = tuple({**claim, "familiarity": p} for claim, p in zip(answers.claims, own, strict=True))
        return replace(answers, records=records, claims=claims)
    return Answers(records, answers.correct, answers.scored, answers.signals, answers.grading)


def _states(local: LocalModel, asking: Asking, questions: Sequence[str], layer: int) -> Floats:
    out: Floats = states_entering(local, [local.encode_prompt(asking.messages(q)) for q in questions], layer)
    return out
