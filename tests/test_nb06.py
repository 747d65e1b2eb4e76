"""Notebook 06: its figures show what is so; its exercises reject what is wrong and say why."""

import math

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.patches import Rectangle

from lorautils.exercises import nb06 as asked
from lorautils.figures import nb06
from lorautils.figures.words import alt_text

FORMATS = {"float32": [], "bf16": [i / 256 for i in range(-64, 65)], "4 bits": [-0.5, 0.0, 0.0625, 0.15, 0.5]}
DRAWINGS = {
    "gradients": nb06.gradients,
    "number_lines": lambda: nb06.number_lines(0.0625, FORMATS, {"shipped": -0.05, "live": 0.001}),
}


def test_a_push_is_drawn_as_long_as_it_is():
    (axes,) = DRAWINGS["number_lines"]().axes
    bars = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    left, right = bars[:2]  # -0.05 ends at the weight, +0.001 starts there
    levels = sorted(bar.get_x() + bar.get_width() / 2 for bar in bars if math.isclose(bar.get_width(), 6))
    plt.close("all")
    scale = (levels[1] - levels[0]) / 0.0625
    assert right.get_x() == pytest.approx(500) and right.get_width() == pytest.approx(0.001 * scale)
    assert left.get_x() + left.get_width() == pytest.approx(500) and left.get_width() == pytest.approx(0.05 * scale)
    assert levels[1] == pytest.approx(500)  # the weight is one of the coarsest format's numbers


def test_memory_is_that_of_float32_and_adam():
    figure = nb06.memory(1_000_000_000, 10_000_000, {"full": 3e9, "LoRA": 2e9})
    words = alt_text(figure)
    plt.close("all")
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert widths == pytest.approx([4, 4.04, 4, 0.04, 8, 0.08, 3, 2]) and "activations" in words


def test_both_panels_of_a_race_show_every_start_and_seed():
    losses = {"A random, B zero": [[4.5, 1.0], [4.5, 1.2]], "A zero, B small": [[4.5, 1.1]]}
    figure = nb06.races({"trained on": losses, "held out": losses}, (0, 20))
    plt.close("all")
    assert [len(axes.lines) for axes in figure.axes] == [5, 5]  # each seed, and each start's mean
    assert "held out: A random, B zero 4.50, 1.10; A zero, B small 4.50, 1.10." in alt_text(figure)


def switched(W, A, B, alpha, actions):
    merged = False
    for action in actions:
        merged = True if action == "merge" else not merged
    return W + merged * alpha / A.shape[0] * B @ A


def by_output_width(X, W, adapters):
    y = X @ W.T
    for A, B, alpha in adapters:
        y = y + alpha / B.shape[0] * (X @ A.T) @ B.T
    return y


def cross_terms(X, W, adapters):
    A = sum(adapter[0] for adapter in adapters)
    B = sum(alpha / A.shape[0] * B for A, B, alpha in adapters)
    return X @ W.T + (X @ A.T) @ B.T


@pytest.mark.parametrize(
    ("exercise", "answer", "named"),
    [
        (asked.weight_after, switched, "unmerge of what is not merged"),
        (asked.several, by_output_width, "B.shape[0] is the width of the output"),
        (asked.several, cross_terms, "B1 A2"),
        (asked.alpha_and_rate, (0.00025, 0.0075), "SGD does not"),
    ],
    ids=["unmerge as a switch", "divided by B.shape[0]", "factors added", "Adam's rule for SGD"],
)
def test_a_wrong_answer_is_told_its_own_mistake(capsys, exercise, answer, named):
    exercise.check(answer)
    assert named in capsys.readouterr().out


def test_the_gradient_of_the_gains_is_that_of_torch():
    X, A, B, G = asked.grad_gains.cases[0]
    m = torch.ones(len(A), requires_grad=True)
    ((m * (X @ A.T)) @ B.T * G).sum().backward()
    assert torch.allclose(asked.grad_gains.reference(X, A, B, G), m.grad)


def test_several_adapters_are_one_merged_weight():
    X, W, adapters = asked.several.cases[-1]
    merged = W + sum(alpha / len(A) * B @ A for A, B, alpha in adapters)
    assert torch.allclose(asked.several.reference(X, W, adapters), X @ merged.T, atol=1e-5)
