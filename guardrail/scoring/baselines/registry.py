"""Scorers by name. Knows nothing about how any of them works."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from guardrail.errors import ScoringError

if TYPE_CHECKING:
    from guardrail.model.local import LocalModel
    from guardrail.scoring.baselines.equivalence import Equivalence
    from guardrail.scoring.baselines.samples import SampleSource
    from guardrail.scoring.protocol import Scorer

_HERE = "guardrail.scoring.baselines"

SCORERS: Mapping[str, str] = MappingProxyType(
    {
        "ln-pe": f"{_HERE}.ln_pe:LnPe",
        "p-true": f"{_HERE}.p_true:PTrue",
        "self-consistency": f"{_HERE}.self_consistency:SelfConsistency",
        "deg": f"{_HERE}.deg:Deg",
        "inside": f"{_HERE}.inside:Inside",
        "semantic-entropy": f"{_HERE}.semantic_entropy:SemanticEntropy",
        "semantic-density": f"{_HERE}.semantic_density:SemanticDensity",
        "mutual-information": f"{_HERE}.mutual_information:MutualInformation",
        "g-nll": f"{_HERE}.g_nll:GNll",
        "sar": f"{_HERE}.sar:Sar",
        "exgrad": f"{_HERE}.exgrad:ExGrad",
        "paragrad": f"{_HERE}.paragrad:ParaGrad",
        "semgrad": f"{_HERE}.semgrad:SemGrad",
        "hybridgrad": "guardrail.scoring.hybridgrad:HybridGradScorer",
    }
)
"""Name -> where the scorer is, in the order of the paper's table 1."""


def scorer(
    name: str,
    model: LocalModel,
    *,
    source: SampleSource | None = None,
    equivalence: Equivalence | None = None,
    **options: Any,
) -> Scorer:
    """The scorer of that name for a model.

    source: where those that sample draw from; share one among scorers, and each set of samples is drawn once. equivalence:
    when two answers say the same, for those that ask: `NliEquivalence`, say; None is each scorer's own default (M.I.: words in
    common, else sentence embeddings). The others take neither and are given neither. options: the scorer's own.

    Raises `ScoringError` for a name or an option that does not exist.

        source = SampleSource(model, max_new_tokens=30)
        scorers = [scorer(name, model, source=source) for name in SCORERS]
        Guard(model=model, scorer=scorer("g-nll", model), policy="observe")
    """
    made = scorer_class(name)
    takes = keywords_of(name)
    shared = {"source": source, "equivalence": equivalence}
    own = [option for option in takes if option not in shared]
    if unknown := [option for option in options if option not in own]:
        raise ScoringError(f"scorer {name!r} has no option {unknown[0]!r}; it has: {', '.join(own) or 'none'}")
    return made(model, **{k: v for k, v in shared.items() if k in takes and v is not None}, **options)


def scorer_class(name: str) -> Callable[..., Scorer]:
    """What makes the scorer of that name. Raises `ScoringError` for a name that does not exist."""
    check_names([name])
    module, _, attribute = SCORERS[name].partition(":")
    return cast("Callable[..., Scorer]", getattr(import_module(module), attribute))


def keywords_of(name: str) -> list[str]:
    """What `scorer` may be given for that name: its own options, `source` and `equivalence`."""
    return [
        keyword for keyword in inspect.signature(scorer_class(name)).parameters if keyword not in ("model", "tokenizer")
    ]


def check_names(names: Sequence[str]) -> None:
    """Raise `ScoringError` for a name that does not exist, before anything is loaded."""
    for name in names:
        if name not in SCORERS:
            near = get_close_matches(str(name), SCORERS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise ScoringError(f"there is no scorer {name!r}{hint} The names: {', '.join(SCORERS)}")
