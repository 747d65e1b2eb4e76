"""`lorautils doctor --adapter`: sound adapters are clean, sabotaged ones are found by name, all else is one line."""

import shutil

import pytest
from peft import IA3Config, get_peft_model
from safetensors.torch import load_file
from tiny_adapters import SIZES, TEMPLATE, bases, edit, rewrite, saved, tokenizer, trained
from transformers import LlamaConfig, LlamaForCausalLM

from lorautils import ROOT, basemodel
from lorautils.cli import checkup, main
from lorautils.exercises import nb08


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return bases(tmp_path_factory.mktemp("bases"))


def told(folder, model=None):
    """Each finding that is not ok, as one line."""
    found = list(checkup.findings(folder, model))
    assert all(finding.remedy for _, finding in found if finding.level != "ok"), found
    assert not any("says more" in finding.remedy for _, finding in found), "a sentence of the audit without a remedy"
    return [
        f"{finding.level} {subject}: {finding.text} -> {finding.remedy}"
        for subject, finding in found
        if finding.level != "ok"
    ]


# --- sound ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cron", "orders", "run"])
def test_the_shipped_adapters_are_clean(name):
    assert told(ROOT / "adapters" / name) == []


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"target_modules": "all-linear", "r": 16},
        {"use_rslora": True, "r": 4},
        {"task_type": None, "base": "moe", "target_parameters": ["experts.down_proj"]},
    ],
)
def test_a_sound_adapter_is_clean(home, tmp_path, settings):
    assert [line for line in told(saved(home, tmp_path, **settings)) if "llama.cpp" not in line] == []


def test_an_adapter_with_all_that_was_saved_beside_it_is_clean(home, tmp_path):
    folder = saved(home, tmp_path, lora_dropout=0.1)
    tokenizer(32).save_pretrained(folder)
    edit(folder, "run.json", settings={"r": 8, "lora_alpha": 16, "lora_dropout": 0.1, "from_adapter": None})
    assert told(folder) == []
    edit(folder, "run.json", settings={"r": 4, "lora_alpha": 32, "from_adapter": "earlier"})
    assert told(folder) == [], "an adapter that is trained further has settings of its own"


def test_the_numbers_are_those_of_the_file(home, tmp_path):
    (_, file), (_, settings), (_, base) = checkup.findings(saved(home, tmp_path, use_rslora=True), None)
    count = sum(tensor.numel() for tensor in load_file(tmp_path / "adapter_model.safetensors").values())
    assert f"8 tensors, 0.0 MB; {count:,} numbers, and the settings ask for {count:,}" in file.text
    assert "r 8, lora_alpha 16, scaling 5.657; by PEFT 0." in settings.text
    assert base.text == f"{home / 'llama'}, 16 wide"


# --- sabotaged --------------------------------------------------------------------------------------------------------


def emptied(home, folder):
    model = trained()
    model.merge_and_unload()
    model.peft_config["default"].base_model_name_or_path = str(home / "llama")
    model.save_pretrained(folder)


def zero_in_layer_1(name, tensor):
    return tensor * 0 if "layers.1." in name and "lora_B" in name else tensor


def nan_in_one(name, tensor):
    tensor[0, 0] = float("nan" if "layers.0.self_attn.q_proj.lora_A" in name else 0)
    return tensor


# name: (the settings of a training, what is done to the folder, words that must be said)
SABOTAGE = {
    "untrained": ({"init_lora_weights": True}, None, "PROBLEM weights: every B in the file is zero, all 4"),
    "partly untrained": ({}, lambda f: rewrite(f, zero_in_layer_1), "note weights: 2 of 4 B in the file are zero"),
    "not finite": ({}, lambda f: rewrite(f, nan_in_one), "PROBLEM weights: 1 of 8 tensors hold numbers that are not"),
    "fewer names": (
        {},
        lambda f: edit(f, target_modules=["q_proj"]),
        "PROBLEM weights: 4 of 8 tensors in the file have no place in the model",
    ),
    "other names": (
        {},
        lambda f: edit(f, target_modules=["q_proj", "o_proj"]),
        "PROBLEM weights: 4 of the model's 8 tensors are not in the file",
    ),
    "typo": (
        {"target_modules": ["q_proj", "v_prj"]},
        None,
        "PROBLEM weights: 'v_prj' in target_modules wraps nothing: did you mean 'v_proj'?",
    ),
    "no such layer": ({"layers_to_transform": [0, 7]}, None, "layers_to_transform: nothing is wrapped in [7]"),
    "r edited": (
        {},
        lambda f: edit(f, r=4),
        "self_attn.q_proj has rank 8, and 4 by the configuration; modules of another rank: 4; PEFT does not load it",
    ),
    "alpha edited": (
        {},
        lambda f: (edit(f, lora_alpha=64), edit(f, "run.json", settings={"lora_alpha": 16})),
        "PROBLEM settings: lora_alpha is 64, and was 16 in the training",
    ),
    "pattern of nothing": (
        {"alpha_pattern": {"q_prj": 4}},
        None,
        "PROBLEM settings: 'q_prj' in alpha_pattern matches no module",
    ),
    "default alpha": ({"r": 64, "lora_alpha": 8}, None, "note weights: lora_alpha is at its default of 8 and r = 64"),
    "embeddings": (
        {"target_modules": ["q_proj", "embed_tokens"]},
        None,
        "note weights: LoRA on 'model.embed_tokens' puts all of it into the file, 0.00205 MB",
    ),
    "tied": (
        {"target_modules": ["q_proj", "lm_head"]},
        None,
        "note weights: LoRA on 'lm_head', which is tied: a merge changes",
    ),
    "resized": (
        {"rows": 40, "target_modules": ["q_proj", "embed_tokens"]},
        None,
        "PROBLEM tokenizer: embed_tokens in the file has 40 rows, and the base 32 rows",
    ),
    "more tokens": (
        {},
        lambda f: tokenizer(40).save_pretrained(f),
        "PROBLEM tokenizer: the tokenizer saved with it has 40 tokens, and the base 32 rows",
    ),
    "another template": (
        {},
        lambda f: tokenizer(32, TEMPLATE + "\n").save_pretrained(f),
        "note tokenizer: the chat template saved with it is not the base's",
    ),
    "a newer PEFT": (
        {},
        lambda f: edit(f, use_tomorrow=True, peft_version="99.0"),
        "ignores use_tomorrow: it computes something else -> install the PEFT that wrote it, 99.0",
    ),
    "names that the base lacks": (
        {},
        lambda f: edit(f, target_modules=["c_attn"]),
        "/llama: Target modules {'c_attn'} not found in the base model -> put",
    ),
    "no base": ({}, lambda f: edit(f, base_model_name_or_path=None), "note base: adapter_config.json names none"),
    "a base elsewhere": ({}, lambda f: edit(f, base_model_name_or_path="/home/x/y"), "base: /home/x/y is not here"),
    "pissa": ({"init_lora_weights": "pissa"}, None, "note weights: init_lora_weights='pissa' changes base weights"),
    "frozen experts": ({"base": "moe"}, None, "note weights: the experts hold 80% of the weights"),
    "routers": ({"base": "moe", "target_modules": "all-linear"}, None, "note weights: LoRA on 2 routers"),
    "rank 24": ({"r": 24}, None, "where nothing else is said -> start it with --max-lora-rank 32"),
    "rank 600": ({"r": 600, "lora_alpha": 600}, None, "vLLM refuses rank 600: it takes 16 where nothing"),
    "whole modules": (
        {"modules_to_save": ["lm_head"]},
        None,
        "such tensors, by modules_to_save: 1 -> merge it",
    ),
    "tokens": (
        {"trainable_token_indices": [1, 2]},
        None,
        "such tensors, by trainable_token_indices: 1 -> merge it",
    ),
    "dora": ({"use_dora": True}, None, "such tensors, by use_dora: 4 -> merge it"),
    "dora, llama.cpp": ({"use_dora": True}, None, "adapter_config.json: use_dora is True, which a GGUF adapter cannot"),
    "pattern": ({"alpha_pattern": {"q_proj": 4}}, None, "servers: vLLM reads one r and one lora_alpha"),
}


@pytest.mark.parametrize("name", SABOTAGE)
def test_a_sabotaged_adapter_is_found_by_name(home, tmp_path, name):
    settings, sabotage, words = SABOTAGE[name]
    folder = saved(home, tmp_path / "adapter", **settings)
    if sabotage:
        sabotage(folder)
    found = told(folder)
    assert any(words in line for line in found), found


@pytest.mark.parametrize(
    "settings",
    [
        {"use_dora": True},
        {"trainable_token_indices": [1, 2]},
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"base": "moe", "target_modules": "all-linear"},
        {"r": 32, "rank_pattern": {"layers.1.self_attn.q_proj": 4}},
    ],
)
def test_what_is_unusual_and_right_is_no_problem(home, tmp_path, settings):
    assert [line for line in told(saved(home, tmp_path, **settings)) if "PROBLEM" in line] == []


def test_an_adapter_that_was_merged_before_it_was_saved(home, tmp_path):
    emptied(home, tmp_path)
    assert any("PROBLEM weights: the adapter is in no layer" in line for line in told(tmp_path))


def test_the_wrong_base(home, tmp_path):
    (line,) = told(saved(home, tmp_path), str(home / "wide"))
    assert "q_proj.lora_A.weight is (8, 16), in this base (8, 32); tensors that do not fit: 8 -> name the base" in line


def test_one_fault_is_told_once(home, tmp_path):
    """The audit of the files and that of the model see the same name: the sentence that knows the base is printed."""
    found = told(saved(home, tmp_path, target_modules=["q_proj", "lm_head"]))
    assert sum("into the file" in line or "in full" in line for line in found) == 1


def test_no_remedy_waits_for_a_sentence_that_the_audit_does_not_say():
    source = (ROOT / "lorautils" / "audit.py").read_text(encoding="utf-8")
    assert [part for part in checkup.REMEDIES if part not in source] == []


def test_the_copies_of_notebook_08(tmp_path):
    names, scale, untrained, sound = nb08.sabotaged(ROOT / "adapters" / "run", tmp_path)
    assert any("have no place" in line for line in told(names))
    assert any("every B in the file is zero, all 210" in line for line in told(untrained))
    assert told(sound) == []
    assert "scaling 8" in dict(checkup.findings(scale, None))["settings"].text  # no file says what it was
    edit(scale, "run.json", settings={"lora_alpha": 32})
    assert any("lora_alpha is 64, and was 32" in line for line in told(scale))


# --- the door ---------------------------------------------------------------------------------------------------------


def into_a_subfolder(folder):
    (folder / "other").mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (folder / name).rename(folder / "other" / name)


def another_method(folder):
    model = LlamaForCausalLM(LlamaConfig(**SIZES))
    get_peft_model(model, IA3Config(target_modules=["q_proj"], feedforward_modules=[])).save_pretrained(folder)


WEIGHTS = "adapter_model.safetensors"
DOOR = {
    "no folder": (shutil.rmtree, "is not there: name an adapter's folder"),
    "no configuration": (
        lambda f: (f / "adapter_config.json").unlink(),
        "holds no adapter_config.json; name the folder",
    ),
    "one folder down": (into_a_subfolder, "holds no adapter_config.json; its folder other does: name that"),
    "not JSON": (lambda f: (f / "adapter_config.json").write_text("{"), "is not JSON"),
    "a list": (lambda f: (f / "adapter_config.json").write_text("[]"), "is no configuration of an adapter"),
    "no method": (lambda f: (f / "adapter_config.json").write_text("{}"), "peft_type is None: name a LORA adapter"),
    "another method": (another_method, "peft_type is IA3: name a LORA adapter, no other is examined"),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), f"holds no {WEIGHTS}: copy the whole folder"),
    "a pickle": (lambda f: (f / WEIGHTS).rename(f / "adapter_model.bin"), "adapter_model.bin, which can run code"),
    "a pointer": (
        lambda f: (f / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
        "is a pointer of Git LFS: run `git lfs pull`",
    ),
    "cut": (lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:-9]), "is damaged ("),
    "empty": (lambda f: (f / WEIGHTS).write_bytes(b""), "is damaged ("),
    "r is a word": (lambda f: edit(f, r="eight"), "adapter_config.json: r: 'eight' is not of type 'integer'"),
    "r is 0": (lambda f: edit(f, r=0), "adapter_config.json: r: 0 is less than the minimum of 1"),
}


@pytest.mark.parametrize("name", DOOR)
def test_what_is_no_adapter_is_one_sentence(home, tmp_path, capsys, name):
    sabotage, words = DOOR[name]
    folder = saved(home, tmp_path / "adapter")
    sabotage(folder)
    assert main(["doctor", "--adapter", str(folder)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and words in err and err.splitlines()[-1].startswith("lorautils: ") and "Traceback" not in err


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_exit_code_and_the_lines(home, tmp_path, capsys):
    folder = saved(home, tmp_path)
    assert main(["doctor", "--adapter", str(folder)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "0 problems found."
    edit(folder, r=4)
    assert main(["doctor", "--adapter", str(folder), "--model", str(home / "llama")]) == 1
    *_, finding, remedy, last = capsys.readouterr().out.splitlines()
    assert finding.startswith("PROBLEM  weights    model.layers.0.") and last == "1 problem found."
    assert remedy == f"{'':19} -> {checkup.RESTORE}"


def test_a_model_without_an_adapter_is_refused(capsys):
    assert main(["doctor", "--model", "x"]) == 2
    assert "--model names the base of an adapter" in capsys.readouterr().err


def test_a_base_that_would_have_to_be_downloaded_is_not(tmp_path, monkeypatch):
    monkeypatch.setenv("LORAUTILS_CACHE", str(tmp_path))
    monkeypatch.delenv("LORAUTILS_MODEL", raising=False)
    monkeypatch.setattr(basemodel, "fetch", lambda *_: pytest.fail("the doctor only looks"))
    (line,) = told(ROOT / "adapters" / "cron")
    assert "is not here: names and shapes are compared with nothing -> `lorautils fetch`" in line
