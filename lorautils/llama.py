"""A Llama that fits on three screens: RMSNorm, RoPE, grouped-query attention, SwiGLU, decoder, greedy generation.

Notebook 04 builds its attention, notebook 05 shows all of it. Names are those of transformers, so checkpoints load as
they are. A layer: h = x + Attention(norm(x)), then h + MLP(norm(h)). The model: lm_head(norm(all layers(embedding))).
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMPLEMENTED = {  # field of the configuration: the values that this file computes correctly
    "model_type": ("llama", "mistral"),  # without its sliding window, Mistral is a Llama
    "hidden_act": ("silu",),
    "rope_type": ("default",),
    "sliding_window": (None,),
}


class RMSNorm(nn.Module):
    """Divide each vector by its root mean square, then scale each feature: x / sqrt(mean(x^2) + eps) * weight."""

    def __init__(self, size: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., size) to the same shape; the mean is taken in float32, also of a bf16 model."""
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(dim=-1, keepdim=True) + self.eps)
        return self.weight * wide.to(x.dtype)


def rotary_cos_sin(positions: Tensor, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Return cosine and sine of the angle position * theta^(-2i / head_dim) for each pair i: (tokens, head_dim / 2)."""
    exponents = torch.arange(0, head_dim, 2, device=positions.device).float() / head_dim
    angles = positions[:, None].float() * (1 / theta**exponents)
    return angles.cos(), angles.sin()


def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair (x[i], x[i + head_dim / 2]) by its angle: (batch, heads, tokens, head_dim) to the same shape."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def causal_mask(tokens: int, past: int = 0, attention_mask: Tensor | None = None) -> Tensor:
    """Return what each query may see, True for yes: (batch or 1, 1, tokens, past + tokens); padding has mask 0."""
    device = None if attention_mask is None else attention_mask.device
    seen = torch.ones(tokens, past + tokens, dtype=torch.bool, device=device).tril(past)[None, None]
    return seen if attention_mask is None else seen & attention_mask[:, None, None, :].bool()


class Attention(nn.Module):
    """Grouped-query attention: each head of k and v serves several heads of q; o_proj mixes what the heads bring."""

    def __init__(self, config):
        super().__init__()
        self.head_dim = head_dim(config)
        self.groups = config.num_attention_heads // config.num_key_value_heads
        bias = getattr(config, "attention_bias", False)
        q_size = config.num_attention_heads * self.head_dim
        kv_size = config.num_key_value_heads * self.head_dim
        self.q_proj = nn.Linear(config.hidden_size, q_size, bias)
        self.k_proj = nn.Linear(config.hidden_size, kv_size, bias)
        self.v_proj = nn.Linear(config.hidden_size, kv_size, bias)
        self.o_proj = nn.Linear(q_size, config.hidden_size, bias)

    def split(self, x: Tensor) -> Tensor:
        """Cut the features into heads: (batch, tokens, heads * head_dim) to (batch, heads, tokens, head_dim)."""
        return x.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor, cache: dict | None = None) -> Tensor:
        """Map (batch, tokens, hidden) to the same shape; `cache` keeps k and v of all tokens so far."""
        q, k, v = self.split(self.q_proj(x)), self.split(self.k_proj(x)), self.split(self.v_proj(x))
        q, k = apply_rope(q, cos, sin), apply_rope(k, cos, sin)
        if cache is not None:
            if cache:
                k, v = torch.cat([cache["k"], k], dim=2), torch.cat([cache["v"], v], dim=2)
            cache.update(k=k, v=v)
        k, v = k.repeat_interleave(self.groups, dim=1), v.repeat_interleave(self.groups, dim=1)
        scores = q @ k.transpose(-1, -2) / math.sqrt(self.head_dim)
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)  # not -inf: a row of padding would be nan
        weights = scores.softmax(dim=-1, dtype=torch.float32).to(x.dtype)
        return self.o_proj((weights @ v).transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x)), for each token by itself."""

    def __init__(self, config):
        super().__init__()
        bias = getattr(config, "mlp_bias", False)
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., hidden) to the same shape."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class DecoderLayer(nn.Module):
    """Attention, then MLP; each reads a normalised copy of the residual stream and adds its result to the stream."""

    def __init__(self, config):
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor, cache: dict | None = None) -> Tensor:
        """Map (batch, tokens, hidden) to the same shape."""
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    """The language model, built from a configuration of transformers (`LlamaConfig`); dropout is not implemented."""

    def __init__(self, config):
        super().__init__()
        check_config(config)
        self.config = config
        layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.num_hidden_layers))
        embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.model = nn.ModuleDict({"embed_tokens": embed_tokens, "layers": layers, "norm": norm})
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.tie()

    def tie(self) -> None:
        """Let the head be the embedding table itself, where the configuration says so."""
        if self.config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    @classmethod
    def from_state_dict(cls, config, state_dict: Mapping[str, Tensor]) -> "Llama":
        """Build the model around the weights of a checkpoint; they are shared with `state_dict`, not copied."""
        with torch.device("meta"):  # shapes only: no memory, no random numbers
            model = cls(config)
        weights = {name: w for name, w in state_dict.items() if not name.endswith("rotary_emb.inv_freq")}
        if config.tie_word_embeddings and "model.embed_tokens.weight" in weights:  # files store tied weights once
            head = weights.setdefault("lm_head.weight", weights["model.embed_tokens.weight"])
            if not torch.equal(head, weights["model.embed_tokens.weight"]):
                raise ValueError(
                    "lm_head.weight differs from the embeddings: set tie_word_embeddings=False to keep both"
                )
        model.load_state_dict(weights, assign=True)
        model.tie()
        return model.eval()

    def new_cache(self) -> list[dict]:
        """Return an empty KV cache, one dictionary a layer, which `forward` fills."""
        return [{} for _ in self.model.layers]

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, cache: list | None = None) -> Tensor:
        """Map ids (batch, tokens) to logits (batch, tokens, vocabulary).

        `attention_mask` is (batch, past + tokens), 0 for padding, where past counts the tokens in the cache.
        """
        caches = [None] * len(self.model.layers) if cache is None else cache
        if len(caches) != len(self.model.layers):
            raise ValueError(f"cache has {len(caches)} entries, expected one a layer: start with new_cache()")
        past = caches[0]["k"].shape[2] if caches[0] else 0
        check_ids(input_ids, attention_mask, past)
        tokens, device = input_ids.shape[1], input_ids.device
        positions = torch.arange(past, past + tokens, device=device)
        cos, sin = rotary_cos_sin(positions, head_dim(self.config), self.config.rope_parameters["rope_theta"])
        mask = causal_mask(tokens, past, attention_mask).to(device)
        x = self.model.embed_tokens(input_ids)
        for layer, layer_cache in zip(self.model.layers, caches, strict=True):
            x = layer(x, cos, sin, mask, layer_cache)
        return self.lm_head(self.model.norm(x))


@torch.inference_mode()
def generate(
    model: Llama,
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    max_new_tokens: int = 20,
    eos_token_id: int | None = None,
) -> Tensor:
    """Append the most probable token, again and again: ids (batch, tokens) to (batch, tokens + new).

    Prompts of different length are padded on the left. A row that has given `eos_token_id` is filled up with it.
    """
    check_ids(input_ids, attention_mask, past=0)
    mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
    if not mask[:, -1].all():
        raise ValueError("a row ends in padding, and the next token would follow the padding: pad on the left")
    cache, ids, unread = model.new_cache(), input_ids, input_ids
    done = torch.zeros(len(ids), 1, dtype=torch.bool, device=ids.device)
    for _ in range(max_new_tokens):
        unread = model(unread, mask, cache)[:, -1:].argmax(dim=-1)  # only the new token has still to be read
        if eos_token_id is not None:
            unread = unread.masked_fill(done, eos_token_id)
            done = done | (unread == eos_token_id)
        ids, mask = torch.cat([ids, unread], dim=1), torch.cat([mask, torch.ones_like(unread)], dim=1)
        if done.all():
            break
    return ids


def head_dim(config) -> int:
    """Return the size of a head: its own field, or hidden_size shared among the heads."""
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def check_config(config) -> None:
    """Raise ValueError, naming the field, if this file would compute something else than the checkpoint means."""
    given = {name: getattr(config, name, None) for name in IMPLEMENTED}
    given["rope_type"] = (getattr(config, "rope_parameters", None) or {}).get("rope_type")
    for name, values in IMPLEMENTED.items():
        if given[name] not in values:
            raise ValueError(f"{name} = {given[name]!r} is not implemented here, only {values}: use transformers")
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    if heads % kv_heads:
        raise ValueError(f"num_attention_heads = {heads} must be a multiple of num_key_value_heads = {kv_heads}")


def check_ids(input_ids: Tensor, attention_mask: Tensor | None, past: int) -> None:
    """Raise ValueError if ids or mask have a shape that `Llama.forward` cannot read."""
    if input_ids.dim() != 2 or not input_ids.numel():
        given = tuple(input_ids.shape)
        raise ValueError(f"input_ids has shape {given}, expected (batch, tokens); for one text: ids[None]")
    expected = (input_ids.shape[0], past + input_ids.shape[1])
    if attention_mask is not None and attention_mask.shape != expected:
        given = tuple(attention_mask.shape)
        raise ValueError(f"attention_mask has shape {given}, expected {expected}: one column a token, cached ones too")
