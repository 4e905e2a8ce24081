"""The command line without a model: help, policies, mistakes. Exact output and exit codes, in real processes."""

from __future__ import annotations

import subprocess
import sys

import pytest


def test_help_names_every_command(cli):
    out = cli("--help")
    assert out.returncode == 0
    for command in ("demo", "ask", "score", "calibrate", "evaluate", "tune", "sps", "policy", "model"):
        assert command in out.stdout
        assert cli(command, "--help").returncode == 0


def test_help_imports_no_torch():
    code = (
        "import sys; from guardrail.cli.main import app; from typer.testing import CliRunner;"
        "r = CliRunner().invoke(app, ['--help']); assert r.exit_code == 0, r.output;"
        "heavy = {'torch', 'transformers', 'numpy', 'scipy', 'langchain_core', 'pydantic'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_version(process):
    out = process("--version")
    assert (out.returncode, out.stdout) == (0, "guardrail 0.1.0\n")


def test_policy_list_and_show(cli):
    out = cli("policy", "list")
    names = [line.split()[0] for line in out.stdout.splitlines()]
    assert names == ["ask_back", "default", "observe", "per_claim", "retrieve_first", "strict"]
    assert cli("policy", "show", "strict").stdout.startswith("#")


def test_policy_check(process, tmp_path):
    (tmp_path / "closed.yaml").write_text("version: 1\nname: closed\nrules: []\n")
    out = process("policy", "check", "closed.yaml")
    assert (out.returncode, out.stdout) == (0, "closed.yaml: ok, policy 'closed' with 0 rules\n")
    (tmp_path / "typo.yaml").write_text(
        "version: 1\nname: typo\nrules:\n- name: a\n  when: {confidnce: {at_least: 0.5}}\n  then: answer\n"
    )
    out = process("policy", "check", "typo.yaml")
    assert (out.returncode, out.stdout) == (1, "")
    assert out.stderr == "error: typo.yaml:5: unknown key 'confidnce' in rules[0].when; did you mean 'confidence'?\n"


def test_policy_explain_tells_whether_it_asks_first(cli, tmp_path):
    first = tmp_path / "first.yaml"
    first.write_text("version: 1\nname: f\nask_first: {below: 0.3}\nrules: [{name: any, then: answer}]\n")
    out = cli("policy", "explain", first, "--p-ik", "0.2")
    assert out.stdout == "ask first: P(IK) 0.20 is below 0.3: searched before an answer\n"
    both = cli("policy", "explain", first, "--p-ik", "0.3", "--confidence", "0.9").stdout.splitlines()
    assert both == [
        "ask first: P(IK) 0.30 is not below 0.3: nothing was searched before an answer",
        "answer: rule 'any' is for every answer",
    ]
    assert (
        "--p-ik is for a policy with ask_first, and default has none"
        in cli("policy", "explain", "default", "--p-ik", "0.2").stderr
    )


def test_policy_check_and_explain_claims(cli):
    assert cli("policy", "check", "per_claim").stdout == (
        "per_claim: ok, policy 'per_claim' with 14 rules, 9 of them for claims\n"
    )
    explain = ("policy", "explain", "per_claim")
    out = cli(*explain, "--claim", "--confidence", "0.4", "--support", "supported")
    assert out.stdout == "keep: the claim is supported by evidence: rule 'supported'\n"
    assert cli(*explain, "--claim", "--confidence", "0.4", "--searched", "8").stdout == (
        "hedge: confidence 0.40 (medium) is at least 0.30: rule 'unsure'; rule 'look it up' was passed over: "
        "retrieval.claims is 8\n"
    )
    assert cli(*explain, "--confidence", "0.9", "--claims", "0.9,0.2,?").stdout == (
        "abstain: 2 of 3 claims (1 unknown) below 0.30, a share of 0.67, is at least 0.50: rule 'mostly weak' "
        "(most of what the model said is too unsure)\n"
    )
    assert cli(*explain, "--confidence", "0.9", "--claims", "").stdout.startswith("hedge: the number of claims, 0,")
    assert cli(*explain, "--confidence", "0.9").stdout.startswith("abstain: no rule matched")
    for arguments, message in (
        (["--support", "supported"], "--support is for a claim; add --claim"),
        (["--claim", "--evidence"], "--evidence is for whole answers, not for --claim"),
        (["--claim", "--no-second-model"], "--no-second-model is for whole answers, not for --claim"),
        (["--claim", "--support", "yes"], "there is no support 'yes'; the supports are: supported, contradicted"),
        (["--claims", "0.5,x"], "--claims wants numbers from 0 to 1, or ?, with commas between them; not 'x'"),
    ):
        out = cli(*explain, *arguments)
        assert (out.returncode, out.stdout) == (1, "")
        assert message in out.stderr


def test_policy_explain(cli, tmp_path):
    (tmp_path / "p.yaml").write_text(
        "version: 1\nname: p\nrules:\n- name: sure\n  when: {confidence: {at_least: 0.8}}\n  then: answer\n"
    )
    assert cli("policy", "explain", "p.yaml", "--confidence", "0.9").stdout.startswith("answer: confidence 0.90")
    assert cli("policy", "explain", "p.yaml", "--confidence", "0.7").stdout.startswith("abstain: no rule matched")
    assert cli("policy", "explain", "p.yaml").stdout.startswith("abstain: no rule matched: confidence unknown")
    assert cli("policy", "explain", "p.yaml", "--confidence", "1.5").returncode == 2
    out = cli("policy", "explain", "p.yaml", "--confidence", "0.7", "--label", "certain")
    assert out.returncode == 1
    assert out.stderr == (
        "error: there is no label 'certain'; the labels are: very low, low, medium, high, very high\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ask", "  "], "the question is empty"),
        (["ask", "hi", "--timeout", "0"], "timeout is 0.0; it is the number of seconds that a call may take"),
        (["ask", "hi", "--policy", "strikt"], "did you mean 'strict'?"),
        (["ask", "hi", "--model", "no/such/model/here"], "'no/such/model/here' is no alias"),
        (["ask", "hi", "--model", "gone.gguf"], "there is no file 'gone.gguf'"),
        (["ask", "hi", "--retriever", "nowhere"], "there is no file or folder 'nowhere' to retrieve from"),
        (["ask", "hi", "--chat-template", "gone.jinja"], "cannot read 'gone.jinja': No such file or directory"),
        (["score", "gone.jsonl"], "there is no file 'gone.jsonl'"),
        (["calibrate", "gone.jsonl", "-o", "c.json"], "gone.jsonl: cannot read it: No such file or directory"),
        (["calibrate", "bundled", "-o", "no/c.json"], "there is no folder 'no'"),
        (["calibrate", "bundled", "-o", "c.json", "--grader", "vibes"], "vibes"),
        (["calibrate", "bundled", "-o", "c.json", "--prompt", "Well?"], "does not say where the {question} goes"),
        (["calibrate", "bundled", "-o", "."], "the output '.' is a folder"),
        (["calibrate", "bundled", "-o", "c.json", "--run", "./c.json"], "must be three files"),
        (["evaluate", "bundled", "--resume"], "--resume needs --run FILE"),
        (["evaluate", "bundled", "-c", "gone.json"], "gone.json: cannot read the calibrator"),
        (["policy", "show", "gone.yaml"], "gone.yaml"),
    ],
)
def test_a_mistake_is_one_line(cli, arguments, message):
    out = cli(*arguments)
    assert out.returncode == 1, out.stderr
    assert out.stdout == ""
    last = out.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert "Traceback" not in out.stderr


def test_debug_shows_the_traceback(process):
    out = process("--debug", "policy", "check", "gone.yaml")
    assert out.returncode == 1
    assert "Traceback" in out.stderr


@pytest.mark.parametrize(
    "arguments", [["ask"], ["ask", "hi", "--colour"], ["score", "a", "--batch-size", "0"], ["nonsense"]]
)
def test_wrong_usage_is_two(cli, arguments):
    assert cli(*arguments).returncode == 2
