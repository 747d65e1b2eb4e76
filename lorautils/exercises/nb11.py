"""The exercises of notebook 11: a combined adapter, two joined, a batch for several, a loss of DPO and its control.

The conventions behind them: A is (r, in), B is (out, r), a layer computes y = x W^T, and B A is an adapter's update.
"""

import math

import torch

from .engine import Exercise, Mistake

NOTEBOOK = "11_several_adapters"

combined_rank = Exercise(
    name="combined_rank",
    question="Adapters of rank 8 and 16 of a layer of 576 to 192, combined by `cat`: how many numbers are there?",
    difficulty=1,
    minutes=3,
    hints=(
        "`cat` puts the rows of both A's under each other, and the columns of both B's side by side.",
        "The new A is (r, 576) and the new B (192, r). What is r?",
    ),
    source="answer = (8 + 16) * (576 + 192)  # A is (24, 576), B is (192, 24)",
    takeaway="Exactness has a price: the file grows with every adapter that joins.",
    mistakes=(
        Mistake(
            "the larger rank", 16 * 768, "with r = 16 some rows are cut off, and that is not exact. `cat` keeps all."
        ),
        Mistake("the smaller rank", 8 * 768, "nothing is cut off. `cat` keeps every row of both A's."),
        Mistake("ranks multiplied", 8 * 16 * 768, "rows are stacked, so their numbers add up."),
        Mistake("the rank alone", 24, "that is the new r. How many numbers have A and B then?"),
        Mistake("only A", 24 * 576, "that is A alone. B has a column for each row of A."),
        Mistake("only B", 24 * 192, "that is B alone. A has a row for each column of B."),
        Mistake("the full matrix", 576 * 192, "that is W, or the product B A. An adapter stores the two factors."),
    ),
)

_A1, _B1 = torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([[1.0], [3.0]])  # (1, in) = (1, 3), (out, 1) = (2, 1)
_A2, _B2 = torch.tensor([[0.0, -1.0, 1.0]]), torch.tensor([[2.0], [0.5]])
_A3, _B3 = torch.tensor([[1.0, 0.0, 1.0], [0.0, 2.0, 0.0]]), torch.tensor([[1.0, 0.0], [-1.0, 4.0]])  # rank 2

join = Exercise(
    name="join",
    question="Write join(A1, B1, s1, A2, B2, s2): the A and the B whose product is s1 B1 A1 + s2 B2 A2, s in the A's.",
    difficulty=2,
    minutes=8,
    hints=(
        "Write B A as a sum of bricks, one for each row of A with its column of B (notebook 01). Keep all bricks.",
        "Multiply each A by its scaling first. The B's stay as they are.",
        "torch.cat puts the rows of A under each other with dim=0 and the columns of B side by side with dim=1.",
    ),
    source="""import torch


def join(A1, B1, s1, A2, B2, s2):
    return torch.cat([s1 * A1, s2 * A2], dim=0), torch.cat([B1, B2], dim=1)  # (r1 + r2, in), (out, r1 + r2)""",
    takeaway="This is `cat`. PEFT does it with weight x alpha / r in place of s, and gives the result scaling 1.",
    mistakes=(
        Mistake(
            "scalings left out",
            lambda A1, B1, s1, A2, B2, s2: (torch.cat([A1, A2], dim=0), torch.cat([B1, B2], dim=1)),
            "the product is B1 A1 + B2 A2. The new adapter has one scaling for all, so s1 and s2 go into the A's.",
        ),
        Mistake(
            "scalings in both factors",
            lambda A1, B1, s1, A2, B2, s2: (
                torch.cat([s1 * A1, s2 * A2], dim=0),
                torch.cat([s1 * B1, s2 * B2], dim=1),
            ),
            "each s counts twice: B A would have its square. Put it into A only.",
        ),
        Mistake(
            "scalings in the B's",
            lambda A1, B1, s1, A2, B2, s2: (torch.cat([A1, A2], dim=0), torch.cat([s1 * B1, s2 * B2], dim=1)),
            "the product is right. The question asks for the scalings in the A's.",
        ),
        Mistake(
            "factors added",
            lambda A1, B1, s1, A2, B2, s2: (s1 * A1 + s2 * A2, B1 + B2),
            "that is `linear`: its product also holds B1 A2 and B2 A1, and the ranks must be equal. Stack the factors.",
        ),
        Mistake(
            "wrong axes",
            lambda A1, B1, s1, A2, B2, s2: (torch.cat([s1 * A1, s2 * A2], dim=1), torch.cat([B1, B2], dim=0)),
            "A is (r, in): its rows go under each other, dim=0. B is (out, r): its columns stand side by side, dim=1.",
        ),
        Mistake(
            "B first",
            lambda A1, B1, s1, A2, B2, s2: (torch.cat([B1, B2], dim=1), torch.cat([s1 * A1, s2 * A2], dim=0)),
            "the factors are right; return A first, then B.",
        ),
        Mistake(
            "columns swapped",
            lambda A1, B1, s1, A2, B2, s2: (torch.cat([s1 * A1, s2 * A2], dim=0), torch.cat([B2, B1], dim=1)),
            "row i of A meets column i of B. Stack both in the same order, or each A meets the other's B.",
        ),
        Mistake(
            "the product",
            lambda A1, B1, s1, A2, B2, s2: s1 * B1 @ A1 + s2 * B2 @ A2,
            "that is the update itself, a full matrix. The two factors of it are asked for.",
        ),
    ),
    cases=((_A1, _B1, 2.0, _A2, _B2, 0.5), (_A1, _B1, 4.0, _A3, _B3, 3.0)),
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

one_pair = Exercise(
    name="one_pair",
    question="beta = 0.1; log p(chosen): -4 on, -5 off; log p(rejected): -9 on, -6 off. What is DPO's loss?",
    difficulty=2,
    minutes=5,
    hints=(
        "A margin is log p(chosen) - log p(rejected). There are two, one with the adapter on and one with it off.",
        "Subtract the margin of the reference, multiply by beta, then -log of the sigmoid.",
    ),
    source="""import math

answer = math.log(1 + math.exp(-0.1 * ((-4 + 9) - (-5 + 6))))  # -log sigmoid(0.1 x (5 - 1)) = 0.513""",
    takeaway="Below ln 2 = 0.693, so the policy prefers the chosen answer by more than its reference does.",
    mistakes=(
        Mistake("no reference", math.log(1 + math.exp(-0.5)), "that is the policy's margin alone. Subtract the other."),
        Mistake("no beta", math.log(1 + math.exp(-4)), "multiply the difference of the margins by beta."),
        Mistake("swapped", math.log(1 + math.exp(0.4)), "the signs are turned: on minus off, chosen minus rejected."),
        Mistake("margins added", math.log(1 + math.exp(-0.6)), "the reference's margin is subtracted, not added."),
        Mistake("no minus", -math.log(1 + math.exp(-0.4)), "that is log sigmoid. A loss is its negative."),
        Mistake("no logarithm", 0.4, "that is beta times the difference. It still goes into -log sigmoid."),
        Mistake("the sigmoid", 1 / (1 + math.exp(-0.4)), "that is the sigmoid. The loss is its negative logarithm."),
    ),
)

which_control = Exercise(
    name="which_control",
    question="DPO raised right answers from 60 to 66 of 100. Which run tells whether the pairs did it: a, b, c or d?",
    difficulty=2,
    minutes=4,
    hints=(
        "A control has everything that the run had, but for the one thing that is claimed to work.",
        "What else did 200 pairs bring, beside the comparison of two answers? Answer with one letter in quotes.",
    ),
    source='answer = "c"  # it saw the same right answers for as many steps, and no comparison',
    takeaway="And whatever it gives: 6 of 100 is near what luck can do. Compare case by case.",
    mistakes=(
        Mistake("no training", "a", "that is the 60. It does not know what the right answers alone would have done."),
        Mistake("other pairs", "b", "that repeats the claim. Pairs and right answers still come together."),
        Mistake("a larger beta", "d", "that turns a knob of DPO. Right answers alone were never tried."),
    ),
)
