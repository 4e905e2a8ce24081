"""The chat page in headless Chromium, served by `guardrail serve` with the embedded model: the page shows what that
server says. Takes the pictures of docs/images/chat-*.png where GUARDRAIL_SCREENSHOTS names that folder:

GUARDRAIL_SCREENSHOTS=docs/images python -m pytest tests/server/test_page_of_a_real_server.py
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image
from test_page_in_a_browser import BROWSER, ask, chromium, playwright  # noqa: F401

from guardrail.data import passages_path
from tests.helpers.serving_process import ServingProcess

pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="no Chromium: set CHROME_BIN"),
    pytest.mark.real_model,
    pytest.mark.timeout(900),
]
THREE = "1. What is the chemical symbol of helium?\n2. What is the atomic number of helium?\n3. Is helium a gas?"
LARGEST = 200_000  # bytes of a picture


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    place = tmp_path_factory.mktemp("page")
    notes = place / "notes.jsonl"  # few of the bundled passages, so that the index is made at once
    rows = passages_path().read_text(encoding="utf-8").splitlines()
    notes.write_text("\n".join(row for row in rows if "helium" in row or "Egypt" in row), encoding="utf-8")
    options = ("--policy", "default", "--allow-policy", "per_claim", "--retriever", str(notes), "--allow-original")
    with ServingProcess("smollm2-135m", place / "log", *options) as server:
        yield server.ready()


@pytest.fixture(params=["light", "dark"])
def page(chromium, served, request):  # noqa: F811
    """The page; fails where it asks anybody but its server, raises, or breaks its content security policy."""
    context, complaints = chromium.new_context(viewport={"width": 900, "height": 780}, color_scheme=request.param), []
    shown = context.new_page()
    shown.scheme = request.param
    shown.set_default_timeout(120_000)
    shown.on("console", lambda m: complaints.append(m.text))
    shown.on("pageerror", lambda error: complaints.append(str(error)))
    shown.on("request", lambda r: complaints.extend([] if r.url.startswith((served.url, "data:")) else [r.url]))
    shown.goto(served.url)
    shown.wait_for_function("() => document.getElementById('state').textContent === 'smollm2-135m'")
    yield shown
    context.close()
    assert complaints == []


def test_an_answer_its_claims_and_another_decision_come_from_the_server(page, served):
    with page.expect_response("**/v1/chat/completions") as got:
        article = ask(page)
    assert got.value.status == 200
    assert got.value.headers["content-security-policy"].startswith("default-src 'none'")
    words = article.inner_text()
    for part in ("The capital of Japan is Tokyo.", "Answered", "very high", "0.83"):
        assert part in words
    article.get_by_text("Decide again").click()
    with page.expect_response("**/v1/guard/decide") as decided:
        article.locator("input[type=range]").fill("0.95")
    assert decided.value.json()["action"] == "abstain"
    told = article.locator("details [role=status]")
    page.wait_for_function("e => e.textContent.includes('would abstain')", arg=told.element_handle())

    page.get_by_role("button", name="New conversation").click()
    page.locator("#options summary").click()
    page.locator("#policy").select_option("per_claim")
    page.get_by_label("What the model first said").check()
    page.locator("#options summary").click()
    article = ask(page, THREE)
    claims = article.locator("[role=button]")
    assert claims.count() == 3
    article.get_by_text("held back").click()
    note = article.locator(".note").inner_text()
    assert "contradicted by what was looked up" in note
    assert "Its atomic number is 2." in note
    assert served.until_logged(route="/v1/guard/decide", status=200)
    if folder := os.environ.get("GUARDRAIL_SCREENSHOTS"):
        file = Path(folder) / f"chat-{page.scheme}.png"
        page.screenshot(path=file)
        Image.open(file).convert("RGB").quantize(128).save(file, optimize=True)
        assert file.stat().st_size < LARGEST
