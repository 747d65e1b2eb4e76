"""Notebook 11: its drawings can be read, its loss and advantages are TRL's, its reference page and records say so."""

import re
from itertools import pairwise

import matplotlib.pyplot as plt
import nbformat
import pytest
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.utils.hotswap import hotswap_adapter
from safetensors.torch import load_file
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

from experiments import grpo, preferences, records
from experiments.notebook_run import RECIPE
from lorautils import ROOT, results
from lorautils.basemodel import load_tokenizer
from lorautils.figures import nb11 as figures
from lorautils.figures.words import alt_text
from lorautils.tasks import cron
from lorautils.tasks.cron import cron_prompt

NOTEBOOK = nbformat.read(ROOT / "notebooks" / "11_several_adapters.ipynb", as_version=4)
CELLS = {cell.id: cell.source for cell in NOTEBOOK.cells}
OUTPUTS = {cell.id: "".join(out.get("text", "") for out in cell.get("outputs", ())) for cell in NOTEBOOK.cells}
PAGE = (ROOT / "docs" / "adapter_reference.md").read_text(encoding="utf-8")
DRAWINGS = {
    "shelf": figures.shelf,
    "combine": figures.combine,
    "preference": lambda: figures.preference("45 9 * * 1,2", "45 9 * * 0,2,5"),
}


def table(heading: str) -> list[list[str]]:
    """The rows of the table under a heading of the reference page, without its head."""
    part = PAGE.partition(f"## {heading}")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip(" `") for cell in row] for row in rows[2:]]


def tiny(model_class=LlamaForCausalLM, **changes):
    torch.manual_seed(0)
    sizes = {"vocab_size": 64, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    return model_class(LlamaConfig(**sizes | changes, num_attention_heads=4, pad_token_id=0)).eval()


def tiny_t5():
    torch.manual_seed(0)
    sizes = {"vocab_size": 32, "d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4}
    return T5ForConditionalGeneration(T5Config(**sizes, decoder_start_token_id=0, dropout_rate=0.0))


# ------------------------------------------------------------------------------- DPO


@pytest.fixture(scope="module")
def dpo():
    """What the cells of the notebook define: log_p, margins, dpo_loss."""
    space = {"torch": torch, "F": F, "tokenizer": load_tokenizer(), "cron_prompt": cron_prompt}
    imports = [line for line in CELLS["dpo-pairs"].splitlines() if line.startswith("from ")]
    exec("\n".join([*imports, CELLS["dpo-log-p"], CELLS["dpo-loss"]]), space)
    return space


@pytest.fixture(scope="module")
def policy():
    """A tiny model with an adapter that has moved away from its reference."""
    config = LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    return get_peft_model(tiny(vocab_size=49_152), config).eval()


ROWS = results.read("preferences.json")["wrong"][:6]


def test_the_loss_of_the_notebook_is_the_formula(dpo, policy):
    """With each probability computed token by token, and the reference a model without an adapter."""

    def by_hand(model, row, field):
        prompt, answer = (
            dpo["tokenizer"](text, add_special_tokens=False)["input_ids"]
            for text in (cron_prompt(row["text"]), row[field] + dpo["tokenizer"].eos_token)
        )
        log_p = model(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
        return sum(log_p[len(prompt) - 1 + i, token] for i, token in enumerate(answer))

    plain = tiny(vocab_size=49_152)
    with torch.no_grad():
        apart = [
            by_hand(policy, row, "cron")
            - by_hand(policy, row, "answer")
            - by_hand(plain, row, "cron")
            + by_hand(plain, row, "answer")
            for row in ROWS
        ]
        assert min(abs(each) for each in apart) > 1e-3  # the adapter does something
        loss = dpo["dpo_loss"](policy, ROWS, beta=2.0)
    assert loss.item() == pytest.approx(-F.logsigmoid(2.0 * torch.stack(apart)).mean().item(), rel=1e-4)


def test_the_loss_of_the_notebook_is_that_of_trl(dpo, policy, tmp_path):
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    rows = [{"prompt": cron_prompt(r["text"]), "chosen": r["cron"], "rejected": r["answer"]} for r in ROWS]
    settings = {"beta": 2.0, "bf16": False, "gradient_checkpointing": False, "report_to": "none", "use_cpu": True}
    arguments = DPOConfig(str(tmp_path), per_device_train_batch_size=len(rows), **settings)
    given = {"train_dataset": Dataset.from_list(rows), "processing_class": dpo["tokenizer"]}
    trainer = DPOTrainer(tiny(vocab_size=49_152), args=arguments, peft_config=policy.peft_config["default"], **given)
    set_peft_model_state_dict(trainer.model, get_peft_model_state_dict(policy))
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.eval()
    with torch.no_grad():
        theirs = trainer.compute_loss(trainer.model, batch).item()
        ours = dpo["dpo_loss"](policy, ROWS, beta=2.0).item()
    assert theirs == pytest.approx(ours, rel=1e-4)


def test_untrained_the_margins_are_equal_and_the_loss_is_ln_2(dpo):
    config = LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"])
    fresh = get_peft_model(tiny(vocab_size=49_152), config).eval()
    assert dpo["dpo_loss"](fresh, ROWS).item() == pytest.approx(0.6931, abs=1e-4)


def test_pairs_are_marked_by_the_checker_and_no_phrase_was_trained_or_occurs_twice():
    recorded = results.read("preferences.json")
    train, held_out = preferences.phrases()
    assert recorded["asked"] == len(train)
    assert [row["text"] for row in recorded["held_out"]] == [example.text for example in held_out]
    known = {example.text: example.cron for example in train}
    for row in recorded["wrong"] + recorded["held_out"]:
        assert row["right"] == cron.equivalent(row["answer"], row["cron"])
    assert all(known[row["text"]] == row["cron"] and not row["right"] for row in recorded["wrong"])
    texts = [cron.normalized(example.text) for example in train + held_out]
    assert len(set(texts)) == len(texts)
    trained = cron.train_examples(RECIPE["examples"], 0, RECIPE["human_share"])
    assert not {cron.normalized(example.text) for example in trained} & set(texts)
    assert len(recorded["wrong"]) >= 10 * 4  # what the notebook's ten steps of four pairs read


# ------------------------------------------------------------------------------- GRPO


@pytest.fixture(scope="module")
def by_hand():
    """What the cell of one group defines: right, group, missed, reward, advantages."""
    space = {"torch": torch, "cron": cron}
    exec(CELLS["grpo-group"], space)
    return space


def test_the_reward_of_the_notebook_is_that_of_the_record(by_hand):
    recorded = grpo.reward_of(grpo.Run("reward"))
    for right, group in ((by_hand["right"], by_hand["group"]), ("28 6 * * *", by_hand["missed"])):
        assert len(group) == grpo.Run("reward").group
        given = {"completions": group, "right": [right] * len(group), "log_metric": lambda *_: None}
        assert [by_hand["reward"](said, right) for said in group] == recorded(**given)


def test_the_advantages_of_the_notebook_are_those_of_trl(by_hand, tmp_path):
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    groups = [2.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0]
    shape = {"per_device_train_batch_size": 8, "num_generations": 4, "max_completion_length": 2, "max_steps": 1}
    quiet = {"report_to": "none", "disable_tqdm": True, "save_strategy": "no"}
    arguments = GRPOConfig(str(tmp_path), **shape, **quiet, bf16=False, gradient_checkpointing=False, use_cpu=True)
    asked = Dataset.from_list([{"prompt": "a"}, {"prompt": "b"}])
    given = {"train_dataset": asked, "processing_class": load_tokenizer()}
    trainer = GRPOTrainer(tiny(vocab_size=49_152), lambda **_: [*groups[0], *groups[1]], arguments, **given)
    trainer.train()
    ours = torch.cat([by_hand["advantages"](group) for group in groups])
    assert list(trainer._logs["advantages"]) == pytest.approx(ours.tolist(), rel=1e-5)


def test_the_nulls_name_the_change_of_four_points_and_the_lead_of_six_that_would_be_seen():
    def noise(cell: str) -> float:
        (outputs,) = (found.outputs for found in NOTEBOOK.cells if found.id == cell)
        last = outputs[-1].metadata["text/plain"]["verdict"]
        assert last["outcome"] == "cannot tell"
        return last["noise"]

    assert round(noise("grpo-verdict")) == 4 and "from four points on" in CELLS["read-grpo"]
    assert 5 < noise("router-test") < 6 and "A lead of six" in CELLS["router-reload-intro"]


# ------------------------------------------------------------------------------- the reference page


@pytest.mark.parametrize("row", table("Task types"), ids=lambda row: row[0])
def test_a_task_type_has_its_answers_and_its_head(row, tmp_path):
    task_type, name, answers, _, head = row
    if task_type == "SEQ_2_SEQ_LM":
        model, ids = tiny_t5(), torch.randint(2, 32, (1, 32))
        given = {"input_ids": ids, "labels": ids}
    else:
        model, given = tiny(getattr(transformers, name)), {"input_ids": torch.arange(32)[None]}
    task = None if task_type == "none" else task_type
    model = get_peft_model(model, LoraConfig(task_type=task, target_modules=["q" if "T5" in name else "q_proj"]))
    model.save_pretrained(tmp_path)
    saved = {key.split(".")[-2] for key in load_file(tmp_path / "adapter_model.safetensors") if "lora" not in key}
    assert (saved or {"none"}) == {re.match(r"\w+", head)[0]}
    first = next(value for value in model(**given).values() if torch.is_tensor(value) and value.dim())
    assert tuple(first.shape[:2]) == ((1, 2) if answers == "the whole text" else (1, 32))


def test_a_t5_learns_and_comes_back_from_its_file_cross_attention_too(tmp_path):
    ids = torch.randint(2, 32, (64, 5), generator=torch.Generator().manual_seed(0))
    copying = {"input_ids": ids, "labels": ids}
    model = get_peft_model(
        tiny_t5(), LoraConfig(task_type="SEQ_2_SEQ_LM", r=8, lora_alpha=32, target_modules="all-linear")
    )
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-2)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        losses.append(model(**copying).loss)
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0] / 2
    model.eval().save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(tiny_t5(), tmp_path).eval()
    assert torch.allclose(again(**copying).logits, model(**copying).logits, atol=1e-4)
    assert sum(name.endswith("EncDecAttention.q") for name, _ in again.named_modules()) == 2


IDS = torch.arange(32)[None]


def combine(kind):
    return lambda m, folder: m.add_weighted_adapter(["a", "b"], [1.0, 1.0], "c", combination_type=kind)


OPERATIONS = {
    "both active": lambda m, folder: m.base_model.set_adapter(["a", "b"]) or m(IDS),
    "one a row": lambda m, folder: m(IDS.repeat(2, 1), adapter_names=["a", "b"]),
    "hotswap_adapter": lambda m, folder: hotswap_adapter(m, folder / "b", adapter_name="a"),
} | {kind: combine(kind) for kind in ("cat", "svd", "linear")}


def tried(operation, folder, **changes):
    usual = {"task_type": "CAUSAL_LM", "target_modules": ["q_proj", "v_proj"], "init_lora_weights": False}
    model = get_peft_model(tiny(), LoraConfig(r=8, **usual), adapter_name="a")
    model.add_adapter("b", LoraConfig(**usual | changes))
    model.save_pretrained(folder)
    try:
        OPERATIONS[operation](model.eval(), folder)
    except ValueError as error:
        return type(error).__name__
    return "works"


@pytest.mark.parametrize("row", table("Two adapters of ranks 8 and 8, or 8 and 4"), ids=lambda row: row[0])
def test_what_needs_equal_ranks(row, tmp_path):
    (name,) = [
        name for name in ("both active", "one a row", "hotswap_adapter", "cat", "svd", "linear") if name in row[0]
    ]
    assert [tried(name, tmp_path / str(r), r=r) for r in (8, 4)] == row[1:]


def test_cat_multiplies_the_scaling_into_a_and_linear_its_root_into_both():
    """As the notebook says, and as exercise 2 asks."""
    usual = {"target_modules": ["q_proj"], "init_lora_weights": False, "r": 8}
    model = get_peft_model(tiny(), LoraConfig(lora_alpha=32, **usual), adapter_name="a")
    model.add_adapter("b", LoraConfig(lora_alpha=16, **usual))
    for kind in ("cat", "linear"):
        model.add_weighted_adapter(["a", "b"], [1.0, 0.5], kind, combination_type=kind)
    layer = model.base_model.model.model.layers[0].self_attn.q_proj
    A, B = ({name: module.weight for name, module in side.items()} for side in (layer.lora_A, layer.lora_B))
    assert torch.allclose(A["cat"], torch.cat([4 * A["a"], 1 * A["b"]]))
    assert torch.equal(B["cat"], torch.cat([B["a"], B["b"]], dim=1))
    for factor in (A, B):
        assert torch.allclose(factor["linear"], 2 * factor["a"] + factor["b"], atol=1e-6)


def test_no_dora_in_a_mixed_batch(tmp_path):
    assert tried("one a row", tmp_path, r=8, use_dora=True) == "ValueError"


# ------------------------------------------------------------------------------- records


def test_between_a_half_and_seven_tenths_one_skill_goes_as_the_other_comes():
    mixed = {
        s["weights"][1]: s["exact"]
        for s in results.read("combined_adapters.json")["settings"]
        if s["kind"] == "cat" and sum(s["weights"]) == 1
    }
    assert len(results.read("combined_adapters.json")["settings"]) == 16
    assert all(mixed[w]["orders"] == 0 and mixed[w]["cron"] >= 94 for w in mixed if w <= 0.5)
    assert all(mixed[w]["cron"] == 0 and mixed[w]["orders"] >= 69 for w in mixed if w >= 0.7)
    assert all(a["cron"] >= b["cron"] for a, b in pairwise(mixed[w] for w in sorted(mixed)))


def test_the_trainings_above_the_figure_are_lora_at_four_times_its_best_rate():
    runs, english = results.read("sweeps.jsonl"), records.MEASURES["English"]
    groups = {"full": (2e-4, {"sweep": "full"}), "all": (2e-3, {"sweep": "rank"})}
    groups["mlp"] = 2e-3, {"sweep": "targets", "r": 10}
    above = [
        (name, run["run"]["learning_rate"] / best, english(run))
        for name, (best, wanted) in groups.items()
        for run in records.select(runs, **wanted)
        if english(run) > 6.5  # where the figure ends
    ]
    assert len(above) == 26 and min(nats for *_, nats in above) > 10
    assert {(name, round(times, 6)) for name, times, _ in above} == {("all", 4)}


def test_neither_training_on_pairs_got_more_of_the_held_out_right_than_the_run_before_it():
    hits = [int(count) for count in re.findall(r"right (\d+) of 30", OUTPUTS["dpo-run"])]
    assert len(hits) == 3 and max(hits[1:]) <= hits[0]


def test_the_rise_of_each_kind_of_text_is_told_with_its_interval():
    axes = figures.rises({"cron": {"prose": (1.6, 1.3, 1.9), "code": (2.8, 2.2, 3.4)}}, xlabel="rise (nats)")
    assert "cron: prose +1.6 (1.3 to 1.9), code +2.8 (2.2 to 3.4)" in alt_text(axes.figure)
    plt.close("all")
