"""The options of the commands as plain values, and the parser that reads them from the command line or from YAML.

`lorautils train --config FILE` takes any of the fields of `Train`, one a line, such as `epochs: 3`; an option that is
given beside the file wins. Notebook 12 uses it.
"""

import math
from dataclasses import dataclass
from typing import Literal, NoReturn

import yaml
from jsonargparse import ArgumentParser, get_loader, set_loader
from jsonargparse.typing import PositiveInt, restricted_number_type

from lorautils.cli import fail

Share = restricted_number_type("Share", float, [(">=", 0), ("<", 1)])
Positive = restricted_number_type("Positive", float, [(">", 0), ("<", math.inf)])


@dataclass
class Train:
    """What `lorautils train` does, and with what.

    Args:
        output: a new folder, for checkpoints, and for the adapter at the end
        data: files as `lorautils data` reads them, separated by commas, * for any letters; without, cron examples
        rename: the files' fields to known names, such as question=prompt,answer=completion
        chat: prompt and completion, as strings, become turns of a chat
        max_length: tokens that an example may have
        too_long: with longer examples, end in an error, or drop them
        packing: several examples in a row of up to max_length tokens, which do not see one another; a batch has
            batch_size such rows
        mix: files of earlier examples, of which some are mixed in, so that less of them is forgotten
        mix_share: how many of those, as a share of the examples to train on
        held_out: the share of the examples to measure on and not to train on, such as 0.1
        held_out_steps: measure every so many steps, not at the end of each epoch
        keep_best: save the state in which the loss on the held-out examples was lowest
        patience: end after so many measurements in a row that found no lower loss; means keep_best too
        examples: how many cron examples to make, where there are no data
        model: a folder or a hub name; without it, the model of the course
        load_in_4bit: keep the frozen weights in 4 bits (NF4 of bitsandbytes), in a third of the memory or less
        from_adapter: the folder of an adapter to go on training; its r, alpha, dropout and layers stay
        epochs: how often each example is seen
        batch_size: examples in a batch, of all processes together
        gradient_accumulation_steps: batches for one step, as if they were one batch that needs less memory
        learning_rate: the highest, after the warm-up
        seed: of the examples, their order, the adapter's start and the dropout
        save_steps: write a checkpoint every so many steps, not at the end of each epoch
        report_to: a logger of the losses, whose package must be installed
        bf16: bf16 autocast, and the frozen weights in bf16 too; refused where it is slower than float32
        gradient_checkpointing: less memory, more time
        r: the rank of LoRA
        lora_alpha: the update is scaled by lora_alpha / r
        lora_dropout: the share of the inputs of LoRA that dropout takes away
        target_modules: names of the layers to wrap, separated by commas; without, the course's seven or,
            where a model has others, all its linear layers but the head
        exclude_modules: of those layers, names or ends of paths to leave out, such as layers.0.self_attn.q_proj
        layers_to_transform: numbers of the layers to wrap, separated by commas; without, all
        layers_pattern: what the list of layers is called, where a path has several numbers, such as h
        target_parameters: experts in one tensor to wrap too, such as experts.down_proj; needs lora_dropout 0
        use_rslora: scale the update by lora_alpha / sqrt(r) instead
        use_dora: train the length of each row of a weight beside its direction (DoRA)
        rank_pattern: another r for some names, such as q_proj=16,k_proj=4
        alpha_pattern: another lora_alpha for some names, such as q_proj=64
        init_lora_weights: how A and B start: true, false, gaussian, orthogonal or mica
        bias: train biases of the model too, those of the wrapped layers or all
        modules_to_save: names of modules to train whole and save with the adapter, such as lm_head
        trainable_token_indices: numbers of tokens whose rows of the embedding train, such as 0,7
        ensure_weight_tying: keep tied embeddings equal where one of them trains
        fused: the LoRA layers of lorautils.scaling.fused, the same training, faster
    """

    output: str = "my-adapter"
    data: str | None = None
    rename: str | None = None
    chat: bool = False
    max_length: PositiveInt = 1024
    too_long: Literal["error", "drop"] = "error"
    packing: bool = False
    mix: str | None = None
    mix_share: Positive = 0.1
    held_out: Share = 0.0
    held_out_steps: PositiveInt | None = None
    keep_best: bool = False
    patience: PositiveInt | None = None
    examples: PositiveInt = 400
    model: str | None = None
    load_in_4bit: bool = False
    from_adapter: str | None = None
    epochs: Positive = 3
    batch_size: PositiveInt = 8
    gradient_accumulation_steps: PositiveInt = 1
    learning_rate: Positive = 2e-3
    seed: int = 0
    save_steps: PositiveInt | None = None
    report_to: Literal["none", "tensorboard", "trackio"] = "none"
    bf16: bool = False
    gradient_checkpointing: bool = False
    r: PositiveInt = 8
    lora_alpha: PositiveInt = 32
    lora_dropout: Share = 0.1
    target_modules: str | None = None
    exclude_modules: str | None = None
    layers_to_transform: int | str | None = None
    layers_pattern: str | None = None
    target_parameters: str | None = None
    use_rslora: bool = False
    use_dora: bool = False
    rank_pattern: str | None = None
    alpha_pattern: str | None = None
    init_lora_weights: bool | str = True
    bias: Literal["none", "lora_only", "all"] = "none"
    modules_to_save: str | None = None
    trainable_token_indices: int | str | None = None
    ensure_weight_tying: bool = False
    fused: bool = False


def _plain(text: str) -> object:
    """Read YAML that holds plain values only, one a field; a few lines, nested or repeated, can hold billions."""
    repeated = any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text))
    value = None if repeated else get_loader("yaml")(text)
    parts = value.values() if isinstance(value, dict) else [value]
    if repeated or any(isinstance(part, dict | list | set) for part in parts):
        raise ValueError("only plain values are read, one a line, such as epochs: 3")
    return value


set_loader("plain", _plain, exceptions=(Exception,))  # PyYAML raises many kinds where a scalar is none


class Parser(ArgumentParser):
    """A parser that takes whole names only, and whose errors are one line, with the exit code 2."""

    def __init__(self, **options):
        super().__init__(allow_abbrev=False, parser_mode="plain", **options)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Say what is wrong and where the options are listed, and end."""
        said = message.removeprefix("Parser key ")
        raise SystemExit(fail(f"{said}; `{self.prog.replace(' [options]', '')} --help` lists the options"))


def plain(options) -> Train:
    """Return the options of a training as numbers of Python: jsonargparse's own classes would end in checkpoints."""
    given = {name: getattr(options, name) for name in Train.__annotations__}
    numbers = {name: float(value) for name, value in given.items() if isinstance(value, float)}
    counts = {name: int(value) for name, value in given.items() if type(value) is PositiveInt}
    return Train(**given | numbers | counts)
