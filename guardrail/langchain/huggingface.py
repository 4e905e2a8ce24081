"""`ChatHuggingFace` and transformers pipelines -> LocalModel: the weights that they have loaded already, not a second copy."""

from __future__ import annotations

from typing import Any

from torch import nn

from guardrail.errors import ModelError
from guardrail.model.local import LocalModel


def from_pipeline(pipeline: Any, *, tokenizer: Any = None, name: str | None = None) -> LocalModel:
    """The model of a transformers text-generation pipeline, or of LangChain's `HuggingFacePipeline` around one.

    tokenizer: instead of the pipeline's. Raises `ModelError` for anything else.
    """
    inner = getattr(pipeline, "pipeline", pipeline)
    model = getattr(inner, "model", None)
    tokenizer = tokenizer or getattr(inner, "tokenizer", None)
    if not isinstance(model, nn.Module) or not hasattr(model, "get_output_embeddings") or tokenizer is None:
        raise ModelError(
            f"{type(pipeline).__name__} holds no local model with its tokenizer; a transformers text-generation pipeline, or "
            "HuggingFacePipeline, does"
        )
    return LocalModel(model, tokenizer, name=name or getattr(pipeline, "model_id", None))


def from_chat_huggingface(chat: Any) -> LocalModel:
    """The model behind a `ChatHuggingFace`, with the tokenizer and the name that the chat model has.

    Raises `ModelError` where the model runs elsewhere (an endpoint, a text-generation server) or `chat` is something else.
    """
    llm = getattr(chat, "llm", None)
    if llm is None or not hasattr(llm, "pipeline"):
        what = type(chat).__name__ if llm is None else f"{type(chat).__name__} over {type(llm).__name__}"
        raise ModelError(
            f"{what} has no local model: scores need the weights. Give ChatHuggingFace(llm=HuggingFacePipeline(...)), or a "
            "Guard on a local twin of the model"
        )
    return from_pipeline(llm, tokenizer=getattr(chat, "tokenizer", None), name=getattr(chat, "model_id", None))
