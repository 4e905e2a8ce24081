"""The page of claims in headless Chromium, as a reader has it: pointer, keyboard, phone, dark, without colour, on paper.

Runs where there is a Chromium: the one that CHROME_BIN names, or one on the PATH.
"""

from __future__ import annotations

import os
import shutil

import pytest

from guardrail.html import claims_page
from tests.helpers import sample_verdicts

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "headless_shell")
BROWSER = os.environ.get("CHROME_BIN") or next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium: set CHROME_BIN, or install one of " + ", ".join(NAMES)
)


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=BROWSER)
        yield browser
        browser.close()


@pytest.fixture
def show(chromium, tmp_path):
    """Open a verdict's page from its file; fails where the page makes a request, logs anything or raises."""
    contexts, complaints = [], []

    def run(name, **options):
        file = tmp_path / f"{name}.html"
        file.write_text(claims_page(sample_verdicts.ALL[name](), question=sample_verdicts.QUESTION), encoding="utf-8")
        contexts.append(chromium.new_context(**options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.extend([request.url] if request.url != file.as_uri() else []))
        page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        page.goto(file.as_uri())
        return page

    run.complaints = complaints
    yield run
    for context in contexts:
        context.close()
    assert complaints == []


def seen(page):
    return page.locator(".note:visible").all_inner_texts()


def focused(page):
    return page.evaluate("document.activeElement.id || document.activeElement.tagName")


def test_pointing_at_a_claim_shows_its_confidence(show):
    page = show("city")
    assert seen(page) == []
    page.get_by_text("It has 12 million inhabitants.").first.hover()
    (note,) = seen(page)
    assert note.startswith("claim 5, very low: 0.12 (0.02 to 0.22), dropped, contradicted by atlas.txt.")
    page.keyboard.press("Escape")
    assert seen(page) == []
    page.locator("h1").hover()
    page.get_by_text("It has 12 million inhabitants.").first.hover()
    assert len(seen(page)) == 1


@pytest.mark.parametrize("javascript", [True, False])
def test_the_tab_key_reaches_each_claim_in_order(show, javascript):
    page = show("city", java_script_enabled=javascript)
    for number in range(1, 8):
        page.keyboard.press("Tab")
        (note,) = seen(page)
        assert note.startswith(f"claim {number}, ")


def test_escape_hides_a_note_and_focus_brings_it_back(show):
    page = show("city")
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    assert (seen(page), focused(page)) == ([], "place-1")
    page.keyboard.press("Tab")
    assert seen(page)[0].startswith("claim 2")
    page.keyboard.press("Shift+Tab")
    assert seen(page)[0].startswith("claim 1")


def test_a_claims_number_leads_to_the_table_and_back(show):
    page = show("city", viewport={"width": 900, "height": 400})
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.url.endswith("#claim-1")
    page.locator("#claim-1 a").click()
    assert page.url.endswith("#place-1")


def test_words_that_claims_share_show_all_of_them(show):
    page = show("overlapping")
    page.locator(".claim").first.hover()
    assert [line[:7] for line in seen(page)[0].splitlines()] == ["claim 1", "claim 2"]


def test_hostile_text_is_only_text(show):
    page = show("hostile")
    page.keyboard.press("Tab")
    assert page.locator("script").count() == 1
    assert page.locator("img").count() == 0
    assert "<script>alert('x')</script>" in page.locator(".answer").inner_text()


def test_the_policy_stops_what_the_page_did_not_bring(show):
    page = show("hostile")
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<b id=probe style=\"color: red\">x</b>')")
    assert page.evaluate("getComputedStyle(document.getElementById('probe')).color") != "rgb(255, 0, 0)"
    (complaint,) = show.complaints
    assert "Content Security Policy" in complaint
    show.complaints.clear()


@pytest.mark.parametrize("name", ["city", "overlapping", "table", "hostile"])
def test_nothing_is_cut_off_at_any_width(show, name):
    page = show(name)
    page.keyboard.press("Tab")
    for width in (320, 390, 760, 1100):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        box = page.locator(".claim:focus-within > .note").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_readers_system(show, scheme):
    from guardrail.html.palette import INK, LOOKS, PAGE

    def rgb(colour):
        return "rgb({}, {}, {})".format(*(int(colour[i : i + 2], 16) for i in (1, 3, 5)))

    page = show("city", color_scheme=scheme)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == rgb(PAGE[scheme])
    marks = page.locator(".answer .mark").evaluate_all(
        "marks => marks.map(m => getComputedStyle(m)).map(s => [s.backgroundColor, s.color, s.textDecorationStyle])"
    )
    labels = ["very high", "high", "medium", "low", "very low", None, "medium"]
    looks = [LOOKS[label] for label in labels]
    assert marks == [[rgb(getattr(look, scheme)), rgb(INK[scheme]), look.underline] for look in looks]


def test_a_screen_reader_hears_claims_and_table(show):
    page = show("city")
    assert page.get_by_role("table", name="Claims").count() == 1
    assert page.get_by_role("columnheader").count() == 6
    assert page.get_by_role("rowheader").count() == 7
    assert page.get_by_role("link", name="claim 5 very low 0.12, dropped").count() == 1
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.get_by_role("rowheader").count() == 7  # stacked for the eye, a table still


def test_paper_shows_the_passages(show):
    page = show("city")
    page.emulate_media(media="print")
    assert page.locator("blockquote").first.is_visible()
    page.keyboard.press("Tab")
    assert seen(page) == []
    assert page.pdf().startswith(b"%PDF")
