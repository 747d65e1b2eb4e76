"""What `lorautils doctor --adapter` says of a saved adapter, from its files and its base's configuration alone.

What looks wrong in the weights is what lorautils.audit says. Here are the remedies, and what other files tell.
"""

import json
import os
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path

import torch
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from peft import LoraConfig, PeftConfig, get_peft_model, get_peft_model_state_dict
from peft.utils.constants import EMBEDDING_LAYER_NAMES
from peft.utils.other import get_pattern_key
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PretrainedConfig

from lorautils import basemodel, lora
from lorautils.audit import audit, audit_folder
from lorautils.cli.doctor import Finding, note, ok, problem
from lorautils.export import package

RANKS = (16, 32, 64, 128, 256, 320, 512)  # of vLLM's --max-lora-rank; the first is what holds where nothing is said
OTHER = "name the base that it was trained on with --model"
RESTORE = f"put adapter_config.json back as it was saved, or {OTHER}"
WITHOUT = "save with save_embedding_layers=False, or leave embeddings out; a few tokens: trainable_token_indices"
WHOLE = "merge it, `lorautils export --to merged`, and serve the whole model"
REMEDIES = {  # a part of what the audit says: is it wrong, or seldom meant? and what to do
    "is in no layer": (problem, "save the adapter before a merge, or keep the model that merge_and_unload() returns"),
    "B in the file is zero": (problem, "save the model that was trained, after its training"),
    "B in the file are zero": (note, "look whether the training reaches these layers, or leave them out"),
    "not finite": (problem, "take an earlier checkpoint, or train again at a lower rate, and not in float16"),
    "in the file have no place": (problem, RESTORE),
    "are not in the file": (problem, RESTORE),
    "not in the configuration": (problem, "put adapter_config.json back, or train again on a fresh base"),
    "wraps nothing": (problem, 'copy the names from print(base), or take "all-linear", and train again'),
    "nothing is wrapped in": (problem, "layers count from 0: correct layers_to_transform, and train again"),
    "is tied": (note, "do not merge it, or leave embeddings and lm_head out, and train again"),
    "in full": (note, WITHOUT),
    "all of it into the file": (note, WITHOUT),
    "lora_alpha is at its default": (note, "say lora_alpha, such as 2 * r, and train again"),
    "changes base weights": (note, "save with path_initial_model_for_weight_conversion: that is an ordinary LoRA"),
    "the experts hold": (note, "name the experts in target_parameters, and train again"),
    "routers": (note, "name the layers one by one, and train again"),
    "the model has no bias": (note, 'take bias="none", which is the same here'),
}


def findings(folder: Path, name: str | None) -> Iterator[tuple[str, Finding]]:
    """Yield subject and finding for a saved adapter. `name` is its base, by default the one that it names.

    OSError or ValueError says why the adapter, or the named base, cannot be read.
    """
    record, tensors = opened(folder)
    config = PeftConfig.from_pretrained(str(folder))
    base, about_base = base_of(folder, record.get("base_model_name_or_path"), name)
    try:
        model = base and wrapped(config, base)
    except ValueError as error:  # a name that the base does not have
        model, about_base = None, problem(f"{base.name_or_path}: {str(error).partition('. ')[0]}", RESTORE)
    expected = get_peft_model_state_dict(model, save_embedding_layers=False) if model else {}
    size = (folder / lora.WEIGHTS).stat().st_size / 1e6
    asked = f", and the settings ask for {numbers(expected):,}" if model else ""
    yield "file", ok(f"{len(tensors)} tensors, {size:.1f} MB; {numbers(tensors):,} numbers{asked}")
    scaling = config.lora_alpha / (config.r**0.5 if config.use_rslora else config.r)
    writer = record.get("peft_version") or "of an unknown version"
    yield "settings", ok(f"r {config.r}, lora_alpha {config.lora_alpha}, scaling {scaling:.4g}; by PEFT {writer}")
    yield "base", about_base
    told = [*audit_folder(folder), *(audit(model, folder).warnings if model else ())]
    yield from (("weights", finding) for finding in with_remedies(told))
    yield from (("weights", finding) for finding in shapes(config, tensors, expected))
    yield from (("settings", finding) for finding in settings(folder, record, config, tensors))
    yield from (("tokenizer", finding) for finding in (vocabulary(folder, tensors, base) if base else ()))
    yield from (("servers", finding) for finding in servers(folder, config, tensors))


def opened(folder: Path) -> tuple[dict, dict[str, Tensor]]:
    """Return what adapter_config.json says, and the tensors: the door for whatever is no adapter."""
    if not folder.is_dir():
        what = "a file: name the folder that holds it" if folder.is_file() else "not there: name an adapter's folder"
        raise FileNotFoundError(f"{folder} is {what}")
    if not (folder / lora.CONFIG).is_file():
        inside = sorted(path.parent.name for path in folder.glob(f"*/{lora.CONFIG}"))
        where = f"its folder {inside[0]} does: name that" if inside else "name the folder of a saved adapter"
        raise FileNotFoundError(f"{folder} holds no {lora.CONFIG}; {where}")
    record, weights = package.configuration(folder), folder / lora.WEIGHTS
    if record.get("peft_type") != "LORA":
        raise ValueError(
            f"{folder / lora.CONFIG}: peft_type is {record.get('peft_type')}: name a LORA adapter, no other is examined"
        )
    names = ("r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern")
    schema = {"properties": {name: lora.SCHEMA["properties"][name] for name in names}}
    if error := best_match(Draft202012Validator(schema).iter_errors(record)):
        raise ValueError(
            f"{folder / lora.CONFIG}: {error.absolute_path[0]}: {error.message}: put it back as it was saved"
        )
    if not weights.is_file():
        why = f"no {lora.WEIGHTS}: copy the whole folder, or save the adapter again"
        if (folder / "adapter_model.bin").is_file():
            why = "adapter_model.bin, which can run code: load it with PEFT where you trust it, and save it again"
        raise FileNotFoundError(f"{folder} holds {why}")
    try:
        return record, load_file(weights)
    except Exception as error:  # safetensors has an error class of its own
        pointer = weights.read_bytes()[:24] == b"version https://git-lfs."
        why = "a pointer of Git LFS: run `git lfs pull`" if pointer else f"damaged ({error}): copy or save it again"
        raise OSError(f"{weights} is {why}") from None


def numbers(tensors: dict[str, Tensor]) -> int:
    """Count the numbers in tensors."""
    return sum(map(Tensor.numel, tensors.values()))


def base_of(folder: Path, said: str | None, name: str | None) -> tuple[PretrainedConfig | None, Finding]:
    """Return the configuration of an adapter's base, if that is here, and what there is to say of it."""
    other = os.environ.get("LORAUTILS_MODEL")
    what = f"{said} is not here" if said else "adapter_config.json names none"
    unknown = note(f"{what}: names and shapes are compared with nothing", OTHER)
    try:
        known = package.base_of(folder, name)
    except ValueError:
        return None, unknown
    if not (known or other):
        if not said:
            return None, unknown
        if basemodel.damage_of(basemodel.cache_dir() / basemodel.FOLDER):
            return None, unknown._replace(remedy="`lorautils fetch` downloads the base of the course")
    base = basemodel.load_config(known)
    return base, ok(f"{known or other or said}, {base.get_text_config().hidden_size} wide")


def wrapped(config: LoraConfig, base: PretrainedConfig) -> nn.Module | None:
    """Return a model without weights that PEFT has wrapped, None for another task; ValueError says why PEFT cannot."""
    if config.task_type not in (None, "CAUSAL_LM"):
        return None
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(base, dtype=torch.float32)
    plan = LoraConfig(**{field.name: getattr(config, field.name) for field in fields(LoraConfig)})
    plan.inference_mode, plan.init_lora_weights = False, True  # PiSSA and others would need the weights
    with warnings.catch_warnings(action="ignore"):
        return get_peft_model(model, plan)


def with_remedies(told: Iterable[str]) -> Iterator[Finding]:
    """Give each sentence of the audit its remedy; of two about one name the later stays, which knows the base."""
    found = {}
    for text in told:
        kind, remedy = next((REMEDIES[part] for part in REMEDIES if part in text), (note, "docs/symptoms.md says more"))
        name = re.search(r"'([\w.]+?)(\.weight)?'", text)
        found[remedy, name[1] if name else text] = kind(text, remedy)
    yield from found.values()


def shapes(config: LoraConfig, tensors: dict[str, Tensor], expected: dict[str, Tensor]) -> Iterator[Finding]:
    """Ranks that are not the configuration's, else tensors that are not as large as the base's layers."""
    ranks = []
    for key in (key for key in tensors if key.endswith(".lora_A.weight") and ".experts." not in key):
        module, found = key.removeprefix(lora.PREFIX).removesuffix(".lora_A.weight"), len(tensors[key])
        r = config.rank_pattern.get(get_pattern_key(config.rank_pattern, module), config.r)
        if found != r:
            ranks.append(f"{module} has rank {found}, and {r} by the configuration")
    wrong = sorted(key for key in tensors.keys() & expected if tensors[key].shape != expected[key].shape)
    wrong = [key for key in wrong if not {*key.split(".")} & {*EMBEDDING_LAYER_NAMES}]  # see vocabulary()
    if ranks:
        yield problem(f"{ranks[0]}; modules of another rank: {len(ranks)}; PEFT does not load it", RESTORE)
    elif wrong:
        found, wanted = (tuple(some[wrong[0]].shape) for some in (tensors, expected))
        yield problem(f"{wrong[0]} is {found}, in this base {wanted}; tensors that do not fit: {len(wrong)}", OTHER)


def settings(folder: Path, record: dict, config: LoraConfig, tensors: Iterable[str]) -> Iterator[Finding]:
    """Settings that are not those of the training, that this PEFT does not know, or that match no module."""
    try:
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))["settings"]
        run = {} if run.get("from_adapter") else run  # which has settings of its own
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        run = {}
    for field in ("r", "lora_alpha", "lora_dropout"):
        if run.get(field, now := getattr(config, field)) != now:
            text = f"{field} is {now}, and was {run[field]} in the training, as run.json says: it was edited"
            yield problem(text, f"put {run[field]} back in adapter_config.json")
    if unknown := sorted(key for key in record.keys() - {field.name for field in fields(config)} if record[key]):
        remedy = f"install the PEFT that wrote it, {record.get('peft_version') or 'a newer one'}"
        yield problem(f"PEFT {version('peft')} ignores {', '.join(unknown)}: it computes something else", remedy)
    modules = [key.partition(".lora_")[0] for key in tensors if ".lora_" in key]
    for field in ("rank_pattern", "alpha_pattern") if modules and not config.target_parameters else ():
        for pattern in getattr(config, field):
            if not any(get_pattern_key([pattern], module) == pattern for module in modules):
                yield problem(f"'{pattern}' in {field} matches no module: it changes nothing", RESTORE)


def vocabulary(folder: Path, tensors: dict[str, Tensor], base: PretrainedConfig) -> Iterator[Finding]:
    """Tokens that the base does not have, and a chat template that is not the base's."""
    size, sizes = base.get_text_config().vocab_size, {}
    for key, tensor in tensors.items():
        layer = key.removesuffix(".weight").removesuffix(".base_layer").rpartition(".")[2]
        if layer in EMBEDDING_LAYER_NAMES:
            sizes[f"{layer} in the file has {len(tensor):,} rows"] = len(tensor)
    own = None
    if (folder / "tokenizer_config.json").is_file():
        try:
            own = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        except Exception as error:  # the files can hold anything, code of their own too
            yield problem(
                f"the tokenizer saved with it cannot be read ({type(error).__name__})", "copy its files again"
            )
    if own is not None:
        sizes[f"the tokenizer saved with it has {len(own):,} tokens"] = max(len(own), size)
    for text, found in sizes.items():
        if found != size:
            remedy = f"base.resize_token_embeddings({found}) before the adapter is loaded"
            yield problem(f"{text}, and the base {size:,} rows: the vocabulary was resized", remedy)
    if own is not None and own.chat_template != basemodel.load_tokenizer(base.name_or_path).chat_template:
        text = "the chat template saved with it is not the base's: with the base's it is asked as it was not trained"
        yield note(text, "ask with the tokenizer of this folder, and give servers its template")


def servers(folder: Path, config: LoraConfig, tensors: Iterable[str]) -> Iterator[Finding]:
    """What vLLM and llama.cpp refuse, or read in another way than PEFT."""
    rank = max([config.r, *config.rank_pattern.values()])
    if rank > RANKS[0]:
        enough = next((known for known in RANKS if known >= rank), None)
        remedy = f"start it with --max-lora-rank {enough}" if enough else f"{RANKS[-1]} is the most: {WHOLE}"
        yield note(f"vLLM refuses rank {rank}: it takes {RANKS[0]} where nothing else is said", remedy)
    if others := [key for key in tensors if not re.search(r"\.lora_[AB]\.weight$", key)]:
        names = ("modules_to_save", "trainable_token_indices", "use_dora", "bias", "target_modules")
        reason = next(name for name in names if getattr(config, name) not in (None, False, "none"))
        yield note(f"vLLM refuses what is neither A nor B; such tensors, by {reason}: {len(others)}", WHOLE)
    if config.rank_pattern or config.alpha_pattern:
        yield note("vLLM reads one r and one lora_alpha, no patterns: some layers are scaled otherwise there", WHOLE)
    try:
        package.read(folder)
    except ValueError as error:
        why, _, remedy = str(error).rpartition(": ")
        if remedy in (package.MERGE, package.UNKNOWN):  # else it is told above
            yield note(f"llama.cpp: {why}", remedy.replace("`--to", "`lorautils export --to"))
