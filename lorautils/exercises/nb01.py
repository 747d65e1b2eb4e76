"""The exercises of notebook 01: rank by hand, where factors save, the rank of W + B A, a tolerance, bricks as factors.

The formulas behind them: rank(A + B) <= rank A + rank B; r (m + n) < m n; count of s_i > rtol * s_1.
"""

import torch

from .engine import Exercise, Mistake

NOTEBOOK = "01_matrix_rank"

rank_by_hand = Exercise(
    name="rank_by_hand",
    question="What is the rank of the matrix with the rows (1, 2, 0), (2, 4, 0), (0, 1, 3) and (1, 3, 3)?",
    difficulty=1,
    minutes=4,
    hints=(
        "Strike out every row that is a combination of those that stay.",
        "Row 2 is twice row 1. Is row 4 a sum of two others?",
    ),
    source="answer = 2  # row 2 = 2 row 1, row 4 = row 1 + row 3; rows 1 and 3 are independent",
    takeaway="Rows 1 and 3 are a basis of all the rows. The columns, too, have only two directions.",
    mistakes=(
        Mistake(
            "rows counted",
            4,
            "there are four rows, but two are combinations of others. And rank 4 needs 4 columns.",
        ),
        Mistake(
            "full rank taken for granted", 3, "3 is the most that a 4 x 3 matrix can have. Row 4 is row 1 + row 3."
        ),
        Mistake("rows struck out", (2, 4), "those are the rows that go. The rank is the number of rows that stay."),
        Mistake("one direction lost", 1, "rank 1 would mean that all rows are multiples of one row. Row 3 is not."),
    ),
)

largest_saving_rank = Exercise(
    name="largest_saving_rank",
    question="Up to which whole rank do two factors hold fewer numbers than a matrix of shape (192, 576)?",
    difficulty=1,
    minutes=4,
    hints=(
        "The factors hold r (192 + 576) numbers, the matrix 192 * 576. Where are they equal?",
        "At 144 exactly. Fewer means fewer.",
    ),
    source="answer = 192 * 576 // (192 + 576) - 1  # at 144 they are equal, so 143",
    takeaway="At 144 nothing is saved. LoRA's r = 8 needs 6,144 numbers, 5.6 % of the matrix.",
    mistakes=(
        Mistake("break-even itself", 144, "at 144 the factors hold exactly as many numbers as the matrix. Fewer?"),
        Mistake(
            "full rank", 192, "that is the largest rank the matrix can have; its factors would hold 147,456 numbers."
        ),
        Mistake("below full rank", 191, "deficient is not low: at 191 the factors hold 146,688 numbers, not 110,592."),
        Mistake("square matrix", 288, "that is the break-even of a 576 x 576 matrix. This one has only 192 rows."),
        Mistake("half the smaller side", 96, "m n / (m + n) is half the side of a square matrix only."),
    ),
)

merged_ranks = Exercise(
    name="merged_ranks",
    question="W (4096, 4096) has full rank, B A has rank 16: the smallest and the largest rank that W + B A can have?",
    difficulty=2,
    minutes=4,
    hints=(
        "What can 16 bricks do at worst to a matrix that has 4096?",
        "They can cancel 16 of its bricks. At best they cancel none, and no 4096 x 4096 matrix has more than 4096.",
    ),
    source="answer = (4096 - 16, 4096)  # |rank W - rank BA| <= rank(W + BA) <= min(rank W + rank BA, 4096)",
    takeaway="A trained update does not happen to cancel W's bricks, so in practice it is 4096.",
    mistakes=(
        Mistake("rank of the update", (16, 16), "16 is the rank of the change. W brings its own 4096 directions."),
        Mistake(
            "more than the sides allow", (4080, 4112), "the smallest is right; no 4096 x 4096 matrix has rank 4112."
        ),
        Mistake("ranks added", (4096, 4112), "the ranks add up only where there is room, and bricks may cancel, too."),
        Mistake("never below full", (4096, 4096), "that is what happens in practice, but B A may cancel bricks of W."),
        Mistake("anything possible", (16, 4096), "16 bricks cannot cancel 4080 of W's 4096."),
        Mistake("largest first", (4096, 4080), "right numbers; the smallest comes first."),
    ),
)

count_rank = Exercise(
    name="count_rank",
    question="Write count_rank(matrix, rtol): how many singular values exceed rtol times the largest?",
    difficulty=2,
    minutes=6,
    hints=(
        "torch.linalg.svdvals(matrix) gives the singular values, the largest first.",
        "Compare them with rtol * values[0] and count what is strictly larger.",
    ),
    source="""import torch


def count_rank(matrix, rtol):
    values = torch.linalg.svdvals(matrix)
    return int((values > rtol * values[0]).sum())""",
    takeaway="Relative to the largest, the rank does not change when the matrix is scaled.",
    mistakes=(
        Mistake(
            "absolute tolerance",
            lambda matrix, rtol: int((torch.linalg.svdvals(matrix) > rtol).sum()),
            "rtol is a share of the largest value. Yours finds rank 0 when a matrix of small numbers comes.",
        ),
        Mistake(
            "no tolerance",
            lambda matrix, rtol: int((torch.linalg.svdvals(matrix) > 0).sum()),
            "rounding is counted as a direction. Compare with rtol times the largest value, values[0].",
        ),
        Mistake(
            "zero has a direction",
            lambda matrix, rtol: int((torch.linalg.svdvals(matrix) >= rtol * torch.linalg.svdvals(matrix)[0]).sum()),
            "the zero matrix has rank 0, but 0 >= rtol * 0 holds. Use >.",
        ),
        Mistake(
            "share of the sum",
            lambda matrix, rtol: int(
                (torch.linalg.svdvals(matrix) > rtol * torch.linalg.svdvals(matrix).sum()).sum(),
            ),
            "the tolerance is a share of the largest singular value, not of their sum.",
        ),
        Mistake(
            "share of the largest entry",
            lambda matrix, rtol: int((torch.linalg.svdvals(matrix) > rtol * matrix.abs().max()).sum()),
            "the tolerance is a share of the largest singular value, not of the largest entry.",
        ),
        Mistake(
            "share of the energy",
            lambda matrix, rtol: int(
                (torch.linalg.svdvals(matrix) ** 2 > rtol * torch.linalg.svdvals(matrix)[0] ** 2).sum(),
            ),
            "the values are compared, not their squares: a strength of 1e-2 has the energy 1e-4.",
        ),
    ),
    cases=(
        (torch.diag(torch.tensor([4.0, 2.0, 1e-9], dtype=torch.float64)), 1e-6),
        (1e-8 * torch.tensor([[3.0, 0.0, 0.0], [0.0, 2.0, 0.0]], dtype=torch.float64), 1e-6),
        (1e8 * torch.diag(torch.tensor([1.0, 1e-9, 0.0], dtype=torch.float64)), 1e-6),
        (torch.diag(torch.tensor([1.0, 1.0, 0.6], dtype=torch.float64)), 0.5),
        (torch.diag(torch.tensor([1.0, 0.01], dtype=torch.float64)), 1e-3),
        (torch.tensor([[3.0, 1.0], [1.0, 3.0]], dtype=torch.float64), 0.6),
        (torch.zeros(2, 2, dtype=torch.float64), 1e-6),
    ),
)


def _factor(matrix, r, size=torch.abs, divide_row=False, divide=True, peel=True):
    """Peel r bricks off, the way of the solution or, by the switches, that of a mistake."""
    columns, rows = [], []
    for _ in range(r):
        i, j = divmod(int(size(matrix).argmax()), matrix.shape[1])
        column, row = matrix[:, j], matrix[i]
        columns.append(column / matrix[i, j] if divide and not divide_row else column)
        rows.append(row / matrix[i, j] if divide_row else row)
        if peel:
            matrix = matrix - torch.outer(column / matrix[i, j], row)
    return torch.stack(columns, dim=1), torch.stack(rows)


def _rows_for_columns(matrix, r):
    B, A = _factor(matrix, r)
    return B.T, A


_M = torch.tensor([[2.0, 2.0, 0.0], [2.0, 0.0, -4.0], [3.0, 2.0, -2.0]], dtype=torch.float64)
_TWO_BRICKS = torch.tensor([[2.0, 3.0, 0.0], [2.0, 0.0, -4.0], [2.0, 1.5, -2.0]], dtype=torch.float64)
_TALL = torch.tensor([[1.0, 2.0], [0.0, 1.0], [8.0, 1.0], [1.0, 0.0]], dtype=torch.float64)

factor = Exercise(
    name="factor",
    question="Write factor(matrix, r): peel r bricks off and return them as B (m, r) and A (r, n).",
    difficulty=3,
    minutes=10,
    hints=(
        "In each turn find the pivot matrix[i, j], the largest entry. Keep matrix[:, j] / matrix[i, j] and matrix[i].",
        "Then peel: subtract torch.outer of the two from the matrix, and go on with what is left.",
        "With the kept columns and rows in two lists: torch.stack(columns, dim=1) is B, torch.stack(rows) is A.",
    ),
    source="""import torch


def factor(matrix, r):
    columns, rows = [], []
    for _ in range(r):
        i, j = divmod(int(matrix.abs().argmax()), matrix.shape[1])
        columns.append(matrix[:, j] / matrix[i, j])
        rows.append(matrix[i])
        matrix = matrix - torch.outer(columns[-1], rows[-1])
    return torch.stack(columns, dim=1), torch.stack(rows)""",
    takeaway="Gaussian elimination, written as bricks. With r = 1 it keeps one brick, though not the best: see 02.",
    mistakes=(
        Mistake(
            "not divided by the pivot",
            lambda matrix, r: _factor(matrix, r, divide=False),
            "column times row has the pivot's square where the pivot should be. Divide the column by the pivot.",
        ),
        Mistake(
            "row divided",
            lambda matrix, r: _factor(matrix, r, divide_row=True),
            "the product is right (factors are not unique), but the exercise divides the column, not the row.",
        ),
        Mistake(
            "sign not set aside",
            lambda matrix, r: _factor(matrix, r, size=torch.positive),
            "argmax alone overlooks -4 where there is a 3. The pivot is the largest of matrix.abs().",
        ),
        Mistake(
            "nothing peeled",
            lambda matrix, r: _factor(matrix, r, peel=False),
            "each turn finds the same brick again. Subtract it from the matrix before the next turn.",
        ),
        Mistake(
            "B as rows",
            _rows_for_columns,
            "yours has the shape (r, m): stack the columns side by side, torch.stack(columns, dim=1).",
        ),
        Mistake("A first", lambda matrix, r: _factor(matrix, r)[::-1], "both are right; B, the columns, comes first."),
        Mistake(
            "product instead of factors",
            lambda matrix, r: torch.matmul(*_factor(matrix, r)),
            "that is B A. Return the pair B, A.",
        ),
    ),
    cases=((_M, 1), (_TWO_BRICKS, 2), (_TALL, 2)),
)
