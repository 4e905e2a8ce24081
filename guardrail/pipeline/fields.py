"""What judges the fields of JSON answers: the claims' pipeline of a Guard, or one like it, with another extractor."""

from __future__ import annotations

from dataclasses import replace

from guardrail.calibration.provenance import ExtractorIdentity
from guardrail.claims import SentenceClaims
from guardrail.claims.fields import JsonFields
from guardrail.errors import CalibrationError
from guardrail.model.local import LocalModel
from guardrail.pipeline.calibrated import calibrated
from guardrail.pipeline.claims import ClaimPipeline
from guardrail.policy import Policy
from guardrail.scoring.protocol import scores_spans


def field_pipeline(model: LocalModel, policy: Policy, claims: ClaimPipeline | None) -> ClaimPipeline:
    """The pipeline of fields; they are not looked up.

    Args:
        model: The model that answers.
        policy: Its rules for claims are those for fields.
        claims: The Guard's own, whose calibrator is taken. None takes the one that is shipped for the claims of this model.
            Where it was fitted on other claims than fields, confidences are `extrapolated`; without one there are none.
    """
    if claims is not None:
        return replace(claims, extractor=JsonFields(), retriever=None, verifier=None)
    sentences = SentenceClaims()
    identity = ExtractorIdentity(name=sentences.name, options=dict(sentences.options))
    fitted = calibrated(model, "claim", None, None, "", identity)
    scorer = fitted.scorer
    if not scores_spans(scorer):
        raise CalibrationError(f"{fitted.name} is fitted on scorer {scorer.name!r}, which cannot score fields")
    return ClaimPipeline(model, JsonFields(), scorer, fitted, policy, None, None)
