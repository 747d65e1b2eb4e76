"""The exercises of notebook 04: a cache, four bugs, a checkpoint put back, a fairer ablation; a build, attention.

The formula behind them: softmax(Q K^T / sqrt(head_dim) + mask) V for each head, then W_O; RoPE turns q and k before.
"""

import inspect
from functools import cache

import torch
from torch import nn
from transformers import LlamaConfig

from lorautils.basemodel import load_base_model, load_tokenizer

from .build import Build, Case, Step, with_weights
from .engine import Exercise, Mistake

NOTEBOOK = "04_attention_q_k_v_o"

kv_cache_bytes = Exercise(
    name="kv_cache_bytes",
    question="How many bytes does the KV cache of 8,192 tokens take in Llama 3.1 8B, in bf16?",
    difficulty=1,
    minutes=5,
    hints=(
        "For each token and layer the cache keeps one key and one value of each KV head. How wide is a head here?",
        "4,096 / 32 = 128 numbers a head. 2 (k and v) * 32 layers * 8 KV heads * 128 * 2 bytes a token.",
    ),
    source="answer = 2 * 32 * 8 * (4096 // 32) * 2 * 8192  # k and v, layers, KV heads, head_dim, bytes, tokens",
    takeaway="Exactly 1 GiB, for one text. With a KV head for each query head it would be 4 GiB.",
    mistakes=(
        Mistake("query heads", 2 * 32 * 32 * 128 * 2 * 8192, "the cache holds the 8 KV heads, not 32."),
        Mistake("half", 2 * 32 * 8 * 64 * 2 * 8192, "a half: are heads 128 wide, k and v in, and two bytes a number?"),
        Mistake("float32", 2 * 32 * 8 * 128 * 4 * 8192, "that is float32. A number in bf16 takes two bytes."),
        Mistake(
            "numbers", 32 * 8 * 128 * 8192, "that counts the numbers of the keys. Add the values, then take bytes."
        ),
        Mistake("one token", 2 * 32 * 8 * 128 * 2, "that is one token. The text has 8,192 of them."),
        Mistake(
            "one layer", 2 * 8 * 128 * 2 * 8192, "that is one layer. Each of the 32 keeps its own keys and values."
        ),
        Mistake("whole width", 2 * 32 * 4096 * 8 * 2 * 8192, "4,096 is all query heads together. One has 4,096 / 32."),
        Mistake("gibibytes", 1.0, "right, in GiB. Bytes were asked for."),
        Mistake("gigabytes", 2 * 32 * 8 * 128 * 2 * 8192 / 1e9, "right, in GB. Bytes were asked for."),
    ),
)

_FOUR = ("mask", "softmax", "groups", "pairs")


def _swapped(first, second):
    """The right answer with two of its words exchanged."""
    return tuple({first: second, second: first}.get(word, word) for word in _FOUR)


four_bugs = Exercise(
    name="four_bugs",
    question="Four attention layers have one bug each. Name the part of each: groups, mask, pairs or softmax.",
    difficulty=2,
    minutes=8,
    hints=(
        "Which bug lets in the value of a later token? And when do the weights not sum to one?",
        "With three query heads a KV head, head h should read KV head h // 3. Which heads are right with h % 3?",
    ),
    source='answer = ("mask", "softmax", "groups", "pairs")',
    takeaway="Each bug leaves shapes alone and raises nothing. A symptom of its own gives it away.",
    mistakes=(
        Mistake(
            "the first two exchanged",
            _swapped("mask", "softmax"),
            "only a value of the second token can turn the output. Who lets it in?",
        ),
        Mistake(
            "the last two exchanged", _swapped("groups", "pairs"), "a wrong turn would spare token 0, and no head."
        ),
        Mistake(
            "first and third",
            _swapped("mask", "groups"),
            "with the wrong groups a token alone would be wrong, too. In 1 it is right.",
        ),
        Mistake("first and last", _swapped("mask", "pairs"), "which of the two spares the first token?"),
        Mistake("second and third", _swapped("softmax", "groups"), "in 3 the weights of every head still sum to one."),
        Mistake("second and last", _swapped("softmax", "pairs"), "in 4 the weights of every token still sum to one."),
    ),
)

_ROWS = torch.arange(24.0).reshape(8, 3)  # two heads of four rows, hidden size 3


def _to_halves(W, head_dim):
    """The way there: features 0 2 4 ... 1 3 5 ... of each head."""
    order = [*range(0, head_dim, 2), *range(1, head_dim, 2)]
    return W.unflatten(0, (-1, head_dim))[:, order].flatten(0, 1)


to_neighbours = Exercise(
    name="to_neighbours",
    question="Write to_neighbours(W, head_dim): a W_Q for halves, its rows sorted back for code that turns neighbours.",
    difficulty=2,
    minutes=10,
    hints=(
        "Within a head, code for neighbours turns rows 0 and 1 together. Which rows of the given W are that pair?",
        "Rows 0 and head_dim / 2. So the new order within a head is 0, d/2, 1, d/2 + 1, ...",
        "W.unflatten(0, (-1, 2, head_dim // 2)) is (heads, half, pair, hidden). Swap two dimensions, then flatten.",
    ),
    source="""def to_neighbours(W, head_dim):
    halves = W.unflatten(0, (-1, 2, head_dim // 2))  # (heads, half, pair, hidden)
    return halves.transpose(1, 2).flatten(0, 2)  # pair first: 0, d/2, 1, d/2 + 1, ...""",
    takeaway="The way back is another order than the way there, and each head is sorted by itself.",
    mistakes=(
        Mistake(
            "the way there",
            _to_halves,
            "that sorts neighbours into halves, as section 11 does. Asked is the way back, which is another order.",
        ),
        Mistake(
            "all heads as one",
            lambda W, head_dim: W.unflatten(0, (2, -1)).transpose(0, 1).flatten(0, 1),
            "that mixes the rows of different heads. Each head of head_dim rows is sorted by itself.",
        ),
        Mistake("not sorted", lambda W, head_dim: W, "the rows are as they were: pairs are still halves apart."),
        Mistake(
            "columns sorted",
            lambda W, head_dim: W[:, torch.arange(W.shape[1]).roll(1)],
            "the columns read the stream, and stay. The features of a query are the rows.",
        ),
    ),
    cases=((_ROWS, 4), (_ROWS.flip(1), 8), (torch.arange(24.0).reshape(12, 2), 6)),
)

_HEADS = torch.tensor(
    [[[1.0, 2.0], [3.0, 0.0], [5.0, 4.0]], [[0.0, 1.0], [0.0, 3.0], [6.0, 2.0]], [[2.0, 2.0], [4.0, 8.0], [0.0, 5.0]]]
)  # (heads, tokens, head_dim)


def _filled(heads, which, value):
    heads = heads.clone()
    heads[which] = value
    return heads


mean_ablated = Exercise(
    name="mean_ablated",
    question="Write mean_ablated(heads, h): head h brings every token its mean over the tokens; the others stay.",
    difficulty=2,
    minutes=8,
    hints=(
        "heads[h] is (tokens, head_dim). Which dimension has the tokens? The mean must fit back in.",
        "heads[h].mean(dim=0) is (head_dim,), and can be assigned to all tokens at once. Work on a clone.",
    ),
    source="""def mean_ablated(heads, h):
    ablated = heads.clone()
    ablated[h] = heads[h].mean(dim=0)  # over the tokens: what the head always brings
    return ablated""",
    takeaway="What is lost now is only what the head tells *apart*. Zeros also take away what it always brings.",
    mistakes=(
        Mistake("zeros", lambda heads, h: _filled(heads, h, 0.0), "that is what section 12 did. Put the mean there."),
        Mistake(
            "mean over features",
            lambda heads, h: _filled(heads, h, heads[h].mean(dim=1, keepdim=True)),
            "that is the mean over the features of each token. Take it over the tokens.",
        ),
        Mistake(
            "one number",
            lambda heads, h: _filled(heads, h, heads[h].mean()),
            "that is one number for all. Each feature has a mean of its own, over the tokens.",
        ),
        Mistake(
            "mean over heads",
            lambda heads, h: _filled(heads, h, heads.mean(dim=0)),
            "that is what the heads bring on average. Take the mean of head h alone, over its tokens.",
        ),
        Mistake(
            "every head",
            lambda heads, h: heads.mean(dim=1, keepdim=True).expand_as(heads),
            "all heads have lost their differences. Only head h is asked for.",
        ),
        Mistake("nothing", lambda heads, h: heads, "nothing is ablated yet."),
    ),
    cases=((_HEADS, 1), (_HEADS, 0), (_HEADS[:, :2], 2)),
)


def rope(x, theta):
    """Turn queries or keys by their positions, 0, 1, 2, ...: (..., tokens, head_dim) to the same shape.

    At position p the pair (x[i], x[i + head_dim / 2]) turns by the angle p * theta^(-2i / head_dim).
    """
    tokens, head_dim = x.shape[-2:]
    speeds = theta ** -(torch.arange(0, head_dim, 2) / head_dim)
    angles = torch.arange(tokens)[:, None] * speeds  # (tokens, pairs)
    cos, sin = angles.cos(), angles.sin()
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


class Attention(nn.Module):
    """Causal grouped-query attention with RoPE; `config` is a LlamaConfig, and names are those of transformers.

    q_proj, k_proj, v_proj and o_proj have no bias. Read head_dim, hidden_size, num_attention_heads,
    num_key_value_heads and rope_parameters["rope_theta"] from the configuration.
    """

    def __init__(self, config):
        super().__init__()
        self.head_dim, self.theta = config.head_dim, config.rope_parameters["rope_theta"]
        self.groups = config.num_attention_heads // config.num_key_value_heads
        size, kv_size = config.num_attention_heads * self.head_dim, config.num_key_value_heads * self.head_dim
        self.q_proj = nn.Linear(config.hidden_size, size, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, kv_size, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, kv_size, bias=False)
        self.o_proj = nn.Linear(size, config.hidden_size, bias=False)

    def forward(self, x):
        """Map (batch, tokens, hidden) to the same shape."""
        q, k, v = (
            layer(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)  # (batch, heads, tokens, head_dim)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = rope(q, self.theta), rope(k, self.theta)
        k, v = k.repeat_interleave(self.groups, dim=1), v.repeat_interleave(self.groups, dim=1)
        scores = q @ k.mT / self.head_dim**0.5  # (batch, heads, tokens, tokens)
        later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(diagonal=1)
        weights = scores.masked_fill(later, float("-inf")).softmax(dim=-1)
        return self.o_proj((weights @ v).transpose(1, 2).flatten(2))


def _wrong(reference, *changes):
    """The reference with pieces of its source replaced, each by (old, new)."""
    source, namespace = inspect.getsource(reference), dict(globals())
    for old, new in changes:
        source = source.replace(old, new)
    exec(source, namespace)
    return namespace[reference.__name__]


def _small(heads, kv_heads):
    return LlamaConfig(
        hidden_size=4, num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=2, rope_theta=10_000.0
    )


@torch.no_grad()
def _by_hand(answer, x, heads, kv_heads):
    """What a small layer gives; its weights, small whole numbers, are the same each time."""
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "q_proj": (2 * heads, 4),
        "k_proj": (2 * kv_heads, 4),
        "v_proj": (2 * kv_heads, 4),
        "o_proj": (4, 2 * heads),
    }
    weights = {
        f"{name}.weight": torch.randint(-2, 3, shape, generator=generator) / 1.0 for name, shape in shapes.items()
    }
    return with_weights(answer, _small(heads, kv_heads), weights)(x)


@cache
def _real(layer):
    """Layer `layer` of the model, its configuration, and what goes into its attention for a sentence of 15 tokens."""
    model, tokenizer = load_base_model(), load_tokenizer()
    ids = tokenizer("The capital of France is Paris, and the capital of Spain is Madrid.", return_tensors="pt")
    block = model.model.layers[layer]
    with torch.no_grad():
        x = block.input_layernorm(model(**ids, output_hidden_states=True).hidden_states[layer])
    return block.self_attn, model.config, x


@torch.no_grad()
def _in_the_model(answer, layer):
    original, config, x = _real(layer)
    return with_weights(answer, config, original.state_dict())(x)


def _turned(answer, x, theta):
    turned = answer(x, theta)
    if turned.dtype != x.dtype:
        raise TypeError(f"gives {turned.dtype} for {x.dtype}: turn with numbers of the type of x")
    return turned


_LONG = torch.sin(torch.arange(5 * 64.0)).view(5, 64)
_TOKENS = torch.tensor([[[1.0, 0, 0, 2], [0, 0, 2, 0], [0, 2, 0, 0]], [[2.0, 0, 1, 0], [0, 0, 1, 2], [0, 2, 0, 1]]])
_QUERIES = torch.tensor([[1.0, 2, 3, 4], [1, 0, 2, 0.5], [0, 3, 1, 1]])

_NEIGHBOURS = ("x.chunk(2, dim=-1)", "x[..., 0::2], x[..., 1::2]")
_MASKED = 'scores.masked_fill(later, float("-inf"))'
_REPEAT_K, _REPEAT_V = (f"{name}.repeat_interleave(self.groups, dim=1)" for name in "kv")
_TILE_K, _TILE_V = (f"{name}.repeat(1, self.groups, 1, 1)" for name in "kv")

llama = Build(
    name="llama",
    question="Write attention by hand: RoPE, then the whole layer, until it equals layer 10 of the model.",
    header='"""A Llama, written by hand."""\n\nimport torch\nfrom torch import nn',
    steps=(
        Step(
            name="rope",
            question="RoPE: turn queries or keys by angles that grow with the position.",
            difficulty=2,
            minutes=10,
            hints=(
                "First the speeds, one a pair: theta ** -(torch.arange(0, head_dim, 2) / head_dim).",
                "angles = positions[:, None] * speeds is (tokens, pairs). x.chunk(2, dim=-1) gives the two halves.",
                "A turn by t takes (a, b) to (a cos t - b sin t, b cos t + a sin t). torch.cat puts the halves back.",
            ),
            takeaway="Position 0 does not turn, lengths stay, and there is nothing to train.",
            mistakes=(
                Mistake(
                    "neighbours as pairs",
                    _wrong(rope, _NEIGHBOURS),
                    "features 0 and 1 turn as one pair. In this model the pairs are i and i + head_dim / 2.",
                ),
                Mistake(
                    "the paper's pairs",
                    _wrong(rope, _NEIGHBOURS, ("torch.cat", "torch.stack"), ("dim=-1)\n", "dim=-1).flatten(-2)\n")),
                    "neighbours are the pairs of RoPE's paper. This model's pairs are i and i + head_dim / 2.",
                ),
                Mistake("backwards", _wrong(rope, ("angles.sin()", "-angles.sin()")), "the sine has the wrong sign."),
                Mistake(
                    "no minus",
                    _wrong(rope, ("cos - second", "cos + second")),
                    "this is no turn, lengths change: first * cos - second * sin.",
                ),
                Mistake(
                    "positions from 1",
                    _wrong(rope, ("torch.arange(tokens)", "torch.arange(1, tokens + 1)")),
                    "all is turned one step too far. Scores would be right, but position 0 must stay as it is.",
                ),
                Mistake(
                    "speeds too close",
                    _wrong(rope, ("torch.arange(0, head_dim, 2)", "torch.arange(head_dim // 2)")),
                    "the exponent of pair i is -2i / head_dim. Yours lacks the 2.",
                ),
            ),
            reference=rope,
            cases=(
                Case("one pair", (_QUERIES[:, :2], 10_000.0)),
                Case("two pairs", (_QUERIES, 10_000.0)),
                Case("two heads, another theta", (torch.stack([_QUERIES, _QUERIES.flip(0)]), 100.0)),
                Case("64 features, as in the model", (_LONG, 10_000.0), _turned),
            ),
        ),
        Step(
            name="attention",
            question="Causal grouped-query attention, as a module.",
            difficulty=3,
            minutes=25,
            hints=(
                "Four nn.Linear without bias: q_proj and o_proj for all query heads, k_proj and v_proj for KV heads.",
                "Cut into heads: unflatten(-1, (-1, head_dim)).transpose(1, 2). Call rope on q and k. Repeat k and v.",
                "Scores by the root of head_dim, -inf for later tokens, softmax, times v. Then back, and o_proj.",
            ),
            takeaway="The last case was layer 10 of the model.",
            mistakes=(
                Mistake(
                    "not divided",
                    _wrong(Attention, (" / self.head_dim**0.5", "")),
                    "divide the scores by the root of head_dim.",
                ),
                Mistake(
                    "divided by the wrong root",
                    _wrong(Attention, ("self.head_dim**0.5", "x.shape[-1] ** 0.5")),
                    "that is the root of the model's width. A score adds head_dim products: take their root.",
                ),
                Mistake(
                    "not rooted",
                    _wrong(Attention, ("self.head_dim**0.5", "self.head_dim")),
                    "divide the scores by the root of head_dim, not by head_dim.",
                ),
                Mistake(
                    "no mask", _wrong(Attention, (_MASKED, "scores")), "each token still sees what comes after it."
                ),
                Mistake(
                    "mask after softmax",
                    _wrong(Attention, (_MASKED + ".softmax(dim=-1)", "scores.softmax(dim=-1).masked_fill(later, 0)")),
                    "later tokens took their share before they were hidden, and the rest is below 1. Mask the scores.",
                ),
                Mistake(
                    "masked with 0",
                    _wrong(Attention, ('float("-inf")', "0")),
                    "a score of 0 still gets weight, since exp(0) = 1. Use -inf.",
                ),
                Mistake(
                    "own token hidden",
                    _wrong(Attention, ("triu(diagonal=1)", "triu()")),
                    "the diagonal is hidden, and token 0 has nothing to look at. A token may see itself.",
                ),
                Mistake(
                    "KV heads tiled",
                    _wrong(Attention, (_REPEAT_K, _TILE_K), (_REPEAT_V, _TILE_V)),
                    "repeat() gives 0 1 0 1. Query heads that share a KV head are neighbours: 0 0 1 1.",
                ),
                Mistake(
                    "no RoPE",
                    _wrong(Attention, ("        q, k = rope(q, self.theta), rope(k, self.theta)\n", "")),
                    "the order of the words makes no difference yet. Turn q and k with rope.",
                ),
                Mistake(
                    "values turned",
                    _wrong(
                        Attention, ("rope(k, self.theta)\n", "rope(k, self.theta)\n        v = rope(v, self.theta)\n")
                    ),
                    "the values are turned too. What a token hands over does not depend on where it stands.",
                ),
                Mistake(
                    "softmax over the queries",
                    _wrong(Attention, ("softmax(dim=-1)", "softmax(dim=-2)")),
                    "the columns sum to one. Each query shares out its own weight: dim=-1.",
                ),
                Mistake(
                    "heads not brought back",
                    _wrong(Attention, (".transpose(1, 2).flatten(2))", ".reshape(x.shape[0], x.shape[1], -1))")),
                    "the heads' results must lie side by side for each token: transpose(1, 2) before flatten(2).",
                ),
            ),
            reference=Attention,
            needs=("rope",),
            cases=(
                Case("one token", (_TOKENS[:1, :1], 2, 1), _by_hand),
                Case("three tokens, one head", (_TOKENS[:1], 1, 1), _by_hand),
                Case("three tokens, two heads that share k and v", (_TOKENS[:1], 2, 1), _by_hand),
                Case("two texts, four heads, two KV heads", (_TOKENS, 4, 2), _by_hand),
                Case("layer 10 of the model", (10,), _in_the_model),
            ),
        ),
    ),
)
