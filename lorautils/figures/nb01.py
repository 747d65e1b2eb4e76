"""The drawings of notebook 01: a cube sent through matrices, and two factors beside their matrix, to scale."""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lorautils.figures.drawing import NAME, STREAM, A, B, W, arrow, canvas, matrix, write

EDGES = ((A, "solid"), (B, (0, (4, 1.5))), (STREAM, (0, (1, 1))))  # of direction 1, 2, 3
CORNERS = np.array(list(product((-1, 1), repeat=3)))  # (8, 3)
PLACE = np.array([130, 80])  # half the width and height that an image may take


def _screen(sight: Sequence[float]) -> np.ndarray:
    """Return the directions to the right and up (2, 3) that we see from `sight`."""
    right = np.cross((0, 0, 1), sight)
    up = np.cross(sight, right)
    return np.stack([right / np.linalg.norm(right), up / np.linalg.norm(up)])


# We stand before the plane of M's columns, a little aside, and in it.
FRONT, EDGE = _screen((-0.75, -0.55, 0.37)), _screen((0.36, -0.93, -0.11))


def cube_carried(matrices: Mapping[str, Sequence]) -> Figure:
    """Draw what 3 x 3 matrices make of a cube, side by side, from two sides; edges keep the colour of their direction.

    `matrices` has three entries, the titles as keys: the cube itself, as the identity, then N and M.
    """
    axes = canvas(
        "A cube and what N and M make of it, seen from two sides. The edges along each of the three directions have a "
        "colour and a dash: orange and solid, blue and dashed, green and dotted. They become the columns c1, c2, c3. "
        "From the front, all three look like blocks. Along the plane of M's columns, the cube and N are still blocks, "
        "but M is a single line: rank 2, a plane.",
        height=560,
    )
    views = FRONT, EDGE
    for x, (title, M) in zip((170, 500, 830), matrices.items(), strict=True):
        write(axes, x, 532, title, weight="bold")
        for y, view in zip((386, 160), views, strict=True):
            _body(axes, np.asarray(M, dtype=float), (x, y), view, _size(np.asarray(M, dtype=float), views))
    write(axes, 24, 490, "from the front", ha="left")
    write(axes, 24, 268, "along the plane of M's columns", ha="left")
    _legend(axes, 36)
    return axes.figure


def cube_twice(M: Sequence) -> Figure:
    """Draw a cube, M times the cube, and M times that; M (3, 3) makes a plane of a cube and a line of that plane."""
    axes = canvas(
        "A cube, an arrow with M, a flat piece of a plane, an arrow with M, a line: the cube goes through M twice. "
        "The edges along each of the three directions keep their colour and dash and become the columns c1, c2, c3. "
        "Of the plane only a line is left: rank 1.",
        height=330,
    )
    M = np.asarray(M, dtype=float)
    steps = {"the cube": np.eye(3), "M: a plane": M, "M M: a line": M @ M}
    for x, (title, image) in zip((150, 500, 850), steps.items(), strict=True):
        write(axes, x, 294, title, weight="bold")
        _body(axes, image, (x, 168), FRONT, _size(image, [FRONT]))
    for x in (325, 690):
        write(axes, x, 200, "M", size=NAME, weight="bold")
        arrow(axes, (x - 36, 168), (x + 36, 168))
    _legend(axes, 36)
    return axes.figure


def factors_to_scale(m: int, n: int, ranks: Sequence[int]) -> Figure:
    """Draw a matrix (m, n) and, for three ranks, the factors B (m, r) and A (r, n) that would replace it, to scale."""
    counts = [r * (m + n) for r in ranks]
    told = "; ".join(f"r = {r}: {count:,} numbers" for r, count in zip(ranks, counts, strict=True))
    axes = canvas(
        f"A matrix W ({m}, {n}), {m * n:,} numbers, a large square, and beside it, to scale, the two factors B "
        f"({m}, r), a standing strip, and A (r, {n}), a lying strip, for three ranks. {told}. "
        "The strips grow with r; at the last rank they fill as much area as W.",
        height=330,
    )
    unit, middle = 138 / max(m, n), 176
    matrix(axes, (m, n), 122, middle, unit=unit, colour=W, frozen=True)
    write(axes, 122, 294, f"W ({m}, {n})", weight="bold")
    write(axes, 122, 60, f"{m * n:,}")
    for x, r, count in zip((330, 570, 845), ranks, counts, strict=True):
        wide = (n + r) * unit + 14
        matrix(axes, (m, r), x - wide / 2 + r * unit / 2, middle, unit=unit, colour=B)
        matrix(axes, (r, n), x + wide / 2 - n * unit / 2, middle + (m - r) * unit / 2, unit=unit, colour=A)
        write(axes, x, 294, f"r = {r}", weight="bold")
        write(axes, x, 60, f"{count:,}")
    write(axes, 500, 24, "numbers to store: B standing, A lying")
    return axes.figure


def _body(axes: Axes, M: np.ndarray, centre: tuple[float, float], view: np.ndarray, size: float) -> None:
    """Draw the image of the cube's twelve edges on a screen (2, 3)."""
    corners = np.array(centre) + size * CORNERS @ M.T @ view.T
    for direction, (colour, dash) in enumerate(EDGES):
        step = 4 >> direction  # corners whose numbers differ by it share an edge
        for start in (corner for corner in range(8) if not corner & step):
            line = corners[[start, start + step]].T
            axes.plot(*line, color=colour, linestyle=dash, linewidth=3.5, solid_capstyle="round")


def _size(M: np.ndarray, views: Sequence[np.ndarray]) -> float:
    """Return the scale at which the image of the cube fits its place, seen from any of the sides."""
    return min((PLACE / np.abs(CORNERS @ M.T @ view.T).max(axis=0)).min() for view in views)


def _legend(axes: Axes, y: float) -> None:
    """Say which edges become which column."""
    for number, (colour, dash) in enumerate(EDGES, start=1):
        x = 320 * number - 250
        axes.plot((x, x + 70), (y, y), color=colour, linestyle=dash, linewidth=3.5)
        write(axes, x + 84, y, f"becomes c{number}", ha="left", color=colour)
