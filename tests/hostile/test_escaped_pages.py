"""Every text in every value that a page is made of stays text: no element, attribute, comment or style comes of it."""

from __future__ import annotations

import json
from collections import Counter
from html.parser import HTMLParser

import pytest

from guardrail.evaluation.bench_file import load_bench
from guardrail.html import claims_page, report_page, sps_page
from guardrail.policy import Policy
from guardrail.unseen import UNSEEN
from tests.helpers import sample_runs, sample_verdicts
from tests.helpers.filled import filled
from tests.helpers.sample_profile import profile

MARK = "pay0ff"  # in what an attack would leave behind: an element, an attribute, a comment
PAYLOADS = {
    "script": f"<script {MARK}>{MARK}()</script><img src=x {MARK}=1>",
    "attribute": f"\" {MARK}=1 x='{MARK}' onload='{MARK}()' ' {MARK}=2 ` {MARK}=3 >",
    "style": f"</style><{MARK}></title></textarea></svg><style>{MARK}{{}}</style>",
    "comment": f"--><!-- {MARK} --><{MARK}>]]><![CDATA[<{MARK}>]]><?{MARK}?><!{MARK}>",
    "entity": f"&lt;{MARK}&gt;&#60;{MARK}>&amp;<{MARK}>",
    "template": f"{{{{ 7 * 7 }}}}{{% raw %}}<{MARK}>{{# {MARK} #}}",
    "unseen": f"\u202e{MARK}\u2066\u200f\u200b\ufeff\x1b[2J\x00\x9b31m\U000e0041\ud800\u2028",
    "half a tag": f"<{MARK} ",
}


class Shape(HTMLParser):
    """The elements, attributes, comments and declarations of a page, and what a reader sees."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.shape: Counter[tuple[str, ...]] = Counter()
        self.others: list[str] = []
        self.text, self.style, self.open = "", "", ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.open = tag
        self.shape[(tag, *(name for name, _ in attrs))] += 1

    def handle_endtag(self, tag):
        self.open = ""

    def handle_data(self, data):
        if self.open in ("style", "script"):
            self.style += data
        else:
            self.text += data

    def handle_comment(self, data):
        self.others.append(data)

    def handle_decl(self, decl):
        self.others.append(decl)

    def handle_pi(self, data):
        self.others.append(data)

    def unknown_decl(self, data):
        self.others.append(data)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """What each page is made of, in one value, and what makes it."""
    folder = tmp_path_factory.mktemp("pages")
    report, run = sample_runs.measured(folder / "run.jsonl", sample_runs.hostile(), [Policy.load("default")])
    (folder / "bench.json").write_text(json.dumps(sample_runs.bench(("hybridgrad", "sar"))), encoding="utf-8")
    bench, sps = load_bench(folder / "bench.json"), profile()
    made = sample_runs.MADE
    pages = {
        "report": ([report, run, bench, sps, "c.json", "title", "guardrail report"], lambda v: report_page(
            v[0], v[1], calibrator=v[4], bench=v[2], sps=v[3], title=v[5], command=v[6], made=made)),
        "sps": ([sps], lambda v: sps_page(v[0], made=made)),
    }  # fmt: skip
    for name, make in sample_verdicts.ALL.items():
        pages[f"claims, {name}"] = [make(), "Who?"], lambda v: claims_page(v[0], question=v[1], made=made)
    return pages


NAMES = ["report", "sps", *(f"claims, {name}" for name in sample_verdicts.ALL)]


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
@pytest.mark.parametrize("name", NAMES)
def test_no_text_becomes_a_part_of_a_page(inputs, name, payload):
    value, page = inputs[name]
    hostile, texts = filled(value, payload)
    plain, _ = filled(value, "a" * len(payload))
    found, expected = Shape(page(hostile)), Shape(page(plain))
    assert texts > 8
    assert MARK in found.text, "the page shows none of it"
    assert found.shape == expected.shape
    assert found.others == expected.others
    assert found.style == expected.style
    shown = page(hostile)
    shown.encode()
    assert not UNSEEN.search(shown)
    assert ("{{ 7 * 7 }}{% raw %}" in found.text) == ("7 * 7" in payload), "a template ran"


def test_the_test_sees_text_that_is_not_escaped():
    for payload in [PAYLOADS[name] for name in ("script", "style", "comment", "half a tag")]:
        bad = Shape(f"<p title='x'>{payload}</p><!-- end --><b>")
        assert (bad.shape, bad.others) != (Shape("<p title='x'>a</p><!-- end --><b>").shape, [" end "])
    assert Shape(f'<p title="{PAYLOADS["attribute"]}">').shape != Shape('<p title="a">').shape
    assert filled(sample_verdicts.city(), "x")[1] > 30
