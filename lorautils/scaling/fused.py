"""The LoRA layers of a PEFT model with a backward pass written by hand: the same numbers, with fewer and wider kernels.

Notebook 13 finds by profile what it saves and why. For a layer y = W x + s B A d(x), where d is dropout with mask m:
h = s A d(x), y = W x + B h; back, with g = dL/dy and t = s B^T g: dB = g h^T, dA = t d(x)^T, dx = W^T g + d(A^T t).
"""

import copy
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import partial

import torch
import torch.distributed as dist
import torch.nn.functional as F
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import Linear as PeftLinear
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask
from transformers.models.llama import modeling_llama
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRMSNorm

from lorautils.data import IGNORED
from lorautils.training import SummedLoss, kept_rows, read_by_model, rows_only

SHORT = 128  # tokens; attention keeps tokens * tokens numbers a head
GENERATOR = ContextVar("GENERATOR", default=None)  # of dropout's masks, in a thread; None: torch's own
SIBLINGS = {"q_proj": "qkv", "k_proj": "qkv", "v_proj": "qkv", "gate_proj": "gate-up", "up_proj": "gate-up"}


class LoRAProducts(torch.autograd.Function):
    """The outputs of LoRA layers that read the same input x (tokens, in): one (tokens, out) for each W, A, B.

    What is thin is held as (r, tokens), so that rows are long: (out, tokens) @ (tokens, r) takes four times as long as
    its transpose on a CPU. Nothing is kept for the way back but d(x), its mask of one byte a number, and h. W gets no
    gradient, and x none where nobody asks: the first layer reads frozen embeddings.
    """

    @staticmethod
    def forward(ctx, x: Tensor, mask: Tensor | None, scales: Sequence[float], *matrices: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs; `matrices` are W, A, B, W, A, B, ...; `scales` hold s, over the kept share if masked."""
        weights, downs, ups = matrices[0::3], matrices[1::3], matrices[2::3]
        seen = x if mask is None else x * mask
        thin = (torch.cat(downs).to(x.dtype) @ seen.T).split([down.shape[0] for down in downs])
        thin = [h * scale for h, scale in zip(thin, scales, strict=True)]  # each (r, tokens)
        ctx.save_for_backward(seen, mask, *thin, *matrices)
        ctx.scales = scales
        outputs = zip(weights, ups, thin, strict=True)
        return tuple((x @ weight.T.to(x.dtype)).addmm_(h.T, up.T.to(x.dtype)) for weight, up, h in outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients: Tensor):
        """Return the gradients of x and of every A and B."""
        n = len(ctx.scales)
        seen, mask, *rest = ctx.saved_tensors
        thin, weights, downs, ups = rest[:n], rest[n::3], rest[n + 1 :: 3], rest[n + 2 :: 3]
        back = torch.cat(
            [(up.T.to(g.dtype) @ g.T).mul_(s) for up, g, s in zip(ups, gradients, ctx.scales, strict=True)]
        )
        down_gradients = (back @ seen).split([down.shape[0] for down in downs])
        up_gradients = [(h @ g).T for h, g in zip(thin, gradients, strict=True)]
        x_gradient = None
        if ctx.needs_input_grad[0]:
            x_gradient = back.T @ torch.cat(downs).to(seen.dtype)
            if mask is not None:
                x_gradient *= mask
            for g, weight in zip(gradients, weights, strict=True):
                x_gradient.addmm_(g, weight.to(g.dtype))
        triples = zip([None] * n, down_gradients, up_gradients, strict=True)
        return x_gradient, None, None, *(gradient for triple in triples for gradient in triple)


def plain_products(x: Tensor, mask: Tensor | None, scales: Sequence[float], *matrices: Tensor) -> tuple[Tensor, ...]:
    """Return the outputs of `LoRAProducts` for torch.compile, which derives the way back and fuses kernels itself.

    With torch 2.11 on a GPU, a compiled LoRAProducts ran without an error and gave A and B gradients of zero.
    """
    weights, downs, ups = matrices[0::3], matrices[1::3], matrices[2::3]
    seen = x if mask is None else x * mask
    thin = (seen @ torch.cat(downs).to(x.dtype).T).split([down.shape[0] for down in downs], dim=1)  # (tokens, r)
    layers = zip(weights, ups, thin, scales, strict=True)
    return tuple(x @ weight.T.to(x.dtype) + (h * scale) @ up.T.to(x.dtype) for weight, up, h, scale in layers)


def draw_mask(like: Tensor, p: float) -> tuple[Tensor | None, float]:
    """Return a dropout mask (uint8, 1: keep) in the shape of `like`, and the exact share that is kept on average.

    p is rounded to k / 256, of which the share takes account: a random byte is dropped if it is below k. Eight bytes
    are drawn at once, which takes a twelfth of the time of `bernoulli_`, one number at a time.
    """
    if p == 0:
        return None, 1.0
    if torch.compiler.is_compiling():  # a compiler draws them where they are used
        return (torch.rand(like.shape, device=like.device) >= p).to(torch.uint8), 1 - p
    dropped = min(max(round(256 * p), 1), 255)
    words = torch.empty(-(-like.numel() // 8), dtype=torch.int64, device=like.device)
    words.random_(-(2**63), None, generator=GENERATOR.get())
    return words.view(torch.uint8)[: like.numel()].view(like.shape).ge_(dropped), 1 - dropped / 256


class _Group:
    """LoRA layers that read the same input: the first one called computes the outputs of all of them."""

    def __init__(self, layers: Sequence[PeftLinear]):
        self.layers, self.input, self.outputs = layers, None, [None] * len(layers)

    def forward_of(self, index: int) -> Callable[..., Tensor]:
        """Return what stands in for the forward method of the layer of that index."""
        layer, original = self.layers[index], self.layers[index].forward

        def forward(x: Tensor, *args, **kwargs) -> Tensor:
            evaluated = not (torch.is_grad_enabled() or layer.training)  # checkpointing trains without gradients first
            if args or kwargs or layer.merged or layer.disable_adapters or evaluated:
                return original(x, *args, **kwargs)
            if self.input is not x or self.outputs[index] is None:
                self.input, self.outputs = x, self.products(x)
            output, self.outputs[index] = self.outputs[index], None
            if all(other is None for other in self.outputs):
                self.input = None  # whoever holds on to x holds on to its memory
            return output

        return forward

    def products(self, x: Tensor) -> list[Tensor]:
        """Map x (..., in) to the outputs (..., out) of all layers."""
        kind = x.device.type
        rows = x.reshape(-1, x.shape[-1])
        rows = rows.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else rows
        (name,) = self.layers[0].active_adapters
        dropout = self.layers[0].lora_dropout[name]
        mask, kept = draw_mask(rows, dropout.p if isinstance(dropout, nn.Dropout) and dropout.training else 0)
        matrices = [(part.base_layer, part.lora_A[name], part.lora_B[name]) for part in self.layers]
        scales = [part.scaling[name] / kept for part in self.layers]
        products = plain_products if torch.compiler.is_compiling() else LoRAProducts.apply
        outputs = products(rows, mask, scales, *(m.weight for triple in matrices for m in triple))
        return [output.view(*x.shape[:-1], output.shape[-1]) for output in outputs]


def obstacle(layer: LoraLayer) -> str | None:
    """Say what keeps a LoRA layer of PEFT from being fused; None if nothing does."""
    base, active = layer.get_base_layer(), layer.active_adapters
    checks = {
        f"a base layer of type {type(base).__name__}": type(layer) is not PeftLinear or type(base) is not nn.Linear,
        f"{len(active)} active adapters": len(active) > 1,
        "no active adapter": not any(name in layer.lora_A for name in active),
        "a variant such as DoRA": bool(layer.lora_variant),
        "a bias": getattr(base, "bias", None) is not None or any(layer.lora_bias.values()),
        "a forward method that something else has replaced": "forward" in vars(layer),
        "a base layer that is trained": any(weight.requires_grad for weight in base.parameters()),
    }
    return next((reason for reason, holds in checks.items() if holds), None)


def _groups(model: nn.Module, shared_masks: bool) -> Iterator[list[PeftLinear]]:
    """Yield the layers that can be fused, siblings together if they may share a mask; print what cannot be."""
    reasons, found = Counter(), 0
    for parent in model.modules():
        families = defaultdict(list)
        for name, layer in parent.named_children():
            if not isinstance(layer, LoraLayer):
                continue
            found += 1
            if reason := obstacle(layer):
                reasons[reason] += 1
            else:
                share = layer.lora_dropout[layer.active_adapters[0]]
                key = (SIBLINGS.get(name, name), layer.active_adapters[0], getattr(share, "p", 0))
                families[key if shared_masks else name].append(layer)
        yield from families.values()
    for reason, count in reasons.items():
        print(f"not fused: {count} of {found} LoRA layers, which have {reason}; they stay as PEFT computes them")
    if not found:
        print("not fused: the model has no LoRA layers of PEFT; it stays as it is")


@contextmanager
def fused(model: nn.Module, *, shared_masks: bool = True) -> Iterator[None]:
    """Let the LoRA layers of a PEFT model compute by `LoRAProducts` inside this context while they are trained.

    PEFT keeps its parameters, and saves, loads and merges them as ever. With `shared_masks` q, k and v see the same
    dropped inputs, and so do gate and up: fewer random numbers and wider products. Each layer by itself drops as
    before. Without, every layer draws its own mask, as in PEFT. A layer that cannot be fused stays as it is, and the
    reason is printed. Where a layer was fused, a Llama on a CPU also attends by `grouped_attention`, and computes its
    frozen norms and its rotations by `FrozenNorm` and `Rotation`.
    """
    with ExitStack() as undo:
        groups = [_Group(layers) for layers in _groups(model, shared_masks)]
        for group in groups:
            for index, layer in enumerate(group.layers):
                layer.forward = group.forward_of(index)
                undo.callback(delattr, layer, "forward")  # the method of the class is found again
        if groups:
            undo.enter_context(short_parts(model))
        yield


def grouped_attention(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    """Softmax attention as two products, for (batch, heads, tokens, size) and fewer heads of keys and values.

    Heads that share their keys are rows of one product, so that no key is copied. At 40 tokens on a CPU it takes an
    eighth of the time of `F.scaled_dot_product_attention` in bf16 and, with a mask, three quarters in float32.
    """
    batch, heads, tokens, size = query.shape
    if tokens > SHORT or tokens != key.shape[2]:  # the latter while a text is generated
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **kwargs)
    keys, values = (x.reshape(-1, tokens, size) for x in (key, value))  # (batch * shared heads, tokens, size)
    scores = query.reshape(len(keys), -1, size) @ keys.transpose(1, 2)
    scores = scores.view(batch, heads, tokens, tokens) * scaling + attention_mask
    weights = F.dropout(torch.softmax(scores, -1, dtype=torch.promote_types(query.dtype, torch.float32)), dropout)
    mixed = weights.to(query.dtype).view(len(keys), -1, tokens) @ values
    return mixed.view(batch, heads, tokens, size).transpose(1, 2), None


AttentionInterface.register("grouped", grouped_attention)
AttentionMaskInterface.register("grouped", eager_mask)


def is_llama_on_cpu(model: nn.Module) -> bool:
    """Say whether `fused` replaces more of a model than its LoRA layers."""
    config = getattr(getattr(model, "module", model), "config", None)
    return getattr(config, "model_type", None) == "llama" and next(model.parameters()).device.type == "cpu"


class FrozenNorm(torch.autograd.Function):
    """RMSNorm (..., hidden) with a weight that is not trained: fewer kernels there and back."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """Return x / rms(x) * weight."""
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        inverse = torch.rsqrt(length.square_().div_(x.shape[-1]).add_(eps))  # (..., 1)
        ctx.save_for_backward(x, weight, inverse)
        return (x * inverse).mul_(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        """Return the gradient of x."""
        x, weight, inverse = ctx.saved_tensors
        back = gradient * weight
        along = (back * x).sum(-1, keepdim=True)  # a longer x gives the same: what lies along x is taken out
        return back.mul_(inverse).addcmul_(x, along * inverse**3, value=-1 / x.shape[-1]), None, None


class Rotation(torch.autograd.Function):
    """RoPE of queries or keys, (batch, heads, tokens, size); the way back turns by the opposite angle."""

    @staticmethod
    def forward(ctx, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Return x turned; both halves of `cos` and of `sin`, (batch, 1, tokens, size), are the same."""
        ctx.save_for_backward(cos, sin)
        return _turned(x, cos, sin, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        """Return the gradient of x."""
        return _turned(gradient, *ctx.saved_tensors, -1), None, None


def _turned(x: Tensor, cos: Tensor, sin: Tensor, sign: int) -> Tensor:
    half = x.shape[-1] // 2
    out = x * cos
    out[..., :half].addcmul_(x[..., half:], sin[..., :half], value=-sign)
    out[..., half:].addcmul_(x[..., :half], sin[..., half:], value=sign)
    return out


def rotate(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1) -> tuple[Tensor, Tensor]:
    """Do what `apply_rotary_pos_emb` of transformers does, with three kernels a tensor instead of five."""
    cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
    return Rotation.apply(query, cos, sin), Rotation.apply(key, cos, sin)


@contextmanager
def short_parts(model: nn.Module) -> Iterator[None]:
    """Let a Llama on a CPU compute its frozen norms by `FrozenNorm`, its rotations by `Rotation`, and its attention,
    where that is sdpa, the default, by `grouped_attention`.
    """
    with ExitStack() as undo:
        if is_llama_on_cpu(model):
            config = getattr(model, "module", model).config
            if config._attn_implementation == "sdpa":
                undo.callback(setattr, config, "_attn_implementation", "sdpa")
                config._attn_implementation = "grouped"
            undo.callback(setattr, modeling_llama, "apply_rotary_pos_emb", modeling_llama.apply_rotary_pos_emb)
            modeling_llama.apply_rotary_pos_emb = rotate
            for norm in model.modules():
                if type(norm) is LlamaRMSNorm and not norm.weight.requires_grad:
                    norm.forward = partial(_normed, norm)
                    undo.callback(delattr, norm, "forward")
        yield


def _normed(norm: LlamaRMSNorm, x: Tensor) -> Tensor:
    if not x.dtype == norm.weight.dtype == torch.float32 or torch.compiler.is_compiling():
        return LlamaRMSNorm.forward(norm, x)
    return FrozenNorm.apply(x, norm.weight, norm.variance_epsilon)


@contextmanager
def needed_rows_only(model: nn.Module, keep: Tensor) -> Iterator[None]:
    """Let what follows the last attention see only the rows that `keep`, a (batch, tokens) mask, selects.

    No later position reads those rows but the loss, so MLP, norm and output head of a Llama then map
    (1, kept, hidden) instead of (batch, tokens, hidden). In other models it is the output head alone.
    """
    bare = getattr(model, "module", model)  # DistributedDataParallel keeps the model in .module
    layer = [None, *getattr(bare.get_decoder(), "layers", [])][-1]
    first = bare.get_output_embeddings()
    with ExitStack() as undo:
        # transformers checkpoints by wrapping the forward method, which must stay then.
        if type(layer) is LlamaDecoderLayer and not (layer.training and layer.gradient_checkpointing):
            first = layer.self_attn.o_proj
            layer.forward = partial(_last_layer, layer, keep)
            undo.callback(delattr, layer, "forward")
        with rows_only(first, keep):
            yield


def _last_layer(layer: LlamaDecoderLayer, keep: Tensor, hidden_states: Tensor, **kwargs) -> Tensor:
    """Do what a layer does, whose attention gives the selected rows alone."""
    attended, _ = layer.self_attn(hidden_states=layer.input_layernorm(hidden_states), **kwargs)
    rows = kept_rows(hidden_states, keep) + attended
    return rows + layer.mlp(layer.post_attention_layernorm(rows))


def loss_of_fewer_rows(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Return what `training.answer_loss` does, the sum of the answer tokens' cross-entropies, with fewer rows.

    The last token of a row is predicted and predicts nothing, so the last column is not read either.
    """
    width = max(1, batch["labels"].shape[1] - 1)
    labels = F.pad(batch["labels"], (0, 1), value=IGNORED)[:, 1 : 1 + width]  # position t predicts token t + 1
    keep = labels != IGNORED
    with needed_rows_only(model, keep):
        logits = model(**read_by_model(batch, width)).logits
    return F.cross_entropy(logits[0].float(), labels[keep], reduction="sum")


# ------------------------------------------------------------------------------- the two halves of a batch
# A product of large matrices keeps two cores busy. The thousands of small kernels between the products do not: each one
# would have to wake the other core first. With half of the rows for each core, no kernel waits for another.


@contextmanager
def loss(model: nn.Module, *, shared_masks: bool = True, halves: bool = True) -> Iterator[SummedLoss]:
    """Fuse the LoRA layers of a PEFT model, and yield the loss that computes fastest with them: train(..., loss=loss).

    It is called as loss(model, batch), with a batch as `data.collate` makes it, and returns the sum of the answer
    tokens' cross-entropies, like `loss_of_fewer_rows`. That function itself does it where the halves of a batch cannot
    be computed side by side: on a GPU, in another model than a Llama, with a layer that is not fused, with gradient
    checkpointing, bf16 autocast or several processes, or without `halves`.
    """
    if not (halves and can_be_halved(model)):
        with fused(model, shared_masks=shared_masks):
            yield loss_of_fewer_rows
        return
    twin = twin_of(model)
    workers = min(2, torch.get_num_threads())
    both = fused(model, shared_masks=shared_masks), fused(twin, shared_masks=shared_masks)
    with both[0], both[1], ThreadPoolExecutor(workers) as pool:

        def in_halves(called: nn.Module, batch: dict[str, Tensor]) -> Tensor:
            if called is not model or computes_otherwise(model):
                return loss_of_fewer_rows(called, batch)
            return loss_in_halves(pool, (model, twin), batch)

        yield in_halves


def can_be_halved(model: nn.Module) -> bool:
    """Say whether nothing in a model draws random numbers but fused LoRA layers, whose masks each half seeds itself."""
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    fusible = bool(layers) and not any(obstacle(layer) for layer in layers)
    alone = not dist.is_initialized() or dist.get_world_size() == 1
    return fusible and alone and is_llama_on_cpu(model) and model.config.attention_dropout == 0


def computes_otherwise(model: nn.Module) -> bool:
    """Say whether a model has changed since it got a twin: bf16 autocast wraps its forward method, and a layer that is
    computed again for the backward pass would draw other masks the second time.
    """
    again = any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
    return again or "forward" in vars(model)


def twin_of(model: nn.Module) -> nn.Module:
    """Return a copy of a model that shares its parameters and buffers, so that both can compute at once."""
    return copy.deepcopy(model, {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())})


class _KnownGradients(torch.autograd.Function):
    """A loss that came with its gradients: the way back only scales them."""

    @staticmethod
    def forward(ctx, loss: Tensor, gradients: Sequence[Tensor], *parameters: Tensor) -> Tensor:
        """Return the loss, as a function of the parameters."""
        ctx.gradients = gradients
        return loss.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, scale: Tensor):
        """Return the gradients of the parameters."""
        return None, None, *(gradient * scale for gradient in ctx.gradients)


def loss_in_halves(pool: ThreadPoolExecutor, models: Sequence[nn.Module], batch: dict[str, Tensor]) -> Tensor:
    """Return `loss_of_fewer_rows` of a batch, one half of which each of the two models computes.

    Each half's masks follow a seed that is drawn here, so they do not depend on how the threads take turns.
    """
    parameters = [parameter for parameter in models[0].parameters() if parameter.requires_grad]
    models[1].train(models[0].training)
    halves = split(batch)
    seeds = torch.randint(2**63 - 1, (len(halves),)).tolist()
    parts = side_by_side(pool, partial(_loss_and_gradients, parameters), models[: len(halves)], halves, seeds)
    losses, gradients = zip(*parts, strict=True)
    return _KnownGradients.apply(
        sum(losses), [sum(rest, first) for first, *rest in zip(*gradients, strict=True)], *parameters
    )


def split(batch: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Return the even and the odd rows of a batch; of a single row, that one."""
    return [{name: tensor[part::2] for name, tensor in batch.items()} for part in range(min(2, len(batch["labels"])))]


def side_by_side(pool: ThreadPoolExecutor, function: Callable, *arguments: Sequence) -> list:
    """Map a function over its arguments in the threads of a pool, each of which gets half of torch's threads."""
    threads = torch.get_num_threads()

    def alone(*given):
        torch.set_num_threads(max(1, threads // 2))  # of this thread, and of MKL everywhere
        return function(*given)

    try:
        return list(pool.map(alone, *arguments))
    finally:
        torch.set_num_threads(threads)


def _loss_and_gradients(parameters: Sequence[Tensor], model: nn.Module, rows: dict[str, Tensor], seed: int) -> tuple:
    """Return the loss of some rows, and its gradients."""
    GENERATOR.set(torch.Generator().manual_seed(seed))
    loss = loss_of_fewer_rows(model, rows)
    return loss.detach(), torch.autograd.grad(loss, parameters, materialize_grads=True)
