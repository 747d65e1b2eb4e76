"""What a figure shows in words, from the data that it draws, for readers who cannot see it.

`lorautils.setup` lets every notebook store the words with its figures, where pages and screen readers look for them.
"""

import re
from collections.abc import Iterator

import numpy as np
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.pylabtools import print_figure
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure

import lorautils.plots  # noqa: F401  (its style is that of every figure)


def store_with_figures(shell: InteractiveShell) -> None:
    """Make Jupyter store a text alternative with every figure."""
    import matplotlib_inline.backend_inline  # noqa: F401  (registers its own way first)

    def shown(figure: Figure) -> tuple[bytes | str, dict[str, str]]:
        try:
            return print_figure(figure), {"alt": alt_text(figure)}
        except (LookupError, TypeError, ValueError):  # a figure of the reader's own that holds what ours never do
            return print_figure(figure), {}

    shell.display_formatter.formatters["image/png"].for_type(Figure, shown)


def alt_text(figure: Figure) -> str:
    """Return what a figure shows in words.

    A figure that brings its own words, as the drawings do, keeps them.
    """
    if words := getattr(figure, "words", ""):
        return words
    panels = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    texts = [". ".join(_in_words(axes)) for axes in panels]
    if len(texts) > 1:
        texts = [f"Panel {number}: {text}" for number, text in enumerate(texts, start=1)]
    return ". ".join(texts) + "."


def _in_words(axes: Axes) -> Iterator[str]:
    """Yield title, axes, lines, bars, images and points of one panel."""
    yield from filter(None, [axes.get_title().replace("\n", ", ")])
    if labels := list(filter(None, [axes.get_ylabel(), axes.get_xlabel()])):
        yield " against ".join(labels).replace("\n", " ")
    intervals = [group for group in axes.containers if isinstance(group, ErrorbarContainer)]
    named = {group.lines[0]: group.get_label() or "_" for group in intervals}
    caps = {cap for group in intervals for cap in group.lines[1]}
    for line in (line for line in axes.get_lines() if line not in caps):
        name, y = named.get(line, line.get_label()), np.asarray(line.get_ydata(orig=False), dtype=float)
        if len(y) and (not name.startswith("_") or len(y) > 2):  # the others mark a place
            name = "line" if name.startswith("_") else name
            yield f"{name}: {len(y)} points from {y[0]:.3g} to {y[-1]:.3g}, lowest {y.min():.3g}, highest {y.max():.3g}"
    for bars in (group for group in axes.containers if isinstance(group, BarContainer) and len(group)):
        lying = bars.orientation == "horizontal"
        heights = [bar.get_width() if lying else bar.get_height() for bar in bars]
        ticks = [label.get_text() for label in (axes.get_yticklabels() if lying else axes.get_xticklabels())]
        if len(heights) == len(ticks):
            shown = ", ".join(f"{tick} {height:.3g}" for tick, height in zip(ticks, heights, strict=True))
        else:
            shown = f"{len(heights)} bars, the highest {max(heights):.3g}"
        yield f"{'bars' if bars.get_label().startswith('_') else bars.get_label()}: {shown}"
    for image in axes.get_images():
        values = image.get_array()
        yield f"image of {values.shape[0]} by {values.shape[1]} values from {values.min():.2g} to {values.max():.2g}"
    for dots in (group for group in axes.collections if isinstance(group, PathCollection)):
        name = "points" if dots.get_label().startswith("_") else f"points {dots.get_label()}"
        if (count := len(dots.get_offsets())) > 1:  # single ones have a name beside them
            yield f"{name}: {count}"
    names = [text.get_text().replace("\n", " ") for text in axes.texts]
    if names := [name for name in names if re.search(r"[A-Za-z]", name)]:
        yield f"labels: {', '.join(names)}"
