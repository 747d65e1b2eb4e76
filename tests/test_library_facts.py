"""What the notebooks say about PEFT, transformers, TRL and the others, each fact by itself on tiny models.

A new version that changes one of them fails here in one line, with the fact and the notebook that tells it, before the
notebooks fail in many. `versions.yml` runs this file first, with the oldest and the newest versions.
"""

import inspect
import json
import warnings
from importlib.metadata import version

import numpy as np
import peft
import pytest
import torch
import transformers
import trl
from peft import LoraConfig, PeftModel, PeftType, PromptTuningConfig, TaskType, get_peft_model
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForQuestionAnswering,
    AutoModelForTokenClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
)

IDS = torch.arange(32)[None]  # (batch, tokens)
LIBRARIES = ("peft", "transformers", "trl", "torch", "accelerate", "bitsandbytes", "cron-descriptor", "croniter")
FACTS = {}


def fact(notebook: str, sentence: str):
    """Register a function whose assertions hold as long as the sentence is true."""

    def register(check):
        FACTS[f"{notebook}: {sentence}"] = check
        return check

    return register


def tiny(model_class=LlamaForCausalLM, **changes):
    torch.manual_seed(0)
    sizes = dict(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2)
    heads = dict(num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True, pad_token_id=0)
    return model_class(LlamaConfig(**sizes | heads | changes)).eval()


def wrap(base=None, **arguments):
    return get_peft_model(base or tiny(), LoraConfig(**{"target_modules": ["q_proj", "v_proj"]} | arguments))


def random_lora(base=None, **arguments):
    """A wrapped model whose B is not zero, as after a training."""
    return wrap(base, init_lora_weights=False, **arguments).eval()


def logits(model, **arguments):
    with torch.no_grad():
        return model(IDS, **arguments).logits


def close(a, b):
    return torch.allclose(a, b, atol=1e-3)


def trains(model):
    return sum(p.requires_grad for p in model.parameters())


def q_proj(model):
    return model.get_base_model().model.layers[0].self_attn.q_proj


def said(call):
    """The warnings of a call, and its result."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call()
    return [str(w.message) for w in caught if w.category is not FutureWarning], result


def takes(owner, name):
    return name in inspect.signature(owner).parameters


# --- LoraConfig -----------------------------------------------------------------------------------------------------


@fact("07", "LoraConfig's own defaults are r = 8, lora_alpha = 8, no dropout, and it has no argument alpha")
def _():
    config = LoraConfig()
    assert (config.r, config.lora_alpha, config.lora_dropout, config.inference_mode) == (8, 8, 0.0, False)
    assert takes(LoraConfig, "lora_alpha") and not takes(LoraConfig, "alpha")


@fact("07", "LoraConfig has 42 fields")
def _():
    assert len(LoraConfig.__dataclass_fields__) == 42


@fact("07", "without target_modules, a Llama gets LoRA on q_proj and v_proj")
def _():
    names = wrap(target_modules=None).base_model.targeted_module_names
    assert {name.rpartition(".")[2] for name in names} == {"q_proj", "v_proj"}


@fact("07", "'all-linear' wraps the seven projections of every layer and leaves lm_head out")
def _():
    names = wrap(target_modules="all-linear").base_model.targeted_module_names
    assert len(names) == 14 and not any("lm_head" in name for name in names)


@fact("07", "'all-linear' wraps a classifier's head, too, unless the task type is SEQ_CLS")
def _():
    for task_type, wrapped in ((None, True), (TaskType.SEQ_CLS, False)):
        model = wrap(tiny(LlamaForSequenceClassification), target_modules="all-linear", task_type=task_type)
        assert ("score" in model.base_model.targeted_module_names) == wrapped, task_type


@fact("07", "a typo in a list of target_modules passes without a warning if another name matches")
def _():
    warned, model = said(lambda: wrap(target_modules=["q_proj", "v_prj"]))
    assert warned == [] and len(model.base_model.targeted_module_names) == 2


@fact("07", "target_modules that match nothing raise a ValueError")
def _():
    with pytest.raises(ValueError):
        wrap(target_modules=["nothing"])


@fact("07", "a string is a regular expression for the whole name, a list holds ends of names")
def _():
    assert len(wrap(target_modules=r".*\.1\..*(q|v)_proj").base_model.targeted_module_names) == 2
    with pytest.raises(ValueError):
        wrap(target_modules=[r".*q_proj"])


@fact("06", "A starts uniform in +-1 / sqrt(in) and B at zero, so that the wrapped model is the base, bit for bit")
def _():
    model = wrap()
    A, B = q_proj(model).lora_A["default"].weight, q_proj(model).lora_B["default"].weight
    assert not B.any() and 0.9 < A.abs().max() * 32**0.5 <= 1
    assert torch.equal(logits(model.eval()), logits(tiny()))


@fact("07", "the scaling is lora_alpha / r, and lora_alpha / sqrt(r) with rsLoRA; rank_pattern changes it too")
def _():
    assert q_proj(wrap(r=16, lora_alpha=32)).scaling["default"] == 2
    assert q_proj(wrap(r=16, lora_alpha=32, use_rslora=True)).scaling["default"] == 8
    assert q_proj(wrap(lora_alpha=16, rank_pattern={"q_proj": 32})).scaling["default"] == 0.5


@fact("07", "dropout acts on the input of A only, and only in train mode")
def _():
    model = random_lora(lora_dropout=0.5)
    assert torch.equal(logits(model), logits(model))
    assert not torch.equal(logits(model.train()), logits(model))
    with model.disable_adapter():
        assert torch.equal(logits(model), logits(tiny()))


@fact("07", "pissa and olora change the base's weights; the default, gaussian, orthogonal and eva do not")
def _():
    for init in (True, "gaussian", "orthogonal", "eva", "pissa", "olora"):
        _, model = said(lambda init=init: wrap(init_lora_weights=init, r=4))
        kept = torch.allclose(q_proj(model).base_layer.weight, tiny().model.layers[0].self_attn.q_proj.weight)
        assert kept == (init not in ("pissa", "olora")), init


@fact("07", "mica starts A at zero, freezes B, and so trains A only")
def _():
    layer = q_proj(wrap(init_lora_weights="mica"))
    A, B = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert (A.requires_grad, B.requires_grad) == (True, False) and not A.any() and B.any()


@fact("06", "orthogonal starts with B A at zero and neither factor at zero")
def _():
    layer = q_proj(wrap(init_lora_weights="orthogonal"))
    A, B = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert (B @ A).norm() < 1e-5 < 0.1 < min(A.norm(), B.norm())


@fact("07", "with modules_to_save a tied lm_head becomes a copy, unless ensure_weight_tying is set")
def _():
    for ensure in (False, True):
        base = tiny()
        said(lambda base=base, ensure=ensure: wrap(base, modules_to_save=["lm_head"], ensure_weight_tying=ensure))
        assert (base.get_input_embeddings().weight is base.get_output_embeddings().weight) == ensure


@fact("07", "LoRA on GPT-2's Conv1D needs fan_in_fan_out=True, and PEFT warns and sets it where it is missing")
def _():
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=1, n_head=4))
    warned, _ = said(lambda: wrap(gpt2, target_modules=["c_attn"]))
    assert any("fan_in_fan_out" in text for text in warned)


# --- wrapping, modes, task types ------------------------------------------------------------------------------------


SEVEN = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def small(model_type, kind=AutoModelForCausalLM):
    torch.manual_seed(0)
    sizes = dict(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, pad_token_id=0)
    experts = dict(num_local_experts=4, num_experts=4, moe_intermediate_size=32)
    heads = dict(num_attention_heads=4, num_key_value_heads=2, head_dim=8)
    return kind.from_config(AutoConfig.for_model(model_type, **sizes, **heads, **experts)).eval()


def reached(model_type, **arguments):
    model = wrap(small(model_type), **arguments)
    both = [*model.targeted_module_names, *model.targeted_parameter_names]
    return {".".join(path.split(".")[-2:]) for path in both}


ATTENTION = {f"self_attn.{name}_proj" for name in "qkvo"}
EXPERTS = {"experts.gate_up_proj", "experts.down_proj"}


@fact("07", "the seven names reach o_proj and down_proj of a Phi-3, attention of a Mixtral, the experts of a Qwen3-MoE")
def _():
    assert reached("phi3", target_modules=SEVEN) == {"self_attn.o_proj", "mlp.down_proj"}
    assert reached("mixtral", target_modules=SEVEN) == ATTENTION
    assert reached("qwen3_moe", target_modules=SEVEN) == ATTENTION | EXPERTS


@fact("07", "w1, w2, w3 become parameters of a Mixtral's experts, with r doubled for gate_up_proj; no dropout there")
def _():
    assert reached("mixtral", target_modules=["w1", "w2", "w3"]) == EXPERTS
    model = wrap(small("mixtral"), target_modules=["w1", "w2", "w3"], r=4)
    assert model.peft_config["default"].rank_pattern == {r".*\.gate_up_proj": 8}
    with pytest.raises(ValueError, match="lora_dropout"):
        wrap(small("mixtral"), target_modules=[], target_parameters=["experts.down_proj"], lora_dropout=0.1)


@fact("07", "'all-linear' wraps the router of a mixture of experts, also where exclude_modules names it")
def _():
    for exclude in (None, ["gate"]):
        assert "gate.weight" in reached("mixtral", target_modules="all-linear", exclude_modules=exclude)


@fact("07", "'all-linear' with TOKEN_CLS or QUESTION_ANS is a TypeError, unless the head is excluded")
def _():
    for kind, task, head in (
        (AutoModelForTokenClassification, "TOKEN_CLS", "classifier"),
        (AutoModelForQuestionAnswering, "QUESTION_ANS", "qa_outputs"),
    ):
        with pytest.raises(TypeError, match="modules_to_save cannot be applied"):
            wrap(small("bert", kind), task_type=task, target_modules="all-linear")
        wrap(small("bert", kind), task_type=task, target_modules="all-linear", exclude_modules=[head])


@fact("07", "LoRA on lm_head saves the whole embedding, unless save_embedding_layers is False")
def _(folder):
    model = wrap(target_modules=["lm_head"])
    for saving, kept in (({}, 64 * 32), ({"save_embedding_layers": False}, 0)):
        model.save_pretrained(folder, **saving)
        tensors = load_file(folder / "adapter_model.safetensors")
        assert sum(t.numel() for name, t in tensors.items() if "lora_" not in name) == kept


@fact("07", "get_peft_model edits the base in place, and unload() takes LoRA out again")
def _():
    base = tiny()
    model = wrap(base)
    assert model.get_base_model() is base and type(q_proj(model)).__name__ == "Linear"
    assert type(q_proj(model)) is not torch.nn.Linear
    assert type(model.unload().model.layers[0].self_attn.q_proj) is torch.nn.Linear


@fact("07", "inference_mode=True freezes A and B and does not call eval()")
def _():
    for frozen in (False, True):
        model = wrap(tiny().train(), inference_mode=frozen)
        assert trains(model) == (0 if frozen else 8) and model.training


@fact("07", "set_adapter makes a frozen adapter trainable, unless it is given inference_mode=True")
def _():
    model = wrap(inference_mode=True)
    model.set_adapter("default")
    assert trains(model) == 8
    model.set_adapter("default", inference_mode=True)
    assert trains(model) == 0


@fact("07", "leaving disable_adapter() makes a frozen adapter trainable")
def _():
    model = wrap(inference_mode=True)
    with model.disable_adapter():
        assert trains(model) == 0
    assert trains(model) == 8


@fact("07", "wrapping puts the new modules in train mode, not those of the base")
def _():
    model = wrap(tiny().eval(), lora_dropout=0.1)
    assert model.training and q_proj(model).lora_dropout["default"].training
    assert not any(module.training for module in (model.get_base_model(), q_proj(model).base_layer))


@fact("07", "the task type chooses the wrapper class")
def _():
    names = {task.value: type(wrap(task_type=task.value)).__name__ for task in TaskType}
    assert names["CAUSAL_LM"] == "PeftModelForCausalLM" and names["SEQ_CLS"] == "PeftModelForSequenceClassification"
    assert type(wrap()).__name__ == "PeftModel" and len(names) == 6


@fact("07", "SEQ_CLS trains and saves the new head; without a task type it is frozen and not in the file")
def _(folder):
    for task_type in ("SEQ_CLS", None):
        model = wrap(tiny(LlamaForSequenceClassification), task_type=task_type)
        model.save_pretrained(folder)
        saved = any("score" in name for name in load_file(folder / "adapter_model.safetensors"))
        trained = any(p.requires_grad for name, p in model.named_parameters() if "score" in name)
        assert saved == trained == (task_type is not None), task_type


@fact("00", "disable_adapter() gives the base back inside its block, and the adapter returns after it")
def _():
    model = random_lora()
    on = logits(model)
    with model.disable_adapter():
        assert torch.equal(logits(model), logits(tiny()))
    assert torch.equal(logits(model), on) and not close(on, logits(tiny()))


@fact("00", "PEFT has 45 methods and 6 task types")
def _():
    assert (len(PeftType), len(TaskType)) == (45, 6)


# --- saving, loading, merging ---------------------------------------------------------------------------------------


@fact("08", "an adapter is adapter_config.json, adapter_model.safetensors and README.md, without the adapter's name")
def _(folder):
    random_lora().save_pretrained(folder)
    names = {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    assert {path.name for path in folder.iterdir()} == names
    tensors = load_file(folder / "adapter_model.safetensors")
    assert "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight" in tensors and len(tensors) == 8


@fact("07", "the saved configuration says inference_mode true, whatever the object says")
def _(folder):
    wrap(inference_mode=False).save_pretrained(folder)
    assert json.loads((folder / "adapter_config.json").read_text())["inference_mode"] is True


@fact("08", "a loaded adapter is frozen and in eval mode, unless it is loaded with is_trainable=True")
def _(folder):
    random_lora().save_pretrained(folder)
    model = PeftModel.from_pretrained(tiny().train(), folder)
    assert trains(model) == 0 and not model.training
    assert trains(PeftModel.from_pretrained(tiny(), folder, is_trainable=True)) == 8


@fact("07", "pissa_niter does not come back from a file under another seed, pissa does")
def _(folder):
    for init, comes_back in (("pissa", True), ("pissa_niter_4", False)):
        _, model = said(lambda init=init: wrap(init_lora_weights=init, r=4))
        model.save_pretrained(folder)
        base = tiny()
        torch.manual_seed(1)
        reloaded = PeftModel.from_pretrained(base, folder)
        assert close(logits(reloaded.eval()), logits(model.eval())) == comes_back, init


@fact("08", "merge_and_unload returns a plain model that computes the same; not kept, the old one has lost its adapter")
def _(folder):
    model = random_lora()
    wanted = logits(model)
    merged = model.merge_and_unload()
    assert type(merged) is LlamaForCausalLM and close(logits(merged), wanted)
    model.save_pretrained(folder)
    assert load_file(folder / "adapter_model.safetensors") == {}


@fact("08", "loading onto a model that is wrapped already doubles the prefix, and PEFT warns")
def _(folder):
    random_lora().save_pretrained(folder)
    wrapped = PeftModel.from_pretrained(tiny(), folder)
    warned, twice = said(lambda: PeftModel.from_pretrained(wrapped, folder))
    assert warned and any(name.count("base_model.model") > 1 for name, _ in twice.named_parameters())


def edited(folder, **changes):
    """Save an adapter and change its configuration in the file."""
    random_lora().save_pretrained(folder)
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


@fact("08", "a configuration that names fewer modules than the file holds is loaded without a warning")
def _(folder):
    warned, _ = said(lambda: PeftModel.from_pretrained(tiny(), edited(folder, target_modules=["q_proj"])))
    assert warned == []


@fact("08", "another rank than the file's is a RuntimeError, an unknown field of a newer PEFT a warning")
def _(folder):
    with pytest.raises(RuntimeError, match="size mismatch"):
        PeftModel.from_pretrained(tiny(), edited(folder, r=16))
    warned, model = said(lambda: PeftModel.from_pretrained(tiny(), edited(folder, magic=True, peft_version="99.0")))
    assert warned and close(logits(model), logits(random_lora()))


@fact("08", "lora_alpha edited in a loaded configuration changes nothing; rescale_adapter_scale does")
def _():
    from peft.helpers import rescale_adapter_scale

    model = random_lora()
    before = logits(model)
    model.peft_config["default"].lora_alpha = 64
    assert torch.equal(logits(model), before)
    with rescale_adapter_scale(model, 0.0):
        assert close(logits(model), logits(tiny()))


@fact("06", "over a bf16 base the adapter is float32")
def _():
    model = wrap(tiny().to(torch.bfloat16))
    assert q_proj(model).lora_A["default"].weight.dtype == torch.float32
    assert q_proj(model).base_layer.weight.dtype == torch.bfloat16


# --- several adapters, other methods --------------------------------------------------------------------------------


def two_adapters():
    model = random_lora()
    torch.manual_seed(1)
    model.add_adapter("b", LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    return model.eval()


def deltas(model, *names):
    return [q_proj(model).get_delta_weight(name) for name in names]


@fact("10", "a second adapter is loaded and not active; set_adapter switches")
def _():
    model = two_adapters()
    assert model.active_adapters == ["default"]
    first = logits(model)
    model.set_adapter("b")
    assert model.active_adapters == ["b"] and not close(logits(model), first)


@fact("10", "base_model.set_adapter with a list adds the adapters up")
def _():
    model = two_adapters()
    model.base_model.set_adapter(["default", "b"])
    layer, x = q_proj(model), torch.randn(3, 32)
    by_hand = layer.base_layer(x) + sum(x @ delta.T for delta in deltas(model, "default", "b"))
    assert torch.allclose(layer(x), by_hand, atol=1e-5)


@fact("10", "add_weighted_adapter is the exact sum with 'cat', and far from it with 'linear'")
def _():
    model = two_adapters()
    wanted = sum(deltas(model, "default", "b"))
    for kind, exact in (("cat", True), ("linear", False)):
        model.add_weighted_adapter(["default", "b"], [1.0, 1.0], kind, combination_type=kind)
        error = (deltas(model, kind)[0] - wanted).norm() / wanted.norm()
        assert error < 1e-5 if exact else error > 0.5, kind


@fact("10", "linear, ties, dare_ties, dare_linear and magnitude_prune want adapters of equal rank")
def _():
    model = two_adapters()
    model.add_adapter("wider", LoraConfig(target_modules=["q_proj", "v_proj"], r=16))
    for kind in ("linear", "ties", "dare_ties", "dare_linear", "magnitude_prune"):
        with pytest.raises(ValueError, match="same r value"):
            model.add_weighted_adapter(["default", "wider"], [1.0, 1.0], kind, combination_type=kind, density=0.5)


@fact("10", "one batch takes several adapters by adapter_names, '__base__' among them, in eval mode only")
def _():
    model = two_adapters()
    rows, names = IDS.repeat(3, 1), ["default", "b", "__base__"]
    with torch.no_grad():
        mixed = model(rows, adapter_names=names).logits
    assert close(mixed[:1], logits(model)) and close(mixed[2:], logits(tiny()))
    with pytest.raises(ValueError):
        model.train()(rows, adapter_names=names)


@fact("10", "disable_adapter_layers lasts, and set_adapter does not undo it")
def _():
    model = two_adapters()
    model.base_model.disable_adapter_layers()
    model.set_adapter("default")
    assert close(logits(model), logits(tiny()))
    model.base_model.enable_adapter_layers()
    assert not close(logits(model), logits(tiny()))


@fact("10", "prompt tuning without a task type is a KeyError")
def _():
    with pytest.raises(KeyError):
        get_peft_model(tiny(), PromptTuningConfig(num_virtual_tokens=4))


# --- transformers and TRL -------------------------------------------------------------------------------------------


@fact("07", "from_pretrained takes the checkpoint's dtype where none is given")
def _(folder):
    tiny().to(torch.bfloat16).save_pretrained(folder)
    assert LlamaForCausalLM.from_pretrained(folder).dtype == torch.bfloat16
    assert LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).dtype == torch.float32


@fact("07", "attention maps are returned by the eager implementation only")
def _():
    assert not tiny()(IDS, output_attentions=True).attentions
    assert len(tiny(attn_implementation="eager")(IDS, output_attentions=True).attentions) == 2


@fact("04", "the cache is an object: cache.layers[i].keys of (batch, KV heads, tokens, head size), not cache[i]")
def _():
    cache = tiny()(IDS).past_key_values
    assert cache.layers[0].keys.shape == (1, 2, 32, 8)
    with pytest.raises(TypeError):
        cache[0]


@fact("07", "old arguments have new names: eval_strategy, use_cpu, processing_class, max_length, and so on")
def _():
    old_and_new = [
        (transformers.TrainingArguments, "evaluation_strategy", "eval_strategy"),
        (transformers.TrainingArguments, "no_cuda", "use_cpu"),
        (transformers.TrainingArguments, "warmup_ratio", "warmup_steps"),
        (transformers.TrainingArguments, "group_by_length", "train_sampling_strategy"),
        (transformers.Trainer, "tokenizer", "processing_class"),
        (trl.SFTTrainer, "tokenizer", "processing_class"),
        (trl.SFTConfig, "max_seq_length", "max_length"),
    ]
    for owner, old, new in old_and_new:
        assert takes(owner, new) and not takes(owner, old), (owner.__name__, old, new)


@fact("07", "prepare_model_for_int8_training, BoneConfig, transformers.AdamW and TRL's completion collator are gone")
def _():
    gone = [(peft, "prepare_model_for_int8_training"), (peft, "BoneConfig"), (transformers, "AdamW")]
    for owner, name in [*gone, (trl, "DataCollatorForCompletionOnlyLM")]:
        assert not hasattr(owner, name), name
    assert hasattr(peft, "prepare_model_for_kbit_training") and hasattr(peft, "MissConfig")


@fact("06", "the Trainer clips gradients at 1.0 where nothing is said")
def _():
    assert inspect.signature(transformers.TrainingArguments).parameters["max_grad_norm"].default == 1.0


@fact("08", "DataCollatorForLanguageModeling hides every pad token from the loss, and so eos where pad is eos")
def _():
    from tokenizers import Tokenizer, models

    words = Tokenizer(models.WordLevel({"<end>": 0, "a": 1}, unk_token="<end>"))
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<end>", eos_token="<end>")
    collator = transformers.DataCollatorForLanguageModeling(tokenizer, mlm=False)
    assert collator([{"input_ids": [1, 1, 0]}])["labels"].tolist() == [[1, 1, -100]]


# --- the others -----------------------------------------------------------------------------------------------------


@fact("02", "the SVD of NumPy and of torch returns V transposed")
def _():
    M = np.array([[2.0, 2, 0], [2, 0, -4], [3, 2, -2]])
    U, S, Vh = np.linalg.svd(M)
    assert np.allclose(U @ np.diag(S) @ Vh, M)
    U, S, Vh = torch.linalg.svd(torch.from_numpy(M))
    assert torch.allclose(U @ torch.diag(S) @ Vh, torch.from_numpy(M))


@fact("11", "bitsandbytes quantises to 4 bits on a CPU")
def _():
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    W = torch.randn(64, 64)
    packed, state = quantize_4bit(W, quant_type="nf4")
    assert packed.numel() == W.numel() // 2
    assert (dequantize_4bit(packed, state) - W).norm() / W.norm() < 0.15


@fact("00", "cron-descriptor describes 0 9 * * 1-5 as 'At 09:00 AM, Monday through Friday', and croniter validates it")
def _():
    import cron_descriptor
    from croniter import croniter

    english = cron_descriptor.Options(locale_code="en_US", use_24hour_time_format=False)  # not the locale's
    assert cron_descriptor.get_description("0 9 * * 1-5", english) == "At 09:00 AM, Monday through Friday"
    assert croniter.is_valid("0 9 * * 1-5") and not croniter.is_valid("0 25 * * *")


@fact("00", "cron-descriptor names the minute of an hour range: the sentences that the adapters were trained on")
def _():
    import cron_descriptor

    english = cron_descriptor.Options(locale_code="en_US", use_24hour_time_format=False)
    said = cron_descriptor.get_description("0 11-17 * * *", english)
    assert said == "At 0 minutes past the hour, between 11:00 AM and 05:59 PM"


@pytest.mark.parametrize("name", FACTS)
def test_fact(name, tmp_path):
    check = FACTS[name]
    try:
        check(tmp_path) if inspect.signature(check).parameters else check()
    except (Exception, pytest.fail.Exception) as error:
        installed = ", ".join(f"{library} {version(library)}" for library in LIBRARIES)
        notebook, _, sentence = name.partition(": ")
        pytest.fail(
            f"no longer true: {sentence}.\nNotebook {notebook} and its exercises say so; correct them, or the bounds "
            f"in pyproject.toml.\nWith {installed}.\nSeen: {type(error).__name__}: {error}",
            pytrace=False,
        )
