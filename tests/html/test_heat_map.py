"""The heat map and the page of SPS: numbers and colours agree, the page is closed and fits a phone; the picture."""

from __future__ import annotations

import os
import re
import shutil
import sys

import numpy as np
import pytest
from test_claims_page import MADE, Tree
from test_palette import contrast, lab, linear

from guardrail.datasets.paraphrases import ParaphraseRow
from guardrail.errors import DataError, MissingExtraError
from guardrail.evaluation.sps import measure_sps
from guardrail.html import sps_page
from guardrail.html.heat_map import heat_map, short, step
from guardrail.html.palette import BELOW_ZERO, HEAT_STEPS, INK, PAGE, heat
from guardrail.html.sps import sps_map
from guardrail.runs.asking import Asking
from guardrail.testing import tiny_local_model
from tests.helpers import sample_runs

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "headless_shell")
BROWSER = os.environ.get("CHROME_BIN") or next(filter(None, map(shutil.which, NAMES)), None)


@pytest.fixture(scope="module")
def found():
    rows = [ParaphraseRow(f"What is {i}?", (f"{i} is what?", f"Is it {i}<script>?")) for i in range(12)]
    return measure_sps(
        tiny_local_model(), rows, Asking("<b>\n{question}"), name="<rows>.jsonl", command="guardrail sps 'x'"
    )


def test_numbers_are_short_and_keep_their_sign():
    assert [short(x) for x in (0.134, -0.02, 1.0, -1.5, 0.004, -0.004, 0.999)] == [
        ".13", "-.02", "1.00", "-1.50", ".00", ".00", "1.00",
    ]  # fmt: skip


def test_steps_are_in_proportion():
    assert [step(x, 0.8) for x in (0, 0.1, 0.4, 0.8, 0.9, -0.004, -0.006)] == [0, 1, 4, 8, 8, 0, -1]
    assert step(0.0, 0.0) == 0


def test_a_map_of_any_matrix():
    made = heat_map(
        [[0.5, None], [-0.1, 1.0]], name="m", caption="c", corner="x", rows=["a", "b"], columns=[("1", ""), ("2", "n")]
    )
    assert [[(c.text, c.step) for c in row.cells] for row in made.rows] == [
        [(".50", "heat-4"), ("", "absent")],
        [("-.10", "below-zero"), ("1.00", "heat-8")],
    ]
    options = {"name": "m", "caption": "c", "corner": "x", "rows": ["a"], "columns": [("1", "")]}
    for bad, message in (([[float("nan")]], "finite"), ([[1.0, 2.0]], "1 x 1 labels"), ([], "1 x 1 labels")):
        with pytest.raises(DataError, match=message):
            heat_map(bad, **options)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_colours_are_read_and_told_apart(mode):
    colours = heat(mode)
    assert len(colours) == HEAT_STEPS + 1
    assert colours[0] == PAGE[mode]
    assert all(contrast(INK[mode], colour) >= 4.5 for colour in (*colours, BELOW_ZERO[mode]))
    lightness = [lab(linear(colour))[0] for colour in colours]
    assert (np.diff(lightness) < 0).all() if mode == "light" else (np.diff(lightness) > 0).all()
    assert all(np.linalg.norm(lab(linear(c)) - lab(linear(BELOW_ZERO[mode]))) > 10 for c in colours)


def test_the_page_shows_every_number_and_only_text(found):
    html = sps_page(found, made=MADE)
    tree = Tree(html)
    cells = [e["text"] for e in tree.elements if e["tag"] == "td" and e.get("title")]
    rows = [found.upper_mean, *reversed(found.sps)]
    assert cells == [short(value) for row in rows for value in row]
    assert tree.all(id="sps-map")[0]["class"] == "heat"
    marked = [e["text"] for e in tree.elements if e["tag"] == "th" and "marked" in e.get("class", "")]
    assert len(marked) == 1
    assert marked[0].startswith(str(found.token))
    text = tree.all(tag="main")[0]["text"]
    for part in (
        "<b>\n{question}",
        "<rows>.jsonl",
        "12 questions, 24 paraphrases",
        "2026-01-02 03:04 UTC",
        "guardrail sps 'x'",
    ):
        assert part in text
    assert {e["tag"] for e in tree.elements} & {"script", "img", "link", "b>"} == set()
    assert not re.search(r"https?:|url\(|@import| style=", html)
    csp = next(e["content"] for e in tree.elements if e.get("http-equiv") == "Content-Security-Policy")
    assert "script-src 'none'" in csp


def test_too_few_questions_and_the_templates_own_token(found):
    assert "too few for intervals" in sps_page(found.model_copy(update={"evidence": None}))
    own = found.evidence.model_copy(update={"template": None})
    assert "the chat template&#39;s own token" in sps_page(found.model_copy(update={"evidence": own}))


def test_every_map_has_its_own_id(found):
    assert (sps_map(found).name, sps_map(found, "other").name) == ("sps-map", "other")


def test_the_picture(found, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    from guardrail.plots import sps_png

    sps_png(found, tmp_path / "sps.png")
    assert (tmp_path / "sps.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(DataError, match="cannot write the picture"):
        sps_png(found, tmp_path / "no" / "sps.png")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"hybridgrad-guardrail\[plots\]"):
        sps_png(found, tmp_path / "sps.png")


@pytest.mark.skipif(BROWSER is None, reason="no Chromium: set CHROME_BIN, or install one of " + ", ".join(NAMES))
def test_in_a_browser(found, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    file, complaints = tmp_path / "sps.html", []
    file.write_text(sps_page(found), encoding="utf-8")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=BROWSER)
        for scheme in ("light", "dark"):
            page = browser.new_page(color_scheme=scheme)
            page.on("console", lambda message: complaints.append(message.text))
            page.on("request", lambda r: complaints.extend([r.url] if r.url != file.as_uri() else []))
            page.goto(file.as_uri())
            colours = {f"rgb({', '.join(str(int(c[i : i + 2], 16)) for i in (1, 3, 5))})" for c in heat(scheme)}
            seen = page.locator(".heat td").evaluate_all("cells => cells.map(c => getComputedStyle(c).backgroundColor)")
            assert len(set(seen) & colours) >= 3
            for width in (320, 390, 760, 1100):
                page.set_viewport_size({"width": width, "height": 800})
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                cut = page.locator(".heat td").evaluate_all(
                    "c => c.filter(x => x.scrollWidth > x.clientWidth + 1).length"
                )
                assert cut == 0
                assert page.get_by_role("table").count() == 2
                assert page.get_by_role("rowheader").count() == len(found.layers) + 1 + len(found.offsets)
        browser.close()
    assert complaints == []


def test_a_report_shows_the_map(found, tmp_path):
    html = sample_runs.page_of(tmp_path / "run.jsonl", sample_runs.records(60), sps=found)
    tree = Tree(html)
    assert tree.all(id="sps-map")[0]["class"] == "heat"
    assert f"stands best at token {found.token} from the prompt" in html
    assert "sps-map" not in sample_runs.page_of(tmp_path / "other.jsonl", sample_runs.records(60))
