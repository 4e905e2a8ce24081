"""Claims on a terminal: exact output without colour, forced colour, narrow, huge; the page's file and its mistakes."""

from __future__ import annotations

import io
import os

import pytest
from rich.console import Console

from guardrail.cli import claims
from guardrail.errors import DataError
from tests.helpers import sample_verdicts
from tests.helpers.growth import superlinear


def shown(verdict, width=100, **options):
    console = Console(width=width, file=io.StringIO(), highlight=False, **options)
    claims.show(console, verdict)
    return "".join(line.rstrip() + "\n" for line in console.file.getvalue().splitlines())


CITY = """\
## Lyon

Lyon is a city in France. It lies where the Rhône meets the Saône. It was founded in 43 BC as
Lugdunum (unsure, 52% chance of being right).

- Its opera opened in 1701.

What the model said, claim by claim
Sure! [–] Here is an overview. [–]

## Lyon [–]

Lyon is a city in France. [1 very high 0.93] It lies where the Rhône meets the Saône. [2 high 0.71]
It was founded in 43 BC as Lugdunum. [3 medium 0.52 hedge] Its mayor is Jean Moulin. [4 low 0.31
drop] It has 12 million inhabitants. [5 very low 0.12 drop]

- The film was invented there. [6 unknown drop]
- Its opera opened in 1701. [7 medium 0.44 retrieve]

[number label confidence] follows each claim  [–] not checked

┏━━━┳━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━┓
"""

NARROW = """\
Marie Curie, born in Warsaw, won two
Nobel Prizes. She died in 1934.

What the model said, claim by claim
Marie Curie, born in Warsaw [1 very high
0.88], won two Nobel Prizes. [2 low 0.35
hedge] [3 high 0.61] She died in 1934.
[4 very high 0.90]

[number label confidence] follows each
claim

1. keep, very high 0.88 (0.78 to 0.98)
   Marie Curie was born in Warsaw.
2. hedge, low 0.35 (0.25 to 0.45)
   Marie Curie won two Nobel Prizes.
3. keep, high 0.61 (0.51 to 0.71)
   There were two Nobel Prizes.
4. keep, very high 0.90 (0.80 to 1.00)
   She died in 1934.

  confidence  0.55 (0.45 to 0.65),
medium
  action      answer (policy per_claim,
rule 'whole')
  why         rule of answer
  smollm2-135m · smollm2-135m-claims ·
ms: generate 1200, score 310
"""

WIDE_TABLE = """\
┏━━━┳━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┓
┃ # ┃ action ┃ confidence          ┃ label     ┃ claim                         ┃
┡━━━╇━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┩
│ 1 │ keep   │ 0.97 (0.95 to 0.99) │ very high │ 東京都は日本の首都です | 日本 │
│ 2 │ keep   │ 0.66 (0.56 to 0.76) │ high      │ القاهرة | مصر                 │
│ 3 │ drop   │ 0.25 (0.15 to 0.35) │ low       │ Oslo 🇳🇴 | Norway              │
└───┴────────┴─────────────────────┴───────────┴───────────────────────────────┘
"""

AFTER_TABLE = """\
claim 6: no confidence: unscored: not_finite
claim 7: extrapolated: a list
not checked, its place in the answer was not found: Lyon has an airport.

  confidence  0.55 (0.45 to 0.65), medium
  action      answer (policy per_claim, rule 'whole')
  why         rule of answer
  smollm2-135m · smollm2-135m-claims · ms: generate 1200, score 310
"""


def test_what_is_shown_comes_first_then_the_claims_then_why():
    out = shown(sample_verdicts.city())
    assert out.startswith(CITY)
    assert out.endswith("┘\n" + AFTER_TABLE)
    row = next(line for line in out.splitlines() if line.startswith("│ 5 "))
    assert [cell.strip() for cell in row.strip("│").split("│")] == [
        "5",
        "drop",
        "0.12 (0.02 to 0.22)",
        "very low",
        "It has 12 million",
        "contradicted by",
    ]


def test_forty_columns_and_claims_that_overlap():
    out = shown(sample_verdicts.overlapping(), width=40)
    assert out == NARROW
    assert max(map(len, out.splitlines())) <= 40


def test_eighty_columns_and_wide_characters():
    assert WIDE_TABLE in shown(sample_verdicts.table(), width=80)


def test_at_eighty_columns_evidence_makes_it_a_list():
    out = shown(sample_verdicts.city(), width=80)
    assert (
        "5. drop, very low 0.12 (0.02 to 0.22)\n   It has 12 million inhabitants.\n   contradicted by atlas.txt\n"
        in out
    )
    assert "┏" not in out


def test_a_pipe_gets_whole_lines():
    console = Console(width=40, file=io.StringIO(), highlight=False, soft_wrap=True)
    claims.show(console, sample_verdicts.overlapping())
    assert "[2 low 0.35 hedge] [3 high 0.61] She died in 1934. [4 very high 0.90]\n" in console.file.getvalue()
    assert "\n   Marie Curie won two Nobel Prizes.\n" in console.file.getvalue()


def test_forced_colour():
    console = {"width": 200, "force_terminal": True, "color_system": "256", "no_color": False}
    out = shown(sample_verdicts.city(), **console)
    ink = "\x1b[38;5;16;48;5;"
    assert f"{ink}75mLyon is a city in France.\x1b[0m [1] {ink}153mIt lies where" in out
    assert "\x1b[9;38;5;16;48;5;208mIt has 12 million inhabitants.\x1b[0m [5 drop]" in out
    assert "\x1b[2mSure!\x1b[0m" in out
    legend = next(line for line in out.splitlines() if " very low " in line and " very high " in line)
    colours = {"very low": 208, "low": 223, "medium": 228, "high": 153, "very high": 75, "unknown": 250}
    assert legend == "  ".join([f"{ink}{n}m {label} \x1b[0m" for label, n in colours.items()]) + (
        "  \x1b[2mnot checked\x1b[0m"
    )


@pytest.mark.parametrize(
    "console",
    [
        {"force_terminal": True, "color_system": "256", "no_color": True},
        {"force_terminal": True, "color_system": "standard", "no_color": False},
        {"force_terminal": False},
    ],
    ids=["NO_COLOR", "16 colours", "pipe"],
)
def test_labels_are_in_words_where_colours_do_not_reach(console):
    out = shown(sample_verdicts.city(), width=200, **console)
    assert "[5 very low 0.12 drop]" in out
    assert "48;5;" not in out


def test_a_dumb_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.delenv("COLORTERM", raising=False)
    out = shown(sample_verdicts.city(), force_terminal=True)
    assert "[5 very low 0.12 drop]" in " ".join(out.split())
    assert "\x1b" not in out


@pytest.mark.parametrize("name", sample_verdicts.ALL)
@pytest.mark.parametrize("width", [20, 40, 80, 100, 300])
def test_every_verdict_at_every_width(name, width):
    verdict = sample_verdicts.ALL[name]()
    out = shown(verdict, width=width)
    for number in range(1, len(verdict.claims) + 1):
        assert f"[{number} " in out.replace(f"[{number}\n", f"[{number} ")
    assert not set(out) & set(map(chr, (0, 7, 0x1B, 0x202E, 0x202C, 0xD83D)))


def test_a_number_that_is_none_is_never_confident():
    out = shown(sample_verdicts.abstained())
    assert "It is green. [2 unknown drop]" in out
    assert "claim 2: no confidence: it is not a probability" in out
    assert "very high" not in out


def test_without_claims():
    out = shown(sample_verdicts.without_claims())
    assert out.startswith(
        "Hello!\n\nNo claims: the answer was not taken apart, or holds nothing that can be checked.\n"
    )


def test_a_huge_answer_takes_time_in_proportion():
    answer = "".join(f"Fact {i} is this.\n" for i in range(1000))
    places = [answer.index(f"Fact {i} is") for i in range(1000)]
    found = [sample_verdicts.claim(answer, f"Fact {i} is this.", 0.5, start=at) for i, at in enumerate(places)]

    def of(count):
        text = answer[: places[count]] if count < 1000 else answer
        return shown(sample_verdicts.verdict(text, text, found[:count]))

    assert not superlinear(lambda: of(125), lambda: of(1000), 8)
    assert "Fact 999 is this. [1000 medium 0.50]" in of(1000)


def test_the_page_is_written_and_replaced(tmp_path):
    path = tmp_path / "claims.html"
    for _ in range(2):
        claims.write_page(path, sample_verdicts.hostile(), question="?")
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>\n")
    assert os.listdir(tmp_path) == ["claims.html"]


@pytest.mark.parametrize(
    ("place", "why"),
    [
        (".", "it is a folder; give a file in it, for example claims.html"),
        ("missing/claims.html", "there is no folder"),
        ("file/claims.html", "there is no folder"),
    ],
)
def test_a_place_where_no_page_can_be(tmp_path, place, why):
    (tmp_path / "file").write_text("kept")
    for attempt in (
        lambda: claims.check_page(tmp_path / place),
        lambda: claims.write_page(tmp_path / place, sample_verdicts.city(), question="?"),
    ):
        with pytest.raises(DataError, match=why):
            attempt()
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_one_clear_error():
    from pathlib import Path

    with pytest.raises(DataError, match="cannot write '/dev/full': No space left on device"):
        claims.write_page(Path("/dev/full"), sample_verdicts.city(), question="?")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(DataError, match="permission denied"):
        claims.check_page(tmp_path / "claims.html")
