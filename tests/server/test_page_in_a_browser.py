"""The chat page in headless Chromium: asking, what stands beside an answer, deciding again, keyboard, errors, colours.

Runs where there is a Chromium: the one that CHROME_BIN names, or one on the PATH.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
from pathlib import Path

import pytest

from guardrail.calibration.labels import label_for
from guardrail.html.palette import INK, LINK, LOOKS, MUTED, PANEL
from guardrail.html.palette import PAGE as GROUND
from guardrail.policy import Policy
from guardrail.types import Confidence, Score
from tests.helpers.page_server import PAGE, page_server, stream

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "headless_shell")
BROWSER = os.environ.get("CHROME_BIN") or next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium: set CHROME_BIN, or install one of " + ", ".join(NAMES)
)
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"


def told(confidence=0.83, action="answer", **more):
    label = label_for(confidence)
    return {
        "version": 1,
        "action": action,
        "enforced": True,
        "actions": [action],
        "rule": "sure",
        "explanation": f"confidence {confidence} ({label}) is at least 0.70: rule 'sure'",
        "confidence": confidence,
        "confidence_interval": [round(confidence - 0.1, 2), round(confidence + 0.08, 2)],
        "label": label,
        "basis": "calibrated",
        "basis_reason": "",
        "in_range": True,
        "familiarity": 0.6,
        "score": {"hybridgrad": 0.1, "length": 8},
        "unscored": None,
        "finish_reason": "stop",
        "model": "smollm2-135m",
        "calibrator": "shipped:smollm2-135m",
        "policy": "default",
        "evidence": [],
        "claims": [],
        **more,
    }


def claim(text, shown, p, action, **more):
    about = told(p, action, kind="sentence", text=text, shown=shown, support=None, start=0, end=1, **more)
    return {
        key: value for key, value in about.items() if key not in ("version", "claims", "actions", "model", "policy")
    }


LYON = "Lyon lies on the Rhône. It is perhaps the second city of France. It was founded in 43 BC."
CLAIMS = [
    claim("Lyon lies on the Rhône.", "Lyon lies on the Rhône.", 0.91, "keep"),
    claim(
        "It is the second city of France.",
        "It is perhaps the second city of France.",
        0.45,
        "hedge",
        evidence=[{"text": "Lyon is the third-largest city.", "source": "atlas.txt", "similarity": 0.71}],
    ),
    claim(None, "", 0.12, "drop"),
    claim("It was founded in 43 BC.", "It was founded in 43 BC.", 0.74, "keep"),
]


def decide(body):
    """As the server does, by the real policies."""
    at_least = f"{{confidence: {{at_least: {body.get('threshold')}}}}}"
    policy = (
        Policy.load(body["policy"])
        if "policy" in body
        else Policy.from_text(f"version: 1\nname: t\nrules:\n  - {{name: t, when: {at_least}, then: answer}}\n", "t")
    )
    p = body["confidence"]
    decision = policy.decide(
        Confidence(p, p, p, label_for(p), body["in_range"], familiarity=body["familiarity"]),
        Score.of("given", 0.0, length=body["length"]),
        finish_reason=body["finish_reason"],
    )
    claims = [{"action": "drop"} for _ in body.get("claims", ())]
    return {"action": decision.action, "rule": decision.rule, "explanation": decision.explanation, "claims": claims}


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=BROWSER)
        yield browser
        browser.close()


@pytest.fixture
def show(chromium):
    """Open the page; fails where it asks anybody but its server, raises, or breaks its content security policy."""
    contexts, complaints = [], []
    with page_server() as (address, replies):
        replies.decide = decide

        def run(**options):
            contexts.append(chromium.new_context(**options))
            page = contexts[-1].new_page()
            page.set_default_timeout(5_000)
            page.on("console", lambda m: complaints.append(m.text) if "Failed to load resource" not in m.text else None)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("request", lambda r: complaints.extend([] if r.url.startswith((address, "data:")) else [r.url]))
            page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
            page.goto(address)
            return page

        run.replies = replies
        yield run
        for context in contexts:
            context.close()
    assert complaints == []


def ask(page, question="What is the capital of Japan?"):
    page.get_by_label("Your question").fill(question)
    page.keyboard.press("Enter")
    page.locator("article[aria-busy=false]").last.wait_for()
    return page.locator("article").last


def test_an_answer_stands_beside_how_sure_it_is_and_why(show):
    show.replies.chat = stream("The capital of Japan is Tokyo.", told(original="Tokyo."))
    page = show()
    article = ask(page)
    words = article.inner_text()
    for part in ("The capital of Japan is Tokyo.", "Answered", "very high", "0.83 (0.73 to 0.91)", "rule 'sure'"):
        assert part in words
    article.get_by_text("What the model first said").click()
    assert "Tokyo." in article.locator("blockquote").inner_text()
    (path, sent), *_ = show.replies.asked
    assert path == "/v1/chat/completions"
    assert sent == {
        "model": "smollm2-135m",
        "messages": [{"role": "user", "content": "What is the capital of Japan?"}],
        "stream": True,
        "guardrail": {"policy": "default", "claims": False, "stream_policy": "answer"},
    }


def test_what_a_model_says_is_text(show):
    verdict = told(explanation=HOSTILE, rule=HOSTILE, original=HOSTILE, claims=[claim(HOSTILE, HOSTILE, 0.5, "keep")])
    show.replies.chat = stream(HOSTILE, verdict)
    page = show()
    article = ask(page, HOSTILE)
    assert HOSTILE in article.inner_text()
    assert page.locator("img, article script").count() == 0


def test_no_confidence_is_said_and_never_a_number(show):
    none = {"confidence": None, "confidence_interval": None, "label": None, "basis": "none", "unscored": "empty_answer"}
    show.replies.chat = stream("I cannot say.", told(0.5, "abstain") | none)
    article = ask(show())
    assert "no confidence" in article.inner_text()
    assert "unscored: empty answer" in article.inner_text()
    assert article.locator(".meter").count() == 0


def test_claims_are_reached_by_arrow_keys_and_one_tab_stop(show):
    show.replies.chat = stream(LYON, told(0.45, "hedge", claims=CLAIMS))
    page = show()
    article = ask(page, "Tell me about Lyon.")
    claims = article.locator("[role=button]")
    assert claims.evaluate_all("all => all.map(c => c.tabIndex)") == [0, -1, -1, -1]
    assert claims.evaluate_all("all => all.map(c => c.className)")[0] == "claim very-high"
    text = article.locator(".text").inner_text()
    assert text.replace(" claim 3 held back", "") == LYON
    claims.first.focus()
    page.keyboard.press("ArrowRight")
    note = article.locator(".note")
    assert "0.45 (0.35 to 0.53), hedged" in note.inner_text()
    assert "Lyon is the third-largest city." in note.inner_text()
    page.keyboard.press("End")
    assert "Claim 4" in note.inner_text()
    page.keyboard.press("Escape")
    assert note.is_hidden()
    assert claims.evaluate_all("all => all.map(c => c.tabIndex)") == [-1, -1, -1, 0]
    assert None not in claims.evaluate_all("all => all.map(c => c.getAttribute('aria-label'))")


def test_the_same_answer_is_decided_again_without_the_model(show):
    show.replies.chat = stream("Tokyo.", told(0.62, "hedge"))
    page = show()
    article = ask(page)
    article.get_by_text("Decide again").click()
    result = article.locator("details [role=status]")
    slider = article.locator("input[type=range]")
    slider.fill("0.6")
    page.wait_for_function("e => e.textContent.includes('would answer')", arg=result.element_handle())
    slider.fill("0.65")
    page.wait_for_function("e => e.textContent.includes('would abstain')", arg=result.element_handle())
    article.get_by_label("by").select_option("strict")
    page.wait_for_function("e => e.textContent.startsWith('strict would')", arg=result.element_handle())
    decided = [body for path, body in show.replies.asked if path.endswith("decide")]
    assert [d.get("threshold", d.get("policy")) for d in decided] == [0.6, 0.65, "strict"]
    assert decided[0].keys() == {
        "threshold", "confidence", "in_range", "familiarity", "length", "unscored", "finish_reason", "evidence", "retriever",
    }  # fmt: skip
    assert len(show.replies.asked) == 4


def test_stop_hangs_up(show):
    never = threading.Event()
    show.replies.chat = [*stream("Half of ", None)[:2], never]
    page = show()
    page.get_by_label("Your question").fill("Go on.")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Stop").click()
    article = page.locator("article[aria-busy=false]")
    article.wait_for()
    assert "Stopped." in article.inner_text()
    assert show.replies.hung_up.wait(5)
    assert page.get_by_role("button", name="Ask").is_visible()


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ((429, {"Retry-After": 7}, {"code": "queue_full", "message": "m"}), "too much to do. Ask again in 7 s."),
        ((503, {"Retry-After": 5}, {"code": "draining", "message": "m"}), "(draining). Ask again in 5 s."),
        ((400, {}, {"code": "not_allowed", "message": "no such policy"}), "no such policy"),
        (stream("Half of an answ", None)[:2], "connection to the server was lost"),
        ([*stream("Half", None)[:2], "[DONE]"], "connection to the server was lost"),
    ],
)
def test_errors_are_plain_and_the_question_is_kept(show, reply, words):
    show.replies.chat = reply
    page = show()
    article = ask(page, "Why?")
    assert words in page.get_by_role("alert").inner_text()
    assert words in article.inner_text()
    assert article.locator(".label").count() == 0
    assert page.get_by_label("Your question").input_value() == "Why?"


def test_a_key_is_asked_for_and_kept_in_memory_alone(show):
    show.replies.key = "gr-secret"
    show.replies.chat = stream("Tokyo.", told())
    page = show()
    page.get_by_role("alert").wait_for()
    assert "API key" in page.get_by_role("alert").inner_text()
    page.wait_for_function("() => document.activeElement.id === 'key'")
    page.keyboard.type("gr-secret")
    page.keyboard.press("Tab")
    page.wait_for_function("() => document.getElementById('state').textContent === 'smollm2-135m'")
    ask(page)
    kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])")
    assert "gr-secret" not in kept
    page.reload()
    assert page.get_by_label("API key").input_value() == ""


@pytest.mark.parametrize("width", [320, 390, 1280])
@pytest.mark.parametrize("mode", ["light", "dark"])
def test_it_fits_and_every_text_can_be_read(show, width, mode):
    show.replies.chat = stream(LYON, told(0.45, "hedge", claims=CLAIMS))
    page = show(viewport={"width": width, "height": 800}, color_scheme=mode)
    article = ask(page, "Tell me about Lyon, " + "verylong" * 30)
    article.get_by_text("Decide again").click()
    article.get_by_text("Details").click()
    page.locator("#options summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(CONTRASTS) == []
    named = page.evaluate(
        "[...document.querySelectorAll('input, select, textarea, button')].filter(e => e.offsetParent && "
        "!(e.labels?.length || e.textContent.trim() || e.ariaLabel)).map(e => e.outerHTML)"
    )
    assert named == []
    if folder := os.environ.get("GUARDRAIL_SCREENSHOTS"):
        page.locator("#options summary").click()
        page.screenshot(path=Path(folder) / f"chat-{mode}-{width}.png")


CONTRASTS = """() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (c) => c.slice(0, 3).map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const c = rgb(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const low = [];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.offsetParent || e.disabled) continue;
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) low.push([e.className, e.textContent.slice(0, 40), (a + 0.05) / (b + 0.05)]);
  }
  return low;
}"""


def test_the_colours_are_those_of_the_other_pages():
    css = (PAGE / "page.css").read_text()
    light, dark = (dict(re.findall(r"--([\w-]+): (#\w{6})", block)) for block in css.split("@media")[:2])
    for mode, found in (("light", light), ("dark", dark)):
        for name, colours in {"ink": INK, "muted": MUTED, "page": GROUND, "panel": PANEL, "link": LINK}.items():
            assert found[name] == colours[mode]
        for look in LOOKS.values():
            assert found[look.slug] == getattr(look, mode)


def test_the_page_loads_nothing_and_writes_no_html():
    for file in PAGE.iterdir():
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|new Function", text)
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|style=|\son\w+=|<script(?![^>]*src=)", html)
