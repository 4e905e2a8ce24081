"""The report in headless Chromium: nothing is cut off at any width, charts follow the reader's colours, paper shows all.

Runs where there is a Chromium, as tests/html/test_claims_page_in_a_browser.py does.
"""

from __future__ import annotations

import json

import pytest
from test_claims_page_in_a_browser import BROWSER, chromium, playwright  # noqa: F401

from guardrail.evaluation.bench_file import load_bench
from guardrail.html.palette import FIRST
from guardrail.policy import Policy
from tests.helpers import sample_runs as s

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium: set CHROME_BIN")


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    (folder / "bench.json").write_text(json.dumps(s.bench()))
    more = {"policies": [Policy.load("default")], "bench": load_bench(folder / "bench.json")}
    for name, rows in (("sound", s.records(120)), ("hostile", s.hostile())):
        (folder / f"{name}.html").write_text(s.page_of(folder / "run.jsonl", rows, **more), encoding="utf-8")
    return folder


@pytest.fixture
def show(chromium, pages):  # noqa: F811
    """Open a page from its file; fails where it makes a request, logs anything or raises."""
    contexts, complaints = [], []

    def run(name, **options):
        file = pages / f"{name}.html"
        contexts.append(chromium.new_context(**options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.extend([request.url] if request.url != file.as_uri() else []))
        page.goto(file.as_uri())
        return page

    yield run
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.mark.parametrize("name", ["sound", "hostile"])
def test_nothing_is_cut_off_at_any_width(show, name):
    page = show(name)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    for width in (320, 360, 760, 1100):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        outside = page.evaluate(
            "[...document.querySelectorAll('.chart text')].filter(t => { const a = t.getBoundingClientRect(),"
            " b = t.ownerSVGElement.getBoundingClientRect(); return a.left < b.left - 2 || a.right > b.right + 2; })"
            ".map(t => t.textContent)"
        )
        assert [text for text in outside if "script" not in text] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_charts_follow_the_readers_colours(show, scheme):
    page = show("sound", color_scheme=scheme)
    colour = FIRST[scheme]
    wanted = "rgb({}, {}, {})".format(*(int(colour[i : i + 2], 16) for i in (1, 3, 5)))
    assert page.evaluate("getComputedStyle(document.querySelector('.curve')).stroke") == wanted


def test_a_screen_reader_gets_every_drawing_and_table(show):
    page = show("sound")
    assert page.get_by_role("img").count() == 6
    for drawing in page.get_by_role("img").all():
        assert drawing.get_attribute("aria-labelledby")
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.get_by_role("table", name="Reliability, bin by bin").count() == 1
    page.set_viewport_size({"width": 360, "height": 800})
    assert page.get_by_role("columnheader").count() > 10  # stacked for the eye, tables still


def test_paper_shows_the_tables(show):
    page = show("sound")
    page.emulate_media(media="print")
    assert page.get_by_role("table", name="Error by coverage").is_visible()
    assert page.pdf().startswith(b"%PDF")
