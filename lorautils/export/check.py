"""Who answered? Ask a server for its base and for an adapter, alone and side by side, and compare with PEFT.

Notebook 15 and `lorautils check-server` use it. A server can mix requests of several adapters in one batch, and get
them mixed up. An answer is the base's or the adapter's, whichever gives its tokens the higher log-probability.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from torch import nn

from lorautils import evaluation
from lorautils.export import server

AT_ONCE = 8


class Way(NamedTuple):
    """What a request must hold, beside its prompt, to be answered by the base, and by the adapter."""

    base: dict
    adapter: dict


class Report(NamedTuple):
    """For the base and the adapter, alone and mixed: how many answers were its own; same: of PEFT's text, alone."""

    prompts: int
    base_alone: int
    adapter_alone: int
    base_mixed: int
    adapter_mixed: int
    same: int

    def faults(self) -> list[str]:
        """Return a sentence for each thing that is wrong; none, and the server does what PEFT does."""
        n, found = self.prompts, []
        if self.base_alone < n:
            found.append(
                f"the base answers {self.base_alone} of {n} requests for it: an adapter is on for all, or merged"
            )
        if self.adapter_alone < n:
            found.append(f"the adapter answers {self.adapter_alone} of {n} requests for it: the server does not use it")
        elif self.same < 0.8 * n:
            found.append(f"{self.same} of {n} answers are PEFT's: compare alpha, the rows of q and k, the base's type")
        for name, alone, mixed in (
            ("base", self.base_alone, self.base_mixed),
            ("adapter", self.adapter_alone, self.adapter_mixed),
        ):
            if mixed < alone:
                found.append(f"side by side with others, {mixed} of {n} requests for the {name} are answered by it, "
                             f"alone {alone}: ask one at a time, or run a server for each")  # fmt: skip
        return found


def way_of(url: str, key: str = "", adapter: str | None = None) -> Way:
    """Ask a server what it serves: llama.cpp numbers its adapters, others give each the name of a model.

    `adapter` is that number or name, by default the first. ValueError says what there is, PermissionError that the key
    is wrong: llama.cpp tells its models to everybody, its adapters not.
    """
    try:
        with server.understood(url):
            numbered = [str(int(entry["id"])) for entry in server.send(f"{url}/lora-adapters", None, key)]
    except PermissionError:
        raise
    except OSError:
        with server.understood(url):
            models = server.send(f"{url}/v1/models", None, key)["data"]
            parents = {entry["id"]: entry["parent"] for entry in models if entry.get("parent")}
        wanted = _one_of(adapter, [*parents])
        base = parents[wanted]
        return Way({"model": base}, {"model": wanted})
    number = int(_one_of(adapter, numbered))
    return Way({"lora": [{"id": number, "scale": 0}]}, {"lora": [{"id": number, "scale": 1}]})


def check(url: str, model: nn.Module, tokenizer, prompts: Sequence[str], way: Way, key: str = "") -> Report:
    """Ask a server each prompt for the base and for the adapter, and compare with a PEFT model of the two."""

    def ask(request: tuple[str, dict]) -> str:
        body = {"prompt": request[0], "max_tokens": 24, "temperature": 0} | request[1]
        with server.understood(url):
            choice = server.send(f"{url}/v1/completions", body, key)["choices"][0]
            return choice["text"] + (tokenizer.eos_token if choice.get("finish_reason") == "stop" else "")

    def own(answers: Sequence[str], name: str) -> int:
        return sum(who(model, tokenizer, *pair) == name for pair in zip(prompts, answers, strict=True))

    alone = {name: [ask((prompt, more)) for prompt in prompts] for name, more in way._asdict().items()}
    requests = [(prompt, more) for prompt in prompts for more in way]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        mixed = list(pool.map(ask, requests))
    expected = evaluation.evaluate(model, tokenizer, prompts, max_new_tokens=24)
    return Report(
        len(prompts),
        own(alone["base"], "base"),
        own(alone["adapter"], "adapter"),
        own(mixed[0::2], "base"),
        own(mixed[1::2], "adapter"),
        sum(
            answer.removesuffix(tokenizer.eos_token).strip() == text
            for answer, text in zip(alone["adapter"], expected, strict=True)
        ),
    )


def who(model: nn.Module, tokenizer, prompt: str, answer: str) -> str:
    """Return "base" or "adapter": the one for which the tokens of the answer are likelier."""
    start = len(tokenizer(prompt)["input_ids"])
    ids = tokenizer(prompt + answer)["input_ids"]
    said = server.Completion(ids[:start], ids[start:], [], answer)
    with model.disable_adapter():
        _, base = server.read(model, said)
    _, adapter = server.read(model, said)
    return "adapter" if adapter.sum() > base.sum() else "base"


def _one_of(given: str | None, served: list[str]) -> str:
    if not served or (given is not None and given not in served):
        raise ValueError(
            f"the server has the adapters {served}, {given or 'one'} was expected: start it with the adapter"
        )
    return given or served[0]
