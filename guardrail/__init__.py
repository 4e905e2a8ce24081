"""guardrail: knows when a local language model does not know.

    from guardrail import Guard

    guard = Guard.from_pretrained("smollm2-135m")
    verdict = guard.answer("What is the capital of France?")
    verdict.text, verdict.action, verdict.confidence.p_correct

Importing this package imports neither torch nor transformers: public names load on first use.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from guardrail import moved
from guardrail.errors import (
    CalibrationError,
    CalibratorMismatchError,
    ChatTemplateError,
    ClusterError,
    DataError,
    GuardrailError,
    LowConfidenceError,
    MissingExtraError,
    ModelError,
    ModelNotFoundError,
    NotFittedError,
    PolicyError,
    RetrievalError,
    ScoringError,
    UnscoredError,
    UnsupportedModelError,
)
from guardrail.types import (
    LABELS,
    Attempt,
    Claim,
    Confidence,
    Decision,
    Evidence,
    JudgedClaim,
    Score,
    Trace,
    Verdict,
)

if TYPE_CHECKING:
    from guardrail.calibration.isotonic import IsotonicCalibrator
    from guardrail.claims import SentenceClaims
    from guardrail.distillation.distill import distill
    from guardrail.evaluation.calibrate import calibrate
    from guardrail.evaluation.compare import bench
    from guardrail.evaluation.evaluate import evaluate
    from guardrail.evaluation.recalibrate import recalibrate
    from guardrail.evaluation.score import score
    from guardrail.evaluation.through import calibrate_chain, evaluate_chain
    from guardrail.evaluation.tune import tune, tune_chain
    from guardrail.evaluation.tune_claims import tune_claims
    from guardrail.evaluation.tune_escalation import tune_escalation
    from guardrail.guard import Guard
    from guardrail.model.loading import load_model
    from guardrail.model.local import LocalModel
    from guardrail.model.remote.model import RemoteModel
    from guardrail.monitoring.monitor import monitor
    from guardrail.observers.verdict_log import VerdictLog
    from guardrail.pages import report, sps
    from guardrail.policy import Policy
    from guardrail.retrieval import load_retriever
    from guardrail.runs.cluster import Cluster
    from guardrail.scoring.hybridgrad import HybridGradScorer
    from guardrail.scoring.profile import Profile

_LAZY = {
    "Cluster": "guardrail.runs.cluster",
    "Guard": "guardrail.guard",
    "HybridGradScorer": "guardrail.scoring.hybridgrad",
    "calibrate": "guardrail.evaluation.calibrate",
    "calibrate_chain": "guardrail.evaluation.through",
    "IsotonicCalibrator": "guardrail.calibration.isotonic",
    "LocalModel": "guardrail.model.local",
    "Policy": "guardrail.policy",
    "Profile": "guardrail.scoring.profile",
    "RemoteModel": "guardrail.model.remote.model",
    "SentenceClaims": "guardrail.claims",
    "VerdictLog": "guardrail.observers.verdict_log",
    "bench": "guardrail.evaluation.compare",
    "distill": "guardrail.distillation.distill",
    "evaluate": "guardrail.evaluation.evaluate",
    "evaluate_chain": "guardrail.evaluation.through",
    "load_model": "guardrail.model.loading",
    "load_retriever": "guardrail.retrieval",
    "monitor": "guardrail.monitoring.monitor",
    "recalibrate": "guardrail.evaluation.recalibrate",
    "report": "guardrail.pages",
    "score": "guardrail.evaluation.score",
    "sps": "guardrail.pages",
    "tune": "guardrail.evaluation.tune",
    "tune_claims": "guardrail.evaluation.tune_claims",
    "tune_chain": "guardrail.evaluation.tune",
    "tune_escalation": "guardrail.evaluation.tune_escalation",
}

__all__ = [
    "LABELS",
    "Attempt",
    "CalibrationError",
    "CalibratorMismatchError",
    "ChatTemplateError",
    "Claim",
    "Cluster",
    "ClusterError",
    "Confidence",
    "DataError",
    "Decision",
    "Evidence",
    "Guard",
    "GuardrailError",
    "HybridGradScorer",
    "IsotonicCalibrator",
    "JudgedClaim",
    "LocalModel",
    "LowConfidenceError",
    "MissingExtraError",
    "ModelError",
    "ModelNotFoundError",
    "NotFittedError",
    "Policy",
    "PolicyError",
    "Profile",
    "RemoteModel",
    "RetrievalError",
    "Score",
    "ScoringError",
    "SentenceClaims",
    "Trace",
    "UnscoredError",
    "UnsupportedModelError",
    "Verdict",
    "VerdictLog",
    "bench",
    "calibrate",
    "calibrate_chain",
    "distill",
    "evaluate",
    "evaluate_chain",
    "load_model",
    "load_retriever",
    "monitor",
    "recalibrate",
    "report",
    "score",
    "sps",
    "tune",
    "tune_chain",
    "tune_claims",
    "tune_escalation",
]

try:
    __version__ = version("hybridgrad-guardrail")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+unknown"


moved.install()


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'guardrail' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
