"""Trace -> Score by a probe on the states of a middle layer: does the model know that it knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from guardrail.model.local import LocalModel
from guardrail.model.question_states import states_of
from guardrail.model.recording import Keep
from guardrail.scoring.baselines.base import AnswerScorer
from guardrail.scoring.states.model import StateProbe
from guardrail.types import Trace


class PikScorer(AnswerScorer):
    """P(IK): reads the question's last token, before anything is answered (Kadavath et al. 2022, arXiv 2207.05221, sect. 5).

    Log-odds that the model's answer is wrong; higher = more uncertain. The same for every answer to one question. Theirs is a
    head that is trained with the model; this one is linear, on few directions, on the model as it is.

        scorer = PikScorer(model, StateProbe.from_options(calibrator.provenance.scorer_options))
        scorer.score_traces([trace])[0].value
    """

    name = "pik"
    needs = "logits"
    unit = "nats"

    def __init__(self, model: LocalModel, probe: StateProbe) -> None:
        super().__init__(model)
        self.probe = probe
        layers, width = len(model.anatomy.layers), model.anatomy.head.in_features
        if probe.layer >= layers or probe.width != width:
            raise ValueError(
                f"the probe reads layer {probe.layer}, {probe.width} numbers; {model.name} has {layers} layers of {width}"
            )

    @classmethod
    def from_options(cls, options: Mapping[str, Any], model: LocalModel) -> Self:
        return cls(model, StateProbe.from_options(options))

    @property
    def options(self) -> dict[str, Any]:
        """The probe, JSON-ready."""
        return self.probe.model_dump(mode="json")

    @property
    def keep(self) -> Keep:
        return Keep(self.probe.layer, -1)

    def uncertainty(self, trace: Trace) -> float:
        return float(self.probe.numbers(states_of(self.model, [trace], self.probe.layer))[0])
