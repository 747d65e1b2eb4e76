"""Figures from arrays; knows nothing of models.

All notebooks draw with it. Colours are those of Okabe and Ito, which readers with colour blindness can tell apart; two
are darker, so that all stand out from white (3:1, WCAG AA). Text in RED, GREEN or ORANGE is bold and large, or darker.
"""

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from ipywidgets import Image, SelectionSlider, VBox
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import ScalarFormatter
from matplotlib.transforms import Bbox
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY = (
    "#0072B2",
    "#C48300",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#4098CC",
    "#666666",
)
HATCHES = ["", "//", "..", "xx", "\\\\"]

plt.rcParams.update({"font.size": 13, "axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 100})


def loss_curve(losses: Sequence[float], *, window: int = 10, title: str = "") -> Axes:
    """Draw the loss of every step (nats per answer token) and its running mean over `window` steps."""
    steps = np.arange(1, len(losses) + 1)
    window = min(window, len(losses))
    smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
    _, axes = plt.subplots(figsize=(8, 4.2), layout="constrained")
    axes.plot(steps, losses, color=SKY, linewidth=1, label="each step")
    axes.plot(steps[window - 1 :], smooth, color=BLUE, linewidth=3, label=f"mean of {window} steps")
    axes.set(xlabel="optimiser step", ylabel="loss (nats per answer token)", yscale="log", title=title)
    axes.yaxis.set_major_formatter(ScalarFormatter())  # 0.1, not 10^-1
    axes.legend(frameon=False)
    return axes


def score_bars(scores: Mapping[str, Mapping[str, tuple[float, float, float]]], *, title: str = "") -> Axes:
    """Draw grouped bars of shares with intervals: scores[method][test] = (share, low, high), each from 0 to 1."""
    tests = list(next(iter(scores.values())))
    width = 0.8 / len(scores)
    _, axes = plt.subplots(figsize=(9, 4.5), layout="constrained")
    for index, (method, shares) in enumerate(scores.items()):
        share, low, high = 100 * np.array([shares[test] for test in tests]).T
        position = np.arange(len(tests)) + (index - (len(scores) - 1) / 2) * width
        axes.bar(
            position,
            share,
            width * 0.92,
            yerr=[share - low, high - share],
            capsize=4,
            label=method,
            color=[GREY, SKY, PURPLE, ORANGE, BLUE, GREEN][index % 6],
            hatch=HATCHES[index % len(HATCHES)],
            edgecolor="white",
            error_kw={"elinewidth": 1.5},
        )
    axes.set(xticks=np.arange(len(tests)), xticklabels=tests, ylim=(0, 104), ylabel="exact answers (%)", title=title)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return axes


def slider(draw: Callable[[object], Figure], options: Sequence, *, value, label: str) -> VBox:
    """Return a slider over `options` with the figure that `draw(option)` returns under it, redrawn when it moves.

    A saved page has no kernel to redraw it: show `draw(value)` in a cell of its own as well.
    """

    def png(option) -> bytes:
        figure, buffer = draw(option), io.BytesIO()
        figure.savefig(buffer, format="png")
        plt.close(figure)
        return buffer.getvalue()

    control = SelectionSlider(options=options, value=value, description=label, continuous_update=False)
    picture = Image(value=png(value), format="png")
    control.observe(lambda change: setattr(picture, "value", png(change["new"])), names="value")
    return VBox([control, picture])


def spectra(shares: Mapping[str, Sequence[float]], *, mark: int | None = None, title: str = "") -> Axes:
    """Draw spectra: shares[name][i] is the share of the energy in direction i + 1; both axes are logarithmic.

    The figure ends at shares of 1e-7: what lies below is rounding in float32. A dashed line stands at direction `mark`.
    """
    colours = (GREY, ORANGE, BLUE, GREEN, RED, PURPLE)
    dashes = (":", "--", "-", "-.", (0, (8, 2)), (0, (5, 1, 1, 1, 1, 1)))
    _, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for index, (name, values) in enumerate(shares.items()):
        directions = np.arange(1, len(values) + 1)
        style = {"color": colours[index % 6], "linestyle": dashes[index % 6], "linewidth": 2.5}
        axes.plot(directions, values, label=name, **style)
    if mark is not None:
        axes.axvline(mark, color="black", linewidth=1, linestyle="--")
        axes.annotate(f"{mark}", (mark, 1), xytext=(4, -14), textcoords="offset points")
    axes.set(xscale="log", yscale="log", xlabel="direction, the strongest first", ylabel="share of the energy")
    axes.set(ylim=(1e-7, 1.5), title=title)
    axes.xaxis.set_major_formatter("{x:.0f}")  # 100, not 10^2
    axes.legend(frameon=False, loc="lower left")
    return axes


def pictures(images: Mapping[str, np.ndarray], *, columns: int) -> Figure:
    """Draw grey-scale images (height, width) under their titles, in rows of `columns`.

    The first image of a row sets black and white for all of the row, so that they can be compared; its darkest and
    lightest hundredth are cut off.
    """
    rows = -(-len(images) // columns)
    height, width = next(iter(images.values())).shape
    size = (3.0 * columns, rows * (3.0 * height / width + 0.4))
    figure, grid = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    for index, (axes, (title, image)) in enumerate(zip(grid.flat, images.items(), strict=False)):
        if index % columns == 0:
            low, high = np.percentile(image, (1, 99))
        axes.imshow(image, cmap="gray", vmin=low, vmax=high)
        axes.set_title(title, fontsize=13)
    for axes in grid.flat:
        axes.set_axis_off()
    return figure


def clouds(points: Mapping[str, np.ndarray], *, azimuth: float) -> Figure:
    """Draw sets of points (n, 3) side by side in space, turned by `azimuth` degrees about the vertical axis."""
    figure = plt.figure(figsize=(4.0 * len(points), 3.6), layout="constrained")
    for index, (name, cloud) in enumerate(points.items(), start=1):
        axes = figure.add_subplot(1, len(points), index, projection="3d", proj_type="ortho")
        axes.view_init(elev=19.5, azim=azimuth)
        axes.scatter(*np.asarray(cloud).T, s=18, color=(BLUE, ORANGE)[index % 2], depthshade=False)
        reach = np.abs(cloud).max()
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), zlim=(-reach, reach), title=name)
        axes.set(xlabel="y1", ylabel="y2", zlabel="y3", xticklabels=[], yticklabels=[], zticklabels=[])
        axes.set_box_aspect((1, 1, 1), zoom=0.95)
    return figure


def shadow_on_line(point: Sequence[float], shadow: Sequence[float]) -> Axes:
    """Draw a vector of the plane, its shadow on a line through the origin, and the rest between the two."""
    point, shadow = np.asarray(point, dtype=float), np.asarray(shadow, dtype=float)
    rest = point - shadow
    _, axes = plt.subplots(figsize=(7, 5.2), layout="constrained")
    axes.axline((0, 0), shadow, color=GREY, linewidth=1)
    true_length = {"angles": "xy", "scale_units": "xy", "scale": 1}
    axes.quiver(0, 0, *point, color=BLUE, width=0.009, zorder=3, **true_length)
    axes.quiver(0, 0, *shadow, color=ORANGE, width=0.009, zorder=3, **true_length)
    axes.plot(*np.array([shadow, point]).T, "--", color=RED, linewidth=2)
    along, up = -0.18 * shadow / np.linalg.norm(shadow), 0.18 * rest / np.linalg.norm(rest)
    axes.plot(*(shadow + np.array([along, along + up, up])).T, color=RED, linewidth=1.5)  # the right angle
    axes.annotate("b", point, (-6, 6), textcoords="offset points", color=BLUE, ha="right")
    axes.annotate("shadow P b", shadow, (8, -16), textcoords="offset points", color="#8A5E00")  # a dark ORANGE
    axes.annotate("rest b - P b", shadow + rest / 2, (8, 6), textcoords="offset points", color="#A84A00")  # a dark RED
    low, high = min(0, *point, *shadow) - 0.5, max(*point, *shadow) + 0.5
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal", xlabel="first coordinate", ylabel="second coordinate")
    return axes


def shadows_on_plane(plane: np.ndarray, point: Sequence[float], shadows: Mapping[str, Sequence[float]]) -> Figure:
    """Draw, one panel a title, a point (3,) and its shadow (3,) on the plane of the columns of `plane` (3, 2).

    A hollow dot marks the nearest point of the plane; the title says how far the shadow is from the point.
    """
    basis, _ = np.linalg.qr(np.asarray(plane, dtype=float))
    point = np.asarray(point, dtype=float)
    nearest = basis @ (basis.T @ point)
    corners = nearest + np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]]) * 4 @ basis.T
    limits = {f"{axis}lim": (middle - 3.8, middle + 3.8) for axis, middle in zip("xyz", nearest, strict=True)}
    figure = plt.figure(figsize=(5.6 * len(shadows), 5.4), layout="constrained")
    for index, (title, shadow) in enumerate(shadows.items(), start=1):
        shadow = np.asarray(shadow, dtype=float)
        axes = figure.add_subplot(1, len(shadows), index, projection="3d", computed_zorder=False)
        axes.add_collection3d(Poly3DCollection([corners], facecolor=SKY, edgecolor=BLUE, alpha=0.3, zorder=1))
        axes.plot(*np.array([nearest, shadow]).T, color=GREY, linewidth=2, zorder=2)
        axes.plot(*np.array([point, shadow]).T, "--", color=RED, linewidth=2.5, zorder=3)
        axes.scatter(*nearest, s=90, facecolor="white", edgecolor=GREY, linewidth=2, depthshade=False, zorder=4)
        axes.scatter(*shadow, s=70, color=ORANGE, depthshade=False, zorder=5)
        axes.scatter(*point, s=70, color=BLUE, depthshade=False, zorder=5)
        axes.text(*np.add(shadow, (0.3, 0.3, -0.9)), "shadow", color="#8A5E00", fontsize=14, zorder=6)  # a dark ORANGE
        axes.text(*(point + 0.5), "b", color=BLUE, fontsize=14, zorder=6)
        axes.set_title(f"{title}\nfrom b to its shadow: {np.linalg.norm(point - shadow):.2f}")
        axes.set(xlabel="first", ylabel="second", zlabel="third", **limits)
        axes.set_box_aspect((1, 1, 1), zoom=0.92)
        axes.view_init(elev=30, azim=20)
        axes.locator_params(nbins=4)
    return figure


def word_map(
    points: np.ndarray,
    words: Mapping[str, Sequence[str]],
    *,
    title: str = "",
    closer: tuple[float, float, float, float] | None = None,
) -> Axes:
    """Draw words at points (words, 2), in the order of `words`, which maps a group's name to its words.

    Words that lie in `closer` (left, right, bottom, top) have their names in an enlarged view, at the lower right.
    """
    points = np.asarray(points)
    figure, axes = plt.subplots(figsize=(9.5, 7.5), layout="constrained")
    axes.set(xlabel="first direction", ylabel="second direction", title=title)
    axes.margins(x=0.22, y=0.17)
    names = np.array([word for members in words.values() for word in members])
    inside, view = np.zeros(len(points), dtype=bool), None
    if closer is not None:
        left, right, bottom, top = closer
        inside = ((points > (left, bottom)) & (points < (right, top))).all(axis=1)
        view = figure.add_axes((0.53, 0.1, 0.45, 0.29))
        view.set(xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[])
        view.spines[:].set_visible(True)
    start = 0
    for index, (group, members) in enumerate(words.items()):
        color = [BLUE, RED, GREEN, GREY, PURPLE, ORANGE][index % 6]
        part = slice(start, start + len(members))
        style = {"s": 32, "color": color, "marker": "osD^vP"[index % 6], "label": group}
        axes.scatter(*points[part].T, **style)
        if inside[part].any():
            view.scatter(*points[part][inside[part]].T, **style)
        start += len(members)
    axes.legend(frameon=False)
    if view is not None:
        axes.indicate_inset_zoom(view, edgecolor=GREY)
        _label_apart(view, points[inside], names[inside])
    _label_apart(axes, points[~inside], names[~inside])
    return axes


def _label_apart(axes: Axes, points: np.ndarray, labels: Sequence[str], covered: Sequence[Bbox] = ()) -> None:
    """Write a label beside each point (n, 2), further away and with a line where it would cover something.

    What must stay free are the points, the labels before, and the boxes `covered`, in pixels.
    """
    axes.figure.canvas.draw()  # fixes the scale, and so what covers what
    pixels = axes.transData.transform(points)
    taken = [*covered, *(Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in pixels)]
    line = {"arrowstyle": "-", "color": GREY, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 3}
    for label, point, pixel in zip(labels, points, pixels, strict=True):
        text = axes.text(0, 0, label, fontsize=12)
        size = text.get_window_extent().size + 2
        text.remove()
        for angle in np.arange(0, 60, 0.2):  # a flat spiral outwards
            offset = np.array([(size[0] / 2 + 8 + 2 * angle) * np.cos(angle), (14 + 2 * angle) * np.sin(angle)])
            box = Bbox.from_bounds(*(pixel + offset - size / 2), *size)
            if not box.count_overlaps(taken):
                break
        taken.append(box)
        style = {"fontsize": 12, "ha": "center", "va": "center"}
        axes.annotate(label, point, offset, textcoords="offset pixels", arrowprops=line, **style)


def eigenvalues(clouds: Mapping[str, Sequence[complex]]) -> Figure:
    """Draw the eigenvalues of matrices in the complex plane, one panel a matrix with its name, all on one scale."""
    width = 4.4 * len(clouds)
    figure, panels = plt.subplots(
        1, len(clouds), figsize=(width, 4.8), sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    for axes, (name, values) in zip(panels[0], clouds.items(), strict=True):
        axes.axhline(0, color=GREY, linewidth=0.8)
        axes.axvline(0, color=GREY, linewidth=0.8)
        axes.scatter(np.real(values), np.imag(values), s=22, color=BLUE, alpha=0.5, zorder=3)
        axes.set(title=name, xlabel="real part", aspect="equal")
    panels[0][0].set_ylabel("imaginary part")
    return figure


def curves(lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, xlabel: str, ylabel: str) -> Axes:
    """Draw curves lines[name] = (x, y), each in a colour and a dash of its own, with the axes through the origin."""
    _, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.axvline(0, color=GREY, linewidth=0.8)
    for index, (name, (x, y)) in enumerate(lines.items()):
        dash, color = ("-", "--", ":", "-.")[index % 4], (BLUE, ORANGE, GREEN, RED)[index % 4]
        axes.plot(x, y, dash, color=color, linewidth=3, label=name)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.legend(frameon=False)
    return axes


def histogram(values: np.ndarray, *, band: tuple[float, float], band_label: str, xlabel: str, title: str = "") -> Axes:
    """Draw how often values occur, on a logarithmic scale, with a shaded band to compare them with."""
    _, axes = plt.subplots(figsize=(9, 4.5), layout="constrained")
    axes.axvspan(*band, color=ORANGE, alpha=0.35, label=band_label)
    axes.hist(np.ravel(values), bins=120, color=BLUE)
    axes.set(yscale="log", xlabel=xlabel, ylabel="number of values", title=title)
    axes.legend(frameon=False)
    return axes


def ablations(by_part: Mapping[str, Mapping[str, Sequence]], by_depth: Mapping[str, Mapping[int, float]]) -> Figure:
    """Draw how much the loss rises: by_part[kind][part] holds one rise a layer, by_depth[part][layer] one rise.

    Left, the median of the layers as a bar and each layer as a dot; right, layer by layer. Rises below 0.01 nats are
    drawn at 0.01.
    """
    size = {"figsize": (13, 5.5), "width_ratios": (3, 2)}
    figure, (left, right) = plt.subplots(1, 2, sharey=True, layout="constrained", **size)
    for index, (kind, parts) in enumerate(by_part.items()):
        color, hatch = (GREY, ORANGE, BLUE)[index % 3], HATCHES[index % 3]
        position = np.arange(len(parts)) + (index - (len(by_part) - 1) / 2) * 0.27
        rises = np.maximum(0.01, np.array(list(parts.values())))
        left.bar(position, np.median(rises, axis=1), 0.25, label=kind, color=color, hatch=hatch, edgecolor="white")
        left.plot(position, rises, "o", color="black", markersize=4.5, markeredgecolor="white", markeredgewidth=0.6)
    left.set(xticks=np.arange(len(parts)), xticklabels=list(parts), ylabel="rise of the loss (nats per token)")
    left.set(yscale="log", xlabel="projection (bar: median layer, dots: each layer)")
    for index, (part, rises) in enumerate(by_depth.items()):
        color, dash = (GREEN, RED, PURPLE)[index % 3], ("--", ":", "-")[index % 3]
        heights = np.maximum(0.01, list(rises.values()))
        right.plot(list(rises), heights, dash, marker="os^"[index % 3], color=color, linewidth=2, label=part)
    right.set(xlabel="layer")
    for axes in (left, right):
        axes.yaxis.set_major_formatter("{x:g}")
        axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, columnspacing=1.2)
    return figure


def attention_maps(maps: Mapping[str, Sequence], tokens: Sequence[str], *, numbers: bool = False) -> Figure:
    """Draw attention weights (tokens, tokens) as heat maps, a panel a map; with `numbers` also written in the cells."""
    columns = 2 if len(maps) == 4 else len(maps)
    rows = len(maps) // columns
    size = (3.6 * columns + 1.6, 3.7 * rows + 0.9)
    figure, panels = plt.subplots(
        rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    for axes, (name, weights) in zip(panels.flat, maps.items(), strict=True):
        weights = np.asarray(weights)
        image = axes.imshow(weights, cmap="Blues", vmin=0, vmax=1)
        axes.set_title(name, fontsize=13)
        axes.set_xticks(range(len(tokens)), tokens, rotation=90, fontsize=12)
        axes.set_yticks(range(len(tokens)), tokens, fontsize=12)
        for (row, column), weight in np.ndenumerate(weights if numbers else weights[:0]):
            color = "white" if weight > 0.6 else "black"
            axes.text(column, row, f"{weight:.2f}", ha="center", va="center", fontsize=12, color=color)
    figure.supxlabel("token that is asked", fontsize=13)
    figure.supylabel("token that asks", fontsize=13)
    figure.colorbar(image, ax=panels, label="attention weight", shrink=0.6)
    return figure


def score_by_distance(curves: Mapping[str, Sequence[float]], *, title: str = "") -> Axes:
    """Draw the mean score of a query and a key against their distance, 0, 1, 2, ... tokens, one curve a head."""
    _, axes = plt.subplots(figsize=(8.5, 4.4), layout="constrained")
    for index, (name, scores) in enumerate(curves.items()):
        style = {"color": [BLUE, ORANGE, GREY][index % 3], "marker": "osD"[index % 3], "markersize": 5}
        axes.plot(range(len(scores)), np.asarray(scores), label=name, **style)
    axes.set(xlabel="distance of query and key (tokens)", ylabel="mean score (divided by 8)", title=title)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return axes


def ellipse(matrix: np.ndarray, degrees: float) -> Figure:
    """Draw the unit circle with two arrows at a right angle, turned by `degrees`, and what a (2, 2) matrix makes of it.

    The title over the image says at which angle the arrows arrive.
    """
    turn = np.linspace(0, 2 * np.pi, 200)
    start = np.radians(degrees) + np.array([0, np.pi / 2])
    circle, arrows = (np.stack([np.cos(angles), np.sin(angles)]) for angles in (turn, start))
    first, second = (matrix @ arrows).T
    angle = np.degrees(np.arccos(first @ second / np.linalg.norm(first) / np.linalg.norm(second)))
    figure, panels = plt.subplots(1, 2, figsize=(9, 4.4), layout="constrained")
    titles = f"arrows turned by {degrees}°", f"the images: {angle:.0f}° apart"
    for axes, shape, title, names in zip(panels, (np.eye(2), matrix), titles, ("ab", ("K a", "K b")), strict=True):
        reach = 1.35 * np.linalg.norm(shape, 2)
        axes.plot(*(shape @ circle), color=GREY, linewidth=2)
        for tip, colour, name in zip((shape @ arrows).T, (BLUE, ORANGE), names, strict=True):
            axes.annotate("", tip, (0, 0), arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 3})
            beyond = tip * (1 + 0.14 * reach / np.linalg.norm(tip))
            axes.annotate(name, beyond, color=colour, ha="center", va="center", weight="bold", size=14)
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", title=title)
        axes.axhline(0, color=GREY, linewidth=0.5)
        axes.axvline(0, color=GREY, linewidth=0.5)
    return figure


def error_histogram(values: Mapping[str, Sequence[float]], *, mark: float, mark_label: str, xlabel: str) -> Axes:
    """Draw one histogram for each name over a common axis, and a dashed line with its label at `mark`."""
    _, axes = plt.subplots(figsize=(9, 4), layout="constrained")
    together = np.concatenate([np.asarray(group) for group in values.values()])
    bins = np.linspace(together.min(), together.max(), 60)
    for (name, group), colour, hatch in zip(values.items(), (SKY, ORANGE, GREEN), HATCHES, strict=False):
        axes.hist(group, bins, color=colour, alpha=0.75, hatch=hatch, edgecolor="white", label=name)
    axes.axvline(mark, color="black", linestyle="--", linewidth=2)
    axes.annotate(mark_label, (mark, 1), (6, -14), xycoords=("data", "axes fraction"), textcoords="offset points")
    axes.set(xlabel=xlabel, ylabel="how many")
    axes.legend(frameon=False, loc="upper center")
    return axes


def loss_by_rank(
    lines: Mapping[str, Mapping[int, float]],
    points: Mapping[str, Mapping[int, float]],
    *,
    levels: Mapping[str, float],
    break_even: float,
) -> Axes:
    """Draw losses against the rank, lines[name][k] and, as markers of the same colour, points[name][k].

    A dashed line stands at each loss of `levels`; right of the rank `break_even` two factors hold more than a matrix.
    """
    _, axes = plt.subplots(figsize=(9.5, 5.4), layout="constrained")
    handles = []  # a line and its marker in one
    for (name, losses), colour, marker in zip(lines.items(), (RED, PURPLE, BLUE, GREEN), "os^D", strict=False):
        style = {"color": colour, "linewidth": 2, "markersize": 9}
        axes.plot(list(losses), list(losses.values()), label=name, **style)
        axes.plot(list(points[name]), list(points[name].values()), marker, label=f"{name}, marks", **style)
        handles.append(Line2D([], [], marker=marker, label=name, **style))
    for label, level in levels.items():
        axes.axhline(level, color="black", linestyle="--", linewidth=1.5)
        axes.annotate(label, (1.01, level), xycoords=("axes fraction", "data"), va="center")
    axes.axvspan(break_even, axes.get_xlim()[1], color=GREY, alpha=0.15, linewidth=0)
    axes.annotate("factors hold\nmore than W", (break_even + 6, axes.get_ylim()[1]), va="top")
    axes.set(xlabel="rank k that is kept", ylabel="loss (nats per token)", yscale="log")
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(ScalarFormatter())
    axes.legend(handles=handles, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return axes


def score_by_rank(scores: Mapping[str, Mapping[int, tuple[float, float, float]]], *, level: float, label: str) -> Axes:
    """Draw shares with their intervals against the rank, scores[name][k] = (share, low, high), each from 0 to 1.

    A dashed line with its label stands at the share `level`; the ranks are on a logarithmic axis.
    """
    _, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    colours, dashes = (RED, BLUE, SKY, GREEN), ("-", "-", "--", "-.")
    for (name, by_rank), colour, dash, marker in zip(scores.items(), colours, dashes, "os^D", strict=False):
        share, low, high = 100 * np.array(list(by_rank.values())).T
        error = [share - low, high - share]
        axes.errorbar(list(by_rank), share, error, None, dash + marker, color=colour, capsize=4, lw=2.5, label=name)
    axes.axhline(100 * level, color="black", linestyle="--", linewidth=1.5)
    axes.annotate(label, (1, 100 * level), (0, 4), textcoords="offset points")
    ranks = sorted({k for by_rank in scores.values() for k in by_rank})
    axes.set(xscale="log", xticks=ranks, xticklabels=ranks, ylim=(-3, 108))
    axes.set(xlabel="rank k", ylabel="exact answers on Test-A (%)")
    axes.minorticks_off()
    axes.legend(frameon=False, loc="lower right")
    return axes


def grouped_bars(values: Mapping[str, Mapping[str, float]], *, ylabel: str) -> Axes:
    """Draw bars values[series][group] side by side, one colour and hatch a series."""
    groups = list(next(iter(values.values())))
    width = 0.8 / len(values)
    _, axes = plt.subplots(figsize=(10, 4.5), layout="constrained")
    for index, (name, heights) in enumerate(values.items()):
        position = np.arange(len(groups)) + (index - (len(values) - 1) / 2) * width
        colour, hatch = (BLUE, ORANGE, SKY, GREY)[index % 4], HATCHES[index % len(HATCHES)]
        heights = [heights[group] for group in groups]
        axes.bar(position, heights, width * 0.92, color=colour, hatch=hatch, edgecolor="white", label=name)
    axes.set(xticks=np.arange(len(groups)), xticklabels=groups, ylabel=ylabel)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return axes


def arrows(panels: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Draw vectors of two numbers as named arrows from the origin, panels[title][name], all to one scale."""
    reach = 1.25 * max(np.linalg.norm(tip) for vectors in panels.values() for tip in vectors.values())
    figure, row = plt.subplots(1, len(panels), figsize=(4 * len(panels), 4.3), squeeze=False, layout="constrained")
    for axes, (title, vectors) in zip(row[0], panels.items(), strict=True):
        for (name, (x, y)), colour in zip(vectors.items(), (BLUE, RED, GREEN), strict=False):
            axes.annotate("", (x, y), (0, 0), arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 3})
            side = -0.14 if y < -0.1 * reach else 0.14  # the name stands over the tip, or under one that points down
            axes.annotate(name, (x, y + side * reach), color=colour, ha="center", va="center", weight="bold", size=14)
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", title=title)
        axes.set(xlabel="a, first feature", ylabel="b, second feature")
        axes.axhline(0, color=GREY, linewidth=0.5)
        axes.axvline(0, color=GREY, linewidth=0.5)
    return figure


def error_lines(
    lines: Mapping[str, Mapping[float, tuple[float, float, float]]],
    *,
    xlabel: str,
    ylabel: str,
    log: bool = True,
    apart: float = 1.025,
) -> Axes:
    """Draw lines[name][x] = (mean, low, high), each line in a colour, dash and marker of its own.

    A point whose low and high are nan is drawn without an interval. The x axis is logarithmic unless `log` is False,
    with a tick at each x that occurs; on a logarithmic axis each line stands by the factor `apart` beside the next.
    """
    colours, dashes = (BLUE, ORANGE, GREEN, RED, PURPLE, GREY), ("-", "--", "-.", ":")
    _, axes = plt.subplots(figsize=(9.5, 5), layout="constrained")
    for index, (name, points) in enumerate(lines.items()):
        mean, low, high = np.array(list(points.values())).T
        beside = apart ** (index - (len(lines) - 1) / 2) if log else 1.0
        style = {"color": colours[index % 6], "linestyle": dashes[index % 4], "marker": "os^Dv*"[index % 6]}
        x = beside * np.array(list(points))
        axes.errorbar(x, mean, [mean - low, high - mean], capsize=4, lw=2, ms=7, label=name, **style)
    ticks = sorted({x for points in lines.values() for x in points})
    axes.set(xscale="log" if log else "linear", xlabel=xlabel, ylabel=ylabel)
    axes.set_xticks(ticks, [f"{x:g}" for x in ticks])
    axes.minorticks_off()
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return axes


def dots(panels: Mapping[str, Mapping[str, tuple[float, float, float]]]) -> Figure:
    """Draw panels[xlabel][name] = (mean, low, high) as dots with intervals, one row a name, panels side by side."""
    names = list(next(iter(panels.values())))
    size = (2.2 + 4.2 * len(panels), 1.2 + 0.5 * len(names))
    figure, row = plt.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for axes, (xlabel, values) in zip(row[0], panels.items(), strict=True):
        mean, low, high = np.array([values[name] for name in names]).T
        position = np.arange(len(names))
        axes.errorbar(mean, position, xerr=[mean - low, high - mean], fmt="o", color=BLUE, capsize=5, lw=2, ms=9)
        axes.set(xlabel=xlabel, yticks=position, yticklabels=names, ylim=(len(names) - 0.5, -0.5))
        axes.grid(axis="x", alpha=0.4)
    return figure


def scatter(
    groups: Mapping[str, Sequence[tuple[float, float]]], *, level: float, label: str, xlabel: str, ylabel: str
) -> Axes:
    """Draw one marker a run, groups[name] = [(x, y), ...], and a dashed line with its label at the height `level`."""
    _, axes = plt.subplots(figsize=(9.5, 5), layout="constrained")
    for index, (name, runs) in enumerate(groups.items()):
        style = {"color": (RED, BLUE, GREEN, ORANGE)[index % 4], "marker": "Dos^"[index % 4], "s": 55, "alpha": 0.8}
        axes.scatter(*np.array(runs).T, label=name, **style)
    axes.axhline(level, color="black", linestyle="--", linewidth=1.5)
    axes.annotate(label, (0.01, level), (0, -16), xycoords=("axes fraction", "data"), textcoords="offset points")
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return axes


def sliders(draw: Callable[..., Figure], options: Mapping[str, Sequence], *, start: Mapping) -> VBox:
    """Return one slider for each name in `options`, over the figure of `draw(name=choice, ...)`.

    As with `slider`, show `draw(**start)` in a cell of its own as well, for a page without a kernel.
    """

    def png() -> bytes:
        figure, buffer = draw(**{name: control.value for name, control in controls.items()}), io.BytesIO()
        figure.savefig(buffer, format="png")
        plt.close(figure)
        return buffer.getvalue()

    controls = {
        name: SelectionSlider(options=choices, value=start[name], description=name, continuous_update=False)
        for name, choices in options.items()
    }
    picture = Image(value=png(), format="png")
    for control in controls.values():
        control.observe(lambda change: setattr(picture, "value", png()), names="value")
    return VBox([*controls.values(), picture])


def stacked(bars: Mapping[str, Mapping[str, float]], *, marks: Mapping[str, float], xlabel: str) -> Figure:
    """Draw horizontal bars of parts, bars[name][part], and a dashed line with its label at each value of `marks`."""
    figure, axes = plt.subplots(figsize=(10.5, 1.9 + 0.62 * len(bars)), layout="constrained")
    parts = list(dict.fromkeys(part for bar in bars.values() for part in bar))
    colours = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED, GREY, "#9A8B00")
    start = np.zeros(len(bars))
    for index, part in enumerate(parts):
        widths = np.array([bar.get(part, 0.0) for bar in bars.values()])
        style = {"color": colours[index % 8], "hatch": HATCHES[index % len(HATCHES)], "edgecolor": "white"}
        axes.barh(np.arange(len(bars)), widths, 0.62, start, label=part, **style)
        start += widths
    reach = 1.05 * max(*start, min(marks.values(), default=0))
    for label, value in marks.items():
        if value <= reach:
            axes.axvline(value, color="black", linestyle="--", linewidth=1.5)
            axes.annotate(label, (value, 1), (3, 3), xycoords=("data", "axes fraction"), textcoords="offset points")
    axes.set(yticks=np.arange(len(bars)), yticklabels=list(bars), ylim=(len(bars) - 0.5, -0.5), xlim=(0, reach))
    axes.set_xlabel(xlabel)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def who_holds_what(panels: Mapping[str, Mapping[str, bool]], *, devices: int) -> Figure:
    """Draw what each of `devices` holds: panels[title][part] is True if the part is split, False if it is copied."""
    figure, row = plt.subplots(
        1, len(panels), figsize=(5.4 * len(panels), 4.4), sharey=True, squeeze=False, layout="constrained"
    )
    for axes, (title, parts) in zip(row[0], panels.items(), strict=True):
        for level, split in enumerate(parts.values()):
            colour = (BLUE, ORANGE, GREEN, SKY, GREY)[level % 5]
            for device in range(devices):
                for piece in range(devices):
                    held = not split or piece == device
                    fill = {"facecolor": colour if held else "white", "edgecolor": GREY, "alpha": 1 if held else 0.6}
                    width = 0.8 / devices
                    axes.add_patch(plt.Rectangle((device + 0.1 + piece * width, level + 0.15), width, 0.7, **fill))
        axes.set(xlim=(0, devices), ylim=(len(parts), 0), title=title)
        axes.set(xticks=np.arange(devices) + 0.5, xticklabels=[f"device {index}" for index in range(devices)])
        axes.set(yticks=np.arange(len(parts)) + 0.5, yticklabels=list(parts))
        axes.tick_params(length=0)
        axes.spines[["left", "bottom"]].set_visible(False)
    return figure


def alt_text(figure: Figure) -> str:
    """Return what a figure shows in words, from the data that it draws, for readers who cannot see it."""
    panels = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    texts = [". ".join(_in_words(axes)) for axes in panels]
    if len(texts) > 1:
        texts = [f"Panel {number}: {text}" for number, text in enumerate(texts, start=1)]
    return ". ".join(texts) + "."


def _in_words(axes: Axes) -> Iterator[str]:
    """Yield title, axes, lines, bars, images and points of one panel."""
    yield from filter(None, [axes.get_title().replace("\n", ", ")])
    if axes.get_xlabel() and axes.get_ylabel():
        yield f"{axes.get_ylabel()} against {axes.get_xlabel()}".replace("\n", " ")
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


def method_map(
    numbers: Mapping[str, int],
    scores: Mapping[str, tuple[float, float, float]],
    sizes: Mapping[str, float],
    *,
    xlabel: str,
    ylabel: str,
    size_label: str,
    closer: tuple[float, float, float, float] | None = None,
) -> Axes:
    """Draw a dot for each method: scores[name] = (mean, low, high) against numbers[name], its area from sizes[name].

    A score whose low and high are nan is drawn without an interval. The x axis is logarithmic. Methods whose dots lie
    in `closer` (left, right, bottom, top) have their names in an enlarged view, at the right.
    """
    names = np.array(list(scores))
    x = np.array([numbers[name] for name in names], dtype=float)
    mean, low, high = np.array([scores[name] for name in names], dtype=float).T
    area = 110 * np.array([sizes[name] for name in names])
    figure, axes = plt.subplots(figsize=(11, 6.5), layout="constrained")
    axes.set(xscale="log", xlabel=xlabel, ylabel=ylabel, ylim=(-6, 112))
    axes.margins(x=0.22)
    inside, panels = np.zeros(len(names), dtype=bool), [axes]
    if closer is not None:
        left, right, bottom, top = closer
        inside = (left < x) & (x < right) & (bottom < mean) & (mean < top)
        panels.append(figure.add_axes((0.66, 0.2, 0.33, 0.5)))
        panels[1].set(xscale="log", xlim=(left, right), ylim=(bottom, top))
        panels[1].tick_params(which="both", labelbottom=False, bottom=False)
        panels[1].spines[:].set_visible(True)
    dots = {"color": BLUE, "edgecolor": "white", "linewidth": 1.5, "zorder": 3}
    for panel, drawn in zip(panels, (np.ones(len(names), dtype=bool), inside), strict=False):
        error = [(mean - low)[drawn], (high - mean)[drawn]]
        panel.errorbar(x[drawn], mean[drawn], error, fmt="none", color=GREY, capsize=4, lw=1.5)
        largest_first = np.flatnonzero(drawn)[np.argsort(-area[drawn])]
        panel.scatter(x[largest_first], mean[largest_first], area[largest_first], **dots)
    for size in (1, 2):
        axes.scatter([], [], 110 * size, label=f"{size}", **dots)
    axes.legend(frameon=False, title=size_label, ncols=3, loc="lower right")
    if closer is not None:
        for line in axes.indicate_inset_zoom(panels[1], edgecolor=GREY).connectors:
            line.set_visible(False)  # they would cross dots
    figure.canvas.draw()  # fixes the scale, and so where the intervals and the dots are
    reach = np.maximum(np.sqrt(area) / 2 * figure.dpi / 72, 6)  # in pixels; a cap has 6
    for panel, named in zip(panels, (~inside, inside), strict=False):
        ends = panel.transData.transform(np.column_stack([np.tile(x, 3), np.concatenate([mean, low, high])]))
        middle, bottom, top = ends.reshape(3, -1, 2)
        covered = [Bbox([at - side, at + side]) for at, side in zip(middle, reach, strict=True)]
        covered += [Bbox([a - 6, b + 6]) for a, b in zip(bottom, top, strict=True) if np.isfinite([a, b]).all()]
        _label_apart(panel, np.column_stack([x, mean])[named], names[named], covered)
    return axes


def slopes(groups: Mapping[str, Sequence[tuple[float, float]]], *, xlabel: str, ylabel: str) -> Axes:
    """Draw groups[name] = [(before, after), ...] as two marks and a line each, side by side; names take two lines."""
    _, axes = plt.subplots(figsize=(10.5, 5), layout="constrained")
    ticks = []
    for index, (name, pairs) in enumerate(groups.items()):
        values = np.array(pairs, dtype=float).T  # (2, pairs)
        apart = np.linspace(-0.08, 0.08, len(pairs))
        x = np.array([index - 0.22 + apart, index + 0.22 + apart])
        axes.plot(x, values, color=GREY, lw=1)
        axes.plot(x[0], values[0], "o", color=BLUE, ms=8, mec="white", label=f"{name}, before")
        axes.plot(x[1], values[1], "D", color=RED, ms=8, mec="white", label=f"{name}, after")
        words = name.split()
        half = (len(words) + 1) // 2
        ticks.append(f"{' '.join(words[:half])}\n{' '.join(words[half:])}")
    handles, _ = axes.get_legend_handles_labels()
    axes.legend(handles[:2], ["before", "after"], frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    axes.set(xticks=range(len(ticks)), xticklabels=ticks, xlabel=xlabel, ylabel=ylabel)
    return axes
