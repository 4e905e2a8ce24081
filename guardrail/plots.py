"""Pictures as PNG, by matplotlib (extra `plots`), for slides and papers; pages have tables. Knows nothing about
measuring."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from guardrail.calibration.metrics import Estimate
from guardrail.errors import DataError, MissingExtraError
from guardrail.files import whole_file
from guardrail.html.heat_map import short
from guardrail.html.palette import BELOW_ZERO, INK, PAGE, heat

if TYPE_CHECKING:
    from guardrail.calibration.sps_profile import SpsProfile


def require_matplotlib() -> tuple[Any, Any]:
    """matplotlib's Figure and its colour maps from a list. Raises `MissingExtraError` without it."""
    try:
        from matplotlib.colors import LinearSegmentedColormap
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("PNG needs matplotlib; run: pip install 'hybridgrad-guardrail[plots]'") from error
    return Figure, LinearSegmentedColormap


def sps_png(found: SpsProfile, path: str | os.PathLike[str]) -> None:
    """The SPS map as a PNG, the last layer at the top, the upper half and the proposed token framed.

    Raises `MissingExtraError` without matplotlib, and `DataError` where `path` cannot be written.

        sps_png(SpsProfile.load("profile.json"), "sps.png")
    """
    figure_of, colours_of = require_matplotlib()
    layers, columns = len(found.layers), len(found.offsets)
    figure = figure_of(
        figsize=(1.5 + 0.62 * columns, 2.0 + 0.2 * layers), facecolor=PAGE["light"], layout="constrained"
    )
    axes = figure.add_subplot()
    top = max(max(row) for row in found.sps)
    colours = colours_of.from_list("sps", heat("light")).with_extremes(under=BELOW_ZERO["light"])

    image = axes.imshow(found.sps, cmap=colours, vmin=-0.005, vmax=max(top, 0.01), aspect="auto", origin="lower")
    for layer, row in enumerate(found.sps):
        for column, value in enumerate(row):
            axes.text(column, layer, short(value), ha="center", va="center", fontsize=7, color=INK["light"])
    labels = [f"{offset}\n{seen.label}" for offset, seen in zip(found.offsets, found.tokens, strict=True)]
    axes.set_xticks(range(columns), labels, fontsize=7, parse_math=False)
    axes.set_yticks(range(layers), [f"h({layer})" for layer in found.layers], fontsize=7)
    axes.set_xlabel("token, from the prompt's end")
    axes.set_title(
        f"SPS: {found.model.name}\n{found.data.questions} questions with {found.data.paraphrases} paraphrases "
        f"({found.data.name}); proposed token {found.token}",
        fontsize=9,
        parse_math=False,
    )
    best, (first, last) = found.offsets.index(found.token), found.upper
    axes.plot(
        [best - 0.5, best + 0.5, best + 0.5, best - 0.5, best - 0.5],
        [first - 0.5, first - 0.5, last + 0.5, last + 0.5, first - 0.5],
        color=INK["light"],
        linewidth=1.5,
    )
    figure.colorbar(image, ax=axes, extend="min", label="SPS")
    _save(figure, path)


def bins_png(methods: Mapping[str, Sequence[Estimate | None]], path: str | os.PathLike[str]) -> None:
    """Accuracy by bin of the stated probability, one panel a method, as a PNG; a point's area says how many answers it is of.

    methods: by name the accuracy in each of equal bins of [0, 1], lowest first; None for an empty one. On the dashed line the
    accuracy is the middle of the bin. Raises `MissingExtraError` without matplotlib, and `DataError` where `path` cannot be
    written.
    """
    figure_of, _ = require_matplotlib()
    columns = min(4, len(methods))
    rows = -(-len(methods) // columns)
    figure = figure_of(figsize=(2.6 * columns, 2.6 * rows), facecolor=PAGE["light"], layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat
    for (name, bins), axes in zip(methods.items(), panels, strict=False):
        total = sum(b.n for b in bins if b)
        axes.plot([0, 1], [0, 1], linestyle="--", linewidth=1, color=INK["light"])
        for k, b in enumerate(bins):
            if b is not None:
                middle = (k + 0.5) / len(bins)
                axes.vlines(middle, b.low, b.high, color=INK["light"], linewidth=1)
                axes.scatter([middle], [b.value], s=12 + 120 * b.n / total, color=INK["light"], clip_on=False)
        axes.set(xlim=(0, 1), ylim=(0, 1))
        axes.set_title(name, fontsize=9, parse_math=False)
    for axes in list(panels):  # those that are left over
        axes.set_axis_off()
    figure.supxlabel("stated probability of being right, five bins", fontsize=9)
    figure.supylabel("share that was right, 95 % interval", fontsize=9)
    _save(figure, path)


def cascade_png(
    shares: Sequence[float],
    curves: Mapping[str, Sequence[float]],
    costs: Sequence[float],
    path: str | os.PathLike[str],
) -> None:
    """Accuracy against the share of the questions that a second model is asked, as a PNG.

    shares: from 0 to 1, at which each of `curves` has the accuracy, and `costs` what a question costs. A random order is the
    dashed line between the ends, which all curves share, and asking the second always the dotted one.

    Raises `MissingExtraError` without matplotlib, and `DataError` where `path` cannot be written.
    """
    figure_of, _ = require_matplotlib()
    figure = figure_of(figsize=(6.4, 4.2), facecolor=PAGE["light"], layout="constrained")
    axes = figure.add_subplot()
    for name, accuracy in curves.items():
        axes.plot(shares, accuracy, label=name.replace("$", r"\$"), linewidth=1.5)
    first, second = (next(iter(curves.values()))[end] for end in (0, -1))
    axes.plot([0, 1], [first, second], linestyle="--", color=INK["light"], linewidth=1, label="a random order")
    axes.axhline(second, linestyle=":", color=INK["light"], linewidth=1, label="the second model, always")
    ticks = [len(shares) * k // 4 for k in range(4)] + [len(shares) - 1]
    axes.set_xticks([shares[k] for k in ticks], [f"{shares[k]:.0%}\n{costs[k]:.3g}" for k in ticks], parse_math=False)
    axes.set_xlabel("share asked of the second model, least sure first; cost of a question", fontsize=9)
    axes.set_ylabel("accuracy of what is shown", fontsize=9)
    axes.legend(fontsize=7)
    _save(figure, path)


def _save(figure: Any, path: str | os.PathLike[str]) -> None:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing")  # a token in a script that the font has not
            with whole_file(path) as file:
                figure.savefig(file, dpi=150, format="png")
    except OSError as error:
        raise DataError(f"{os.fspath(path)}: cannot write the picture: {error.strerror}") from error
