"""Write an adapter, or a whole model, as GGUF: the file that llama.cpp and Ollama read.

Notebook 15 teaches it. The numbers stay what they are. What changes: the names; in a Llama the order of the rows of q
and k; and one file holds the weights, the shape of the model and the tokenizer. y = W x + (alpha / r) B A x: the file
of an adapter holds alpha, and the reader takes r from each tensor.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import gguf
import torch
from gguf import GGMLQuantizationType as Kind
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

TYPES = {"F32": 0, "F16": 1, "Q8_0": 7, "Q4_1": 3}  # and the numbers that stand for them in general.file_type
NAMES = {
    "model.embed_tokens": "token_embd",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "model.norm": "output_norm",
    "lm_head": "output",
}
# How a tokenizer cuts a text before its merges, and llama.cpp's name for it. A digit alone; Qwen2's expression.
DIGITS = ["Digits", "ByteLevel"]
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
OTHER = "export it with `--to merged`, and write the GGUF with llama.cpp's convert_hf_to_gguf.py"


def tensor_name(module: str) -> str:
    """Return llama.cpp's name for a module of transformers, without `.weight`.

    Example:
        >>> tensor_name("model.layers.3.self_attn.q_proj")
        'blk.3.attn_q'
    """
    layer, name = re.fullmatch(r"(?:model\.layers\.(\d+)\.)?(.+)", module).groups()
    if name not in NAMES:
        raise ValueError(f"llama.cpp has no tensor for {module}, a module of this model: {OTHER}")
    return f"blk.{layer}.{NAMES[name]}" if layer else NAMES[name]


def neighbours(rows: Tensor, heads: int) -> Tensor:
    """Reorder the rows (heads * size, ...) of a Llama's q or k, head by head.

    RoPE turns pairs of rows. transformers pairs row i with row i + size / 2, llama.cpp rows 2 i and 2 i + 1.

    Example:
        >>> neighbours(torch.tensor([0, 1, 2, 3, 10, 11, 12, 13]), heads=2).tolist()
        [0, 2, 1, 3, 10, 12, 11, 13]
    """
    return rows.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)


def reordered(rows: Tensor, module: str, config: PretrainedConfig) -> Tensor:
    """Return the rows that a module writes in the order that llama.cpp expects; Qwen2 is read as transformers has it.

    For an adapter these are the rows of B (out, r): A reads the same input in both programs.
    """
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    name = module.rpartition(".")[2]
    return neighbours(rows, heads[name]) if config.model_type == "llama" and name in heads else rows


def write_adapter(
    path: str | Path,
    factors: Mapping[str, tuple[Tensor, Tensor]],
    alpha: float,
    config: PretrainedConfig,
    kind: str = "F32",
) -> None:
    """Write B (out, r) and A (r, in) of each module, by its name in the model, as one adapter of type F32 or F16.

    llama.cpp scales each product by alpha / r, with the r of that product. With rsLoRA, alpha is alpha * sqrt(r). A
    band of an adapter, or a sum, is written the same way. ValueError names what llama.cpp has no place for.
    """
    check_architecture(config)
    writer = gguf.GGUFWriter(path, config.model_type)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    for module, (b, a) in factors.items():
        name = f"{tensor_name(module)}.weight"
        writer.add_tensor(f"{name}.lora_a", gguf.quantize(_array(a), Kind[kind]))
        writer.add_tensor(f"{name}.lora_b", gguf.quantize(_array(reordered(b, module, config)), Kind[kind]))
    _write(writer)


def write_model(path: str | Path, model: PreTrainedModel, tokenizer, kind: str = "F16") -> None:
    """Write a model without adapters, or with a merged one, and its tokenizer; `kind` is one of TYPES.

    ValueError names what would be lost: another architecture, a stretched RoPE, a tokenizer of another kind.
    """
    check_architecture(model.config)
    check_model(model.config, kind)
    writer = gguf.GGUFWriter(path, model.config.model_type)
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_file_type(TYPES[kind])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for name, value in hyperparameters(model.config).items():
        (writer.add_float32 if isinstance(value, float) else writer.add_uint32)(name, value)
    _add_tokenizer(writer, tokenizer, model.config.vocab_size)
    for name, array, stored in tensors(model, kind):
        writer.add_tensor(name, array, raw_dtype=stored)
    _write(writer)


def hyperparameters(config: PretrainedConfig) -> dict[str, int | float]:
    """Return what a GGUF says of a model's shape, under llama.cpp's names."""
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    values = {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": head,
        "attention.value_length": head,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "rope.dimension_count": head,
        "rope.freq_base": float(config.rope_parameters["rope_theta"]),  # llama.cpp takes 10,000 where it is missing
        "vocab_size": config.vocab_size,
    }
    return {f"{config.model_type}.{name}": value for name, value in values.items()}


def tensors(model: PreTrainedModel, kind: str) -> Iterator[tuple]:
    """Yield the name, the bytes and the type of each tensor of a model's file.

    Vectors stay float32; beside 4-bit matrices, the embedding and the output head have 8 bits, as llama.cpp has it.
    """
    weights = model.state_dict()
    for name, weight in weights.items():
        module, _, end = name.rpartition(".")
        if module == "lm_head" and torch.equal(weight, weights["model.embed_tokens.weight"]):
            continue  # tied: llama.cpp takes the embedding where there is no head
        ends = module in ("model.embed_tokens", "lm_head")
        stored = Kind["F32" if weight.dim() == 1 else "Q8_0" if ends and kind == "Q4_1" else kind]
        array = _array(reordered(weight, module, model.config))
        yield f"{tensor_name(module)}.{end}", gguf.quantize(array, stored), stored


def check_architecture(config: PretrainedConfig) -> None:
    """Raise ValueError for a model that this module cannot name in llama.cpp's words."""
    if config.model_type not in ("llama", "qwen2"):
        raise ValueError(f"a model of type {config.model_type!r} was given, llama or qwen2 is written here: {OTHER}")


def check_model(config: PretrainedConfig, kind: str) -> None:
    """Raise ValueError for a model whose file would compute something else."""
    rope = config.rope_parameters
    if rope["rope_type"] != "default":
        raise ValueError(f"RoPE of type {rope['rope_type']!r} was given, the plain one is written here: {OTHER}")
    if config.hidden_act != "silu" or getattr(config, "use_sliding_window", False):
        raise ValueError(f"a gate with silu and attention to all tokens are written here, this model differs: {OTHER}")
    width = next((n for n in (config.hidden_size, config.intermediate_size) if n % 32), None)
    if kind.startswith("Q") and width:
        raise ValueError(f"{kind} stores blocks of 32 numbers, and rows of {width} have a rest: take F16")


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer, rows: int) -> None:
    """Add the tokens in the order of their ids, up to the rows of the embedding, the merges and the chat template."""
    whole = json.loads(tokenizer.backend_tokenizer.to_str())
    added = {token["id"]: token for token in whole["added_tokens"]}
    words = {number: text for text, number in tokenizer.get_vocab().items()}
    kinds = {number: "CONTROL" if token["special"] else "USER_DEFINED" for number, token in added.items()}
    writer.add_tokenizer_model("gpt2")  # byte-level BPE
    writer.add_tokenizer_pre(_pre(whole))
    writer.add_token_list([words.get(number, f"[PAD{number}]") for number in range(rows)])
    writer.add_token_types([gguf.TokenType[kinds.get(n, "NORMAL") if n in words else "UNUSED"] for n in range(rows)])
    writer.add_token_merges([" ".join(pair) for pair in whole["model"]["merges"]])
    for name, add in (
        ("bos", writer.add_bos_token_id),
        ("eos", writer.add_eos_token_id),
        ("unk", writer.add_unk_token_id),
        ("pad", writer.add_pad_token_id),
    ):
        if (number := getattr(tokenizer, f"{name}_token_id")) is not None:
            add(number)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)


def _pre(whole: dict) -> str:
    """Return llama.cpp's name of the way in which a tokenizer cuts a text, or ValueError."""
    cut = whole["pre_tokenizer"] or {}
    parts = cut.get("pretokenizers", [cut])
    kinds = [part.get("type") for part in parts]
    if whole["model"]["type"] == "BPE" and kinds == DIGITS and parts[0]["individual_digits"]:
        return "smollm"
    if whole["model"]["type"] == "BPE" and parts[0].get("pattern") == {"Regex": QWEN2}:
        return "qwen2"
    raise ValueError(f"the tokenizers of SmolLM2 and Qwen2 are written here, this one cuts a text by {kinds}: {OTHER}")


def _array(tensor: Tensor):
    return tensor.detach().to("cpu", torch.float32).contiguous().numpy()


def _write(writer: gguf.GGUFWriter) -> None:
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()
