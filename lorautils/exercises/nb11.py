"""The exercises of notebook 11: a combined rank, two adapters joined, a batch for several.

The conventions behind them: A is (r, in), B is (out, r), a layer computes y = x W^T, and B A is an adapter's update.
"""

import torch

from .engine import Exercise, Mistake

NOTEBOOK = "11_several_adapters"

combined_rank = Exercise(
    name="combined_rank",
    question="Adapters of rank 8 and of rank 16 are combined by `cat`. Which r has the new adapter?",
    difficulty=1,
    minutes=2,
    hints=(
        "`cat` puts the rows of both A's under each other, and the columns of both B's side by side.",
        "How many rows has the new A?",
    ),
    source="answer = 8 + 16  # the rows of both A's",
    takeaway="Exactness has a price: the file grows with every adapter that joins.",
    mistakes=(
        Mistake(
            "the larger rank", 16, "that is what `svd` would give you, and it is not exact. `cat` keeps every row."
        ),
        Mistake("the smaller rank", 8, "nothing is cut off. `cat` keeps every row of both A's."),
        Mistake("ranks multiplied", 8 * 16, "rows are stacked, so their numbers add up."),
        Mistake("the mean", 12, "`cat` is no average. It keeps every row of both A's."),
    ),
)

_A1, _B1 = torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([[1.0], [3.0]])  # (1, in) = (1, 3), (out, 1) = (2, 1)
_A2, _B2 = torch.tensor([[0.0, -1.0, 1.0]]), torch.tensor([[2.0], [0.5]])
_A3, _B3 = torch.tensor([[1.0, 0.0, 1.0], [0.0, 2.0, 0.0]]), torch.tensor([[1.0, 0.0], [-1.0, 4.0]])  # rank 2

join = Exercise(
    name="join",
    question="Write join(A1, B1, A2, B2): the A and the B whose product is B1 A1 + B2 A2, first adapter first.",
    difficulty=2,
    minutes=8,
    hints=(
        "Write B A as a sum of bricks, one for each row of A with its column of B (notebook 01). Keep all bricks.",
        "torch.cat puts the rows of A under each other with dim=0 and the columns of B side by side with dim=1.",
    ),
    source="""import torch


def join(A1, B1, A2, B2):
    return torch.cat([A1, A2], dim=0), torch.cat([B1, B2], dim=1)  # (r1 + r2, in), (out, r1 + r2)""",
    takeaway="This is `cat`. PEFT multiplies each A by its weight and its alpha / r on the way.",
    mistakes=(
        Mistake(
            "factors added",
            lambda A1, B1, A2, B2: (A1 + A2, B1 + B2),
            "that is `linear`: its product also holds B1 A2 + B2 A1, and the ranks must be equal. Stack the factors.",
        ),
        Mistake(
            "wrong axes",
            lambda A1, B1, A2, B2: (torch.cat([A1, A2], dim=1), torch.cat([B1, B2], dim=0)),
            "A is (r, in): its rows go under each other, dim=0. B is (out, r): its columns stand side by side, dim=1.",
        ),
        Mistake(
            "B first",
            lambda A1, B1, A2, B2: (torch.cat([B1, B2], dim=1), torch.cat([A1, A2], dim=0)),
            "the factors are right; return A first, then B.",
        ),
        Mistake(
            "columns swapped",
            lambda A1, B1, A2, B2: (torch.cat([A1, A2], dim=0), torch.cat([B2, B1], dim=1)),
            "row i of A meets column i of B. Stack both in the same order, or each A meets the other's B.",
        ),
        Mistake(
            "the product",
            lambda A1, B1, A2, B2: B1 @ A1 + B2 @ A2,
            "that is the update itself, a full matrix. The two factors of it are asked for.",
        ),
    ),
    cases=((_A1, _B1, _A2, _B2), (_A1, _B1, _A3, _B3)),
)

_X = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0], [1.0, 1.0, 1.0], [2.0, 0.0, -1.0]])  # (rows, in) = (4, 3)
_W = torch.tensor([[1.0, 0.0, 1.0], [0.0, 2.0, 0.0]])  # (out, in) = (2, 3)
_UPDATES = [torch.tensor([[0.5, 0.0, 0.0], [0.0, 0.0, 1.0]]), torch.tensor([[0.0, 1.0, 0.0], [1.0, 1.0, 1.0]])]

mixed_batch = Exercise(
    name="mixed_batch",
    question="Write mixed_batch(x, W, updates, chosen): row i of x through W and updates[chosen[i]], W alone if None.",
    difficulty=3,
    minutes=12,
    hints=(
        "y = x W^T for all rows at once is the base's part, and it is the same whatever adapter a row asks for.",
        "A row with None gets nothing on top; any other gets its own x[i] @ updates[chosen[i]].T.",
        "Do not write into W: the next row would meet what the last one left.",
    ),
    source="""def mixed_batch(x, W, updates, chosen):
    y = x @ W.T  # (rows, out): the base, once for the whole batch
    for i, adapter in enumerate(chosen):
        if adapter is not None:
            y[i] += x[i] @ updates[adapter].T
    return y""",
    takeaway="The large product is done once for the whole batch. That is why one server can carry many adapters.",
    mistakes=(
        Mistake(
            "all updates on all rows",
            lambda x, W, updates, chosen: x @ (W + sum(updates)).T,
            "every row got every update. Each row wants its own only.",
        ),
        Mistake(
            "base only",
            lambda x, W, updates, chosen: x @ W.T,
            "that is the base for every row. Add each row's own update.",
        ),
        Mistake(
            "no base",
            lambda x, W, updates, chosen: torch.stack(
                [x[i] @ (W if a is None else updates[a]).T for i, a in enumerate(chosen)]
            ),
            "an update comes on top of x W^T, not in place of it.",
        ),
        Mistake(
            "None not handled",
            lambda x, W, updates, chosen: torch.stack([x[i] @ (W + updates[a]).T for i, a in enumerate(chosen)]),
            "None cannot choose from a list: such a row goes through W alone.",
        ),
        Mistake(
            "0 taken for None",
            lambda x, W, updates, chosen: torch.stack(
                [x[i] @ (W + updates[a] if a else W).T for i, a in enumerate(chosen)]
            ),
            "`if a` is false for adapter 0 as well. Ask whether it `is not None`.",
        ),
        Mistake(
            "W changed in place",
            lambda x, W, updates, chosen: torch.stack(
                [x[i] @ (W if a is None else W.add_(updates[a])).T for i, a in enumerate(chosen)]
            ),
            "W += keeps the update for all rows that follow. Leave W as it is.",
        ),
    ),
    cases=((_X, _W, _UPDATES, [0, 1, None, 0]), (_X[:2], _W, _UPDATES, [None, None])),
)
