"""Claims compared with passages: supported, contradicted, or not found."""

from __future__ import annotations

from guardrail.verification.model import Bounds, ModelVerifier
from guardrail.verification.nli import NliVerifier
from guardrail.verification.premises import PremiseFinder
from guardrail.verification.protocol import Verifier
from guardrail.verification.search import evidence_for

__all__ = ["Bounds", "ModelVerifier", "NliVerifier", "PremiseFinder", "Verifier", "evidence_for"]
