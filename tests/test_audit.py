"""audit.py: the counts it reports, what it says moved, and each warning, provoked and absent where it should be."""

import gc
import json
import weakref

import bitsandbytes as bnb
import pytest
import torch
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
)
from transformers import LlamaForSequenceClassification as LlamaClassifier

from lorautils import audit as module
from lorautils.audit import audit, audit_folder

SIZES = dict(vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2)
HEADS = dict(num_attention_heads=2, num_key_value_heads=1, pad_token_id=0)
IDS = torch.arange(8)[None]


def tiny(model_class=LlamaForCausalLM, **changes):
    torch.manual_seed(0)
    return model_class(LlamaConfig(**SIZES | HEADS | {"tie_word_embeddings": True} | changes))


def wrap(base=None, **arguments):
    return get_peft_model(base or tiny(), LoraConfig(**{"target_modules": ["q_proj"]} | arguments))


def trained(base=None, **arguments):
    """A model whose A and B are random, as after a training."""
    return wrap(base, **{"init_lora_weights": False} | arguments)


def step(model):
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.0)
    model(IDS, labels=IDS).loss.backward()
    optimizer.step()


def moved(report):
    return {row.kind: row.moved for row in report.rows}


# --- what is wrapped, what trains ----------------------------------------------------------------------------------


def test_numbers_in_four_bits_are_counted_as_peft_counts_them():
    base = tiny()
    for layer in base.model.layers:
        layer.mlp.up_proj = bnb.nn.Linear4bit(16, 24, bias=False)
    model = wrap(base.to("cpu"))
    assert base.model.layers[0].mlp.up_proj.weight.numel() < 16 * 24  # packed
    trains, every = model.get_nb_trainable_parameters()
    rows = audit(model).rows
    assert (sum(row.trainable for row in rows), sum(row.parameters for row in rows)) == (trains, every)


@pytest.mark.parametrize("targets", [["q_proj"], ["k_proj", "down_proj"], "all-linear"])
@pytest.mark.parametrize("extra", [{}, {"modules_to_save": ["lm_head"]}, {"trainable_token_indices": [1, 2]}])
def test_counts_are_those_of_peft(targets, extra):
    model = wrap(target_modules=targets, r=4, **extra)
    report = audit(model)
    trainable, total = model.get_nb_trainable_parameters()
    assert (report.trainable, sum(row.parameters for row in report.rows)) == (trainable, total)
    assert f"{trainable:,} of {total:,} parameters train" in str(report)


def test_the_report_names_modules_and_settings():
    text = str(audit(wrap(target_modules=["q_proj", "v_proj"], r=4, lora_alpha=6, lora_dropout=0.25)))
    assert "PeftModel around LlamaForCausalLM, train mode" in text
    assert "adapter 'default', active, not trained yet: r 4, scaling 1.5, dropout 0.25" in text
    assert "wraps 4 modules, 17% of the base\n  q_proj 2, v_proj 2" in text
    assert text.endswith("no warnings")


def test_ranks_that_differ_are_all_shown():
    report = audit(wrap(target_modules=["q_proj", "v_proj"], lora_alpha=16, rank_pattern={"q_proj": 4}))
    assert "r 4, scaling 4, dropout 0; r 8, scaling 2, dropout 0" in report.adapters[0]


def test_kinds_of_parameters():
    model = wrap(tiny(attention_bias=True), target_modules=["q_proj", "embed_tokens"], bias="all")
    kinds = {row.kind: row.tensors for row in audit(model).rows}
    assert kinds == {
        "base bias": 8,
        "base weight": 20,
        "lora_A": 2,
        "lora_B": 2,
        "lora_embedding_A": 1,
        "lora_embedding_B": 1,
    }


def test_a_plain_model_is_counted_and_not_judged():
    model = tiny()
    report = audit(model)
    assert report.adapters == [] and report.warnings == []
    assert report.trainable == sum(p.numel() for p in model.parameters())


def test_an_audit_changes_nothing():
    model = wrap(lora_dropout=0.1)
    before = {name: (p.clone(), p.requires_grad) for name, p in model.named_parameters()}
    state = torch.get_rng_state()
    audit(model)
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name][0]) and p.requires_grad == before[name][1]
    assert model.training and torch.equal(torch.get_rng_state(), state)


# --- what moved ------------------------------------------------------------------------------------------------------


def test_the_first_audit_compares_with_nothing():
    report = audit(wrap())
    assert {(row.known, row.moved) for row in report.rows} == {(0, 0)}
    assert "moved" not in str(report)


def test_wrapping_adds_and_moves_nothing():
    base = tiny()
    audit(base)
    report = audit(wrap(base))
    assert {row.kind: (row.known, row.moved) for row in report.rows} == {
        "base weight": (20, 0),
        "lora_A": (0, 0),
        "lora_B": (0, 0),
    }
    assert str(report).count("0 of 20 moved") == 1 == str(report).count("moved")


def test_the_first_step_moves_b_the_second_a_and_b():
    model = wrap()
    audit(model)
    for expected in ({"lora_A": 0, "lora_B": 2}, {"lora_A": 2, "lora_B": 2}):
        step(model)
        assert moved(audit(model)) == {"base weight": 0} | expected


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_one_bit_is_seen(dtype):
    model = tiny().to(dtype)
    audit(model)
    weight = model.model.layers[1].mlp.up_proj.weight
    with torch.no_grad():
        weight[3, 5] = torch.nextafter(weight[3, 5], weight.new_tensor(9.0))
    assert moved(audit(model)) == {"base weight": 1}
    assert moved(audit(model)) == {"base weight": 0}


def test_a_change_of_sign_or_order_is_seen():
    model = tiny()
    audit(model)
    with torch.no_grad():
        model.model.norm.weight.neg_()
        model.lm_head.weight.copy_(model.lm_head.weight.flip(0))
    assert moved(audit(model)) == {"base weight": 2}


def test_a_merge_moves_the_base_and_the_adapter_is_gone():
    model = wrap(init_lora_weights=False)
    audit(model)
    merged = model.merge_and_unload()
    assert moved(audit(merged)) == {"base weight": 2}


def test_models_are_kept_apart_and_let_go():
    one, two = tiny(), tiny()
    audit(one)
    assert [audit(model).rows[0].known for model in (two, one)] == [0, 20]
    watched, size = weakref.ref(one), len(module._last)
    del one
    gc.collect()
    assert watched() is None and len(module._last) == size - 1


# --- warnings: a case that provokes each, and one close to it that must not --------------------------------------


def loaded(tmp_path, base=None, saved=None, **arguments):
    (saved or wrap()).save_pretrained(tmp_path)
    return PeftModel.from_pretrained(base or tiny(), tmp_path, **arguments)


def unfrozen(model, name):
    for key, p in model.named_parameters():
        if name in key:
            p.requires_grad_(True)
    return model


def second_wrap(**arguments):
    base = tiny()
    wrap(base, target_modules=["q_proj"])
    return wrap(base, **arguments)


def merged():
    model = wrap()
    model.merge_adapter()
    return model


def audited_before(init):
    base = tiny()
    audit(base)
    return wrap(base, r=2, init_lora_weights=init)


def bert(**arguments):
    torch.manual_seed(0)
    config = BertConfig(**SIZES, num_attention_heads=2)
    return get_peft_model(BertForSequenceClassification(config), LoraConfig(target_modules="all-linear", **arguments))


def mixtral():
    torch.manual_seed(0)
    return MixtralForCausalLM(MixtralConfig(**SIZES, num_attention_heads=2, num_key_value_heads=1, num_local_experts=4))


def phi3():
    torch.manual_seed(0)
    return Phi3ForCausalLM(Phi3Config(**SIZES, **HEADS))


def edited(**changes):
    model = wrap()
    for name, value in changes.items():
        setattr(model.peft_config["default"], name, value)
    return model


def emptied():
    model = wrap()
    model.merge_and_unload()
    return model


SEVEN = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

# name: (words of the warning, a model that must get it, a model that must not); the others are made in test_symptoms.py
CASES = {
    "no suggestion": (
        "'zzz' in target_modules wraps nothing",
        lambda: wrap(target_modules=["q_proj", "zzz"]),
        lambda: wrap(target_modules="all-linear"),
    ),
    "half a name": (
        "'proj' in target_modules wraps nothing",
        lambda: wrap(target_modules=["q_proj", "proj"]),
        lambda: wrap(target_modules=["self_attn.q_proj", "model.layers.0.mlp.up_proj"]),
    ),
    "missing layer": (
        "layers_to_transform: nothing is wrapped in [5, 9]",
        lambda: wrap(layers_to_transform=[0, 9, 5]),
        lambda: wrap(layers_to_transform=1),
    ),
    "wrapped by a parameter's name": (
        "wrapped and not in the configuration",
        lambda: second_wrap(target_modules=["v_proj"]),
        lambda: wrap(target_modules=[], target_parameters=["mlp.gate_proj.weight"]),
    ),
    "wrapped with the other embedding": (
        "wrapped and not in the configuration",
        lambda: second_wrap(target_modules=["v_proj"]),
        lambda: wrap(target_modules=["q_proj", "embed_tokens"], ensure_weight_tying=True),
    ),
    "default alpha, rsLoRA": (
        "lora_alpha is at its default",
        lambda: wrap(r=9),
        lambda: wrap(r=64, use_rslora=True),
    ),
    "default alpha, default r": ("lora_alpha is at its default", lambda: wrap(r=16), wrap),
    "pissa_niter": (
        "'pissa_niter_4' changes base weights",
        lambda: wrap(r=2, init_lora_weights="pissa_niter_4"),
        lambda: wrap(init_lora_weights="gaussian"),
    ),
    "olora": (
        "'olora' changes base weights",
        lambda: wrap(r=2, init_lora_weights="olora"),
        lambda: wrap(r=2, init_lora_weights="orthogonal"),
    ),
    "base moved": (
        "2 frozen base tensors moved",
        lambda: audited_before("olora"),
        lambda: audited_before(True),
    ),
    "no bias": (
        "bias='all': the model has no bias",
        lambda: wrap(bias="all"),
        lambda: wrap(tiny(attention_bias=True), bias="all"),
    ),
    "tied lora": (
        "LoRA on 'model.embed_tokens', which is tied",
        lambda: wrap(target_modules=["q_proj", "embed_tokens"]),
        lambda: wrap(tiny(tie_word_embeddings=False), target_modules=["q_proj", "embed_tokens"]),
    ),
    "tied copy": (
        "'lm_head' is tied and trains as a copy",
        lambda: wrap(modules_to_save=["lm_head"]),
        lambda: wrap(modules_to_save=["lm_head"], ensure_weight_tying=True),
    ),
    "head, by name": (
        "the head 'score' is not saved",
        lambda: wrap(tiny(LlamaClassifier)),
        lambda: wrap(tiny(LlamaClassifier), modules_to_save=["score"]),
    ),
    "head with LoRA": ("the head 'classifier' is not saved", bert, lambda: bert(task_type="SEQ_CLS")),
    "trains unsaved": (
        "32 numbers of the base train and are not saved",
        lambda: unfrozen(wrap(tiny(LlamaClassifier)), "score"),
        lambda: unfrozen(wrap(tiny(LlamaClassifier), task_type="SEQ_CLS"), "modules_to_save"),
    ),
    "bias unsaved": (
        "numbers of the base train and are not saved",
        lambda: unfrozen(wrap(tiny(attention_bias=True)), "q_proj.base_layer.bias"),
        lambda: wrap(tiny(attention_bias=True), bias="lora_only"),
    ),
    "merged": ("merged: in 2 modules", merged, wrap),
    "eval": ("eval mode: dropout is off", lambda: wrap().eval(), wrap),
    "fused": (
        "'up_proj' in target_modules wraps nothing: did you mean 'gate_up_proj'?",
        lambda: wrap(phi3(), target_modules=SEVEN),
        lambda: wrap(phi3(), target_modules="all-linear"),
    ),
    "a parameter": (
        "'down_proj' in target_modules wraps nothing: it is a parameter, not a module",
        lambda: wrap(mixtral(), target_modules=SEVEN),
        lambda: wrap(mixtral(), target_parameters=["experts.down_proj"]),
    ),
    "a parameter's typo": (
        "'experts.down_prj' in target_parameters wraps nothing",
        lambda: wrap(mixtral(), target_parameters=["experts.down_prj", "experts.gate_up_proj"]),
        lambda: wrap(mixtral(), target_modules="all-linear"),
    ),
    "excluded on purpose": (
        "'classifier' in target_modules wraps nothing",
        lambda: wrap(target_modules=["q_proj", "classifier"]),
        lambda: bert(task_type="SEQ_CLS", exclude_modules=["classifier"]),
    ),
    "gates that route nothing": ("LoRA on 2 routers", lambda: wrap(mixtral(), target_modules="all-linear"), wrap),
    "never trained": (
        "adapter 'default' is not trained",
        lambda: wrap().eval(),
        lambda: wrap(init_lora_weights=False).eval(),
    ),
    "not trained and frozen": ("adapter 'default' is not trained", lambda: wrap(inference_mode=True), wrap),
    "rsLoRA edited": (
        "scaling 1, by the configuration 2.828, in 2 modules",
        lambda: edited(use_rslora=True),
        lambda: wrap(use_rslora=True, lora_alpha=3),
    ),
    "the head in the file": (
        "LoRA on 'lm_head' puts all of it into the file, 0.00205 MB",
        lambda: wrap(target_modules=["q_proj", "lm_head"]),
        lambda: wrap(trainable_token_indices=[1]),
    ),
    "a copy of the head": (
        "'lm_head' in modules_to_save trains in full, whatever r is: 0.00205 MB of the file",
        lambda: wrap(modules_to_save=["lm_head"]),
        lambda: wrap(tiny(LlamaClassifier), modules_to_save=["score"]),
    ),
    "merged and left": ("the adapter is in no layer", emptied, wrap),
}


@pytest.mark.parametrize("case", CASES)
def test_warning(case):
    words, provoke, spare = CASES[case]
    assert any(warning.startswith(words) or words in warning for warning in audit(provoke()).warnings)
    assert not any(words in warning for warning in audit(spare()).warnings)


def test_no_hint_is_a_name_that_was_asked_for():
    """After a merge every entry wraps nothing, and is the name of a module all the same."""
    for model in (emptied(), wrap(layers_to_transform=0, target_modules=["q_proj", "layers.1.self_attn.v_proj"])):
        assert not any("did you mean" in warning for warning in audit(model).warnings)


def test_a_step_ends_the_state_of_not_being_trained():
    model = wrap()
    assert "active, not trained yet:" in str(audit(model)) and not audit(model).warnings
    step(model)
    assert "not trained" not in str(audit(model))


def test_the_share_counts_every_expert():
    text = str(audit(wrap(mixtral(), target_modules="all-linear")))
    assert "wraps 14 modules, 91% of the base\n  down_proj 2, gate 2, gate_up_proj 2, k_proj 2, o_proj 2" in text


# --- the files of an adapter, without and beside a model ------------------------------------------------------------


def saved(folder, model, **config):
    """Save a model's adapter, with changes in its configuration."""
    model.save_pretrained(folder)
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return folder


@pytest.mark.parametrize(
    ("words", "make", "config"),
    [
        ("every B in the file is zero", wrap, {}),
        ("the adapter is in no layer", emptied, {}),
        ("'up_proj' in target_modules wraps nothing", lambda: wrap(phi3(), target_modules=SEVEN), {}),
        ("wrapped and not in the configuration: q_proj", trained, {"target_modules": ["v_proj"]}),
        ("the scaling is only 0.125", trained, {"r": 64}),
        ("'lm_head.weight' is in the file in full, 512 numbers", lambda: trained(modules_to_save=["lm_head"]), {}),
        ("'lm_head.weight' is in the file in full", lambda: trained(target_modules=["q_proj", "lm_head"]), {}),
    ],
)
def test_a_folder_tells_without_a_model(tmp_path, words, make, config):
    assert any(words in warning for warning in audit_folder(saved(tmp_path, make(), **config)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: trained(target_modules=SEVEN, lora_alpha=32),
        lambda: trained(mixtral(), target_modules="all-linear"),
        lambda: trained(phi3(), target_modules="all-linear"),
        lambda: trained(tiny(LlamaClassifier), task_type="SEQ_CLS"),
        lambda: trained(trainable_token_indices=[1, 2]),
        lambda: trained(target_modules=["embed_tokens"], trainable_token_indices=None, r=4),
    ],
)
def test_a_sound_folder_is_clean(tmp_path, make):
    model = make()
    found = [warning for warning in audit_folder(saved(tmp_path, model)) if "in full" not in warning]
    assert found == [] == [warning for warning in audit(model, tmp_path).warnings if "tensors" in warning]


def test_names_of_the_file_and_of_the_model_are_compared(tmp_path):
    folder = saved(tmp_path, trained(target_modules=["q_proj", "v_proj"]), target_modules=["q_proj", "k_proj"])
    model = PeftModel.from_pretrained(tiny(), folder, is_trainable=True)
    warnings = audit(model, folder).warnings
    assert "4 of 8 tensors in the file have no place in the model: a load ignores them" in warnings
    assert "4 of the model's 8 tensors are not in the file: a load leaves them as they start" in warnings
    assert any("no PEFT model" in warning for warning in audit(tiny(), folder).warnings)


def test_a_folder_without_an_adapter_is_refused_in_words(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no adapter_config\.json: name the folder"):
        audit_folder(tmp_path)
    get_peft_model(tiny(), IA3Config(target_modules=["q_proj"], feedforward_modules=[])).save_pretrained(tmp_path)
    with pytest.raises(TypeError, match="is IA3, expected LORA"):
        audit_folder(tmp_path)


def test_a_loaded_adapter_is_frozen_unless_told(tmp_path):
    adapter = trained()
    assert any("nothing trains" in warning for warning in audit(loaded(tmp_path, saved=adapter)).warnings)
    assert audit(loaded(tmp_path, saved=adapter, is_trainable=True)).warnings == []


def test_no_adapter_is_frozen_because_its_name_begins_another():
    model = wrap()
    model.add_adapter("de", LoraConfig(target_modules=["q_proj"]))
    model.set_adapter("de")
    assert not any("is frozen" in warning for warning in audit(model).warnings)
    assert "adapter 'default', not active" in str(audit(model)) and "adapter 'de', active" in str(audit(model))


def test_the_configuration_of_the_course_is_clean():
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    report = audit(wrap(task_type="CAUSAL_LM", target_modules=names, r=8, lora_alpha=32, lora_dropout=0.1))
    assert report.warnings == [] and "scaling 4," in report.adapters[0]


# --- what it refuses, and odd models --------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [None, "model", {}, LlamaForCausalLM])
def test_no_module(given):
    with pytest.raises(TypeError, match=r"expected a torch\.nn\.Module"):
        audit(given)


def test_another_method():
    model = get_peft_model(tiny(), IA3Config(target_modules=["q_proj"], feedforward_modules=[]))
    with pytest.raises(TypeError, match="adapter 'default' is IA3, expected LORA"):
        audit(model)


def test_a_module_that_is_no_transformers_model():
    torch.manual_seed(0)
    mlp = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    model = get_peft_model(mlp, LoraConfig(target_modules=["0"], r=2))
    report = audit(model)
    assert report.trainable == 2 * (4 + 8) and report.warnings == []


def test_meta_tensors_are_counted():
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(**SIZES | HEADS))
    report = audit(wrap(model))
    assert report.trainable == 2 * 8 * (16 + 16) and report.warnings == []


def test_an_adapter_that_transformers_added_itself():
    model = tiny()
    model.add_adapter(LoraConfig(target_modules=["q_proj", "v_prj"]))
    report = audit(model)
    assert len(report.adapters) == 1 and any("'v_prj'" in warning for warning in report.warnings)


def test_a_model_around_the_peft_model_is_pointed_out():
    report = audit(torch.nn.Sequential(wrap()))
    assert report.adapters == [] and any("pass the PEFT model itself" in warning for warning in report.warnings)
