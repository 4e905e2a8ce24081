"""`guardrail serve` as a real process: started, waited for, signalled, its log read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx


class ServingProcess:
    """One server on a free port. url: where it is. Ends with the block that it is the context of."""

    def __init__(self, model: Path | str, log: Path, *options: str) -> None:
        command = [sys.executable, "-m", "guardrail.cli", "serve", "--model", str(model), "--port", "0", *options]
        self.log = log
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts with & ignores it
        with log.open("w", encoding="utf-8") as stderr:
            self.process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
            )
        signal.signal(signal.SIGINT, before)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip().rstrip("/")

    def __enter__(self) -> ServingProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def ready(self) -> ServingProcess:
        """Once it can be asked."""
        end = time.monotonic() + 300
        while httpx.get(f"{self.url}/readyz", timeout=60).status_code != 200:
            assert self.process.poll() is None, self.log.read_text(encoding="utf-8")[-2000:]
            assert time.monotonic() < end
            time.sleep(0.1)
        return self

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self, seconds: float = 60) -> int:
        """Its exit code."""
        return self.process.wait(seconds)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What it logged, line by line; what is no JSON is none of the server's."""
        said = self.log.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in said if line.startswith("{")]

    def until_logged(self, **wanted: Any) -> dict[str, Any]:
        """The first line with these values, waited for."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            for line in self.lines:
                if all(line.get(key) == value for key, value in wanted.items()):
                    return line
            time.sleep(0.05)
        raise AssertionError(f"no line with {wanted}: {self.log.read_text(encoding='utf-8')[-2000:]}")

    @property
    def memory(self) -> float:
        """Resident memory, in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024
