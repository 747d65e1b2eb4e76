"""The exercises of notebook 05: a layer counted, black boxes, features kept, a norm folded in; a build.

The formulas behind them: down(silu(gate x) * up x); x / sqrt(mean(x^2) + eps) * weight; x + f(norm(x)), twice.
The build, in my/llama.py, is a Llama whose parameters have the names of transformers, so that a real checkpoint loads.
"""

from collections.abc import Callable
from copy import copy
from functools import cache, lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lorautils.basemodel import load_base_model, load_tokenizer

from . import nb04
from .build import Build, Case, Step, with_weights
from .engine import Exercise, Mistake
from .nb04 import Attention

NOTEBOOK = "05_mlp_gate_up_down"

layer_parameters = Exercise(
    name="layer_parameters",
    question="How many parameters has one decoder layer of Llama 3.2 1B, all of it?",
    difficulty=1,
    minutes=5,
    hints=(
        "q and o are (2048, 2048). The 8 heads of k and v have 64 numbers each: k and v are (512, 2048).",
        "gate and up are (8192, 2048), down is (2048, 8192). What else in a layer has weights?",
        "Two RMSNorms, each with one weight for each of 2,048 features. There are no biases.",
    ),
    source="answer = 2 * 2048 * 2048 + 2 * 512 * 2048 + 3 * 8192 * 2048 + 2 * 2048  # q, o; k, v; MLP; norms",
    takeaway="The MLP holds 83 % of it: 8,192 is 4 h and not 8/3 h, so this model pays for a third matrix in full.",
    mistakes=(
        Mistake("norms forgotten", 60817408, "the seven matrices are right. Two RMSNorms stand in a layer as well."),
        Mistake("one norm", 60819456, "one norm stands before the attention and another one before the MLP."),
        Mistake("k and v as large as q", 67112960, "there are 8 heads for k and v, not 32: (512, 2048)."),
        Mistake("two matrices in the MLP", 44044288, "gate, up and down are three matrices."),
        Mistake("MLP alone", 50331648, "those are gate, up and down. Attention and two norms belong to a layer, too."),
        Mistake("attention alone", 10485760, "those are q, k, v and o. An MLP and two norms belong to a layer, too."),
        Mistake("norms with a bias", 60825600, "an RMSNorm has one weight a feature and no bias."),
        Mistake("all sixteen layers", 973144064, "that is right for all sixteen. The question asks for one."),
        Mistake("our own model", 3540096, "that belongs to SmolLM2-135M. Do the same with the sizes given here."),
    ),
)

black_boxes = Exercise(
    name="black_boxes",
    question="Four functions of a vector, by two tests: what is each?",
    difficulty=2,
    minutes=6,
    hints=(
        "Only a linear function passes both tests. What does a product of two linear functions do when x doubles?",
        "ReLU keeps or cuts each number, and doubling x changes no sign. What does that make of the factor?",
        "What divides by the size of x gives the same for x and 2 x.",
    ),
    source="""answer = ("matrix", "ReLU MLP", "bilinear", "RMSNorm")  # (first, second, third, fourth)""",
    takeaway="Doubling alone is no test of a matrix. Adding is.",
    mistakes=(
        Mistake(
            "doubling taken for linear",
            ("ReLU MLP", "matrix", "bilinear", "RMSNorm"),
            "both double. Only a matrix also gives f(a) + f(b) for a + b.",
        ),
        Mistake(
            "products taken for ReLU",
            ("matrix", "bilinear", "ReLU MLP", "RMSNorm"),
            "a product of two linear functions grows by 2 * 2 when x doubles.",
        ),
        Mistake(
            "the norm taken for ReLU",
            ("matrix", "RMSNorm", "bilinear", "ReLU MLP"),
            "a norm gives the same for x and 2 x, and a ReLU MLP doubles.",
        ),
        Mistake(
            "the norm taken for a product",
            ("matrix", "ReLU MLP", "RMSNorm", "bilinear"),
            "a norm gives the same for x and 2 x: factor 1, not 4.",
        ),
        Mistake(
            "the norm taken for a matrix",
            ("RMSNorm", "ReLU MLP", "bilinear", "matrix"),
            "a matrix doubles its output when x doubles. Which box does not mind?",
        ),
    ),
)

_X = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
_GATE = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.5]])
_UP = torch.tensor([[2.0, 1.0], [1.0, -1.0], [0.0, 1.0]])
_DOWN = torch.tensor([[1.0, 0.0, 2.0], [0.0, -1.0, 1.0]])

keep_features = Exercise(
    name="keep_features",
    question="Write keep_features(gate, up, down, kept): the weights of an MLP that has only the features in `kept`.",
    difficulty=2,
    minutes=6,
    hints=(
        "Feature j is row j of gate, row j of up, and column j of down.",
        "gate[kept] takes rows. Columns are down[:, kept].",
    ),
    source="""def keep_features(gate, up, down, kept):
    return gate[kept], up[kept], down[:, kept]""",
    takeaway="That is structured pruning: the MLP becomes narrower, and really faster.",
    mistakes=(
        Mistake(
            "columns of gate and up",
            lambda gate, up, down, kept: (gate[:, kept], up[:, kept], down[:, kept]),
            "the columns of gate and up belong to the numbers of the token. Features are their rows.",
        ),
        Mistake(
            "rows of down",
            lambda gate, up, down, kept: (gate[kept], up[kept], down[kept]),
            "down is (hidden, features): a feature is a column there.",
        ),
        Mistake(
            "down left whole",
            lambda gate, up, down, kept: (gate[kept], up[kept], down),
            "down still expects all features. Keep its columns.",
        ),
        Mistake(
            "up left whole",
            lambda gate, up, down, kept: (gate[kept], up, down[:, kept]),
            "gate x and up x are multiplied number by number: both need the same rows.",
        ),
        Mistake(
            "the others kept",
            lambda gate, up, down, kept: tuple(
                w[tuple([slice(None)] * side + [[j for j in range(len(gate)) if j not in kept]])]
                for w, side in ((gate, 0), (up, 0), (down, 1))
            ),
            "those in `kept` were to stay, and you removed them.",
        ),
    ),
    cases=((_GATE, _UP, _DOWN, [2, 0]), (_GATE, _UP, _DOWN, [1])),
)

fold_norm = Exercise(
    name="fold_norm",
    question="Write fold_norm(weight, gate, up): gate and up that need no norm weight any more.",
    difficulty=3,
    minutes=8,
    hints=(
        "gate (x * weight): which numbers of gate does weight[0] meet?",
        "weight[i] multiplies number i of the token, and number i meets column i of gate and of up.",
        "gate * weight: a row of numbers multiplies the columns, each by its own.",
    ),
    source="""def fold_norm(weight, gate, up):
    return gate * weight, up * weight""",
    takeaway="Programs that make models fast do this before they start: one multiplication less a token.",
    mistakes=(
        Mistake(
            "up forgotten", lambda weight, gate, up: (gate * weight, up), "up reads the same normalised copy as gate."
        ),
        Mistake(
            "gate forgotten", lambda weight, gate, up: (gate, up * weight), "gate reads the same normalised copy as up."
        ),
        Mistake(
            "divided",
            lambda weight, gate, up: (gate / weight, up / weight),
            "the weight multiplied what gate read. Now gate itself must multiply by it.",
        ),
        Mistake(
            "rows",
            lambda weight, gate, up: (gate * weight[:, None], up * weight[:, None]),
            "rows are features. The weight belongs to the numbers of the token, which are columns.",
        ),
        Mistake(
            "matrix product",
            lambda weight, gate, up: (gate @ weight, up @ weight),
            "that gives one number a feature. The matrices keep their shape: gate * weight.",
        ),
    ),
    cases=(
        (torch.tensor([2.0, 0.5]), torch.tensor([[1.0, 4.0], [3.0, -2.0]]), torch.tensor([[0.0, 1.0], [5.0, 2.0]])),
        (torch.tensor([3.0, -1.0]), torch.tensor([[1.0, 1.0], [2.0, 6.0]]), torch.tensor([[-1.0, 2.0], [1.0, 4.0]])),
    ),
)


# --- the build: your own Llama --------------------------------------------------------------------------------------


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight, the mean over the features of each token; eps is config.rms_norm_eps."""

    def __init__(self, config):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.hidden_size))
        self.eps = config.rms_norm_eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, tokens, hidden) to the same shape."""
        return x / torch.sqrt(x.pow(2).mean(dim=-1, keepdim=True) + self.eps) * self.weight


class MLP(nn.Module):
    """SwiGLU: gate_proj, up_proj and down_proj, without biases."""

    def __init__(self, config):
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, tokens, hidden) to the same shape."""
        return self.down_proj(nn.functional.silu(self.gate_proj(x)) * self.up_proj(x))


class DecoderLayer(nn.Module):
    """input_layernorm, self_attn, post_attention_layernorm, mlp, and a stream that is only added to."""

    def __init__(self, config):
        super().__init__()
        self.input_layernorm = RMSNorm(config)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config)
        self.mlp = MLP(config)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, tokens, hidden) to the same shape."""
        x = x + self.self_attn(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    """`model` is a ModuleDict of embed_tokens, layers and norm; lm_head is tied to the embedding, without a bias."""

    def __init__(self, config):
        super().__init__()
        embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.num_hidden_layers))
        self.model = nn.ModuleDict({"embed_tokens": embed_tokens, "layers": layers, "norm": RMSNorm(config)})
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.lm_head.weight = embed_tokens.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Map ids (batch, tokens) to logits (batch, tokens, vocabulary)."""
        x = self.model["embed_tokens"](ids)
        for layer in self.model["layers"]:
            x = layer(x)
        return self.lm_head(self.model["norm"](x))


def _small(**fields):
    """A configuration of hand size, with an eps that shows."""
    from transformers import LlamaConfig

    sizes = {"vocab_size": 7, "hidden_size": 4, "intermediate_size": 3, "num_hidden_layers": 2, "head_dim": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 0.1, "tie_word_embeddings": True}
    return LlamaConfig(**sizes | heads | fields)


def _random(reference: Callable, config) -> dict[str, Tensor]:
    """Random weights for a module; where head and embedding are one tensor, they stay one."""
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: torch.randn(weight.shape, generator=generator) for name, weight in reference(config).state_dict().items()
    }
    return weights | ({"lm_head.weight": weights["model.embed_tokens.weight"]} if "lm_head.weight" in weights else {})


@torch.no_grad()
def _norm_of(answer: Callable, x: Tensor, weight: Tensor) -> Tensor:
    return with_weights(answer, _small(hidden_size=len(weight)), {"weight": weight})(x)


@torch.no_grad()
def _mlp_of(answer: Callable, x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    weights = {"gate_proj.weight": gate, "up_proj.weight": up, "down_proj.weight": down}
    return with_weights(answer, _small(hidden_size=x.shape[-1], intermediate_size=len(gate)), weights)(x)


@torch.no_grad()
def _layer_of(answer: Callable, x: Tensor) -> Tensor:
    return with_weights(answer, _small(), _random(DecoderLayer, _small()))(x)


@torch.no_grad()
def _logits_of(answer: Callable, ids: Tensor) -> Tensor:
    untouched = answer(_small())
    if untouched.lm_head.weight is not untouched.model["embed_tokens"].weight:
        raise ValueError("lm_head.weight is a tensor of its own: tie it, self.lm_head.weight = embed_tokens.weight")
    return with_weights(answer, _small(), _random(Llama, _small()))(ids)


_TEXT = "The river had been high for a week, and the ferry stayed on the other bank. There was nothing to do but wait."
_base = cache(load_base_model)


@cache
@torch.no_grad()
def _stream(layer: int) -> Tensor:
    """The residual stream before a layer of the real model, at eight tokens: (1, 8, 576)."""
    ids = load_tokenizer()(_TEXT, return_tensors="pt")["input_ids"][:, :8]
    return _base()(ids, output_hidden_states=True).hidden_states[layer]


@torch.no_grad()
def _in_layer(part: str) -> Callable:
    """Return how a part of a real layer is tried on the stream before that layer."""

    @torch.no_grad()
    def use(answer: Callable, layer: int) -> Tensor:
        there = _base().model.layers[layer].get_submodule(part)
        return with_weights(answer, _base().config, there.state_dict())(_stream(layer))

    return use


@lru_cache(maxsize=2)  # an answer and the reference; their weights are those of the base model, not copies
def _whole(answer: Callable) -> nn.Module:
    return with_weights(answer, _base().config, _base().state_dict())


@torch.no_grad()
def _all_logits(answer: Callable, text: str) -> Tensor:
    """Four weighted sums of the logits of each token, over the whole vocabulary: (tokens, 4)."""
    ids = load_tokenizer()(text, return_tensors="pt")["input_ids"]
    logits = _whole(answer)(ids)[0]
    return logits @ torch.randn(logits.shape[-1], 4, generator=torch.Generator().manual_seed(0))


@lru_cache(maxsize=2)
@torch.no_grad()
def _greedy(answer: Callable, prompt: str, tokens: int) -> list[int]:
    ids = load_tokenizer()(prompt, return_tensors="pt")["input_ids"]
    for _ in range(tokens):
        ids = torch.cat([ids, _whole(answer)(ids)[:, -1:].argmax(dim=-1)], dim=1)
    return ids[0].tolist()


def _wrong(right: type, forward: Callable) -> type:
    """A class that computes something else than `right`."""
    return type(right.__name__, (right,), {"forward": forward})


def _combined(combine: Callable) -> type:
    """A wrong MLP: `combine(gate x, up x)` goes into down."""
    return _wrong(MLP, lambda self, x: self.down_proj(combine(self.gate_proj(x), self.up_proj(x))))


def _ordered(order: Callable) -> type:
    """A wrong layer: `order(x, norm1, attention, norm2, mlp)`."""
    parts = ("input_layernorm", "self_attn", "post_attention_layernorm", "mlp")
    return _wrong(DecoderLayer, lambda self, x: order(x, *(getattr(self, part) for part in parts)))


class _OneLayer(Llama):
    def __init__(self, config):
        super().__init__(config)
        self.model["layers"] = nn.ModuleList([DecoderLayer(config)] * config.num_hidden_layers)


def _through(self, x: Tensor) -> Tensor:
    for layer in self.model["layers"]:
        x = layer(x)
    return x


_RMS_NORM = Step(
    name="rms_norm",
    question="RMSNorm: each token's vector divided by its root mean square, then each feature scaled.",
    difficulty=1,
    minutes=8,
    hints=(
        "The configuration has hidden_size and rms_norm_eps. The weight is nn.Parameter(torch.ones(...)).",
        "x is (batch, tokens, hidden). The mean square of each token is x.pow(2).mean(dim=-1, keepdim=True).",
        "Divide by the root of (mean square + eps), then multiply by the weight.",
    ),
    takeaway="No mean is subtracted, nothing is added: the direction stays until the weight changes it.",
    mistakes=(
        Mistake(
            "eps outside the root",
            _wrong(RMSNorm, lambda self, x: x / (x.pow(2).mean(-1, keepdim=True).sqrt() + self.eps) * self.weight),
            "it is sqrt(mean + eps), not sqrt(mean) + eps.",
        ),
        Mistake(
            "eps forgotten",
            _wrong(RMSNorm, lambda self, x: x / x.pow(2).mean(-1, keepdim=True).sqrt() * self.weight),
            "without eps a row of zeros becomes nan. It stands under the root: sqrt(mean + eps).",
        ),
        Mistake(
            "mean subtracted",
            _wrong(RMSNorm, lambda self, x: F.layer_norm(x, x.shape[-1:], self.weight, None, self.eps)),
            "that is LayerNorm. RMSNorm leaves the mean where it is.",
        ),
        Mistake(
            "sum instead of mean",
            _wrong(RMSNorm, lambda self, x: x / torch.sqrt(x.pow(2).sum(-1, keepdim=True) + self.eps) * self.weight),
            "that divides by the length. Take the mean of the squares, not their sum.",
        ),
        Mistake(
            "mean over everything",
            _wrong(RMSNorm, lambda self, x: x / torch.sqrt(x.pow(2).mean() + self.eps) * self.weight),
            "each token has a mean square of its own: mean(dim=-1, keepdim=True).",
        ),
        Mistake(
            "root forgotten",
            _wrong(RMSNorm, lambda self, x: x / (x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight),
            "that divides by the mean square. Divide by its root.",
        ),
        Mistake(
            "weight forgotten",
            _wrong(RMSNorm, lambda self, x: x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)),
            "the division is right. Multiply each feature by its weight.",
        ),
        Mistake(
            "one plus weight",
            _wrong(
                RMSNorm,
                lambda self, x: x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * (1 + self.weight),
            ),
            "Gemma stores weight - 1 and needs that. Llama stores the weight itself.",
        ),
    ),
    reference=RMSNorm,
    cases=(
        Case("(3, 4), with an eps of 0.1", (torch.tensor([[[3.0, 4.0]]]), torch.ones(2)), _norm_of),
        Case(
            "two tokens",
            (torch.tensor([[[0.3, -0.1, 0.2, 0], [3, 0, 1, -2]]]), torch.tensor([1.0, 2, 0.5, 3])),
            _norm_of,
        ),
        Case("zeros", (torch.zeros(1, 1, 2), torch.ones(2)), _norm_of),
        Case("layer 10", (10,), _in_layer("input_layernorm")),
    ),
)

_MLP = Step(
    name="mlp",
    question="The MLP: gate, up and down, each an nn.Linear without a bias.",
    difficulty=1,
    minutes=6,
    hints=(
        "gate_proj and up_proj lead from hidden_size to intermediate_size, down_proj leads back.",
        "The SiLU of gate_proj(x) times up_proj(x), number by number, goes through down_proj.",
        "nn.functional.silu is the function.",
    ),
    takeaway="75 % of a layer's weights, in one line.",
    mistakes=(
        Mistake(
            "gate and up swapped",
            _combined(lambda g, u: g * F.silu(u)),
            "a fresh model would not mind, but these weights were trained with SiLU on the gate.",
        ),
        Mistake("no activation", _combined(lambda g, u: g * u), "the gate goes through SiLU before the product."),
        Mistake(
            "SiLU after the product",
            _combined(lambda g, u: F.silu(g * u)),
            "SiLU acts on the gate, before the product.",
        ),
        Mistake("SiLU on both", _combined(lambda g, u: F.silu(g) * F.silu(u)), "up stays as it is: no SiLU there."),
        Mistake(
            "sigmoid instead of SiLU",
            _combined(lambda g, u: g.sigmoid() * u),
            "that is the older GLU. SiLU is z * sigmoid(z).",
        ),
        Mistake("ReLU instead of SiLU", _combined(lambda g, u: F.relu(g) * u), "that is ReGLU. Llama uses SiLU."),
        Mistake("GELU instead of SiLU", _combined(lambda g, u: F.gelu(g) * u), "that is GEGLU. Llama uses SiLU."),
        Mistake("sum instead of product", _combined(lambda g, u: F.silu(g) + u), "the gate multiplies: use *, not +."),
        Mistake("up forgotten", _combined(lambda g, u: F.silu(g)), "multiply SiLU(gate x) by up x before down."),
    ),
    reference=MLP,
    cases=(
        Case("one token", (_X[None, :1], _GATE, _UP, _DOWN), _mlp_of),
        Case("two tokens", (_X[None], _GATE, _UP, _DOWN), _mlp_of),
        Case("layer 10", (10,), _in_layer("mlp")),
    ),
)

_DECODER_LAYER = Step(
    name="decoder_layer",
    question="The layer: two norms, attention and MLP, around a stream that is only added to.",
    difficulty=2,
    minutes=8,
    hints=(
        "Attributes: input_layernorm, self_attn, post_attention_layernorm, mlp. Each is built from the configuration.",
        "Twice the same: normalise a copy of the stream, compute on it, add the result to the stream.",
        "x = x + self.self_attn(self.input_layernorm(x)), and then the same with the second norm and the MLP.",
    ),
    takeaway="The stream is never normalised or multiplied inside a layer, only added to.",
    mistakes=(
        Mistake(
            "no residual",
            _ordered(lambda x, norm1, attention, norm2, mlp: mlp(norm2(attention(norm1(x))))),
            "the layer returns what it computes and forgets the stream. Add each result to x.",
        ),
        Mistake(
            "first text only",
            _ordered(lambda x, norm1, attention, norm2, mlp: (y := x + attention(norm1(x))[0]) + mlp(norm2(y))),
            "your Attention returns a tensor, so [0] is its first text. The one of transformers returns a tuple.",
        ),
        Mistake(
            "the results normalised",
            _ordered(lambda x, norm1, attention, norm2, mlp: (y := x + norm1(attention(x))) + norm2(mlp(y))),
            "the norms stand before attention and MLP, not behind them: the results are added as they are.",
        ),
        Mistake(
            "residual around the MLP only",
            _ordered(lambda x, norm1, attention, norm2, mlp: (y := attention(norm1(x))) + mlp(norm2(y))),
            "attention's result is added to x as well.",
        ),
        Mistake(
            "residual around attention only",
            _ordered(lambda x, norm1, attention, norm2, mlp: mlp(norm2(x + attention(norm1(x))))),
            "the MLP's result is added to the stream as well.",
        ),
        Mistake(
            "norm after instead of before",
            _ordered(lambda x, norm1, attention, norm2, mlp: norm2((y := norm1(x + attention(x))) + mlp(y))),
            "that is the order of the first transformers. Here each norm stands before attention and MLP.",
        ),
        Mistake(
            "stream normalised",
            _ordered(lambda x, norm1, attention, norm2, mlp: (z := norm2((y := norm1(x)) + attention(y))) + mlp(z)),
            "attention reads the normalised copy, but its result is added to x itself.",
        ),
        Mistake(
            "MLP reads the old stream",
            _ordered(lambda x, norm1, attention, norm2, mlp: x + attention(norm1(x)) + mlp(norm2(x))),
            "that is a parallel block, as in GPT-NeoX. In Llama the MLP reads what attention has added.",
        ),
        Mistake(
            "second sum to the old stream",
            _ordered(lambda x, norm1, attention, norm2, mlp: x + mlp(norm2(x + attention(norm1(x))))),
            "what attention added is lost: the MLP's result is added to the new stream.",
        ),
        Mistake(
            "first norm twice",
            _ordered(lambda x, norm1, attention, norm2, mlp: (y := x + attention(norm1(x))) + mlp(norm1(y))),
            "the MLP has a norm of its own, post_attention_layernorm.",
        ),
        Mistake(
            "no norm",
            _ordered(lambda x, norm1, attention, norm2, mlp: (y := x + attention(x)) + mlp(y)),
            "attention and MLP read normalised copies.",
        ),
        Mistake(
            "MLP first",
            _ordered(lambda x, norm1, attention, norm2, mlp: (y := x + mlp(norm2(x))) + attention(norm1(y))),
            "attention comes first, then the MLP.",
        ),
    ),
    reference=DecoderLayer,
    needs=("attention", "rms_norm", "mlp"),
    cases=(
        Case("one token", (torch.tensor([[[1.0, -2, 0.5, 3]]]),), _layer_of),
        Case(
            "two texts", (torch.tensor([[[1.0, -2, 0, 1], [3, -1, 2, 0]], [[0, 1, 1, -4], [2, 0, 1, 1]]]),), _layer_of
        ),
        Case("layer 10", (10,), _in_layer("")),
    ),
)

_LLAMA = Step(
    name="llama",
    question="The model: an embedding, the layers, a last norm, and a head that is tied to the embedding.",
    difficulty=2,
    minutes=12,
    hints=(
        "self.model = nn.ModuleDict({...}) with embed_tokens, layers (an nn.ModuleList) and norm; self.lm_head beside.",
        "forward: look up the ids in the embedding, go through the layers, then the last norm, then the head.",
        "Tied: self.lm_head.weight = the weight of embed_tokens.",
    ),
    takeaway="All logits of a text, and 50 tokens that transformers would write too. That is your own Llama.",
    mistakes=(
        Mistake(
            "last norm forgotten",
            _wrong(Llama, lambda self, ids: self.lm_head(_through(self, self.model["embed_tokens"](ids)))),
            "the head reads norm(x). Without that its input has the wrong size.",
        ),
        Mistake(
            "norm before the layers",
            _wrong(
                Llama,
                lambda self, ids: self.lm_head(_through(self, self.model["norm"](self.model["embed_tokens"](ids)))),
            ),
            "model.norm stands behind the last layer. Each layer has norms of its own.",
        ),
        Mistake(
            "layers forgotten",
            _wrong(Llama, lambda self, ids: self.lm_head(self.model["norm"](self.model["embed_tokens"](ids)))),
            "x goes through all layers, one after the other: x = layer(x).",
        ),
        Mistake("one layer many times", _OneLayer, "[layer] * n is one layer, n times. Build a new one each time."),
        Mistake(
            "last token only",
            _wrong(Llama, lambda self, ids: Llama.forward(self, ids)[:, -1]),
            "the logits of every token are wanted: (batch, tokens, vocabulary).",
        ),
        Mistake(
            "probabilities",
            _wrong(Llama, lambda self, ids: Llama.forward(self, ids).softmax(dim=-1)),
            "logits are wanted, before the softmax.",
        ),
        Mistake(
            "embedding scaled",
            _wrong(
                Llama,
                lambda self, ids: self.lm_head(
                    self.model["norm"](
                        _through(self, len(self.model["norm"].weight) ** 0.5 * self.model["embed_tokens"](ids))
                    )
                ),
            ),
            "Gemma multiplies the embedding by sqrt(hidden). Llama does not.",
        ),
    ),
    reference=Llama,
    needs=("attention", "rms_norm", "mlp", "decoder_layer"),
    cases=(
        Case("three tokens of a small model", (torch.tensor([[1, 5, 2]]),), _logits_of),
        Case("two texts", (torch.tensor([[1, 5], [0, 6]]),), _logits_of),
        Case("all logits of the real model", (_TEXT,), _all_logits),
        Case("50 tokens of the real model", ("The first ten prime numbers are", 50), _greedy, follows=True),
    ),
)

llama = Build(
    name="llama",
    question="Write your own Llama: a norm, an MLP, a layer, and the model, until it writes what transformers writes.",
    header='"""A Llama, written by hand."""\n\nimport torch\nfrom torch import nn',
    steps=(*map(copy, nb04.llama.steps), _RMS_NORM, _MLP, _DECODER_LAYER, _LLAMA),
)
