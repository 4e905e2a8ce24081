"""Reads a GGUF file once and keeps a dense copy in the user's cache.

transformers takes 10 to 30 s to dequantise even a small file; the dense float32 copy loads in under a second.
The copy's folder is named after the file's hash and appears by one rename, so it is either whole or absent, also when two
processes make it at once.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import platformdirs

from guardrail.errors import ModelError, ModelNotFoundError
from guardrail.files import open_file
from guardrail.model.checkpoint import require_all_weights


def cache_dir() -> Path:
    """Where dense copies live: `$GUARDRAIL_CACHE`, or the platform's cache folder."""
    return Path(os.environ.get("GUARDRAIL_CACHE") or platformdirs.user_cache_dir("guardrail"))


def dense_copy(file: Path, progress: Callable[[str], None] | None = None) -> Path:
    """The folder with the dequantised weights and the tokenizer of `file`; made on first use.

    Raises `ModelNotFoundError` for a file that is not GGUF, `ModelError` when transformers cannot read its architecture or
    the cache cannot be written.
    """
    try:
        with open_file(file) as stream:
            if stream.read(4) != b"GGUF":
                raise ModelNotFoundError(f"{str(file)!r} is not a GGUF file (its first four bytes are not 'GGUF')")
            stream.seek(0)
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"cannot read {str(file)!r}: {error.strerror or error}") from error
    target = cache_dir() / "dense" / f"{file.stem}-{digest[:16]}"
    if not target.is_dir():
        if progress:
            progress(f"dequantising {file.name} (once, kept in {target})")
        _write(file, target)
    return target


def _write(file: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=".making-"))
    except OSError as error:
        raise ModelError(
            f"cannot write the model cache {str(target.parent)!r}: {error}; set GUARDRAIL_CACHE"
        ) from error
    try:
        try:
            model, info = AutoModelForCausalLM.from_pretrained(
                file.parent,
                gguf_file=file.name,
                quantization_config=GgufConfig(dequantize=True),
                dtype=torch.float32,
                output_loading_info=True,
            )
            tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        except Exception as error:  # a damaged file makes its readers raise anything: struct.error, IndexError, ...
            raise ModelError(f"transformers cannot read {str(file)!r}: {_one_line(error)}") from error
        require_all_weights(str(file), model, info)
        try:
            model.save_pretrained(scratch)
            tokenizer.save_pretrained(scratch)
            scratch.rename(target)
        except Exception as error:  # safetensors has an error of its own for a full disk
            if not target.is_dir():  # otherwise another process was first, and its copy is as good
                raise ModelError(
                    f"cannot write the model cache {str(target)!r}: {_one_line(error)}; set GUARDRAIL_CACHE"
                ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
