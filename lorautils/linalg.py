"""Ranks, best low-rank approximations, projectors and angles between subspaces, on top of `torch.linalg`.

Taught in notebooks 01 (ranks), 02 (truncation) and 03 (projectors); used again in 06.
M = U diag(S) Vh with S descending; the best rank-k approximation keeps the first k of each: U_k diag(S_k) Vh_k.
A matrix is a finite float32 or float64 tensor (m, n); for anything else, and for shares and ranks that no matrix has,
ValueError says what was given, what was expected and what to do. Zero has no energy, and no angles.
Source, where none is named: Golub and Van Loan, Matrix Computations.
"""

import math

import torch
from torch import Tensor


def numerical_rank(matrix: Tensor, rtol: float | None = None) -> int:
    """Return how many singular values of an (m, n) matrix exceed `rtol` times the largest one.

    By default `rtol` is max(m, n) times the machine epsilon of the matrix's dtype: what rounding alone can raise above
    zero, as `torch.linalg.matrix_rank` and NumPy's take it.

    Example:
        >>> numerical_rank(torch.tensor([[2.0, 2, 0], [2, 0, -4], [3, 2, -2]]))
        2
    """
    if rtol is not None and not 0 <= rtol < 1:
        raise ValueError(f"rtol was {rtol}, expected a share of the largest singular value in [0, 1), such as 1e-6")
    return int(torch.linalg.matrix_rank(_checked(matrix), rtol=rtol))


def effective_rank(matrix: Tensor) -> float:
    """Return exp(H), where H is the entropy (nats) of the singular values of an (m, n) matrix divided by their sum.

    It is 1 for one direction and r for r equally strong ones; in between, weak directions count in part.

    Source: Roy and Vetterli, The effective rank: a measure of effective dimensionality, EUSIPCO 2007.

    Example:
        >>> round(effective_rank(torch.eye(3)), 2)
        3.0
    """
    values = _relative_singular_values(matrix)
    return math.exp(torch.special.entr(values / values.sum()).sum())  # entr(p) = -p ln p, and 0 for p = 0


def stable_rank(matrix: Tensor) -> float:
    """Return ||M||_F^2 / s_1^2 of an (m, n) matrix: its energy in units of the strongest direction, at most the rank.

    Source: Rudelson and Vershynin, Sampling from large matrices, Journal of the ACM 54(4), 2007.

    Example:
        >>> round(stable_rank(torch.diag(torch.tensor([6.0, 3, 0]))), 2)
        1.25
    """
    return float(_relative_singular_values(matrix).square().sum())


def energy(matrix: Tensor) -> Tensor:
    """Return the share of ||M||_F^2 that the first k directions hold, for k = 1 ... min(m, n); the last share is 1.

    The result has shape (min(m, n),). Energy is the sum of the squared entries, and of the squared singular values.

    Example:
        >>> energy(torch.diag(torch.tensor([2.0, 1, 1])))
        tensor([0.6667, 0.8333, 1.0000])
    """
    cumulative = _relative_singular_values(matrix).square().cumsum(0)
    return cumulative / cumulative[-1]


def rank_for_energy(matrix: Tensor, share: float) -> int:
    """Return the smallest k whose first k directions hold at least `share` of the energy of an (m, n) matrix.

    Example:
        >>> rank_for_energy(torch.diag(torch.tensor([2.0, 1, 1])), share=0.8)
        2
    """
    if not 0 < share <= 1:
        raise ValueError(f"share was {share}, expected a share of the energy in (0, 1], such as 0.9")
    return int((energy(matrix) < share).sum()) + 1


def svd(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the thin singular value decomposition of an (m, n) matrix, with signs that are the same everywhere.

    With p = min(m, n): U (m, p), S (p,) descending, Vh (p, n), and `U @ torch.diag(S) @ Vh` is the matrix. Of each
    column of U, the largest entry (the first, should several be as large) is positive.

    Source: `torch.linalg.svd`; the rule of signs is that of `sklearn.utils.extmath.svd_flip`.

    Example:
        >>> U, S, Vh = svd(torch.tensor([[2.0, 2, 0], [2, 0, -4], [3, 2, -2]]))
        >>> (S * 100).round() / 100
        tensor([6., 3., 0.])
    """
    U, S, Vh = torch.linalg.svd(_checked(matrix), full_matrices=False)
    sizes = U.abs()
    largest = (sizes > 0.999 * sizes.amax(dim=0)).int().argmax(dim=0)  # rounding must not decide between equals
    signs = U[largest, torch.arange(len(S), device=U.device)].sign()
    return U * signs, S, Vh * signs.unsqueeze(-1)


def best_rank_k(matrix: Tensor, k: int) -> Tensor:
    """Return the (m, n) matrix of rank at most k that is nearest to an (m, n) matrix: its truncated SVD.

    Nearest in the Frobenius and in the spectral norm; the errors are sqrt(S_(k+1)^2 + ...) and S_(k+1).

    Source: Eckart and Young, Psychometrika 1, 1936; Mirsky, Quarterly Journal of Mathematics 11, 1960.

    Example:
        >>> best_rank_k(torch.diag(torch.tensor([6.0, 3])), k=1).round()
        tensor([[6., 0.],
                [0., 0.]])
    """
    B, A = low_rank_factors(matrix, k)
    return B @ A


def low_rank_factors(matrix: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return B (m, k) and A (k, n) whose product is `best_rank_k(matrix, k)`; each takes the square root of S_k.

    The factors are not unique: B T and T^-1 A serve as well, for any invertible T (k, k).

    Example:
        >>> B, A = low_rank_factors(torch.ones(4, 3), k=1)
        >>> B.shape, A.shape, torch.allclose(B @ A, torch.ones(4, 3))
        (torch.Size([4, 1]), torch.Size([1, 3]), True)
    """
    U, S, Vh = svd(matrix)
    if not 1 <= k <= len(S):
        raise ValueError(f"k was {k}, expected a rank from 1 to {len(S)} for a matrix of shape {tuple(matrix.shape)}")
    root = S[:k].sqrt()
    return U[:, :k] * root, root.unsqueeze(-1) * Vh[:k]


def break_even_rank(m: int, n: int) -> float:
    """Return the rank mn / (m + n) at which two factors (m, r) and (r, n) hold as many numbers as one (m, n) matrix.

    Example:
        >>> break_even_rank(576, 576)
        288.0
    """
    return m * n / (m + n)


def projector_onto(columns: Tensor) -> Tensor:
    """Return the (m, m) orthogonal projector onto the column space of an (m, n) matrix.

    P = Q Q^T for an orthonormal basis Q. Directions that the default tolerance of `numerical_rank` counts as rounding
    are left out; n may exceed m.

    Example:
        >>> projector_onto(torch.tensor([[1.0], [1.0]]))
        tensor([[0.5000, 0.5000],
                [0.5000, 0.5000]])
    """
    basis = _orthonormal_basis(columns)
    return basis @ basis.T


def is_projector(matrix: Tensor, tol: float = 1e-6) -> bool:
    """Tell whether P P = P for an (m, n) matrix, up to `tol` times its largest entry; False if it is not square.

    Float32 rounds: a large projector, such as one of (576, 576) and rank 288, wants tol=1e-5, or float64.

    Example:
        >>> is_projector(torch.tensor([[1.0, 1], [0, 0]])), is_projector(torch.tensor([[2.0]]))
        (True, False)
    """
    P = _checked(matrix)
    return P.shape[0] == P.shape[1] and bool((P @ P - P).abs().max() <= tol * P.abs().max())


def principal_angles(a: Tensor, b: Tensor) -> Tensor:
    """Return the principal angles between the column spaces of a (m, p) and b (m, q): radians, ascending, float64.

    There are as many as the smaller of the two ranks. All 0: one space lies in the other; all pi / 2: orthogonal.

    Source: Björck and Golub, Mathematics of Computation 27, 1973; `scipy.linalg.subspace_angles` (descending).

    Example:
        >>> principal_angles(torch.tensor([[1.0], [0.0]]), torch.tensor([[1.0], [1.0]])).rad2deg().round()
        tensor([45.], dtype=torch.float64)
    """
    wide, narrow = _orthonormal_basis(a).double(), _orthonormal_basis(b).double()
    if len(wide) != len(narrow):
        raise ValueError(f"the matrices had {len(wide)} and {len(narrow)} rows; angles need one space, so as many rows")
    if wide.shape[1] < narrow.shape[1]:
        wide, narrow = narrow, wide
    inside = wide.T @ narrow
    cosines = torch.linalg.svdvals(inside)  # descending
    sines = torch.linalg.svdvals(narrow - wide @ inside)  # descending, so paired with the cosines from the end
    return torch.atan2(sines.flip(0), cosines)  # exact for small and for large angles


def _checked(matrix: Tensor) -> Tensor:
    """Return the matrix without its gradient history, or say why it is none that can be decomposed."""
    known = isinstance(matrix, Tensor)
    if not (known and matrix.dim() == 2 and matrix.numel() and matrix.dtype in (torch.float32, torch.float64)):
        given = f"a tensor of {matrix.dtype} and shape {tuple(matrix.shape)}" if known else type(matrix).__name__
        raise ValueError(
            f"a matrix in float32 or float64 was expected, got {given}; try torch.as_tensor(rows), .double(), or "
            "v[:, None] for one column"
        )
    if not matrix.isfinite().all():
        raise ValueError("the matrix has entries that are infinite or no number; expected finite ones")
    return matrix.detach()


def _relative_singular_values(matrix: Tensor) -> Tensor:
    """Return the singular values divided by the largest, so that their squares neither overflow nor vanish."""
    values = torch.linalg.svdvals(_checked(matrix))
    if values[0] == 0:
        raise ValueError("the matrix is zero: it has no energy to share; expected a non-zero entry")
    return values / values[0]


def _orthonormal_basis(columns: Tensor) -> Tensor:
    """Return an orthonormal basis (m, rank) of the column space of an (m, n) matrix."""
    U, S, _ = svd(columns)
    rounding = max(columns.shape) * torch.finfo(columns.dtype).eps * S[0]
    return U[:, : int(S.gt(rounding).sum())]
