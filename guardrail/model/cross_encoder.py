"""A folder or a hub id -> a sentence-transformers cross-encoder, whole and without pickles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guardrail.errors import GuardrailError
from guardrail.model.checkpoint import require_reachable, require_whole_transformer, safe_weights, with_remedy

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder


def load_cross_encoder(spec: str, error: type[GuardrailError], device: str | None = None) -> CrossEncoder:
    """Raises `error` for one that cannot be loaded, `ModelError` for one that lacks weights. device: None takes the best."""
    from sentence_transformers import CrossEncoder  # imports torch and more

    try:
        require_reachable(spec)
        model = CrossEncoder(spec, device=device, model_kwargs={**safe_weights(), "ignore_mismatched_sizes": True})
    except (OSError, ValueError, RuntimeError) as cause:
        reason = str(cause).strip().split("\n")[0]
        raise error(f"cannot load the cross-encoder {spec!r} (a folder or a hub id): {with_remedy(reason)}") from cause
    require_whole_transformer(spec, model)
    return model
