"""Which layers LoRA wraps, where `lorautils train` is not told: the course's seven names, or all that a model has."""

from collections.abc import Collection

from torch import nn
from transformers.pytorch_utils import Conv1D

from lorautils.lora import PROJECTIONS

ROUTERS = {"gate", "router", "shared_expert_gate"}  # they choose experts


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


def reach(base: nn.Module, names: Collection[str]) -> str:
    """Say which share of a model's weights, embeddings and head left out, lies in the layers of these names."""
    ends = {id(end.weight) for end in (base.get_input_embeddings(), base.get_output_embeddings()) if end is not None}
    inside = [(path, weight) for path, weight in base.named_parameters() if id(weight) not in ends]
    wrapped = sum(weight.numel() for path, weight in inside if path.split(".")[-2:-1] and path.split(".")[-2] in names)
    said = f"LoRA on {', '.join(sorted(names))}: {wrapped / sum(weight.numel() for _, weight in inside):.0%} of the "
    said += "weights between the embeddings"
    experts = sorted({".".join(path.split(".")[-2:]) for path, weight in inside if weight.ndim == 3})
    return said + (f"; experts in one tensor are not reached: {', '.join(experts)}" if experts else "")
