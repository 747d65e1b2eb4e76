"""Notebook 15: its drawings can be read and show what is so; mistakes are as told; one of four files is broken."""

import json

import matplotlib.pyplot as plt
import torch
from gguf import GGUFReader
from transformers import LlamaConfig

from lorautils import ROOT, results
from lorautils.basemodel import load_config
from lorautils.exercises import nb15 as exercises
from lorautils.export import faults, gguf, package
from lorautils.figures import nb15 as figures
from lorautils.tasks import cron

CONFIG = LlamaConfig(num_attention_heads=4, num_key_value_heads=2, hidden_size=32, intermediate_size=32)
LEVELS = [i / 8 - 1 for i in range(16)]
DRAWINGS = {
    "adapter file": figures.adapter_file,
    "rows": figures.rows,
    "paging": figures.paging,
    "grids": lambda: figures.grids({"on": (LEVELS * 2, LEVELS), "off": ([0.03, 0.19] * 16, LEVELS)}),
}


def test_the_rows_are_drawn_in_the_order_that_is_written():
    texts = [text for text in figures.rows().axes[0].texts if text.get_text().startswith("row ")]
    right = sorted((text for text in texts if text.get_position()[0] > 500), key=lambda text: -text.get_position()[1])
    assert [int(text.get_text()[4:]) for text in right] == gguf.neighbours(torch.arange(8), heads=1).tolist()
    plt.close("all")


def test_a_grid_tells_how_far_numbers_are_from_their_levels():
    words = DRAWINGS["grids"]().words
    assert "on: the farthest number is 0.0000" in words and "off: the farthest number is 0.0600" in words
    plt.close("all")


def factors():
    torch.manual_seed(0)
    names = [f"model.layers.0.self_attn.{name}_proj" for name in "qkv"]
    return {name: (torch.randn(32 if "q_" in name else 16, 4), torch.randn(4, 32)) for name in names}


def written(path, given):
    gguf.write_adapter(path, *given, CONFIG)
    reader = GGUFReader(path)
    tensors = {tensor.name: torch.tensor(tensor.data) for tensor in reader.tensors}
    return tensors, reader.get_field("adapter.lora.alpha").contents()


def test_each_mistake_spoils_what_it_names_and_nothing_else(tmp_path):
    whole, alpha = written(tmp_path / "whole.gguf", (given := factors(), 16))
    made = faults.mistakes(given, 16, CONFIG)
    files = {name: written(tmp_path / f"{number}.gguf", made[name]) for number, name in enumerate(made)}
    as_they_are, _ = files["rows of q and k as they are"]
    changed = {name for name in whole if not torch.equal(whole[name], as_they_are[name])}
    assert changed == {"blk.0.attn_q.weight.lora_b", "blk.0.attn_k.weight.lora_b"}
    assert torch.equal(as_they_are["blk.0.attn_q.weight.lora_b"], given["model.layers.0.self_attn.q_proj"][0])
    lost, scale = files["alpha lost"]
    assert (alpha, scale) == (16, 4) and all(torch.equal(whole[name], lost[name]) for name in whole)
    assert {name for name in whole if name not in files["q and k left out"][0]} == {
        f"blk.0.attn_{name}.weight.lora_{side}" for name in "qk" for side in "ab"
    }


def test_one_of_the_four_files_of_the_exercise_is_broken_in_one_kind_of_module(tmp_path):
    trained, alpha = package.read(cron.ADAPTER)
    config, broken = load_config(), set()
    for path in faults.four_files(tmp_path, trained, alpha, config):
        reader = GGUFReader(path)
        tensors = {tensor.name: torch.tensor(tensor.data) for tensor in reader.tensors}
        scale = reader.get_field("adapter.lora.alpha").contents() / 8
        assert len(tensors) == 420
        for module in (name for name in trained if ".layers.0." in name):
            b, a = (factor.float() for factor in trained[module])
            name = f"{gguf.tensor_name(module)}.weight"
            wanted = alpha / 8 * gguf.reordered(b, module, config) @ a
            if not torch.allclose(scale * tensors[f"{name}.lora_b"] @ tensors[f"{name}.lora_a"], wanted, atol=1e-5):
                broken.add((path.stem, module.rpartition(".")[2]))
    assert broken == {exercises.which_broken.reference}


def test_what_stands_in_for_a_missing_server_is_recorded():
    """The notebook takes these rows where xllamacpp has no wheel, and prints them everywhere."""
    recorded = {row["name"] for row in results.read("serving.json")["rows"]}
    cells = json.loads((ROOT / "notebooks" / "15_export_and_serve.ipynb").read_text(encoding="utf-8"))["cells"]
    source = {cell["id"]: "".join(cell["source"]) for cell in cells}
    namespace = {"served": False, "results": results, "cron": cron}
    exec(source["parity-tools"], namespace)
    for name in ("llama.cpp F32, adapter beside", "llama.cpp Q4_1, merged", "fault: alpha lost"):
        assert name in recorded and namespace["row"](name, "none.gguf")["of"] >= 20


def test_each_request_of_vllms_mixed_batch_was_answered_by_whom_it_named() -> None:
    engines = results.read("serving_vllm.json")["engines"]
    assert {(engine["dtype"], engine["mode"]) for engine in engines} >= {("bfloat16", "eager"), ("float16", "eager")}
    for engine in engines:
        assert len(engine["groups"]) == 5
        for name, group in engine["groups"].items():
            assert group["own"] == group["asked"] == 60 and group["difference"] < 0.5, (engine["dtype"], name)


def test_the_ledger_says_what_the_notebook_reads_off_it() -> None:
    rows = {row["name"]: row for row in results.read("serving.json")["rows"]}
    faults = [row for name, row in rows.items() if name.startswith("fault: ")]
    exact = [row["difference"] for name, row in rows.items() if name.startswith("llama.cpp F32")]
    assert len(exact) == 4 and max(exact) < 1e-3  # the gate; also of the base alone, and off its grid
    assert min(row["difference"] for row in faults) > 0.1
    assert sorted(row["right"] > 45 for row in faults) == [False] * 2 + [True] * 4
    assert rows["llama.cpp Q8_0, base alone"]["same"] == 60 - 14
    assert rows["llama.cpp Q8_0, adapter beside"]["same"] == 60
    assert all(row["difference"] > 0.1 for name, row in rows.items() if "Q4_1" in name or "NF4" in name)


def test_an_adapter_beside_costs_peft_a_quarter_more_and_8_bits_a_third_of_the_memory() -> None:
    speed = {row["name"]: row for row in results.read("serving.json")["speed"]["rows"]}
    assert 1.2 < speed["PEFT"]["cpu_seconds"] / speed["merged, PEFT"]["cpu_seconds"] < 1.3
    assert 0.3 < speed["Q8_0"]["megabytes"] / speed["F32"]["megabytes"] < 0.4


def test_differences_and_gaps_are_told_in_words() -> None:
    assert "half of the smallest, 2.0. Below it" in figures.hidden([4.0, 9.0], {"F32": 4e-6}).words
    assert (
        "F32: 4.0e-06, 59 of 60 right"
        in figures.ledger([{"name": "F32", "difference": 4e-6, "right": 59}], 1e-3, 60).words
    )
    plt.close("all")
