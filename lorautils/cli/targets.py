"""Which layers LoRA wraps, where `lorautils train` is not told: the course's seven names, or all that a model has."""

from collections.abc import Collection, Iterable

from peft import LoraConfig
from peft.tuners.tuners_utils import check_target_module_exists
from torch import nn
from transformers.pytorch_utils import Conv1D

from lorautils import training
from lorautils.cli.options import Train
from lorautils.lora import PROJECTIONS

KNOBS = (
    "r",
    "lora_alpha",
    "lora_dropout",
    "use_rslora",
    "use_dora",
    "init_lora_weights",
    "bias",
    "ensure_weight_tying",
)
NAMED = ("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "target_parameters")
NAMED += ("rank_pattern", "alpha_pattern", "modules_to_save", "trainable_token_indices")
STARTS = (True, False, "gaussian", "orthogonal", "mica")
TAKES_FROM_BASE = (
    "takes its start out of the base's weights, so that checkpoints and adapter fit another base than yours"
)
OTHER_STARTS = {  # why each is refused
    "pissa": TAKES_FROM_BASE,
    "olora": TAKES_FROM_BASE,
    "corda": f"{TAKES_FROM_BASE}, and needs statistics of your data first",
    "loftq": "quantises the base itself, which load_in_4bit does here",
    "eva": "reads your data before the training, without which it is a start as any other",
    "lora_ga": "reads gradients before the training, and changes the base's weights",
}
ROUTERS = {"gate", "router", "shared_expert_gate"}  # they choose experts


def check(options: Train, processes: int) -> None:
    """Raise ValueError where fields of LoRA do not fit one another, or cannot be kept by this command."""
    start, way = options.init_lora_weights, "take true, false, gaussian, orthogonal or mica"
    if start not in STARTS:
        why = OTHER_STARTS.get(str(start).partition("_niter_")[0], "is no start that this command knows")
        if TAKES_FROM_BASE in why:
            way += ", or train in Python and save with path_initial_model_for_weight_conversion, as PEFT's guide shows"
        raise ValueError(f"init_lora_weights is {start!r}, which {why}: {way}")
    if start == "mica" and (options.load_in_4bit or options.target_parameters is not None or processes > 1):
        raise ValueError(
            "init_lora_weights is 'mica', which needs one process, no load_in_4bit and no target_parameters: take true"
        )
    if options.bf16 and (options.bias != "none" or options.modules_to_save is not None):
        raise ValueError(
            "bf16 is set, and bias and modules_to_save would train in 16 bits, where small steps are rounded away: "
            "leave bf16 or them out"
        )
    if options.target_parameters is not None and (options.lora_dropout or options.use_dora):
        raise ValueError("target_parameters works without dropout and DoRA: add --lora_dropout 0, leave use_dora out")
    if options.target_parameters is not None and options.layers_to_transform is not None:
        raise ValueError("target_parameters reaches all layers, layers_to_transform is set too: leave one out")
    if options.layers_pattern is not None and options.layers_to_transform is None:
        raise ValueError("layers_pattern says where layers_to_transform counts: set that too, or leave it out")
    if options.ensure_weight_tying and options.modules_to_save is options.trainable_token_indices is None:
        raise ValueError("ensure_weight_tying is for modules_to_save and trainable_token_indices: set one, or leave it")


def config(base: nn.Module, options: Train) -> LoraConfig:
    """Return the configuration of an adapter on a base model, as the options of a training say.

    ValueError names what the model has, where a name or a number fits no layer.
    """
    config = training.lora_config()
    for name in KNOBS:
        setattr(config, name, getattr(options, name))
    config.rank_pattern = _pattern(base, "rank_pattern", options.rank_pattern)
    config.alpha_pattern = _pattern(base, "alpha_pattern", options.alpha_pattern)
    if (layers := options.layers_to_transform) is not None:
        count = base.config.get_text_config().num_hidden_layers
        config.layers_to_transform = _numbers("layers_to_transform", layers, count, "layers")
    config.target_modules = set(chosen(base, options.target_modules))
    paths = [path for path, _ in base.named_modules()]
    if (pattern := options.layers_pattern) is not None:
        if not any(f".{pattern}.0." in f".{path}." for path in paths):
            raise ValueError(f"layers_pattern is {pattern!r}, and no list of layers is called so: leave it out")
        config.layers_pattern = pattern
    wrapped = [path for path, layer in base.named_modules() if is_linear(layer) and _fits(path, config.target_modules)]
    if (excluded := _named("exclude_modules", options.exclude_modules, wrapped)) is not None:
        config.exclude_modules = {*excluded}
        wrapped = [path for path in wrapped if not _fits(path, excluded)]
        if not wrapped:
            raise ValueError(
                f"exclude_modules is {options.exclude_modules!r}, which leaves no layer to wrap: name fewer"
            )
    config.target_parameters = _named("target_parameters", options.target_parameters, _stacked(base))
    experts = [path.rpartition(".")[0] for path in _stacked(base) if _fits(path, config.target_parameters or ())]
    config.modules_to_save = _whole(base, options.modules_to_save, [*wrapped, *experts])
    config.trainable_token_indices = _tokens(base, options.trainable_token_indices, config.modules_to_save or ())
    _check_bias(base, options.bias, wrapped)
    return config


def _fits(path: str, names: Iterable[str]) -> bool:
    """Say whether a path is, or ends in, one of the names."""
    return any(f".{path}".endswith(f".{name}") for name in names)


def _named(setting: str, text: str | None, paths: Collection[str]) -> list[str] | None:
    """Return the names of a setting, each of which ends one of the paths; None where nothing is set."""
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if not any(_fits(path, [name]) for path in paths)]:
        there = ", ".join(sorted({path.rpartition(".")[2] for path in paths})) or "none"
        raise ValueError(f"{setting}: {unknown} fits nothing; what it can name here is {there}")
    return names


def _whole(base: nn.Module, text: str | None, wrapped: Collection[str]) -> list[str] | None:
    """Return the names of modules to train whole; ValueError names what PEFT would take along, or has LoRA already."""
    weighty = {path.rpartition(".")[0]: weight for path, weight in base.named_parameters(remove_duplicate=False)}
    names = _named("modules_to_save", text, weighty)
    for name in names or ():
        taken = [path for path, _ in base.named_modules() if path.endswith(name)]  # as PEFT takes them
        if more := sorted({path.rpartition(".")[2] for path in taken if not _fits(path, [name])}):
            own = next(path for path in taken if _fits(path, [name]))
            raise ValueError(f"modules_to_save: {name!r} also fits {', '.join(more)}: name more of it, such as {own}")
        if any(path in wrapped for path in taken):
            raise ValueError(f"modules_to_save: {name!r} is wrapped by LoRA: leave it out here, or of target_modules")
        if any(type(weighty[path]).__name__ == "Params4bit" for path in taken if path in weighty):
            raise ValueError(f"modules_to_save: {name!r} is in 4 bits, which do not train: leave one of the two out")
    return names


def _tokens(base: nn.Module, text: int | str | None, whole: Collection[str]) -> list[int] | None:
    """Return the numbers of tokens of a setting such as 0,7."""
    if text is None:
        return None
    numbers = _numbers("trainable_token_indices", text, base.get_input_embeddings().num_embeddings, "tokens")
    rows = base.get_input_embeddings().weight  # which the head may share
    named = [(path, module) for path, module in base.named_modules() if _fits(path, whole)]
    if both := [path for path, module in named if getattr(module, "weight", None) is rows]:
        raise ValueError(f"trainable_token_indices: {', '.join(both)} trains whole by modules_to_save: leave one out")
    return numbers


def _numbers(setting: str, text: int | str, count: int, things: str) -> list[int]:
    """Return the numbers of a setting such as 0,7, each below the count of such things in the model."""
    text = str(text)  # a file may name one number
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) < count for part in parts):
        wanted = f"expected numbers from 0 to {count - 1}, separated by commas"
        raise ValueError(f"{setting} is {text!r}, {wanted}: the model has {count} {things}")
    return [int(part) for part in parts]


def _check_bias(base: nn.Module, bias: str, wrapped: Collection[str]) -> None:
    """Raise ValueError where biases are to train and there are none."""
    owners = {path.rpartition(".")[0] for path, _ in base.named_parameters() if path.endswith("bias")}
    if bias != "none" and not (owners if bias == "all" else owners & {*wrapped}):
        where = "the model has" if bias == "all" else "the wrapped layers have"
        raise ValueError(f"bias is {bias!r}, and {where} no bias: leave it out")


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


def chosen(base: nn.Module, names: str | None) -> list[str]:
    """Return the names of the layers to wrap: those of a setting, separated by commas, or without one the seven or all.

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


def _stacked(base: nn.Module) -> list[str]:
    """Return the paths of the experts of a model that lie in one tensor."""
    return [path for path, weight in base.named_parameters() if weight.ndim == 3]


def reach(base: nn.Module, config: LoraConfig) -> str:
    """Say which share of a model's weights, embeddings and head left out, a configuration wraps."""
    ends = {id(end.weight) for end in (base.get_input_embeddings(), base.get_output_embeddings()) if end is not None}
    inside = [(path, weight) for path, weight in base.named_parameters() if id(weight) not in ends]
    names, layers, parameters = config.target_modules, config.layers_to_transform, config.target_parameters or ()

    def is_wrapped(path: str) -> bool:
        return bool(check_target_module_exists(config, path.rpartition(".")[0])) or _fits(path, parameters)

    wrapped = sum(weight.numel() for path, weight in inside if is_wrapped(path))
    only = f" of layers {', '.join(map(str, layers))}" if layers else ""
    share = wrapped / sum(weight.numel() for _, weight in inside)
    said = (
        f"LoRA on {', '.join([*sorted(names), *parameters])}{only}: {share:.0%} of the weights between the embeddings"
    )
    if config.exclude_modules:
        said += f"; left out: {', '.join(sorted(config.exclude_modules))}"
    experts = sorted({".".join(path.split(".")[-2:]) for path in _stacked(base) if not is_wrapped(path)})
    return said + (f"; experts in one tensor are not reached: {', '.join(experts)}" if experts else "")
