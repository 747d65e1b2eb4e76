"""The exercises of notebook 06: a diagnosis, alpha and two optimisers, several adapters, a new gradient, merging.

The formulas behind them: Y = X W^T + s X A^T B^T with s = alpha / r; dA = s (G B)^T X; merged weight = W + s B A.
"""

import torch

from .engine import Exercise, Mistake

NOTEBOOK = "06_lora_from_scratch"

diagnose = Exercise(
    name="diagnose",
    question="Four trainings, their first two gradients of A and of B: what is the matter with each?",
    difficulty=2,
    minutes=5,
    hints=(
        "dA contains B, and dB contains A. What must happen between the two backward passes before dA is not zero?",
        "In the first training B should have moved. Which fault keeps it at zero while its gradient is not?",
    ),
    source="""answer = ["B left out", "not fresh", "healthy", "both zero"]
# 1: B has a gradient and stays at zero. 2: B A is not zero. 3: B moved, so A learns. 4: nothing ever moves.""",
    takeaway="Two backward passes and one look at the output tell all four apart.",
    mistakes=(
        Mistake(
            "training 1 taken for healthy",
            ["healthy", "not fresh", "B left out", "both zero"],
            "in training 1 dA is still zero after a step, so B has not moved. In a healthy one it has.",
        ),
        Mistake(
            "training 2 taken for healthy",
            ["B left out", "healthy", "not fresh", "both zero"],
            "in training 2 the model is not the base at first: B A is not zero. A fresh adapter starts as the base.",
        ),
        Mistake(
            "training 1 taken for both zero",
            ["both zero", "not fresh", "healthy", "B left out"],
            "in training 1 dB is not zero, so A is not. With both at zero, both gradients are.",
        ),
        Mistake(
            "a zero dA taken for a fault",
            ["both zero", "healthy", "B left out", "both zero"],
            "dA is zero in the first pass of a healthy training, too, because B is. Look at the second pass.",
        ),
    ),
)

alpha_and_rate = Exercise(
    name="alpha_and_rate",
    question="Alpha goes from 32 to 128. Which rates for B keep a training with Adam and one with SGD the same?",
    difficulty=2,
    minutes=6,
    hints=(
        "s B must take the same steps as before. By which factor has s grown?",
        "Adam moves B by about its rate. SGD moves it by rate times dB, and dB contains s.",
    ),
    source="""answer = [0.001 / 4, 0.03 / 16]
# s is four times as large. With Adam B must move a quarter; with SGD dB is four times as large as well.""",
    takeaway="With Adam alpha acts as B's learning rate, with SGD as its square root.",
    mistakes=(
        Mistake(
            "rates unchanged",
            [0.001, 0.03],
            "then s B takes larger steps: a faster training, not the same.",
        ),
        Mistake(
            "rates raised",
            [0.004, 0.12],
            "the wrong way: s has grown already, so B must move less, not more.",
        ),
        Mistake(
            "a quarter for both",
            [0.001 / 4, 0.03 / 4],
            "right for Adam, which ignores the gradient's size. SGD does not: dB has grown by four as well.",
        ),
        Mistake(
            "a sixteenth for both",
            [0.001 / 16, 0.03 / 16],
            "right for SGD. Adam divides each gradient by its own size, so that dB's growth does not count.",
        ),
        Mistake(
            "half for both",
            [0.001 / 2, 0.03 / 2],
            "alpha is four times as large, and s with it: 128 / 8 against 32 / 8.",
        ),
        Mistake(
            "the two exchanged",
            [0.001 / 16, 0.03 / 4],
            "the first rate is for Adam, the second for SGD. Which of the two ignores the gradient's size?",
        ),
    ),
)

_X = torch.tensor([[1.0, 2.0, -1.0], [0.5, 0.0, 3.0]])  # (tokens, in) = (2, 3)
_W = torch.tensor([[1.0, 0.0, 2.0], [0.0, -1.0, 1.0], [3.0, 0.5, 0.0], [1.0, 1.0, -2.0]])  # (out, in) = (4, 3)
_A = torch.tensor([[1.0, -1.0, 0.5], [2.0, 0.0, 1.0]])  # (r, in) = (2, 3)
_B = torch.tensor([[0.1, 0.0], [0.0, -0.2], [0.3, 0.1], [0.2, 0.5]])  # (out, r) = (4, 2)
_A2 = torch.tensor([[0.0, 2.0, 1.0], [-1.0, 0.5, 0.0]])
_B2 = torch.tensor([[0.2, 0.1], [-0.4, 0.0], [0.0, 0.3], [0.1, -0.1]])
_G = torch.tensor([[1.0, -2.0, 0.5, 1.0], [0.0, 1.0, 4.0, -1.0]])  # (tokens, out)
_S = torch.tensor([[1.0, 0.0, 2.0], [0.0, -1.0, 1.0], [3.0, 0.5, 0.0]])  # a square W: its mistakes raise no error


def _with(divisor):
    """Return `several` with another divisor of alpha."""
    return lambda X, W, adapters: X @ W.T + sum(alpha / divisor(A, B) * X @ A.T @ B.T for A, B, alpha in adapters)


several = Exercise(
    name="several",
    question="Write several(X, W, adapters): the output of W with several adapters (A, B, alpha) active at once.",
    difficulty=2,
    minutes=8,
    hints=(
        "Each adapter adds its own branch to X @ W.T, with its own s.",
        "Start from y = X @ W.T and add alpha / r * (X @ A.T) @ B.T in a loop; r is A.shape[0].",
    ),
    source="""def several(X, W, adapters):
    y = X @ W.T
    for A, B, alpha in adapters:
        y = y + alpha / A.shape[0] * (X @ A.T) @ B.T
    return y""",
    takeaway="The updates add up, B1 A1 + B2 A2. The factors do not: (B1 + B2)(A1 + A2) has two products too many.",
    mistakes=(
        Mistake(
            "factors added",
            lambda X, W, adapters: (
                X @ W.T
                + X @ sum(A for A, B, alpha in adapters).T @ sum(alpha / A.shape[0] * B for A, B, alpha in adapters).T
            ),
            "(B1 + B2)(A1 + A2) also contains B1 A2 and B2 A1. Each x must go through A and B of the same adapter.",
        ),
        Mistake(
            "W once for each adapter",
            lambda X, W, adapters: sum(X @ W.T + alpha / A.shape[0] * X @ A.T @ B.T for A, B, alpha in adapters),
            "there is one frozen W: X @ W.T is added once, and then a branch for each adapter.",
        ),
        Mistake("alpha not divided by r", _with(lambda A, B: 1), "s is alpha / r, for each adapter."),
        Mistake(
            "no scaling",
            lambda X, W, adapters: X @ W.T + sum(X @ A.T @ B.T for A, B, alpha in adapters),
            "each branch is multiplied by its own s = alpha / r.",
        ),
        Mistake(
            "alpha divided by the output's width",
            _with(lambda A, B: B.shape[0]),
            "B is (out, r): B.shape[0] is the width of the output. r is B.shape[1], or A.shape[0].",
        ),
        Mistake(
            "alpha divided by the input's width",
            _with(lambda A, B: A.shape[1]),
            "A is (r, in): A.shape[1] is the width of the input. r is A.shape[0].",
        ),
        Mistake(
            "square root",
            _with(lambda A, B: A.shape[0] ** 0.5),
            "LoRA divides alpha by r. The square root belongs to a variant, rsLoRA.",
        ),
        Mistake(
            "only the last adapter",
            lambda X, W, adapters: several.reference(X, W, adapters[-1:]),
            "each turn of the loop must add to y; here the last adapter replaces the others.",
        ),
        Mistake(
            "only the first adapter",
            lambda X, W, adapters: several.reference(X, W, adapters[:1]),
            "the others are missing. Does `return` stand inside the loop?",
        ),
        Mistake(
            "branches alone",
            lambda X, W, adapters: several.reference(X, W, adapters) - X @ W.T,
            "those are the branches. The frozen layer's X @ W.T is added to them.",
        ),
    ),
    cases=(
        (_X[1:], _W, [(_A, _B, 8)]),
        (_X, _W, [(_A, _B, 8), (_A2, _B2, 3)]),
        (_X[:1], _W, [(_A, _B, 2), (_A2, _B2, 4), (_A, _B2, 1)]),
    ),
)

grad_gains = Exercise(
    name="grad_gains",
    question="y = W x + B (m * A x), where m has r numbers. Write grad_gains(X, A, B, G): the gradient of m.",
    difficulty=3,
    minutes=10,
    hints=(
        "Which gradient arrives behind m, at m * H with H = X A^T? G goes through B first.",
        "Entry j of m multiplies column j of H. So its gradient is column j of G B times column j of H, added up.",
    ),
    source="""def grad_gains(X, A, B, G):
    return ((G @ B) * (X @ A.T)).sum(dim=0)  # (tokens, r), added over the tokens""",
    takeaway="The same two steps as for dA: send G back, then multiply with what went in.",
    mistakes=(
        Mistake(
            "not added up",
            lambda X, A, B, G: (G @ B) * (X @ A.T),
            "that is each token's part. m is shared by all tokens, so their parts are added.",
        ),
        Mistake(
            "mean over tokens",
            lambda X, A, B, G: ((G @ B) * (X @ A.T)).mean(dim=0),
            "G already belongs to the loss, mean or not. The tokens' parts are added.",
        ),
        Mistake(
            "added over r",
            lambda X, A, B, G: ((G @ B) * (X @ A.T)).sum(dim=1),
            "a gradient has the shape of what it belongs to: m has r numbers, one for each column.",
        ),
        Mistake(
            "H left out",
            lambda X, A, B, G: (G @ B).sum(dim=0),
            "that is the gradient of something added behind A. m is multiplied, so H = X A^T comes in.",
        ),
        Mistake(
            "all columns with all",
            lambda X, A, B, G: (G @ B).T @ (X @ A.T),
            "that is the gradient of an r x r matrix between A and B. m is only its diagonal.",
        ),
    ),
    cases=((_X, _A, _B, _G), (_X, _A[:1], _B[:, :1], _G), (_X[:1], _A2, _B, _G[:1])),
)


def _switched(actions):
    """Return whether the weight ends merged for somebody whose unmerge turns the flag."""
    merged = False
    for action in actions:
        merged = action == "merge" or not merged
    return merged


weight_after = Exercise(
    name="weight_after",
    question="Write weight_after(W, A, B, alpha, actions): the weight after a list of merges and unmerges.",
    difficulty=3,
    minutes=10,
    hints=(
        "Keep a flag: is the update in the weight at the moment?",
        "Only the last action counts: it leaves the weight merged or not.",
        "W + s * B @ A makes a new matrix; W += would change the one that was passed in.",
    ),
    source="""def weight_after(W, A, B, alpha, actions):
    merged = False
    for action in actions:
        merged = action == "merge"  # whatever it was before
    return W + merged * alpha / A.shape[0] * B @ A""",
    takeaway="A flag makes merging safe to repeat; ours and PEFT's layers keep one.",
    mistakes=(
        Mistake(
            "unmerge as a switch",
            lambda W, A, B, alpha, actions: W + _switched(actions) * alpha / A.shape[0] * B @ A,
            "an unmerge of what is not merged must do nothing; here it merges. Set the flag to False, do not turn it.",
        ),
        Mistake(
            "each action a switch",
            lambda W, A, B, alpha, actions: W + (len(actions) % 2) * alpha / A.shape[0] * B @ A,
            "an action says what to do, not to change sides: after two merges the update is in.",
        ),
        Mistake(
            "nothing remembered",
            lambda W, A, B, alpha, actions: (
                W + (actions.count("merge") - actions.count("unmerge")) * alpha / A.shape[0] * B @ A
            ),
            "two merges add the update twice, and an unmerge of what is not merged subtracts it. Keep a flag.",
        ),
        Mistake(
            "never taken out",
            lambda W, A, B, alpha, actions: W + ("merge" in actions) * alpha / A.shape[0] * B @ A,
            "an unmerge takes the update out again.",
        ),
        Mistake(
            "alpha not divided by r",
            lambda W, A, B, alpha, actions: W + (actions[-1:] == ["merge"]) * alpha * B @ A,
            "s is alpha / r, in the merge as in the forward pass.",
        ),
        Mistake(
            "A and B swapped",
            lambda W, A, B, alpha, actions: W + (actions[-1:] == ["merge"]) * alpha / A.shape[0] * (B @ A).T,
            "the update is B A, (out, in) like W. Its transpose fits only because W is square.",
        ),
        Mistake(
            "W changed in place",
            lambda W, A, B, alpha, actions: W.add_((actions[-1:] == ["merge"]) * alpha / A.shape[0] * B @ A),
            "the values are right, but the matrix that was passed in has changed: run it twice and see.",
        ),
    ),
    cases=(
        (_S, _A, _B[:3], 8, ["merge"]),
        (_S, _A, _B[:3], 8, ["merge", "merge"]),
        (_S, _A, _B[:3], 8, ["unmerge"]),
        (_S, _A, _B[:3], 8, ["merge", "unmerge", "unmerge"]),
        (_S, _A, _B[:3], 8, ["unmerge", "merge", "unmerge"]),
        (_S, _A[:1], _B[:3, :1], 3, ["unmerge", "merge"]),
        (_S, _A, _B[:3], 8, []),
    ),
)
