"""The server's log: one line of JSON for each thing that happens, without texts."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

LOG = logging.getLogger("guardrail.server")


def log_line(**told: Any) -> str:
    """What is told, as one line of JSON with the time."""
    return json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **told})
