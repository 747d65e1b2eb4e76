"""The exercises of notebook 03: a projector's signature, a line anywhere, PCA, a weight without a direction; a build.

The formulas behind them: trace P = rank P; p + t (q - p); X rebuilt is mean + (X - mean) V_k V_k^T;
(I - d d^T / d.d) W. The build, `projector` in my/linalg.py, finds orthonormal columns Q by Gram-Schmidt: P = Q Q^T.
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from lorautils.basemodel import load_base_model

from .build import Build, Case, Step
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


signature = Exercise(
    name="signature",
    question="Four square matrices, by trace, rank and largest singular value: orthogonal, oblique, or neither?",
    difficulty=1,
    minutes=4,
    hints=(
        "Trace and rank: what must hold between them for any projector?",
        "An orthogonal projector never lengthens, an oblique one always lengthens something.",
        "The first is an orthogonal projector. The second lengthens. What are the trace and the rank of the others?",
    ),
    source="""answer = ("orthogonal", "oblique", "neither", "neither")  # 64 is not the rank 128, and -64 is no rank""",
    takeaway="No trace is above the rank times the largest singular value. If that value is 1, only an orthogonal "
    "projector reaches this bound, as the first one does. The fourth is such a projector with its signs changed.",
    mistakes=(
        Mistake(
            "a whole trace is enough",
            ("orthogonal", "oblique", "orthogonal", "neither"),
            "look at the third: the trace of a projector is its rank, and 64 is not 128.",
        ),
        Mistake(
            "a broken trace as a slant",
            ("orthogonal", "oblique", "oblique", "neither"),
            "look at the third: slanted light changes no eigenvalue, so the trace is still the rank.",
        ),
        Mistake(
            "the sign of the trace",
            ("orthogonal", "oblique", "neither", "orthogonal"),
            "look at the fourth: its trace is negative. A projector's trace is a rank, so never below 0.",
        ),
        Mistake(
            "a slant that changes the sign",
            ("orthogonal", "oblique", "neither", "oblique"),
            "look at the fourth: slanted light changes no eigenvalue. They are 0 and 1, and their sum is not negative.",
        ),
        Mistake(
            "a slant is no projector",
            ("orthogonal", "neither", "neither", "neither"),
            "look at the second: P P = P allows slanted light, and then shadows can be longer than the thing.",
        ),
        Mistake(
            "a straight one that stretches",
            ("orthogonal", "orthogonal", "neither", "neither"),
            "look at the second: an orthogonal projector never lengthens, and 1.41 is more than 1.",
        ),
        Mistake(
            "a slant that lengthens nothing",
            ("oblique", "oblique", "neither", "neither"),
            "look at the first: an oblique projector lengthens something, so its largest singular value is above 1.",
        ),
    ),
)

nearest_on_line = Exercise(
    name="nearest_on_line",
    question="Write nearest_on_line(p, q, b): the point nearest to b of the line through p and q.",
    difficulty=2,
    minutes=6,
    hints=(
        "Move the origin to p: then the line runs through it, in the direction q - p.",
        "In these coordinates b is b - p. Take its shadow as in section 1, then move back.",
        "t = ((b - p) @ (q - p)) / ((q - p) @ (q - p)), and the point is p + t * (q - p).",
    ),
    source="""def nearest_on_line(p, q, b):
    along = q - p
    return p + ((b - p) @ along) / (along @ along) * along""",
    takeaway="No matrix does this alone: 0 does not stay 0. PCA moves the origin in the same way, to the mean.",
    mistakes=(
        Mistake(
            "through the origin",
            lambda p, q, b: (b @ (q - p)) / ((q - p) @ (q - p)) * (q - p),
            "that line has the right direction, and runs through the origin. This one runs through p.",
        ),
        Mistake(
            "not moved back",
            lambda p, q, b: ((b - p) @ (q - p)) / ((q - p) @ (q - p)) * (q - p),
            "that is the way from p to the point. Add p.",
        ),
        Mistake(
            "b not moved",
            lambda p, q, b: p + (b @ (q - p)) / ((q - p) @ (q - p)) * (q - p),
            "with p as the origin, b is b - p. Use it in the dot product.",
        ),
        Mistake(
            "q as the direction",
            lambda p, q, b: p + ((b - p) @ q) / (q @ q) * q,
            "q is a point of the line. Its direction leads from p to q: q - p.",
        ),
        Mistake(
            "between p and q only",
            lambda p, q, b: p + (((b - p) @ (q - p)) / ((q - p) @ (q - p))).clamp(0, 1) * (q - p),
            "that stops at p and q. The line goes on beyond them.",
        ),
        Mistake(
            "not divided",
            lambda p, q, b: p + ((b - p) @ (q - p)) * (q - p),
            "that is right where p and q are 1 apart. Divide by the squared length of q - p.",
        ),
        Mistake(
            "divided by the length once",
            lambda p, q, b: p + ((b - p) @ (q - p)) / (q - p).norm() * (q - p),
            "q - p enters twice: divide by its length squared, (q - p) @ (q - p).",
        ),
        Mistake(
            "coordinate instead of point",
            lambda p, q, b: ((b - p) @ (q - p)) / ((q - p) @ (q - p)),
            "that is t, one number. The point is p + t * (q - p).",
        ),
    ),
    cases=(
        (torch.tensor([1.0, 0.0]), torch.tensor([1.0, 2.0]), torch.tensor([4.0, 5.0])),
        (torch.tensor([1.0, 2.0, 0.0]), torch.tensor([3.0, 2.0, 1.0]), torch.tensor([0.0, 5.0, 4.0])),
        (torch.tensor([2.0, 2.0]), torch.tensor([5.0, 1.0]), torch.tensor([-1.0, 0.5])),
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

without_direction = Exercise(
    name="without_direction",
    question="Write without_direction(W, d): a weight that does all that W does, but never writes along d.",
    difficulty=2,
    minutes=6,
    hints=(
        "The output is W x. Take its part along d away, whatever x is.",
        "(I - d d^T / d.d) (W x) = ((I - d d^T / d.d) W) x. The projector stands on the left of W.",
        "Without the large matrix: W - torch.outer(d, d @ W) / (d @ d).",
    ),
    source="""import torch


def without_direction(W, d):
    return W - torch.outer(d, d @ W) / (d @ d)  # (I - d d^T / d.d) W""",
    takeaway="Done to all that writes into the stream, this takes one direction from a model, without any training.",
    mistakes=(
        Mistake(
            "on the side of the input",
            lambda W, d: W - torch.outer(W @ d, d) / (d @ d),
            "that makes W blind for d: W d = 0. What W writes is on the left: project the output.",
        ),
        Mistake(
            "the part along d kept",
            lambda W, d: torch.outer(d, d @ W) / (d @ d),
            "that keeps what is along d and throws the rest away. Take it from W instead.",
        ),
        Mistake(
            "not divided",
            lambda W, d: W - torch.outer(d, d @ W),
            "that is right for a d of length 1. Divide by d @ d.",
        ),
        Mistake(
            "divided by the length once",
            lambda W, d: W - torch.outer(d, d @ W) / d.norm(),
            "d enters twice: divide by its length squared, d @ d.",
        ),
        Mistake(
            "turned round",
            lambda W, d: W - 2 * torch.outer(d, d @ W) / (d @ d),
            "that mirrors the part along d: it is taken away twice. Once is enough.",
        ),
    ),
    cases=(
        (_matrix([2, 2, 0], [2, 0, -4], [3, 2, -2]), torch.tensor([1.0, 0.0, 2.0], dtype=torch.float64)),
        (_matrix([1, 3], [0, 2]), torch.tensor([3.0, 1.0], dtype=torch.float64)),
    ),
)


# --- the build: a projector by hand ---------------------------------------------------------------------------------


def orthonormal(A: torch.Tensor) -> torch.Tensor:
    """Return orthonormal columns (m, rank) with the span of the columns of A (m, n), which may be dependent."""
    columns = []
    for a in A.T:
        rest = a
        for q in 2 * columns:  # twice: rounding leaves a little behind the first time
            rest = rest - (q @ rest) * q
        if rest.norm() > 1e-9 * a.norm():  # else a lies in the span already
            columns.append(rest / rest.norm())
    return torch.stack(columns, dim=1)


def projector(A: torch.Tensor) -> torch.Tensor:
    """Return the orthogonal projector (m, m) onto the span of the columns of A (m, n), which may be dependent."""
    Q = orthonormal(A)
    return Q @ Q.T


def _unit_length(A):
    return A / A.norm(dim=0)


def _all_kept(A):
    columns = []
    for a in A.T:
        for q in columns:
            a = a - (q @ a) * q
        columns.append(a / a.norm().clamp_min(1e-300))
    return torch.stack(columns, dim=1)


def _last_only(A):
    columns = []
    for a in A.T:
        rest = a - (columns[-1] @ a) * columns[-1] if columns else a
        if rest.norm() > 1e-9 * a.norm():
            columns.append(rest / rest.norm())
    return torch.stack(columns, dim=1)


def _not_unit(A):
    columns = []
    for a in A.T:
        rest = a
        for q in columns:
            rest = rest - (q @ rest) / (q @ q) * q
        if rest.norm() > 1e-9 * a.norm():
            columns.append(rest)
    return torch.stack(columns, dim=1)


@cache
def _o_proj(layer: int) -> Tensor:
    return load_base_model().model.layers[layer].self_attn.o_proj.weight.detach().double()


def _span(answer: Callable, A: Tensor) -> tuple[Tensor, Tensor]:
    """Return of orthonormal columns Q what does not depend on the choice of them: Q^T Q and Q Q^T."""
    Q = answer(A)
    return Q.T @ Q, Q @ Q.T


def _span_of_head(answer: Callable, layer: int) -> tuple[Tensor, Tensor]:
    """Return Q^T Q for the columns of head 0, and the shadow of eight columns of head 1."""
    columns = _o_proj(layer)[:, :72]
    Q = answer(columns[:, :64].clone())
    return Q.T @ Q, Q @ (Q.T @ columns[:, 64:])


def _shadows(answer: Callable, layer: int) -> tuple[Tensor, Tensor]:
    """Return the trace of the projector onto head 0, whose columns are given twice, and the shadow of eight others."""
    columns = _o_proj(layer)[:, :72]
    P = answer(torch.cat([columns[:, :64], 2 * columns[:, :64]], dim=1))
    return P.trace(), P @ columns[:, 64:]


_M = _matrix([2, 2, 0], [2, 0, -4], [3, 2, -2])
_SPANS = (
    Case("two columns", (_matrix([3, 1], [4, 1]),), _span),
    Case("three of four dimensions", (_matrix([1, 1, 0], [1, 2, 1], [0, 1, 3], [1, 0, 1]),), _span),
    Case("M / 10, whose columns are dependent", (_M / 10,), _span),  # M itself leaves no rounding
)

linalg = Build(
    name="linalg",
    question="Write projectors by hand: orthonormal columns by Gram-Schmidt, then P, for dependent columns as well.",
    header='"""Linear algebra, written by hand."""\n\nimport torch',
    steps=(
        Step(
            name="orthonormal",
            question="Orthonormal columns with the span of the columns of A, without torch.linalg.",
            difficulty=2,
            minutes=12,
            hints=(
                "Take the columns one after the other. Subtract from each its shadows on those that you have already.",
                "The shadow on a column q of length 1 is (q @ rest) * q. What is left is divided by its length.",
                "A dependent column leaves nothing but rounding, such as 1e-16 of its length: leave it out.",
            ),
            takeaway="That is Gram-Schmidt, one shadow on a line after the other.",
            mistakes=(
                Mistake(
                    "only made unit length",
                    _unit_length,
                    "length 1 is half of it. Subtract from each column its shadows on the columns before.",
                ),
                Mistake(
                    "dependent columns kept",
                    _all_kept,
                    "a dependent column leaves only rounding, which you blow up to length 1. Leave it out.",
                ),
                Mistake(
                    "only the last column subtracted",
                    _last_only,
                    "the third column must be at a right angle to the first one, too: subtract all shadows.",
                ),
                Mistake(
                    "rows for columns",
                    lambda A: orthonormal(A).T,
                    "yours are the rows of what you return: torch.stack(..., dim=1) makes columns.",
                ),
                Mistake(
                    "not made unit length",
                    _not_unit,
                    "the columns stand at right angles. Divide each by its length.",
                ),
            ),
            reference=orthonormal,
            cases=(*_SPANS, Case("head 0 of layer 10", (10,), _span_of_head)),
        ),
        Step(
            name="projector",
            question="The orthogonal projector onto the span of the columns of A.",
            difficulty=1,
            minutes=4,
            hints=("Orthonormal columns need no inverse.", "P = Q Q^T."),
            takeaway="Any columns with the same span give the same P.",
            mistakes=(
                Mistake(
                    "A A^T",
                    lambda A: A @ A.T,
                    "that is a projector for orthonormal columns only. Make them orthonormal first.",
                ),
                Mistake(
                    "Q^T Q",
                    lambda A: orthonormal(A).T @ orthonormal(A),
                    "that is the identity, with a row for each column of Q. P is as large as the space: Q Q^T.",
                ),
                Mistake(
                    "the rest",
                    lambda A: torch.eye(len(A), dtype=A.dtype) - projector(A),
                    "that is I - P, the projector onto all that is at a right angle to the columns.",
                ),
            ),
            reference=projector,
            needs=("orthonormal",),
            cases=(
                Case("a line", (_matrix([3], [4]),)),
                Case("two columns of three", (_matrix([2, 2], [2, 0], [3, 2]),)),
                Case("M, whose columns are dependent", (_M,)),
                Case("head 0 of layer 10, each column twice", (10,), _shadows),
            ),
        ),
    ),
)
