"""The audit before every training: what is wrapped, what trains, what moved, and what looks wrong.

Notebook 07 teaches it: `audit(model)` reads the model and never changes it.
Checksums, not copies: a parameter has moved if crc32(its bytes) is not what the last audit of this model saw.
"""

import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from weakref import WeakKeyDictionary

import torch
from peft import LoraConfig, PeftModel, PeftType
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import check_target_module_exists
from peft.utils import AuxiliaryTrainingWrapper, ModulesToSaveWrapper
from torch import nn

HEADS = ("score", "classifier", "qa_outputs")  # what transformers calls an output layer that starts random
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


def audit(model: nn.Module) -> Audit:
    """Report what LoRA has wrapped in a model, what trains, what moved since the last audit, and what looks wrong.

    A model is known by its base: audits before and after `get_peft_model` or `merge_and_unload` are compared.
    Raises TypeError where `model` is not a module, or has an adapter of another method than LoRA.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"audit() was given {type(model).__name__}, expected a torch.nn.Module: pass the model itself")
    base, depth = model, 0
    while isinstance(base, PeftModel):
        base, depth = base.get_base_model(), depth + 1
    layers = {path: module for path, module in base.named_modules() if isinstance(module, LoraLayer)}
    configs = getattr(model, "peft_config", {}) if layers or depth else {}
    for name, config in configs.items():
        if config.peft_type != PeftType.LORA:
            method = config.peft_type.value
            raise TypeError(f"adapter '{name}' is {method}, expected LORA: audit() knows no other method")
    rows = _rows(base)
    warnings = []
    if configs:
        warnings += _state(model, layers, rows, depth)
        for name, config in configs.items():
            own = {path: layer for path, layer in layers.items() if name in layer.r}
            warnings += [*_targets(config, own, base), *_settings(config, rows), *_tied(config, own, base)]
            warnings += _training(name, own, rows)
        warnings += _unsaved(base, configs, rows)
    elif layers:
        warnings.append("LoRA layers without their configuration: pass the PEFT model itself, not what is around it")
    around = f" around {type(base).__name__}" if depth else ""
    title = f"{type(model).__name__}{around}, {'train' if model.training else 'eval'} mode"
    return Audit(title, [_describe(name, layers) for name in configs], rows, warnings)


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


def _describe(name: str, layers: Mapping[str, LoraLayer]) -> str:
    """Two lines about an adapter: settings as found in the layers, and the wrapped modules by name."""
    own = {path: layer for path, layer in layers.items() if name in layer.r}
    found = {(own[p].r[name], own[p].scaling[name], getattr(own[p].lora_dropout[name], "p", 0.0)) for p in own}
    settings = "; ".join(f"r {r}, scaling {scaling:.4g}, dropout {p:.4g}" for r, scaling, p in sorted(found))
    state = "active" if any(name in layer.active_adapters for layer in own.values()) else "not active"
    counts = Counter(path.rpartition(".")[2] for path in own)
    modules = ", ".join(f"{module} {count}" for module, count in sorted(counts.items()))
    return f"adapter '{name}', {state}: {settings}\n  wraps {len(own)} modules: {modules}"


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


def _targets(config: LoraConfig, own: Mapping[str, LoraLayer], base: nn.Module) -> Iterator[str]:
    """What was asked for and is not wrapped; what is wrapped and was not asked for."""
    if not isinstance(config.target_modules, str):
        known = sorted({name.rpartition(".")[2] for name, module in base.named_modules() if hasattr(module, "weight")})
        for target in sorted(config.target_modules or ()):
            if not any(f".{path}".endswith(f".{target}") for path in own):
                close = get_close_matches(target, known, n=1)
                hint = f": did you mean '{close[0]}'?" if close else ""
                yield f"'{target}' in target_modules wraps nothing{hint}"
    if config.layers_to_transform is not None:
        wanted = config.layers_to_transform
        found = {int(number) for path in own for number in re.findall(r"\.(\d+)\.", path)[:1]}
        if missing := sorted(set([wanted] if isinstance(wanted, int) else wanted) - found):
            yield f"layers_to_transform: nothing is wrapped in {missing}"
    tied = getattr(config, "target_modules_to_tie", None) or ()  # wrapped along with the other embedding
    stray = {p.rpartition(".")[2] for p in own if p not in tied and not check_target_module_exists(config, p)}
    if stray and not config.target_parameters:
        yield f"wrapped and not in the configuration: {', '.join(sorted(stray))}; after a reload they are gone"


def _settings(config: LoraConfig, rows: list[Row]) -> Iterator[str]:
    """Values that are legal and seldom meant."""
    if config.lora_alpha == LoraConfig().lora_alpha < config.r and not config.use_rslora:
        scaling = f"{config.lora_alpha / config.r:.4g}"
        yield f"lora_alpha is at its default of {config.lora_alpha} and r = {config.r}: the scaling is only {scaling}"
    if str(config.init_lora_weights).startswith(("pissa", "olora")):
        yield f"init_lora_weights='{config.init_lora_weights}' changes base weights: switched off, this is not the base"
    if config.bias != "none" and not any(row.kind == "base bias" for row in rows):
        yield f"bias='{config.bias}': the model has no bias"


def _tied(config: LoraConfig, own: Mapping[str, LoraLayer], base: nn.Module) -> Iterator[str]:
    """LoRA, or a full copy, on one of two embeddings that are one tensor."""
    if getattr(getattr(base, "config", None), "tie_word_embeddings", False):
        ends = (base.get_input_embeddings(), base.get_output_embeddings())
        for name, module in base.named_modules():
            if name in own and any(module is end for end in ends):
                yield f"LoRA on '{name}', which is tied: a merge changes the input and the output embedding"
            elif isinstance(module, ModulesToSaveWrapper) and module in ends and not config.ensure_weight_tying:
                yield f"'{name}' is tied and trains as a copy of its own; ensure_weight_tying=True keeps the two equal"


def _training(name: str, own: Mapping[str, LoraLayer], rows: list[Row]) -> Iterator[str]:
    """An adapter that stays behind, or cannot take small steps."""
    parameters = [p for layer in own.values() for n, p in layer.named_parameters() if f".{name}." in f"{n}."]
    active = any(name in layer.active_adapters for layer in own.values())
    if active and any(row.trainable for row in rows) and not any(p.requires_grad for p in parameters):
        yield f"adapter '{name}' is frozen while something else trains"
    if any(p.requires_grad and p.dtype in (torch.float16, torch.bfloat16) for p in parameters):
        yield f"adapter '{name}' trains in 16 bits: small steps are rounded away; keep LoRA's parameters in float32"


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
