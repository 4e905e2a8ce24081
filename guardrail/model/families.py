"""Which class of transformers loads a checkpoint: chat models, and models of images and text for their text. What is of another
kind is refused in words."""

from __future__ import annotations

from typing import Any

from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)

from guardrail.errors import UnsupportedModelError


def class_for(name: str, location: str, *, trust_remote_code: bool) -> Any:
    """The auto class for a checkpoint: of models of images and text where there is no class for their text alone.

    Raises `UnsupportedModelError` for an encoder-decoder and for what writes no text, and what transformers raises for a config
    that it cannot read.
    """
    config = AutoConfig.from_pretrained(location, trust_remote_code=trust_remote_code)
    kind = str(config.model_type)
    if getattr(config, "is_encoder_decoder", False):
        raise UnsupportedModelError(
            f"{name} is an encoder-decoder ({kind}): its question goes through another network than its answer, and the scores "
            "here are of models that read both in one; take a decoder-only chat model"
        )
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        return AutoModelForImageTextToText
    own = (getattr(config, "auto_map", None) or {}) if trust_remote_code else {}
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING and "AutoModelForCausalLM" not in own:
        raise UnsupportedModelError(
            f"{name} is no model that writes text: transformers has no such class for its kind, {kind}; take a decoder-only "
            "chat model"
        )
    return AutoModelForCausalLM
