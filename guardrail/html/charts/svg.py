"""SVG as text: elements, escaped by the standard library's XML writer, numbers short.

Looks come from classes, so that one style sheet has the colours, the page's Content-Security-Policy needs no exception, and
the reader's light or dark page decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from xml.etree import ElementTree as ET  # writes only; nothing is parsed

from markupsafe import Markup

from guardrail.html.page import visible

Element = ET.Element
Places = Sequence[tuple[float, float]]
"""(x, y) in drawing units; y grows downwards."""


def element(tag: str, look: str = "", /, *children: Element, text: str = "", **attributes: str | float) -> Element:
    """`element("line", "grid", x1=0, ...)`; look: its class. An underscore in a name is a hyphen (`text_anchor`)."""
    made = ET.Element(tag)
    if look:
        made.set("class", look)
    for name, value in attributes.items():
        made.set(name.replace("_", "-"), value if isinstance(value, str) else number(value))
    if text:
        made.text = visible(text)
    made.extend(children)
    return made


def number(value: float) -> str:
    """At most two decimals, no trailing zeros: `12.5`, `3`."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def line(look: str, x1: float, y1: float, x2: float, y2: float) -> Element:
    return element("line", look, x1=x1, y1=y1, x2=x2, y2=y2)


def rect(look: str, x: float, y: float, width: float, height: float, **more: str) -> Element:
    return element("rect", look, x=x, y=y, width=max(width, 0), height=max(height, 0), **more)


def words(look: str, x: float, y: float, text: str, anchor: str = "start") -> Element:
    return element("text", look, text=text, x=x, y=y, text_anchor=anchor)


def polyline(look: str, places: Places) -> Element:
    """A line through the places, unbroken."""
    return element("path", look, d=_through(places))


def area(look: str, upper: Places, lower: Places) -> Element:
    """What lies between two lines, each from left to right."""
    return element("path", look, d=_through([*upper, *reversed(lower)]) + "Z")


def mark(shape: str, look: str, x: float, y: float, size: float = 4) -> Element:
    """A circle, square, diamond or triangle around (x, y); size: half of its width, so that areas look alike."""
    if shape == "circle":
        return element("circle", look, cx=x, cy=y, r=size)
    if shape == "square":
        return rect(look, x - size * 0.9, y - size * 0.9, size * 1.8, size * 1.8)
    corners = {
        "diamond": [(0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)],
        "triangle": [(0, -1.25), (1.2, 0.9), (-1.2, 0.9)],
    }[shape]
    return element("path", look, d=_through([(x + size * a, y + size * b) for a, b in corners]) + "Z")


def drawing(
    slug: str, title: str, description: str, width: float, height: float, children: Iterable[Element]
) -> Markup:
    """The whole drawing; title, description: what a screen reader says. slug: unique on the page."""
    root = element(
        "svg",
        "chart",
        element("title", text=title, id=f"{slug}-title"),
        element("desc", text=description, id=f"{slug}-desc"),
        *children,
        viewBox=f"0 0 {number(width)} {number(height)}",
        role="img",
        aria_labelledby=f"{slug}-title {slug}-desc",
    )
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704  (every text in it was escaped by the writer)


def hatching(slug: str, look: str) -> Element:
    """A pattern of slanted lines, `fill="url(#slug)"`: an area that differs from a full one without colour."""
    strokes = element("path", look, d="M-1,1l2,-2M0,5l5,-5M4,6l2,-2")
    return element(
        "defs", "", element("pattern", "", strokes, id=slug, width=5, height=5, patternUnits="userSpaceOnUse")
    )


def _through(places: Places) -> str:
    return "M" + "L".join(f"{number(x)},{number(y)}" for x, y in places)
