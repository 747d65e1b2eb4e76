"""The exercises of notebook 04: weights of a layer, bytes of the cache, heads repeated, causal weights, a bug in RoPE.

The formula behind them: softmax(Q K^T / sqrt(head_dim) + mask) V for each head, then W_O; RoPE turns q and k before.
"""

import torch

from .engine import Exercise, Mistake

NOTEBOOK = "04_attention_q_k_v_o"

attention_parameters = Exercise(
    name="attention_parameters",
    question="How many numbers do q_proj, k_proj, v_proj and o_proj of one layer hold together?",
    difficulty=1,
    minutes=3,
    hints=(
        "Nine query heads and three KV heads of 64, hidden size 576. A weight has shape (out, in).",
        "q_proj and o_proj are (576, 576), k_proj and v_proj are (192, 576).",
    ),
    source="answer = 2 * 576 * 576 + 2 * 192 * 576  # q and o, then k and v",
    takeaway="A quarter of the layer's 3.54 million weights. The MLP of notebook 05 has the rest.",
    mistakes=(
        Mistake("no grouped heads", 4 * 576 * 576, "k_proj and v_proj serve 3 heads, not 9: they are (192, 576)."),
        Mistake(
            "o_proj shrunk, or k and v forgotten",
            576 * 576 + 3 * 192 * 576,
            "o_proj reads all nine query heads, so it keeps its 576 columns; k and v are (192, 576) each.",
        ),
        Mistake(
            "o_proj forgotten",
            576 * 576 + 2 * 192 * 576,
            "that is q, k and v. o_proj, which mixes the heads, belongs to attention too.",
        ),
        Mistake("all layers", 30 * 884_736, "that is the whole model, all 30 layers. One layer was asked for."),
        Mistake(
            "one query head's share",
            4 * 64 * 576,
            "that counts one head. q_proj and o_proj have nine of them, k_proj and v_proj three.",
        ),
    ),
)

kv_cache_bytes = Exercise(
    name="kv_cache_bytes",
    question="How many bytes does the KV cache of 8,192 tokens take in bf16?",
    difficulty=1,
    minutes=4,
    hints=(
        "For each token and layer the cache keeps one key and one value of each KV head. 30 layers, 3 KV heads of 64.",
        "A number in bf16 has two bytes: 2 (k and v) * 30 * 3 * 64 * 2 bytes a token.",
    ),
    source="answer = 2 * 30 * 3 * 64 * 2 * 8192  # k and v, layers, KV heads, head_dim, bytes, tokens",
    takeaway="189 MB, when the model itself takes 269 MB in bf16; nine KV heads would take 566 MB.",
    mistakes=(
        Mistake("query heads", 2 * 30 * 9 * 64 * 2 * 8192, "the cache holds the 3 KV heads. They are repeated later."),
        Mistake("float32", 2 * 30 * 3 * 64 * 4 * 8192, "that is float32. A number in bf16 takes two bytes."),
        Mistake(
            "a factor of two",
            30 * 3 * 64 * 2 * 8192,
            "half of it. The cache keeps keys and values, and a number takes two bytes: two twos.",
        ),
        Mistake("one token", 2 * 30 * 3 * 64 * 2, "that is one token. The text has 8,192 of them."),
        Mistake(
            "megabytes", 2 * 30 * 3 * 64 * 2 * 8192 / 1e6, "that is in megabytes, and right. Bytes were asked for."
        ),
        Mistake("one layer", 2 * 3 * 64 * 2 * 8192, "that is one layer. Each of the 30 keeps its own keys and values."),
    ),
)

_K = torch.arange(8.0).reshape(2, 2, 2)  # (KV heads, tokens, head_dim)

repeat_heads = Exercise(
    name="repeat_heads",
    question="Write repeat_heads(k, groups): (KV heads, tokens, head_dim) to (KV heads * groups, tokens, head_dim).",
    difficulty=2,
    minutes=5,
    hints=(
        "With groups = 3, query heads 0, 1 and 2 belong to KV head 0, and heads 3, 4 and 5 to KV head 1.",
        "The order is 0 0 0 1 1 1, not 0 1 0 1 0 1. torch has a function for each of the two.",
    ),
    source="""def repeat_heads(k, groups):
    return k.repeat_interleave(groups, dim=0)  # 0 0 0 1 1 1: neighbours share""",
    takeaway="With repeat() all shapes are right, nothing raises, and most heads read the wrong keys.",
    mistakes=(
        Mistake(
            "tiled instead of repeated",
            lambda k, groups: k.repeat(groups, 1, 1),
            "repeat() gives 0 1 0 1: head 1 would read KV head 1. Neighbours share here: 0 0 1 1.",
        ),
        Mistake(
            "tokens repeated",
            lambda k, groups: k.repeat_interleave(groups, dim=1),
            "that repeats the tokens. Heads are dimension 0.",
        ),
        Mistake(
            "features repeated",
            lambda k, groups: k.repeat_interleave(groups, dim=-1),
            "that makes each head wider. Heads are dimension 0.",
        ),
        Mistake(
            "no dimension named",
            lambda k, groups: k.repeat_interleave(groups),
            "without dim, repeat_interleave repeats single numbers and gives one long row. Heads are dimension 0.",
        ),
        Mistake("not repeated", lambda k, groups: k, "these are still the KV heads, and there are too few of them."),
    ),
    cases=((_K, 2), (_K.flip(2), 3), (_K[:1], 2)),
)

_HIDDEN = -1e9  # finite, so that a row in which all is hidden shows as equal weights, not as nan


def _masked(scores, hidden):
    return scores.masked_fill(hidden, _HIDDEN).softmax(dim=-1)


_SCORES = torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 3.0], [2.0, 0.0, 1.0]])

causal_weights = Exercise(
    name="causal_weights",
    question="Write causal_weights(scores): (tokens, tokens) to attention weights that look at no later token.",
    difficulty=2,
    minutes=8,
    hints=(
        "Row i is the query of token i. It may see the keys 0 to i, its own among them.",
        "torch.ones_like(scores).tril() is 1 where it may look. masked_fill sets the rest to -1e9.",
        "Softmax comes last and runs along the keys, dim=-1. A nan in row 0 means that token 0 sees nothing at all.",
    ),
    source="""import torch


def causal_weights(scores):
    hidden = torch.ones_like(scores).tril() == 0  # the keys right of the diagonal
    return scores.masked_fill(hidden, -1e9).softmax(dim=-1)""",
    takeaway="The mask goes on the scores, so that each row still sums to one.",
    mistakes=(
        Mistake("no mask", lambda s: s.softmax(-1), "each token still sees the whole text, also what comes after it."),
        Mistake(
            "mask after softmax",
            lambda s: s.softmax(-1).tril(),
            "the rows no longer sum to one: later tokens took their share before they were hidden. Mask the scores.",
        ),
        Mistake(
            "wrong triangle",
            lambda s: _masked(s, torch.ones_like(s).triu() == 0),
            "each token sees itself and what comes after it. Hide the keys right of the diagonal, not left.",
        ),
        Mistake(
            "own token hidden",
            lambda s: _masked(s, torch.ones_like(s).tril(-1) == 0),
            "the diagonal is hidden too, and token 0 has nothing left to look at. A token may see itself.",
        ),
        Mistake(
            "scores set to 0",
            lambda s: s.tril().softmax(-1),
            "a score of 0 still gets weight, since exp(0) = 1. Use -1e9, which gets none.",
        ),
        Mistake(
            "no softmax",
            lambda s: s.masked_fill(torch.ones_like(s).tril() == 0, _HIDDEN),
            "the mask is right, but these are still scores. Softmax along the keys, dim=-1, makes weights of them.",
        ),
        Mistake(
            "softmax along the queries",
            lambda s: s.masked_fill(torch.ones_like(s).tril() == 0, _HIDDEN).softmax(0),
            "the columns sum to one. Each query shares out its own weight: softmax along the keys, dim=-1.",
        ),
    ),
    cases=((_SCORES,), (_SCORES.T * 2,), (torch.zeros(4, 4),)),
)

_TURN = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.5, 0.1], [2.0, 1.0, 0.2]])  # (tokens, pairs)
_X = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 0.0, 2.0, 0.5, 1.0, -1.0], [0.0, 3.0, 1.0, 1.0, -2.0, 2.0]])


def _turned(first, second, angles, sign=-1):
    """A rotation of each pair; wrong if `sign`, that of the first sine, is +1."""
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([first * cos + sign * second * sin, second * cos + first * sin], dim=-1)


fix_rope = Exercise(
    name="fix_rope",
    question="Write fix_rope(x, angles), the rotation that this model needs: the function above without its bug.",
    difficulty=3,
    minutes=10,
    hints=(
        "Lengths and relative positions are right, so it is a rotation. Which numbers does it turn together?",
        "The model pairs feature i with feature i + head_dim / 2. Which pairs do x[:, 0::2] and x[:, 1::2] form?",
        "Halves come from x.chunk(2, dim=-1). The rest of the function can stay.",
    ),
    source="""import torch


def fix_rope(x, angles):
    first, second = x.chunk(2, dim=-1)  # feature i with feature i + head_dim / 2
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)""",
    takeaway="Both conventions are RoPE. Weights trained with one are useless under the other.",
    mistakes=(
        Mistake(
            "the bug is still there",
            lambda x, angles: _turned(x[:, 0::2], x[:, 1::2], angles),
            "it still turns neighbours, features 0 and 1, as one pair. The model pairs i with i + head_dim / 2.",
        ),
        Mistake(
            "neighbours, put back as neighbours",
            lambda x, angles: _turned(x[:, 0::2], x[:, 1::2], angles).unflatten(-1, (2, -1)).mT.flatten(1),
            "that is the convention of the RoPE paper, correct in itself. This model's weights expect halves.",
        ),
        Mistake(
            "halves turned, put back as neighbours",
            lambda x, angles: _turned(*x.chunk(2, dim=-1), angles).unflatten(-1, (2, -1)).mT.flatten(1),
            "your scores are right, but each feature wants its own place: cat puts the halves back, stack interleaves.",
        ),
        Mistake(
            "turned backwards",
            lambda x, angles: _turned(*x.chunk(2, dim=-1), -angles),
            "the pairs are right, the sine has the wrong sign: first * cos - second * sin.",
        ),
        Mistake(
            "halves exchanged",
            lambda x, angles: _turned(*reversed(x.chunk(2, dim=-1)), angles),
            "the two halves are in the wrong order: x.chunk(2, dim=-1) gives first, then second.",
        ),
        Mistake(
            "no minus",
            lambda x, angles: _turned(*x.chunk(2, dim=-1), angles, sign=1),
            "without the minus it is no rotation, and lengths change: first * cos - second * sin.",
        ),
    ),
    cases=((_X, _TURN), (_X.flip(0) * 2, _TURN * 3)),
)
