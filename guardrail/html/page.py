"""The shell of every page: one file that loads nothing, every text escaped, a policy that forbids the rest."""

from __future__ import annotations

import base64
import hashlib
import platform
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from guardrail.html.palette import BELOW_ZERO, FIRST, INK, LINK, LOOKS, MUTED, PAGE, PANEL, SECOND, heat
from guardrail.unseen import UNSEEN


def visible(text: str) -> str:
    """Text with what cannot be seen, or must not act, written as its code point: `\\u202e` becomes `⟨U+202E⟩`.

    Lines end with a line feed. Not escaped: templates do that.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return UNSEEN.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", lines)


def page(template: str, *, style: str | Sequence[str], script: str = "", **values: Any) -> str:
    """A template of this package, filled, as one self-contained HTML page; style (one or several), script: files beside it.

    Every string that is given is made `visible` and escaped. The page's Content-Security-Policy allows this style and this
    script, by their hash, and nothing else: no network, no image, no form, no style attribute.
    """
    styles = [style] if isinstance(style, str) else style
    css = Markup(_colours() + _text("page.css") + "".join(map(_text, styles)))  # noqa: S704  (files of the package)
    js = Markup(_text(script)) if script else Markup("")  # noqa: S704  (a file of the package)
    policy = [
        "default-src 'none'",
        f"style-src '{_hash(css)}'",
        f"script-src '{_hash(js) if js else 'none'}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    csp = Markup("; ".join(policy))  # noqa: S704  (written above)
    return _environment().get_template(template).render(css=css, js=js, csp=csp, **values)


def versions_here() -> str:
    """The versions that a page is made with: of guardrail, torch, transformers and Python."""
    found = []
    for name, package in (("guardrail", "hybridgrad-guardrail"), ("torch", "torch"), ("transformers", "transformers")):
        try:
            found.append(f"{name} {version(package)}")
        except PackageNotFoundError:  # guardrail run from a folder, without being installed
            continue
    return ", ".join([*found, f"Python {platform.python_version()}"])


def _finalize(value: Any) -> Any:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def _environment() -> Environment:
    loader = PackageLoader("guardrail.html", "templates")
    return Environment(
        loader=loader,
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _text(name: str) -> str:
    return files("guardrail.html").joinpath("templates", name).read_text(encoding="utf-8").replace("\r\n", "\n")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _colours() -> str:
    """The palette as CSS custom properties, dark where the reader's system is."""

    def properties(mode: str) -> str:
        named = {
            "ink": INK,
            "muted": MUTED,
            "page": PAGE,
            "panel": PANEL,
            "link": LINK,
            "first": FIRST,
            "second": SECOND,
            "below-zero": BELOW_ZERO,
        }
        plain = [f"--{name}: {colours[mode]};" for name, colours in named.items()]
        plain += [f"--heat-{step}: {colour};" for step, colour in enumerate(heat(mode))]
        return " ".join(plain + [f"--{look.slug}: {getattr(look, mode)};" for look in LOOKS.values()])

    labels = "\n".join(
        f".l-{look.slug} {{ --back: var(--{look.slug}); --line: {look.underline}; }}" for look in LOOKS.values()
    )
    dark = f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {properties('dark')} }} }}"
    return f":root {{ {properties('light')} }}\n{dark}\n{labels}\n"
