"""Notebook 13: its drawings show the kernels that PEFT calls and are to scale; it counts operations as records do."""

from collections import Counter

import matplotlib.pyplot as plt
import nbformat
import pytest
import torch
from matplotlib.patches import Rectangle
from peft import LoraConfig
from peft.tuners.lora.layer import Linear as PeftLinear

from experiments.scale import SHAPES, Run, flops_per_token
from lorautils import ROOT, measure, results
from lorautils.figures import nb13 as figures
from lorautils.scaling.memory import Step, lora_parameters

MEGABYTES = {"all rows": 99.1, "answers only": 28.4, "in pieces": 14.5}
SHARES = {"the products alone": (0.64, 0), "stock PEFT, recomputing": (0.26, 0.12)}
DRAWINGS = {
    "kernels": figures.layer_kernels,
    "head": lambda: figures.head_rows(168, 48, 24, MEGABYTES),
    "shares": lambda: figures.shares_of_peak(SHARES),
}
NOTEBOOK = nbformat.read(ROOT / "notebooks" / "13_where_the_step_goes.ipynb", as_version=4)
CELLS = {cell.id: cell.source for cell in NOTEBOOK.cells}


def boxes(figure):
    plt.close("all")
    return [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]


def test_the_drawn_kernels_are_those_that_peft_calls():
    layer = PeftLinear(torch.nn.Linear(8, 8, bias=False), "default", LoraConfig(r=2, lora_dropout=0.1), r=2)
    layer.base_layer.requires_grad_(False)
    x = torch.ones(3, 8, requires_grad=True)
    calls = {name: n for name, (n, _) in measure.kernels(lambda: layer(x).backward(torch.ones(3, 8))).items()}
    drawn = Counter(name in (*figures.WIDE, *figures.THIN) for name in (*figures.FORWARD, *figures.BACKWARD))
    assert drawn[True] == calls["mm"] == 8
    assert drawn[False] == sum(calls.values()) - calls["mm"] - calls["ones"] - calls["empty_like"]


@pytest.mark.parametrize(("rows", "answers", "size"), [(168, 48, 24), (100, 60, 32)])
def test_the_rows_of_the_head_are_to_scale(rows, answers, size):
    hatched, *solid = boxes(figures.head_rows(rows, answers, size, MEGABYTES))
    unit = hatched.get_height() / (rows - answers)
    heights = [box.get_height() / unit for box in solid]
    assert heights[:2] == pytest.approx([answers] * 2)
    assert sum(heights[2:]) == pytest.approx(rows) and heights[2] == pytest.approx(size)


def test_shares_are_drawn_to_the_scale_of_the_peak():
    peak, alone, own, again = (box.get_width() for box in boxes(figures.shares_of_peak(SHARES)))
    assert [alone / peak, own / peak, again / peak] == pytest.approx([0.64, 0.26, 0.12])


@pytest.mark.parametrize("method", ["LoRA", "QLoRA", "full"])
@pytest.mark.parametrize("model", ["135M", "1B", "8B"])
def test_what_is_made_again_is_a_forward_pass_of_the_layers(model, method):
    """The records count 6 operations a trained weight and 4 a frozen one; of these 2 are forward."""
    namespace = {"SHAPES": SHAPES, "Step": Step, "lora_parameters": lora_parameters, "timed_before": None}
    exec(CELLS["limit-again"].partition("\n\n\nmfu")[0], namespace)
    own = flops_per_token(Run(model, method, 0.0, True), SHAPES[model])
    shape = SHAPES[model]
    layers = shape.layers * (shape.layer_weights + 2048 * shape.heads * shape.head_size)
    adapter = 0 if method == "full" else lora_parameters(shape, Step(1, 1))
    assert namespace["made_again"](model, method) * own == pytest.approx(2 * (layers + adapter))


def test_the_difference_that_the_twenty_pairs_of_seeds_would_show_is_the_one_that_is_told():
    namespace = {"results": results}
    exec(CELLS["whole-run"], namespace)
    exec(CELLS["whole-run-worse"], namespace)
    assert f"Not seen; twenty pairs of seeds would show {namespace['gap'].smallest:.1f} points" in CELLS["settled"]
    assert len(namespace["plain"]) == 20
