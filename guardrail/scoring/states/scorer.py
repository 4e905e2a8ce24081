"""Trace -> Score by a probe on the states of a middle layer: does the model know that it knows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from guardrail.messages import question_of
from guardrail.model.local import LocalModel
from guardrail.model.question_states import answer_states, states_of
from guardrail.model.recording import Keep
from guardrail.scoring.baselines.base import AnswerScorer
from guardrail.scoring.stacked.words import asked_words, telling_tokens, token_pieces, words_of
from guardrail.scoring.states.model import StateProbe
from guardrail.types import Score, Trace


class _StateScorer(AnswerScorer):
    """A probe on states of a middle layer; generation keeps them, so that it costs next to nothing."""

    needs = "logits"
    unit = "nats"

    def __init__(self, model: LocalModel, probe: StateProbe) -> None:
        super().__init__(model)
        self.probe = probe
        check_layer(model, probe)

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

    @abstractmethod
    def state(self, trace: Trace) -> np.ndarray:
        """What the probe reads, (D,)."""

    def uncertainty(self, trace: Trace) -> float:
        return float(self.probe.numbers(self.state(trace)[None])[0])


class PikScorer(_StateScorer):
    """P(IK): reads the question's last token, before anything is answered (Kadavath et al. 2022, arXiv 2207.05221, sect. 5).

    Log-odds that the model's answer is wrong; higher = more uncertain. The same for every answer to one question. Theirs is a
    head that is trained with the model; this one is linear, on few directions, on the model as it is.

        scorer = PikScorer(model, StateProbe.from_options(calibrator.provenance.scorer_options))
        scorer.score_traces([trace])[0].value
    """

    name = "pik"

    def state(self, trace: Trace) -> np.ndarray:
        return states_of(self.model, [trace], self.probe.layer)[0]

    def score_questions(self, traces: Sequence[Trace]) -> list[Score]:
        """The same before anything is answered: of prompts alone, in one batch. Without a number where a prompt is longer than
        the context, or its states are not finite."""
        if not traces:
            return []
        numbers = self.probe.numbers(np.stack(states_of(self.model, traces, self.probe.layer)))
        return [Score.of(self.name, number, length=0) for number in numbers.tolist()]


class ProbeScorer(_StateScorer):
    """Reads the answer: the mean over its words that the question does not have, or over all tokens where it has none.

    Log-odds that this answer is wrong; higher = more uncertain.
    """

    name = "probe"

    def state(self, trace: Trace) -> np.ndarray:
        return telling_state(self.model, trace, self.probe.layer)


def check_layer(model: LocalModel, probe: StateProbe) -> None:
    """Raise `ValueError` for a probe that reads what the model does not have."""
    layers, width = len(model.anatomy.layers), model.anatomy.head.in_features
    if probe.layer >= layers or probe.width != width:
        raise ValueError(
            f"the probe reads layer {probe.layer}, {probe.width} numbers; {model.name} has {layers} layers of {width}"
        )


def telling_state(model: LocalModel, trace: Trace, layer: int) -> np.ndarray:
    """What entered `layer` at the answer's words that the question does not have (at all, where none is), the mean, (D,)."""
    return answer_states(model, [trace], layer, [telling_in(model.tokenizer, trace)])[0]


def telling_in(tokenizer: Any, trace: Trace) -> list[int]:
    """Which tokens of an answer hold words that its question does not; all of them where none does."""
    words = words_of(token_pieces(tokenizer, trace.response_ids))
    return telling_tokens(words, asked_words(question_of(trace.messages)), len(trace.response_ids))
