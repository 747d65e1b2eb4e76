"""docs/symptoms.md: the line that a row prints finds the fault, made here, and is silent where there is none.

A row that is not made here needs a server, a GPU or a slow machine; tests of their own hold what its line prints.
"""

import copy
import json
import re
from typing import NamedTuple

import nbformat
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tiny_adapters import BASES, SIZES, TEMPLATE, bases, edit, rewrite, saved, tokenizer, trained
from tokenizers.processors import TemplateProcessing
from transformers import (
    DataCollatorForLanguageModeling,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
)

from lorautils import ROOT
from lorautils.cli import main
from lorautils.data import Pair, collate, encode
from lorautils.training import History, answer_loss

PAGE = (ROOT / "docs" / "symptoms.md").read_text(encoding="utf-8")
IDS = torch.arange(8)[None]


class Row(NamedTuple):
    """One symptom: its number, the line that checks it, and what the line gives where this is the cause."""

    number: int
    cause: str
    line: str
    verb: str
    sign: str
    shown: str


def rows() -> list[Row]:
    found = []
    cells = r"^\| (\d+) \| .+? \| (.+?) \| (.+?) (\[notebook \d\d\]\(\S+\)) \|$"
    for number, cause, check, shown in re.findall(cells, PAGE, re.MULTILINE):
        parts = re.fullmatch(r'`([^`]+)` (says|is|is not) ["`]([^"`]+)["`](?:, for GPT-2)?', check)
        found.append(Row(int(number), cause, *parts.groups(), shown))
    return found


ROWS = rows()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return bases(tmp_path_factory.mktemp("bases"))


# --- the faults: each gives the names that the row's line uses, with the fault or without it --------------------------


def model_of(model):
    return {"model": model, "base": model.get_base_model()}


def two_adapters(home, folder, broken):
    model = trained()
    model.add_adapter("other", LoraConfig(target_modules=["q_proj"]))
    model.set_adapter("other" if broken else "default")
    return model_of(model)


def switched_off(home, folder, broken):
    model = trained()
    if broken:
        model.base_model.disable_adapter_layers()
    return model_of(model)


def wrapped_base(home, folder, broken):
    base = LlamaForCausalLM(LlamaConfig(**SIZES))
    if broken:
        get_peft_model(base, LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    return {"base": base}


def loaded(home, folder, broken):
    saved(home, folder)
    return model_of(PeftModel.from_pretrained(LlamaForCausalLM(LlamaConfig(**SIZES)), folder, is_trainable=not broken))


def checkpointing(home, folder, broken):
    model = trained().train()
    model.get_base_model().gradient_checkpointing_enable({"use_reentrant": True})
    if broken:  # as where a library wraps the layers by itself
        model.get_base_model().disable_input_require_grads()
    return {"model": model, "ids": IDS}


def random_weights(home, folder, broken):
    model = trained()
    optimizer = torch.optim.AdamW(model.get_base_model().parameters(), lr=0.02)
    model.requires_grad_(True)
    ids = torch.tensor([[1, 2, 3, 4, 5, 6, 7]])
    for _ in range(0 if broken else 30):
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return {"model": model, "tokenizer": tokenizer(32), "text": "w1 w2 w3 w4 w5 w6 w7"}


def means_added(home, folder, broken):
    """The first loss that two trainings log: of a batch of two, and of two batches whose means were added."""
    model = trained()
    batch = collate(encode(tokenizer(32), [Pair("w1 w2", "w3 w4"), Pair("w5", "w6")]), 0)
    with torch.no_grad():
        mean = answer_loss(model, batch).item() / (batch["labels"][:, 1:] != -100).sum().item()
    return {"model": model, "batch": batch, "history": History(loss=[2 * mean if broken else mean])}


def forgetful(home, folder, broken):
    world = random_weights(home, folder, broken=not broken)  # trained on another text
    model_class, config = BASES["llama"]
    torch.manual_seed(0)
    return world | {"fresh": model_class(copy.deepcopy(config)), "text": "w20 w21 w22 w23 w24"}


def cut_rows(home, folder, broken):
    whole = encode(tokenizer(32), [Pair("w1 w2 w3", "w4 w5"), Pair("w1", "w5 w6 w7")])
    return {"rows": [{name: ids[:3] for name, ids in row.items()} if broken else row for row in whole]}


def masked_stop(home, folder, broken):
    words = tokenizer(32)
    words.pad_token = words.eos_token
    (row,) = encode(words, [Pair("w1 w2", "w3")])
    if broken:
        collator = DataCollatorForLanguageModeling(words, mlm=False)
        row = {"labels": collator([{"input_ids": row["input_ids"]}])["labels"][0].tolist()}
    return {"row": row, "tokenizer": words}


def other_stop(home, folder, broken):
    row = {"labels": [-100, 3, 29 if broken else 31]}  # w31 is the tokenizer's stop token
    return {"row": row, "tokenizer": tokenizer(32)}


def a_file(home, folder, broken, row, better):
    folder.mkdir()
    (folder / "rows.jsonl").write_text(json.dumps(row if broken else better))
    return {"FILE": folder / "rows.jsonl"}


def long_rows(home, folder, broken):
    return a_file(home, folder, broken, *({"prompt": "a" + " word" * n, "completion": "b"} for n in (1100, 10)))


def template_twice(home, folder, broken):
    told = [{"role": "assistant", "content": "Hello."}]
    asked = ("<|im_start|>user\nHi", "Hi")
    return a_file(home, folder, broken, *({"messages": [{"role": "user", "content": a}, *told]} for a in asked))


def two_starts(home, folder, broken):
    words = tokenizer(32)
    start = (words.bos_token, words.bos_token_id)
    words.backend_tokenizer.post_processor = TemplateProcessing(single=f"{start[0]} $A", special_tokens=[start])
    return {"tokenizer": words, "text": f"{start[0]} w1 w2" if broken else "w1 w2"}


def padding(home, folder, broken):
    """Beside the line: the side that it asks for decides whether a batch answers as each prompt alone does."""
    words, model = tokenizer(32), trained().eval()
    words.pad_token, words.padding_side = "w0", "right" if broken else "left"
    prompts = ["w1 w2 w3 w4 w5 w6", "w7"]
    batch = words(prompts, padding=True, return_tensors="pt")
    batch.pop("token_type_ids", None)
    options = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    together = model.generate(**batch, **options)[1, batch["input_ids"].shape[1] :]
    alone = model.generate(input_ids=torch.tensor([[7]]), **options)[0, 1:]
    assert torch.equal(together, alone) != broken
    return {"tokenizer": words}


def linear_layers(home, folder, broken):
    config = GPT2Config(vocab_size=32, n_embd=16, n_layer=1, n_head=2)
    return {"base": GPT2LMHeadModel(config) if broken else LlamaForCausalLM(LlamaConfig(**SIZES))}


def wrapped_twice(home, folder, broken):
    model = trained()
    base = model.unload() if not broken else model.get_base_model()
    return model_of(get_peft_model(base, LoraConfig(target_modules=["o_proj"])))


def loaded_twice(home, folder, broken):
    model = trained()
    saved(home, folder)
    if broken:
        return {"model": PeftModel.from_pretrained(model, folder)}
    model.load_adapter(folder, "other")
    return {"model": model}


def frozen_beside_a_head(home, folder, broken):
    world = loaded(home, folder, broken)
    world["base"].lm_head.requires_grad_(True)
    return world


def thawed(home, folder, broken):
    world = loaded(home, folder, broken=True)  # frozen
    world["model"].set_adapter("default", inference_mode=not broken)
    return world


def sixteen_bits(home, folder, broken):
    base = LlamaForCausalLM(LlamaConfig(**SIZES)).half()
    return model_of(get_peft_model(base, LoraConfig(target_modules=["q_proj"]), autocast_adapter_dtype=not broken))


def head(home, folder, broken):
    base = LlamaForSequenceClassification(LlamaConfig(**SIZES))
    settings = {} if broken else {"task_type": "SEQ_CLS"}
    return model_of(get_peft_model(base, LoraConfig(target_modules=["q_proj"], **settings)))


def live_alpha(home, folder, broken):
    model = trained()
    if broken:
        model.peft_config["default"].lora_alpha = 64
    return model_of(model)


def rounded(home, folder, broken):
    """Beside the line: what it asks for decides whether a merge changes what the model computes."""
    model = trained()
    model = (model.bfloat16() if broken else model).eval()
    before = model(input_ids=IDS).logits.float()
    merged = copy.deepcopy(model).merge_and_unload()
    assert ((merged(input_ids=IDS).logits.float() - before).abs().max() > 1e-4) == broken
    return {"model": model}


def unmerged(home, folder, broken):
    return {"model": trained() if broken else trained().merge_and_unload()}


def settings(**chosen):
    """A model of other settings, and one of the usual."""
    usual = chosen.pop("usual", {})
    ready = chosen.pop("ready", lambda model: model)
    return lambda home, folder, broken: model_of(
        (ready if broken else lambda m: m)(trained(**(chosen if broken else usual)))
    )


def adapter(sabotage=None, model=None, **chosen):
    """A saved adapter of other settings, or sabotaged, and a sound one."""

    def world(home, folder, broken):
        saved(home, folder, **(chosen if broken else {}))
        if broken and sabotage:
            sabotage(folder, home)
        return {"DIR": folder}

    return world


def emptied(folder, home):
    model = trained()
    model.merge_and_unload()
    model.save_pretrained(folder)


def not_finite(folder, home):
    rewrite(folder, lambda name, tensor: tensor / 0)


def into_a_subfolder(folder, home):
    (folder / "other").mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (folder / name).rename(folder / "other" / name)


def pointer(folder, home):
    (folder / "adapter_model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")


def history(broken_fields, sound_fields):
    return lambda home, folder, broken: {"history": History(**(broken_fields if broken else sound_fields))}


FALLING = [3.0, 2.0, 1.0, 0.5]
FAULTS = {  # the sign of a row, or its line -> how it is made
    "B or A is zero everywhere": settings(init_lora_weights=True, ready=lambda model: model.eval()),
    "every B in the file is zero": adapter(init_lora_weights=True),
    "the adapter is in no layer": adapter(emptied),
    "adapter 'default', not active": two_adapters,
    "the adapters are switched off": switched_off,
    "adapter 'default', active": wrapped_base,
    '[n for n, row in enumerate(rows) if max(row["labels"]) == -100]': cut_rows,
    "hold numbers that are not finite": adapter(not_finite),
    "nothing trains": loaded,
    "model(input_ids=ids).logits.requires_grad": checkpointing,
    "max(history.learning_rate) < 1e-4": history({"learning_rate": [0, 2e-5]}, {"learning_rate": [0, 2e-3]}),
    "lora_alpha is at its default": settings(r=64, lora_alpha=8, usual={"r": 64, "lora_alpha": 16}),
    "text_loss(model, tokenizer, text)[0] > 0.9 * math.log(len(tokenizer))": random_weights,
    'history.loss[0] > 1.5 * answer_loss(model, batch) / (batch["labels"][:, 1:] != -100).sum()': means_added,
    "text_loss(model, tokenizer, text)[0] > text_loss(fresh, tokenizer, text)[0] + 0.5": forgetful,
    "max(history.loss[-10:]) > 2 * min(history.loss)": history(
        {"loss": [*FALLING, 6.0] * 5}, {"loss": FALLING[:1] * 20}
    ),
    "min(history.held_out, key=lambda look: look[1])[0] < history.steps": history(
        {"held_out": [(2, 1.0), (4, 1.5)], "steps": 4}, {"held_out": [(2, 1.5), (4, 1.0)], "steps": 4}
    ),
    'row["labels"][-1] == tokenizer.eos_token_id': masked_stop,
    'row["labels"][-1] in stop_tokens(tokenizer)': other_stop,
    "sequences over the limit": long_rows,
    "special tokens of the model inside the text of a turn": template_twice,
    'len(set(tokenizer(text)["input_ids"][:2]))': two_starts,
    "the chat template saved with it is not the base's": adapter(
        lambda folder, home: tokenizer(32, TEMPLATE + "\n").save_pretrained(folder)
    ),
    "dropout is on although nothing trains": settings(
        lora_dropout=0.1, inference_mode=True, usual={"lora_dropout": 0.1}
    ),
    "tokenizer.padding_side": padding,
    "in target_modules wraps nothing": settings(target_modules=["q_proj", "v_prj"]),
    "c_attn": linear_layers,
    "the experts hold": settings(base="moe", usual={"base": "moe", "target_parameters": ["experts.down_proj"]}),
    "which choose the expert of each token": settings(base="moe", target_modules="all-linear", usual={"base": "moe"}),
    "wrapped and not in the configuration": wrapped_twice,
    "a PEFT model inside a PEFT model": loaded_twice,
    "is frozen while something else trains": frozen_beside_a_head,
    "audit(model).trainable": thawed,
    "trains in 16 bits": sixteen_bits,
    "changes base weights": settings(init_lora_weights="pissa"),
    "is not saved with the adapter": head,
    "in the file have no place in the model": adapter(lambda folder, home: edit(folder, target_modules=["q_proj"])),
    "this model uses the first, a reload the second": live_alpha,
    "modules of another rank": adapter(lambda folder, home: edit(folder, r=4)),
    "tensors that do not fit": adapter(lambda f, home: edit(f, base_model_name_or_path=str(home / "wide"))),
    "the vocabulary was resized": adapter(rows=40, target_modules=["q_proj", "embed_tokens"]),
    "puts all of it into the file": adapter(target_modules=["q_proj", "embed_tokens"]),
    "it computes something else": adapter(lambda folder, home: edit(folder, use_tomorrow=True)),
    "is a pointer of Git LFS": adapter(pointer),
    "; its folder": adapter(into_a_subfolder),
    "next(model.parameters()).dtype": rounded,
    "which is tied: a merge changes": settings(target_modules=["q_proj", "lm_head"]),
    "vLLM refuses rank": adapter(r=64),
    "vLLM refuses what is neither A nor B": adapter(modules_to_save=["lm_head"]),
    "vLLM reads one r and one lora_alpha": adapter(alpha_pattern={"q_proj": 4}),
    'sum(hasattr(module, "lora_A") for module in model.modules())': unmerged,
}
BY_FAULT = {row.sign if row.verb == "says" else row.line: row for row in ROWS}


def found(row: Row, world: dict, capsys) -> bool:
    """Run the line of a row, and say whether it gives what the row says."""
    if row.line.startswith("lorautils "):
        main([str(world.get(word, word)) for word in row.line.split()[1:]])
        result = "".join(capsys.readouterr())
    else:
        names = {}
        exec(re.search(r"```python\n(.+?)```", PAGE, re.DOTALL)[1], names)
        result = str(eval(row.line, names | world))
    return row.sign in result if row.verb == "says" else (result == row.sign) == (row.verb == "is")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.filterwarnings("ignore")
def test_the_line_of_the_page_finds_the_fault_and_only_the_fault(home, tmp_path, capsys, fault):
    row, make = BY_FAULT[fault], FAULTS[fault]
    assert found(row, make(home, tmp_path / "broken", True), capsys), row
    assert not found(row, make(home, tmp_path / "sound", False), capsys), row


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_has_its_rows_and_most_are_made_here():
    assert sorted(row.number for row in ROWS) == list(range(1, len(ROWS) + 1))
    assert len(ROWS) == len(re.findall(r"^\| \d", PAGE, re.MULTILINE)) >= 40, "a row is not read"
    assert all("→" in row.cause for row in ROWS), "a row without a remedy"
    assert len(FAULTS) >= 0.8 * len(ROWS) and len(BY_FAULT) == len(ROWS), "two rows print the same"


def test_the_numbers_that_notebooks_name_are_theirs():
    shown = {row.number: row.shown for row in ROWS if row.number <= 8}
    assert all(("07_" if number <= 4 else "08_") in where for number, where in shown.items()) and len(shown) == 8
    clinic = {cell.source for cell in nbformat.read(ROOT / "notebooks" / "08_peft_lora_run.ipynb", 4).cells}
    for number in (5, 6, 7, 8):
        assert any(source.startswith(f"### {number} · ") for source in clinic)
