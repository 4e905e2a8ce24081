"""llama.cpp's server on the embedded model's own quantised weights, in this process (package xllamacpp)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from guardrail.model.spec import ALIASES, DEFAULT_MODEL, packaged_file


@contextmanager
def llama_server(threads: int = 1) -> Iterator[str]:
    """Yields the spec of the model behind it. Raises `ImportError` without xllamacpp."""
    import xllamacpp

    file = packaged_file(ALIASES[DEFAULT_MODEL])
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(file)
    parameters.hostnames, parameters.port, parameters.warmup = ["127.0.0.1"], 0, False
    parameters.n_ctx, parameters.n_parallel = 1024, 1
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(parameters)  # ends when nobody holds it
    url = f"{server.listening_address.rstrip('/')}/v1"
    yield f"openai:{url}#{httpx.get(f'{url}/models').json()['data'][0]['id']}"
    del server
