"""linalg.py: its properties, and its agreement with NumPy, SciPy and scikit-learn."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.extmath import svd_flip

from lorautils import linalg

M = torch.tensor([[2.0, 2, 0], [2, 0, -4], [3, 2, -2]], dtype=torch.float64)
THIRDS = torch.tensor([[1.0, 2, 2], [2, -2, 1], [2, 1, -2]], dtype=torch.float64) / 3
properties = settings(derandomize=True, deadline=None, max_examples=40)
seeds, sides = st.integers(0, 10**6), st.integers(1, 9)


def gaussian(seed, m, n):
    return torch.randn(m, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@st.composite
def matrices(draw, m=sides, n=sides):
    """A random matrix of a rank from 1 to min(m, n), and that rank."""
    m, n, seed = draw(m), draw(n), draw(seeds)
    rank = draw(st.integers(1, min(m, n)))
    return gaussian(seed, m, rank) @ gaussian(seed + 1, rank, n), rank


def close(a, b):
    return torch.allclose(a, b, rtol=1e-9, atol=1e-9)


# --- the matrix of the course ---------------------------------------------------------------------------------------


def test_the_small_matrix_has_the_values_that_the_course_prints():
    U, S, Vh = linalg.svd(M)
    assert close(S, torch.tensor([6.0, 3, 0], dtype=torch.float64))
    assert close(U, THIRDS) and close(U @ S.diag() @ Vh, M)
    assert linalg.numerical_rank(M) == 2
    assert close(linalg.energy(M), torch.tensor([0.8, 1, 1], dtype=torch.float64))
    assert linalg.stable_rank(M) == pytest.approx(45 / 36)
    assert linalg.effective_rank(M) == pytest.approx(3 / 4 ** (1 / 3))  # exp(H(2/3, 1/3))
    assert close(linalg.best_rank_k(M, 1), torch.outer(U[:, 0], Vh[0]) * 6)


def test_equal_entries_do_not_leave_the_sign_to_rounding():
    for noise in (1e-12, -1e-12):
        shaken = M + noise * gaussian(0, 3, 3)
        assert torch.allclose(linalg.svd(shaken)[0], THIRDS, atol=1e-9)


# --- ranks ----------------------------------------------------------------------------------------------------------


@properties
@given(matrices())
def test_the_rank_is_that_of_the_construction_and_of_numpy(case):
    matrix, rank = case
    assert linalg.numerical_rank(matrix) == rank == np.linalg.matrix_rank(matrix.numpy())
    assert linalg.numerical_rank(matrix.T) == rank
    assert linalg.numerical_rank(matrix, 1e-3) == torch.linalg.matrix_rank(matrix, rtol=1e-3)


@properties
@given(sides, sides, sides, seeds, st.data())
def test_rank_inequalities(m, p, n, seed, data):
    a, rank_a = data.draw(matrices(st.just(m), st.just(p)))
    b, rank_b = data.draw(matrices(st.just(p), st.just(n)))
    c, rank_c = data.draw(matrices(st.just(m), st.just(p)))
    assert rank_a + rank_b - p <= linalg.numerical_rank(a @ b, 1e-10) <= min(rank_a, rank_b)  # Sylvester, product
    assert abs(rank_a - rank_c) <= linalg.numerical_rank(a + c, 1e-10) <= rank_a + rank_c


@properties
@given(matrices())
def test_the_soft_ranks_lie_between_one_and_the_rank(case):
    matrix, rank = case
    for soft in (linalg.effective_rank(matrix), linalg.stable_rank(matrix)):
        assert 1 - 1e-9 <= soft <= rank + 1e-9


@pytest.mark.parametrize("r", [1, 3, 5])
def test_the_soft_ranks_count_equally_strong_directions(r):
    matrix = torch.linalg.qr(gaussian(r, 7, 5))[0][:, :r] @ torch.linalg.qr(gaussian(8, 6, 5))[0][:, :r].T
    assert linalg.effective_rank(matrix) == pytest.approx(r)
    assert linalg.stable_rank(matrix) == pytest.approx(r)


@properties
@given(matrices(), st.sampled_from([1e-200, 1e-3, -7.0, 1e200]))
def test_no_measure_depends_on_the_scale(case, factor):
    matrix, rank = case
    scaled = factor * matrix
    assert linalg.numerical_rank(scaled) == rank
    assert linalg.effective_rank(scaled) == pytest.approx(linalg.effective_rank(matrix))
    assert linalg.stable_rank(scaled) == pytest.approx(linalg.stable_rank(matrix))
    assert close(linalg.energy(scaled), linalg.energy(matrix))


def test_edges_of_the_counts():
    assert linalg.numerical_rank(torch.zeros(2, 3)) == 0
    assert linalg.rank_for_energy(torch.eye(2), 0.5) == 1, "exactly the share is enough"


def test_float32_counts_fewer_directions_than_float64():
    matrix = torch.diag(torch.tensor([1.0, 1e-3, 1e-8], dtype=torch.float64))
    assert linalg.numerical_rank(matrix) == 3
    assert linalg.numerical_rank(matrix.float()) == 2


# --- energy and truncation ------------------------------------------------------------------------------------------


@properties
@given(matrices(), st.floats(0.01, 1))
def test_energy_is_what_truncation_keeps_and_rank_for_energy_is_the_smallest_k(case, share):
    matrix, _ = case
    shares = linalg.energy(matrix)
    kept = [linalg.best_rank_k(matrix, k).square().sum() / matrix.square().sum() for k in range(1, len(shares) + 1)]
    assert close(shares, torch.stack(kept)) and shares[-1] == 1
    k = linalg.rank_for_energy(matrix, share)
    assert shares[k - 1] >= share and (k == 1 or shares[k - 2] < share)


@properties
@given(matrices(), seeds, st.data())
def test_eckart_young_no_rival_of_rank_k_is_nearer(case, seed, data):
    matrix, _ = case
    k = data.draw(st.integers(1, min(matrix.shape)))
    best = linalg.best_rank_k(matrix, k)
    assert linalg.numerical_rank(best, 1e-10) <= k
    B, A = linalg.low_rank_factors(matrix, k)
    for size in (1.0, 1e-1, 1e-2):  # strangers and neighbours
        rival = (B + size * gaussian(seed, *B.shape)) @ (A + size * gaussian(seed + 1, *A.shape))
        for norm in ("fro", 2):
            error, rival_error = (torch.linalg.matrix_norm(matrix - other, norm) for other in (best, rival))
            assert error <= rival_error + 1e-9


@properties
@given(matrices(), st.data())
def test_the_error_of_truncation_is_what_the_singular_values_say(case, data):
    matrix, _ = case
    k = data.draw(st.integers(1, min(matrix.shape)))
    values = torch.linalg.svdvals(matrix)
    error = matrix - linalg.best_rank_k(matrix, k)
    assert close(error.norm(), values[k:].norm())
    assert close(torch.linalg.matrix_norm(error, 2), values[k:].sum() if k == len(values) else values[k])


@properties
@given(matrices(), st.data())
def test_factors_have_their_shapes_and_are_balanced(case, data):
    matrix, _ = case
    k = data.draw(st.integers(1, min(matrix.shape)))
    B, A = linalg.low_rank_factors(matrix, k)
    assert B.shape == (matrix.shape[0], k) and A.shape == (k, matrix.shape[1])
    assert close(B.T @ B, A @ A.T) and close(B @ A, linalg.best_rank_k(matrix, k))


@properties
@given(matrices())
def test_svd_rebuilds_the_matrix_with_the_signs_of_scikit_learn(case):
    matrix, rank = case
    U, S, Vh = linalg.svd(matrix)
    assert close(U @ S.diag() @ Vh, matrix)
    theirs, _ = svd_flip(U.numpy().copy(), Vh.numpy().copy())  # it works in place
    sizes = U[:, :rank].abs().sort(dim=0).values
    clear = [c for c in range(rank) if len(U) == 1 or sizes[-2, c] < 0.99 * sizes[-1, c]]  # no two equally large
    assert close(U[:, clear], torch.from_numpy(theirs)[:, clear])


def test_break_even():
    assert linalg.break_even_rank(3, 3) == 1.5
    m, n = 1536, 576
    r = linalg.break_even_rank(m, n)
    assert r * (m + n) == pytest.approx(m * n) and r == pytest.approx(418.9, abs=0.05)


# --- projectors -----------------------------------------------------------------------------------------------------


@properties
@given(matrices())
def test_a_projector_is_idempotent_symmetric_and_its_trace_is_its_rank(case):
    matrix, rank = case
    P = linalg.projector_onto(matrix)
    assert close(P @ P, P) and close(P, P.T) and close(P @ matrix, matrix)
    assert P.trace() == pytest.approx(rank) and linalg.numerical_rank(P, 1e-9) == rank
    assert linalg.is_projector(P)


def test_what_is_no_projector_is_told_so_at_any_scale():
    assert linalg.is_projector(torch.tensor([[1.0, 1], [0, 0]])), "oblique"
    assert not linalg.is_projector(torch.tensor([[2.0, 1], [1, 2]])), "symmetric"
    assert not linalg.is_projector(1e-9 * torch.eye(2)), "tiny is not idempotent"
    assert not linalg.is_projector(gaussian(0, 2, 3)), "not square"


def test_the_projector_of_zero_is_zero():
    assert linalg.projector_onto(torch.zeros(3, 2)).equal(torch.zeros(3, 3))


# --- angles ---------------------------------------------------------------------------------------------------------


@properties
@given(st.integers(2, 9), seeds, st.data())
def test_angles_agree_with_scipy(m, seed, data):
    p, q = (data.draw(st.integers(1, m)) for _ in range(2))
    a, b = gaussian(seed, m, p), gaussian(seed + 1, m, q)
    theirs = scipy.linalg.subspace_angles(a.numpy(), b.numpy())[::-1]
    assert np.allclose(linalg.principal_angles(a, b), theirs, atol=1e-7)


@pytest.mark.parametrize("angle", [1e-9, 1e-4, 0.5, math.pi / 2 - 1e-9])
def test_small_and_large_angles_keep_their_digits(angle):
    a = torch.tensor([[1.0], [0], [0]], dtype=torch.float64)
    b = torch.tensor([[math.cos(angle)], [math.sin(angle)], [0]], dtype=torch.float64)
    assert linalg.principal_angles(a, 5 * b).item() == pytest.approx(angle, rel=1e-7)


def test_a_subspace_has_no_angle_with_its_space_and_a_right_one_with_its_complement():
    space = gaussian(0, 6, 4)
    basis = torch.linalg.qr(torch.cat([space, gaussian(1, 6, 2)], dim=1))[0]
    assert linalg.principal_angles(space, space[:, :2]).max() < 1e-9
    assert close(linalg.principal_angles(space, basis[:, 4:]), torch.full((2,), math.pi / 2, dtype=torch.float64))


def test_the_column_space_of_zero_has_no_angles():
    assert len(linalg.principal_angles(M, 0 * M)) == 0


def test_a_weight_of_a_model_is_taken_without_its_gradient_history():
    weight = torch.nn.Linear(4, 3).weight
    assert not linalg.best_rank_k(weight, 2).requires_grad and weight.requires_grad
