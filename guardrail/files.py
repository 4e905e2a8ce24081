"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from guardrail.errors import DataError, GuardrailError


def write_whole(path: str | os.PathLike[str], text: str, what: str, error: type[GuardrailError]) -> None:
    """Write UTF-8 text to a temporary file next to `path`, which then takes its place. A link stays a link.

    Raises `error`, whose message says that `what` could not be written, and why.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise error(f"{os.fspath(path)}: cannot write {what}: it is not a regular file")
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as e:
        raise error(f"{os.fspath(path)}: cannot write {what}: {e.strerror}") from e
    finally:
        with suppress(OSError):
            temporary.unlink()


def check_page(path: Path) -> None:
    """Fail before a model is loaded, not after. Raises `DataError` where no page can be written to `path`."""
    if not path.name or path.is_dir():
        raise DataError(f"cannot write {str(path)!r}: it is a folder; give a file in it, for example claims.html")
    if not path.parent.is_dir():
        raise DataError(f"cannot write {str(path)!r}: there is no folder {str(path.parent)!r}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise DataError(f"cannot write {str(path)!r}: permission denied")
