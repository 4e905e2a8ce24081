"""A folder with an adapter alone, as peft saves one: its base is loaded, and the adapter onto it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from guardrail.errors import MissingExtraError, ModelError, ModelNotFoundError
from guardrail.files import read_text
from guardrail.json_text import parse
from guardrail.model.checkpoint import ALLOWING, pickles_allowed
from guardrail.model.spec import resolve

CONFIG = "adapter_config.json"


def base_of(folder: Path) -> str:
    """The name of the model that an adapter belongs to. Raises `ModelError` where its config does not say."""
    try:
        told = parse(read_text(folder / CONFIG))
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder / CONFIG} cannot be read: {error}; get the adapter's files again") from error
    base = told.get("base_model_name_or_path") if isinstance(told, dict) else None
    if not isinstance(base, str) or not base.strip():
        raise ModelError(
            f"{folder / CONFIG} does not name its base model; set base_model_name_or_path to the base's folder or hub id, or "
            "merge the adapter into its base (peft's merge_and_unload) and save that"
        )
    if resolve(base).kind == "adapter":
        raise ModelError(
            f"{folder / CONFIG} names another adapter as its base, {base!r}; merge that one into its base and name the result"
        )
    return base


def require_peft(folder: Path) -> None:
    """Raise `MissingExtraError` where peft, which loads adapters, is not installed."""
    try:
        import peft  # noqa: F401  (an optional dependency)
    except ImportError as error:
        raise MissingExtraError(
            f"the folder {str(folder)!r} holds an adapter, which peft loads; pip install peft, or give a folder into whose "
            "weights it was merged (peft's merge_and_unload)"
        ) from error


def with_adapter(model: Any, folder: Path) -> Any:
    """The model with the folder's adapter on it.

    Raises `ModelError` for an adapter of another model, and for one that lacks weights or has some that nothing reads.
    """
    from peft import PeftModel

    if not (folder / "adapter_model.safetensors").is_file() and not pickles_allowed():
        raise ModelNotFoundError(
            f"the adapter {str(folder)!r} has no adapter_model.safetensors; weights are loaded from safetensors alone, since a "
            f".bin file may run code: convert it, or set {ALLOWING}=1 where you trust whoever made it"
        )
    if parse((folder / CONFIG).read_text(encoding="utf-8")).get("alora_invocation_tokens"):
        raise ModelError(
            f"the adapter {str(folder)!r} is an activated LoRA, which guardrail runs only as one that states a confidence, "
            "and it has no stated_confidence.json: end its training with guardrail distill --resume, or get its files again"
        )
    try:
        adapted = PeftModel.from_pretrained(model, str(folder))
        found = adapted.load_adapter(str(folder), adapter_name="default")
    except Exception as error:  # an adapter of another shape or kind makes peft raise anything
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"the adapter {str(folder)!r} does not fit its base model: {reason}") from error
    if found.missing_keys:
        raise ModelError(
            f"the adapter {str(folder)!r} lacks {found.missing_keys[0]}, which would be made up; get its files again"
        )
    if beyond := [
        key for key in found.unexpected_keys if "." in key
    ]:  # virtual tokens have no dot, and no place of their own
        raise ModelError(
            f"the adapter {str(folder)!r} has {beyond[0]}, for which its base model has no place: it was trained on another "
            "one; set base_model_name_or_path to that"
        )
    return adapted
