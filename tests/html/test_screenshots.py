"""The pictures of docs/images/, taken of real pages of the embedded model where GUARDRAIL_SCREENSHOTS names that folder:

GUARDRAIL_SCREENSHOTS=docs/images python -m pytest -m slow tests/html/test_screenshots.py
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import runpy
from pathlib import Path

import pytest
from PIL import Image
from test_claims_page_in_a_browser import BROWSER, chromium, playwright  # noqa: F401

ROOT = Path(__file__).parents[2]
FOLDER = os.environ.get("GUARDRAIL_SCREENSHOTS")
LARGEST = 200_000  # bytes
pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="no Chromium: set CHROME_BIN"),
    pytest.mark.skipif(FOLDER is None, reason="pictures are taken where GUARDRAIL_SCREENSHOTS names a folder"),
    pytest.mark.real_model,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
]


@pytest.fixture
def take(chromium):  # noqa: F811
    """Take a picture of a page from its top to the end of an element, 900 pixels wide."""
    folder = ROOT / str(FOLDER)

    def run(page: Path, name: str, *, until: str, scheme: str = "light") -> None:
        context = chromium.new_context(viewport={"width": 900, "height": 600}, color_scheme=scheme)
        shown = context.new_page()
        shown.goto(page.as_uri())
        box = shown.locator(until).first.bounding_box()
        height = box["y"] + box["height"] + 24
        file = folder / f"{name}.png"
        shown.screenshot(path=file, full_page=True, clip={"x": 0, "y": 0, "width": 900, "height": height})
        context.close()
        Image.open(file).convert("RGB").quantize(128).save(file, optimize=True)
        assert file.stat().st_size < LARGEST

    return run


def test_the_claims_page(take):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        runpy.run_path(str(ROOT / "examples" / "13_long_answer.py"), run_name="__main__")
    page = Path(re.search(r"page: (\S+),", out.getvalue())[1])
    for scheme in ("light", "dark"):
        take(page, f"claims-{scheme}", until=".answer", scheme=scheme)


def test_the_report(take, cli, tmp_path):
    assert cli("evaluate", "bundled", "--limit", 200, "--run", "run.jsonl").returncode == 0
    said = cli("report", "run.jsonl", "-p", "default", "-o", "report.html")
    assert said.returncode == 0, said.stderr
    take(tmp_path / "report.html", "report", until=".chart")


def test_the_map_of_sps(take, cli, tmp_path):
    assert cli("sps", "bundled", "-o", "profile.json", "--html", "sps.html").returncode == 0
    take(tmp_path / "sps.html", "sps", until=".heat")
