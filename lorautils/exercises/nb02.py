"""The exercises of notebook 02: singular values by hand, the error of a cut, LoRA's work, a brick, the best adapter.

The formulas behind them: M = sum of s_i u_i v_i^T; error sqrt(s_(k+1)^2 + ...); W + the best rank-r part of W' - W.
"""

import math

import torch

from lorautils import linalg

from .engine import Exercise, Mistake

NOTEBOOK = "02_svd_low_rank_approximation"

singular_values = Exercise(
    name="singular_values",
    question="What are the singular values of the matrix with the rows (0, -2) and (5, 0), in their usual order?",
    difficulty=1,
    minutes=4,
    hints=(
        "Where do the arrows (1, 0) and (0, 1) go? Are their images at a right angle?",
        "The images are (0, 5) and (-2, 0). Singular values are lengths, the largest first.",
    ),
    source="answer = (5.0, 2.0)  # (1, 0) -> 5 (0, 1) and (0, 1) -> 2 (-1, 0)",
    takeaway="The minus sign goes into u, a direction. Lengths are never negative.",
    mistakes=(
        Mistake("negative", (5, -2), "a singular value is a length. The sign belongs to u."),
        Mistake("order", (2, 5), "the right numbers. The usual order is the largest first."),
        Mistake("squares", (25, 4), "those are the eigenvalues of M^T M. Singular values are their roots."),
        Mistake(
            "eigenvalues",
            (math.sqrt(10), math.sqrt(10)),
            "those are the eigenvalues' sizes. The matrix stretches one direction by more, the other by less.",
        ),
        Mistake("order and sign", (-2, 5), "lengths are not negative, and the largest comes first."),
        Mistake("diagonal", (0, 0), "that is this matrix's own diagonal. Singular values stand on that of Sigma."),
    ),
)

truncation_error = Exercise(
    name="truncation_error",
    question="Singular values 10, 4, 2 and 1: what is the Frobenius error of the best approximation of rank 2?",
    difficulty=1,
    minutes=3,
    hints=(
        "Two bricks stay. Which singular values belong to the others?",
        "2 and 1 are dropped. The Frobenius norm is the root of the sum of squares.",
    ),
    source="answer = (2**2 + 1**2) ** 0.5  # what is dropped: sigma_3 and sigma_4",
    takeaway="No matrix of rank 2 comes nearer than this. In the spectral norm the error is 2.",
    mistakes=(
        Mistake("spectral norm", 2, "that is the error in the spectral norm, the largest value dropped."),
        Mistake("no root", 5, "that is the energy that is lost. The norm is its root."),
        Mistake("sum", 3, "strengths at right angles add as squares: the root of 2^2 + 1^2."),
        Mistake("the kept part", math.sqrt(116), "that is the norm of what stays. The error is what is dropped."),
        Mistake("one brick too few", math.sqrt(21), "rank 2 keeps two bricks, those of 10 and of 4."),
        Mistake("rounded", 2.24, "right, and rounded. Write the formula and let Python keep the digits."),
    ),
)

lora_work = Exercise(
    name="lora_work",
    question="How many multiplications does a token cost in a (576, 576) layer with an unmerged LoRA of r = 8?",
    difficulty=2,
    minutes=5,
    hints=(
        "The base layer is still there: x W^T, one multiplication for each number of W.",
        "Beside it run x A^T with 576 * 8 and the product with B^T with 8 * 576 multiplications.",
    ),
    source="answer = 576 * 576 + 8 * (576 + 576)  # W, and beside it A and B",
    takeaway="2.8 % more than without LoRA. Merging makes it 331,776 again.",
    mistakes=(
        Mistake(
            "factors only",
            8 * (576 + 576),
            "that is A and B alone. They do not replace W, they run beside it.",
        ),
        Mistake("base only", 576 * 576, "that is the layer without LoRA, or with LoRA merged into W."),
        Mistake("one factor", 576 * 576 + 8 * 576, "A narrows from 576 to 8, and B widens from 8 to 576. Count both."),
        Mistake(
            "brackets",
            576 * 576 + 8 * 576 * 576,
            "8 * 576 * 576 builds the product B A. (x A^T) B^T never does, and is far cheaper.",
        ),
        Mistake("additions counted", 2 * (576 * 576 + 8 * (576 + 576)), "FLOPs count additions too. Here: products."),
    ),
)

_SWAPPED = torch.tensor([[2, 0, 2], [2, -4, 0], [3, -2, 2]], dtype=torch.float64)  # M, its last columns swapped
_WIDE = torch.tensor([[3, 1, 0], [1, -2, 1]], dtype=torch.float64)


def _parts(matrix):
    return torch.linalg.svd(matrix, full_matrices=False)


strongest_brick = Exercise(
    name="strongest_brick",
    question="Write strongest_brick(matrix): the first term of its SVD, as a matrix of the same shape.",
    difficulty=2,
    minutes=6,
    hints=(
        "The first brick is a column times a row: torch.outer(column, row), times its strength.",
        "The column is U[:, 0]. Vh is transposed already: v_1 is its first row.",
    ),
    source="""import torch


def strongest_brick(matrix):
    U, S, Vh = torch.linalg.svd(matrix, full_matrices=False)
    return S[0] * torch.outer(U[:, 0], Vh[0])""",
    takeaway="The signs of U[:, 0] and Vh[0] are arbitrary, that of their product is not.",
    mistakes=(
        Mistake(
            "column of Vh",
            lambda matrix: _parts(matrix)[1][0] * torch.outer(_parts(matrix)[0][:, 0], _parts(matrix)[2][:, 0]),
            "Vh is transposed already. v_1 is its first row, Vh[0].",
        ),
        Mistake(
            "row of U",
            lambda matrix: _parts(matrix)[1][0] * torch.outer(_parts(matrix)[0][0], _parts(matrix)[2][0]),
            "the u's are the columns of U: U[:, 0]. Only Vh has its vectors in rows.",
        ),
        Mistake(
            "strength forgotten",
            lambda matrix: torch.outer(_parts(matrix)[0][:, 0], _parts(matrix)[2][0]),
            "u and v have length 1. The strength of the brick is S[0].",
        ),
        Mistake(
            "weakest brick",
            lambda matrix: _parts(matrix)[1][-1] * torch.outer(_parts(matrix)[0][:, -1], _parts(matrix)[2][-1]),
            "that is the last brick. Singular values come largest first.",
        ),
        Mistake(
            "entry by entry",
            lambda matrix: _parts(matrix)[0][:, 0] * _parts(matrix)[1][0] * _parts(matrix)[2][0],
            "* multiplies entry by entry. A brick is a column times a row: torch.outer.",
        ),
        Mistake(
            "row times column",
            lambda matrix: _parts(matrix)[1][0] * torch.outer(_parts(matrix)[2][0], _parts(matrix)[0][:, 0]),
            "that is the brick transposed: u gives the column, v the row.",
        ),
        Mistake(
            "all bricks",
            lambda matrix: matrix,
            "that adds all the bricks up again. Only the first is asked for.",
        ),
    ),
    cases=((_SWAPPED,), (_WIDE,)),
)

_W = torch.tensor([[4, 0, 1], [0, 3, -1], [2, 1, 5], [1, -2, 0]], dtype=torch.float64)
_TUNED = _W + torch.tensor([[0.6, 0.1, 0], [-0.2, 0.3, 0.1], [0.4, 0, 0.2], [0, 0.5, -0.3]], dtype=torch.float64)

keep_the_change = Exercise(
    name="keep_the_change",
    question="Write keep_the_change(W, tuned, r): W plus the best adapter of rank r for the tuned weight.",
    difficulty=3,
    minutes=8,
    hints=(
        "W stays whole. What is to be approximated by rank r?",
        "The change is tuned - W, and linalg.best_rank_k(matrix, r) cuts a matrix.",
    ),
    source="""from lorautils import linalg


def keep_the_change(W, tuned, r):
    return W + linalg.best_rank_k(tuned - W, r)  # only the change is cut""",
    takeaway="That is what LoRA extraction does. Section 7 shows how much of the score it keeps.",
    mistakes=(
        Mistake(
            "weight cut instead of change",
            lambda W, tuned, r: linalg.best_rank_k(tuned, r),
            "that cuts the tuned weight itself, the mistake of section 6. W stays whole; cut the change.",
        ),
        Mistake(
            "change alone",
            lambda W, tuned, r: linalg.best_rank_k(tuned - W, r),
            "that is the adapter. Base and adapter together are W plus it.",
        ),
        Mistake(
            "wrong way round",
            lambda W, tuned, r: W + linalg.best_rank_k(W - tuned, r),
            "the change leads from W to the tuned weight: tuned - W.",
        ),
        Mistake(
            "weight cut, too",
            lambda W, tuned, r: linalg.best_rank_k(W, r) + linalg.best_rank_k(tuned - W, r),
            "the change is cut as it should be, but W, too. An adapter leaves W whole.",
        ),
        Mistake(
            "both cut",
            lambda W, tuned, r: W + linalg.best_rank_k(tuned, r) - linalg.best_rank_k(W, r),
            "the difference of two cuts is not the cut of the difference, and can have rank 2 r.",
        ),
        Mistake(
            "nothing cut",
            lambda W, tuned, r: tuned,
            "that is the full fine-tuning. The adapter has room for rank r only.",
        ),
    ),
    cases=((_W, _TUNED, 1), (_W, _TUNED, 2)),
)
