"""The exercises of notebook 03: eigenvalues of a projector, a shadow, a projector from columns, PCA, LoRA's factors.

The formulas behind them: P = A (A^T A)^-1 A^T; X rebuilt is mean + (X - mean) V_k V_k^T; B (A B)^-1 A.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .engine import Exercise, Mistake

NOTEBOOK = "03_projection_matrices"


def _matrix(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def _rebuilt(X: Tensor, k: int, centre: Tensor, back: Tensor) -> Tensor:
    """Return the rows of X - centre, projected onto their top k directions, plus `back`."""
    Vh = torch.linalg.svd(X - centre, full_matrices=False)[2]
    return (X - centre) @ Vh[:k].T @ Vh[:k] + back


def _onto(X: Tensor, directions: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the rows of X, centred, projected onto what is picked from their Vh, mean included."""
    centred = X - X.mean(0)
    picked = directions(torch.linalg.svd(centred, full_matrices=False)[2])
    return centred @ picked.T @ picked + X.mean(0)


def _from_uncentred(X: Tensor, k: int) -> Tensor:
    """Return X - mean, projected onto the top k directions of X itself, plus the mean."""
    directions = torch.linalg.svd(X, full_matrices=False)[2][:k]
    return (X - X.mean(0)) @ directions.T @ directions + X.mean(0)


def _of_uncentred(X: Tensor, k: int) -> Tensor:
    """Return X itself, projected onto the top k directions of X - mean, plus the mean."""
    directions = torch.linalg.svd(X - X.mean(0), full_matrices=False)[2][:k]
    return X @ directions.T @ directions + X.mean(0)


def _coordinates(X: Tensor, k: int) -> Tensor:
    centred = X - X.mean(0)
    return X.mean(0) + centred @ torch.linalg.svd(centred, full_matrices=False)[2][:k].T


count_zeros = Exercise(
    name="count_zeros",
    question="An orthogonal projector of shape (576, 576) has the trace 64: how many of its eigenvalues are 0?",
    difficulty=1,
    minutes=2,
    hints=(
        "Its eigenvalues are 0 and 1 only, and the trace is their sum.",
        "64 of the 576 are 1. The others are 0.",
    ),
    source="answer = 576 - 64  # the trace counts the ones",
    takeaway="The ones span what the projector keeps, the zeros what it throws away.",
    mistakes=(
        Mistake(
            "the ones counted", 64, "64 eigenvalues are 1, which makes the trace. The question is about the zeros."
        ),
        Mistake("only one direction kept", 575, "that is so for a shadow on a line, of trace 1. Here the trace is 64."),
        Mistake("trace as a share", 9, "576 / 64 is no count. Each eigenvalue 1 adds 1 to the trace, each 0 nothing."),
        Mistake("all of them", 576, "then the trace would be 0, and P the zero matrix."),
        Mistake("none of them", 0, "then the trace would be 576, and P the identity. Here it is 64."),
    ),
)

shadow_of = Exercise(
    name="shadow_of",
    question="Write shadow_of(a, b): the shadow of b on the line through the origin in the direction a.",
    difficulty=1,
    minutes=4,
    hints=(
        "The shadow is t * a, with t such that b - t * a is at a right angle to a.",
        "t = (a @ b) / (a @ a). The lower part makes the length of a irrelevant.",
    ),
    source="""def shadow_of(a, b):
    return (a @ b) / (a @ a) * a""",
    takeaway="Twice as long an a gives the same shadow: only its direction counts.",
    mistakes=(
        Mistake(
            "not divided",
            lambda a, b: (a @ b) * a,
            "that is right for an a of length 1 only. Divide by a @ a.",
        ),
        Mistake(
            "the cosine",
            lambda a, b: (a @ b) / (a.norm() * b.norm()) * a,
            "that divides by both lengths, as for an angle. The length of b must count: divide by a @ a.",
        ),
        Mistake(
            "divided by the length once",
            lambda a, b: (a @ b) / (a @ a).sqrt() * a,
            "a enters twice, in the dot product and as the direction: divide by its length squared, a @ a.",
        ),
        Mistake(
            "roles swapped",
            lambda a, b: (a @ b) / (b @ b) * b,
            "that is the shadow of a on the line of b. It must lie on the line of a.",
        ),
        Mistake(
            "the rest",
            lambda a, b: b - (a @ b) / (a @ a) * a,
            "that is what the shadow lost, (I - P) b. The shadow is P b.",
        ),
        Mistake(
            "coordinate instead of shadow",
            lambda a, b: (a @ b) / (a @ a),
            "that is t, one number. The shadow is the point t * a.",
        ),
    ),
    cases=(
        (torch.tensor([2.0, 1.0]), torch.tensor([1.0, 3.0])),
        (torch.tensor([1.0, 2.0, 2.0]), torch.tensor([3.0, 0.0, 6.0])),
        (torch.tensor([0.5, 0.0]), torch.tensor([3.0, 4.0])),
    ),
)

projector = Exercise(
    name="projector",
    question="Write projector(A): the orthogonal projector onto the span of the independent columns of A.",
    difficulty=2,
    minutes=6,
    hints=(
        "The rest b - A c is at a right angle to each column: A^T (b - A c) = 0. Solve for c, then P b = A c.",
        "P = A (A^T A)^-1 A^T. Or take orthonormal columns Q of the same span, from torch.linalg.qr: P = Q Q^T.",
    ),
    source="""import torch


def projector(A):
    Q, _ = torch.linalg.qr(A)  # orthonormal columns with the same span
    return Q @ Q.T  # equal to A @ torch.linalg.inv(A.T @ A) @ A.T""",
    takeaway="Any basis of the subspace gives the same P: a projector belongs to the subspace, not to its columns.",
    mistakes=(
        Mistake(
            "the inverse left out",
            lambda A: A @ A.T,
            "A A^T is a projector for orthonormal columns only. These need (A^T A)^-1 in the middle.",
        ),
        Mistake(
            "only made unit length",
            lambda A: (A / A.norm(dim=0)) @ (A / A.norm(dim=0)).T,
            "that adds up shadows on single columns: right only if they are at right angles. Invert all of A^T A.",
        ),
        Mistake(
            "Q^T Q",
            lambda A: torch.eye(A.shape[1], dtype=A.dtype),
            "that is the identity, with one row for each column of A. The shadow lives where the columns do: Q Q^T.",
        ),
        Mistake(
            "all of U",
            lambda A: torch.eye(len(A), dtype=A.dtype),
            "that is the identity: a square U spans all of space. Keep a column for each of A: full_matrices=False.",
        ),
        Mistake(
            "onto the rows",
            lambda A: A.T @ torch.linalg.inv(A @ A.T) @ A,
            "with A and A^T swapped it is about the rows of A, and here A A^T has no inverse.",
        ),
        Mistake(
            "coordinates instead of shadow",
            lambda A: torch.linalg.inv(A.T @ A) @ A.T,
            "that gives the coefficients c of the columns. The shadow is A c: one A is missing in front.",
        ),
        Mistake(
            "the rest",
            lambda A: torch.eye(len(A), dtype=A.dtype) - torch.linalg.qr(A)[0] @ torch.linalg.qr(A)[0].T,
            "that is I - P, the projector onto everything at a right angle to the columns.",
        ),
    ),
    cases=(
        (_matrix([2, 2], [2, 0], [3, 2]),),
        (_matrix([1, 1], [1, 2], [1, 3], [1, 5]),),
    ),
)

pca_rebuild = Exercise(
    name="pca_rebuild",
    question="Write pca_rebuild(X, k): X centred, projected onto its best k-dimensional subspace, and the mean added.",
    difficulty=2,
    minutes=10,
    hints=(
        "Subtract the mean of the rows, project, add the mean again.",
        "torch.linalg.svd gives V^T, so the top k directions are the first k rows of Vh.",
        "centred @ Vh[:k].T are the coordinates; @ Vh[:k] puts them back into space; + mean.",
    ),
    source="""import torch


def pca_rebuild(X, k):
    mean = X.mean(dim=0)
    U, S, Vh = torch.linalg.svd(X - mean, full_matrices=False)
    return (X - mean) @ Vh[:k].T @ Vh[:k] + mean""",
    takeaway="With k = all directions it returns X; sklearn's inverse_transform(transform(X)) does the same.",
    mistakes=(
        Mistake(
            "not centred",
            lambda X, k: _rebuilt(X, k, torch.zeros_like(X[0]), torch.zeros_like(X[0])),
            "that is truncated SVD: one direction is spent on the mean. PCA subtracts the mean first.",
        ),
        Mistake(
            "not centred, mean added",
            lambda X, k: _rebuilt(X, k, torch.zeros_like(X[0]), X.mean(0)),
            "X itself is projected, so one direction is spent on the mean. Project X - mean, onto its own directions.",
        ),
        Mistake(
            "directions of X",
            _from_uncentred,
            "the directions come from X, so the first one points at the mean. Take the SVD of X - mean.",
        ),
        Mistake(
            "X projected instead of X - mean",
            _of_uncentred,
            "the directions are right, but X is projected with its mean, which is then added again. Project X - mean.",
        ),
        Mistake(
            "mean not added again",
            lambda X, k: _rebuilt(X, k, X.mean(0), torch.zeros_like(X[0])),
            "the shadow is right, but around the origin. Add the mean that you subtracted.",
        ),
        Mistake(
            "centred along the wrong side",
            lambda X, k: _rebuilt(X, k, X.mean(1, keepdim=True), X.mean(1, keepdim=True)),
            "that is the mean of each row. The mean row is X.mean(dim=0).",
        ),
        Mistake(
            "columns of Vh",
            lambda X, k: _onto(X, lambda Vh: Vh[:, :k].T),
            "Vh is V^T already. The singular vectors are its rows: Vh[:k], not Vh[:, :k].",
        ),
        Mistake(
            "the least directions",
            lambda X, k: _onto(X, lambda Vh: Vh[-k:]),
            "those are the last k directions. The singular values descend: take the first k.",
        ),
        Mistake(
            "not put back into space",
            _coordinates,
            "centred @ Vh[:k].T are k coordinates a row. Times Vh[:k] they are rows as long as those of X again.",
        ),
    ),
    cases=(
        (_matrix([4, 1, 0], [6, 3, 1], [5, 5, 2], [9, 7, 7]), 1),
        (_matrix([1, 0, 2, 5], [0, 3, 1, 5], [4, 1, 0, 6], [2, 2, 7, 8], [3, 9, 4, 6]), 2),
    ),
)

lora_projector = Exercise(
    name="lora_projector",
    question="Write lora_projector(B, A): a projector with the columns of B and the null space of A.",
    difficulty=3,
    minutes=10,
    hints=(
        "(B A)(B A) = B (A B) A. Something between B and A has to undo the A B that appears.",
        "With B X A for an (r, r) matrix X: B X (A B) X A = B X A holds if X (A B) X = X.",
        "X is the inverse of A B.",
    ),
    source="""import torch


def lora_projector(B, A):
    return B @ torch.linalg.inv(A @ B) @ A""",
    takeaway="It is oblique in general, and orthogonal only if B writes where A reads.",
    mistakes=(
        Mistake(
            "nothing in between",
            lambda B, A: B @ A,
            "(B A)(B A) = B (A B) A, which is B A only if A B = I. Put what is missing between B and A.",
        ),
        Mistake(
            "A ignored",
            lambda B, A: B @ torch.linalg.inv(B.T @ B) @ B.T,
            "that is the orthogonal projector onto the columns of B. It does not ignore what A ignores.",
        ),
        Mistake(
            "B ignored",
            lambda B, A: A.T @ torch.linalg.inv(A @ A.T) @ A,
            "that is the orthogonal projector onto the rows of A. It does not write where B writes.",
        ),
        Mistake(
            "the product not inverted",
            lambda B, A: B @ (A @ B) @ A,
            "that is (B A)(B A). The A B in the middle has to be undone: take its inverse.",
        ),
        Mistake(
            "divided by a number",
            lambda B, A: B @ A / torch.trace(A @ B),
            "one number is enough for r = 1 only. For a larger r divide by the matrix A B: its inverse in the middle.",
        ),
    ),
    cases=(
        (_matrix([1, 0], [1, 1], [0, 2]), _matrix([1, 0, 1], [0, 1, 1])),
        (_matrix([2, 1], [0, 1], [1, 3], [1, 0]), _matrix([1, 1, 0, 2], [0, 1, 2, 1])),
    ),
)
