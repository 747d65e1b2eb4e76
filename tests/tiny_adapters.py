"""Adapters of tiny models with random weights, for the tests that sabotage them."""

import copy
import json

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM, PreTrainedTokenizerFast

SIZES = dict(vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2)
SIZES |= dict(num_key_value_heads=1, pad_token_id=0, tie_word_embeddings=True)
BASES = {
    "llama": (LlamaForCausalLM, LlamaConfig(**SIZES)),
    "wide": (LlamaForCausalLM, LlamaConfig(**SIZES | {"hidden_size": 32})),
    "moe": (MixtralForCausalLM, MixtralConfig(**SIZES, num_local_experts=4)),
}
TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"


def bases(folder):
    """Fill a folder with three bases of which there is no weight, only the configuration and the tokenizer."""
    for name, (_, config) in BASES.items():
        config.save_pretrained(folder / name)
        tokenizer(32).save_pretrained(folder / name)
    return folder


def tokenizer(size, template=TEMPLATE):
    """A tokenizer of the words w0, w1, … of which w0 stands for the unknown, the last two for the ends of a text."""
    words = Tokenizer(models.WordLevel({f"w{number}": number for number in range(size)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    marks = dict(unk_token="w0", bos_token=f"w{size - 2}", eos_token=f"w{size - 1}")
    return PreTrainedTokenizerFast(tokenizer_object=words, chat_template=template, **marks)


def trained(base="llama", rows=None, **settings):
    """A model whose A and B are random, as after a training; with `rows` its vocabulary was resized before."""
    model_class, config = BASES[base]
    torch.manual_seed(0)
    model = model_class(copy.deepcopy(config))  # which a resize changes
    if rows:
        model.resize_token_embeddings(rows)
    chosen = {"target_modules": ["q_proj", "v_proj"], "init_lora_weights": False, "lora_alpha": 16}
    return get_peft_model(model, LoraConfig(**chosen | {"task_type": "CAUSAL_LM"} | settings))


def saved(home, folder, base="llama", **settings):
    model = trained(base, **settings)
    model.peft_config["default"].base_model_name_or_path = str(home / base)
    model.save_pretrained(folder)
    return folder


def edit(folder, file="adapter_config.json", **changes):
    path = folder / file
    record = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(record | changes))


def rewrite(folder, change):
    """Save the tensors of an adapter again, each as `change(name, tensor)` says."""
    file = folder / "adapter_model.safetensors"
    save_file({name: change(name, tensor.clone()) for name, tensor in load_file(file).items()}, file)
