"""What others wrote is shown on a terminal and a page as text, and never acts."""

import subprocess
import sys

import pytest

from guardrail.cli.render import printable
from guardrail.html.page import visible

UNSEEN = ["\x1b[2J", "\x9b31m", "\x07", "\0", "\u202e", "\u2066", "\u200f", "\u061c", "\u200b", "\u2028", "\ufeff", "\u00ad",
          "\U000e0041", "\ud800"]  # fmt: skip


def guardrail(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "guardrail.cli", *arguments], capture_output=True, timeout=120, check=False, **options
    )


@pytest.mark.parametrize("text", UNSEEN, ids=ascii)
def test_what_acts_unseen_is_seen(text):
    for shown in (printable(f"a{text}b"), visible(f"a{text}b")):
        assert text[0] not in shown
        assert shown.startswith("a")
        assert len(shown) > 2


@pytest.mark.parametrize("text", ["क्ष\u200dत", "می\u200cخواهم", "👩\u200d🚀", "שלום", "a\tb\nc"])
def test_what_scripts_need_stays(text):
    assert printable(text) == text
    assert visible(text) == text


def test_escapes_in_a_policy_and_in_names_do_not_reach_the_terminal(tmp_path):
    policy = tmp_path / "p.yaml"
    policy.write_text('version: 1\nname: x\nrules: []\n"\\e[2J\\u202e": 1\n', encoding="utf-8")
    for arguments in (["policy", "check", str(policy)], ["policy", "check", "\x1b]0;title\x07.yaml"]):
        done = guardrail(*arguments)
        assert done.returncode == 1
        assert b"error" in done.stderr
        assert not {b"\x1b", b"\x07", "\u202e".encode()} & {
            done.stderr[i : i + n] for n in (1, 3) for i in range(len(done.stderr))
        }


@pytest.mark.parametrize("question", ["-5 + 3", "--what is it?", "-c is what?", "-5"])
def test_a_question_that_begins_with_a_dash_says_how(question):
    done = guardrail("ask", question, env={"COLUMNS": "300", "PATH": "/usr/bin:/bin", "NO_COLOR": "1"})
    assert done.returncode == 2
    assert b"guardrail ask -- '-5 + 3'" in done.stderr
