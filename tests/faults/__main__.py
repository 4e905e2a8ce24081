"""Counts the faults of this folder, and what each came to: `python -m tests.faults`.

A module with `cases()` yields pairs, what was done and what it came to, and each is run here; of others, tests are counted.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path

from tests.faults.outcomes import WRONG


def say(line: str) -> None:
    sys.stdout.write(line + "\n")


def main() -> int:
    wrong = 0
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        module = import_module(f"tests.faults.{path.stem}")
        if not hasattr(module, "cases"):
            command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:xdist", str(path)]
            found = subprocess.run(command, capture_output=True, text=True, check=False).stdout
            say(f"{path.stem}: {sum('::' in line for line in found.splitlines())} tests")
            continue
        came_to = Counter(outcome for _, outcome in module.cases())
        wrong += came_to[WRONG]
        say(f"{path.stem}: {came_to.total()} faults; " + ", ".join(f"{n} {what}" for what, n in came_to.most_common()))
    say(f"confidences that were not computed: {wrong}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
