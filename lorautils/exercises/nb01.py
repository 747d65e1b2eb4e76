"""The exercises of notebook 01: an entry that keeps the rank low, ranks that add, a gap, signs; rank and factors built.

The formulas behind them: rank(A + B) <= rank A + rank B; a cut where s_i / s_(i+1) is largest; M = B A.
"""

import torch

from .build import Build, Case, Step
from .engine import Exercise, Mistake

NOTEBOOK = "01_matrix_rank"

lost_entry = Exercise(
    name="lost_entry",
    question="The rows are (2, 1, 0), (1, 3, 5) and (4, 7, x). For which x is the rank 2?",
    difficulty=1,
    minutes=5,
    hints=(
        "Row 3 must be a combination of rows 1 and 2: a times row 1 plus b times row 2.",
        "The first two columns fix a and b: 2 a + b = 4 and a + 3 b = 7.",
    ),
    source="answer = 10  # a = 1 and b = 2, so x = 1 * 0 + 2 * 5",
    takeaway="Any other x gives rank 3: low rank is the exception, and a hair destroys it.",
    mistakes=(
        Mistake("rows added", 5, "row 1 + row 2 is (3, 4, 5), which does not begin with 4, 7. Other multiples do."),
        Mistake("the rank itself", 2, "2 is the rank that is wanted. The question is for the lost number x."),
        Mistake("once too often", 15, "3 times row 2 begins with 3, 9. How often does row 2 go into (4, 7)?"),
        Mistake("zero", 0, "then row 3 would need none of row 2, and (4, 7) is no multiple of (2, 1)."),
    ),
)

summed_adapters = Exercise(
    name="summed_adapters",
    question="Three changes of rank 16, 8 and 4 are added up: what are the smallest and the largest rank of the sum?",
    difficulty=2,
    minutes=4,
    hints=(
        "Count bricks: 16, 8 and 4 of them. How many has the sum at most?",
        "At worst the 8 and the 4 all cancel bricks of the 16.",
    ),
    source="answer = (16 - 8 - 4, 16 + 8 + 4)  # the rule for sums, used twice",
    takeaway="Adapters that are added up keep their ranks apart: r = 16 and r = 8 do not make r = 16.",
    mistakes=(
        Mistake("the largest alone", (16, 16), "the other bricks bring directions of their own, or cancel some."),
        Mistake(
            "never more than the largest", (4, 16), "the smallest is right; bricks in new directions are counted too."
        ),
        Mistake("never less than the largest", (16, 28), "the largest is right; bricks of the three may also cancel."),
        Mistake("everything cancels", (0, 28), "12 bricks cannot cancel 16: at least 4 stay."),
        Mistake("one cancels", (8, 28), "the 8 and the 4 can both cancel bricks of the 16."),
        Mistake("nothing cancels", (28, 28), "that is what happens in practice. What can happen at worst?"),
        Mistake("largest first", (28, 4), "right numbers; the smallest comes first."),
    ),
)

rank_at_gap = Exercise(
    name="rank_at_gap",
    question="Write rank_at_gap(values): how many singular values stand before the one place with the largest fall?",
    difficulty=2,
    minutes=8,
    hints=(
        "A fall is a ratio: a value divided by the next one. itertools.pairwise(values) gives the pairs.",
        "The list of ratios is one shorter than the values. The index of its largest, plus 1, is the rank.",
    ),
    source="""from itertools import pairwise


def rank_at_gap(values):
    falls = [above / below for above, below in pairwise(values)]
    return falls.index(max(falls)) + 1""",
    takeaway="It needs no tolerance, but a gap. It finds one in noise as well: look at how large the fall is.",
    mistakes=(
        Mistake(
            "largest difference",
            lambda values: max(range(1, len(values)), key=lambda i: values[i - 1] - values[i]),
            "from 20 to 5 the difference is larger, but 4.9 to 0.003 is the fall. Divide, do not subtract.",
        ),
        Mistake(
            "off by one",
            lambda values: max(range(1, len(values)), key=lambda i: values[i - 1] / values[i]) - 1,
            "the index of the fall counts from 0: one more value stands before it.",
        ),
        Mistake(
            "behind the fall",
            lambda values: max(range(1, len(values)), key=lambda i: values[i - 1] / values[i]) + 1,
            "yours counts the first value behind the fall, too.",
        ),
        Mistake(
            "fixed tolerance",
            lambda values: sum(value > 1e-6 * values[0] for value in values),
            "a tolerance of 1e-6 fits some data and not others. Find the place from the values themselves.",
        ),
    ),
    cases=(
        (torch.tensor([6.0, 3.0, 1e-7]),),
        (torch.tensor([20.0, 5.0, 4.9, 3e-3, 2e-3]),),
        (torch.tensor([5e-8, 4e-8, 1e-12]),),
        (torch.tensor([9.0, 0.5, 0.4, 0.3]),),
    ),
)

signs = Exercise(
    name="signs",
    question="The multiplication table of 1 to 12, minus 30.5: what is its rank, and what is the rank of its signs?",
    difficulty=2,
    minutes=8,
    hints=(
        "numbers = torch.arange(1.0, 13); the table is torch.outer(numbers, numbers), a single brick.",
        "30.5 everywhere is one more brick. For the signs: table.sign(), then linalg.numerical_rank.",
    ),
    source="""import torch

from lorautils import linalg

numbers = torch.arange(1.0, 13)
table = torch.outer(numbers, numbers) - 30.5  # two bricks
answer = linalg.numerical_rank(table), linalg.numerical_rank(table.sign())""",
    takeaway="The signs of one brick are one brick. Of two they are a staircase: that is what AdamW's first step does.",
    mistakes=(
        Mistake(
            "bricks survive", (2, 2), "2 is right for the table. Print the signs: how many different rows have they?"
        ),
        Mistake(
            "the staircase is full", (2, 12), "2 is right. Not all 12 rows of signs differ: compare rows 11 and 12."
        ),
        Mistake("the 30.5 forgotten", (1, 8), "8 is right. Taking 30.5 away from every entry is one more brick."),
        Mistake(
            "the table alone", (1, 1), "that is the table before 30.5 is taken away: a brick, and so are its signs."
        ),
        Mistake("in the other order", (8, 2), "right numbers; the rank of the table comes first."),
    ),
)


def rank(rows):
    """Return the rank of a matrix of Python integers, given as a list of m rows with n numbers each: exact."""
    bricks = 0
    while pivots := [(i, j) for i, row in enumerate(rows) for j, number in enumerate(row) if number]:
        i, j = pivots[0]
        pivot, across = rows[i][j], rows[i]
        rows = [[pivot * number - row[j] * other for number, other in zip(row, across, strict=True)] for row in rows]
        bricks += 1
    return bricks


def factor(matrix, r):
    """Return B (m, r) and A (r, n) whose product is the matrix (m, n), a tensor of rank r."""
    columns, rows = [], []
    for _ in range(r):
        i, j = divmod(int(matrix.abs().argmax()), matrix.shape[1])  # where the largest entry is
        columns.append(matrix[:, j] / matrix[i, j])
        rows.append(matrix[i])
        matrix = matrix - torch.outer(columns[-1], rows[-1])
    return torch.stack(columns, dim=1), torch.stack(rows)


def _rank_by_division(rows):
    matrix, bricks = torch.tensor(rows, dtype=torch.float64), 0
    while matrix.any():
        i, j = divmod(int(matrix.abs().argmax()), matrix.shape[1])
        matrix, bricks = matrix - torch.outer(matrix[:, j] / matrix[i, j], matrix[i]), bricks + 1
    return bricks


def _rank_of_floats(rows):
    return int(torch.linalg.matrix_rank(torch.tensor(rows, dtype=torch.float64)))


def _rows_that_are_not_zero(rows):
    return sum(any(row) for row in rows)


def _rank_along_the_diagonal(rows):
    bricks = 0
    for i in range(min(len(rows), len(rows[0]))):
        pivot, across = rows[i][i], rows[i]
        if pivot:
            rows = [[pivot * x - row[i] * y for x, y in zip(row, across, strict=True)] for row in rows]
            bricks += 1
    return bricks


def _product(answer, matrix, r):
    """What counts of two factors: their shapes and their product; the factors themselves are not unique."""
    B, A = answer(matrix, r)
    return list(B.shape), list(A.shape), B @ A


def _factor(matrix, r, size=torch.abs, divide=True, peel=True):
    """Peel r bricks off, the way of the solution or, by the switches, that of a mistake."""
    columns, rows = [], []
    for _ in range(r):
        i, j = divmod(int(size(matrix).argmax()), matrix.shape[1])
        columns.append(matrix[:, j] / matrix[i, j] if divide else matrix[:, j])
        rows.append(matrix[i])
        if peel:
            matrix = matrix - torch.outer(matrix[:, j] / matrix[i, j], matrix[i])
    return torch.stack(columns, dim=1), torch.stack(rows)


def _rows_for_columns(matrix, r):
    B, A = factor(matrix, r)
    return B.T, A


_M = [[2, 2, 0], [2, 0, -4], [3, 2, -2]]
_FOUR = [[5, 9, -2, 10], [-8, 8, -8, -9], [5, -7, 6, 5], [5, 25, -10, 15]]
_TABLE = [[(i * j + 3) * (i - j) for j in range(1, 7)] for i in range(1, 25)]

linalg = Build(
    name="linalg",
    question="Write the rank of a matrix of integers, exactly, and two factors of a matrix.",
    header='"""Linear algebra, written by hand."""\n\nimport torch',
    steps=(
        Step(
            name="rank",
            question="Count the bricks of a matrix of integers, without division and without floats.",
            difficulty=3,
            minutes=15,
            hints=(
                "Any entry that is not zero can be the pivot. If there is none, you are done.",
                "As in peel: every row becomes pivot * row - row[j] * the pivot's row. Python's integers have no end.",
            ),
            takeaway="Exact, as long as the entries are integers. The weights of a model are not: hence the tolerance.",
            mistakes=(
                Mistake("divided", _rank_by_division, "1/3 is no number of a computer: multiply by the pivot instead."),
                Mistake(
                    "floats",
                    _rank_of_floats,
                    "in floats 10**17 + 1 is 10**17. Stay with the integers that you were given.",
                ),
                Mistake(
                    "rows that are not zero",
                    _rows_that_are_not_zero,
                    "a row can be a combination of others without being zero. Peel it off first.",
                ),
                Mistake(
                    "only along the diagonal",
                    _rank_along_the_diagonal,
                    "a zero on the diagonal is no end: look for a pivot in the whole matrix.",
                ),
            ),
            reference=rank,
            cases=(
                Case("M", (_M,)),
                Case("N", ([[2, 2, 0], [2, 0, -4], [3, 2, 2]],)),
                Case("zero", ([[0, 0], [0, 0], [0, 0]],)),
                Case("zeros on the diagonal", ([[0, 3, 0], [2, 0, 0], [0, 0, 0]],)),
                Case("four rows", (_FOUR,)),
                Case("large numbers", ([[10**17, 10**17 + 1], [10**17 - 1, 10**17]],)),
                Case("24 rows", (_TABLE,)),
            ),
        ),
        Step(
            name="factor",
            question="Write a matrix of rank r as B A: any two factors of the right shapes will do.",
            difficulty=3,
            minutes=10,
            hints=(
                "Take the largest entry matrix[i, j]. Keep matrix[:, j] / matrix[i, j] for B and matrix[i] for A.",
                "Subtract torch.outer of the two, and go on with what is left, r times.",
                "torch.stack(columns, dim=1) is B, torch.stack(rows) is A.",
            ),
            takeaway="Yours need not be the package's: only the product counts.",
            mistakes=(
                Mistake(
                    "not divided by the pivot",
                    lambda matrix, r: _factor(matrix, r, divide=False),
                    "column times row has the pivot's square where the pivot should be. Divide one of the two.",
                ),
                Mistake(
                    "nothing peeled",
                    lambda matrix, r: _factor(matrix, r, peel=False),
                    "each turn finds the same brick again. Subtract it before the next turn.",
                ),
                Mistake(
                    "B as rows",
                    _rows_for_columns,
                    "your first factor has the shape (r, m): stack the columns side by side.",
                ),
                Mistake("A first", lambda matrix, r: factor(matrix, r)[::-1], "B, the columns, comes first."),
            ),
            reference=factor,
            cases=(
                Case("M", (torch.tensor(_M, dtype=torch.float64), 2), _product),
                Case(
                    "one brick",
                    (torch.tensor([[0.0, 0.0], [4.0, -2.0], [6.0, -3.0]], dtype=torch.float64), 1),
                    _product,
                ),
                Case("four rows", (torch.tensor(_FOUR, dtype=torch.float64), 2), _product),
            ),
        ),
    ),
)
