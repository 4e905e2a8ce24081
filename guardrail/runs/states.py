"""What enters the middle layer, as a record of a run holds it, to be read without the model. Needs neither it nor torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from guardrail.array_text import array_in, array_text
from guardrail.errors import DataError

if TYPE_CHECKING:
    from guardrail.calibration.metrics import Floats


STATE, ANSWER_STATE = "state", "answer_state"
"""Under which a record holds what enters the middle layer: at the prompt's end; at the answer's words that the question does
not have, the mean."""


def packed(state: np.ndarray, layer: int, key: str = STATE) -> dict[str, Any]:
    """A state, (D,), that enters `layer`, JSON-ready: little-endian float32, base64. Empty for NaN or infinity.

    key: under which a record holds it.
    """
    if not np.isfinite(state).all():
        return {}
    return {key: {"layer": layer, "values": array_text(state, "<f4")}}


def state_of(record: Mapping[str, Any], key: str = STATE) -> tuple[int, Floats] | None:
    """What `packed` made of a state: its layer and the state, (D,); None where the record has none.

    Raises `DataError` for what `packed` did not make.
    """
    found = record.get(key)
    if found is None:
        return None
    try:
        layer, out = found["layer"], array_in(found["values"], "<f4", "values")
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"a record of the run holds a `{key}` that is none ({error}); it was edited") from error
    if not len(out):
        raise DataError(f"a record of the run holds a `{key}` of no numbers; it was edited")
    return layer, out


def state_in(record: Mapping[str, Any], layer: int, width: int) -> Floats | None:
    """What `packed` made of a state, (width,); None where the record has none of this layer, as those of earlier versions.

    Raises `DataError` for what `packed` did not make.
    """
    found = state_of(record)
    if found is None or found[0] != layer:
        return None
    if len(found[1]) != width:
        raise DataError(f"a record of the run holds a `state` of {len(found[1])} numbers, not {width}; it was edited")
    return found[1]
