"""LoRA in one file: wrap linear layers, train two thin matrices, merge them, save and load them as PEFT does.

Notebook 06 builds it step by step and measures that it equals PEFT 0.21 in all that it can represent.
y = W x + s B A dropout(x): W (out, in) is frozen, A is (r, in), B is (out, r), s = alpha / r (rsLoRA: alpha / sqrt(r)).
ValueError or TypeError says what a model or a configuration lacks, OSError what is wrong with a file.
"""

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]  # of a Llama's layer
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."  # PEFT's two wrappers, a part of every name in its files
EXACT, HALF = {torch.float32, torch.float64}, {torch.bfloat16, torch.float16}  # dtypes of weights, for merging


@dataclass(frozen=True)
class Config:
    """What `inject` needs to know; names, meanings and defaults are those of `peft.LoraConfig`."""

    target_modules: list[str] | str  # names or ends of names after a dot; a string is a regex for the whole name
    r: int = 8
    lora_alpha: float = 8
    lora_dropout: float = 0.0
    use_rslora: bool = False
    rank_pattern: dict[str, int] = field(default_factory=dict)  # regex for the end of a name -> its own r
    alpha_pattern: dict[str, float] = field(default_factory=dict)
    task_type: str | None = None  # for PEFT, which picks its wrapper by it
    base_model_name_or_path: str | None = None

    def r_and_alpha(self, name: str) -> tuple[int, float]:
        """Return the rank and the alpha of the layer of that name: those of the first pattern that matches, if any."""

        def chosen(patterns: dict, default):
            return next((value for end, value in patterns.items() if re.match(rf"(.*\.)?({end})$", name)), default)

        return chosen(self.rank_pattern, self.r), chosen(self.alpha_pattern, self.lora_alpha)


class LoRALinear(nn.Module):
    """A frozen linear layer plus s B A: (..., in) -> (..., out).

    A (r, in) starts uniform in +-1 / sqrt(in), B (out, r) at zero, so that the layer starts as the one it wraps. Both
    are float32 (float64 over a float64 weight), also over a weight in bf16 or 4 bits: small steps must not be lost.

    Source: Hu et al., LoRA, 2021, arXiv 2106.09685, section 4.1; rsLoRA: Kalajdzievski, 2023, arXiv 2312.03732.
    """

    def __init__(self, base_layer: nn.Linear, r: int = 8, alpha: float = 8, dropout: float = 0.0, rslora: bool = False):
        super().__init__()
        if not isinstance(base_layer, nn.Linear):
            raise TypeError(f"an nn.Linear was expected, got {type(base_layer).__name__}; PEFT covers other layers")
        if not isinstance(r, int) or r < 1:
            raise ValueError(f"r was {r!r}, expected an integer of at least 1, such as 8")
        weight = base_layer.weight
        self.base_layer = base_layer.requires_grad_(False)
        self.lora_A = nn.Linear(base_layer.in_features, r, bias=False)
        self.lora_B = nn.Linear(r, base_layer.out_features, bias=False)
        nn.init.kaiming_uniform_(self.lora_A.weight, a=math.sqrt(5))
        nn.init.zeros_(self.lora_B.weight)
        self.dropout = nn.Dropout(dropout)
        self.scaling = alpha / math.sqrt(r) if rslora else alpha / r
        self.merged = self.disabled = False
        self.to(weight.device).train(base_layer.training)
        if weight.dtype == torch.float64:
            self.double()

    def delta(self) -> Tensor:
        """Return the update of the weight, s B A, of shape (out, in)."""
        return self.lora_B.weight @ self.lora_A.weight * self.scaling

    def forward(self, x: Tensor) -> Tensor:
        """Return W x + s B A dropout(x), in the dtype of W x; without the second term if merged or disabled."""
        result = self.base_layer(x)
        if self.merged or self.disabled:
            return result
        update = self.lora_B(self.lora_A(self.dropout(x.to(self.lora_A.weight.dtype)))) * self.scaling
        return (result + update).to(result.dtype)


def lora_layers(model: nn.Module) -> dict[str, LoRALinear]:
    """Return the LoRA layers of a model by name."""
    layers = {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}
    if not layers:
        raise ValueError(f"this {type(model).__name__} has no LoRA layers: call inject or load first")
    return layers


def factors(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return A and B of every LoRA layer of a model, under the names that PEFT's files give them.

    Example:
        >>> model = nn.Sequential(nn.Linear(64, 32))
        >>> _ = inject(model, Config(target_modules=["0"], r=4))
        >>> {name: tuple(value.shape) for name, value in factors(model).items()}
        {'base_model.model.0.lora_A.weight': (4, 64), 'base_model.model.0.lora_B.weight': (32, 4)}
    """
    parameters = {
        f"{name}.{end}": p for name, layer in lora_layers(model).items() for end, p in layer.named_parameters()
    }
    return {PREFIX + name: p for name, p in parameters.items() if ".lora_" in name}


def inject(model: nn.Module, config: Config) -> dict[str, LoRALinear]:
    """Freeze a model, replace in place the linear layers that the configuration names, and return the new ones.

    Example:
        >>> model = nn.Sequential(nn.Linear(64, 64), nn.ReLU())
        >>> list(inject(model, Config(target_modules=["0"], r=8, lora_alpha=32)))
        ['0']
    """
    layers = {
        name: LoRALinear(linear, r, alpha, config.lora_dropout, config.use_rslora)
        for name, (linear, r, alpha) in _plan(model, config).items()
    }
    model.requires_grad_(False)
    for name, layer in layers.items():
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, layer)
    model.lora_config = config
    return layers


def merge(model: nn.Module, *, rounding: bool = False) -> None:
    """Add s B A to every weight, in place; the LoRA branches then rest. `rounding` allows it for bf16 and float16.

    Example:
        >>> model = nn.Sequential(nn.Linear(64, 64))
        >>> layer = inject(model, Config(target_modules=["0"]))["0"]
        >>> merge(model)
        >>> layer.merged
        True
    """
    layers = lora_layers(model)
    owners = [id(weight) for _, weight in model.named_parameters(remove_duplicate=False)]
    for name, layer in layers.items():
        weight = layer.base_layer.weight
        if layer.merged:
            raise ValueError(f"{name} is merged already, and a second merge would add the update twice: unmerge first")
        if owners.count(id(weight)) > 1:
            raise ValueError(f"the weight of {name} is tied to another layer, which a merge would change, too")
        if weight.dtype not in (EXACT | HALF if rounding else EXACT):
            raise TypeError(
                f"the weight of {name} is {weight.dtype} and would drop part of the update: load the base model in "
                "float32, merge, then convert; rounding=True merges into bf16 and float16 all the same"
            )
    for layer in layers.values():
        layer.base_layer.weight.data += layer.delta().detach()
        layer.merged = True


def unmerge(model: nn.Module) -> None:
    """Subtract s B A from every merged weight, in place: the old weight up to rounding.

    After a merge that was interrupted, this puts back the layers that it had reached.
    """
    layers = [layer for layer in lora_layers(model).values() if layer.merged]
    if not layers:
        raise ValueError("the model is not merged, so there is nothing to take out: merge first")
    for layer in layers:
        weight = layer.base_layer.weight
        weight.data -= layer.delta().detach().to(weight.dtype)  # rounded first, as PEFT does
        layer.merged = False


@contextmanager
def disabled(model: nn.Module) -> Iterator[None]:
    """Inside this context the model computes what its base computes."""
    layers = lora_layers(model).values()
    if any(layer.merged for layer in layers):
        raise ValueError("the model is merged, so that its base is not there to be used: unmerge first")
    before = [layer.disabled for layer in layers]
    for layer in layers:
        layer.disabled = True
    try:
        yield
    finally:
        for layer, was_disabled in zip(layers, before, strict=True):
            layer.disabled = was_disabled


def save(model: nn.Module, folder: str | Path) -> None:
    """Write A and B of every layer, and the configuration, as the two files that `peft.PeftModel` reads.

    Both are written whole before they take the place of older ones.
    """
    tensors = {name: parameter.detach().contiguous() for name, parameter in factors(model).items()}
    record = {"peft_type": "LORA", "bias": "none", "init_lora_weights": True, "inference_mode": True}
    record |= asdict(model.lora_config)
    record["base_model_name_or_path"] = record["base_model_name_or_path"] or getattr(model, "name_or_path", None)
    Path(folder).mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as new:
        save_file(tensors, Path(new) / WEIGHTS, metadata={"format": "pt"})
        written = json.dumps(record, indent=2, sort_keys=True, default=sorted)  # JSON has no sets
        (Path(new) / CONFIG).write_text(written, encoding="utf-8")
        for name in (WEIGHTS, CONFIG):
            (Path(new) / name).replace(Path(folder) / name)


def load(model: nn.Module, folder: str | Path, *, trainable: bool = False) -> dict[str, LoRALinear]:
    """Inject the adapter that `save` or PEFT wrote, and return its layers: frozen and in eval mode unless `trainable`.

    Nothing of the model is touched unless all names and shapes fit.
    """
    config, tensors = _read_config(Path(folder) / CONFIG), read_weights(folder)
    expected = {}
    for name, (linear, r, _) in _plan(model, config).items():
        expected[f"{PREFIX}{name}.lora_A.weight"] = (r, linear.in_features)
        expected[f"{PREFIX}{name}.lora_B.weight"] = (linear.out_features, r)
    found = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    if wrong := sorted(key for key in expected | found if expected.get(key) != found.get(key)):
        raise ValueError(
            f"{folder} does not fit this model: {wrong[0]} has shape {found.get(wrong[0])} in the file, expected "
            f"{expected.get(wrong[0])} ({len(wrong)} such differences): load the base model that it was trained on"
        )
    layers = inject(model, config)
    for name, parameter in factors(model).items():
        parameter.data.copy_(tensors[name])
    if not trainable:
        model.requires_grad_(False).eval()
    return layers


def read_weights(folder: str | Path) -> dict[str, Tensor]:
    """Return the tensors of an adapter's file, which must be whole and hold finite decimals alone."""
    path = Path(folder) / WEIGHTS
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise OSError(f"{path} is damaged ({error}): copy or save it again") from error
    for name, tensor in tensors.items():
        if not (tensor.is_floating_point() and tensor.isfinite().all()):
            raise ValueError(f"{path}: {name} holds {tensor.dtype}, not all finite decimals: save the adapter again")
    return tensors


def _plan(model: nn.Module, config: Config) -> dict[str, tuple[nn.Linear, int, float]]:
    """Return the layers that a configuration names, each with its r and alpha; PEFT's matching rules."""
    modules = {name: module for name, module in model.named_modules() if name}
    if any(isinstance(module, LoRALinear) for module in modules.values()):
        raise ValueError("the model has LoRA layers already: load a fresh base model")
    wanted = config.target_modules
    try:
        if isinstance(wanted, str):
            names = [name for name in modules if re.fullmatch(wanted, name)]
        else:
            names = [name for name in modules if name in wanted or name.endswith(tuple(f".{end}" for end in wanted))]
        chosen = {name: config.r_and_alpha(name) for name in names}
    except (re.error, RecursionError, OverflowError) as error:
        given = getattr(error, "pattern", wanted)  # a broken pattern knows its text
        raise ValueError(
            f"correct {given!r}, in target_modules or a pattern: no regular expression ({error})"
        ) from None
    if not names:
        ends = sorted({name.rpartition(".")[2] for name, module in modules.items() if isinstance(module, nn.Linear)})
        raise ValueError(f"target_modules {wanted!r} names no module; expected some of the linear layers, {ends}")
    for name in names:
        if not isinstance(modules[name], nn.Linear):
            kind = type(modules[name]).__name__
            raise TypeError(f"target_modules names {name}, a {kind}; only nn.Linear can be represented: leave it out")
    return {name: (modules[name], *chosen[name]) for name in names}


# What an adapter_config.json may say: the fields of Config, some that change nothing, and the others' "not used".
_NUMBERS = {"type": "object", "additionalProperties": {"type": "number"}}
_NAMES = {"type": ["string", "array"], "minLength": 1, "minItems": 1, "items": {"type": "string"}}
_UNUSED = ("auto_mapping", "inference_mode", "megatron_core", "peft_version", "qalora_group_size", "revision")
SCHEMA = {
    "required": ["peft_type", "target_modules"],
    "additionalProperties": {"enum": [None, False, [], {}]},
    "properties": {
        "peft_type": {"const": "LORA"},
        "bias": {"const": "none"},
        "init_lora_weights": {"enum": [True, False, "gaussian", "orthogonal", "mica"]},
        "target_modules": _NAMES,
        "r": {"type": "integer", "minimum": 1},
        "lora_alpha": {"type": "number"},
        "lora_dropout": {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
        "use_rslora": {"type": "boolean"},
        "rank_pattern": _NUMBERS | {"additionalProperties": {"type": "integer", "minimum": 1}},
        "alpha_pattern": _NUMBERS,
        "task_type": {"type": ["string", "null"]},
        "base_model_name_or_path": {"type": ["string", "null"]},
        **dict.fromkeys(_UNUSED, True),
    },
}


def read_record(path: Path) -> dict:
    """Return what an adapter_config.json says; ValueError where it is no JSON object."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"), parse_constant=str)  # NaN is no number
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON ({error}): save the adapter again") from None
    if not isinstance(record, dict):
        raise ValueError(f"{path} is no configuration of an adapter: save the adapter again")
    return record


def _read_config(path: Path) -> Config:
    """Read adapter_config.json, and refuse every field that would change what is computed."""
    record = read_record(path)
    if error := best_match(Draft202012Validator(SCHEMA).iter_errors(record)):
        where = ".".join(map(str, error.absolute_path)) or "it"
        raise ValueError(f"{path}: {where}: {error.message}; load this adapter with PEFT, or save it again")
    return Config(**{entry.name: record[entry.name] for entry in fields(Config) if entry.name in record})
