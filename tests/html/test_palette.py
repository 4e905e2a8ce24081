"""The labels' colours, on pages and in terminals: readable, and apart from each other for colour-blind readers."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from rich.color import Color

from guardrail.cli import claims as terminal
from guardrail.html.palette import INK, LINK, LOOKS, MUTED, PAGE, PANEL
from guardrail.types import LABELS

# Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
PALETTES = {
    "light page": {label: look.light for label, look in LOOKS.items()},
    "dark page": {label: look.dark for label, look in LOOKS.items()},
    "terminal": {label: Color.parse(name).get_truecolor().hex for label, name in terminal.COLOURS.items()},
}


def linear(colour):
    c = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def contrast(a, b):
    """WCAG 2.2: (L1 + 0.05) / (L2 + 0.05)."""
    low, high = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (a, b))
    return (high + 0.05) / (low + 0.05)


def lab(rgb):
    """Linear sRGB -> CIELAB, D65."""
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    t = np.array(to_xyz) @ rgb / [0.95047, 1.0, 1.08883]
    f = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_the_measures_themselves():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)  # the textbook's near miss
    assert lab(linear("#ff0000")) == pytest.approx([53.24, 80.09, 67.20], abs=0.1)


@pytest.mark.parametrize("palette", PALETTES)
def test_every_label_has_a_colour(palette):
    assert set(PALETTES[palette]) == {*LABELS, None}


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("palette", PALETTES)
def test_labels_stay_apart_however_one_sees(palette, vision):
    seen = {k: lab(np.clip(np.array(VISION[vision]) @ linear(c), 0, 1)) for k, c in PALETTES[palette].items()}
    for a, b in combinations(seen, 2):
        assert np.linalg.norm(seen[a] - seen[b]) >= 10, (a, b)  # four times the smallest difference that is noticed


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_text_can_be_read(mode):
    for label, colour in PALETTES[f"{mode} page"].items():
        assert contrast(INK[mode], colour) >= 4.5, label
    for back in (PAGE, PANEL):
        for ink in (INK, MUTED, LINK):
            assert contrast(ink[mode], back[mode]) >= 4.5


def test_text_can_be_read_in_a_terminal():
    ink = Color.parse(terminal.INK).get_truecolor().hex
    for label, colour in PALETTES["terminal"].items():
        assert contrast(ink, colour) >= 4.5, label


def test_no_theme_changes_the_terminals_colours():
    for name in (terminal.INK, *terminal.COLOURS.values()):
        assert 16 <= Color.parse(name).number <= 255


def test_labels_can_be_told_apart_without_colour():
    assert len({look.name for look in LOOKS.values()}) == len({look.slug for look in LOOKS.values()}) == len(LOOKS)
    lines = [look.underline for look in LOOKS.values()]
    assert lines.count("solid") == 2  # high and very high: thin and thick
    assert len(set(lines)) == len(lines) - 1
