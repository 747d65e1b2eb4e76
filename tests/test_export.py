"""`lorautils export`: what the folder holds, what an adapter may be, what is refused, and a kill at any write."""

import hashlib
import json
import re
from pathlib import Path

import gguf
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from test_cli import code, error
from test_faults import Worker, assert_told
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from lorautils.export import gguf as writer
from lorautils.export import package

SIZES = dict(vocab_size=101, hidden_size=64, intermediate_size=96, num_hidden_layers=2, max_position_embeddings=512)
SIZES |= dict(num_attention_heads=4, num_key_value_heads=2, initializer_range=0.2, eos_token_id=0)
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}"


def tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """A token for each character of ASCII, and two of two, cut as SmolLM2 (Llama) or Qwen2 does it."""
    words = ["<|im_end|>", "<|im_start|>", "Ġ", "Ċ", *map(chr, range(33, 127)), "Ġt", "in"]
    merges = [("Ġ", "t"), ("i", "n")]
    backend = Tokenizer(models.BPE({word: number for number, word in enumerate(words)}, merges=merges))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=kind == "llama")
    first = pre_tokenizers.Digits(individual_digits=True)
    if kind == "qwen2":
        first = pre_tokenizers.Split(Regex(writer.QWEN2), behavior="isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence([first, byte_level])
    backend.decoder = decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|im_end|>")
    wrapped.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    wrapped.chat_template = TEMPLATE
    return wrapped


def save_tiny(folder: Path, kind: str = "llama", **changes) -> Path:
    """Save a random model of two layers, with biases in Qwen2's q, k and v, and its tokenizer."""
    torch.manual_seed(0)
    classes = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen2": (Qwen2Config, Qwen2ForCausalLM)}[kind]
    model = classes[1](classes[0](**SIZES | changes))
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    model.save_pretrained(folder)
    tokenizer(kind).save_pretrained(folder)
    return folder


def save_adapter(folder: Path, model: Path, **changes) -> Path:
    """Save an adapter of all linear layers whose B is not zero."""
    torch.manual_seed(1)
    options = dict(task_type="CAUSAL_LM", target_modules="all-linear", init_lora_weights=False, r=4, lora_alpha=6)
    get_peft_model(AutoModelForCausalLM.from_pretrained(model), LoraConfig(**options | changes)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def adapter(tiny, tmp_path_factory) -> Path:
    return save_adapter(tmp_path_factory.mktemp("adapter"), tiny)


# What the folder holds -----------------------------------------------------------------------------------------------


def test_an_adapter_beside_its_base(adapter, tmp_path, capsys):
    assert code("export", str(adapter), "--output", str(tmp_path / "new")) == 0
    files = {path.name: path for path in (tmp_path / "new").iterdir()}
    assert files.keys() == {"README.md", "Modelfile", "adapter.gguf", "base-F16.gguf"}
    assert set(re.findall(r"bytes  .*/(.+)", capsys.readouterr().out)) == files.keys()
    reader = gguf.GGUFReader(files["adapter.gguf"])
    assert reader.get_field("adapter.lora.alpha").contents() == 6
    assert len(reader.tensors) == 2 * 7 * 2
    said = files["Modelfile"].read_text()
    assert "\nFROM ./base-F16.gguf\nADAPTER ./adapter.gguf\n" in said and "merged-gguf" in said


def test_a_merged_gguf_stands_alone_in_its_modelfile(adapter, tmp_path):
    output = tmp_path / "new"
    assert code("export", str(adapter), "--to", "merged-gguf", "--type", "Q8_0", "--output", str(output)) == 0
    said = (output / "Modelfile").read_text()
    assert said.startswith("FROM ./model-Q8_0.gguf\n") and "ADAPTER" not in said
    assert 'TEMPLATE """<|im_start|>{{ .Prompt }}<|im_end|>"""\n' in said
    types = {tensor.tensor_type.name for tensor in gguf.GGUFReader(output / "model-Q8_0.gguf").tensors}
    assert types == {"Q8_0", "F32"}


@pytest.mark.parametrize("options", [[], ["--to", "merged-gguf"], ["--to", "merged"]], ids=str)
def test_the_card_names_base_template_and_the_hash_of_every_other_file(adapter, tiny, tmp_path, options):
    assert code("export", str(adapter), "--output", str(tmp_path / "new"), *options) == 0
    said = (tmp_path / "new" / "README.md").read_text()
    assert str(tiny) in said and TEMPLATE in said and "r = 4, alpha = 6" in said
    rows = dict(re.findall(r"^\| (\S+) \| [\d,]+ \| (\w{64}) \|$", said, re.MULTILINE))
    files = {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir() if path.name != "README.md"}
    assert rows == {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


@pytest.mark.parametrize(("kind", "tolerance"), [("F32", 1e-4), ("F16", 0.1)])
def test_a_merged_model_computes_what_base_and_adapter_do(adapter, tiny, tmp_path, kind, tolerance):
    assert code("export", str(adapter), "--to", "merged", "--type", kind, "--output", str(tmp_path / "new")) == 0
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "new", dtype="auto")
    assert merged.dtype == {"F32": torch.float32, "F16": torch.float16}[kind]
    two = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny), adapter)
    ids = torch.arange(4, 40)[None]
    with torch.no_grad():
        torch.testing.assert_close(merged.float()(ids).logits, two(ids).logits, rtol=0, atol=tolerance)


def test_without_a_name_the_folder_is_named_after_adapter_and_form(adapter, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert code("export", str(adapter), "--to", "merged") == 0
    assert (tmp_path / f"{adapter.name}-merged" / "model.safetensors").exists()


# A base that is there already ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bases(tiny, tmp_path_factory):
    """GGUFs of the adapter's base and of other models, by what is different."""
    folder = tmp_path_factory.mktemp("bases")
    others = {"": {}, "wide": {"intermediate_size": 128}, "deep": {"num_hidden_layers": 1}}
    others |= {"rope": {"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}}}
    others |= {"heads": {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 8}}
    for name, changes in others.items():
        model = AutoModelForCausalLM.from_pretrained(save_tiny(folder / name / "model", **changes))
        writer.write_model(folder / f"{name}.gguf", model, tokenizer("llama"), "F16")
    model = AutoModelForCausalLM.from_pretrained(save_tiny(folder / "q" / "model", "qwen2"))
    writer.write_model(folder / "qwen.gguf", model, tokenizer("qwen2"), "F16")
    (folder / "cut.gguf").write_bytes((folder / ".gguf").read_bytes()[:3000])
    (folder / "text.gguf").write_text("no model at all " * 20)
    (folder / "folder.gguf").mkdir()
    return folder


def test_a_base_that_fits_is_named_in_the_modelfile_and_in_the_card(adapter, bases, tmp_path):
    base = bases / ".gguf"
    assert code("export", str(adapter), "--base", str(base), "--output", str(tmp_path / "new")) == 0
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"README.md", "Modelfile", "adapter.gguf"}
    assert f"FROM {base}\n" in (tmp_path / "new" / "Modelfile").read_text()
    assert hashlib.sha256(base.read_bytes()).hexdigest() in (tmp_path / "new" / "README.md").read_text()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("wide", "feed_forward_length is 128, expected 96"),
        ("deep", "block_count is 1, expected 2 (8 such"),
        ("rope", "rope.freq_base is 500000, expected 10000"),
        ("heads", "head_count is 8, expected 4"),
        ("qwen", "its architecture is qwen2, expected llama"),
        ("cut", "cannot be read as GGUF"),
        ("text", "cannot be read as GGUF"),
        ("missing", "is no file: name the GGUF"),
        ("folder", "is no file: name the GGUF"),
    ],
)
def test_a_base_that_does_not_fit_is_refused_before_anything_is_written(adapter, bases, tmp_path, capsys, name, says):
    said = error(capsys, "export", str(adapter), "--base", str(bases / f"{name}.gguf"), "--output", str(tmp_path / "n"))
    assert says in said
    assert not list(tmp_path.iterdir())


def test_a_base_that_is_not_written_here_may_be_there_already(tmp_path, capsys):
    tiny = save_tiny(tmp_path / "model", intermediate_size=100)  # rows of 100 numbers, and blocks have 32
    adapter = save_adapter(tmp_path / "adapter", tiny)
    said = error(capsys, "export", str(adapter), "--type", "Q8_0", "--output", str(tmp_path / "new"))
    assert "rows of 100" in said and "--base" in said
    writer.write_model(tmp_path / "base.gguf", AutoModelForCausalLM.from_pretrained(tiny), tokenizer("llama"), "F16")
    assert code("export", str(adapter), "--base", str(tmp_path / "base.gguf"), "--output", str(tmp_path / "new")) == 0


def test_an_older_file_without_a_rope_base_means_ten_thousand(adapter, bases, tmp_path, monkeypatch):
    factors, _ = package.read(adapter)
    config = AutoModelForCausalLM.from_pretrained(bases / "" / "model").config
    values = writer.hyperparameters
    monkeypatch.setattr(writer, "hyperparameters", lambda c: {k: v for k, v in values(c).items() if "rope.f" not in k})
    model = AutoModelForCausalLM.from_pretrained(bases / "" / "model")
    writer.write_model(tmp_path / "old.gguf", model, tokenizer("llama"))
    package.check_base(tmp_path / "old.gguf", factors, config)
    config.rope_parameters["rope_theta"] = 100000.0
    with pytest.raises(ValueError, match="freq_base is 10000, expected 100000"):
        package.check_base(tmp_path / "old.gguf", factors, config)


@pytest.mark.parametrize(
    "changes",
    [
        {"target_modules": ["q_proj", "lm_head"]},
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"modules_to_save": ["lm_head"]},
        {"modules_to_save": ["embed_tokens"]},
        {"trainable_token_indices": [5]},
    ],
    ids=str,
)
def test_an_embedding_and_a_head_that_were_one_part_where_the_adapter_changes_one(tmp_path, capsys, changes):
    base = save_tiny(tmp_path / "tied", tie_word_embeddings=True)
    folder, output = save_adapter(tmp_path / "adapter", base, **changes), tmp_path / "new"
    refused = error(capsys, "export", str(folder), "--output", str(output))
    assert "merge" in refused and not output.exists()
    assert code("export", str(folder), "--to", "merged", "--type", "F32", "--output", str(output)) == 0
    merged = AutoModelForCausalLM.from_pretrained(output, dtype="auto")
    two = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)
    ids = torch.arange(4, 40)[None]
    with torch.no_grad():
        torch.testing.assert_close(merged(ids).logits, two(ids).logits, rtol=0, atol=1e-4)


# The adapter ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"use_rslora": True},
        {"rank_pattern": {"q_proj": 2, "layers.1.mlp.up_proj": 8}},
        {"target_modules": ["v_proj"]},
    ],
    ids=str,
)
def test_alpha_over_r_and_the_factors_give_pefts_update(tiny, tmp_path, changes):
    folder = save_adapter(tmp_path / "adapter", tiny, **changes)
    factors, alpha = package.read(folder)
    base = AutoModelForCausalLM.from_pretrained(tiny)
    before = {name: weight.clone() for name, weight in base.state_dict().items()}
    after = PeftModel.from_pretrained(base, folder).merge_and_unload().state_dict()
    moved = {name.removesuffix(".weight") for name in before if not torch.equal(before[name], after[name])}
    assert moved == factors.keys()
    for module, (b, a) in factors.items():
        update = after[f"{module}.weight"] - before[f"{module}.weight"]
        torch.testing.assert_close(alpha / b.shape[1] * b @ a, update, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"use_dora": True}, "use_dora is True"),
        ({"bias": "all"}, "bias is 'all'"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save is ['lm_head']"),
        ({"alpha_pattern": {"q_proj": 3}}, "alpha_pattern is {'q_proj': 3}"),
        ({"use_rslora": True, "rank_pattern": {"q_proj": 2}}, "rsLoRA with a rank_pattern"),
        ({"trainable_token_indices": [5]}, "trainable_token_indices is [5]"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_an_adapter_file_cannot_say_is_refused_and_merged_instead(tiny, tmp_path, capsys, changes, says):
    folder, output = save_adapter(tmp_path / "adapter", tiny, **changes), tmp_path / "new"
    said = error(capsys, "export", str(folder), "--output", str(output))
    assert says in said and "--to merged" in said and not output.exists()
    assert code("export", str(folder), "--to", "merged-gguf", "--type", "F32", "--output", str(output)) == 0
    merged = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny), folder).merge_and_unload()
    found = {tensor.name: torch.tensor(tensor.data) for tensor in gguf.GGUFReader(output / "model-F32.gguf").tensors}
    weights = merged.state_dict()
    torch.testing.assert_close(found["blk.0.attn_v.weight"], weights["model.layers.0.self_attn.v_proj.weight"])
    torch.testing.assert_close(found["output.weight"], weights["lm_head.weight"])


def test_an_adapter_of_the_embedding_is_left_to_other_programs(tiny, tmp_path, capsys):
    folder = save_adapter(tmp_path / "adapter", tiny, target_modules=["q_proj", "embed_tokens"])
    assert "merge_and_unload" in error(capsys, "export", str(folder), "--output", str(tmp_path / "new"))


def test_a_head_that_is_no_longer_the_embedding_is_written(tmp_path):
    model = AutoModelForCausalLM.from_pretrained(save_tiny(tmp_path / "tied", tie_word_embeddings=True))
    assert "output.weight" not in {name for name, *_ in writer.tensors(model, "F16")}
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight + 1)
    assert "output.weight" in {name for name, *_ in writer.tensors(model, "F16")}


def test_an_adapter_of_another_model_names_the_layer(adapter, bases, tmp_path, capsys):
    other = str(bases / "wide" / "model")
    said = error(capsys, "export", str(adapter), "--model", other, "--output", str(tmp_path / "new"))
    assert "down_proj by a matrix of shape (64, 96), and the model has (64, 128) there" in said and "--model" in said


def test_a_base_that_the_adapter_names_and_is_not_here(adapter, tmp_path, capsys):
    folder = tmp_path / "adapter"
    folder.mkdir()
    record = json.loads((adapter / "adapter_config.json").read_text())
    for name in ("/home/elsewhere/model", "owner/other-model"):
        (folder / "adapter_config.json").write_text(json.dumps(record | {"base_model_name_or_path": name}))
        assert f"trained on {name!r}" in (said := error(capsys, "export", str(folder)))
        assert "--model" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere"], "nowhere holds no adapter"),
        (["ADAPTER", "--to", "merged", "--type", "Q4_1"], "take F16 or F32"),
        (["ADAPTER", "--to", "merged", "--base", "x.gguf"], "--base is for"),
        (["ADAPTER", "--base", "x.gguf", "--type", "Q8_0"], "--type is for a base that is written"),
        (["ADAPTER", "--output", "taken"], "taken is there already"),
        (["ADAPTER", "--output", "file"], "file is there already"),
    ],
)
def test_errors_of_export(adapter, tmp_path, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").touch()
    (tmp_path / "file").touch()
    assert says in error(capsys, "export", *[str(adapter) if word == "ADAPTER" else word for word in arguments])
    assert {path.name for path in tmp_path.iterdir()} == {"taken", "file"}


def test_the_current_folder_is_no_new_one(adapter, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert ". is there already: name a new folder" in error(capsys, "export", str(adapter), "--output", ".")


def test_a_folder_without_its_weights(adapter, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    half = tmp_path / "half"
    half.mkdir()
    (half / "adapter_config.json").write_bytes((adapter / "adapter_config.json").read_bytes())
    said = error(capsys, "export", str(half))
    assert "adapter_model.safetensors is missing" in said and "copy the whole folder" in said


def test_a_damaged_adapter(adapter, tmp_path, capsys):
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_bytes((adapter / "adapter_config.json").read_bytes())
    (folder / "adapter_model.safetensors").write_bytes((adapter / "adapter_model.safetensors").read_bytes()[:5000])
    assert "damaged" in error(capsys, "export", str(folder), "--output", str(tmp_path / "new"))
    tensors = load_file(adapter / "adapter_model.safetensors")
    lost, flat = (name for name in tensors if "lora_B" in name and ("0.mlp.up" in name or "0.mlp.gate" in name))
    for spoiled in ({lost: None}, {flat: tensors[flat].flatten()}):
        left = {name: tensor for name, tensor in (tensors | spoiled).items() if tensor is not None}
        save_file(left, folder / "adapter_model.safetensors")
        said = error(capsys, "export", str(folder), "--output", str(tmp_path / "new"))
        assert "other things than pairs of A and B" in said and "convert_hf_to_gguf" in said


# A kill, or a full disk, at every write ------------------------------------------------------------------------------


FAULTS = [(kind, n) for kind, last in (("kill", 5), ("full", 4)) for n in range(1, last + 1)]  # 5: the rename
FAULTS += [("cut", 1000), ("limit", 1000), ("limit", 100_000)]  # bytes of a file


def test_an_export_that_is_ended_at_a_write_leaves_nothing_or_all(adapter, tmp_path):
    with Worker(ADAPTER=str(adapter)) as worker:
        for kind in ("kill", "full"):  # no write comes after these: the counts above are whole
            assert worker.do("export", tmp_path / kind, kind, 6 if kind == "kill" else 5)["status"] == 0
        wanted = {path.name: path.read_bytes() for path in (tmp_path / "kill").iterdir()}
        for kind, n in FAULTS:
            folder = tmp_path / f"{kind}-{n}"
            answer = worker.do("export", folder, kind, n)
            assert_told(kind, answer)
            assert not folder.exists(), (kind, n)
            assert folder.with_name(f"{folder.name}.part").exists() <= (kind in ("kill", "cut")), (kind, n)
            if n in (2, 5, 1000):
                assert worker.do("export", folder)["status"] == 0, (kind, n)
                assert {path.name: path.read_bytes() for path in folder.iterdir()} == wanted, (kind, n)
                assert not folder.with_name(f"{folder.name}.part").exists()
