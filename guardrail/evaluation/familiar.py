"""What the questions of a run look like to the model: from its records, and from the model where they do not say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from guardrail.calibration.familiarity_fit import LEAST, Familiar
from guardrail.model.question_states import middle_layer, states_entering
from guardrail.runs.familiarity import with_familiarity
from guardrail.runs.scores import Graded, asking_of
from guardrail.runs.states import packed, state_in

if TYPE_CHECKING:
    from guardrail.calibration.isotonic import IsotonicCalibrator
    from guardrail.calibration.metrics import Floats
    from guardrail.model.local import LocalModel
    from guardrail.runs.answers import Answers
    from guardrail.runs.asking import Asking


def familiar_with(
    local: LocalModel, asking: Asking, records: Sequence[Mapping[str, Any]], of: Sequence[int], kinds: Mapping[str, str]
) -> Familiar | None:
    """What the questions of a calibration look like to the model; None where they are too few to tell others from,
    and behind an endpoint, which shows no states.

    records: of a run. of: which of them each score is about, (n,). kinds: of the questions of which that is known.
    """
    used = list(dict.fromkeys(of))
    if len(used) < LEAST or not local.has_weights:
        return None
    layer = middle_layer(local)
    place = {record: i for i, record in enumerate(used)}
    return Familiar(
        states=np.stack(_states(local, asking, [records[i] for i in used], layer)),
        layer=layer,
        of=[place[record] for record in of],
        kinds=[kinds.get(records[i]["question"], "") for i in used] if kinds else (),
    )


def told_apart(local: LocalModel, calibrator: IsotonicCalibrator, answers: Graded) -> Graded:
    """The same with the `familiarity` of each answer's question, or claim's; unchanged where the calibrator knows none."""
    known, origin = calibrator.familiarity, calibrator.provenance
    if known is None or origin is None or not local.has_weights:
        return answers
    return with_familiarity(calibrator, answers, _states(local, asking_of(origin), answers.records, known.layer))


def with_states(local: LocalModel, asking: Asking, answers: Answers) -> Answers:
    """The same, each record with what enters the middle layer at the end of its prompt, which older ones do not hold."""
    layer = middle_layer(local)
    states = _states(local, asking, answers.records, layer)
    records = tuple({**r, **packed(x, layer)} for r, x in zip(answers.records, states, strict=True))
    return replace(answers, records=records)


def _states(local: LocalModel, asking: Asking, records: Sequence[Mapping[str, Any]], layer: int) -> list[Floats]:
    held = [state_in(record, layer, local.anatomy.head.in_features) for record in records]
    missing = [i for i, state in enumerate(held) if state is None]
    prompts = [local.encode_prompt(asking.messages(records[i]["question"])) for i in missing]
    found = dict(zip(missing, states_entering(local, prompts, layer), strict=True))
    return [found[i] if state is None else state for i, state in enumerate(held)]
