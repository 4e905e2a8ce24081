"""The page of a report, without a browser: well formed, closed, escaped, every finding as its rule says."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
import test_claims_page
from test_palette import VISION, contrast, lab, linear

from guardrail.calibration.metrics import Estimate
from guardrail.evaluation.bench_file import load_bench
from guardrail.html.palette import FIRST, PAGE, SECOND
from guardrail.html.report_figures import bench_figure, risk_figure
from guardrail.html.report_words import cautions, percent, percent_estimate, promise, ranking
from guardrail.policy import Policy
from tests.helpers import sample_runs as s


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.jsonl"


@pytest.fixture
def bench(tmp_path):
    def make(**more):
        file = tmp_path / "bench.json"
        file.write_text(json.dumps(s.bench(**more)))
        return load_bench(file)

    return make


class Text(HTMLParser):
    """What a reader sees, without style sheets."""

    def __init__(self, html):
        super().__init__()
        self.seen, self.hidden = "", 0
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.hidden += tag == "style"

    def handle_endtag(self, tag):
        self.hidden -= tag == "style"

    def handle_data(self, data):
        self.seen += "" if self.hidden else data


def text(html):
    return " ".join(Text(html).seen.replace("\u00a0", " ").split())


@pytest.mark.parametrize("rows", [s.records(120), s.hostile(), [s.record(i, True, 0.1 + i / 100) for i in range(40)]])
def test_the_page_is_closed_and_well_formed(path, bench, rows):
    html = s.page_of(path, rows, [Policy.load("default"), Policy.load("strict")], bench())
    tree = test_claims_page.Tree(html)  # fails where tags do not nest
    ids = [e["id"] for e in tree.elements if "id" in e]
    assert len(ids) == len(set(ids))
    for e in tree.elements:
        for reference in (*e.get("aria-labelledby", "").split(), *re.findall(r"url\(#(.+?)\)", e.get("fill", ""))):
            assert reference in ids
        assert "style" not in e
        assert not any(key.startswith("on") for key in e)
        assert e["tag"] not in ("script", "img", "iframe", "link", "object", "a")
    assert "default-src 'none'" in html
    assert "script-src 'none'" in html
    headings = [e["tag"] for e in tree.elements if re.fullmatch(r"h\d", e["tag"])]
    assert headings[0] == "h1"
    assert headings.count("h1") == 1
    for table in (e for e in tree.elements if e["tag"] == "table"):
        assert table["aria-label"]
    assert not re.search(r"\b(nan|inf|None)\b", Text(html).seen)


def test_hostile_texts_are_shown_as_text_and_cut(path):
    html = s.page_of(path, s.hostile(), title=s.EVIL)
    assert "<script>alert" not in html
    assert not {"\u202e", "\u2066", "\x00", "\x1b"} & set(html)
    assert "49" not in re.findall(r"alert\(1\)&gt;.{0,80}", html)
    assert len(html) < 200_000, "100,000 characters of an answer are not on the page"


def test_examples_of_hostile_answers(path):
    """Every answer is hostile, so that the lot cannot miss them."""
    rows = [
        {**r, "answer": s.EVIL if i % 2 else "x" * 100_000, "accepted": [s.EVIL] * 9}
        for i, r in enumerate(s.records(60))
    ]
    html = s.page_of(path, rows)
    assert "99,600 more characters" in html
    assert "4 more" in html
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in html
    assert "⟨U+202E⟩" in html
    assert "{{ 7 * 7 }}" in html


def test_the_same_input_makes_the_same_page(path):
    assert s.page_of(path, s.records(60)) == s.page_of(path, s.records(60))


def test_what_the_summary_says(path):
    found, _ = s.measured(path, s.records(200))
    seen = text(s.page_of(path, s.records(200), [Policy.load("default")]))
    a, e = found.metrics["auroc"], found.metrics["ece"]
    assert f"AUROC {a.value:.3f} ({a.low:.3f} to {a.high:.3f})" in seen
    assert f"ECE {e.value:.3f} ({e.low:.3f} to {e.high:.3f})" in seen
    assert "Policy default." in seen
    assert "200 questions, answered greedily" in seen
    assert "A policy's rules that look something up are passed over" in seen
    assert "c" * 64 in seen
    assert found.calibrator.digest in seen
    assert "2026-01-02 03:04 UTC" in seen
    assert "No policy was given" in text(s.page_of(path, s.records(60)))


def test_the_surest_are_counted_at_a_fixed_coverage(path):
    found, _ = s.measured(path, s.records(200))
    finding = risk_figure(found).finding
    i = next(i for i, c in enumerate(found.curve.coverage) if c >= 0.25)
    assert percent(found.curve.coverage[i]) in finding
    assert percent(found.curve.risk[i]) in finding


def test_a_score_that_says_nothing_is_not_praised(path):
    rows = [s.record(i, i % 2 == 0, 0.2 + (i // 2) / 200) for i in range(120)]
    found, _ = s.measured(path, rows)
    assert ranking(found).startswith("This run does not show that confidence tells right from wrong")
    backwards, _ = s.measured(path, [s.record(i, i > 60, 0.02 + i / 130) for i in range(120)])
    assert ranking(backwards).startswith("Confidence points the wrong way")
    alone, _ = s.measured(path, [s.record(i, True, 0.1 + i / 100) for i in range(40)])
    assert ranking(alone) == "Ranking cannot be measured: AUROC needs right and wrong answers; these 40 are all right"


def test_cautions(path, bench):
    def said(rows, fitted=None, **header):
        found, run = s.measured(path, rows, (), fitted, **header)
        return " ".join(cautions(found, run, found.calibrator.provenance))

    rows = s.records(150)
    assert said(rows) == ""
    assert "does not say which questions" in said(rows, s.calibrator(questions=()))
    assert "not all it was begun for" in said(rows, data="e" * 64)
    assert "Only 40 scored answers" in said(s.records(40))
    assert "1 answer without a score" in said([*rows, s.record(999, False, None)])
    assert "1 score outside the calibrated range" in said([*rows, s.record(999, False, 7.0)])
    asking = {"prompt": "Say: {question}", "system": "Be brief.", "max_new_tokens": 9}
    assert "another prompt and another system message and another token limit" in said(rows, asking=asking)
    assert "Graded by 'exact' here and by 'alias'" in said(rows, s.calibrator(grader="alias"))
    assert "The comparison of scorers is on other data (bench.jsonl" in text(s.page_of(path, rows, bench=bench()))
    same = bench(data=s.header(rows)["data"])
    assert "on other data" not in s.page_of(path, rows, bench=same)


def test_a_promise_found_on_these_very_questions_is_no_test_of_it(path):
    from guardrail.evaluation.tuning import find_thresholds, proof_of
    from guardrail.policy.tuned import policy_text

    rows, fitted = s.records(300), s.calibrator()
    _, run = s.measured(path, rows, (), fitted)
    tuned = find_thresholds(fitted, run.answers, max_error=0.4, confidence=0.95)
    proof = proof_of(
        tuned, fitted, "c.json", run.header.identity("tiny"), data=run.data, grader="exact", command="guardrail tune"
    )
    policy = Policy.from_text(policy_text(proof), "p.yaml")
    again, _ = s.measured(path, rows, [policy], fitted)
    (check,) = again.policies[0].promises
    assert (check.own_data, check.verdict) == (True, "kept")
    assert check.error.n == proof.answered.n
    assert "so this is no test of it" in promise(check)
    other = [{**r, "question": r["question"] + "!", "key": r["key"] + "x"} for r in s.records(300, seed=9)]
    (check,) = s.measured(path, other, [policy], fitted)[0].policies[0].promises
    assert not check.own_data
    html = text(s.page_of(path, other, [policy], fitted=fitted))
    assert "promised there: at most 40 %" in html
    assert "Promised: at most 40.0 % of the answers that it gives as they are will be wrong" in html


def test_scorers_are_compared_by_their_paired_differences(bench):
    figure = bench_figure(bench())
    assert figure.finding == "No scorer ranks better than hybridgrad beyond chance; 2 of 2 rank worse"
    assert [row[0] for row in figure.tables[0].rows] == ["hybridgrad", "sar", s.EVIL]
    assert len(figure.drawings) == 3
    rows = s.bench()["scorers"]
    rows[1]["difference"] = {"value": 0.1, "low": 0.02, "high": 0.2, "n": 100}
    assert bench_figure(bench(scorers=("hybridgrad", "sar"))).finding.endswith("1 of 1 rank worse")
    better = bench_figure(load_with(bench, rows))
    assert better.finding == "sar ranks better than hybridgrad; 1 of 2 rank worse"
    alone = bench_figure(bench(scorers=("hybridgrad",)))
    assert alone.finding == "AUROC of 1 scorers; nothing says which differ"


def load_with(bench, rows):
    made = bench()
    return type(made).model_validate({**made.model_dump(), "scorers": rows})


def test_percent_is_0_or_100_only_where_it_is():
    assert [percent(x).replace("\u00a0", " ") for x in (0, 1e-4, 0.071, 0.9999, 1)] == [
        "0 %", "< 0.1 %", "7.1 %", "> 99.9 %", "100 %",
    ]  # fmt: skip
    assert percent_estimate(Estimate(0.07, 0.04, 0.12, 9)).replace("\u00a0", " ") == "7.0 % (4.0 to 12.0 %)"


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_the_two_series_can_be_seen_and_told_apart(mode):
    for colour in (FIRST, SECOND):
        assert contrast(colour[mode], PAGE[mode]) >= 3
    for matrix in VISION.values():
        import numpy as np

        a, b = (lab(np.clip(np.array(matrix) @ linear(c[mode]), 0, 1)) for c in (FIRST, SECOND))
        assert np.linalg.norm(a - b) >= 10
