"""`lorautils export`: an adapter for llama.cpp, Ollama and others, beside its base or merged into it."""

from pathlib import Path
from typing import Literal

from lorautils.cli import at_work
from lorautils.cli.options import Parser

SUMMARY = "Write an adapter for llama.cpp and Ollama, or merged into its base."
TYPE = "of the weights of a model: F16, or F32, Q8_0, Q4_1"


def parser() -> Parser:
    """Return the parser of the adapter, and of what to make of it."""
    options = Parser(epilog="gguf: the adapter, and its base unless --base names one. An adapter itself stays in F32.")
    options.add_argument("adapter", type=str, help="the folder of a saved adapter")
    options.add_argument("--to", type=Literal["gguf", "merged-gguf", "merged"], default="gguf", help="what to write")
    options.add_argument("--type", type=Literal["F32", "F16", "Q8_0", "Q4_1"], default="F16", help=TYPE)
    options.add_argument("--output", type=str, metavar="DIR", help="a new folder; default: ADAPTER-TO in this folder")
    options.add_argument("--base", type=str, metavar="FILE", help="the base as a GGUF that you have: it is checked")
    options.add_argument("--model", type=str, help="the base, a folder or a hub name; default: as the adapter says")
    return options


def run(options) -> int:
    """Write the folder and say what is in it."""
    if options.base and options.to != "gguf":
        raise ValueError("--base is for `--to gguf`, an adapter beside its base: leave it out")
    if options.base and options.type != "F16":
        raise ValueError("--type is for a base that is written, and --base names one that you have: leave one out")
    output = Path(options.output or f"{Path(options.adapter).resolve().name}-{options.to}")
    from lorautils.export import package

    with at_work():
        files = package.export(options.adapter, output, options.to, options.type, options.model, options.base)
    for file in files:
        print(f"{file.stat().st_size:>13,} bytes  {file}")
    return 0
