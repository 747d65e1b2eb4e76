"""`lorautils train` and `evaluate` on files as people have them, with LoRA's settings, on tiny models of all kinds."""

import json
import re
import shutil

import pytest
import torch
import transformers
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file
from test_cli import error, lines, tiny_model  # noqa: F401

from lorautils import basemodel, training
from lorautils.audit import audit
from lorautils.cli import blind, evaluate, main, targets
from lorautils.cli.forecast import unfilled
from lorautils.cli.options import Train
from lorautils.data import Pair

TEMPLATE = "{% for turn in messages %}<|im_start|>{{ turn.role }}:{{ turn.content }}<|im_end|>{% endfor %}"
TEMPLATE += "{% if add_generation_prompt %}<|im_start|>assistant:{% endif %}"
CHAT = {"messages": [{"role": "user", "content": "ping"}, {"role": "assistant", "content": "pong"}]}
PAIR = {"prompt": "ping ", "completion": "pong"}
FAST = ["--epochs", "20", "--learning_rate", "0.02"]


@pytest.fixture
def chat_model(tiny_model):  # noqa: F811
    tokenizer = basemodel.load_tokenizer()
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(tiny_model)
    return tiny_model


def table(path, *given):
    return lines(path, *map(json.dumps, given))


ANSWERED = {  # files that teach "pong", each in another format
    "chat.jsonl": CHAT,
    "turns.jsonl": {"prompt": CHAT["messages"][:1], "completion": CHAT["messages"][1:], "id": 3},
}


@pytest.mark.parametrize("name", ANSWERED)
def test_every_format_of_a_chat_trains_and_is_answered_by_the_same_door(chat_model, capsys, tmp_path, name):
    data = table(tmp_path / name, *[ANSWERED[name]] * 16)
    assert main(["train", "--data", data, "--output", str(tmp_path / "adapter"), *FAST]) == 0
    said = capsys.readouterr().err
    assert "rows that repeat another" in said and "LoRA on down_proj" in said and "WARNING" not in said
    assert ("ignored fields: id" in said) == ("turns" in name)
    answers = tmp_path / "answers.jsonl"
    for adapter, score in (["--adapter", str(tmp_path / "adapter")], "100 %"), ([], "0 %"):
        assert main(["evaluate", data, *adapter, "--output", str(answers)]) == 0
        out = capsys.readouterr().out
        assert out.splitlines()[-1].startswith(score) and out.endswith("exact of 16\n")
        assert ("expected 'pong'" in out) == (score == "0 %")
        written = [json.loads(line) for line in answers.read_text(encoding="utf-8").splitlines()]
        assert len(written) == 16 and written[0]["where"] == f"{data}, line 1" and written[0]["expected"] == "pong"
        answers.unlink()


def test_pairs_train_the_very_adapter_that_they_always_trained(tiny_model, tmp_path):  # noqa: F811
    from lorautils import setup

    data = table(tmp_path / "pairs.jsonl", *[{"prompt": f"p{n} ", "completion": "x" * (n + 1)} for n in range(9)])
    assert main(["train", "--data", data, "--output", str(tmp_path / "adapter"), "--epochs", "2"]) == 0
    setup(0)
    model = get_peft_model(basemodel.load_base_model(), training.lora_config())
    pairs = [Pair(f"p{n} ", "x" * (n + 1)) for n in range(9)]
    training.train(model, basemodel.load_tokenizer(), pairs, epochs=2, progress=False)
    again = PeftModel.from_pretrained(basemodel.load_base_model(), tmp_path / "adapter")
    assert all(torch.equal(again.state_dict()[name], value) for name, value in model.state_dict().items())


def test_the_settings_of_lora_reach_the_adapter(tiny_model, capsys, tmp_path):  # noqa: F811
    data = table(tmp_path / "pairs.jsonl", PAIR)
    settings = ["--r", "4", "--lora_alpha", "9", "--lora_dropout", "0", "--target_modules", "q_proj, down_proj"]
    assert main(["train", "--data", data, "--output", str(tmp_path / "adapter"), "--epochs", "1", *settings]) == 0
    config = LoraConfig.from_pretrained(tmp_path / "adapter")
    assert (config.r, config.lora_alpha, config.lora_dropout) == (4, 9, 0)
    assert set(config.target_modules) == {"q_proj", "down_proj"}
    assert "r 4, scaling 2.25, dropout 0" in capsys.readouterr().err
    said = error(capsys, "train", "--data", data, "--output", str(tmp_path / "new"), "--target_modules", "q_proj,qproj")
    assert "no layer is named ['qproj']" in said and "down_proj, gate_proj" in said
    assert not (tmp_path / "new").exists(), "a refused run leaves nothing behind"


def test_other_fields_of_lora_reach_the_adapter_the_forecast_and_the_next_training(tiny_model, capsys, tmp_path):  # noqa: F811
    data, folder = table(tmp_path / "pairs.jsonl", PAIR), str(tmp_path / "adapter")
    layers = basemodel.load_config().num_hidden_layers
    fields = ["--use_rslora", "true", "--use_dora", "true", "--layers_to_transform", "0"]
    fields += ["--rank_pattern", "q_proj=2", "--alpha_pattern", "q_proj=6, k_proj=9"]
    train = ["train", "--data", data, "--epochs", "1"]
    assert main([*train, *fields, "--output", folder, "--dry_run"]) == 0
    capsys.readouterr()
    assert main([*train, *fields, "--output", folder]) == 0
    said = capsys.readouterr().err
    assert "of layers 0: 99% of the weights" in said, said
    assert "of layers 0: 49% of the weights" in targets.reach(
        small("Llama"), LoraConfig(target_modules=SEVEN, layers_to_transform=[0])
    )
    config = LoraConfig.from_pretrained(folder)
    assert config.use_rslora and config.use_dora and config.layers_to_transform == [0]
    assert (config.rank_pattern, config.alpha_pattern) == ({"q_proj": 2}, {"q_proj": 6, "k_proj": 9})
    saved = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    ranks = {name.split(".")[-3]: len(value) for name, value in saved.items() if "lora_A" in name}
    assert ranks["q_proj"] == 2 and ranks["k_proj"] == 8 and any("magnitude" in name for name in saved)
    new = ["--output", str(tmp_path / "new")]
    for text in (str(layers), "-1", "", "x"):
        said = error(capsys, *train, *new, f"--layers_to_transform={text}")
        assert f"is {text!r}, expected numbers from 0 to {layers - 1}, separated" in said
    assert "no layer is named ['qq']" in error(capsys, *train, *new, "--rank_pattern", "qq=2")
    for text in ("q_proj=0", "q_proj", "q_proj=2.5", ""):
        assert f"alpha_pattern is {text!r}, expected names" in error(capsys, *train, *new, f"--alpha_pattern={text}")
    plain = str(tmp_path / "plain")
    assert main([*train, "--output", plain]) == 0
    capsys.readouterr()
    said = error(capsys, *train, *new, "--from_adapter", plain, "--use_dora", "true")
    assert "use_dora is True, and the adapter in" in said and "has False: leave it out" in said


def test_held_out_examples_are_measured_and_the_best_state_is_saved(tiny_model, capsys, tmp_path):  # noqa: F811
    rows = [{"prompt": f"{n}: ", "completion": "pong"} for n in range(20)]
    data = table(tmp_path / "pairs.jsonl", *rows)
    arguments = ["train", "--data", data, "--held-out", "0.2", "--epochs", "3", "--learning_rate", "0.02"]
    best = tmp_path / "best"
    assert main([*arguments, "--output", str(best), "--keep_best", "true"]) == 0
    out, err = capsys.readouterr()
    assert "loss on 4 held-out sequences: lowest after step " in out and out.count("and that state is kept") == 1
    assert err.endswith(
        f"Next: lorautils evaluate FILE --adapter {best}, with a file of questions that it has not seen\n"
    )
    assert "need examples to measure on: add --held_out 0.1" in error(capsys, *arguments[:3], "--keep_best", "true")
    assert "cron examples are made, and data names files" in error(capsys, *arguments[:3], "--examples", "9")


def test_an_example_over_the_limit_ends_in_an_error_or_is_left_out_by_choice(tiny_model, capsys, tmp_path):  # noqa: F811
    data = table(tmp_path / "pairs.jsonl", PAIR, {"prompt": "ping ", "completion": "pong" * 9})
    arguments = ["train", "--data", data, "--epochs", "1", "--max_length", "20", "--output", str(tmp_path / "adapter")]
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert "pairs.jsonl, line 2 has 42 tokens, at most 20" in err.splitlines()[-1]
    assert not (tmp_path / "adapter").exists(), "a refused run leaves nothing behind"
    assert main([*arguments, "--too_long", "drop"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("1 steps, ") and "left out, with more than 20 tokens: 1 sequences" in err


def test_several_files_are_named_by_a_pattern(tiny_model, capsys, tmp_path):  # noqa: F811
    for name in "ab":
        table(tmp_path / f"{name}.jsonl", *[PAIR] * 8)
    (tmp_path / "c.csv").write_text("question,answer\n" + "ping ,pong\n" * 8)
    data = f"{tmp_path}/*.jsonl,{tmp_path}/c.csv"
    renamed = ["--rename", "question=prompt,answer=completion"]
    assert main(["train", "--data", data, *renamed, "--epochs", "1", "--output", str(tmp_path / "adapter")]) == 0
    assert capsys.readouterr().out.startswith("3 steps, ")


def test_errors_of_evaluate(capsys, tmp_path):
    data, text = table(tmp_path / "pairs.jsonl", PAIR), table(tmp_path / "texts.jsonl", {"text": "a"})
    assert "holds no adapter" in error(capsys, "evaluate", data, "--adapter", str(tmp_path))
    assert "texts.jsonl, line 1 is a text" in error(capsys, "evaluate", text)
    assert "is there already" in error(capsys, "evaluate", data, "--output", text)
    assert "nowhere is no folder" in error(capsys, "evaluate", data, "--output", str(tmp_path / "nowhere" / "answers"))
    assert "nowhere.csv is not there" in error(capsys, "evaluate", str(tmp_path / "nowhere.csv"))


# --- which layers are wrapped -----------------------------------------------------------------------------------------

SIZES = dict(vocab_size=64, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4)
SIZES |= dict(num_key_value_heads=2, pad_token_id=0, eos_token_id=1, bos_token_id=2)
SEVEN = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
EXPERTS = "experts in one tensor are not reached: experts.down_proj, experts.gate_up_proj"
FAMILIES = {  # a family: its sizes, what is wrapped, and what is said of it
    "Llama": ({}, SEVEN, "98% of the weights"),
    "Qwen2": ({}, SEVEN, "of the weights"),
    "Gemma": (dict(head_dim=4), SEVEN, "98% of the weights"),
    "Phi3": ({}, ["down_proj", "gate_up_proj", "o_proj", "qkv_proj"], "98% of the weights"),
    "Mixtral": (dict(num_local_experts=4), ["k_proj", "o_proj", "q_proj", "v_proj"], EXPERTS),
    "Qwen3Moe": (
        dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24, head_dim=4),
        ["k_proj", "o_proj", "q_proj", "v_proj"],
        EXPERTS,
    ),
    "GPT2": (dict(n_embd=16, n_layer=2, n_head=2), ["c_attn", "c_fc", "c_proj"], "of the weights"),
}


def small(family: str, **more):
    shared = {name: size for name, size in SIZES.items() if family != "GPT2" or "hidden" not in name}
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**FAMILIES[family][0] | shared | more)
    return transformers.AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize("family", FAMILIES)
def test_without_a_setting_a_model_of_any_family_is_wrapped_and_it_is_said_how_far(family):
    _, expected, message = FAMILIES[family]
    base = small(family)
    names = targets.chosen(base, None)
    assert sorted(names) == expected and message in (said := targets.reach(base, LoraConfig(target_modules=names))), (
        said
    )
    model = get_peft_model(base, LoraConfig(target_modules=set(names), lora_dropout=0.1, task_type="CAUSAL_LM")).train()
    found = audit(model)
    wrapped = {path.split(".")[-1] for path, layer in base.named_modules() if hasattr(layer, "lora_A")}
    assert wrapped == set(expected) and not [warning for warning in found.warnings if "wraps nothing" in warning]


def test_a_dry_run_counts_and_predicts_and_trains_nothing(tiny_model, capsys, tmp_path):  # noqa: F811
    rows = [{"prompt": f"{n}: ", "completion": "pong " * n} for n in range(1, 21)]
    arguments = ["train", "--data", table(tmp_path / "pairs.jsonl", *rows), "--epochs", "2.5", "--dry_run"]
    assert main([*arguments, "--output", str(tmp_path / "adapter"), "--held_out", "0.2"]) == 0
    out = capsys.readouterr().out
    assert "steps      5\n" in out and "sequences  16," in out and not (tmp_path / "adapter").exists()
    assert float(re.search(r"memory +about ([\d.]+) GiB at the peak, [\d.]+ GiB are free", out)[1]) < 0.5
    minutes = float(re.search(r"minutes +at least ([\d.]+), the matrix products alone at \d+ GFLOP/s", out)[1])
    assert minutes < 0.2
    assert main([*arguments, "--packing", "true", "--max_length", "200"]) == 0
    out = capsys.readouterr().out
    assert "packed     6 rows of at most 200 tokens" in out and "steps      3\n" in out


@pytest.mark.parametrize(
    ("options", "warned"), [("--epochs 3", True), ("--epochs 9", False), ("--held_out_steps 2", False)]
)
def test_a_patience_that_can_never_end_the_run_is_told(options, warned, tiny_model, capsys, tmp_path):  # noqa: F811
    data = table(tmp_path / "pairs.jsonl", *[PAIR | {"prompt": f"{n}: "} for n in range(8)])
    arguments = ["--patience", "3", "--held_out", "0.5", *options.split(), "--dry_run"]
    assert main(["train", "--data", data, *arguments]) == 0
    assert ("patience 3 cannot end 3 epochs" in capsys.readouterr().err) == warned


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_of_any_family_trains_by_the_command_and_a_dry_run_knows_its_memory(
    tiny_model,  # noqa: F811
    capsys,
    tmp_path,
    family,
):
    model = small(family)
    model.resize_token_embeddings(258)
    model.save_pretrained(tmp_path / "model")
    basemodel.load_tokenizer().save_pretrained(tmp_path / "model")
    data = table(tmp_path / "pairs.jsonl", *[PAIR] * 8)
    arguments = ["train", "--data", data, "--model", str(tmp_path / "model"), "--epochs", "2", "--batch_size", "4"]
    arguments += ["--output", str(tmp_path / "adapter")]
    assert main([*arguments, "--dry_run"]) == 0
    assert re.search(r"memory +(about|at least) 0.0 GiB at the peak", capsys.readouterr().out)
    assert main([*arguments, "--packing", "true", "--gradient_checkpointing", "true", "--max_length", "40"]) == 0
    assert "2 steps, last loss" in capsys.readouterr().out
    saved = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert all(value.any() for name, value in saved.items() if "lora_B" in name), "all of it learned"


BIASED = ("Llama", dict(attention_bias=True, tie_word_embeddings=False))
FIELDS = {  # flags, their model, what adapter_config.json then says, and names that only such a file has
    "--init_lora_weights=false --layers_to_transform=1 --layers_pattern=layers": (
        BIASED,
        {"init_lora_weights": False, "layers_pattern": "layers"},
        ["layers.1.self_attn"],
    ),
    "--init_lora_weights=gaussian --bias=lora_only --target_modules=q_proj": (
        BIASED,
        {"init_lora_weights": "gaussian", "bias": "lora_only"},
        ["q_proj.base_layer.bias"],
    ),
    "--init_lora_weights=orthogonal --exclude_modules=layers.0.self_attn.v_proj,up_proj": (
        BIASED,
        {"init_lora_weights": "orthogonal", "exclude_modules": ["layers.0.self_attn.v_proj", "up_proj"]},
        ["layers.1.self_attn.v_proj.lora_A"],
    ),
    "--init_lora_weights=mica --trainable_token_indices=0,79": (
        BIASED,
        {"init_lora_weights": "mica", "trainable_token_indices": [0, 79]},
        ["trainable_tokens_delta"],
    ),
    "--bias=all --modules_to_save=lm_head --fused=true": (
        BIASED,
        {"bias": "all", "modules_to_save": ["lm_head"]},
        ["o_proj.base_layer.bias", "model.lm_head.weight"],
    ),
    "--modules_to_save=lm_head --ensure_weight_tying=true": (
        ("Llama", dict(tie_word_embeddings=True)),
        {"modules_to_save": ["model.embed_tokens"], "ensure_weight_tying": True},  # PEFT names the other end
        ["embed_tokens.weight"],
    ),
    "--target_parameters=experts.gate_up_proj,experts.down_proj --lora_dropout=0": (
        ("Mixtral", dict(num_local_experts=4)),
        {"target_parameters": ["experts.down_proj", "experts.gate_up_proj"]},
        ["mlp.experts"],
    ),
}


def kept(folder, family, sizes):
    """A small model of the vocabulary of the tests, in a folder, with its tokenizer."""
    model = small(family, **sizes)
    model.resize_token_embeddings(258)
    model.save_pretrained(folder)
    basemodel.load_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("flags", FIELDS)
def test_a_field_of_lora_is_trained_saved_resumed_asked_and_trained_further(tiny_model, capsys, tmp_path, flags):  # noqa: F811
    (family, sizes), expected, names = FIELDS[flags]
    model, run = kept(tmp_path / "model", family, sizes), tmp_path / "run"
    data = table(tmp_path / "pairs.jsonl", *[PAIR | {"prompt": f"{n} "} for n in range(8)])
    train = ["train", "--data", data, "--model", model, "--epochs", "2", "--batch_size", "4", "--save_steps", "1"]
    given = [*train, *flags.split(), "--output", str(run), "--resume", "auto"]
    assert main([*given, "--dry_run"]) == 0 and not run.exists()
    assert main(given) == 0
    assert "WARNING" not in re.sub(r"WARNING .*(in full|the experts hold).*", "", capsys.readouterr().err)
    config = json.loads((run / "adapter_config.json").read_text())
    for field, value in expected.items():
        found = config[field]
        assert (sorted(found) if isinstance(found, list) else found) == value
    weights = run / "adapter_model.safetensors"
    whole, saved = weights.read_bytes(), load_file(weights)
    assert all(any(name in key for key in saved) for name in names), sorted(saved)
    assert not any("up_proj" in key or "layers.0.self_attn.v_proj" in key for key in saved if "exclude" in flags)
    base = basemodel.load_base_model(model)
    known = {key: value.clone() for key, value in base.state_dict().items()}
    loaded = PeftModel.from_pretrained(base, run)
    assert all(
        torch.equal(value, saved[key]) for key, value in get_peft_model_state_dict(loaded).items() if "lora_" in key
    )
    for key, value in saved.items():  # what trains beside A and B has moved
        if (own := known.get(key.removeprefix("base_model.model.").replace(".base_layer", ""))) is not None:
            assert not torch.equal(value, own), key
    assert main(["evaluate", data, "--model", model, "--adapter", str(run)]) == 0
    weights.unlink()
    shutil.rmtree(run / "checkpoint-4")
    (run / "run.json").write_text((run / "run.json").read_text().replace('"finished"', '"interrupted"'))
    assert main(given) == 0 and "goes on from" in capsys.readouterr().err
    assert weights.read_bytes() == whole, "the resumed run is the same"
    said = error(capsys, *train, "--output", str(run), "--resume", "auto")
    first = re.search(r"lorautils: (\w+) is ", said)[1]
    assert f"--{first}=" in flags and f"and the run in {run} has " in said
    further = tmp_path / "further"
    dropout = ["--lora_dropout=0"] if "dropout" in flags else []
    assert main([*train, *dropout, "--from_adapter", str(run), "--output", str(further)]) == 0
    again = load_file(further / "adapter_model.safetensors")
    same = {key for key, value in saved.items() if torch.equal(value, again[key])}
    assert again.keys() == saved.keys() and all("lora_B" in key for key in same) and bool(same) == ("mica" in flags)


@pytest.mark.parametrize("start", ["orthogonal", "mica"])
def test_another_start_is_a_plain_adapter_for_export_and_for_our_own_lora(tmp_path, start):
    from lorautils import lora
    from lorautils.export import package

    config = LoraConfig(target_modules=["q_proj"], init_lora_weights=start, r=4, task_type="CAUSAL_LM")
    model = get_peft_model(small("Llama"), config)
    for name, value in model.named_parameters():
        if "lora_" in name and value.requires_grad:
            value.data += torch.randn_like(value)
    model.eval().save_pretrained(tmp_path)
    assert len(package.read(tmp_path)[0]) == 2
    own, x = small("Llama").eval(), torch.arange(3, 9)[None]
    plain = own(x).logits
    lora.load(own, tmp_path)
    assert torch.allclose(own(x).logits, model(x).logits, atol=1e-5) and not torch.allclose(own(x).logits, plain)


REFUSED = {
    "--init_lora_weights=pissa": "which takes its start out of the base's weights",
    "--init_lora_weights=pissa_niter_4": "save with path_initial_model_for_weight_conversion",
    "--init_lora_weights=olora": "which takes its start out of the base's weights",
    "--init_lora_weights=corda": "needs statistics of your data first",
    "--init_lora_weights=loftq": "which load_in_4bit does here: take true, false, gaussian",
    "--init_lora_weights=eva": "which reads your data before the training",
    "--init_lora_weights=lora_ga": "which reads gradients before the training",
    "--init_lora_weights=normal": "is no start that this command knows: take true, false, gaussian",
    "--init_lora_weights=mica --load_in_4bit=true": "needs one process, no load_in_4bit",
    "--init_lora_weights=orthogonal --r=3": "rank to be even",
    "--bias=some": "bias",
    "--bias=all --bf16=true": "would train in 16 bits",
    "--bias=all": "bias is 'all', and the model has no bias: leave it out",
    "--bias=lora_only": "the wrapped layers have no bias",
    "--modules_to_save=head": "modules_to_save: ['head'] fits nothing",
    "--modules_to_save=norm": "also fits input_layernorm, post_attention_layernorm: name more of it",
    "--modules_to_save=q_proj": "'q_proj' is wrapped by LoRA",
    "--modules_to_save=embed_tokens --trainable_token_indices=1": "trains whole by modules_to_save",
    "--trainable_token_indices=258": "expected numbers from 0 to 257",
    "--ensure_weight_tying=true": "is for modules_to_save and trainable_token_indices",
    "--exclude_modules=qq_proj": "exclude_modules: ['qq_proj'] fits nothing",
    "--target_modules=q_proj --exclude_modules=q_proj": "which leaves no layer to wrap",
    "--target_parameters=experts.down_proj --lora_dropout=0": "what it can name here is none",
    "--target_parameters=experts.down_proj": "add --lora_dropout 0",
    "--layers_pattern=layers": "set that too",
    "--layers_to_transform=0 --layers_pattern=h": "no list of layers is called so",
}


def test_a_field_of_lora_that_cannot_be_kept_is_refused_and_a_file_may_name_one_number(tiny_model, capsys, tmp_path):  # noqa: F811
    model = kept(tmp_path / "model", "Llama", {})
    data = table(tmp_path / "pairs.jsonl", PAIR)
    train = ["train", "--data", data, "--model", model, "--output", str(tmp_path / "new")]
    capsys.readouterr()
    for flags, part in REFUSED.items():
        assert part in error(capsys, *train, *flags.split()), flags
        assert not (tmp_path / "new").exists(), flags
    plain, file = str(tmp_path / "plain"), tmp_path / "run.yaml"
    file.write_text("trainable_token_indices: 5\nlayers_to_transform: 1\ninit_lora_weights: false\nepochs: 1\n")
    assert main([*train[:-1], plain, "--config", str(file)]) == 0
    config = LoraConfig.from_pretrained(plain)
    found = config.trainable_token_indices, config.layers_to_transform, config.init_lora_weights
    assert found == ([5], [1], False)
    capsys.readouterr()
    for flags in ("--bias=all", "--modules_to_save=lm_head", "--init_lora_weights=gaussian"):
        said = error(capsys, *train, "--from_adapter", plain, flags)
        assert f"{flags[2:].partition('=')[0]} " in said and "leave" in said


def test_a_forecast_of_a_training_that_goes_on_is_of_the_adapter_there(tiny_model, tmp_path):  # noqa: F811
    get_peft_model(basemodel.load_base_model(), LoraConfig(r=64, target_modules=["q_proj"])).save_pretrained(tmp_path)
    size = dict(config=basemodel.load_config(), batch=1, length=8, predicted=4)
    new = unfilled(Train(r=64, target_modules="q_proj", lora_dropout=0), **size)
    assert unfilled(Train(from_adapter=str(tmp_path)), **size) == new > unfilled(Train(target_modules="q_proj"), **size)


def test_a_forecast_is_near_the_ledger(tiny_model):  # noqa: F811
    from lorautils.scaling import memory

    config = basemodel.load_config()
    config.num_hidden_layers = 8
    step = {"batch": 8, "length": 256, "predicted": 1000}
    more = step | {"precision": "float32", "padding": True, "device": "cpu"}
    plain, four = (memory.predict(config, memory.Step(**more, method=method)) for method in ("LoRA", "QLoRA"))
    peak, word = unfilled(Train(), config, **step)
    assert peak == pytest.approx(plain.total, rel=0.15) and word == "about"
    spared = peak - unfilled(Train(load_in_4bit=True), config, **step)[0]
    assert spared == pytest.approx(plain.weights - four.weights, abs=100)


@pytest.mark.parametrize("kind", ["T5ForConditionalGeneration", "BertForMaskedLM"])
def test_what_is_no_causal_language_model_is_refused_in_one_sentence(tiny_model, capsys, tmp_path, kind):  # noqa: F811
    config = json.loads((tiny_model / "config.json").read_text())
    kinds = {"architectures": [kind], "model_type": kind[:2].lower() if kind[0] == "T" else "bert"}
    (tmp_path / "config.json").write_text(json.dumps(config | kinds))
    basemodel.load_tokenizer().save_pretrained(tmp_path)
    data = table(tmp_path / "pairs.jsonl", PAIR)
    said = error(capsys, "train", "--data", data, "--model", str(tmp_path), "--output", str(tmp_path / "new"))
    assert f"is a {kind}, which is no causal language model" in said.splitlines()[-1] and len(said) < 700


def test_an_adapter_is_trained_further_with_old_rows_mixed_in(tiny_model, capsys, tmp_path):  # noqa: F811
    old = table(tmp_path / "old.jsonl", *[{"prompt": f"old {n} ", "completion": "x"} for n in range(20)])
    new = table(tmp_path / "new.jsonl", *[{"prompt": f"new {n} ", "completion": "y"} for n in range(16)])
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    assert main(["train", "--data", old, "--output", first, *FAST, "--r", "4"]) == 0
    more = ["train", "--data", new, "--from_adapter", first, "--output"]
    assert main([*more, second, "--mix", old, "--mix_share", "0.5", *FAST]) == 0
    out, err = capsys.readouterr()
    assert "mixed in: 8 of 20 earlier sequences" in err and "is trained further" in err and "60 steps" in out
    assert LoraConfig.from_pretrained(second).r == 4
    for data in (old, new):
        assert main(["evaluate", data, "--adapter", second]) == 0
        assert capsys.readouterr().out.splitlines()[-1].startswith("100 %")
    said = error(capsys, *more, str(tmp_path / "third"), "--r", "16")
    assert "r is 16, and the adapter in" in said and "has 4: leave it out" in said
    assert "are both set" in error(capsys, *more, str(tmp_path / "third"), "--target_modules", "q_proj")
    ia3 = IA3Config(task_type="CAUSAL_LM", target_modules=["q_proj"], feedforward_modules=[])
    get_peft_model(basemodel.load_base_model(), ia3).save_pretrained(tmp_path / "ia3")
    other = error(capsys, *more[:3], "--from_adapter", str(tmp_path / "ia3"), "--output", str(tmp_path / "third"))
    assert "is IA3, expected LORA" in other
    missing = error(capsys, *more[:3], "--from_adapter", str(tmp_path / "none"), "--output", str(tmp_path / "third"))
    assert "adapter_model.safetensors is not there" in missing


def test_a_base_in_4_bits_is_trained_and_looked_at(tiny_model, capsys, tmp_path):  # noqa: F811
    data = table(tmp_path / "pairs.jsonl", *[{"prompt": f"{n}: ", "completion": "pong"} for n in range(16)])
    arguments = ["train", "--data", data, "--load_in_4bit", "true", "--held_out", "0.2", "--held_out_steps", "5"]
    assert main([*arguments, "--output", str(tmp_path / "adapter"), *FAST]) == 0
    out = capsys.readouterr().out
    loss = float(re.search(r"last loss ([\d.]+)", out)[1])
    assert loss < 0.2 and float(re.search(r"step \d+, ([\d.]+)", out)[1]) < 1, out


# --- evaluate ---------------------------------------------------------------------------------------------------------

SCORES = [
    ("exact", "pong", "pong", 1),
    ("exact", "pong", "Pong", 0),
    ("loose", "a  b", "A b", 1),
    ("loose", "-5", "5", 0),
    ("json", '{"a": 1, "b": 2}', '{"b":2,"a":1.0}', 1),
    ("json", "[1, true]", "[1, 1]", 0),
    ("json", "{}", "none", 0),
    ("words", "the red house", "the house", 0.8),
    ("words", "yes", "", 0),
]


@pytest.mark.parametrize(("scorer", "expected", "answer", "score"), SCORES)
def test_scorers(scorer, expected, answer, score):
    assert evaluate.SCORERS[scorer](expected, answer) == pytest.approx(score)


def test_blind_pairs_are_written_judged_and_counted(tiny_model, capsys, tmp_path, monkeypatch):  # noqa: F811
    data = table(tmp_path / "pairs.jsonl", *[{"prompt": f"{n} ", "completion": "good"} for n in range(40)])
    config = LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"])
    get_peft_model(basemodel.load_base_model(), config).save_pretrained(tmp_path / "adapter")
    said = {str(tmp_path / "adapter"): ["good"] * 40, None: ["good"] + ["bad"] * 39}
    monkeypatch.setattr(evaluate, "_loaded", lambda adapter, name: (adapter, basemodel.load_tokenizer()))
    monkeypatch.setattr(evaluate, "_answers", lambda model, tokenizer, asked: said[model])
    written = tmp_path / "blind.jsonl"
    command = ["evaluate", data, "--against", str(tmp_path / "adapter"), "--blind", str(written)]
    capsys.readouterr()  # a bar of transformers, of the model loaded above
    assert "leave one out" in error(capsys, *command, "--output", str(tmp_path / "answers"))
    assert main(command) == 0
    assert "39 pairs of answers that differ, of 40" in capsys.readouterr().out
    pairs = [json.loads(line) for line in written.read_text(encoding="utf-8").splitlines()]
    assert {pair["A"] for pair in pairs} == {"good", "bad"} == {pair["B"] for pair in pairs}, "the order is drawn"
    assert 'line 1: "better" is \'\'; write "A", "B" or "="' in error(capsys, "evaluate", "--judged", str(written))
    judged = [pair | {"better": "A" if pair["A"] == "good" else "B"} for pair in pairs]
    judged[-1]["better"] = "="
    lines(written, *map(json.dumps, judged))
    assert main(["evaluate", "--judged", str(written)]) == 0
    out = capsys.readouterr().out
    assert f"the model itself better: 0, {tmp_path / 'adapter'} better: 38\nequally good: 1\n" in out
    assert "is there already" in error(capsys, *command)
    assert "need each other" in error(capsys, *command[:4])
    lines(written, "A", *map(json.dumps, judged[1:]))
    assert "line 1 is no JSON" in error(capsys, "evaluate", "--judged", str(written))
    lines(written, *map(json.dumps, judged[1:]))
    assert "has 38 pairs and its key 39" in error(capsys, "evaluate", "--judged", str(written))
    assert "no file was given" in error(capsys, "evaluate")


def test_pairs_of_any_letters_may_be_saved_by_any_editor(tmp_path):
    path = tmp_path / "pairs.jsonl"
    blind.write(path, ("one", "two"), ["a\u2028b", "half a letter \ufffd"], (["1", "2"], ["3", "4"]))
    judged = path.read_text(encoding="utf-8").replace('"better": ""', '"better": "="')
    path.write_text(judged, encoding="utf-8-sig", newline="\r\n")
    assert "equally good: 2" in blind.counted(path)
    path.write_text(judged, encoding="utf-16")
    with pytest.raises(ValueError, match=r"pairs\.jsonl is not UTF-8 text"):
        blind.counted(path)
