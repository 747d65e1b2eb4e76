"""Which layers LoRA wraps, where `lorautils train` is not told: the course's seven names, or all that a model has."""

from collections.abc import Collection

from peft import LoraConfig
from torch import nn
from transformers.pytorch_utils import Conv1D

from lorautils import training
from lorautils.cli.options import Train
from lorautils.lora import PROJECTIONS

KNOBS = ("r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora")
ROUTERS = {"gate", "router", "shared_expert_gate"}  # they choose experts


def config(base: nn.Module, options: Train) -> LoraConfig:
    """Return the configuration of an adapter on a base model, as the options of a training say.

    ValueError names what the model has, where a name or a number fits no layer.
    """
    config = training.lora_config()
    for name in KNOBS:
        setattr(config, name, getattr(options, name))
    config.rank_pattern = _pattern(base, "rank_pattern", options.rank_pattern)
    config.alpha_pattern = _pattern(base, "alpha_pattern", options.alpha_pattern)
    config.layers_to_transform = _layers(base, options.layers_to_transform)
    config.target_modules = set(chosen(base, options.target_modules))
    return config


def _pattern(base: nn.Module, setting: str, text: str | None) -> dict[str, int]:
    """Return the numbers that a setting such as q_proj=16,k_proj=4 gives to names of layers."""
    pattern = {}
    for part in text.split(",") if text is not None else ():
        name, _, number = (piece.strip() for piece in part.partition("="))
        if not number.isdecimal() or not int(number):
            raise ValueError(f"{setting} is {text!r}, expected names with a whole number each, such as q_proj=16")
        pattern[name] = int(number)
    if unknown := sorted(pattern.keys() - {*linear_names(base)}):
        raise ValueError(f"{setting}: no layer is named {unknown}; the model has {', '.join(linear_names(base))}")
    return pattern


def _layers(base: nn.Module, text: str | None) -> list[int] | None:
    """Return the numbers of a setting such as 0,1,2; None stands for all layers."""
    if text is None:
        return None
    count, parts = base.config.get_text_config().num_hidden_layers, [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) < count for part in parts):
        wanted = f"expected numbers from 0 to {count - 1}, separated by commas"
        raise ValueError(f"layers_to_transform is {text!r}, {wanted}: the model has {count} layers")
    return [int(part) for part in parts]


def chosen(base: nn.Module, names: str | None) -> list[str]:
    """Return the names of the layers to wrap: those of a setting, separated by commas, or what `default` says.

    ValueError names what the model has, where a name fits no layer.
    """
    linear = linear_names(base)
    if names is None:
        return list(PROJECTIONS) if _are_the_seven(base) else linear
    asked = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in asked if name not in linear]
    if unknown or not asked:
        raise ValueError(f"target_modules: no layer is named {unknown or names!r}; the model has {', '.join(linear)}")
    return asked


def linear_names(base: nn.Module) -> list[str]:
    """Return the names of a model's linear layers, but for its head and what routes tokens to experts."""
    head = base.get_output_embeddings()
    found = [(path.rpartition(".")[2], layer) for path, layer in base.named_modules() if is_linear(layer)]
    return sorted({name for name, layer in found if layer is not head and name not in ROUTERS})


def is_linear(layer: nn.Module) -> bool:
    """Say whether a layer is a matrix product, as GPT-2's Conv1D is too."""
    return isinstance(layer, nn.Linear | Conv1D)


def _are_the_seven(base: nn.Module) -> bool:
    """Say whether every layer has the seven projections, and no other linear layer."""
    layers = base.config.get_text_config().num_hidden_layers
    names = [path.rpartition(".")[2] for path, layer in base.named_modules() if is_linear(layer)]
    return all(names.count(name) == layers for name in PROJECTIONS)


def reach(base: nn.Module, names: Collection[str], layers: Collection[int] | None = None) -> str:
    """Say which share of a model's weights, embeddings and head left out, lies in the modules of these names.

    `layers` are the numbers of the layers whose modules count; None stands for all.
    """
    ends = {id(end.weight) for end in (base.get_input_embeddings(), base.get_output_embeddings()) if end is not None}
    inside = [(path, weight) for path, weight in base.named_parameters() if id(weight) not in ends]
    parts = [(path.split("."), weight) for path, weight in inside]
    named = [(path, weight) for path, weight in parts if path[-2:-1] and path[-2] in names]
    numbers = {str(number) for number in layers or ()}
    wrapped = sum(weight.numel() for path, weight in named if layers is None or numbers & {*path})
    only = f" of layers {', '.join(map(str, layers))}" if layers else ""
    said = (
        f"LoRA on {', '.join(sorted(names))}{only}: {wrapped / sum(weight.numel() for _, weight in inside):.0%} of the "
    )
    said += "weights between the embeddings"
    experts = sorted({".".join(path.split(".")[-2:]) for path, weight in inside if weight.ndim == 3})
    return said + (f"; experts in one tensor are not reached: {', '.join(experts)}" if experts else "")
