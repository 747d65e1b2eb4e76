"""`lorautils serve`: adapters and their base, answered by llama.cpp's server on this machine."""

import contextlib
import json
import secrets
import signal
import tempfile
import time
from pathlib import Path
from typing import Literal

from jsonargparse.typing import restricted_number_type

from lorautils.cli import at_work, notice, say
from lorautils.cli.export import TYPE
from lorautils.cli.options import Parser

Port = restricted_number_type("Port", int, [(">=", 0), ("<", 65536)])
SUMMARY = "Serve adapters and their base with llama.cpp, for curl and OpenAI's clients."


def parser() -> Parser:
    """Return the parser of the adapters, their base, and the door."""
    options = Parser(epilog="Only this machine can reach the server. Ctrl-C ends it.")
    options.add_argument("adapter", nargs="*", help="the folder of a saved adapter, or its GGUF; none: the base alone")
    options.add_argument("--base", type=str, metavar="FILE", help="a GGUF; default: the base is written for the while")
    options.add_argument("--type", type=Literal["F32", "F16", "Q8_0", "Q4_1"], default="F16", help=TYPE)
    options.add_argument("--model", type=str, help="the base, a folder or a hub name; default: as the adapter says")
    options.add_argument("--port", type=Port, default=8080, help="0 is any free one")
    options.add_argument("--key", type=str, help="what requests must show; default: a new one, which is printed")
    return options


def run(options) -> int:
    """Serve until Ctrl-C, and print the lines that ask each adapter."""
    try:
        import xllamacpp  # noqa: F401
    except ImportError:
        raise ImportError('xllamacpp is missing: python -m pip install -c constraints.txt -e ".[serve]"') from None
    from lorautils.export import server

    key = options.key or secrets.token_hex(16)  # letters and digits: no command takes it for an option
    with tempfile.TemporaryDirectory(prefix="lorautils-serve-") as folder:
        with at_work():
            base, adapters = _files(options, Path(folder))
        active = 0 if len(adapters) == 1 else None
        with server.running(base, adapters.values(), active=active, key=key, port=int(options.port)) as url:
            say(_guide(url, key, list(adapters)))
            _wait()
    notice("The server has ended.")
    return 0


def _wait() -> None:
    """Wait for Ctrl-C, or for the signal that ends a process, so that what was written for the while is removed."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background jobs ignore the first
        signal.signal(number, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(1)


def _files(options, folder: Path) -> tuple[Path, dict[str, Path]]:
    """Return the GGUF of the base and of each adapter, by name; what is no GGUF yet is written into the folder."""
    from lorautils import basemodel, release_memory
    from lorautils.export import gguf, package

    given = [Path(adapter) for adapter in options.adapter]
    saved = [path for path in given if path.suffix != ".gguf"]
    names = {package.base_of(path, options.model) for path in saved} or {options.model}
    if len(names) > 1:
        raise ValueError(f"these adapters have several bases, {names}: serve those of one base together")
    name = names.pop()
    adapters = {}
    for number, path in enumerate(given):
        file = path
        if path in saved:
            file = folder / f"{number}.gguf"
            gguf.write_adapter(file, *package.checked(path, name, options.base))
        adapters[path.resolve().name.removesuffix(".gguf")] = file
    if len(adapters) < len(given):
        raise ValueError("two adapters have the same name: rename a folder or a file")
    if options.base:
        return Path(options.base), adapters
    base = folder / f"base-{options.type}.gguf"
    gguf.write_model(base, basemodel.load_base_model(name), basemodel.load_tokenizer(name), options.type)
    release_memory()
    return base, adapters


def _guide(url: str, key: str, names: list[str]) -> str:
    """Return the address, the key, and the lines for the shell that ask the base and each adapter."""
    lines = [f"Address: {url}/v1", f"Key: {key}", ""]
    usual = names[0] if len(names) == 1 else "the base"
    lines += [f"Without `lora` in a request, {usual} answers. llama.cpp knows adapters by number, not by `model`."]
    if names:
        lines += [f"To check who answers: lorautils check-server {url} --key {key} --adapter FOLDER"]
    lines += ["The prompt is of the cron task. For another task, put in yours, exactly as the training had it.", ""]
    for number, name in enumerate(names):
        lines += [f"{name}, number {number}:", _curl(url, key, {"lora": [{"id": number, "scale": 1}]}), ""]
    none = {"lora": [{"id": 0, "scale": 0}]} if names else {}
    return "\n".join([*lines, "the base:", _curl(url, key, none)])


def _curl(url: str, key: str, more: dict) -> str:
    from lorautils.cli.ask import EXAMPLE
    from lorautils.tasks import cron

    body = json.dumps({"prompt": cron.cron_prompt(EXAMPLE), "max_tokens": 32, "temperature": 0} | more)
    return f"curl {url}/v1/completions -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' -d '{body}'"
