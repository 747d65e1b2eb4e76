"""The figures that notebook 03 draws, and no other."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, Polygon

from lorautils.figures import drawing
from lorautils.figures.labels import label_apart
from lorautils.plots import BLUE, GREEN, GREY, ORANGE, PURPLE, RED


def shadow_on_line(point: Sequence[float], shadow: Sequence[float]) -> Axes:
    """Draw a vector of the plane, its shadow on a line through the origin, and the rest between the two."""
    point, shadow = np.asarray(point, dtype=float), np.asarray(shadow, dtype=float)
    rest = point - shadow
    figure, axes = plt.subplots(figsize=(7, 5.2), layout="constrained")
    figure.words = (
        f"A line through the origin and the point b at {_place(point)} beside it. The shadow P b is the point "
        f"{_place(shadow)} of the line. The rest, a dashed line from the shadow to b, is at a right angle to the line."
    )
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


def _place(point: np.ndarray) -> str:
    return "(" + ", ".join(f"{value:g}" for value in point) + ")"


def light(columns: np.ndarray, point: Sequence[float], slanted: Sequence[float]) -> Figure:
    """Draw, with the kit, what straight light (left) and slanted light (right) make of a point above a plane.

    The plane is that of the two `columns` (3, 2), seen from above its edge; `slanted` (3,) is the shadow at a slant.
    """
    columns, point, slanted = (np.asarray(values, dtype=float) for values in (columns, point, slanted))
    nearest = columns @ np.linalg.lstsq(columns, point, rcond=None)[0]
    straight, slant = np.linalg.norm(point - nearest), np.linalg.norm(point - slanted)
    axes = drawing.canvas(
        "A point b above the plane of columns 1 and 2 of M, which are arrows from the origin, twice. Left: the light "
        "falls straight, at a right angle to the plane. The shadow of b is the nearest point of the plane, here the "
        f"tip of column 2, {straight:.2f} from b. Right: the light falls at a slant. The shadow lies elsewhere in the "
        f"plane, {slant:.2f} from b; a hollow dot marks the nearest point.",
        height=520,
    )
    panels = {
        f"straight: {straight:.2f} from b": (nearest, 0),
        f"at a slant: {slant:.2f} from b": (slanted, 505),
    }
    for title, (shadow, left) in panels.items():
        drawing.write(axes, left + 245, 488, title, weight="bold")
        _panel(axes, columns, point, nearest, shadow, left)
    drawing.write(axes, 500, 28, "Blue arrows: columns 1 and 2 of M. They span the plane.")
    return axes.figure


def _panel(axes: Axes, columns: np.ndarray, point: np.ndarray, nearest: np.ndarray, shadow: np.ndarray, left: float):
    """Draw the plane with its columns, the point, the ray of light and the shadow, from x = `left` on."""
    along = columns[:, 1] / np.linalg.norm(columns[:, 1])
    up = (point - nearest) / np.linalg.norm(point - nearest)
    back = np.cross(up, along)
    back = back if back @ columns[:, 0] > 0 else -back
    unit = np.array([[52, -7], [17, 24], [0, 60]])  # of along, back and up, on the canvas

    def at(place: np.ndarray, right: float = 0, higher: float = 0) -> np.ndarray:
        return np.array([along @ place, back @ place, up @ place]) @ unit + (left + 105 + right, 190 + higher)

    corners = [at(u * along + v * back) for u, v in ((-0.8, -2.9), (6.1, -2.9), (6.1, 3.1), (-0.8, 3.1))]
    axes.add_patch(Polygon(corners, facecolor=drawing.VALUES(0.0), edgecolor=drawing.STREAM, linewidth=2))
    for column in columns.T:
        style = {"color": drawing.B, "linewidth": 3.5, "mutation_scale": 24, "shrinkA": 0, "shrinkB": 0}
        axes.add_patch(FancyArrowPatch(at(0 * column), at(column), arrowstyle="-|>", **style))
    axes.plot(*at(0 * point), "o", color=drawing.INK, markersize=9, zorder=4)
    axes.plot(*np.array([at(point), at(nearest)]).T, ":", color=drawing.INK, linewidth=2, zorder=3)
    mark = nearest + 0.6 * np.array([0 * along, -along, up - along, up])
    axes.plot(*np.array([at(mark[1]), at(mark[2]), at(mark[3])]).T, color=drawing.INK, linewidth=2, zorder=3)
    axes.plot(*at(nearest), "o", color="white", markeredgecolor=drawing.INK, markersize=11, markeredgewidth=2, zorder=4)
    sun = point + 0.42 * (point - shadow)
    ray = {"color": drawing.A, "linewidth": 4, "mutation_scale": 26, "shrinkA": 0, "shrinkB": 6, "zorder": 5}
    axes.add_patch(FancyArrowPatch(at(sun), at(shadow), arrowstyle="-|>", **ray))
    axes.plot(*at(shadow), "o", color=drawing.A, markersize=12, zorder=6)
    axes.plot(*at(point), "o", color=drawing.INK, markersize=12, zorder=6)
    drawing.write(axes, *at(point, -26, 4), "b", weight="bold")
    drawing.write(axes, *at(0 * point, 8, 28), "origin")
    drawing.write(axes, *at(shadow, 0, -30), "shadow", color=drawing.A, weight="bold")
    drawing.write(axes, *at(sun, 16), "light", color=drawing.A, ha="left")


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
    """Draw the eigenvalues of four matrices in the complex plane, each under its name, all on one scale.

    A dashed circle has half the largest radius, and the title says how many lie inside; where many lie on one spot,
    their number stands beside it.
    """
    figure, panels = plt.subplots(2, 2, figsize=(7.4, 8.4), sharex=True, sharey=True, layout="constrained")
    reach = 1.1 * max(np.abs(values).max() for values in clouds.values())
    for axes, (name, values) in zip(panels.flat, clouds.items(), strict=True):
        values = np.asarray(values)
        radius = np.abs(values).max() / 2
        axes.axhline(0, color=GREY, linewidth=0.8)
        axes.axvline(0, color=GREY, linewidth=0.8)
        axes.add_patch(Circle((0, 0), radius, fill=False, color=RED, linestyle="--", linewidth=2, zorder=4))
        axes.scatter(values.real, values.imag, s=16, color=BLUE, alpha=0.5, zorder=3)
        for index, spot in enumerate((0, 1)):
            if (many := int((np.abs(values - spot) < 0.01).sum())) > 10:
                axes.annotate(
                    f"{many} at {spot}", (spot, 0), (spot + 1, 2.2 - 4.4 * index), arrowprops={"arrowstyle": "-"}
                )
        axes.set(
            title=f"{name}\n{np.mean(np.abs(values) < radius):.0%} inside the circle",
            aspect="equal",
            xlim=(-reach, reach),
            ylim=(-reach, reach),
        )
    figure.supxlabel("real part")
    figure.supylabel("imaginary part")
    return figure
