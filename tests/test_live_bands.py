"""The bands of the page "An adapter, live": their sum is the shipped adapter, their first ones its best rank-k part."""

import gguf
import pytest
import torch

from lorautils import linalg
from lorautils.basemodel import load_config
from lorautils.export import package
from lorautils.tasks import cron
from tools import live

FACTORS, ALPHA = package.read(cron.ADAPTER)
SCALING = ALPHA / 8


@pytest.fixture(scope="module")
def bands():
    return live.bands(FACTORS)


def product(pair) -> torch.Tensor:
    return pair[0].double() @ pair[1].double()


def relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return ((found - wanted).norm() / wanted.norm()).item()


def test_all_bands_add_up_to_the_adapter_and_each_module_is_in_one_group(bands):
    for module, pair in FACTORS.items():
        parts = [band[module] for band in bands.values() if module in band]
        assert [b.shape[1] for b, _ in parts] == [1, 1, 2, 4], module
        assert relative(sum(map(product, parts)), product(pair)) < 1e-12, module
    attention = {module.rpartition(".")[2] for module in bands["attention", 0]}
    assert attention == {"q_proj", "k_proj", "v_proj", "o_proj"}
    assert {module.rpartition(".")[2] for module in bands["mlp", 0]} == {"gate_proj", "up_proj", "down_proj"}


@pytest.mark.parametrize(("number", "rank"), [(1, 1), (2, 2), (3, 4), (4, 8)])
def test_the_first_bands_are_the_best_part_of_that_rank(bands, number, rank):
    for name in ("self_attn.k_proj", "mlp.down_proj"):
        module = f"model.layers.11.{name}"
        group = "mlp" if "mlp" in name else "attention"
        kept = sum(product(bands[group, n][module]) for n in range(number))
        assert relative(kept, linalg.best_rank_k(product(FACTORS[module]), rank)) < 1e-9


def test_the_files_hold_the_bands_and_their_scale(tmp_path):
    """Rows of v and of the MLP are as in PEFT, so the products of the files can be added up."""
    files = live.write_bands(tmp_path, FACTORS, SCALING, load_config())
    names = ["1-1", "2-2", "3-4", "5-8"]
    assert [f.stem for f in files] == [f"{group}-{name}" for group in ("attention", "mlp") for name in names]
    assert 4.8e6 < sum(f.stat().st_size for f in files) < 5.2e6
    sums = {}
    for file in files:
        reader = gguf.GGUFReader(file)
        alpha = reader.get_field("adapter.lora.alpha").contents()
        tensors = {t.name: torch.tensor(t.data) for t in reader.tensors}
        for layer, name in ((0, "attn_v"), (29, "ffn_down")):
            if (a := tensors.get(f"blk.{layer}.{name}.weight.lora_a")) is not None:
                b = tensors[f"blk.{layer}.{name}.weight.lora_b"]
                sums[name] = sums.get(name, 0) + alpha / len(a) * product((b, a))
    for name, module in (("attn_v", "layers.0.self_attn.v_proj"), ("ffn_down", "layers.29.mlp.down_proj")):
        assert relative(sums[name], SCALING * product(FACTORS[f"model.{module}"])) < 1e-3, "float16"
