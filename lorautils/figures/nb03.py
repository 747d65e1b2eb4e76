"""The figures that notebook 03 draws, and no other."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from lorautils.figures.labels import label_apart
from lorautils.plots import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY


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
        label_apart(view, points[inside], names[inside])
    label_apart(axes, points[~inside], names[~inside])
    return axes


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
