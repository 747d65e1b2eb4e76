"""The map of `LoraConfig`: every field of the installed version, grouped, in a line of our own, and where it is taught.

Writes docs/lora_config_fields.md and the map in the appendix of notebook 07: python -m tools.config_map
A field that a new PEFT version brings belongs to no group, and `grouped` says so.
"""

import dataclasses

import nbformat
import peft
from peft import LoraConfig

from lorautils import ROOT

PAGE = ROOT / "docs" / "lora_config_fields.md"
NOTEBOOK = ROOT / "notebooks" / "07_peft_lora_config.ipynb"
CELL = "field-map"  # the id of the notebook's cell that shows the map

# group -> field -> what it does. The order is that of the page.
GROUPS = {
    "The six of the course's configuration": {
        "task_type": "Which wrapper class is put around the model, and which heads are saved with the adapter.",
        "target_modules": "Which modules get A and B: a list of name endings, a regular expression, or `all-linear`.",
        "inference_mode": "Whether A and B start frozen. Overwritten at every load, always saved as true.",
        "r": "The rank of A and B: the largest rank that the update of one matrix can have.",
        "lora_alpha": "The update is multiplied by alpha / r.",
        "lora_dropout": "Share of the LoRA branch's inputs set to zero, in training only.",
    },
    "Which modules, which layers": {
        "exclude_modules": "What `target_modules` would match and is left alone: names, or a regular expression.",
        "layers_to_transform": "Only the layers with these numbers. Works with a list of names only.",
        "layers_pattern": "What the list of layers is called (`layers`, `h`), where several numbers stand in a path.",
        "target_parameters": "Names of bare parameters, such as the stacked experts of a mixture; no module is needed.",
        "layer_replication": "Builds a deeper model that repeats ranges of layers, each copy with LoRA of its own.",
    },
    "Size and strength of the update": {
        "rank_pattern": "Another r for the modules whose names match.",
        "alpha_pattern": "Another alpha for the modules whose names match.",
        "use_rslora": "Scale by alpha / sqrt(r) instead of alpha / r.",
    },
    "What else trains and is saved": {
        "bias": "Which biases of the base train too: `none`, `lora_only`, `all`.",
        "lora_bias": "Gives B a bias of its own; meant for updates that were extracted from a fully tuned model.",
        "modules_to_save": "Modules that are copied, trained whole and saved with the adapter, such as a new head.",
        "trainable_token_indices": "Single rows of the embedding that train, such as those of new tokens.",
        "ensure_weight_tying": "Keeps the two ends of tied embeddings equal when one of them is adapted or copied.",
    },
    "How A and B start": {
        "init_lora_weights": "The initialisation. Some values change the base's weights too.",
        "loftq_config": "Bits and iterations of `loftq`, which quantises the base and starts A and B from the error.",
        "eva_config": "Settings of `eva`, which starts A from the inputs that your data give each module.",
        "corda_config": "Settings of `corda`, a decomposition weighted by the statistics of your data.",
        "lora_ga_config": "Settings of `lora_ga`, which starts A and B from the gradient of some batches.",
    },
    "Layers stored the other way round, and Megatron": {
        "fan_in_fan_out": "The weight is stored as (in, out), as in GPT-2's `Conv1D`. PEFT corrects a wrong value.",
        "megatron_config": "For models built with Megatron's parallel layers.",
        "megatron_core": "The module from which Megatron's parallel layers are imported.",
    },
    "Variants: another update than alpha / r B A, or the same in another way": {
        "use_dora": "DoRA: direction and length of each weight row are trained apart.",
        "velora_config": "VeLoRA: keeps compressed inputs of A for the backward pass, to save memory.",
        "alora_invocation_tokens": "aLoRA: active from these tokens on only; the KV cache before them is the base's.",
        "use_qalora": "QA-LoRA: pools the inputs of A, so that a merge into GPTQ weights is possible.",
        "qalora_group_size": "How many inputs QA-LoRA pools into one.",
        "monteclora_config": "MonteCLoRA: samples the adapter's weights around their mean while training.",
        "use_bdlora": "BD-LoRA: block-diagonal A or B, for serving many adapters on several devices.",
        "arrow_config": "Arrow: routes each token among several finished adapters.",
        "kasa_config": "KaSA: cuts the smallest singular values of W and trains a diagonal between B and A.",
    },
    "Bookkeeping": {
        "peft_type": "Always LORA; how the file says which configuration class it needs.",
        "peft_version": "The version that made the configuration.",
        "base_model_name_or_path": "Which base the adapter belongs to; filled in by `get_peft_model`.",
        "revision": "Which revision of that base.",
        "auto_mapping": "The base's class, written where no task type is given.",
        "runtime_config": "Settings of this process, which are not saved; so far one about GPU offloading.",
    },
}

# section of notebook 07 -> the fields that it settles by experiments
SECTIONS = {
    "3. task_type": ["task_type"],
    "4. target_modules": ["target_modules"],
    "5. inference_mode": ["inference_mode"],
    "6. r": ["r"],
    "7. lora_alpha": ["lora_alpha", "use_rslora"],
    "8. lora_dropout": ["lora_dropout"],
    "9. What else trains": ["modules_to_save", "trainable_token_indices"],
    "10. init_lora_weights": ["init_lora_weights"],
    "11. Other architectures": ["fan_in_fan_out"],
    "Experts, and the router": ["target_parameters"],
    "Some of the layers": ["layers_to_transform", "layers_pattern", "exclude_modules"],
    "Another r for some modules": ["rank_pattern", "alpha_pattern"],
    "Biases": ["bias"],
    "Tied copies": ["ensure_weight_tying"],
}
LESSONS = {field: section for section, names in SECTIONS.items() for field in names}


def grouped(names: list[str]) -> dict[str, list[str]]:
    """Sort the names of a configuration's fields into the groups; raise ValueError where map and fields disagree."""
    known = {name for fields in GROUPS.values() for name in fields}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"{', '.join(unknown)}: in LoraConfig and in no group; add to GROUPS in tools/config_map.py")
    if gone := sorted(known - set(names)):
        raise ValueError(f"{', '.join(gone)}: in GROUPS and no longer in LoraConfig; remove from tools/config_map.py")
    return {group: [name for name in fields if name in names] for group, fields in GROUPS.items()}


def anchor(heading: str) -> str:
    """The fragment by which Jupyter links to a heading."""
    return "#" + heading.replace(" ", "-")


def short_map() -> str:
    """The map for notebook 07: one line a group, the fields that the notebook settles as links."""
    lines = ["| group | fields |", "|---|---|"]
    for group, names in grouped(field_names()).items():
        links = [f"[`{name}`]({anchor(LESSONS[name])})" if name in LESSONS else f"`{name}`" for name in names]
        lines.append(f"| {group} | {', '.join(links)} |")
    return "\n".join(lines)


def page() -> str:
    """The appendix page: every field with its default, what it does and where it is settled."""
    defaults = LoraConfig()
    lines = [
        "# Every field of `LoraConfig`",
        "",
        f"All {len(field_names())} fields of PEFT {peft.__version__}, with their defaults, grouped by us. A link",
        "leads to the section of notebook 07 that settles the field by an experiment. `python -m tools.config_map`",
        "writes this page from the dataclass; a test fails when PEFT brings a field that is not on it.",
    ]
    for group, names in grouped(field_names()).items():
        lines += ["", f"## {group}", "", "| field | default | what it does |", "|---|---|---|"]
        for name in names:
            value = getattr(defaults, name)
            link = f"(../notebooks/{NOTEBOOK.name}{anchor(LESSONS[name])})" if name in LESSONS else ""
            label = f"[`{name}`]{link}" if link else f"`{name}`"
            shown = value.value if hasattr(value, "value") else repr(value)
            lines.append(f"| {label} | `{shown}` | {GROUPS[group][name]} |")
    return "\n".join(lines) + "\n"


def field_names() -> list[str]:
    """The fields of the installed `LoraConfig`, inherited ones included, in their order."""
    return [field.name for field in dataclasses.fields(LoraConfig)]


def map_cell(nb: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook's cell that shows the map; raise ValueError where there is none."""
    cell = next((cell for cell in nb.cells if cell.id == CELL), None)
    if cell is None:
        raise ValueError(f"the notebook has no cell with the id '{CELL}'")
    return cell


def main() -> None:
    """Write the page and the notebook's map."""
    PAGE.write_text(page(), encoding="utf-8")
    nb = nbformat.read(NOTEBOOK, as_version=4)
    cell = map_cell(nb)
    before, begin, _ = cell.source.partition("| group | fields |")
    if not begin:
        raise ValueError(f"cell '{CELL}' has no table to replace: it starts with the line '| group | fields |'")
    cell.source = before + short_map()
    nbformat.write(nb, NOTEBOOK)


if __name__ == "__main__":
    main()
