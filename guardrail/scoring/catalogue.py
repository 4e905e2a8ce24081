"""guardrail's own scorers by name: where each is, and what a calibration fits for it. Imports none of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Entry:
    """A scorer of the registry.

    Attributes:
        path: Where its class is, "module:name".
        reader: Where its `Reader` is, for a scorer whose number follows from what every record of a run holds of the one pass;
            None where the number has to stand in the record.
        fitting: What calibration fits beside the curve: a HybridGrad "profile", the stacked "weights", a "probe" on hidden
            states, or "nothing".
        rival: The options with which it competes with the stacked score, where its number follows from the same pass.
        partial: Whether it may leave most answers unscored, as one that reads what a model replies. A comparison is about the
            answers that all have scored, so `bench` takes it only by its name.
    """

    path: str
    reader: str | None = None
    fitting: Literal["profile", "weights", "probe", "nothing"] = "nothing"
    rival: Mapping[str, Any] | None = None
    partial: bool = False

    @property
    def ready(self) -> bool:
        """Whether a model alone makes it; else it needs what a calibrator holds."""
        return self.fitting in ("profile", "nothing")


READERS = "guardrail.scoring.readers"
_BASELINES = "guardrail.scoring.baselines"
OWN = {
    "ln-pe": Entry(f"{_BASELINES}.ln_pe:LnPe"),
    "p-true": Entry(f"{_BASELINES}.p_true:PTrue"),
    "self-consistency": Entry(f"{_BASELINES}.self_consistency:SelfConsistency"),
    "deg": Entry(f"{_BASELINES}.deg:Deg"),
    "inside": Entry(f"{_BASELINES}.inside:Inside"),
    "semantic-entropy": Entry(f"{_BASELINES}.semantic_entropy:SemanticEntropy"),
    "semantic-density": Entry(f"{_BASELINES}.semantic_density:SemanticDensity"),
    "mutual-information": Entry(f"{_BASELINES}.mutual_information:MutualInformation"),
    "g-nll": Entry(f"{_BASELINES}.g_nll:GNll", f"{READERS}:GNllReader", rival={}),
    "mean-nll": Entry(f"{_BASELINES}.g_nll:MeanNll", f"{READERS}:MeanNllReader"),
    "max-nll": Entry(f"{_BASELINES}.g_nll:MaxNll", f"{READERS}:MaxNllReader"),
    "quantile-nll": Entry(f"{_BASELINES}.quantile_nll:QuantileNll", f"{READERS}:QuantileNllReader"),
    "sar": Entry(f"{_BASELINES}.sar:Sar"),
    "exgrad": Entry(f"{_BASELINES}.exgrad:ExGrad"),
    "paragrad": Entry(f"{_BASELINES}.paragrad:ParaGrad", f"{READERS}:ParaGradReader", rival={"reduction": "mean"}),
    "semgrad": Entry(f"{_BASELINES}.semgrad:SemGrad"),
    "hybridgrad": Entry("guardrail.scoring.hybridgrad:HybridGradScorer", f"{READERS}:HybridGradReader", "profile"),
    "ccp": Entry(f"{_BASELINES}.ccp:Ccp"),
    "rauq": Entry(f"{_BASELINES}.rauq:Rauq"),
    "verbalized": Entry(f"{_BASELINES}.verbalized:VerbalizedScorer"),
    "verbalized-list": Entry(f"{_BASELINES}.verbalized_list:VerbalizedListScorer", partial=True),
    "verbal-percent": Entry(f"{_BASELINES}.elicited:VerbalPercent", partial=True),
    "verbal-top-k": Entry(f"{_BASELINES}.elicited:VerbalTopK", partial=True),
    "self-probing": Entry(f"{_BASELINES}.elicited:SelfProbing"),
    "hedging": Entry(f"{_BASELINES}.hedging:Hedging"),
    "semantic-volume": Entry(f"{_BASELINES}.semantic_volume:SemanticVolume"),
    "inv-entropy": Entry(f"{_BASELINES}.inv_entropy:InvEntropy"),
    "attention-chain": Entry(f"{_BASELINES}.attention_chain:AttentionChain"),
    "cheat": Entry(f"{_BASELINES}.cheat:Cheat"),
    "pik": Entry("guardrail.scoring.states.scorer:PikScorer", f"{READERS}:PikReader", "probe"),
    "probe": Entry("guardrail.scoring.states.scorer:ProbeScorer", f"{READERS}:PikReader", "probe"),
    "stacked": Entry("guardrail.scoring.stacked.scorer:StackedScorer", f"{READERS}:StackedReader", "weights"),
}
