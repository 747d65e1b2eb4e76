"""The figures that notebook 02 draws, and no other."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lorautils.figures.drawing import INK, A, B, arrow, canvas, write
from lorautils.plots import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY

CIRCLE = np.stack([np.cos(np.linspace(0, 2 * np.pi, 200)), np.sin(np.linspace(0, 2 * np.pi, 200))])  # (2, 200)


def ellipse(matrix: np.ndarray, degrees: float) -> Figure:
    """Draw the unit circle with two arrows at a right angle, turned by `degrees`, and what a (2, 2) matrix makes of it.

    The title over the image says at which angle the arrows arrive; the unit circle stays there, pale. At a right angle
    the images are the radii of the ellipse, and carry the singular values.
    """
    start = np.radians(degrees) + np.array([0, np.pi / 2])
    arrows = np.stack([np.cos(start), np.sin(start)])
    lengths = np.linalg.norm(matrix @ arrows, axis=0)
    first, second = (matrix @ arrows / lengths).T
    angle = np.degrees(np.arccos(first @ second))
    names = [f"σ = {length:.2f}" for length in lengths] if round(angle, 6) == 90 else ["K a", "K b"]
    figure, panels = plt.subplots(1, 2, figsize=(9, 4.4), layout="constrained")
    panels[1].plot(*CIRCLE, color=GREY, linewidth=1.5, linestyle=":")
    _image(panels[0], np.eye(2), arrows, ["a", "b"])
    _image(panels[1], matrix, arrows, names)
    panels[0].set_title(f"arrows turned by {degrees}°")
    panels[1].set_title(f"the images: {angle:.0f}° apart")
    figure.words = (
        f"Left: the unit circle and two arrows, a and b, at a right angle, turned by {degrees}°. Right: the ellipse "
        f"that the circle becomes, and the dotted unit circle. The images K a and K b are {lengths[0]:.2f} and "
        f"{lengths[1]:.2f} long and {angle:.0f}° apart."
    )
    return figure


def _image(axes: Axes, matrix: np.ndarray, arrows: np.ndarray, names: Sequence[str]) -> None:
    """Draw the image of the unit circle and of two arrows, the columns of a (2, 2) array."""
    reach = 1.4 * np.linalg.norm(matrix, 2)
    axes.plot(*(matrix @ CIRCLE), color=GREY, linewidth=2)
    for tip, colour, name in zip((matrix @ arrows).T, (BLUE, ORANGE), names, strict=True):
        axes.annotate("", tip, (0, 0), arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 3})
        side = "center" if abs(tip[0]) < 0.1 * reach else "left" if tip[0] > 0 else "right"
        beyond = tip * (1 + 0.1 * reach / np.linalg.norm(tip))
        axes.annotate(name, beyond, color=colour, ha=side, va="center", weight="bold", size=14)
    axes.axhline(0, color=GREY, linewidth=0.5)
    axes.axvline(0, color=GREY, linewidth=0.5)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel="first entry", ylabel="second entry")


def turn_stretch_turn(matrix: np.ndarray) -> Figure:
    """Draw what a (2, 2) matrix makes of the unit circle and of its right singular vectors, in three steps."""
    U, S, Vh = np.linalg.svd(matrix)
    if U[1, 0] < 0:  # the first arrow ends pointing upwards
        U, Vh = U * [-1, 1], Vh * [[-1], [1]]
    if np.linalg.det(Vh) < 0:  # both turns without a mirror, where the matrix has none
        U, Vh = U * [1, -1], Vh * [[1], [-1]]
    steps = [np.eye(2), Vh, S[:, None] * Vh, matrix]
    labels = ["unit circle", "turned: Vᵀ", "stretched: Σ", "turned: U"]
    long, short = (f"{length:.2f}" for length in S)
    axes = canvas(
        "The matrix K in three steps, from left to right, all to one scale. First the unit circle with the arrows v1 "
        "and v2, at a right angle, both slanted. Then, after the turn V transposed, the same circle, and the arrows "
        f"lie on the axes. Then, after the stretch Sigma, an ellipse: the first arrow lies along the horizontal axis "
        f"and is {long} long, the second along the vertical axis and {short} long. Then, after the turn U, the same "
        "ellipse, slanted: its radii are sigma1 u1 and sigma2 u2.",
        height=400,
    )
    unit, middle = 34, 220
    names = [("v₁", "v₂"), ("", ""), (f"σ₁ = {long}", f"σ₂ = {short}"), ("σ₁ u₁", "σ₂ u₂")]
    places = [((36, 40), (-36, 40)), ((0, 0), (0, 0)), ((70, -68), (0, 84)), ((62, 124), (-84, 48))]  # of the names
    for x, step, label, both, beside in zip((100, 320, 595, 875), steps, labels, names, places, strict=True):
        centre = np.array([x, middle])
        axes.plot(*(centre[:, None] + unit * step @ CIRCLE), color=INK, linewidth=2)
        axes.plot(*(centre[:, None] + unit * CIRCLE), color=INK, linewidth=1, linestyle=":")
        for tip, colour, name, place in zip((step @ Vh.T).T, (B, A), both, beside, strict=True):
            end = centre + unit * tip
            head = {"arrowstyle": "-|>", "color": colour, "linewidth": 3, "mutation_scale": 18, "shrinkA": 0}
            axes.annotate("", end, centre, arrowprops={**head, "shrinkB": 0})
            write(axes, *(centre + place), name, color=colour, weight="bold")
        write(axes, x, 50, label)
    for start, stop in ((180, 220), (420, 490), (705, 785)):
        arrow(axes, (start, 50), (stop, 50))
    return axes.figure


def rivals(ratios: np.ndarray) -> Axes:
    """Draw ratios (rounds + 1, rivals): the error of each rival after each round, divided by that of the SVD."""
    figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
    first, last = ratios[0], ratios[-1]
    figure.words = (
        f"The error of {ratios.shape[1]} rivals against rounds of improvement, in errors of the truncated SVD, on a "
        f"logarithmic axis. Before the first round they lie between {first.min():.1f} and {first.max():.1f}; after "
        f"{len(ratios) - 1} rounds between {last.min():.4f} and {last.max():.4f}. A dashed line stands at 1, the "
        f"truncated SVD. The lowest error of all rounds is {ratios.min():.4f}."
    )
    axes.plot(ratios, color=BLUE, linewidth=0.8, alpha=0.35)
    axes.plot(ratios[:, 0], color=BLUE, linewidth=0.8, label=f"{ratios.shape[1]} rivals")
    axes.axhline(1, color="black", linestyle="--", linewidth=2, label="the truncated SVD")
    axes.set(xlabel="rounds of improvement", ylabel="error, in errors of the SVD", yscale="log", ylim=(0.8, None))
    axes.set_yticks([1, 2, 5, 10], ["1", "2", "5", "10"])
    axes.minorticks_off()
    axes.legend(frameon=False)
    return axes


def loss_by_rank(recorded: Mapping, *, blind: float, break_even: float) -> Figure:
    """Draw the losses of experiments/results/truncated_weights.json against the rank, a panel for each text.

    Dashed lines stand at the loss of a `blind` guess and at that of the whole model. Right of the rank `break_even`, on
    grey, two factors hold more numbers than a matrix.
    """
    names = {"truncated": "plain cut", "noise": "noise, same size", "aware": "careful cut"}
    figure, panels = plt.subplots(1, 2, figsize=(9.5, 5.6), sharey=True, layout="constrained")
    for axes, (text, ways) in zip(panels, recorded["losses"].items(), strict=True):
        for (way, losses), colour, line in zip(ways.items(), (RED, PURPLE, BLUE), ("-o", "--s", "-.^"), strict=True):
            by_rank = {int(k): loss for k, loss in losses.items() if 8 <= int(k) < 576}
            axes.plot(list(by_rank), list(by_rank.values()), line, color=colour, lw=2, label=names[way])
        whole = recorded["whole"][text]
        for level in (blind, whole):
            axes.axhline(level, color="black", linestyle="--", linewidth=1.5)
        axes.annotate("whole model", (0, whole), (0, 4), textcoords="offset points")
        axes.annotate("factors hold\nmore than W", (break_even + 6, 0.98), xycoords=("data", "axes fraction"), va="top")
        axes.axvspan(break_even, 576, color=GREY, alpha=0.15, linewidth=0)
        title = {"english": "English text", "wine": "wine text"}[text]
        axes.set(title=title, xlabel="rank k that is kept", yscale="log", xticks=[8, 128, 256, 384, 480, 576])
        axes.tick_params(axis="x", labelrotation=45)
    panels[-1].annotate("blind\nguess", (1.02, blind), xycoords=("axes fraction", "data"), va="center")
    panels[0].set_ylabel("loss (nats per token)")
    panels[0].set_yticks([3, 5, 10, 20, 50], ["3", "5", "10", "20", "50"])
    panels[0].minorticks_off()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


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
