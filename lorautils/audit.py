"""The audit before every training: what is wrapped, what trains, what moved, and what looks wrong.

Notebook 07 teaches it. `audit(model)` reads the model and never changes it; `audit_folder(folder)` reads an adapter's
files, without a model. Checksums, not copies: a parameter has moved if crc32(its bytes) is not what the last audit saw.
"""

import math
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from weakref import WeakKeyDictionary

import torch
from peft import LoraConfig, PeftConfig, PeftModel, PeftType, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import check_target_module_exists
from peft.utils import AuxiliaryTrainingWrapper, ModulesToSaveWrapper
from peft.utils.constants import EMBEDDING_LAYER_NAMES
from peft.utils.other import get_pattern_key
from safetensors.torch import load_file
from torch import nn

HEADS = ("score", "classifier", "qa_outputs")  # what transformers calls an output layer that starts random
ROUTERS = ("gate", "router")  # beside `experts`: what chooses among them
WRAPPERS = re.compile(r"\.(base_layer|original_module|token_adapter)\b")  # what PEFT puts into a parameter's name

_last: WeakKeyDictionary[nn.Module, dict[str, int]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Row:
    """The parameters of one kind: how many tensors and numbers, how many train, how many the last audit knew, moved."""

    kind: str
    tensors: int
    parameters: int
    trainable: int
    dtypes: str
    known: int
    moved: int


@dataclass(frozen=True, repr=False)
class Audit:
    """What `audit` found; shown as text."""

    title: str
    adapters: list[str]
    rows: list[Row]
    warnings: list[str]

    @property
    def trainable(self) -> int:
        """How many numbers train."""
        return sum(row.trainable for row in self.rows)

    def __repr__(self) -> str:
        total = sum(row.parameters for row in self.rows)
        head = f"{'kind':16} {'tensors':>7} {'parameters':>12} {'trainable':>12}  {'dtype':9} since the last audit"
        lines = [self.title, *self.adapters, head]
        for row in self.rows:
            numbers = f"{row.tensors:7} {row.parameters:12,} {row.trainable:12,}  {row.dtypes:9}"
            lines.append(f"{row.kind:16} {numbers} {f'{row.moved} of {row.known} moved' if row.known else '-'}")
        lines.append(f"{self.trainable:,} of {total:,} parameters train ({self.trainable / max(total, 1):.2%})")
        return "\n".join(lines + ([f"WARNING {warning}" for warning in self.warnings] or ["no warnings"]))


def audit(model: nn.Module, folder: str | Path | None = None) -> Audit:
    """Report what LoRA has wrapped in a model, what trains, what moved since the last audit, and what looks wrong.

    A model is known by its base: audits before and after `get_peft_model` or `merge_and_unload` are compared. With the
    folder of a saved adapter, the names in its file are compared with those of the model's active adapter.
    Raises TypeError where `model` is not a module, or has an adapter of another method than LoRA.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"audit() was given {type(model).__name__}, expected a torch.nn.Module: pass the model itself")
    base, depth = model, 0
    while isinstance(base, PeftModel):
        base, depth = base.get_base_model(), depth + 1
    layers = {_path(path, module): module for path, module in base.named_modules() if isinstance(module, LoraLayer)}
    configs = getattr(model, "peft_config", {}) if layers or depth else {}
    _only_lora(configs)
    rows = _rows(base)
    has_bias = any(row.kind == "base bias" for row in rows)
    warnings = [*_state(model, layers, rows, depth)] if configs else []
    for name, config in configs.items():
        own = {path: layer for path, layer in layers.items() if name in layer.r}
        warnings += [*_targets(config, own, base), *_settings(config, has_bias=has_bias)]
        warnings += [*_scaling(name, config, own), *_embeddings(config, own, base)]
        warnings += [*_experts(own, base), *_training(name, own, rows, is_training=model.training)]
    if configs:
        warnings += _unsaved(base, configs, rows)
    elif layers:
        warnings.append("LoRA layers without their configuration: pass the PEFT model itself, not what is around it")
    if folder is not None:
        warnings += _names(model, folder)
    around = f" around {type(base).__name__}" if depth else ""
    title = f"{type(model).__name__}{around}, {'train' if model.training else 'eval'} mode"
    weights = sum(row.parameters for row in rows if row.kind.startswith("base"))
    return Audit(title, [_describe(name, layers, weights) for name in configs], rows, warnings)


def audit_folder(folder: str | Path) -> list[str]:
    """Return what looks wrong in a saved adapter, from adapter_config.json and adapter_model.safetensors alone.

    Raises OSError where one of the files is missing, TypeError for an adapter of another method than LoRA.
    """
    tensors = _read(folder)
    config = PeftConfig.from_pretrained(str(folder))
    _only_lora({str(folder): config})
    modules = {WRAPPERS.sub("", key.removeprefix("base_model.model.").partition(".lora_")[0]): key for key in tensors}
    warnings = [*_targets(config, [m for m, key in modules.items() if ".lora_" in key]), *_settings(config)]
    warnings += _values(tensors)
    for module, key in modules.items():
        if ".lora_" not in key and _last_part(module.removesuffix(".weight")) in EMBEDDING_LAYER_NAMES:
            warnings.append(f"'{module}' is in the file in full, {tensors[key].numel():,} numbers, whatever r is")
    return warnings


def _read(folder: str | Path) -> dict[str, torch.Tensor]:
    """The tensors of a saved adapter by name."""
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not (path := Path(folder) / name).is_file():
            raise FileNotFoundError(f"{folder} holds no {name}: name the folder that save_pretrained() has written")
    return load_file(path)


def _values(tensors: Mapping[str, torch.Tensor]) -> Iterator[str]:
    """Numbers that no training leaves behind."""
    all_b = [tensor for key, tensor in tensors.items() if re.search(r"\.lora_(embedding_)?B", key)]
    zero = sum(not b.any() for b in all_b)
    if all_b and zero == len(all_b):
        yield f"every B in the file is zero, all {zero}: it was saved before the training, and changes nothing"
    elif zero:
        yield f"{zero} of {len(all_b)} B in the file are zero: what they adapt has learned nothing"
    if odd := [key for key, tensor in tensors.items() if not tensor.float().isfinite().all()]:
        yield f"{len(odd)} of {len(tensors)} tensors hold numbers that are not finite: the training diverged"


def _only_lora(configs: Mapping[str, PeftConfig]) -> None:
    for name, config in configs.items():
        if config.peft_type != PeftType.LORA:
            method = config.peft_type.value
            raise TypeError(f"adapter '{name}' is {method}, expected LORA: audit() knows no other method")


def _path(path: str, layer: LoraLayer) -> str:
    """The path of what a LoRA layer adapts: a module, or one of a module's parameters."""
    parameter = getattr(layer, "parameter_name", None)
    return f"{WRAPPERS.sub('', path)}.{parameter}" if parameter else path


def _last_part(path: str) -> str:
    return path.rpartition(".")[2]


def _rows(base: nn.Module) -> list[Row]:
    """One row for each kind of parameter; remembers the checksums for the next audit."""
    before, now, kinds = _last.get(base, {}), {}, defaultdict(dict)
    for name, p in base.named_parameters():
        name = WRAPPERS.sub("", name)
        now[name], kinds[_kind(name)][name] = _checksum(p), p
    _last[base] = now
    rows = []
    for kind, group in sorted(kinds.items()):
        numbers = sum(map(_numel, group.values()))
        trainable = sum(_numel(p) for p in group.values() if p.requires_grad)
        dtypes = "/".join(sorted({str(p.dtype).removeprefix("torch.") for p in group.values()}))
        known = group.keys() & before.keys()
        moved = sum(now[name] != before[name] for name in known)
        rows.append(Row(kind, len(group), numbers, trainable, dtypes, len(known), moved))
    return rows


def _numel(parameter: nn.Parameter) -> int:
    """Return how many numbers a parameter holds, also of one that bitsandbytes has packed into 4 bits."""
    if type(parameter).__name__ == "Params4bit":
        return parameter.numel() * parameter.element_size() * 2
    return parameter.numel()


def _kind(name: str) -> str:
    for part in name.split("."):
        if part.startswith(("lora_", "modules_to_save", "trainable_tokens")):
            return part.removesuffix("_delta").removesuffix("_vector")
    return "base bias" if name.endswith("bias") else "base weight"


def _checksum(parameter: torch.Tensor) -> int:
    if parameter.is_meta:
        return 0
    return zlib.crc32(parameter.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())


def _describe(name: str, layers: Mapping[str, LoraLayer], weights: int) -> str:
    """Three lines about an adapter: settings as found in the layers, how much is wrapped, and what, by name."""
    own = {path: layer for path, layer in layers.items() if name in layer.r}
    found = {(own[p].r[name], own[p].scaling[name], getattr(own[p].lora_dropout[name], "p", 0.0)) for p in own}
    settings = "; ".join(f"r {r}, scaling {scaling:.4g}, dropout {p:.4g}" for r, scaling, p in sorted(found))
    state = "active" if any(name in layer.active_adapters for layer in own.values()) else "not active"
    state += ", not trained yet" if _untrained(name, own) else ""
    counts = Counter(_last_part(path.removesuffix(".weight")) for path in own)
    modules = ", ".join(f"{module} {count}" for module, count in sorted(counts.items()))
    share = sum(map(_weights, own.values())) / max(weights, 1)
    return f"adapter '{name}', {state}: {settings}\n  wraps {len(own)} modules, {share:.0%} of the base\n  {modules}"


def _weights(layer: LoraLayer) -> int:
    """How many numbers of the base a LoRA layer adapts."""
    weight = layer.get_param() if hasattr(layer, "get_param") else getattr(layer.get_base_layer(), "weight", None)
    return 0 if weight is None else _numel(weight)


def _untrained(name: str, own: Mapping[str, LoraLayer]) -> bool:
    """Whether A or B is zero in every layer of an adapter, so that it changes nothing."""

    def is_zero(part: nn.Module | torch.Tensor) -> bool:
        tensor = getattr(part, "weight", part)
        return not tensor.is_meta and not tensor.any()

    pairs = ((layer.lora_A, layer.lora_B, layer.lora_embedding_A, layer.lora_embedding_B) for layer in own.values())
    return bool(own) and all(any(is_zero(part[name]) for part in parts if name in part) for parts in pairs)


# --- what looks wrong: each function yields sentences -----------------------------------------------------------------


def _state(model: nn.Module, layers: Mapping[str, LoraLayer], rows: list[Row], depth: int) -> Iterator[str]:
    """Wrapped twice, nothing trains, merged, switched off, the wrong mode."""
    if depth > 1:
        yield "a PEFT model inside a PEFT model: start again from a fresh base"
    if merged := sum(layer.merged for layer in layers.values()):
        yield f"merged: in {merged} modules the update is part of the base weight; call unmerge_adapter() to train"
    if any(layer.disable_adapters for layer in layers.values()):
        yield "the adapters are switched off: call enable_adapter_layers()"
    dropouts = [d for layer in layers.values() for d in layer.lora_dropout.values() if isinstance(d, nn.Dropout)]
    if any(row.trainable for row in rows):
        if not model.training:
            yield "eval mode: dropout is off; call model.train() before training (the Trainer does)"
    else:
        yield "nothing trains: wrap with inference_mode=False, or load with is_trainable=True"
        if any(dropout.training for dropout in dropouts):
            yield "dropout is on although nothing trains: two outputs differ; call model.eval()"


def _targets(config: LoraConfig, own: Iterable[str], base: nn.Module | None = None) -> Iterator[str]:
    """What was asked for and is not wrapped; what is wrapped and was not asked for."""
    if not own:
        yield "the adapter is in no layer: it was merged or unloaded; keep what merge_and_unload() returned"
        return
    named = () if isinstance(config.target_modules, str) else config.target_modules or ()
    excluded = config.exclude_modules or ()
    for target in sorted(named):
        if target not in excluded and not any(f".{path}".endswith(f".{target}") for path in own):
            yield f"'{target}' in target_modules wraps nothing{_hint(target, named, base)}"
    for target in sorted(config.target_parameters or ()) if base is not None else ():  # no file names parameters
        if not any(f".{path}".endswith(f".{target}") for path in own):
            yield f"'{target}' in target_parameters wraps nothing"
    if config.layers_to_transform is not None:
        wanted = config.layers_to_transform
        found = {int(number) for path in own for number in re.findall(r"\.(\d+)\.", path)[:1]}
        if missing := sorted(set([wanted] if isinstance(wanted, int) else wanted) - found):
            yield f"layers_to_transform: nothing is wrapped in {missing}"
    tied = getattr(config, "target_modules_to_tie", None) or ()  # wrapped along with the other embedding
    stray = {_last_part(p) for p in own if p not in tied and not check_target_module_exists(config, p)}
    if stray and not config.target_parameters:
        yield f"wrapped and not in the configuration: {', '.join(sorted(stray))}; after a reload they are gone"


def _hint(target: str, asked: Iterable[str], base: nn.Module | None) -> str:
    """What may have been meant by a name that wraps nothing: never the name itself, nor one that is asked for."""
    if base is None:
        return ""
    if any(f".{WRAPPERS.sub('', name)}".endswith(f".{target}") for name, _ in base.named_parameters()):
        return ": it is a parameter, not a module; name it in target_parameters"
    known = {_last_part(name) for name, module in base.named_modules() if hasattr(module, "weight")} - set(asked)
    fused = sorted(name for name in known if name.endswith(f"_{target}"))
    close = fused or get_close_matches(target, sorted(known), n=1, cutoff=0.8)
    return f": did you mean '{close[0]}'?" if close else ""


def _settings(config: LoraConfig, *, has_bias: bool = True) -> Iterator[str]:
    """Values that are legal and seldom meant."""
    if config.lora_alpha == LoraConfig().lora_alpha < config.r and not config.use_rslora:
        scaling = f"{config.lora_alpha / config.r:.4g}"
        yield f"lora_alpha is at its default of {config.lora_alpha} and r = {config.r}: the scaling is only {scaling}"
    if str(config.init_lora_weights).startswith(("pissa", "olora")):
        yield f"init_lora_weights='{config.init_lora_weights}' changes base weights: switched off, this is not the base"
    if config.bias != "none" and not has_bias:
        yield f"bias='{config.bias}': the model has no bias"


def _scaling(name: str, config: LoraConfig, own: Mapping[str, LoraLayer]) -> Iterator[str]:
    """A scaling that is not the configuration's: one of the two was edited after the layers were built."""
    differ = Counter()
    for path, layer in own.items():
        alpha = config.alpha_pattern.get(get_pattern_key(config.alpha_pattern, path), config.lora_alpha)
        expected = alpha / (math.sqrt(layer.r[name]) if config.use_rslora else layer.r[name])
        if not math.isclose(layer.scaling[name], expected, rel_tol=1e-6):
            differ[f"scaling {layer.scaling[name]:.4g}, by the configuration {expected:.4g}"] += 1
    for found, count in differ.items():
        yield f"{found}, in {count} modules: this model uses the first, a reload the second"


def _experts(own: Iterable[str], base: nn.Module) -> Iterator[str]:
    """A mixture of experts whose router is wrapped, or whose experts are not."""
    named = {WRAPPERS.sub("", name): _numel(p) for name, p in base.named_parameters() if ".lora_" not in name}
    experts = sum(count for name, count in named.items() if ".experts." in name)
    routers = sum(_last_part(path.removesuffix(".weight")) in ROUTERS for path in own)
    if experts and routers:
        yield f"LoRA on {routers} routers, which choose the expert of each token: leave them out unless you mean it"
    if experts and not any(".experts." in path for path in own):
        yield f"the experts hold {experts / sum(named.values()):.0%} of the weights, and LoRA is on none of them"


def _embeddings(config: LoraConfig, own: Iterable[str], base: nn.Module) -> Iterator[str]:
    """Embeddings, with LoRA or as a full copy: both are saved in full, and two may be one tensor."""
    is_tied = getattr(getattr(base, "config", None), "tie_word_embeddings", False)
    for name, module in base.named_modules():
        is_copy = isinstance(module, ModulesToSaveWrapper)
        if _last_part(name) not in EMBEDDING_LAYER_NAMES or not (is_copy or name in own):
            continue
        size = max(_numel(p) * p.element_size() for p in module.parameters()) / 1e6
        if is_copy:
            yield f"'{name}' in modules_to_save trains in full, whatever r is: {size:.3g} MB of the file"
        elif config.trainable_token_indices is None:
            yield f"LoRA on '{name}' puts all of it into the file, {size:.3g} MB: save with save_embedding_layers=False"
        if is_tied and is_copy and not config.ensure_weight_tying:
            yield f"'{name}' is tied and trains as a copy of its own; ensure_weight_tying=True keeps the two equal"
        elif is_tied and not is_copy:
            yield f"LoRA on '{name}', which is tied: a merge changes the input and the output embedding"


def _training(name: str, own: Mapping[str, LoraLayer], rows: list[Row], *, is_training: bool) -> Iterator[str]:
    """An adapter that stays behind, or cannot take small steps."""
    parameters = [p for layer in own.values() for n, p in layer.named_parameters() if f".{name}." in f"{n}."]
    active = any(name in layer.active_adapters for layer in own.values())
    if active and any(row.trainable for row in rows) and not any(p.requires_grad for p in parameters):
        yield f"adapter '{name}' is frozen while something else trains"
    if _untrained(name, own) and not (is_training and any(p.requires_grad for p in parameters)):
        yield f"adapter '{name}' is not trained: B or A is zero everywhere, so it changes nothing; was it loaded?"
    if any(p.requires_grad and p.dtype in (torch.float16, torch.bfloat16) for p in parameters):
        yield f"adapter '{name}' trains in 16 bits: at small learning rates, steps are rounded away; float32 keeps them"


def _unsaved(base: nn.Module, configs: Mapping[str, LoraConfig], rows: list[Row]) -> Iterator[str]:
    """What starts random, trains or moved, and is not in the adapter's file."""
    for name, module in base.named_children():
        if name in HEADS and not isinstance(module, AuxiliaryTrainingWrapper):
            yield f"the head '{name}' is not saved with the adapter: set task_type, or modules_to_save=['{name}']"
    saved = {"base bias"} if any(config.bias != "none" for config in configs.values()) else set()
    for row in rows:
        if row.kind.startswith("base") and row.trainable and row.kind not in saved:
            yield f"{row.trainable:,} numbers of the base train and are not saved with the adapter"
        if row.kind.startswith("base") and row.moved and not row.trainable:
            yield f"{row.moved} frozen base tensors moved since the last audit: by a merge or an initialisation"


def _names(model: nn.Module, folder: str | Path) -> Iterator[str]:
    """Names in an adapter's file that the model does not have, and the other way round."""
    if not isinstance(model, PeftModel):
        yield "the model is no PEFT model: the adapter's file is compared with nothing"
        return
    there, name = {key for key in _read(folder) if ".lora_" in key}, model.active_adapters[0]
    here = {
        key
        for key in get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
        if ".lora_" in key
    }
    if ignored := len(there - here):
        yield f"{ignored} of {len(there)} tensors in the file have no place in the model: a load ignores them"
    if missing := len(here - there):
        yield f"{missing} of the model's {len(here)} tensors are not in the file: a load leaves them as they start"
