"""lora.py against PEFT, row by row of notebook 06's ledger, and what it refuses."""

import copy
import dataclasses
import json
from contextlib import nullcontext

import bitsandbytes as bnb
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.testing import assert_close
from transformers import LlamaConfig, LlamaForCausalLM

from lorautils import lora
from lorautils.basemodel import load_base_model, load_tokenizer
from lorautils.evaluation import evaluate
from lorautils.lora import PROJECTIONS
from lorautils.tasks import cron
from lorautils.tasks.cron import ADAPTER, cron_prompt

pytestmark = pytest.mark.filterwarnings("ignore:The following (rank|alpha)_pattern keys did not match")
DTYPES = [torch.float32, torch.float64, torch.bfloat16]
IDS = torch.tensor([[3, 14, 15, 9, 26], [5, 35, 8, 9, 7]])


class Toy(nn.Module):
    """Three linear layers, one of them with a bias and one inside a block."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.enter = nn.Linear(width, hidden)
        self.block = nn.ModuleDict({"enter": nn.Linear(hidden, hidden, bias=False)})
        self.leave = nn.Linear(hidden, width, bias=False)

    def forward(self, x):
        return self.leave(torch.tanh(self.block["enter"](torch.tanh(self.enter(x)))))


def llama(dtype=torch.float32, tied=False) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=48,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=tied,
    )
    return LlamaForCausalLM(config).to(dtype)


def twins(base: nn.Module, **config) -> tuple[nn.Module, PeftModel]:
    """The same model twice, in train mode: with our LoRA and with PEFT, from the same seed, every B moved off zero."""
    ours, theirs = copy.deepcopy(base).train(), copy.deepcopy(base).train()
    torch.manual_seed(1)
    lora.inject(ours, lora.Config(**config))
    torch.manual_seed(1)
    theirs = get_peft_model(theirs, LoraConfig(**config))
    for layer, other in layer_pairs(ours, theirs):
        nn.init.normal_(layer.lora_B.weight, std=0.3)
        other.lora_B["default"].weight.data.copy_(layer.lora_B.weight)
        layer.lora_A.weight.data.copy_(other.lora_A["default"].weight)  # over bf16, PEFT rounds its start
    return ours, theirs


def layer_pairs(ours, theirs):
    peft_layers = {name: m for name, m in theirs.base_model.model.named_modules() if hasattr(m, "lora_A")}
    layers = lora.lora_layers(ours)
    assert list(layers) == list(peft_layers)
    return [(layers[name], peft_layers[name]) for name in layers]


def logits(model, seed=7):
    torch.manual_seed(seed)  # the dropout masks
    return model(IDS).logits


# --- equal to PEFT ----------------------------------------------------------------------------------------------------

cases = st.fixed_dictionaries(
    {
        "target_modules": st.sampled_from(
            [["enter"], ["enter", "leave"], ["block.enter"], ["leave", "missing"], r"block\.\w+", ".*(enter|leave)"]
        ),
        "r": st.integers(1, 9),
        "lora_alpha": st.sampled_from([1, 8, 32, 0.5, -4]),
        "lora_dropout": st.sampled_from([0.0, 0.1, 0.6]),
        "use_rslora": st.booleans(),
        "rank_pattern": st.sampled_from([{}, {"enter": 2}, {"block.enter": 5, "enter": 3}, {"^enter": 1, "ter": 4}]),
        "alpha_pattern": st.sampled_from([{}, {"leave": 3}, {".*enter": 7}]),
    }
)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(cases, st.integers(1, 9), st.integers(1, 9), st.sampled_from(DTYPES))
def test_a_layer_equals_peft(tmp_path_factory, config, width, hidden, dtype):
    torch.manual_seed(0)
    base = Toy(width, hidden).to(dtype)
    x = torch.randn(2, 3, width, dtype=dtype)
    ours, theirs = twins(base, **config)
    for training in (True, False):
        outputs = []
        for model in (ours.train(training), theirs.train(training)):
            entry = x.clone().requires_grad_()
            torch.manual_seed(2)
            y = model(entry)
            y.square().sum().backward()
            outputs.append((y, entry.grad))
        assert_close(*outputs)
    for layer, other in layer_pairs(ours, theirs):
        assert layer.lora_A.weight.dtype == other.lora_A["default"].weight.dtype
        assert layer.scaling == other.scaling["default"]
        assert_close(layer.lora_A.weight.grad, other.lora_A["default"].weight.grad)
        assert_close(layer.lora_B.weight.grad, other.lora_B["default"].weight.grad)
        assert layer.base_layer.weight.grad is None
    with lora.disabled(ours), theirs.disable_adapter():
        assert_close(ours(x), theirs(x))
        assert_close(ours(x), base(x))
    saved, peft_saved = tmp_path_factory.mktemp("ours"), tmp_path_factory.mktemp("theirs")
    lora.save(ours, saved)
    theirs.save_pretrained(peft_saved)
    assert (saved / lora.WEIGHTS).read_bytes() == (peft_saved / lora.WEIGHTS).read_bytes()
    loaded = copy.deepcopy(base)
    lora.load(loaded, peft_saved)
    assert_close(loaded(x), ours(x))
    assert_close(PeftModel.from_pretrained(copy.deepcopy(base), saved)(x), theirs(x))
    for step, peft_step in ((merge, theirs.merge_adapter), (lora.unmerge, theirs.unmerge_adapter)):
        step(ours)
        peft_step()
        for layer, other in layer_pairs(ours, theirs):
            assert_close(layer.base_layer.weight, other.base_layer.weight)
        assert_close(ours(x), theirs(x))


def merge(model):
    lora.merge(model, rounding=True)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("targets", [PROJECTIONS, ["q_proj", "v_proj"], r".*layers\.1\.mlp\.\w+_proj"], ids=str)
def test_eight_optimiser_steps_equal_peft(dtype, targets):
    ours, theirs = twins(llama(dtype), target_modules=targets, r=3, lora_alpha=12, lora_dropout=0.2)
    for model in (ours, theirs):
        optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
        for seed in range(8):
            torch.manual_seed(seed)
            model(IDS, labels=IDS).loss.backward()
            optimiser.step()
            optimiser.zero_grad()
    for layer, other in layer_pairs(ours, theirs):
        assert_close(layer.lora_A.weight, other.lora_A["default"].weight)
        assert_close(layer.lora_B.weight, other.lora_B["default"].weight)
    assert_close(logits(ours), logits(theirs))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_merged_model_equals_pefts(dtype):
    ours, theirs = twins(llama(dtype), target_modules=PROJECTIONS, r=4)
    unmerged = logits(ours)
    lora.merge(ours, rounding=dtype == torch.bfloat16)
    merged = theirs.merge_and_unload()
    assert_close(logits(ours), logits(merged))
    if dtype != torch.bfloat16:  # which drops part of the update
        assert_close(logits(ours), unmerged)
    for name, layer in lora.lora_layers(ours).items():
        assert_close(layer.base_layer.weight, merged.get_submodule(name).weight)


def test_the_start_is_pefts_and_changes_nothing():
    base = llama()
    ours, theirs = copy.deepcopy(base), copy.deepcopy(base)
    torch.manual_seed(1)
    layers = lora.inject(ours, lora.Config(PROJECTIONS))
    torch.manual_seed(1)
    theirs = get_peft_model(theirs, LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM"))
    for layer, other in layer_pairs(ours, theirs):
        assert torch.equal(layer.lora_A.weight, other.lora_A["default"].weight)
        assert not layer.lora_B.weight.any()
    assert torch.equal(logits(ours), logits(base))
    trainable = [name for name, p in ours.named_parameters() if p.requires_grad]
    theirs_trainable = [name for name, p in theirs.named_parameters() if p.requires_grad]
    assert [f"{lora.PREFIX}{name}" for name in trainable] == [n.replace(".default", "") for n in theirs_trainable]
    assert len(layers) == 14 and len(trainable) == 28


def test_an_injected_layer_is_in_the_mode_of_the_layer_that_it_wraps():
    for training in (True, False):
        layers = lora.inject(llama().train(training), lora.Config(["q_proj"], lora_dropout=0.5))
        assert {layer.dropout.training for layer in layers.values()} == {training}


def test_the_gradients_are_those_of_the_formula():
    torch.manual_seed(0)
    layer = lora.LoRALinear(nn.Linear(5, 4).double(), r=3, alpha=6)
    nn.init.normal_(layer.lora_B.weight)
    x = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)

    def f(x, a, b):
        return torch.func.functional_call(layer, {"lora_A.weight": a, "lora_B.weight": b}, (x,))

    assert torch.autograd.gradcheck(f, (x, layer.lora_A.weight, layer.lora_B.weight))


def test_training_moves_the_adapter_only():
    base = llama()
    model = copy.deepcopy(base)
    lora.inject(model, lora.Config(PROJECTIONS))
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):  # A moves from the second step on
        model(IDS, labels=IDS).loss.backward()
        optimiser.step()
    for name, layer in lora.lora_layers(model).items():
        assert torch.equal(layer.base_layer.weight, base.get_submodule(name).weight)
        assert layer.lora_A.weight.grad.any() and layer.lora_B.weight.any()


# --- files ------------------------------------------------------------------------------------------------------------


def test_the_course_adapter_saved_by_ours_answers_alike_in_peft(tmp_path):
    ours, theirs, tokenizer = load_base_model(), load_base_model(), load_tokenizer()
    lora.load(ours, ADAPTER)
    lora.save(ours, tmp_path)
    before, after = load_file(ADAPTER / lora.WEIGHTS), load_file(tmp_path / lora.WEIGHTS)
    assert before.keys() == after.keys() and all(torch.equal(before[key].float(), after[key]) for key in before)
    theirs = PeftModel.from_pretrained(theirs, tmp_path)
    assert theirs.peft_config["default"].base_model_name_or_path == "HuggingFaceTB/SmolLM2-135M-Instruct"
    cases = cron.test_a(8)
    questions = [cron_prompt(case.text) for case in cases]
    answers = evaluate(theirs, tokenizer, questions)
    assert answers == evaluate(ours, tokenizer, questions)
    assert cron.score(answers, cases).exact >= 7


def test_a_loaded_adapter_is_frozen_unless_it_shall_be_trained(tmp_path):
    lora.inject(source := llama(), lora.Config(["q_proj"], lora_dropout=0.5))
    lora.save(source, tmp_path)
    lora.load(frozen := llama().train(), tmp_path)
    assert not any(p.requires_grad for p in frozen.parameters()) and not frozen.training
    layers = lora.load(llama().train(), tmp_path, trainable=True)
    assert all(layer.lora_A.weight.requires_grad and layer.training for layer in layers.values())


def saved(folder, **changes):
    """Save an adapter of the tiny Llama by PEFT and change its configuration file."""
    get_peft_model(llama(), LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM")).save_pretrained(folder)
    path = folder / lora.CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


def test_a_set_of_names_is_saved_as_peft_saves_it(tmp_path):
    model = llama()
    lora.inject(model, lora.Config({"v_proj", "q_proj"}))
    lora.save(model, tmp_path)
    assert LoraConfig.from_pretrained(tmp_path).target_modules == {"q_proj", "v_proj"}
    assert sorted(path.name for path in tmp_path.iterdir()) == [lora.CONFIG, lora.WEIGHTS]


@pytest.mark.parametrize("error", [SafetensorError("no space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("fails", ["lorautils.lora.save_file", "pathlib.Path.write_text"])
def test_a_save_that_fails_leaves_the_earlier_adapter_whole(tmp_path, monkeypatch, fails, error):
    first, second = llama(), llama()
    lora.inject(first, lora.Config(["q_proj"], lora_alpha=8))
    lora.inject(second, lora.Config(["q_proj"], lora_alpha=64))
    lora.save(first, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def refuse(*args, **kwargs):
        raise error

    with monkeypatch.context() as patch, pytest.raises(type(error)):
        patch.setattr(fails, refuse)
        lora.save(second, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_pattern_that_is_a_regex_only_by_itself_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no regular expression"):
        lora.load(llama(), saved(tmp_path, rank_pattern={"(?i)q_proj": 4}))


PEFT_FIELDS = [
    e.name for e in dataclasses.fields(LoraConfig) if e.name not in {*lora.SCHEMA["properties"], "runtime_config"}
]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, 0 if name == "layers_to_transform" else {"some": "thing"}) for name in PEFT_FIELDS),
        ("use_dora", True),
        ("bias", "all"),
        ("init_lora_weights", "pissa"),
        ("init_lora_weights", None),
        ("peft_type", "IA3"),
        ("target_modules", None),
        ("a_field_of_the_future", 1),
    ],
)
def test_a_field_that_cannot_be_represented_is_refused_by_name(tmp_path, name, value):
    with pytest.raises(ValueError, match=f"adapter_config.json: {name}: .*load this adapter with PEFT"):
        lora.load(llama(), saved(tmp_path, **{name: value}))


@pytest.mark.parametrize("value", [True, False, "gaussian"])
def test_initialisations_that_leave_the_base_alone_are_loaded(tmp_path, value):
    assert lora.load(llama(), saved(tmp_path, init_lora_weights=value, inference_mode=False, revision="main"))


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda folder: (folder / lora.CONFIG).unlink(), OSError, "adapter_config.json"),
        (lambda folder: saved(folder, r=4), ValueError, r"q_proj.lora_A.weight has shape \(8, 16\) .* \(4, 16\)"),
        (lambda folder: saved(folder, target_modules=["q_proj", "v_proj"]), ValueError, "v_proj.* has shape None"),
        (lambda folder: drop_a_tensor(folder), ValueError, r"has shape None in the file, expected \(8, 16\) \(1 such"),
    ],
)
def test_a_spoiled_adapter_is_refused_and_the_model_left_alone(tmp_path, spoil, error, message):
    spoil(saved(tmp_path))
    model = llama()
    with pytest.raises(error, match=message):
        lora.load(model, tmp_path)
    assert all(p.requires_grad for p in model.parameters())
    assert not any(isinstance(module, lora.LoRALinear) for module in model.modules())


def drop_a_tensor(folder):
    tensors = load_file(folder / lora.WEIGHTS)
    del tensors[next(iter(tensors))]
    save_file(tensors, folder / lora.WEIGHTS)


# --- what it refuses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        {"target_modules": ["qproj"]},
        {"target_modules": ["q_proj", "mlp"]},
        {"target_modules": ["q_proj"], "r": 0},
        {"target_modules": ["q_proj", "v_proj"], "rank_pattern": {"v_proj": -1}},
        {"target_modules": ["q_proj"], "lora_dropout": 1.5},
    ],
    ids=str,
)
def test_a_refused_injection_puts_no_layer_into_the_model(config):
    model = llama()
    with pytest.raises((ValueError, TypeError)):
        lora.inject(model, lora.Config(**config))
    assert not any(isinstance(module, lora.LoRALinear) for module in model.modules())


def test_a_second_injection_is_refused(tmp_path):
    lora.inject(model := llama(), lora.Config(["q_proj"]))
    for again in (lambda: lora.inject(model, lora.Config(["v_proj"])), lambda: lora.load(model, saved(tmp_path))):
        with pytest.raises(ValueError, match=r"has LoRA layers already.*load a fresh base model"):
            again()


def test_merging_twice_and_unmerging_twice_is_refused():
    ours, _ = twins(llama(), target_modules=["q_proj"])
    lora.merge(ours)
    before = copy.deepcopy(ours.state_dict())
    with pytest.raises(ValueError, match="merged already"):
        lora.merge(ours)
    with pytest.raises(ValueError, match="unmerge first"), lora.disabled(ours):
        pass
    assert_close(ours.state_dict(), before, rtol=0, atol=0)
    lora.unmerge(ours)
    with pytest.raises(ValueError, match="not merged"):
        lora.unmerge(ours)


def test_a_merge_that_was_interrupted_can_be_taken_back(monkeypatch):
    ours, _ = twins(llama(), target_modules=["q_proj", "v_proj"])
    before, deltas = copy.deepcopy(ours.state_dict()), []

    def interrupted(layer):
        if len(deltas) == 1:
            raise KeyboardInterrupt
        deltas.append(layer)
        return delta(layer)

    delta = lora.LoRALinear.delta
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(lora.LoRALinear, "delta", interrupted)
        lora.merge(ours)
    with pytest.raises(ValueError, match="unmerge first"):
        lora.merge(ours)
    lora.unmerge(ours)
    assert_close(ours.state_dict(), before)
    lora.merge(ours)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_half_precision_weight_is_not_merged_into_unless_rounding_is_asked_for(dtype):
    ours, _ = twins(llama(dtype), target_modules=["q_proj"])
    before = copy.deepcopy(ours.state_dict())
    with pytest.raises(TypeError, match=r"q_proj is torch.\w+ and would drop part.*: load the base model in"):
        lora.merge(ours)
    assert_close(ours.state_dict(), before, rtol=0, atol=0)
    lora.merge(ours, rounding=True)
    assert all(layer.merged for layer in lora.lora_layers(ours).values())


def test_a_four_bit_weight_is_used_and_never_written():
    class Quantised(nn.Module):
        def __init__(self):
            super().__init__()
            self.proj = bnb.nn.Linear4bit(64, 64, bias=False, compute_dtype=torch.float32, quant_type="nf4")

        def forward(self, x):
            return self.proj(x)

    torch.manual_seed(0)
    model = Quantised().to("cpu")
    before = model.proj.weight.data.clone()
    x = torch.randn(3, 64)
    base = model(x)
    (layer,) = lora.inject(model, lora.Config(["proj"])).values()
    assert torch.equal(model(x), base) and layer.lora_A.weight.dtype == torch.float32
    model(x).sum().backward()
    assert layer.lora_B.weight.grad.any()
    for rounding in (False, True):
        with pytest.raises(TypeError, match=r"proj is torch\.uint8"):
            lora.merge(model, rounding=rounding)
    assert torch.equal(layer.base_layer.weight.data, before)


@pytest.mark.parametrize("tied", [True, False])
def test_a_tied_weight_is_not_merged_into(tied):
    lora.inject(model := llama(tied=tied), lora.Config(["lm_head"]))
    with pytest.raises(ValueError, match="lm_head is tied") if tied else nullcontext():
        lora.merge(model)


def test_disabling_ends_with_its_context_also_after_an_error():
    ours, _ = twins(llama(), target_modules=["q_proj"])
    with pytest.raises(KeyError), lora.disabled(ours):
        raise KeyError
    assert not any(layer.disabled for layer in lora.lora_layers(ours).values())


def test_disabling_within_disabling_ends_with_the_outer_one():
    ours, _ = twins(llama(), target_modules=["q_proj"])
    with lora.disabled(ours):
        with lora.disabled(ours):
            pass
        assert all(layer.disabled for layer in lora.lora_layers(ours).values())
