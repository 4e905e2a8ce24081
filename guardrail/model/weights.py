"""Whether weights may be pickles, which can run code when they are loaded: not unless the user says so. For every loader."""

from __future__ import annotations

import os

ALLOWING = "GUARDRAIL_ALLOW_PICKLE"


def pickles_allowed() -> bool:
    """Whether `$GUARDRAIL_ALLOW_PICKLE` is 1, so that checkpoints in the form of `pytorch_model.bin` are loaded, too."""
    return os.environ.get(ALLOWING) == "1"


def safe_weights() -> dict[str, bool]:
    """What `from_pretrained` of transformers is told: safetensors alone, unless pickles are allowed."""
    return {} if pickles_allowed() else {"use_safetensors": True}


def with_remedy(reason: str) -> str:
    """An error's text, and what to do about it where it says that there are no safetensors."""
    if pickles_allowed() or "safetensors" not in reason:
        return reason
    return (
        f"{reason.rstrip('.')}; weights are loaded from safetensors alone, since a .bin file may run code: convert it, or set "
        f"{ALLOWING}=1 where you trust whoever made it"
    )
