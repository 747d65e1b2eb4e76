"""The exercises of notebook 02: singular values, a number of bricks, a control, a smaller adapter; a build, the SVD.

The formulas behind them: M = sum of s_i u_i v_i^T; error sqrt(s_(k+1)^2 + ...); M^T M multiplies v_i by s_i^2.
"""

import math
from functools import cache

import torch

from lorautils import linalg as known
from lorautils.basemodel import load_base_model

from .build import Build, Case, Step
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
    question="Singular values 10, 4, 2, 1: how many bricks for a Frobenius error of at most 3, and which error then?",
    difficulty=1,
    minutes=4,
    hints=(
        "With k bricks, which singular values are dropped? The Frobenius norm is the root of the sum of their squares.",
        "One brick leaves the root of 16 + 4 + 1, which is above 3. Two bricks leave the root of 4 + 1.",
    ),
    source="answer = (2, (2**2 + 1**2) ** 0.5)  # what is dropped: sigma_3 and sigma_4",
    takeaway="No matrix of rank 2 comes nearer than this. In the spectral norm the error is 2.",
    mistakes=(
        Mistake("spectral norm", (2, 2), "that is the error in the spectral norm, the largest value dropped."),
        Mistake("no root", (3, 1), "rank 3 is more than is needed. Compare the root of 4 + 1, not 4 + 1, with 3."),
        Mistake("energy", (2, 5), "that is the energy that is lost. The norm is its root."),
        Mistake("sum", (2, 3), "strengths at right angles add as squares: the root of 2^2 + 1^2."),
        Mistake("the kept part", (2, math.sqrt(116)), "that is the norm of what stays. The error is what is dropped."),
        Mistake("one brick too few", (1, math.sqrt(21)), "one brick leaves an error of 4.6, and 3 was allowed."),
        Mistake("the other way round", (math.sqrt(5), 2), "right. First the number of bricks, then the error."),
    ),
)

_SWAPPED = torch.tensor([[2, 0, 2], [2, -4, 0], [3, -2, 2]], dtype=torch.float64)  # M, its last columns swapped
_TALL = torch.tensor([[4, 0, 1], [0, 3, -1], [2, 1, 5], [1, -2, 0]], dtype=torch.float64)


def _error(W, k):
    return (W - known.best_rank_k(W, k)).norm()


shrunk = Exercise(
    name="shrunk",
    question="Write shrunk(W, k): W times one factor below 1, as far from W as its best approximation of rank k is.",
    difficulty=2,
    minutes=8,
    hints=(
        "How far from W is c W? And how far is the cut?",
        "The distance of c W is (1 - c) |W|. The distance of the cut is (W - linalg.best_rank_k(W, k)).norm().",
    ),
    source="""from lorautils import linalg


def shrunk(W, k):
    error = (W - linalg.best_rank_k(W, k)).norm()
    return W * (1 - error / W.norm())  # (1 - c) |W| is the error""",
    takeaway="It takes the same share of every direction, where the cut takes all of the weak ones.",
    mistakes=(
        Mistake(
            "same norm instead of same distance",
            lambda W, k: W * (known.best_rank_k(W, k).norm() / W.norm()),
            "your matrix is as large as the cut one. It should be as far from W as the cut is.",
        ),
        Mistake(
            "share of the energy",
            lambda W, k: W * (1 - (_error(W, k) / W.norm()) ** 2),
            "the factor takes lengths, and energy is a square: take the root of the share.",
        ),
        Mistake(
            "spectral norm",
            lambda W, k: W * (1 - torch.linalg.svdvals(W)[k] / torch.linalg.svdvals(W)[0]),
            "that compares the spectral norms. The question asks for the Frobenius norm.",
        ),
        Mistake(
            "one index too far",
            lambda W, k: W * (1 - torch.linalg.svdvals(W)[k + 1 :].norm() / W.norm()),
            "sigma_(k+1) is dropped, too. In Python, which counts from 0, it stands at index k.",
        ),
        Mistake(
            "grown",
            lambda W, k: W * (1 + _error(W, k) / W.norm()),
            "the distance is right, but the factor is above 1.",
        ),
        Mistake(
            "the change alone",
            lambda W, k: W * (_error(W, k) / W.norm()),
            "that is as large as the error. It is what to take off W.",
        ),
        Mistake(
            "the cut itself",
            known.best_rank_k,
            "that is the cut. The control must keep every direction, each by the same factor.",
        ),
    ),
    cases=((_SWAPPED, 1), (_TALL, 1), (_TALL, 2)),
)

_B = torch.tensor([[1, 0, 2], [0, 3, 1], [1, 1, 1], [2, -1, 0]], dtype=torch.float64)
_A = torch.tensor([[1, 1, 0, 2, 0], [0, 1, 1, 0, 1], [3, 0, 1, 1, -1]], dtype=torch.float64)


def _strongest_terms(B, A, k):
    order = (B.norm(dim=0) * A.norm(dim=1)).argsort(descending=True)[:k]
    return B[:, order] @ A[order]


cut_adapter = Exercise(
    name="cut_adapter",
    question="Write cut_adapter(B, A, k): the update of rank k nearest to the trained B A, as one matrix (out, in).",
    difficulty=2,
    minutes=6,
    hints=(
        "Section 7 set the last columns of B to zero. Why was that the best cut there? Is it the best here?",
        "There the factors came from an SVD, sorted and at right angles. Here they do not. Cut the product.",
    ),
    source="""from lorautils import linalg


def cut_adapter(B, A, k):
    return linalg.best_rank_k(B @ A, k)  # trained factors are neither sorted nor at right angles""",
    takeaway="Only factors that come from an SVD can be cut by leaving out columns.",
    mistakes=(
        Mistake(
            "first columns",
            lambda B, A, k: B[:, :k] @ A[:k],
            "that keeps the first columns of B. In section 7 they were sorted by strength; trained ones are not.",
        ),
        Mistake(
            "longest columns",
            _strongest_terms,
            "that keeps the strongest products of a column and a row. They do not stand at right angles, so their "
            "strengths do not add up.",
        ),
        Mistake(
            "B alone cut",
            lambda B, A, k: known.best_rank_k(B, k) @ A,
            "that is nearest to B, not to B A: A stretches some of what is dropped by more.",
        ),
        Mistake(
            "A alone cut",
            lambda B, A, k: B @ known.best_rank_k(A, k),
            "that is nearest to A, not to B A: B stretches some of what is dropped by more.",
        ),
        Mistake(
            "both cut",
            lambda B, A, k: known.best_rank_k(B, k) @ known.best_rank_k(A, k),
            "the product of two cuts is not the cut of the product.",
        ),
        Mistake("nothing cut", lambda B, A, k: B @ A, "that still has rank r."),
    ),
    cases=((_B, _A, 1), (_B, _A, 2)),
)


def top_direction(matrix):
    """Return sigma, u (m,) and v (n,) of the strongest brick of a float64 (m, n) matrix, found by power iteration.

    u and v have length 1, and M v = sigma u. A product with M^T M multiplies what lies along v_i by sigma_i^2.
    """
    v = torch.randn(matrix.shape[1], dtype=matrix.dtype, generator=torch.Generator().manual_seed(0))
    for _ in range(300):
        v = matrix.T @ (matrix @ v)
        v = v / v.norm()
    image = matrix @ v
    return image.norm(), image / image.norm(), v


def svd(matrix, k):
    """Return U (m, k), S (k,) and Vh (k, n) of the k strongest bricks of an (m, n) matrix of rank k or more.

    One brick after the other: the strongest of what is left is found, kept, and taken off.
    """
    bricks = []
    for _ in range(k):
        sigma, u, v = top_direction(matrix)
        bricks.append((sigma, u, v))
        matrix = matrix - sigma * torch.outer(u, v)
    S, U, Vh = (torch.stack(part) for part in zip(*bricks, strict=True))
    return U.T, S, Vh


def _triple(answer, matrix):
    """sigma, the brick, whose sign is not free, and the lengths of u and v."""
    sigma, u, v = answer(matrix)
    return sigma, sigma * torch.outer(u, v), u.norm(), v.norm()


def _parts(answer, matrix, k):
    """S, the sum of the bricks, and what U and Vh give with themselves, which is I."""
    U, S, Vh = answer(matrix, k)
    return S, U * S @ Vh, U.T @ U, Vh @ Vh.T


@cache
def _weight(layer):
    return load_base_model().model.layers[layer].self_attn.q_proj.weight.detach().double()


def _strengths(answer, layer, k):
    return answer(_weight(layer), k)[1]


def _eigen(matrix):
    sigma, u, v = top_direction(matrix)
    return sigma**2, u, v


def _unscaled(matrix):
    sigma, u, v = top_direction(matrix)
    return sigma, sigma * u, v


def _swapped(matrix):
    sigma, u, v = top_direction(matrix)
    return sigma, v, u


def _never_peeled(matrix, k):
    sigma, u, v = top_direction(matrix)
    return torch.stack([u] * k).T, torch.stack([sigma] * k), torch.stack([v] * k)


def _peeled_without_strength(matrix, k):
    bricks = []
    for _ in range(k):
        bricks.append(top_direction(matrix))
        matrix = matrix - torch.outer(*bricks[-1][1:])
    S, U, Vh = (torch.stack(part) for part in zip(*bricks, strict=True))
    return U.T, S, Vh


def _columns_of_v(matrix, k):
    U, S, Vh = svd(matrix, k)
    return U, S, Vh.T


def _rows_of_u(matrix, k):
    U, S, Vh = svd(matrix, k)
    return U.T, S, Vh


_WIDE = torch.tensor([[3, 1, 0], [1, -2, 1]], dtype=torch.float64)

linalg = Build(
    name="linalg",
    question="Write the SVD by hand: the strongest brick by power iteration, then one brick after the other.",
    header='"""Linear algebra, written by hand."""\n\nimport torch',
    steps=(
        Step(
            name="top_direction",
            question="The strongest brick of a matrix: sigma, u and v, by power iteration.",
            difficulty=2,
            minutes=10,
            hints=(
                "Start from a random v of length 1. One round: multiply by M, then by M^T, then divide by the length.",
                "Do 300 rounds. Then sigma is the length of M v, and u is M v divided by it.",
            ),
            takeaway="Two products a round, and no formula for eigenvalues.",
            mistakes=(
                Mistake("eigenvalue", _eigen, "that is sigma^2, the eigenvalue of M^T M. sigma is the length of M v."),
                Mistake("u not of length 1", _unscaled, "M v has the length sigma. Divide by it to get u."),
                Mistake("u and v swapped", _swapped, "u has as many entries as M has rows. The order is sigma, u, v."),
            ),
            reference=top_direction,
            cases=(
                Case("M", (_SWAPPED,), _triple),
                Case("two rows, three columns", (_WIDE,), _triple),
                Case("four rows, three columns", (_TALL,), _triple),
            ),
        ),
        Step(
            name="svd",
            question="The k strongest bricks of a matrix: U, S and Vh.",
            difficulty=3,
            minutes=15,
            hints=(
                "top_direction finds the strongest brick. Take sigma u v^T off the matrix: which is strongest now?",
                "Collect sigma, u and v of each round. torch.stack makes the rows of Vh; U has its vectors as columns.",
            ),
            takeaway="The last case was the five strongest bricks of a real q_proj.",
            mistakes=(
                Mistake("nothing taken off", _never_peeled, "each brick is the first. Take it off before the next."),
                Mistake(
                    "taken off without its strength",
                    _peeled_without_strength,
                    "what is taken off is sigma u v^T, and u v^T has the strength 1.",
                ),
                Mistake("V for Vh", _columns_of_v, "Vh is (k, n): its rows are the v's."),
                Mistake("rows of U", _rows_of_u, "U is (m, k): its columns are the u's."),
            ),
            reference=svd,
            needs=("top_direction",),
            cases=(
                Case("M, both bricks", (_SWAPPED, 2), _parts),
                Case(
                    "all of a wide matrix", (_WIDE, 2), _parts, follows=True
                ),  # signs would tell a square U from its rows
                Case("all of a tall matrix", (_TALL, 3), _parts),
                Case("five bricks of layer 10's q_proj", (10, 5), _strengths),
            ),
        ),
    ),
)
