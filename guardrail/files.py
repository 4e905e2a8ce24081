"""Files that a user named: read where they are ordinary, written whole or not at all.

What cannot be read or written is an OSError in plain words, also where the system itself would wait or read for ever;
callers make it an error of their own that says what the file was for. Knows nothing about what files hold.
"""

from __future__ import annotations

import errno
import io
import os
import secrets
import select
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from guardrail.errors import DataError, GuardrailError

SMALL = 64 * 2**20
"""Bytes: no calibrator, template, figures file or single row is larger."""

LARGE = 2**30
"""Bytes that are read from a pipe by whoever needs all of them; an ordinary file has an end, and no limit."""

_PATIENCE = 1.0  # seconds for the writer of a FIFO to come
_PIECE = 2**20

StrPath = str | os.PathLike[str]


def open_file(path: StrPath) -> io.BufferedReader:
    """A file for reading. A pipe with a writer, a terminal and the null device are read, too.

    Raises:
        OSError: It cannot be opened, or reading it would never end: a device, a socket, a FIFO that nobody writes to.
    """
    try:
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error), os.fspath(path)) from error
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise _unfit(path, "a socket or a device without a driver") from error
        raise
    try:
        return io.BufferedReader(_Opened(file, path))
    except BaseException:
        with suppress(OSError):
            os.close(file)
        raise


def standard_input() -> IO[bytes]:
    """What is piped in, as bytes. Raises OSError where it is closed, or a device without an end."""
    if sys.stdin is None:
        raise OSError(errno.EBADF, "standard input is closed")
    with suppress(io.UnsupportedOperation, AttributeError):  # something that stands for it, which is no file
        _check(sys.stdin.fileno(), "standard input")
    return sys.stdin.buffer


def read_stream(file: IO[bytes], most: int | None = SMALL) -> bytes:
    """All that a file holds. most: bytes; None takes what an ordinary file holds, and `LARGE` of others.

    Raises:
        OSError: It holds more than that, or more than memory does.
    """
    if most is None and not _ordinary(file):
        most = LARGE
    pieces, size = [], 0
    try:
        while piece := file.read(_PIECE if most is None else min(_PIECE, most + 1 - size)):
            pieces.append(piece)
            size += len(piece)
            if most is not None and size > most:
                raise OSError(errno.EFBIG, f"it is larger than {_in_words(most)}")
        return b"".join(pieces)
    except MemoryError:
        raise OSError(errno.ENOMEM, "it does not fit into memory; give a smaller file") from None


def read_bytes(path: StrPath, most: int | None = SMALL) -> bytes:
    """`read_stream` of a file. Raises OSError as that does, and as `open_file` does."""
    with open_file(path) as file:
        return read_stream(file, most)


def read_text(path: StrPath, most: int | None = SMALL) -> str:
    """UTF-8 text without a byte-order mark, its lines ended by a newline alone. Raises OSError, and UnicodeDecodeError."""
    return read_bytes(path, most).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")


def read_lines(file: IO[bytes]) -> Iterator[bytes]:
    """Lines with their ends. Raises OSError for one that is larger than `SMALL`, or than memory."""
    number = 1
    try:
        while line := file.readline(SMALL + 1):
            if len(line) > SMALL:
                raise OSError(errno.EFBIG, f"line {number} is longer than {_in_words(SMALL)}")
            yield line
            number += 1
    except MemoryError:
        raise OSError(errno.ENOMEM, f"line {number} does not fit into memory; give a smaller file") from None


@contextmanager
def whole_file(path: StrPath) -> Iterator[IO[bytes]]:
    """A file for writing that takes its place when the block ends well; otherwise what was there stays.

    A link stays a link, and permissions stay. A pipe or a terminal is written to, not replaced.

    Raises:
        OSError: It cannot be written.
    """
    target = Path(os.path.realpath(path))
    try:
        mode: int | None = target.stat().st_mode
    except FileNotFoundError:
        mode = None
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error), os.fspath(path)) from error
    if mode is not None and not stat.S_ISREG(mode):
        if not (stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)):
            raise OSError(errno.EINVAL, "it is not a regular file", os.fspath(path))
        with target.open("wb") as file:
            yield file
        return
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            if mode is not None:
                temporary.chmod(stat.S_IMODE(mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_whole(path: StrPath, text: str, what: str, error: type[GuardrailError]) -> None:
    """Write UTF-8 text by `whole_file`. Raises `error`, whose message says that `what` could not be written, and why."""
    try:
        data = text.encode()
        with whole_file(path) as file:
            file.write(data)
    except UnicodeEncodeError as e:
        raise error(f"{os.fspath(path)}: cannot write {what}: it holds {text[e.start]!a}, half of a character") from e
    except OSError as e:
        raise error(f"{os.fspath(path)}: cannot write {what}: {e.strerror or e}") from e


def check_page(path: Path) -> None:
    """Fail before a model is loaded, not after. Raises `DataError` where no page can be written to `path`."""
    if not path.name or path.is_dir():
        raise DataError(f"cannot write {str(path)!r}: it is a folder; give a file in it, for example claims.html")
    if not path.parent.is_dir():
        raise DataError(f"cannot write {str(path)!r}: there is no folder {str(path.parent)!r}")
    place = Path(os.path.realpath(path))
    beside = place.parent if place.is_file() or not place.exists() else place  # a file is replaced, a device written to
    if not os.access(beside, os.W_OK) or (place.exists() and not os.access(place, os.W_OK)):
        raise DataError(f"cannot write {str(path)!r}: permission denied")


class _Opened(io.FileIO):
    """A file that was opened without waiting, checked; reads wait again."""

    def __init__(self, file: int, path: StrPath) -> None:
        self._begun = b""
        if stat.S_ISFIFO(_check(file, path)):
            if not _waited(file):
                with suppress(BlockingIOError):  # it has a writer, who takes his time
                    self._begun = os.read(file, 1)
                    if not self._begun:
                        raise _unfit(path, "a FIFO that nobody writes to")
            os.set_blocking(file, True)
        super().__init__(file, "rb")

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override]
        if not self._begun:
            return super().readinto(buffer)
        buffer[:1], self._begun = self._begun, b""
        return 1

    def readall(self) -> bytes:
        begun, self._begun = self._begun, b""
        return begun + (super().readall() or b"")


def _waited(file: int) -> bool:
    """Whether a pipe holds something, or had a writer, within the patience."""
    poll = select.poll()
    poll.register(file, select.POLLIN)
    return bool(poll.poll(_PATIENCE * 1000))


def _check(file: int, path: StrPath) -> int:
    """The mode of an open file. Raises OSError for one that is not to be read."""
    found = os.fstat(file)
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    endless = stat.S_ISCHR(found.st_mode) and not os.isatty(file) and not os.path.samestat(found, os.stat(os.devnull))
    if endless or stat.S_ISBLK(found.st_mode):
        raise _unfit(path, "a device")
    return found.st_mode


def _ordinary(file: IO[bytes]) -> bool:
    try:
        return stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    except io.UnsupportedOperation:
        return True


def _unfit(path: StrPath, kind: str) -> OSError:
    return OSError(errno.EINVAL, f"it is {kind}; give an ordinary file", os.fspath(path))


def _in_words(size: int) -> str:
    return f"{size // 2**20} MiB" if size >= 2**20 else f"{size // 1024} KiB"
