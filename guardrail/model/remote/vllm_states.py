"""Hidden states that vLLM wrote: one safetensors file a request, by `extract_hidden_states` and a KV connector. Experimental.

The format is that of vLLM's documentation, "Hidden State Extraction", and of its `ExampleHiddenStatesConnector` (0.18 and
later): `token_ids` (T,) and `hidden_states` (T, L, D), L layers in the order of `eagle_aux_hidden_state_layer_ids`. Layer l is
what enters the decoder's layer l, and the number of layers what leaves the last one, before the final norm. Beside the file
stands FILE.lock, which the engine holds while it writes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from guardrail.errors import DataError

_PAUSE = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class RecordedStates:
    """Of one request.

    ids: What the engine read, T token ids. layers: l of each h^(l), L of them. states: (T, L, D), as the engine has them.
    """

    ids: tuple[int, ...]
    layers: tuple[int, ...]
    states: Tensor

    def entering(self, layer: int) -> Tensor:
        """h^(l), (T, D), on the CPU. Raises `DataError` for a layer that was not recorded."""
        if layer not in self.layers:
            raise DataError(
                f"layer {layer} was not recorded; these were: {list(self.layers)}. Add it to the engine's "
                "eagle_aux_hidden_state_layer_ids"
            )
        return self.states[:, self.layers.index(layer)]


def read_states(path: str | Path, layers: Sequence[int], *, within: float = 30.0) -> RecordedStates:
    """Read a request's file, once the engine has written it.

    Args:
        path: What the engine gave as `kv_transfer_params["hidden_states_path"]`.
        layers: The engine's `eagle_aux_hidden_state_layer_ids`, in its order: the file does not tell.
        within: Seconds that the engine's lock is waited for.

    Raises:
        DataError: There is no such file, it is not finished in time, or it is none of these.
    """
    path = Path(path)
    _wait(Path(f"{path}.lock"), within)
    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"cannot read the states in {str(path)!r}: {' '.join(str(error).split())[:200]}; is the engine's "
            "shared_storage_path on this machine, and has nothing removed the file?"
        ) from error
    if missing := {"token_ids", "hidden_states"} - found.keys():
        raise DataError(f"{str(path)!r} holds no {min(missing)}; it has: {', '.join(sorted(found)) or 'nothing'}")
    ids, states = found["token_ids"], found["hidden_states"]
    if ids.ndim != 1 or ids.is_floating_point() or states.ndim != 3 or not states.is_floating_point():
        raise DataError(
            f"{str(path)!r} holds token_ids {tuple(ids.shape)} of {ids.dtype} and hidden_states {tuple(states.shape)} of "
            f"{states.dtype}; they are whole numbers (tokens,) and (tokens, layers, units)"
        )
    if len(ids) != len(states) or states.shape[1] != len(layers):
        raise DataError(
            f"{str(path)!r} holds {len(ids)} tokens, and states of {states.shape[0]} tokens and {states.shape[1]} layers; "
            f"{len(layers)} layers were to be in it: {list(layers)}"
        )
    return RecordedStates(tuple(ids.tolist()), tuple(layers), states)


def _wait(lock: Path, within: float) -> None:
    """Until the engine has let go of its lock; at once where there is none. Raises `DataError`."""
    try:
        with lock.open("rb") as file:
            end = time.monotonic() + within
            while not _is_free(file):
                if time.monotonic() > end:
                    raise DataError(
                        f"after {within:g} s the engine still writes what {str(lock)!r} stands for; is its disk full?"
                    )
                time.sleep(_PAUSE)
    except FileNotFoundError:
        return
    except OSError as error:
        raise DataError(
            f"cannot wait for the engine's lock {str(lock)!r}: {error.strerror}; may this process read the engine's files?"
        ) from error


def _is_free(file: IO[bytes]) -> bool:
    import fcntl  # not on Windows, where vLLM is not either

    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
