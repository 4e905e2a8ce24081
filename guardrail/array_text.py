"""Arrays of numbers as base64 and back: how they stand in calibrators and records, where no pickle may be."""

from __future__ import annotations

import base64
import binascii

import numpy as np
from numpy.typing import ArrayLike, NDArray


def array_text(x: ArrayLike, dtype: str) -> str:
    """The numbers in row-major order, as `dtype`, such as "<f4": little-endian float32."""
    return base64.b64encode(np.ascontiguousarray(np.asarray(x).astype(dtype)).tobytes()).decode()


def array_in(text: str, dtype: str, name: str) -> NDArray[np.float64]:
    """What `array_text` made a text of, flat. name: of the field, for errors.

    Raises:
        ValueError: It is no base64 of such numbers, or one of them is not finite.
    """
    try:
        out: NDArray[np.float64] = np.frombuffer(base64.b64decode(text, validate=True), dtype=dtype).astype(np.float64)
    except (ValueError, binascii.Error) as error:
        raise ValueError(f"{name} is no base64 of {np.dtype(dtype).name} numbers") from error
    if not np.isfinite(out).all():
        raise ValueError(f"{name} must be finite")
    return out
