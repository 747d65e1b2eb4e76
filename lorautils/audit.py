"""The audit before every training: what is wrapped, what trains, what moved, and what looks wrong.

Notebook 07 teaches it: `audit(model)` reads the model and never changes it.
Checksums, not copies: a parameter has moved if crc32(its bytes) is not what the last audit of this model saw.
"""

import re
import zlib
from collections import Counter
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
    """All parameters of one kind: tensors, numbers, how many train, and how many tensors moved or are new."""

    kind: str
    tensors: int
    parameters: int
    trainable: int
    dtypes: str
    moved: int
    new: int


@dataclass(frozen=True, repr=False)
class Audit:
    """What `audit` found; shown as text."""

    title: str
    adapters: list[str]
    rows: list[Row]
    first: bool  # there is no earlier audit to compare with
    gone: int  # tensors that the last audit saw and this one did not
    warnings: list[str]

    @property
    def trainable(self) -> int:
        """How many numbers train."""
        return sum(row.trainable for row in self.rows)

    def __repr__(self) -> str:
        total = sum(row.parameters for row in self.rows)
        lines = [self.title, *self.adapters]
        lines.append(
            f"{'kind':16} {'tensors':>7} {'parameters':>12} {'trainable':>12}  {'dtype':9} since the last audit"
        )
        for row in self.rows:
            change = "-" if self.first else f"{row.moved} moved" + f", {row.new} new" * (row.new > 0)
            numbers = f"{row.tensors:7} {row.parameters:12,} {row.trainable:12,}"
            lines.append(f"{row.kind:16} {numbers}  {row.dtypes:9} {change}")
        lines += [f"{self.gone} tensors of the last audit are gone"] * (self.gone > 0)
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
    layers = {name: module for name, module in base.named_modules() if isinstance(module, LoraLayer)}
    configs = getattr(model, "peft_config", {}) if layers or depth else {}
    for name, config in configs.items():
        if config.peft_type != PeftType.LORA:
            raise TypeError(
                f"adapter '{name}' is {config.peft_type.value}, expected LORA: audit() knows no other method"
            )
    parameters = {WRAPPERS.sub("", name): (_kind(name), p) for name, p in base.named_parameters()}
    before, now = _last.get(base, {}), {name: _checksum(p) for name, (_, p) in parameters.items()}
    _last[base] = now
    rows = _rows(parameters, now, before)
    warnings = [*_state(model, configs, layers, rows, depth)] if configs else []
    for name, config in configs.items():
        warnings += _adapter(name, config, base, layers, rows)
    if layers and not configs:
        warnings.append("LoRA layers without their configuration: pass the PEFT model itself, not what is around it")
    around = f" around {type(base).__name__}" if depth else ""
    return Audit(
        title=f"{type(model).__name__}{around}, {'train' if model.training else 'eval'} mode",
        adapters=[_describe(name, layers) for name in configs],
        rows=rows,
        first=not before,
        gone=len(before.keys() - now.keys()),
        warnings=warnings + ([*_unsaved(base, configs, rows)] if configs else []),
    )


def _checksum(parameter: torch.Tensor) -> int:
    if parameter.is_meta:
        return 0
    return zlib.crc32(parameter.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())


def _kind(name: str) -> str:
    for part in name.split("."):
        if part.startswith(("lora_", "modules_to_save", "trainable_tokens")):
            return part.removesuffix("_delta").removesuffix("_vector")
    return "base bias" if name.endswith("bias") else "base weight"


def _rows(parameters: Mapping[str, tuple], now: Mapping[str, int], before: Mapping[str, int]) -> list[Row]:
    rows = []
    for kind in sorted({kind for kind, _ in parameters.values()}):
        group = {name: p for name, (k, p) in parameters.items() if k == kind}
        numbers = sum(p.numel() for p in group.values())
        trained = sum(p.numel() for p in group.values() if p.requires_grad)
        dtypes = "/".join(sorted({str(p.dtype).removeprefix("torch.") for p in group.values()}))
        moved = sum(name in before and now[name] != before[name] for name in group)
        new = sum(name not in before for name in group) if before else 0
        rows.append(Row(kind, len(group), numbers, trained, dtypes, moved, new))
    return rows


def _describe(name: str, layers: Mapping[str, LoraLayer]) -> str:
    """Two lines about an adapter: settings as found in the layers, and the wrapped modules by name."""
    own = {path: layer for path, layer in layers.items() if name in layer.r}
    values = {
        "r": {layer.r[name] for layer in own.values()},
        "scaling": {layer.scaling[name] for layer in own.values()},
        "dropout": {getattr(layer.lora_dropout[name], "p", 0.0) for layer in own.values()},
    }
    settings = ", ".join(f"{key} {' and '.join(f'{v:.4g}' for v in sorted(found))}" for key, found in values.items())
    state = "active" if any(name in layer.active_adapters for layer in own.values()) else "not active"
    counts = Counter(path.rpartition(".")[2] for path in own)
    modules = ", ".join(f"{module} {count}" for module, count in sorted(counts.items()))
    return f"adapter '{name}', {state}: {settings}\n  wraps {len(own)} modules: {modules}"


# --- what looks wrong: each function yields sentences -----------------------------------------------------------------


def _state(model, configs, layers, rows, depth) -> Iterator[str]:
    """Wrapped twice, nothing trains, merged, switched off, several adapters, the mode."""
    if depth > 1:
        yield "a PEFT model inside a PEFT model: start again from a fresh base"
    trainable = any(row.trainable for row in rows)
    if not trainable:
        yield "nothing trains: wrap with inference_mode=False, or load with is_trainable=True"
    if merged := sum(layer.merged for layer in layers.values()):
        yield f"merged: in {merged} modules the update is part of the base weight; call unmerge_adapter() to train"
    if any(layer.disable_adapters for layer in layers.values()):
        yield "the adapters are switched off: call enable_adapter_layers()"
    if len(configs) > 1:
        active = sorted({name for layer in layers.values() for name in layer.active_adapters})
        yield f"{len(configs)} adapters are loaded, active: {', '.join(active)}; the others neither compute nor train"
    dropouts = [d for layer in layers.values() for d in layer.lora_dropout.values() if isinstance(d, nn.Dropout)]
    if trainable and not model.training:
        yield "eval mode: dropout is off; call model.train() before training (the Trainer does)"
    if not trainable and any(dropout.training for dropout in dropouts):
        yield "dropout is on although nothing trains: two outputs differ; call model.eval()"


def _adapter(name, config, base, layers, rows) -> Iterator[str]:
    own = {path: layer for path, layer in layers.items() if name in layer.r}
    yield from _targets(config, own, base)
    yield from _settings(config, rows)
    yield from _embeddings(config, own, base)
    parameters = [p for layer in own.values() for n, p in layer.named_parameters() if f".{name}." in f"{n}."]
    active = any(name in layer.active_adapters for layer in own.values())
    if active and any(row.trainable for row in rows) and not any(p.requires_grad for p in parameters):
        yield f"adapter '{name}' is frozen while something else trains"
    if any(p.requires_grad and p.dtype in (torch.float16, torch.bfloat16) for p in parameters):
        yield f"adapter '{name}' trains in 16 bits: small steps are rounded away; keep LoRA's parameters in float32"


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


def _settings(config: LoraConfig, rows) -> Iterator[str]:
    if config.lora_alpha == LoraConfig().lora_alpha < config.r and not config.use_rslora:
        scaling = f"{config.lora_alpha / config.r:.4g}"
        yield f"lora_alpha is at its default of {config.lora_alpha} and r = {config.r}: the scaling is only {scaling}"
    if str(config.init_lora_weights).startswith(("pissa", "olora")):
        yield f"init_lora_weights='{config.init_lora_weights}' changes base weights: switched off, this is not the base"
    if config.bias != "none" and not any(row.kind == "base bias" for row in rows):
        yield f"bias='{config.bias}': the model has no bias"


def _embeddings(config: LoraConfig, own: Mapping[str, LoraLayer], base: nn.Module) -> Iterator[str]:
    """LoRA, or a full copy, on one of two embeddings that are one tensor."""
    if getattr(getattr(base, "config", None), "tie_word_embeddings", False):
        ends = (base.get_input_embeddings(), base.get_output_embeddings())
        for name, module in base.named_modules():
            if name in own and any(module is end for end in ends):
                yield f"LoRA on '{name}', which is tied: a merge changes the input and the output embedding"
            elif isinstance(module, ModulesToSaveWrapper) and module in ends and not config.ensure_weight_tying:
                yield f"'{name}' is tied and trains as a copy of its own; ensure_weight_tying=True keeps the two equal"


def _unsaved(base: nn.Module, configs: Mapping[str, LoraConfig], rows) -> Iterator[str]:
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
