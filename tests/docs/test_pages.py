"""README and pages: short enough to read, links that lead somewhere, policies that load."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from guardrail.policy import Policy

ROOT = Path(__file__).parents[2]
TOP = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
PAGES = [ROOT / name for name in TOP] + sorted((ROOT / "docs").rglob("*.md"))


def without_code(text: str) -> str:
    return re.sub(r"^ *```.*?^ *```|`[^`\n]+`", "", text, flags=re.MULTILINE | re.DOTALL)


def test_readme_is_short_and_has_few_figures() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    figures = re.findall(r"(?<![\w.-])\d{1,3}\.\d+(?![\w.]*\.)(?!\d)", re.sub(r"\d+\.\d+\.\d+", "", text))
    assert 0 < len(figures) <= 6, figures


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    text = without_code(page.read_text(encoding="utf-8"))
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|srcset)="([^"]+)"', text)
    for link in links:
        target, _, anchor = link.partition("#")
        if "://" not in link and target:
            assert (page.parent / target).exists(), link
        if anchor and "://" not in link and not anchor.startswith("only-"):
            there = (page.parent / target if target else page).read_text(encoding="utf-8")
            assert anchor in {slug(title) for title in re.findall(r"^#+ (.+)$", there, re.MULTILINE)}, link


def slug(title: str) -> str:
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_tables_and_lines_are_not_too_wide(page: Path) -> None:
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for line in text.splitlines():
        if line.lstrip().startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) <= 10, line
        else:
            assert len(line) <= 128 or "](" in line, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_blocks_open_as_the_site_reads_them(page: Path) -> None:
    """A second word behind the language makes running text of the whole block there, though not on GitHub."""
    fences = re.findall(r"^ *```(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(fences) % 2 == 0
    assert [opening for opening in fences[::2] if not re.fullmatch(r"[a-z]+", opening)] == []
    assert not any(fences[1::2])


def test_policies_of_the_how_to_load() -> None:
    text = (ROOT / "docs" / "how-to" / "policies.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^( *)```yaml\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    assert blocks
    for indent, block in blocks:
        assert not Policy.from_text(re.sub(f"^{indent}", "", block, flags=re.MULTILINE), "how-to/policies.md").warnings


def test_the_architecture_page_points_at_code_that_is_there() -> None:
    text = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| [^|]+ \| `([\w/.]+)` \| (?:`(\w+)` )?\|$", text, re.MULTILINE)
    assert len(rows) >= 5
    for file, function in rows:
        assert not function or f"def {function}(" in (ROOT / file).read_text(encoding="utf-8"), (file, function)
        assert (ROOT / file).is_file()
