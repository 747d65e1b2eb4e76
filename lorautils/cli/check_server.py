"""`lorautils check-server`: does a server use an adapter, and only where it is asked for?"""

from pathlib import Path

from lorautils import ROOT
from lorautils.cli import at_work, lines
from lorautils.cli.options import Parser

SUMMARY = "Ask a server for base and adapter, alone and side by side, and compare with PEFT."


def parser() -> Parser:
    """Return the parser of the address, the key, and the adapter that is served there."""
    options = Parser(
        epilog="It asks twelve phrases of Test-C four times: half a minute where the server is idle. It finds out who "
        "answers. An export with a small mistake can pass: docs/serving.md has a check for each mistake."
    )
    options.add_argument("url", type=str, help="such as http://127.0.0.1:8080, of llama.cpp's server or of vLLM")
    options.add_argument("--key", type=str, default="", help="what requests must show")
    options.add_argument("--adapter", type=str, metavar="DIR", help="the adapter served there; default: adapters/cron")
    options.add_argument("--name", type=str, help="its number (llama.cpp) or name there; default: the first")
    options.add_argument("--model", type=str, help="its base, a folder or a hub name; default: as the adapter says")
    options.add_argument("--file", type=str, metavar="FILE", help="prompts, one a line with \\n for a new line")
    return options


def run(options) -> int:
    """Print who answered what, and return 1 where that is not as it should be."""
    adapter = Path(options.adapter or ROOT / "adapters" / "cron")
    url = options.url.rstrip("/").removesuffix("/v1")
    from lorautils import evaluation
    from lorautils.export import check, package

    with at_work():
        way = check.way_of(url, options.key, options.name)
        model, tokenizer = evaluation.load_adapter(adapter, package.base_of(adapter, options.model))
        report = check.check(url, model, tokenizer, _prompts(options.file), way, options.key)
    n = report.prompts
    print(f"alone:        base {report.base_alone} of {n}, adapter {report.adapter_alone} of {n}")
    print(f"side by side: base {report.base_mixed} of {n}, adapter {report.adapter_mixed} of {n}")
    print(f"the adapter's text is PEFT's: {report.same} of {n}")
    for fault in report.faults():
        print(f"FAULT: {fault}")
    return 1 if report.faults() else 0


def _prompts(file: str | None) -> list[str]:
    from lorautils.tasks import cron

    if file is None:
        return [cron.cron_prompt(case.text) for case in cron.test_c()[:12]]
    prompts = [line.replace("\\n", "\n") for line in lines(file) if line.strip()]
    if not prompts:
        raise ValueError(f"{file} holds no prompts: write one a line")
    return prompts
