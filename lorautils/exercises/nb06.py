"""The exercises of notebook 06: the four starts, alpha and B's rate, the forward pass, dA, and merging once.

The formulas behind them: Y = X W^T + s X A^T B^T with s = alpha / r; dA = s (G B)^T X; merged weight = W + s B A.
"""

import torch

from .engine import Exercise, Mistake

NOTEBOOK = "06_lora_from_scratch"

four_starts = Exercise(
    name="four_starts",
    question="Which of the four starts of A and B begin as the base model and learn?",
    difficulty=1,
    minutes=3,
    hints=(
        "It begins as the base model if B A is zero. It learns if at least one factor gets a gradient.",
        "dA contains B, and dB contains A. Go through the four pairs.",
    ),
    source="answer = [True, True, False, False]  # one zero: B A = 0, and the zero factor gets a gradient",
    takeaway="B A must be zero, not both factors. That B is zero is a choice, which allows larger learning rates.",
    mistakes=(
        Mistake(
            "only the usual one",
            [True, False, False, False],
            "A zero, B random works as well: B A is zero, and dA = s B^T G^T X is not.",
        ),
        Mistake(
            "both zero learns",
            [True, True, True, False],
            "with both zero, dA contains B = 0 and dB contains A = 0: nothing ever moves.",
        ),
        Mistake(
            "both random starts as the base",
            [True, True, False, True],
            "it learns, but B A is not zero: the model is damaged before the first step.",
        ),
        Mistake(
            "both random, but not A zero",
            [True, False, False, True],
            "where both are random, B A is not zero. Where A alone is zero it is, and A gets a gradient through B.",
        ),
        Mistake(
            "all four",
            [True, True, True, True],
            "look at both conditions for each start; two of the four fail one.",
        ),
        Mistake(
            "zero is dead",
            [False, False, False, True],
            "the factor that is zero does get a gradient: the other is not.",
        ),
    ),
)

alpha_and_rate = Exercise(
    name="alpha_and_rate",
    question="Adam, no clipping, no decay: alpha goes from 32 to 128. Which rate for B keeps the training the same?",
    difficulty=2,
    minutes=4,
    hints=(
        "s B must take the same steps as before. By which factor has s grown?",
        "Adam moves B by about its rate, whatever the size of the gradient.",
    ),
    source="answer = 0.001 / 4  # s is four times as large, so B's steps must be a quarter",
    takeaway="With Adam, alpha is B's learning rate: four times the one is four times the other.",
    mistakes=(
        Mistake("rate unchanged", 0.001, "then s B takes steps four times as large: a faster training, not the same."),
        Mistake("rate raised", 0.004, "the wrong way: s has grown already, so B must move less, not more."),
        Mistake(
            "the rule of SGD",
            0.001 / 16,
            "that is right for SGD, whose gradient grows with s, too. Adam ignores its size.",
        ),
        Mistake("square root", 0.001 / 2, "alpha is four times as large, and s with it: 128 / 8 against 32 / 8."),
    ),
)

_X = torch.tensor([[1.0, 2.0, -1.0], [0.5, 0.0, 3.0]])  # (tokens, in) = (2, 3)
_W = torch.tensor([[1.0, 0.0, 2.0], [0.0, -1.0, 1.0], [3.0, 0.5, 0.0]])  # (out, in) = (3, 3)
_A = torch.tensor([[1.0, -1.0, 0.5], [2.0, 0.0, 1.0]])  # (r, in) = (2, 3)
_B = torch.tensor([[0.1, 0.0], [0.0, -0.2], [0.3, 0.1]])  # (out, r) = (3, 2)
_G = torch.tensor([[1.0, -2.0, 0.5], [0.0, 1.0, 4.0]])  # (tokens, out)

lora_forward = Exercise(
    name="lora_forward",
    question="Write lora_forward(X, W, A, B, alpha): W X and the LoRA branch for a batch of rows.",
    difficulty=2,
    minutes=6,
    hints=(
        "A linear layer on rows is X @ W.T. LoRA is two linear layers in a row, and r is A.shape[0].",
        "X @ A.T has shape (tokens, r); multiply that by B.T.",
    ),
    source="""def lora_forward(X, W, A, B, alpha):
    return X @ W.T + alpha / A.shape[0] * (X @ A.T) @ B.T""",
    takeaway="Two thin products are enough: B A, as large as W, need not be formed.",
    mistakes=(
        Mistake(
            "alpha not divided by r",
            lambda X, W, A, B, alpha: X @ W.T + alpha * (X @ A.T) @ B.T,
            "s is alpha / r. Without the division a larger r makes larger steps.",
        ),
        Mistake(
            "no scaling",
            lambda X, W, A, B, alpha: X @ W.T + (X @ A.T) @ B.T,
            "the branch is multiplied by s = alpha / r.",
        ),
        Mistake(
            "A and B swapped",
            lambda X, W, A, B, alpha: X @ W.T + alpha / A.shape[0] * (X @ B) @ A,
            "A comes first and narrows, B widens. Here it fits only because W is square.",
        ),
        Mistake(
            "W not transposed",
            lambda X, W, A, B, alpha: X @ W + alpha / A.shape[0] * (X @ A.T) @ B.T,
            "W is stored as (out, in): with rows as inputs it is X @ W.T. A square W hides the mistake.",
        ),
        Mistake(
            "columns, not rows",
            lambda X, W, A, B, alpha: W @ X.T + alpha / A.shape[0] * B @ (A @ X.T),
            "that is the formula for columns. X has a row per token, and so has the result.",
        ),
        Mistake(
            "alpha divided by the width",
            lambda X, W, A, B, alpha: X @ W.T + alpha / A.shape[1] * (X @ A.T) @ B.T,
            "A is (r, in): r is A.shape[0], and A.shape[1] is the width of the input.",
        ),
        Mistake(
            "square root",
            lambda X, W, A, B, alpha: X @ W.T + alpha / A.shape[0] ** 0.5 * (X @ A.T) @ B.T,
            "alpha / sqrt(r) is the scaling of rsLoRA. Plain LoRA divides by r.",
        ),
        Mistake(
            "branch alone",
            lambda X, W, A, B, alpha: alpha / A.shape[0] * (X @ A.T) @ B.T,
            "that is the LoRA branch. The frozen layer's X @ W.T is added to it.",
        ),
        Mistake(
            "W scaled, too",
            lambda X, W, A, B, alpha: alpha / A.shape[0] * (X @ W.T + (X @ A.T) @ B.T),
            "the scaling is for the branch only; W X stays as it is.",
        ),
    ),
    cases=((_X, _W, _A, _B, 8), (_X, _W, _A[:1], _B[:, :1], 3)),
)

grad_a = Exercise(
    name="grad_a",
    question="Write grad_a(X, A, B, G, s): the gradient of the loss with respect to A.",
    difficulty=2,
    minutes=8,
    hints=(
        "A is a linear layer with input X. Which gradient arrives at its output?",
        "s * G @ B arrives, of shape (tokens, r). The rule is: arriving gradient, transposed, times input.",
    ),
    source="""def grad_a(X, A, B, G, s):
    return s * (G @ B).T @ X  # (r, tokens) @ (tokens, in)""",
    takeaway="It contains B: where B is zero, A does not learn.",
    mistakes=(
        Mistake(
            "no scaling",
            lambda X, A, B, G, s: (G @ B).T @ X,
            "the branch is s times B A x, so its gradient carries the same s.",
        ),
        Mistake(
            "dB",
            lambda X, A, B, G, s: s * G.T @ (X @ A.T),
            "that is the gradient of B. For A, send G through B first.",
        ),
        Mistake(
            "transposed",
            lambda X, A, B, G, s: s * X.T @ (G @ B),
            "a gradient has the shape of what it belongs to: A is (r, in).",
        ),
        Mistake(
            "mean over tokens",
            lambda X, A, B, G, s: s * (G @ B).T @ X / len(X),
            "G already belongs to the loss, mean or not. The product adds up the tokens.",
        ),
        Mistake(
            "B left out",
            lambda X, A, B, G, s: s * G.T @ X,
            "that is the gradient of W, which LoRA never forms. It has to pass through B.",
        ),
    ),
    cases=((_X, _A, _B, _G, 4.0), (_X, _A, 0 * _B, _G, 4.0), (_X[:1], _A[:1], _B[:, :1], _G[:1], 0.5)),
)


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
            "merged twice",
            lambda W, A, B, alpha, actions: (
                W + (actions.count("merge") - actions.count("unmerge")) * alpha / A.shape[0] * B @ A
            ),
            "two merges in a row add the update twice. Remember whether it is in already.",
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
        (_W, _A, _B, 8, ["merge"]),
        (_W, _A, _B, 8, ["merge", "merge"]),
        (_W, _A, _B, 8, ["unmerge", "merge", "unmerge"]),
        (_W, _A[:1], _B[:, :1], 3, ["unmerge", "merge"]),
        (_W, _A, _B, 8, []),
    ),
)
