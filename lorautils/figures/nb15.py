"""The figures that notebook 15 draws, and no other."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lorautils.figures.drawing import INK, STREAM, A, B, Box, W, arrow, block, canvas, disc, lock, write
from lorautils.plots import BLUE, GREY, RED


def adapter_file() -> Figure:
    """Draw PEFT's two files and the GGUF: which entry goes where, and what goes nowhere."""
    axes = canvas(
        "From PEFT's two files, left, to one GGUF, right. adapter_config.json: lora_alpha 32 goes to "
        "adapter.lora.alpha; r goes nowhere, as it is read off the shapes; target_modules and dropout go nowhere. "
        "adapter_model.safetensors: q_proj.lora_A (8, 576) goes to blk.0.attn_q.weight.lora_a as it is; "
        "q_proj.lora_B (576, 8) goes to blk.0.attn_q.weight.lora_b with its rows in another order. The GGUF begins "
        "with general.architecture = llama and general.type = adapter. Neither prompt nor tokenizer nor the name of "
        "the base is in it.",
        height=560,
    )
    for x, width, low, high in ((196, 360, 316, 512), (196, 360, 92, 268), (738, 500, 92, 512)):
        axes.add_patch(Rectangle((x - width / 2, low), width, high - low, facecolor="none", edgecolor=W, linewidth=2.5))
    for x, y, text in ((196, 536, "adapter_config.json"), (196, 292, "…model.safetensors"), (738, 536, "GGUF")):
        write(axes, x, y, text, weight="bold")
    starts = {"r 8": 486, "lora_alpha 32": 446, "target_modules …": 394, "lora_dropout 0.1": 346}
    starts |= {"q_proj.lora_A (8, 576)": 226, "q_proj.lora_B (576, 8)": 154}
    for text, y in starts.items():
        write(axes, 30, y, text, ha="left", color=A if "A (" in text else B if "B (" in text else INK)
    ends = {"general.architecture  llama": 486, "general.type  adapter": 446, "adapter.lora.alpha  32": 374}
    ends |= {"blk.0.attn_q.weight.lora_a": 226, "blk.0.attn_q.weight.lora_b": 154}
    for text, y in ends.items():
        write(axes, 508, y, text, ha="left", color=A if text.endswith("_a") else B if text.endswith("_b") else INK)
    arrow(axes, (222, 446), (440, 446), (440, 374), (500, 374))
    for y in (226, 154):
        arrow(axes, (346, y), (500, y))
    write(axes, 738, 116, "rows of q and k in another order", color=B)
    write(axes, 738, 286, "420 tensors, such as")
    write(axes, 20, 58, "In no file: the prompt's form, the tokenizer.", ha="left")
    write(axes, 20, 22, "Left out: r, which the shapes tell; targets, dropout, the base's name.", ha="left")
    return axes.figure


def rows(size: int = 8) -> Figure:
    """Draw the rows of one head in the order of transformers and of llama.cpp; RoPE turns rows of one colour."""
    half = size // 2
    colours = [A, B, STREAM, W]
    axes = canvas(
        f"One head of q with {size} rows, twice. Left, in transformers' order, rows 0 to {size - 1}; RoPE turns row i "
        f"together with row i + {half}, drawn in one colour. Right, in llama.cpp's order, the rows 0, {half}, 1, "
        f"{half + 1} and so on: the two rows that turn together are neighbours. A line leads from each row to its "
        "new place.",
        height=560,
    )
    order = [i // 2 + half * (i % 2) for i in range(size)]
    height, step = 40, 49

    def y(place: int) -> float:
        return 452 - step * place

    for i in range(size):
        for x, row in ((250, i), (750, order[i])):
            frame = {"facecolor": "none", "edgecolor": colours[row % half], "linewidth": 2}
            axes.add_patch(Rectangle((x - 90, y(i) - height / 2), 180, height, **frame))
            axes.add_patch(Rectangle((x - 90, y(i) - height / 2), 60, height, color=colours[row % half]))
            write(axes, x + 30, y(i), f"row {row}")
        arrow(axes, (346, y(order[i])), (654, y(i)))
    write(axes, 250, 516, "transformers", weight="bold")
    write(axes, 750, 516, "llama.cpp", weight="bold")
    for place in range(0, size, 2):
        axes.plot((856, 868, 868, 856), (y(place), y(place), y(place + 1), y(place + 1)), color=INK, linewidth=1.5)
    for place in range(half):
        x = 146 - 26 * place
        axes.plot((154, x, x, 154), (y(place), y(place), y(place + half), y(place + half)), color=INK, linewidth=1.5)
    write(axes, 500, 58, "RoPE turns the two rows of one colour, joined by a bracket.")
    write(axes, 500, 22, f"Drawn: a head of {size} rows. In the model: 64, and i with i + 32.")
    return axes.figure


def hidden(gaps: Sequence[float], differences: Mapping[str, float]) -> Figure:
    """Draw the smallest gap of each answer, in nats, above the largest difference of each way, on one logarithm axis.

    A gap is how far the likeliest token is ahead of the second. The dashed line is half of the smallest: a difference
    below it turns no answer.
    """
    figure, axes = plt.subplots(figsize=(9, 0.55 * len(differences) + 2.2), layout="constrained")
    places = np.arange(len(differences))[::-1]
    axes.plot(list(differences.values()), places, "o", color=RED, markersize=11)
    axes.plot(gaps, np.full(len(gaps), len(differences)), "|", color=BLUE, markersize=20, markeredgewidth=2.5)
    axes.axvline(min(gaps) / 2, color=BLUE, linestyle="--", linewidth=1.5)
    axes.set_yticks([len(differences), *places], ["gap of each answer", *differences])
    axes.set(xscale="log", xlabel="gap, or largest difference to PEFT (nats)", ylim=(-0.6, len(differences) + 0.7))
    axes.grid(axis="x", color=GREY, alpha=0.25)
    told = ", ".join(f"{name} {difference:.0e}" for name, difference in differences.items())
    figure.words = (
        f"In nats, on a logarithmic axis. The smallest gaps of the answers: {min(gaps):.1f} to {max(gaps):.1f}. A "
        f"dashed line at half of the smallest, {min(gaps) / 2:.1f}. Below it the largest difference to PEFT: {told}."
    )
    return figure


def ledger(rows: Sequence[Mapping], gate: float, of: int) -> Figure:
    """Draw the largest difference of each row on a logarithmic axis, with its right answers and the gate of parity."""
    figure, axes = plt.subplots(figsize=(10, 0.42 * len(rows) + 1.2), layout="constrained")
    places = range(len(rows))[::-1]
    values = [max(row["difference"], 1e-6) for row in rows]
    axes.hlines(places, 1e-6, values, color=GREY, linewidth=1)
    axes.plot(values, places, "o", color=BLUE, markersize=9)
    axes.axvline(gate, color=RED, linestyle="--", linewidth=2)
    axes.text(gate, len(rows) - 0.35, f" gate {gate:g}", color="#A94A00", weight="bold", va="bottom")
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # the gate's line ends at a label
    for place, value, row in zip(places, values, rows, strict=True):
        at = {"xytext": (8, 0), "textcoords": "offset points", "va": "center", "bbox": box}
        axes.annotate(f"{row['right']} of {of}", (value, place), **at)
    axes.set_yticks(list(places), [row["name"] for row in rows])
    axes.set(xscale="log", xlim=(1e-6, 1e3), ylim=(-0.7, len(rows) + 0.4))
    axes.set_xlabel("largest difference to PEFT (nats); beside it the right answers")
    told = "; ".join(f"{row['name']}: {row['difference']:.1e}, {row['right']} of {of} right" for row in rows)
    figure.words = f"Largest difference to PEFT in nats, on a logarithmic axis with the gate at {gate:g}. {told}."
    return figure


def grids(blocks: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> Figure:
    """Draw blocks of 32 numbers, as discs, on the 16 levels that 4 bits have for each, as marks."""
    told = "; ".join(
        f"{name}: the farthest number is {_farthest(*pair):.4f} from its level" for name, pair in blocks.items()
    )
    axes = canvas(
        "Number lines, one for each block of 32 numbers. Marks: the 16 levels of its grid in 4 bits. Discs: the "
        f"numbers. {told}.",
        height=64 + 150 * len(blocks),
    )
    reach = 1.08 * max(np.abs(np.concatenate(pair)).max() for pair in blocks.values())
    for place, (name, (numbers, levels)) in enumerate(blocks.items()):
        y = axes.get_ylim()[1] - 96 - 150 * place
        write(axes, 30, y + 66, name, ha="left", weight="bold")
        axes.plot((30, 970), (y, y), color=INK, linewidth=1.2)
        for level in levels:
            axes.plot(2 * (500 + 470 * level / reach,), (y - 30, y + 30), color=W, linewidth=3)
        axes.plot(500 + 470 * np.asarray(numbers) / reach, np.full(len(numbers), y), "o", color=A, markersize=7)
    write(axes, 500, 30, "Marks: what 4 bits can store. Discs: the numbers of one block.")
    return axes.figure


def _farthest(numbers: Sequence[float], levels: Sequence[float]) -> float:
    return np.abs(np.subtract.outer(numbers, levels)).min(axis=1).max()


def paging() -> Figure:
    """Draw a batch of three requests: all rows pass the base once, and x also goes through the adapter of its row."""
    axes = canvas(
        "A batch of three requests, each a row. All rows pass the frozen base W, which is in the device's memory "
        "once. Beside it, in the same memory, two places hold the adapters that are asked for: cron and orders. "
        "Before W, row 1 also branches off to cron's A and B, and row 3 to those of orders; behind W a plus adds what "
        "comes out. Row 2 adds nothing: it is the base's. Below, a shelf in main memory holds many other adapters; an "
        "arrow leads from the shelf to the device when one is asked for.",
        height=560,
    )
    axes.add_patch(Rectangle((236, 196), 520, 322, facecolor="none", edgecolor=INK, linewidth=2.5))
    write(axes, 496, 540, "memory of the device", weight="bold")
    w = block(axes, Box(380, 357, 180, 178), W, frozen=True)
    lock(axes, w.x, w.y + 34, size=54)
    write(axes, w.x, w.y - 40, "W, once", weight="bold")
    for y, name, adapter, side in ((420, "row 1", "cron", 62), (357, "row 2", "", 0), (294, "row 3", "orders", -62)):
        write(axes, 26, y + 24, f"{name}: {adapter or 'base'}", ha="left")
        arrow(axes, (26, y), (w.left[0], y))
        plus = disc(axes, 860, y, "+" if adapter else "", radius=24)
        arrow(axes, (w.right[0], y), plus.left)
        arrow(axes, plus.right, (980, y))
        if adapter:
            a, b = block(axes, Box(570, y + side, 90, 16), A), block(axes, Box(664, y + side, 16, 60), B)
            arrow(axes, (206, y), (206, a.y), a.left)
            arrow(axes, a.right, b.left)
            arrow(axes, b.right, (plus.x, b.y), plus.top if side > 0 else plus.bottom)
            write(axes, 570, y + side / 2, adapter, color=B, weight="bold")
    axes.add_patch(Rectangle((236, 62), 520, 84, facecolor="none", edgecolor=W, linewidth=2.5))
    for place in range(4):
        block(axes, Box(286 + 66 * place, 104, 40, 12), A)
        block(axes, Box(316 + 66 * place, 104, 12, 48), B)
    write(axes, 630, 104, "the others", weight="bold")
    arrow(axes, (590, 146), (590, 196))
    write(axes, 612, 171, "when asked for", ha="left")
    write(axes, 500, 28, "One pass through W for all rows; to it, each row adds its own s B A x.")
    return axes.figure
