"""The figures that notebook 12 draws, and no other."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lorautils.figures.drawing import INK, PALE, STREAM, TEXT, A, B, Box, W, block, canvas, lock, write
from lorautils.plots import BLUE, ORANGE

Parts = Mapping[str, float]  # GiB on one device, by the names of COLOURS

COLOURS = {"frozen": W, "what trains": A, "traffic": B, "activations": STREAM, "for a moment": PALE}


def told(parts: Parts) -> str:
    """Say how large the parts are that are there."""
    return ", ".join(f"{name} {size:.1f}" for name, size in parts.items() if size >= 0.05)


def _part(axes: Axes, name: str, box: Box) -> None:
    """Draw a part in its colour; what lives for a moment has an outline, and what is frozen is hatched."""
    block(axes, box, COLOURS[name], frozen=name == "frozen")
    if COLOURS[name] == PALE:
        corner = box.left[0], box.bottom[1]
        axes.add_patch(Rectangle(corner, box.width, box.height, facecolor="none", edgecolor=INK, linewidth=2))


def _stack(axes: Axes, parts: Parts, corner: tuple[float, float], width: float, unit: float, *, upright: bool) -> float:
    """Draw parts one behind another, `unit` long a GiB, from a corner upwards or to the right; return the end."""
    x, y = corner
    for name, size in parts.items():
        long = unit * size
        wide, high = (width, long) if upright else (long, width)
        box = Box(x + wide / 2, y + high / 2, wide, high)
        if long:
            _part(axes, name, box)
        x, y = (x, y + long) if upright else (x + long, y)
    return y if upright else x


def _legend(axes: Axes, names: Sequence[str], y: float) -> None:
    """Say which colour is which part, in one line."""
    x = 24.0
    for name in names:
        _part(axes, name, Box(x + 13, y, 26, 26))
        write(axes, x + 34, y, name, ha="left")
        x += 52 + 0.52 * TEXT * len(name)


def who_holds_what(panels: Mapping[str, Parts], received: Mapping[str, float]) -> Figure:
    """Draw what each of two devices holds, to scale: panels[title] are the parts on one, in GiB.

    `received` are the GiB that a device gets from the other in a step, by the same titles.
    """
    words = "; ".join(
        f"{title}: {told(parts)}, receives {received[title]:.2f} a step" for title, parts in panels.items()
    )
    axes = canvas(
        f"Two ways to use two devices, each device a column of parts to scale, in GiB. Both devices hold the same "
        f"sizes. {words}.",
        height=562,
    )
    unit = 310 / max(sum(parts.values()) for parts in panels.values())
    for left, (title, parts) in zip((40, 530), panels.items(), strict=True):
        write(axes, left + 195, 536, title, weight="bold", size=1.1 * TEXT)
        for device in (0, 1):
            x = left + 210 * device
            top = _stack(axes, parts, (x, 156), 170, unit, upright=True)
            write(axes, x + 85, top + 24, f"{sum(parts.values()):.1f} GiB")
            lock(axes, x + 85, 156 + unit * parts["frozen"] / 2, size=46)
            write(axes, x + 85, 126, f"GPU {device + 1}")
        write(axes, left + 195, 84, f"each receives {received[title]:.2f} GiB a step")
    _legend(axes, list(COLOURS), 34)
    return axes.figure


def staircase(plans: Mapping[str, Parts], cards: Sequence[int]) -> Figure:
    """Draw one bar a plan, to scale, from the most memory to the least, and a dashed line for each card, in GiB."""
    lines = "; ".join(f"{name} {sum(parts.values()):.1f}: {told(parts)}" for name, parts in plans.items())
    axes = canvas(
        f"A staircase: the peak of each plan as a bar of parts, to scale, in GiB. {lines}. "
        f"Dashed lines are cards of {' and '.join(map(str, cards))} GiB.",
        height=132 + 78 * len(plans),
    )
    left, top = 340, 66 + 78 * len(plans)
    unit = 600 / max(*cards, *(sum(parts.values()) for parts in plans.values()))
    for row, (name, parts) in enumerate(plans.items()):
        y = top - 78 * (row + 1) + 12
        write(axes, left - 16, y + 26, f"{name}: {sum(parts.values()):.0f} GiB", ha="right")
        _stack(axes, parts, (left, y), 52, unit, upright=False)
    for card in cards:
        axes.plot([left + unit * card] * 2, [66, top + 8], color=INK, linestyle="--", linewidth=2)
        write(axes, left + unit * card, top + 32, f"{card} GiB")
    _legend(axes, [name for name in COLOURS if any(parts[name] for parts in plans.values())], 34)
    return axes.figure


def memory_over_step(curves: Mapping[str, tuple[Sequence[float], int]]) -> Figure:
    """Draw memory over the time of a step: curves[name] = (MB after each operation, where the backward pass begins)."""
    figure, axes = plt.subplots(figsize=(10, 4.6), layout="constrained")
    for (name, (course, turn)), colour, dash in zip(curves.items(), (BLUE, ORANGE), ("-", "--"), strict=False):
        x = np.linspace(0, 100, len(course))
        axes.plot(x, course, dash, color=colour, linewidth=2, label=name)
        axes.plot(x[turn], course[turn], "o", color=colour, markersize=9, label="_")
        axes.annotate("backward begins", (x[turn], course[turn]), (8, 8), textcoords="offset points")
    axes.set(xlabel="operations of the step that are done (%)", ylabel="memory (MB)", xlim=(0, 100), ylim=(0, None))
    axes.legend(frameon=False)
    said = "; ".join(
        f"{name}: up to {course[turn]:.0f} where the backward pass begins, at most {max(course):.0f}, then down"
        for name, (course, turn) in curves.items()
    )
    figure.words = f"Memory in MB over the operations of one step. {said}."
    return figure
