"""The byte ledger: what a training step holds in memory and sends, predicted from a model's shape, and measured.

Notebook 12 teaches it: weights + adapter + moments + the larger of (activations + a moment's workspace) and gradients.
The terms were counted in transformers 5.23's Llama, PEFT 0.21's LoRA and the output head of `lorautils.training`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch.distributed as dist
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlamaConfig

from lorautils.lora import PROJECTIONS

NF4_BYTES = 0.5 + 4 / 64  # four bits a number, and a float32 scale for each block of 64 (bitsandbytes' default)


class Shape(NamedTuple):
    """The numbers of a Llama that its memory depends on."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    mlp: int
    vocabulary: int
    tied: bool

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """(in, out) of the seven projections of one layer."""
        d, m, q, kv = self.hidden, self.mlp, self.heads * self.head_size, self.kv_heads * self.head_size
        attention = {"q_proj": (d, q), "k_proj": (d, kv), "v_proj": (d, kv), "o_proj": (q, d)}
        return attention | {"gate_proj": (d, m), "up_proj": (d, m), "down_proj": (m, d)}

    @property
    def layer_weights(self) -> int:
        """How many numbers the seven projections of one layer hold."""
        return sum(rows * columns for rows, columns in self.linears.values())

    @property
    def embedding(self) -> int:
        """How many numbers the input embedding holds; the output head holds as many, or is the same tensor (tied)."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """How many numbers the model holds; tied embeddings count once."""
        norms = (2 * self.layers + 1) * self.hidden
        return self.layers * self.layer_weights + (1 if self.tied else 2) * self.embedding + norms


# Sources: config.json of SmolLM2-135M-Instruct and of Llama 3.2 1B; Llama 3's report (arXiv 2407.21783), table 3.
SHAPES = {
    "135M": Shape(576, 30, 9, 3, 64, 1536, 49152, tied=True),
    "1B": Shape(2048, 16, 32, 8, 64, 8192, 128256, tied=True),
    "8B": Shape(4096, 32, 32, 8, 128, 14336, 128256, tied=False),
    "70B": Shape(8192, 80, 64, 8, 128, 28672, 128256, tied=False),
}


# What the configuration of transformers calls the fields of a Shape, in their order.
LLAMA_NAMES = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim"),
    *("intermediate_size", "vocab_size", "tie_word_embeddings"),
)
Model = str | Shape | LlamaConfig


def shape_of(model: Model) -> Shape:
    """Return the shape of a model: a name in SHAPES or ValueError, a shape, or a configuration of transformers."""
    if isinstance(model, LlamaConfig):
        return Shape(*(getattr(model, name) for name in LLAMA_NAMES))
    return SHAPES[_one_of("model", model, SHAPES)] if isinstance(model, str) else model


def configuration(shape: Shape, **more) -> LlamaConfig:
    """Return the configuration of a Llama of that shape; `more` are other fields of it. The inverse of `shape_of`."""
    return LlamaConfig(**dict(zip(LLAMA_NAMES, shape, strict=True)), use_cache=False, **more)


PRECISIONS = {"float32": 4, "bfloat16": 2, "mixed": 2}  # bytes of a number in what is computed
METHODS, SHARDINGS = ("LoRA", "QLoRA", "full"), ("DDP", "FSDP")


@dataclass(frozen=True)
class Step:
    """One training step on one of `devices` devices: everything but the model's shape that decides its memory.

    batch: sequences a device; length: tokens a sequence. r, targets and dropout are LoRA's (method "full" has none).
    predicted: tokens that the output head sees, None for all. padding: some rows are shorter, so attention has a mask.
    checkpointing: each layer keeps its input only and is computed again. sharding: "DDP" copies everything to every
    device; "FSDP" splits weights, gradients and moments, and gathers one layer at a time (`fully_shard` a layer).
    precision: "float32" or "bfloat16" of all but the adapter; "mixed" stores weights, gradients and moments in float32
    and computes with copies in bf16: torch's autocast, or FSDP's `MixedPrecisionPolicy(param_dtype=torch.bfloat16)`.
    ValueError for a batch, length, r or devices below 1, or a word that is not known.
    """

    batch: int
    length: int
    method: str = "LoRA"
    r: int = 8
    targets: Sequence[str] = tuple(PROJECTIONS)
    dropout: float = 0.1
    precision: str = "bfloat16"
    checkpointing: bool = False
    predicted: int | None = None
    padding: bool = False
    device: str = "cuda"
    devices: int = 1
    sharding: str = "DDP"

    def __post_init__(self):
        if min(self.batch, self.length, self.r, self.devices) < 1:
            raise ValueError(f"batch, length, r and devices must be at least 1, got {self}")
        if not set(self.targets) <= set(PROJECTIONS):
            raise ValueError(f"targets must be names of {', '.join(PROJECTIONS)}, got {self.targets!r}")
        choices = {"method": METHODS, "precision": PRECISIONS, "device": ("cuda", "cpu"), "sharding": SHARDINGS}
        for name, known in choices.items():
            _one_of(name, getattr(self, name), known)

    @property
    def size(self) -> int:
        """Bytes of a number in activations, and in weights as they are computed with and gathered."""
        return PRECISIONS[self.precision]

    @property
    def stored(self) -> int:
        """Bytes of a number in weights and gradients as they are stored; an adapter stays in float32 (PEFT)."""
        return 4 if self.precision == "mixed" else self.size

    @property
    def tokens(self) -> int:
        """Tokens on a device, T."""
        return self.batch * self.length

    @property
    def rows(self) -> int:
        """Tokens on a device that the output head sees."""
        return self.tokens if self.predicted is None else self.predicted


def _one_of(what: str, given: str, known: Iterable[str]) -> str:
    if given not in known:
        raise ValueError(f"{what} must be one of {', '.join(known)}, got {given!r}")
    return given


class Ledger(NamedTuple):
    """Bytes on one device in a training step; print it for a table.

    communication: DDP's flat copy of the gradients, or the layers that FSDP has gathered. loss and layer exist for a
    moment: what the loss needs beyond its log-probabilities, and what the backward pass of one layer needs, which with
    checkpointing includes the layer's activations. Gradients appear while activations go: the larger side counts.
    """

    weights: int
    adapter: int
    moments: int
    communication: int
    activations: int
    loss: int
    layer: int
    gradients: int

    @property
    def total(self) -> int:
        """The predicted peak, in bytes."""
        fixed = self.weights + self.adapter + self.moments + self.communication
        after_loss = self.activations - self.loss // 2  # the log-probabilities are gone
        return fixed + max(self.activations + self.loss, after_loss + self.layer, self.gradients + self.layer)

    def __str__(self) -> str:
        rows = {**self._asdict(), "peak": self.total}
        return "\n".join(f"{name:14}{size / 2**30:9.3f} GiB" for name, size in rows.items())


def layer_activations(model: Model, step: Step) -> dict[str, int]:
    """Return the bytes that one decoder layer keeps for the backward pass, term by term.

    T is batch * length, and c the bytes of a number.
    """
    s, c, T = shape_of(model), step.size, step.tokens
    d, q, kv = s.hidden, s.heads * s.head_size, s.kv_heads * s.head_size
    terms = {
        "norms": 2 * 4 * (T * d + T),  # x (T, hidden) in float32 and 1 / rms (T,), twice
        "queries": c * T * q,  # (batch, heads, length, head size), after RoPE
        "keys and values": 2 * c * T * (q if step.padding else kv),  # a mask: copied for each head of queries
        "attention": c * T * q + 4 * T * s.heads,  # its output; the log of the softmax's sum (T, heads)
        "attention mask": c * T * step.length if step.padding else 0,
        "MLP": 3 * c * T * s.mlp,  # gate x, SiLU(gate x), up x: (T, mlp) each
        "inputs": _inputs(s, step),
        "bf16 weights": 2 * lora_parameters(s, step) // s.layers if c == 2 else 0,  # autocast's copies of A and B
    }
    if step.method == "full":
        return terms | {"normalised": 2 * c * T * d}  # x / rms, for the norms' weights
    return terms | {"dropout": _masks(s, step), "h": c * T * step.r * len(step.targets)}  # A x: (T, r) for each target


def _inputs(s: Shape, step: Step) -> int:
    """Bytes kept of what the projections read: (T, in); one each after a cast or dropout, or else shared."""
    names = PROJECTIONS if step.method == "full" else step.targets
    casts = step.precision == "bfloat16" and not (step.method == "QLoRA" and step.device == "cuda")  # there CUDA casts
    if step.method == "full" or not (step.dropout > 0 or casts):
        groups = PROJECTIONS[:3], PROJECTIONS[4:6], PROJECTIONS[6:]  # what o_proj reads, attention keeps already
        names = [group[0] for group in groups if set(group) & set(names)]
    return step.size * step.tokens * sum(s.linears[name][0] for name in names)


def _masks(s: Shape, step: Step, names: Sequence[str] = PROJECTIONS) -> int:
    """Bytes of LoRA's dropout masks, (T, in) a target: one byte a number on a GPU, float32 on a CPU."""
    size = 1 if step.device == "cuda" else 4
    width = sum(s.linears[name][0] for name in step.targets if name in names)
    return size * step.tokens * width if step.dropout and step.method != "full" else 0


def lora_parameters(model: Model, step: Step) -> int:
    """Return how many numbers LoRA adds: r (in + out) for each target of each layer; 0 in full fine-tuning.

    Example:
        >>> lora_parameters("135M", Step(batch=8, length=36, r=8))
        2442240
    """
    s = shape_of(model)
    per_layer = sum(step.r * sum(s.linears[name]) for name in step.targets)
    return 0 if step.method == "full" else s.layers * per_layer


def _trainable(s: Shape, step: Step) -> int:
    """Bytes of what trains: the base in its own precision, or the adapter, which PEFT keeps in float32."""
    if step.method == "full":
        return step.stored * s.parameters
    return 4 * lora_parameters(s, step)


def activations(model: Model, step: Step) -> int:
    """Return the bytes that the forward pass keeps for the backward pass, as `measure.kept_bytes` counts them.

    With checkpointing each layer keeps its input alone. The loss keeps its log-probabilities in float32.
    """
    s, c, full = shape_of(model), step.size, step.method == "full"
    T, d = step.tokens, s.hidden
    norm = 4 * (T * d + T)
    ends = norm + 4 * step.rows * s.vocabulary  # the last norm; log-probabilities (rows, vocabulary)
    if full:
        ends += c * T * d + c * step.rows * d  # x / rms; what the trained head reads
    if step.precision == "mixed" and step.sharding == "DDP":
        ends += c * (s.layers * s.layer_weights + s.embedding)  # autocast's copies of all matrices
    if step.checkpointing:
        return ends + s.layers * c * T * d
    first = 0 if full else norm + _masks(s, step, PROJECTIONS[:3])  # nothing below it trains, so it keeps less
    return ends + s.layers * sum(layer_activations(s, step).values()) - first


def predict(model: Model, step: Step) -> Ledger:
    """Return the ledger of one device in a training step after the first, with fused AdamW.

    Measured within 10 % for eight layers or more: on a CPU in tests/test_memory.py, on one to four GPUs in scale.jsonl.
    Left out: the CUDA context, memory that the allocator holds and does not use, kernels' own buffers. Where only the
    MLP has adapters, the first layer keeps less than is said here.
    """
    s, c, T = shape_of(model), step.size, step.tokens
    full, trainable = step.method == "full", _trainable(s, step)
    share = step.devices if step.sharding == "FSDP" else 1
    layer = 4 * T * (2 * s.mlp + s.hidden)  # about two float32 gradients (T, mlp) and one (T, hidden)
    if step.checkpointing:
        layer += sum(layer_activations(s, step).values())
    if step.method == "QLoRA":
        layer += c * max(rows * columns for rows, columns in s.linears.values())  # one matrix, dequantised
    if full:
        layer += step.stored * s.embedding * (2 if s.tied else 1)  # the head's gradient waits for the embedding's
    return Ledger(
        weights=_weights(s, step, step.stored) // share,
        adapter=0 if full else trainable // share,
        moments=2 * trainable // share,
        communication=_communication(s, step),
        activations=activations(s, step),
        loss=8 * step.rows * s.vocabulary,  # two float32 gradients of logits
        layer=layer,
        gradients=trainable // share,
    )


def _weights(s: Shape, step: Step, size: int) -> int:
    """Bytes of the base, `size` a number; QLoRA quantises the seven projections and nothing else."""
    projections = s.layers * s.layer_weights
    quantised = projections if step.method == "QLoRA" else 0
    return size * (s.parameters - quantised) + round(NF4_BYTES * quantised)


def _communication(s: Shape, step: Step) -> int:
    """Bytes of DDP's gradient buckets, or of what `fully_shard` has gathered: embeddings, this layer and the next."""
    if step.devices == 1:
        return 0
    if step.sharding == "DDP":
        return _trainable(s, step)
    return _gathered_once(s, step) + 2 * (_weights(s, step, step.size) - _gathered_once(s, step)) // s.layers


def _gathered_once(s: Shape, step: Step) -> int:
    """Bytes of the embeddings and the last norm, which stay gathered from the forward to the backward pass."""
    return step.size * ((1 if s.tied else 2) * s.embedding + s.hidden)


def communicated(model: Model, step: Step) -> int:
    """Return the bytes that each device receives in a step, with ring algorithms.

    DDP sums the gradients: 2 (N - 1) / N of their bytes. FSDP gathers all weights for the forward pass and the layers
    again for the backward pass, and scatters summed gradients: a frozen base is gathered but has no gradients to send.
    """
    s = shape_of(model)
    trainable = _trainable(s, step)
    if step.sharding == "DDP":
        moved = 2 * trainable
    else:
        adapter = 0 if step.method == "full" else trainable
        moved = 2 * (_weights(s, step, step.size) + adapter) - _gathered_once(s, step) + trainable
    return moved * (step.devices - 1) // step.devices


def kv_cache(model: Model, batch: int, length: int, size: int = 2) -> int:
    """Return the bytes of the keys and values of `batch` sequences of `length` tokens; `size` is 2 in bf16."""
    s = shape_of(model)
    return 2 * s.layers * s.kv_heads * s.head_size * size * batch * length


class Received(TorchDispatchMode):
    """Adds up in `total` the bytes that this device receives from the others, if rings deliver them: `communicated`'s
    counterpart. Sums of gradients and gathered weights count; what happens once, such as a broadcast, does not.
    """

    total = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        if operation.namespace == "c10d":
            others = dist.get_world_size() - 1
            first, second, *_ = args
            match operation.overloadpacket.__name__:
                case "allreduce_":  # each device's part is summed up on the way round, and then passed round
                    self.total += sum(2 * t.nbytes * others // (others + 1) for t in first)
                case "_allgather_base_":  # (output, input)
                    self.total += second.nbytes * others
                case "_reduce_scatter_base_":  # (output, input)
                    self.total += first.nbytes * others
        return operation(*args, **(kwargs or {}))
