"""What a checkpoint must be: no pickle, which can run code, unless the user says so; and whole, since what it lacks would be
random, and another model each time."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from guardrail.errors import ModelError
from guardrail.files import read_text
from guardrail.json_text import parse
from guardrail.model.identity import require_finite_weights

ALLOWING = "GUARDRAIL_ALLOW_PICKLE"
_SHOWN = 4
_INDEX = re.compile(r"\.\d+\.")
_CONFIGS = ("config.json", "adapter_config.json")


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


def require_reachable(name: str) -> None:
    """Raise `OSError` for a hub id that is not in the cache while the hub cannot be reached: its readers try for minutes.

    What the hub answers is left to them: they know what is wrong with a name, or who may read it.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache  # takes half a second
    from huggingface_hub.errors import HfHubHTTPError

    if Path(name).exists() or any(isinstance(try_to_load_from_cache(name, file), str) for file in _CONFIGS):
        return
    for pause in (2.0, 0.0):
        try:
            get_hf_file_metadata(hf_hub_url(name, _CONFIGS[0]))
        except HfHubHTTPError:
            return
        except OSError as error:  # offline mode
            raise OSError(f"{name!r} is not in the cache, and {error}") from error
        except Exception as error:  # of whichever HTTP client the hub's library has
            if not pause:
                raise OSError(
                    f"{name!r} is not in the cache, and the hub cannot be reached ({error}); check the network, or give "
                    "a folder"
                ) from error
            time.sleep(pause)
        else:
            return


def require_generation_config(folder: Path) -> None:
    """Raise `ModelError` for a folder's generation_config.json that cannot be read: transformers would go without, in silence,
    and so without the end-of-turn tokens that it names.
    """
    file = folder / "generation_config.json"
    if not file.is_file():
        return
    try:
        told = parse(read_text(file))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read: {error}; get the model's files again") from error
    if not isinstance(told, dict):
        raise ModelError(f"{file} holds no JSON object; get the model's files again")


def require_all_weights(name: str, model: Any, info: Mapping[str, Any], *, unused: Collection[str] = ()) -> None:
    """Raise `ModelError`, naming them, for weights that the checkpoint lacks, has in another shape, or has of further layers.

    Args:
        name: The model's, for the message.
        model: The loaded module; what shares its tensor with a weight that was read (a tied head) is not missing.
        info: What `from_pretrained(..., output_loading_info=True)` gave beside it.
        unused: Beginnings of the names of weights that nothing reads.
    """
    missing = set(info.get("missing_keys") or ())
    tensors = dict(model.named_parameters(remove_duplicate=False))
    read = {id(x) for key, x in tensors.items() if key not in missing}
    lacking = sorted(
        key for key in missing if id(tensors.get(key)) not in read and not key.startswith(tuple(unused) or (" ",))
    )
    if lacking:
        raise ModelError(
            f"the checkpoint of {name!r} lacks {_few(lacking)}, which would be made up at random; get all of its files again"
        )
    if other := sorted(str(key[0] if isinstance(key, tuple) else key) for key in info.get("mismatched_keys") or ()):
        raise ModelError(
            f"the checkpoint of {name!r} has {_few(other)} in another shape than its config.json says; the two do not belong "
            "together"
        )
    places = {_INDEX.sub(".#.", key) for key in tensors}
    if beyond := sorted(
        key for key in info.get("unexpected_keys") or () if _INDEX.search(key) and _INDEX.sub(".#.", key) in places
    ):
        raise ModelError(
            f"the checkpoint of {name!r} has {_few(beyond)}, for which its config.json has no layer; the two do not belong "
            "together"
        )
    if errors := list(info.get("error_msgs") or ()):
        raise ModelError(f"the checkpoint of {name!r} cannot be read: {' '.join(str(errors[0]).split())[:300]}")


def require_whole_transformer(name: str, modules: Any) -> None:
    """The same for a sentence-transformers model, which reads its checkpoints itself and says nothing: they are read again.

    A pooler counts only where the model's numbers come from it, as in a classifier. NaN and infinity are refused, too.
    """
    from transformers import PreTrainedModel  # takes a second, and those who ask have it loaded already

    require_finite_weights(name, modules)
    for module in modules.modules():
        if not isinstance(module, PreTrainedModel) or not (location := module.config._name_or_path):
            continue
        again, info = type(module).from_pretrained(
            location, output_loading_info=True, ignore_mismatched_sizes=True, **safe_weights()
        )
        classifies = type(module).__name__.endswith("Classification")
        require_all_weights(name, again, info, unused=() if classifies else ("pooler.",))
        return


def _few(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more weights" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"
