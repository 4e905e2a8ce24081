"""Which scorer a calibration is fitted for, and which others are asked beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from guardrail.errors import DataError
from guardrail.scoring.registry import (
    CONTENDER,
    DEFAULT,
    check_able,
    check_names,
    default_of,
    entry_of,
    keywords_of,
    registered,
    scorer_class,
)
from guardrail.scoring.stacked.features import PROBE

if TYPE_CHECKING:
    from guardrail.calibration.provenance import Unit
    from guardrail.model.local import LocalModel
    from guardrail.runs.asking import Asking
    from guardrail.scoring.baselines.equivalence import Equivalence
    from guardrail.scoring.protocol import Scorer


def check_scorer(scorer: str, weigh: Sequence[str], unit: Unit, samples: int | None, profiling: str | None) -> None:
    """Whether the options go together, before anything is loaded."""
    check_names([scorer], fitted=True)
    check_names([name for name in weigh if name != PROBE])
    fitting = entry_of(scorer).fitting
    if weigh and fitting != "weights":
        raise DataError(f"--weigh {weigh[0]} is for --scorer stacked; {scorer} weighs nothing")
    others = [name for name in weigh if name != PROBE]
    if taken := [name for name in others if entry_of(name).fitting != "nothing" or entry_of(name).rival is not None]:
        raise DataError(f"--weigh {taken[0]}: its numbers are among those that are weighed anyway")
    if unit == "claim":
        for name in (scorer, *weigh):
            if not hasattr(scorer_class(name), "score_spans"):
                able = [n for n in registered() if hasattr(scorer_class(n), "score_spans")]
                raise DataError(f"--scorer {name} scores whole answers; claims are scored by {' or '.join(able)}")
    if fitting != "profile" and profiling:
        raise DataError(f"{profiling} is about the profile of {DEFAULT}; {scorer} has none")
    if samples is not None and (fitting in ("weights", "probe") or "samples" not in keywords_of(scorer)):
        raise DataError(f"--samples {samples} is for scorers that draw samples; {scorer} draws none")


def scorer_of(local: LocalModel, scorer: str, asked: str | None) -> str:
    """The scorer's name, or where none was asked for, one that works with the model.

    Raises `ScoringError` for one that does not, before anything is asked.
    """
    found = scorer if asked or local.has_weights or scorer != CONTENDER else default_of(local)
    check_able(found, local)
    return found


def others_of(
    local: LocalModel,
    scorer: str,
    weigh: Sequence[str],
    asking: Asking,
    samples: int | None,
    equivalence: Equivalence | None,
) -> dict[str, Scorer]:
    """The scorers that have to be asked beside the pass that every record holds, by name."""
    from guardrail.runs.scorer_pass import scorer_for

    asked = [*weigh, *([scorer] if entry_of(scorer).fitting == "nothing" else [])]
    return {
        name: scorer_for(local, name, max_new_tokens=asking.max_new_tokens, samples=samples, equivalence=equivalence)
        for name in asked
    }
