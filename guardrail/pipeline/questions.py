"""Question -> P(IK), the probability that the model would answer it rightly, before it answers.

From a calibrator on the scorer `pik` (`guardrail calibrate --scorer pik`). The question alone is read, in that calibration's
prompt, whatever stands around it: one pass through the lower layers.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guardrail.errors import CalibrationError, GuardrailError
from guardrail.messages import as_messages
from guardrail.pipeline.assembly import CalibratorSource, read
from guardrail.pipeline.calibrated import Calibrated, calibrated
from guardrail.pipeline.failures import checked_scores, failed
from guardrail.scoring.states.scorer import PikScorer
from guardrail.types import Confidence, Trace

if TYPE_CHECKING:
    from guardrail.model.local import LocalModel
    from guardrail.policy import Policy


@dataclass(frozen=True, slots=True)
class QuestionPipeline:
    """Question -> P(IK). calibrated: on the scorer `pik`."""

    scorer: PikScorer
    calibrated: Calibrated

    def p_ik(self, questions: Sequence[str]) -> list[Confidence]:
        """That the model would answer each rightly; without a number for one that is longer than the context.

        Raises a `GuardrailError` for whatever fails.
        """
        try:
            traces = [self._asked(question) for question in questions]
            scores = checked_scores(self.scorer, self.scorer.score_questions(traces), traces)
            return [
                self.calibrated.confidence(
                    score, "", None if score.unscored else self.calibrated.familiarity(question, trace)
                )
                for question, trace, score in zip(questions, traces, scores, strict=True)
            ]
        except GuardrailError:
            raise
        except Exception as caught:
            raise failed("scorer", self.scorer, caught) from caught

    def _asked(self, question: str) -> Trace:
        origin = self.calibrated.origin
        prompt, system = (origin.prompt, origin.system) if origin else ("{question}", None)
        messages = as_messages(prompt.replace("{question}", question), system)
        return Trace(messages, tuple(self.scorer.model.encode_prompt(messages)), (), "", "given")


def question_pipeline(
    model: LocalModel, policy: Policy, calibrator: CalibratorSource | None
) -> QuestionPipeline | None:
    """What asks first; None where neither the policy nor the arguments want it.

    Raises `CalibrationError` where the policy asks first and there is no calibrator, and for one of another scorer.
    """
    make = f"guardrail calibrate DATA.jsonl --scorer pik -o pik.json --model {model.name}"
    if calibrator is None:
        if policy.ask_first is not None:
            raise CalibrationError(
                f"policy {policy.name!r} asks first, which needs a calibrator of questions (question_calibrator, "
                f"--question-calibrator): {make}"
            )
        return None
    # while a chain is calibrated, too: what it decides is part of what the chain does
    fitted, name = read(calibrator, os.fspath(calibrator) if isinstance(calibrator, str | os.PathLike) else None)
    found = calibrated(model, "answer", None, fitted, name)
    if not isinstance(found.scorer, PikScorer):
        raise CalibrationError(
            f"{name} is fitted on the scorer {found.scorer.name!r}, which reads an answer; asking first needs one that reads "
            f"the question alone: {make}"
        )
    return QuestionPipeline(found.scorer, found)
