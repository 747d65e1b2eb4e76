"""Notebook 01: its drawings show what they say; its build takes every right answer."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.patches import Rectangle

from lorautils.exercises import nb01 as asked
from lorautils.figures import nb01

M = np.array([[2.0, 2, 0], [2, 0, -4], [3, 2, -2]])
N = np.array([[2.0, 2, 0], [2, 0, -4], [3, 2, 2]])
DRAWINGS = {
    "carried": lambda: nb01.cube_carried({"the cube": np.eye(3), "N: rank 3": N, "M: rank 2": M}),
    "twice": lambda: nb01.cube_twice(M),
    "factors": lambda: nb01.factors_to_scale(576, 576, ranks=(8, 96, 288)),
}


def thickness(lines) -> float:
    """How far the ends of some lines lie from one line, as a share of how far they lie along it."""
    ends = np.concatenate([line.get_xydata() for line in lines])
    strong, weak = np.linalg.svd(ends - ends.mean(axis=0), compute_uv=False)
    return weak / strong


def test_only_m_is_a_line_and_only_along_its_plane():
    (axes,) = DRAWINGS["carried"]().axes
    bodies = [axes.lines[start : start + 12] for start in range(0, 72, 12)]  # cube, N, M, each from two sides
    flat = [thickness(body) < 0.02 for body in bodies]
    assert flat == [False] * 5 + [True]
    assert min(map(thickness, bodies[:5])) > 0.25
    plt.close("all")


def test_of_the_plane_only_a_line_arrives():
    (axes,) = DRAWINGS["twice"]().axes
    assert [thickness(axes.lines[start : start + 12]) < 1e-6 for start in (0, 12, 24)] == [False, False, True]
    plt.close("all")


def test_matrix_and_factors_are_to_scale():
    (axes,) = DRAWINGS["factors"]().axes
    areas = [patch.get_width() * patch.get_height() for patch in axes.patches if isinstance(patch, Rectangle)]
    plt.close("all")
    W, *factors = areas
    assert [sum(factors[i : i + 2]) / W for i in (0, 2, 4)] == pytest.approx([r * 1152 / 576**2 for r in (8, 96, 288)])


@pytest.mark.parametrize("case", asked.linalg.rank.cases, ids=lambda case: case.name)
def test_the_exact_rank_is_that_of_torch_where_floats_suffice(case):
    (rows,) = case.arguments
    found = int(torch.linalg.matrix_rank(torch.tensor(rows, dtype=torch.float64)))
    assert asked.rank(rows) == (2 if case.name == "large numbers" else found)


def by_svd(matrix, r):
    U, S, Vh = torch.linalg.svd(matrix)
    return U[:, :r] * S[:r], Vh[:r]


def row_divided(matrix, r):
    B, A = asked.factor(matrix, r)
    return 4 * B, A / 4


@pytest.mark.parametrize("factors", [by_svd, row_divided], ids=lambda factors: factors.__name__)
def test_factors_are_right_if_their_product_is(factors):
    assert asked.linalg.factor._judge(factors, lambda error: "").stands
