"""What each label looks like: colours that survive colour blindness, and a line under the text for those without.

From orange over yellow to blue: the labels stay apart for protanopia, deuteranopia and tritanopia, and text on them has
a contrast of at least 4.5 (WCAG 2.2, 1.4.3); tests compute both.
"""

from __future__ import annotations

from dataclasses import dataclass

from guardrail.types import Label


@dataclass(frozen=True, slots=True)
class Look:
    """name: what a reader sees; slug: its CSS class. light, dark: background, `#rrggbb`. underline: CSS line style."""

    name: str
    slug: str
    light: str
    dark: str
    underline: str


LOOKS: dict[Label | None, Look] = {
    "very low": Look("very low", "very-low", "#ff9f45", "#a34700", "wavy"),
    "low": Look("low", "low", "#ffd9ac", "#5e3d22", "dotted"),
    "medium": Look("medium", "medium", "#fdf78d", "#3d3d00", "dashed"),
    "high": Look("high", "high", "#c4e0ff", "#1d4468", "solid"),
    "very high": Look("very high", "very-high", "#7fb8ff", "#1566c4", "solid"),
    None: Look("unknown", "unknown", "#d2d2d2", "#55575e", "double"),
}
"""None is a claim without a confidence."""

INK = {"light": "#16181d", "dark": "#f7f7f7"}
"""Text, on a claim and on the page."""

MUTED = {"light": "#595d66", "dark": "#a9adb8"}
"""Text that matters less: asides, times, sources."""

PAGE = {"light": "#ffffff", "dark": "#16181d"}
"""The page itself."""

PANEL = {"light": "#f3f4f6", "dark": "#22252c"}
"""Boxes on it: tooltips, passages, the question."""

LINK = {"light": "#0b4fa8", "dark": "#8fc0ff"}
"""Links and the focus ring."""

FIRST = {"light": "#0b57b0", "dark": "#79b4ff"}
"""What a chart is about. A mark has a contrast of at least 3 to the page (WCAG 2.2, 1.4.11)."""

SECOND = {"light": "#a8470a", "dark": "#ffa45c"}
"""What it is compared with; told apart from the first by its shape or hatching, too."""
_COLD_HOT = {"light": ("#ffffff", "#5c9fee"), "dark": ("#16181d", "#1566c4")}
HEAT_STEPS = 8
"""Steps of a heat map from nothing to its largest value."""

BELOW_ZERO = {"light": LOOKS["low"].light, "dark": LOOKS["low"].dark}
"""A heat map's cells below zero: orange, which no step of blue looks like."""


def heat(mode: str) -> tuple[str, ...]:
    """The colours of the `HEAT_STEPS` + 1 steps, from the page's own to blue: lightness alone tells them apart."""
    cold, hot = ([int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in _COLD_HOT[mode])
    return tuple(
        "#" + "".join(f"{round(a + (b - a) * step / HEAT_STEPS):02x}" for a, b in zip(cold, hot, strict=True))
        for step in range(HEAT_STEPS + 1)
    )
