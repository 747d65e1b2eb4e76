"""The exercises of notebook 10: a prefix, two methods on the same questions, a Kronecker product, what can be merged.

The conventions behind them: A is (r, in), B is (out, r), a layer computes y = x W^T, and B A is an adapter's update.
"""

import torch

from .engine import Exercise, Mistake

NOTEBOOK = "10_beyond_lora"

prefix_numbers = Exercise(
    name="prefix_numbers",
    question="How many numbers does prefix tuning with 20 virtual tokens train on our model?",
    difficulty=1,
    minutes=4,
    hints=(
        "The prefix stands in the KV cache: keys and values, in each of the 30 layers.",
        "A layer keeps 3 heads of 64 numbers for each token, once as keys and once as values (notebook 04).",
    ),
    source="answer = 20 * 30 * 2 * 3 * 64  # tokens, layers, keys and values, KV heads, head size",
    takeaway="A tenth of LoRA's number at r = 8, and all of it stands in the KV cache.",
    mistakes=(
        Mistake(
            "prompt tuning",
            20 * 576,
            "that is prompt tuning, or a prefix of one token. Here 20 tokens have keys and values in every layer.",
        ),
        Mistake("hidden vectors", 20 * 30 * 576, "in a layer a token has keys and values there, no vector of 576."),
        Mistake("keys only", 20 * 30 * 3 * 64, "a cached token has keys and values."),
        Mistake("query heads", 20 * 30 * 2 * 9 * 64, "there are 9 query heads, but keys and values have 3."),
        Mistake("one layer", 20 * 2 * 3 * 64, "that is one layer. The model has 30."),
    ),
)

difference_error = Exercise(
    name="difference_error",
    question="Write difference_error(only_first, only_second, questions): two methods, the same questions, in points.",
    difficulty=2,
    minutes=8,
    hints=(
        "Give each question a number: 1 if only the first is right, -1 if only the second, 0 where they agree.",
        "The difference of the scores is the mean of these numbers. What is their variance?",
        "Its square is 1 on only_first + only_second of them. Take the mean's square off; the error is the root of "
        "variance / questions.",
    ),
    source="""def difference_error(only_first, only_second, questions):
    difference = (only_first - only_second) / questions
    variance = (only_first + only_second) / questions - difference**2
    return 100 * (variance / questions) ** 0.5""",
    takeaway="Where 100 of 1,250 answers differ it is 0.8 points. Two sets of questions, half of them right: 2.0.",
    mistakes=(
        Mistake(
            "share",
            lambda only_first, only_second, questions: (only_first + only_second) ** 0.5 / questions,
            "right as a share. In percentage points it is 100 times that.",
        ),
        Mistake(
            "one question",
            lambda only_first, only_second, questions: 100 * ((only_first + only_second) / questions) ** 0.5,
            "that is the spread of one question. All of them are averaged.",
        ),
        Mistake(
            "share of disagreement",
            lambda only_first, only_second, questions: 100 * (only_first + only_second) / questions,
            "that is on how many questions the two disagree. The error of their mean is smaller.",
        ),
        Mistake(
            "difference",
            lambda only_first, only_second, questions: 100 * (only_first - only_second) / questions,
            "that is the difference itself. How far would it spread over other questions?",
        ),
        Mistake(
            "two separate counts",
            lambda b, c, questions: 100 * (b * (1 - b / questions) + c * (1 - c / questions)) ** 0.5 / questions,
            "that is for two counts that know nothing of each other. A question is in one of them at most.",
        ),
        Mistake(
            "interval",
            lambda only_first, only_second, questions: 196 * (only_first + only_second) ** 0.5 / questions,
            "that is half a 95 % interval, 1.96 standard errors.",
        ),
    ),
    cases=((52, 48, 1250), (70, 74, 1200), (205, 195, 1600)),
)

lokr_layer = Exercise(
    name="lokr_layer",
    question="An update is kron(C, B A), both 24 x 24, r = 8. How many numbers train, and which rank can it reach?",
    difficulty=2,
    minutes=6,
    hints=(
        "What trains is C, A and B. The update is a grid of 24 x 24 blocks; block i, j is C[i, j] times B A.",
        "Ask torch.linalg.matrix_rank(torch.kron(C, B @ A)) with random factors. Then give C rank 1.",
        "Each of C's 24 directions meets each of B A's 8.",
    ),
    source="answer = (24 * 24 + 2 * 8 * 24, 24 * 8)  # C, A and B; rank of C times rank of B A",
    takeaway="Fewer numbers than LoRA at r = 1 has (1,152), and a rank of 192. Yet LoRA at r = 8 was ahead, by a hint.",
    mistakes=(
        Mistake(
            "rank of B A", (960, 8), "that is the rank of one block. Each row of blocks has other multiples of it."
        ),
        Mistake("rank of C", (960, 24), "that would be the rank if B A had rank 1. It can have rank 8."),
        Mistake("ranks added", (960, 32), "ranks add up in a sum. Here each direction of C meets each one of B A."),
        Mistake("full rank", (960, 576), "C can have its full rank, 24. B A cannot: it has 8 of 24."),
        Mistake("B A as one matrix", (1152, 192), "what trains is B and A, 24 x 8 and 8 x 24, not their product."),
        Mistake("C as two factors", (768, 192), "C is no product: its 24 x 24 numbers train as they are."),
        Mistake("LoRA", (9216, 8), "that is LoRA with r = 8. LoKr's factors are 24 wide, not 576."),
        Mistake("the other order", (192, 960), "the numbers come first, then the rank."),
        Mistake("numbers alone", 960, "so many train. Which rank can the update reach? Give both: (numbers, rank)."),
        Mistake("rank alone", 192, "that is the rank. How many numbers train? Give both: (numbers, rank)."),
    ),
)

_M = torch.tensor([[1.0, 0.0, -2.0], [0.5, 3.0, 1.0]])  # (out, size) = (2, 3)
_DOWN, _UP = torch.tensor([[1.0, -1.0, 0.0], [0.0, 2.0, 1.0]]), torch.tensor([[1.0, 2.0], [-1.0, 1.0]])


def _linear(h):
    return h @ _M.T.to(h.dtype)


def _narrow(h, bend=lambda x: x):
    return bend(h @ _DOWN.T.to(h.dtype)) @ _UP.T.to(h.dtype)


def _with_relu(h):
    return _narrow(h, torch.relu)


def _with_tanh(h):
    return _narrow(h, torch.tanh)


def _with_bias(h):
    return _linear(h) + 1.0


def _rows():
    rows = torch.randn(100, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return rows.to(torch.get_default_dtype())


def _columns(update, size):
    return update(torch.eye(size)).T


def _doubles(update, size):
    return torch.allclose(update(2 * torch.eye(size)), 2 * update(torch.eye(size)))


def _fits(update, size):
    return torch.allclose(update(_rows()), _rows() @ update(torch.eye(size)), atol=1e-5)


as_matrix = Exercise(
    name="as_matrix",
    question="Write as_matrix(update, size): the (out, size) matrix M with update(h) = h @ M.T for every h, or None.",
    difficulty=3,
    minutes=12,
    hints=(
        "If there is an M, what does update give for the row (1, 0, 0)? And for all rows of torch.eye(size)?",
        "M = update(torch.eye(size)).T is the only candidate. Elsewhere it can be wrong.",
        "Compare update(h) with h @ M.T on many random rows h, with torch.allclose.",
    ),
    source="""import torch


def as_matrix(update, size):
    M = update(torch.eye(size)).T  # what becomes of each unit vector: no other M is possible
    h = torch.randn(100, size)
    return M if torch.allclose(update(h), h @ M.T, atol=1e-5) else None""",
    takeaway="That is what merging asks of a method: one matrix that does what its update does, for every input.",
    mistakes=(
        Mistake(
            "always a matrix",
            _columns,
            "some matrix fits the unit vectors of any update. Does it fit other rows as well?",
        ),
        Mistake(
            "transposed",
            lambda update, size: _columns(update, size).T if _fits(update, size) else None,
            "row i of update(torch.eye(size)) is what becomes of unit vector i: column i of M. Transpose it.",
        ),
        Mistake(
            "only the opposite",
            lambda update, size: _columns(update, size) if torch.allclose(update(-_rows()), -update(_rows())) else None,
            "update(-h) = -update(h) holds with a tanh too, and no matrix does what a tanh does. Compare other rows.",
        ),
        Mistake(
            "only the double",
            lambda update, size: _columns(update, size) if _doubles(update, size) else None,
            "update(2 h) = 2 update(h) holds with a relu too, and no matrix does what a relu does. Compare other rows.",
        ),
        Mistake(
            "only zero",
            lambda update, size: None if update(torch.zeros(1, size)).any() else _columns(update, size),
            "update(0) = 0 rules out a bias. A relu gives 0 for 0 as well: compare other rows.",
        ),
        Mistake(
            "yes or no",
            _fits,
            "that says whether there is a matrix. Return it, or None where there is none.",
        ),
    ),
    cases=((_linear, 3), (_narrow, 3), (_with_relu, 3), (_with_tanh, 3), (_with_bias, 3)),
)
