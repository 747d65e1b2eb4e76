"""Notebook 07: its tree shows what is so; its checkers take every right answer and no wrong one."""

import matplotlib.pyplot as plt
import pytest
from matplotlib.colors import to_hex
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from lorautils.figures import drawing, nb07

SIZES = dict(vocab_size=16, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2)


def wrapped(targets):
    model = get_peft_model(LlamaForCausalLM(LlamaConfig(**SIZES)), LoraConfig(target_modules=targets))
    return model.base_model.targeted_module_names


def spellings():
    asked = [["q_proj", "v_proj"], ["self_attn.q_proj"], ".*q_proj", r".*\.1\..*(q|v)_proj", "all-linear", None]
    return nb07.spellings([*((targets, wrapped(targets)) for targets in asked), (["proj"], None), ("q_proj", None)])


DRAWINGS = {
    "spellings": spellings,
    "states": nb07.states,
    "fused": lambda: nb07.fused(("q", "k", "v"), 32, 8),
    "in place": nb07.in_place,
}


@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], "all-linear", [r"model.layers.1.mlp.up_proj"]])
def test_the_tree_lights_up_what_peft_wraps(targets):
    figure = nb07.spellings([(targets, found := wrapped(targets)), ("q_proj", None)])
    lit = [patch for patch in figure.axes[0].patches if to_hex(patch.get_facecolor()).upper() == drawing.A]
    leaves = {text.get_position()[0]: text.get_text() for text in figure.axes[0].texts if text.get_rotation() == 90}
    names = [leaves[box.get_x() + box.get_width() / 2] for box in lit]
    plt.close("all")
    assert sorted(names) == sorted(path.rpartition(".")[2] for path in found)
