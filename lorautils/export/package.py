"""A folder to hand on: an adapter as GGUF, or merged into its base, with a Modelfile for Ollama and a card.

Notebook 15 and `lorautils export` use it. The folder is written aside and renamed, so that it is there whole or not at
all. An adapter is A and B of each module, in PEFT's two files.
"""

import contextlib
import os
import reprlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import gguf
import numpy as np
import torch
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

import lorautils
from lorautils import basemodel, evaluation, lora
from lorautils.export.gguf import check_architecture, hyperparameters, tensor_name, write_adapter, write_model

COURSE = (basemodel.FOLDER, "SmolLM2-135M-Instruct")  # how adapters of the course name their base
MERGE = "merge it into its base instead, with `--to merged-gguf`"
UNKNOWN = "merge it with PEFT's merge_and_unload, and write the GGUF with llama.cpp's convert_hf_to_gguf.py"
ADAPTER = "adapter.gguf"
OLDER = """# The older way. Ollama since 0.34.1 is said to refuse ADAPTER, by its pull request 14969. Not tried here.
# There, export with `--to merged-gguf`, whose FROM stands alone.
"""
Factors = dict[str, tuple[Tensor, Tensor]]


def export(
    adapter: str | Path, output: str | Path, to: str = "gguf", kind: str = "F16", model: str | None = None, base=None
) -> list[Path]:
    """Write "gguf", "merged-gguf" or "merged", as `to` says, into the new folder `output`, and return its files.

    `kind` is the type of the model's weights. `model` names the base in transformers' files, where it is not the one
    of the course, `base` a GGUF of it that is there already. ValueError or OSError says why nothing was written.
    """
    adapter, output = Path(adapter), Path(output)
    if to == "merged" and kind not in ("F32", "F16"):
        raise ValueError(f"--type {kind} is for GGUF files: take F16 or F32, or `--to merged-gguf`")
    if output.exists() and (not output.name or not output.is_dir() or any(output.iterdir())):
        raise FileExistsError(f"{output} is there already: name a new folder with --output")
    name = base_of(adapter, model)
    write = _beside(adapter, name, kind, base) if to == "gguf" else _merged(adapter, name, kind, to)
    template = basemodel.load_tokenizer(name).chat_template
    with whole(output) as folder:
        write(folder)
        files = [*sorted(folder.iterdir()), *([Path(base)] if base else [])]
        (folder / "README.md").write_text(card(files, adapter, name, to, template), encoding="utf-8")
    return sorted(output.iterdir())


def read(adapter: str | Path) -> tuple[Factors, float]:
    """Return B (out, r) and A (r, in) of each module of a saved adapter, and the alpha that llama.cpp divides by r.

    ValueError names what such a file has no place for: DoRA, biases, whole modules, another scale in some layers.
    """
    adapter = Path(adapter)
    path = adapter / lora.CONFIG
    record = configuration(adapter)
    schema = lora.SCHEMA | {"properties": lora.SCHEMA["properties"] | {"alpha_pattern": {"enum": [None, {}]}}}
    if error := best_match(Draft202012Validator(schema).iter_errors(record)):
        field = next(iter(error.absolute_path), None)
        what = f"{field} is {record[field]!r}" if field else error.message
        raise ValueError(f"{path}: {what}, which a GGUF adapter cannot say: {MERGE}")
    if not (adapter / lora.WEIGHTS).is_file():
        raise FileNotFoundError(
            f"{adapter} holds no weights ({lora.WEIGHTS} is missing): copy the whole folder, or save the adapter again"
        )
    r, alpha = record.get("r", 8), record.get("lora_alpha", 8)
    if record.get("use_rslora"):
        if record.get("rank_pattern"):
            raise ValueError(f"{path}: rsLoRA with a rank_pattern has a scale for each rank, a file has one: {MERGE}")
        alpha *= r**0.5
    tensors, factors = lora.read_weights(adapter), {}
    for key in (key for key in tensors if key.endswith("lora_A.weight")):
        module = key.removeprefix(lora.PREFIX).removesuffix(".lora_A.weight")
        factors[module] = tensors.get(key.replace("lora_A", "lora_B")), tensors[key]
    pairs = [b is not None and b.dim() == a.dim() == 2 and b.shape[1] == a.shape[0] for b, a in factors.values()]
    if 2 * len(factors) != len(tensors) or not all(pairs):
        raise ValueError(f"{adapter / lora.WEIGHTS} holds other things than pairs of A and B: {UNKNOWN}")
    return factors, alpha


def checked(adapter: Path, name: str | None, base: str | Path | None) -> tuple[Factors, float, PretrainedConfig]:
    """Return the factors of an adapter, its alpha, and the configuration of its base, all of which fit."""
    (factors, alpha), config = read(adapter), basemodel.load_config(name)
    check_fits(factors, config)
    if base is not None:
        check_base(base, factors, config)
    return factors, alpha, config


def configuration(adapter: Path) -> dict:
    """Return what adapter_config.json says."""
    path = adapter / lora.CONFIG
    if not path.is_file():
        raise FileNotFoundError(
            f"{adapter} holds no adapter ({lora.CONFIG} is missing): name the folder of a saved one. "
            "`lorautils serve` takes a .gguf too"
        )
    return lora.read_record(path)


def base_of(adapter: Path, given: str | None = None) -> str | None:
    """Return the name of an adapter's base for `load_base_model`: the given one, or the one that the adapter names."""
    named = str(configuration(adapter).get("base_model_name_or_path") or "")
    if given or os.environ.get("LORAUTILS_MODEL") or not named or Path(named).name in COURSE:
        return given
    if (Path(named) / "config.json").is_file():
        return named
    raise ValueError(f"{adapter} was trained on {named!r}, which is not here: name that model with --model")


def check_fits(factors: Factors, config: PretrainedConfig) -> None:
    """Raise ValueError unless every pair of factors has a linear layer of the model to change."""
    check_architecture(config)
    if "lm_head" in factors and config.tie_word_embeddings:
        raise ValueError(f"the adapter changes lm_head, which this model shares with its embedding: {MERGE}")
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    layers = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    for module, (b, a) in factors.items():
        found, layer = (b.shape[0], a.shape[1]), layers.get(module)
        expected = layer and (layer.out_features, layer.in_features)
        if found != expected:
            raise ValueError(
                f"the adapter changes {module} by a matrix of shape {found}, and the model has {expected} there: name "
                "the model that the adapter was trained on with --model"
            )


def check_base(path: str | Path, factors: Factors, config: PretrainedConfig) -> None:
    """Raise ValueError unless a GGUF has the architecture, the hyperparameters and the tensors of an adapter's base."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} is no file: name the GGUF of the base with --base")
    fields, shapes = header(path)
    said, wanted = fields.get("general.architecture"), hyperparameters(config)
    optional = {f"{config.model_type}.{name}" for name in ("context_length", "vocab_size")}
    absent = {f"{config.model_type}.rope.freq_base": 10000.0}  # what llama.cpp takes where nothing is said
    wrong = [] if said == config.model_type else [f"its architecture is {_shown(said)}, expected {config.model_type}"]
    for name in (name for name in wanted if name not in optional):
        found = fields.get(name, absent.get(name, wanted[name]))
        if not (isinstance(found, int | float) and abs(found - wanted[name]) <= 1e-6 * wanted[name]):
            wrong.append(f"{name} is {_shown(found)}, expected {wanted[name]:g}")
    for module, (b, a) in factors.items():
        name, expected = f"{tensor_name(module)}.weight", (a.shape[1], b.shape[0])
        if shapes.get(name) != expected:
            wrong.append(f"{name} has shape {shapes.get(name)}, expected {expected}")
    if wrong:
        raise ValueError(f"{path} is not the base of this adapter: {wrong[0]} ({len(wrong)} such differences)")


class _Reader(gguf.GGUFReader):
    """The reader of the package gguf believes what a header claims; this one stops at the end of the file."""

    left = 4_000_000  # values that a header may hold, each of which takes memory: 262,144 tokens come with 1.6 million

    def _get(self, offset, dtype, count=1, override_order=None):
        self.left -= 1
        if self.left < 0 or offset + np.dtype(dtype).itemsize * int(count) > len(self.data):
            raise ValueError("its header claims more than it may hold")
        return super()._get(offset, dtype, count, override_order)


def header(path: str | Path) -> tuple[dict, dict[str, tuple[int, ...]]]:
    """Return the single values that the header of a GGUF holds, and the shape of each tensor, both by name."""
    try:
        reader = _Reader(path)
        values = {name: field.contents() for name, field in reader.fields.items() if len(field.types) == 1}
    except (ValueError, IndexError, KeyError, OverflowError, RecursionError) as error:  # the file can hold anything
        raise ValueError(f"{path} cannot be read as GGUF ({error!s:.200}): download or write it again") from None
    return values, {tensor.name: tuple(tensor.shape.tolist()) for tensor in reader.tensors}


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else reprlib.repr(value).strip("'")


@contextlib.contextmanager
def whole(output: Path) -> Iterator[Path]:
    """Give a folder beside `output` to write in, which takes its place when all went well, and is removed if not.

    OSError says what to do where the disk did not take it.
    """
    part = output.with_name(f"{output.name}.part")  # what a killed run left is overwritten
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        yield part
        if output.exists():
            output.rmdir()
        os.replace(part, output)
    except BaseException as error:
        shutil.rmtree(part, ignore_errors=True)
        if isinstance(error, OSError | SafetensorError):
            how = "make room, or name another folder with --output"
            raise OSError(f"{output} cannot be written ({error}). Next: {how}") from error
        raise


def modelfile(model: str, tokenizer, adapter: str | None = None) -> str:
    """Return a Modelfile for Ollama: the model, the frame around a prompt, the end, and no chance."""
    frame, end = "{{ .Prompt }}", tokenizer.eos_token
    if tokenizer.chat_template:
        turn = [{"role": "user", "content": frame}]
        frame = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    lines = [f"FROM {model}", *([f"ADAPTER {adapter}"] if adapter else []), f'TEMPLATE """{frame}"""']
    lines += [f'PARAMETER stop "{end}"', "PARAMETER temperature 0"]
    return (OLDER if adapter else "") + "\n".join(lines) + "\n"


def card(files: Sequence[Path], adapter: Path, name: str | None, to: str, template: str | None) -> str:
    """Return the README of an export: its base, the LoRA, how to ask it, the chat template, and the files' hashes."""
    record = configuration(adapter)
    rows = "\n".join(f"| {file.name} | {file.stat().st_size:,} | {basemodel.sha256_of(file)} |" for file in files)
    base = name or os.environ.get("LORAUTILS_MODEL") or "HuggingFaceTB/SmolLM2-135M-Instruct, the course's copy"
    return f"""# {adapter.resolve().name}, {"an adapter for llama.cpp" if to == "gguf" else "merged into its base"}

- Base: {base}
- LoRA: r = {record.get("r", 8)}, alpha = {record.get("lora_alpha", 8)}
- Written by lorautils {lorautils.__version__}, `lorautils export --to {to}`

Send a prompt exactly as the training had it, to `/v1/completions`. A chat endpoint, and the TEMPLATE of a
Modelfile, put the base model's chat template around it:

```
{template or "(none: the prompt as it is)"}
```

| file | bytes | SHA-256 |
|---|---|---|
{rows}
"""


def _beside(adapter: Path, name: str | None, kind: str, base: str | Path | None) -> Callable[[Path], None]:
    """Read what is needed; return what writes the adapter, and the base too unless a GGUF of it is there."""
    factors, alpha, config = checked(adapter, name, base)
    tokenizer, source = basemodel.load_tokenizer(name), f"./base-{kind}.gguf"
    model = basemodel.load_base_model(name) if base is None else None

    def write(folder: Path) -> None:
        write_adapter(folder / ADAPTER, factors, alpha, config)
        if model is not None:
            try:
                write_model(folder / source, model, tokenizer, kind)
            except ValueError as error:
                raise ValueError(f"{error}; or name a GGUF of this base with --base") from None
        text = modelfile(str(Path(base).resolve()) if base else source, tokenizer, f"./{ADAPTER}")
        (folder / "Modelfile").write_text(text, encoding="utf-8")

    return write


def merge(model: PeftModel) -> PreTrainedModel:
    """Merge an adapter into its base. Where it changes the embedding or the head, and the two are one, they part."""
    base = model.get_base_model()
    head = base.get_output_embeddings()
    if any(isinstance(end, BaseTunerLayer) for end in (base.get_input_embeddings(), head)):
        layer = getattr(head, "base_layer", head)
        layer.weight = nn.Parameter(layer.weight.clone())
    merged = model.merge_and_unload()
    ends = merged.get_input_embeddings(), merged.get_output_embeddings()
    merged.config.tie_word_embeddings = torch.equal(*(end.weight for end in ends))
    return merged


def _merged(adapter: Path, name: str | None, kind: str, to: str) -> Callable[[Path], None]:
    """Merge, in float32; return what writes the model."""
    model, tokenizer = evaluation.load_adapter(adapter, name)
    merged = merge(model)

    def write(folder: Path) -> None:
        if to == "merged":
            merged.to(torch.float32 if kind == "F32" else torch.float16).save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            return
        write_model(folder / f"model-{kind}.gguf", merged, tokenizer, kind)
        (folder / "Modelfile").write_text(modelfile(f"./model-{kind}.gguf", tokenizer), encoding="utf-8")

    return write
