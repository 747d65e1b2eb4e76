"""The exercises of notebook 05: the width of a SwiGLU, the size of a layer, SwiGLU, RMSNorm, the order of a layer.

The formulas behind them: down(silu(gate x) * up x); x / sqrt(mean(x^2) + eps) * weight; x + f(norm(x)), twice.
"""

import torch
import torch.nn.functional as F

from .engine import Exercise, Mistake

NOTEBOOK = "05_mlp_gate_up_down"

swiglu_width = Exercise(
    name="swiglu_width",
    question="Which width gives SwiGLU as many weights as two matrices of width 4 h have, for h = 960?",
    difficulty=1,
    minutes=3,
    hints=(
        "Two matrices of width 4 h hold 2 * h * 4 h numbers; three of width w hold 3 * h * w.",
        "Set them equal and solve for w: w = 8 h / 3.",
    ),
    source="answer = 8 * 960 / 3  # 3 h w = 8 h^2",
    takeaway="SmolLM2-360M, the next larger sister of our model, has h = 960 and a width of 2,560.",
    mistakes=(
        Mistake(
            "the width of two matrices", 4 * 960, "that is 4 h. With three matrices it would be half as large again."
        ),
        Mistake("the width of our model", 1536, "that belongs to h = 576. Do the same with h = 960."),
        Mistake("the factor alone", 8 / 3, "that is the right multiple of h. Multiply it by 960."),
        Mistake("three times the size", 3 * 960, "the number of matrices is not the factor. Solve 3 h w = 2 h (4 h)."),
        Mistake("a third of the width", 4 * 960 / 3, "three matrices do not come instead of one, but instead of two."),
        Mistake("half the width", 2 * 960, "that would pay for four matrices. Solve 3 h w = 2 h (4 h)."),
        Mistake(
            "more instead of less", 6 * 960, "three matrices for two makes each of them smaller: 2/3, not 3/2, of 4 h."
        ),
    ),
)

layer_parameters = Exercise(
    name="layer_parameters",
    question="How many parameters has one whole decoder layer of our model?",
    difficulty=1,
    minutes=5,
    hints=(
        "q and o are (576, 576), k and v are (192, 576), gate and up are (1536, 576), down is (576, 1536).",
        "Two RMSNorms stand in a layer, each with one weight for each of 576 features. There are no biases.",
    ),
    source="answer = 2 * 576 * 576 + 2 * 192 * 576 + 3 * 1536 * 576 + 2 * 576  # q, o; k, v; gate, up, down; norms",
    takeaway="Thirty of them, the embedding of 28,311,552 and the last norm of 576 make 134,515,008.",
    mistakes=(
        Mistake(
            "norms forgotten",
            3538944,
            "the seven matrices are right. The layer has two RMSNorms with 576 weights each.",
        ),
        Mistake("one norm", 3539520, "one norm stands before the attention and another one before the MLP."),
        Mistake("attention alone", 884736, "those are q, k, v and o. A layer has an MLP and two norms as well."),
        Mistake(
            "MLP alone",
            2654208,
            "as many as gate, up and down have, or attention and two of them. A layer has all, and two norms.",
        ),
        Mistake("all thirty layers", 106202880, "that is right for all thirty. The question asks for one."),
        Mistake("k and v as large as q", 3982464, "k and v have 3 heads, not 9: their weights are (192, 576)."),
        Mistake("a part missing", 2655360, "that lacks attention, or one of the MLP's three matrices."),
        Mistake("norms with a bias", 3541248, "an RMSNorm has one weight a feature and no bias."),
    ),
)

_X = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
_GATE = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.5]])
_UP = torch.tensor([[2.0, 1.0], [1.0, -1.0], [0.0, 1.0]])
_DOWN = torch.tensor([[1.0, 0.0, 2.0], [0.0, -1.0, 1.0]])


def _mixed(combine):
    """A wrong SwiGLU: `combine(gate x, up x)` goes into down."""
    return lambda x, gate, up, down: F.linear(combine(F.linear(x, gate), F.linear(x, up)), down)


swiglu = Exercise(
    name="swiglu",
    question="Write swiglu(x, gate, up, down): the MLP of our model, from its three weights of shape (out, in).",
    difficulty=2,
    minutes=8,
    hints=(
        "x is (tokens, hidden). A linear layer is x @ W.T, or F.linear(x, W).",
        "Two branches of the same width: silu(gate x) and up x. Multiply them number by number.",
        "The product goes through down: F.linear(F.silu(...) * ..., down).",
    ),
    source="""import torch.nn.functional as F


def swiglu(x, gate, up, down):
    return F.linear(F.silu(F.linear(x, gate)) * F.linear(x, up), down)""",
    takeaway="That is all of LlamaMLP: 75 % of a layer's weights in one line.",
    mistakes=(
        Mistake(
            "SiLU on up instead of gate",
            _mixed(lambda g, u: g * F.silu(u)),
            "the names would not matter to a fresh model, but these weights were trained with SiLU on the gate.",
        ),
        Mistake("missing activation", _mixed(lambda g, u: g * u), "the gate goes through SiLU before the product."),
        Mistake(
            "SiLU after the product",
            _mixed(lambda g, u: F.silu(g * u)),
            "SiLU acts on the gate alone, before the product.",
        ),
        Mistake(
            "SiLU on both", _mixed(lambda g, u: F.silu(g) * F.silu(u)), "up stays linear. SiLU acts on the gate alone."
        ),
        Mistake(
            "sigmoid instead of SiLU",
            _mixed(lambda g, u: g.sigmoid() * u),
            "that is the older GLU, whose gate does run from 0 to 1. SiLU is z * sigmoid(z).",
        ),
        Mistake("ReLU instead of SiLU", _mixed(lambda g, u: F.relu(g) * u), "that is ReGLU. This model uses F.silu."),
        Mistake("sum instead of product", _mixed(lambda g, u: F.silu(g) + u), "the gate multiplies: use *, not +."),
        Mistake(
            "concatenation instead of product",
            _mixed(lambda g, u: torch.cat([F.silu(g), u], dim=-1)),
            "side by side they are twice as wide as down expects. Multiply them number by number.",
        ),
        Mistake("GELU instead of SiLU", _mixed(lambda g, u: F.gelu(g) * u), "that is GEGLU. This model uses F.silu."),
        Mistake("up forgotten", _mixed(lambda g, u: F.silu(g)), "multiply SiLU(gate x) by up x before down."),
        Mistake(
            "down forgotten",
            lambda x, gate, up, down: F.silu(F.linear(x, gate)) * F.linear(x, up),
            "that is what goes into down. The output has as many numbers as x.",
        ),
        Mistake(
            "SiLU on the output",
            lambda x, gate, up, down: F.silu(F.linear(F.linear(x, gate) * F.linear(x, up), down)),
            "SiLU acts on gate x, before the product, and not on what down gives.",
        ),
        Mistake(
            "tokens as columns",
            lambda x, gate, up, down: down @ (F.silu(gate @ x.T) * (up @ x.T)),
            "the numbers are right, but each token has become a column. In x a token is a row: x @ W.T.",
        ),
        Mistake(
            "weights not transposed",
            lambda x, gate, up, down: (F.silu(x @ gate) * (x @ up)) @ down,
            "PyTorch stores weights as (out, in): x @ W.T, or F.linear(x, W).",
        ),
    ),
    cases=((_X, _GATE, _UP, _DOWN), (_X[:1] * 3, _GATE * 0.5, _UP - 1, _DOWN), (_X / 4, _GATE, _UP, _DOWN)),
)

rms_norm = Exercise(
    name="rms_norm",
    question="Write rms_norm(x, weight, eps): RMSNorm over the last dimension, as our model computes it.",
    difficulty=2,
    minutes=8,
    hints=(
        "x is (tokens, hidden). The mean square of each row is x.pow(2).mean(-1, keepdim=True).",
        "Divide by the root of (mean square + eps), then multiply by the weight.",
    ),
    source="""import torch


def rms_norm(x, weight, eps):
    return x / torch.sqrt(x.pow(2).mean(dim=-1, keepdim=True) + eps) * weight""",
    takeaway="One division and one scale a feature: no mean is subtracted, and nothing is added.",
    mistakes=(
        Mistake(
            "mean subtracted",
            lambda x, weight, eps: F.layer_norm(x, x.shape[-1:], weight, None, eps),
            "that is LayerNorm. RMSNorm leaves the mean where it is and divides by the root of the mean square.",
        ),
        Mistake(
            "mean and standard deviation",
            lambda x, weight, eps: (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + eps) * weight,
            "that is close to LayerNorm. RMSNorm subtracts nothing and divides by the root of the mean square.",
        ),
        Mistake(
            "variance instead of mean square",
            lambda x, weight, eps: x / torch.sqrt(x.var(-1, keepdim=True, correction=0) + eps) * weight,
            "the variance has the mean subtracted. Take the mean of x squared.",
        ),
        Mistake(
            "eps outside the root",
            lambda x, weight, eps: x / (x.pow(2).mean(-1, keepdim=True).sqrt() + eps) * weight,
            "it is sqrt(mean + eps), not sqrt(mean) + eps. For small x that is a different number.",
        ),
        Mistake(
            "eps forgotten",
            lambda x, weight, eps: x / x.pow(2).mean(-1, keepdim=True).sqrt() * weight,
            "without eps a row of zeros becomes nan. It stands under the root: sqrt(mean + eps).",
        ),
        Mistake(
            "sum instead of mean",
            lambda x, weight, eps: x / torch.sqrt(x.pow(2).sum(-1, keepdim=True) + eps) * weight,
            "that divides by the length. The root of the *mean* square is smaller by sqrt(hidden).",
        ),
        Mistake(
            "length instead of root mean square",
            lambda x, weight, eps: x / x.norm(dim=-1, keepdim=True) * weight,
            "the length is the root of the *sum* of squares. Take the mean, and put eps under the root.",
        ),
        Mistake(
            "square of the mean",
            lambda x, weight, eps: x / torch.sqrt(x.mean(-1, keepdim=True).pow(2) + eps) * weight,
            "square first, then take the mean: x.pow(2).mean(...).",
        ),
        Mistake(
            "mean of sizes",
            lambda x, weight, eps: x / (x.abs().mean(-1, keepdim=True) + eps) * weight,
            "the root of the mean *square* is not the mean of the absolute values.",
        ),
        Mistake(
            "keepdim forgotten",
            lambda x, weight, eps: x / torch.sqrt(x.pow(2).mean(-1) + eps) * weight,
            "each token needs its own divisor, as a column: mean(dim=-1, keepdim=True).",
        ),
        Mistake(
            "mean over the tokens",
            lambda x, weight, eps: x / torch.sqrt(x.pow(2).mean(0) + eps) * weight,
            "take the mean over the features of each token: mean(dim=-1, keepdim=True).",
        ),
        Mistake(
            "weight forgotten",
            lambda x, weight, eps: x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + eps),
            "the division is right. Multiply each feature by its weight.",
        ),
        Mistake(
            "one plus weight",
            lambda x, weight, eps: x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + eps) * (1 + weight),
            "Gemma stores weight - 1 and needs that. Llama stores the weight itself.",
        ),
        Mistake(
            "mean over everything",
            lambda x, weight, eps: x / torch.sqrt(x.pow(2).mean() + eps) * weight,
            "each token has a mean square of its own: mean(dim=-1, keepdim=True).",
        ),
        Mistake(
            "root forgotten",
            lambda x, weight, eps: x / (x.pow(2).mean(-1, keepdim=True) + eps) * weight,
            "that divides by the mean square. Divide by its root.",
        ),
    ),
    cases=(
        (torch.tensor([[3.0, 4.0, -1.0], [0.5, 0.0, 1.0]]), torch.tensor([1.0, 2.0, 0.5]), 1e-5),
        (torch.tensor([[0.03, -0.01, 0.02]]), torch.tensor([1.0, 1.5, 1.0]), 1e-3),
    ),
)


def _halve(x):
    return x / 2


def _running_mean(x):
    return x.cumsum(0) / torch.arange(1, len(x) + 1)[:, None]


def _unit(x):
    return x / x.norm(dim=-1, keepdim=True)


decoder_layer = Exercise(
    name="decoder_layer",
    question="Write decoder_layer(x, norm1, attention, norm2, mlp): a layer, put together from four functions.",
    difficulty=2,
    minutes=10,
    hints=(
        "Twice the same: normalise a copy of the stream, compute on it, add the result to the stream.",
        "The MLP reads the stream that already holds what attention added.",
        "x = x + attention(norm1(x)), and then the same with norm2 and mlp.",
    ),
    source="""def decoder_layer(x, norm1, attention, norm2, mlp):
    x = x + attention(norm1(x))
    return x + mlp(norm2(x))""",
    takeaway="The stream itself is never normalised or multiplied inside a layer, only added to.",
    mistakes=(
        Mistake(
            "no residual",
            lambda x, norm1, attention, norm2, mlp: mlp(norm2(attention(norm1(x)))),
            "the layer returns what it computes and forgets the stream. Add each result to x.",
        ),
        Mistake(
            "residual around the MLP only",
            lambda x, norm1, attention, norm2, mlp: (y := attention(norm1(x))) + mlp(norm2(y)),
            "attention's result is added to x as well: x = x + attention(norm1(x)).",
        ),
        Mistake(
            "residual around attention only",
            lambda x, norm1, attention, norm2, mlp: mlp(norm2(x + attention(norm1(x)))),
            "the MLP's result is added to the stream as well.",
        ),
        Mistake(
            "MLP reads the old stream",
            lambda x, norm1, attention, norm2, mlp: x + attention(norm1(x)) + mlp(norm2(x)),
            "that is a parallel block, as in GPT-NeoX. In Llama the MLP reads what attention has added.",
        ),
        Mistake(
            "norm after the sum",
            lambda x, norm1, attention, norm2, mlp: norm2((y := norm1(x + attention(x))) + mlp(y)),
            "that is the order of the first transformers, and of BERT. Here the norm stands before attention and MLP.",
        ),
        Mistake(
            "stream normalised",
            lambda x, norm1, attention, norm2, mlp: (z := norm2((y := norm1(x)) + attention(y))) + mlp(z),
            "attention reads the normalised copy, but its result is added to x itself.",
        ),
        Mistake(
            "second sum to the old stream",
            lambda x, norm1, attention, norm2, mlp: x + mlp(norm2(x + attention(norm1(x)))),
            "the MLP reads the right stream, but its result is added to the old x: what attention added is lost.",
        ),
        Mistake(
            "one residual around both",
            lambda x, norm1, attention, norm2, mlp: x + mlp(norm2(attention(norm1(x)))),
            "attention's result is added to the stream first, and the MLP reads the sum.",
        ),
        Mistake(
            "norm of the result",
            lambda x, norm1, attention, norm2, mlp: (y := x + norm1(attention(x))) + norm2(mlp(y)),
            "the norm acts on the copy that attention and MLP read, not on what they give.",
        ),
        Mistake(
            "first norm twice",
            lambda x, norm1, attention, norm2, mlp: (y := x + attention(norm1(x))) + mlp(norm1(y)),
            "the MLP has a norm of its own, norm2.",
        ),
        Mistake(
            "no norm",
            lambda x, norm1, attention, norm2, mlp: (y := x + attention(x)) + mlp(y),
            "attention reads norm1(x), and the MLP norm2 of the new stream.",
        ),
        Mistake(
            "first norm forgotten",
            lambda x, norm1, attention, norm2, mlp: (y := x + attention(x)) + mlp(norm2(y)),
            "attention reads a normalised copy: attention(norm1(x)).",
        ),
        Mistake(
            "second norm forgotten",
            lambda x, norm1, attention, norm2, mlp: (y := x + attention(norm1(x))) + mlp(y),
            "the MLP reads a normalised copy too: mlp(norm2(x)).",
        ),
        Mistake(
            "MLP first",
            lambda x, norm1, attention, norm2, mlp: (y := x + mlp(norm2(x))) + attention(norm1(y)),
            "attention comes first, then the MLP.",
        ),
    ),
    cases=(
        (torch.tensor([[1.0, 2.0], [3.0, -1.0]]), _halve, _running_mean, _unit, torch.relu),
        (torch.tensor([[0.5, -2.0], [1.0, 1.0], [-1.0, 4.0]]), _unit, _running_mean, _halve, torch.tanh),
    ),
)
