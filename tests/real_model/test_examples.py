"""Every example runs as it stands, and so does the README's; the demo shows every action."""

from __future__ import annotations

import contextlib
import io
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.real_model
EXPECTED = {
    "01_first_answer.py": ["action: answer", "action: abstain", "Tokyo"],
    "02_retrieval.py": ["retrieve → ", "Ouagadougou"],
    "03_your_own_policy.py": ["sure ", "say how sure", "Let me connect you with a colleague"],
    "04_score_any_model.py": ["Paris", "hybridgrad"],
    "06_check_and_batch.py": ["Kyoto", "Sicily belongs to Italy", "Vitamin D"],
    "05_calibrate.py": ["in range: False", "ECE, cross-validated", "120 answers"],
    "07_chat_model.py": [
        "answer, very high, 0.83, calibrated",
        "extrapolated: messages of your own",
        "abstain by rule",
        "Vitamin D",
    ],
    "08_callback.py": [
        "Tokyo.  (0.83, very high",
        "the policy would abstain",
        "LowConfidenceError: confidence is 0.06",
    ],
    "09_adaptive_rag.py": [
        "[searching: What is the capital of Burkina",
        "Ouagadougou",
        "searched: 1, searches saved: 1",
    ],
    "10_agent_abstains.py": ["human → ai; answer", "human → ai; abstain", "human → ai → tool → ai; abstain"],
    "11_langgraph_human_review.py": ["Japan? The capital", "for review: {'draft': 'Bokassa'", "Faso? Ouagadougou."],
    "12_streaming_and_batch.py": [
        "'ered'",
        "would have said: abstain",
        "Sicily belongs to Italy",
        "same answers: True",
    ],
    "13_long_answer.py": [
        "hedge 0.43 medium   not found     The chemical symbol of helium is Helium.",
        "drop  0.44 medium   contradicted  The atomic number of helium is 4.",
        "keep  0.27 low      supported     Helium is a gas.",
        "1. The chemical symbol of helium is Helium (unsure, 43% chance of being right).\n2. Helium is a gas.\npage: ",
    ],
    "28_fields.py": [
        'shown: {"capital": "Paris", "continent": "Europe", "island": null}',
        'parsed: {"capital": "Paris", "continent": "Europe", "island": null}',
        "/capital   0.51 medium, extrapolated: keep",
    ],
    "30_stated_confidence.py": [
        "The capital of France is Paris.\n  states a confidence of 0.",
        "Stated(answer='Goethe', bin=4)",
    ],
    "31_serve.py": [
        "What is the capital of Japan? The capital of Japan is Tokyo.\n  answer, very high, 0.83",
        "abstain, very low, 0.06\nwith a threshold of 0.9: abstain\nunjudged: ",
        " (pending)\nthe policy would have said: abstain, very low\nexit code 0",
    ],
    "32_remote.py": [
        "engine: guardrail float32; log-probabilities: True",
        "g-nll: ",
        "  The capital of Japan is Tokyo.",
        "refused: scorer 'hybridgrad' needs weights",
    ],
    "33_stated_confidence.py": [
        "The capital of France is Paris.\n  states ",
        "'Paris': high\n'Paris': unstated\n'Paris (with low confidence) (with high confidence)': unstated",
    ],
    "36_escalate.py": [
        "Japan? The capital of Japan is Tokyo.\n  answer, by rule 'sure'",
        "  escalate → retrieve → ",
        "Ouagadougou",
        "  first: 0.",
        "chat: ",
        "tokens of both: ",
    ],
    "39_ask_once_more.py": [
        "Japan? The capital of Japan is Tokyo.\n  answer, by rule 'sure'",
        "  retry → hedge, by rule 'better'",
        "  begun with 'The answer is': 0.",
        "extrapolated",
        "chat: retry → abstain: ",
    ],
    "35_ask_back.py": [
        "What is the capital of Japan?\n  answer: The capital of Japan is Tokyo.",
        "Who won the cup?\n  ask_back: Whom or what do you mean?\n  the question is ambiguous (semantic-volume ",
        "ChatGuarded: ask_back: Whom or what do you mean?",
    ],
    "18_report.py": ["the policy would have answered ", "ECE 0.", " KiB, loads nothing"],
    "14_claim_streaming.py": [
        "'1. The capital of Japan is Tokyo.'",
        "'\\n3. The currency of Japan is the yen (doubtful, 40% chance of being right).'",
        "claims: keep 0.86, keep 0.86, hedge 0.40",
        "enforced: True",
        "first sentence after",
    ],
    "15_grade_answers.py": [
        "agreement 0.80 (",
        "for a person: ['It is in Europe.']",
        "graded by alias; 1 of 5 by hand",
    ],
    "16_bench.py": ["hybridgrad   AUROC 0.", "g-nll        AUROC 0.", "paragrad     AUROC 0."],
    "17_sps.py": ["  -4 <|im_start|>", "chat template: -4", "Tokyo", "not calibrated"],
    "19_monitor.py": [
        "3 lines, no text in them",
        "too few data",
        "more scored answers",
        "drift: recalibrate",
        "scores: the model is less sure",
    ],
    "21_timeout_and_fallback.py": [
        "DeadlineError: there was no verdict within the timeout of 0.001 s",
        "Tokyo. (answer)",
    ],
    "22_right_and_wrong_passages.py": ["Ouagadougou.  0.", "high, calibrated: answer", "low, calibrated: hedge"],
    "23_calibrate_a_chain.py": ["system: ", "extrapolated: another system message than in calibration"],
    "24_calibrate_rag.py": ["plain: ", "around the passages and the question: ['Context:"],
    "25_calibrate_follow_ups.py": ["turns: ", "extrapolated: a plain question, of which the calibration through chain"],
    "29_tune_claims.py": [
        "24 answers; 33% keep a wrong claim",
        "kept from 0.",
        "of answers keep no wrong claim on average",
    ],
    "26_calibrate_an_agent.py": [
        "system+tools: ",
        "tools: look_up",
        "human → ai → tool → ai",
        "calibrated",
        "extrapolated: a plain question, of which the calibration through LangGraph has seen too little",
    ],
    "27_calibrate_json.py": [
        "turns: ",
        "kept to a schema: True",
        "calibrated",
        "extrapolated: decoding not kept to a schema",
    ],
    "34_ray.py": ["Tokyo. ", "Bokassa. ", "the same here: True"],
    "37_rare_entities.py": [
        "What is the capital of Burkina Faso? (('Burkina Faso', 1),)\n  actions: retrieve → answer",
        "no passage of the corpus has both 'Japan' and 'France': rule 'never together'",
    ],
    "38_certainty_and_consistency.py": [
        "both: confidence 0.8",
        "neither: confidence 0.0",
        "no samples needed, 4 passages, the order moves it by 0.",
    ],
    "20_stacked_scorer.py": ["Tokyo.\n  log-odds of being wrong -0.46: new_nll 0.02", "wrong +1.21"],
}


def run(*command):
    out = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=300)
    assert out.returncode == 0, out.stderr
    return out.stdout


def test_every_example_is_tested():
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == EXPECTED.keys()


CHAINS = {
    "24_calibrate_rag.py",
    "25_calibrate_follow_ups.py",
    "26_calibrate_an_agent.py",
    "27_calibrate_json.py",
}  # one answer after the other, and each is scored: minutes


def _marks(name):
    return [pytest.mark.timeout(900), *([pytest.mark.slow] if name in CHAINS else [])] if "calibrate" in name else []


@pytest.mark.parametrize("name", [pytest.param(name, marks=_marks(name)) for name in EXPECTED])
def test_example(name):
    """Run as `python examples/NAME` would, but in this process, which has torch and LangChain in memory already."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")
    for text in EXPECTED[name]:
        assert text in out.getvalue()


def test_readme_example_runs_as_printed():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks[0].splitlines()) <= 12
    for block in blocks:
        assert run("-c", block)


def test_demo_shows_every_action():
    out = run("-m", "guardrail.cli", "demo")
    for action in ("answer", "hedge", "retrieve", "abstain"):
        assert action in out
    assert "A passage changed an answer" in out
    assert "Ouagadougou" in out
    assert "8 questions; generating took" in out
    assert max(map(len, out.splitlines())) <= 100
    assert "What to try next" in out
    assert "--claims --html claims.html" in out
