"""The exercises of notebook 00: the shape of a weight, the loss of a guess, the size of LoRA, the shift by one.

The conventions behind them: y = x W^T with W of shape (out, in); loss = -ln p; LoRA adds B A of rank r.
"""

import math

import torch
import torch.nn.functional as F

from .engine import Exercise, Mistake

NOTEBOOK = "00_start_here"

weight_shape = Exercise(
    name="weight_shape",
    question="A linear layer of PyTorch maps 576 features to 1,536: what is the shape of its weight?",
    difficulty=1,
    minutes=2,
    hints=(
        "PyTorch computes y = x W^T, with one row of W for each output.",
        "The shape is (out, in). Write it as a tuple of two numbers.",
    ),
    source="answer = (1536, 576)  # (out, in), as in torch.nn.Linear(576, 1536).weight.shape",
    takeaway="Each of the 1,536 rows makes one output out of all 576 inputs.",
    mistakes=(
        Mistake(
            "in and out swapped",
            (576, 1536),
            "that is the W of textbooks that write y = x W. PyTorch stores the transpose and computes y = x W^T.",
        ),
        Mistake("bias instead of weight", (1536,), "that is the shape of the bias: one number for each output."),
        Mistake("size instead of shape", 884736, "that is how many numbers W holds. Its shape is a tuple of two."),
    ),
)

uniform_loss = Exercise(
    name="uniform_loss",
    question="What is the cross-entropy of a model that gives each of 49,152 tokens the same probability?",
    difficulty=1,
    minutes=3,
    hints=(
        "Every token, the right one too, has the probability 1/49152. The loss is -ln of that probability.",
        "-ln(1/n) = ln(n), and math.log is the natural logarithm.",
    ),
    source="import math\n\nanswer = math.log(49152)  # -ln(1/49152) = 10.80",
    takeaway="It is the loss of knowing nothing, not the largest one: who is sure of a wrong token loses more.",
    mistakes=(
        Mistake(
            "bits instead of nats", math.log2(49152), "that is log2, in bits. PyTorch takes the natural logarithm."
        ),
        Mistake(
            "decimal logarithm", math.log10(49152), "that is log10. PyTorch takes the natural logarithm, math.log."
        ),
        Mistake(
            "probability instead of loss", 1 / 49152, "that is the probability p of each token; the loss is -ln p."
        ),
        Mistake("sign", -math.log(49152), "that is ln p. A loss is -ln p, and never negative."),
    ),
)

count_trainable = Exercise(
    name="count_trainable",
    question="How many parameters does LoRA with r = 8 train on one weight of shape (576, 576)?",
    difficulty=1,
    minutes=3,
    hints=(
        "LoRA leaves W as it is and adds B A, with A of shape (r, in) and B of shape (out, r).",
        "A holds r * in numbers and B holds out * r.",
    ),
    source="answer = 8 * (576 + 576)  # A is (8, 576), B is (576, 8)",
    takeaway="That is 2.8 % of the 331,776 numbers in W.",
    mistakes=(
        Mistake("only one factor", 8 * 576, "that is one of the two factors. A and B are both trained."),
        Mistake("the whole matrix", 576 * 576, "that is W itself, which LoRA does not train."),
        Mistake("sides multiplied", 8 * 576 * 576, "that is r * in * out, more than W has. Add the sizes of A and B."),
        Mistake("r squared", 8 * 8, "an (r, r) matrix cannot be added to W. A is (r, in), B is (out, r)."),
    ),
)

next_token_loss = Exercise(
    name="next_token_loss",
    question="Write next_token_loss(logits, ids): the mean cross-entropy of a text, each token predicting the next.",
    difficulty=2,
    minutes=8,
    hints=(
        "logits is (tokens, vocabulary), ids is (tokens,). The logits at position t predict the token at t + 1.",
        "The last logits predict nothing in the text and nothing predicts the first token: logits[:-1], ids[1:].",
        "F.cross_entropy(logits, targets) takes the softmax, the logarithm and the mean.",
    ),
    source="""import torch.nn.functional as F


def next_token_loss(logits, ids):
    return F.cross_entropy(logits[:-1], ids[1:])  # position t predicts token t + 1""",
    takeaway="transformers makes the same shift inside the model, so its labels are the ids, not shifted.",
    mistakes=(
        Mistake(
            "no shift",
            lambda logits, ids: F.cross_entropy(logits, ids),
            "each position is asked for its own token, which it has just read. Position t predicts token t + 1.",
        ),
        Mistake(
            "shift the wrong way",
            lambda logits, ids: F.cross_entropy(logits[1:], ids[:-1]),
            "each position is asked for the token before it. Drop the last logits and the first id.",
        ),
        Mistake(
            "sum instead of mean",
            lambda logits, ids: F.cross_entropy(logits[:-1], ids[1:], reduction="sum"),
            "that is the sum over the tokens. Divide by their number, tokens - 1.",
        ),
        Mistake(
            "softmax twice",
            lambda logits, ids: F.cross_entropy(logits[:-1].softmax(-1), ids[1:]),
            "F.cross_entropy takes logits and does the softmax itself. Leave yours out.",
        ),
        Mistake(
            "sign",
            lambda logits, ids: -F.cross_entropy(logits[:-1], ids[1:]),
            "the loss is the mean of -ln p, and never negative.",
        ),
    ),
    cases=(
        (torch.tensor([[2.0, 0.0, -1.0], [0.0, 3.0, 1.0], [1.0, 0.0, 0.0]]), torch.tensor([0, 2, 1])),
        (torch.tensor([[0.5, -0.5], [1.0, 2.0], [0.0, 0.0], [3.0, -3.0]]), torch.tensor([1, 1, 0, 0])),
    ),
)
