"""llama.cpp's server, on this machine's loopback, through xllamacpp: start it, ask it, compare it with PEFT.

Notebook 15 and `lorautils serve` use it. Two programs agree where the log-probabilities of the same tokens agree: right
answers alone hide a fault, as the likeliest token of a trained model is far ahead of the second.
"""

import contextlib
import http.client
import json
import os
import re
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

REASONS = {  # a sign in llama.cpp's log, and what to do: the first that fits is told
    r"couldn't bind": "another program uses this port: name another one with --port",
    r"No such file": "correct the name of the file",
    r"wrong base model|arch mismatch": "name the base that the adapter was trained on with --base",
    r"to be 'adapter'": "this file holds a model: name it with --base",
    r"key not found": "this file holds no model: name the adapter as adapter, and its base with --base",
    r"corrupted|magic|key.value|exceeds": "the file is damaged, or no GGUF: name one, or write or download it again",
    r"": "`lorautils doctor` checks the rest",
}
LARGEST = 16_000_000  # bytes of an answer
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Completion(NamedTuple):
    """What a server answered: token ids of prompt and answer, the log-probability of each answer token, the text."""

    prompt: list[int]
    tokens: list[int]
    log_p: list[float]
    text: str


@contextlib.contextmanager
def running(
    base: str | Path,
    adapters: Sequence[str | Path] = (),
    *,
    active: int | None = None,
    key: str = "",
    port: int = 0,
    slots: int = 4,
    context: int = 1024,
    exact: bool = False,
) -> Iterator[str]:
    """Serve a model and its adapters while the context lasts, and give the address; port 0 is any free one.

    Adapter `active` answers where a request names none; by default the base does. Each of `slots` requests at a time
    has `context` tokens. `exact` keeps keys and values in float32. OSError gives the reason from llama.cpp's log.
    """
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path, parameters.port, parameters.verbosity = str(base), port, 1
    parameters.hostnames, parameters.api_keys = ["127.0.0.1"], [key] if key else []
    parameters.cors_origins = ""  # "*" would let any page in a browser ask
    parameters.n_parallel, parameters.n_ctx = slots, slots * context
    parameters.cache_ram_mib = 0  # it would keep up to 8 GB of old prompts,
    parameters.cache_prompt = False  # and take what another adapter read of a prompt
    parameters.warmup = parameters.ui = False
    parameters.model_alias = {Path(base).stem}
    loras = [xllamacpp.CommonAdapterLoraInfo() for _ in adapters]
    for number, (lora, path) in enumerate(zip(loras, adapters, strict=True)):
        lora.path, lora.scale = str(path), float(number == active)
    parameters.lora_adapters = loras
    if exact:
        parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    server = reason = None
    with tempfile.TemporaryFile() as log, _stderr_to(log):
        try:
            server = xllamacpp.Server(parameters)
        except RuntimeError:
            reason = _first_error(log)
    if reason:
        remedy = next(remedy for sign, remedy in REASONS.items() if re.search(sign, reason))
        raise OSError(f"llama.cpp cannot serve {base}: {reason}. Next: {remedy}")
    try:
        yield server.listening_address
    finally:
        del server


def complete(url: str, prompt: str, scales: Mapping[int, float] | None = None, *, key: str = "") -> Completion:
    """Return a server's greedy answer to a prompt, with the given scale of each adapter, by its id, and 0 of others.

    It has 32 tokens at most. Without `scales`, or with none in it, the server's own choice of adapters answers, so that
    {0: 0} asks the base. OSError says why there is no answer.
    """
    body = {"prompt": prompt, "n_predict": 32, "temperature": 0, "n_probs": 1, "return_tokens": True}
    if scales:
        body["lora"] = [{"id": number, "scale": scale} for number, scale in scales.items()]
    with understood(url):
        said = send(f"{url}/completion", body, key)
        words = send(f"{url}/tokenize", {"content": prompt, "add_special": True, "parse_special": True}, key)["tokens"]
        log_p = [token["logprob"] for token in said["completion_probabilities"]]
        return Completion(words, said["tokens"], log_p, said["content"])


def complete_all(url: str, requests: Sequence[tuple], *, at_once: int = 4) -> list[Completion]:
    """Return a server's answers, in order, several at a time; a request is (prompt,) or (prompt, scales)."""
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(lambda request: complete(url, *request), requests))


def send(url: str, body: dict | None, key: str = ""):
    """Send JSON to a server, or only ask where there is none, and return its answer; OSError gives its own words."""
    if not url.startswith(("http://", "https://")):
        raise OSError(f"{url} is no address of a server: give one such as http://127.0.0.1:8080")
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}".encode()}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers)
    here = urllib.parse.urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")  # a proxy would see key and prompt
    try:
        with (DIRECT.open if here else urllib.request.urlopen)(request, timeout=600) as answer:
            return json.loads(answer.read(LARGEST))
    except urllib.error.HTTPError as error:
        no_key = (PermissionError, "give its key with --key")
        kind, remedy = no_key if error.code == 401 else (OSError, "look at the request")
        said = " ".join(error.read().decode(errors="replace")[:300].split())
        raise kind(f"{url} answered {error.code}: {said}. Next: {remedy}") from None
    except urllib.error.URLError as error:
        raise OSError(f"{url} does not answer ({error.reason}): start the server, or correct the address") from None
    except (ValueError, RecursionError, http.client.HTTPException) as error:
        raise OSError(f"{url} answers otherwise than in JSON ({error!r:.200}): correct the address") from None


@contextlib.contextmanager
def understood(url: str) -> Iterator[None]:
    """Raise OSError where an answer holds other things than those of llama.cpp's server and vLLM."""
    try:
        yield
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise OSError(f"{url} answers, but not as llama.cpp or vLLM do ({error!r:.200}): correct the address") from None


def compare(model: nn.Module, completions: Sequence[Completion]) -> tuple[int, float]:
    """Return how many answers are the model's own, token by token, and the largest difference of a log-probability."""
    same, largest = 0, 0.0
    for said in completions:
        greedy, log_p = read(model, said)
        same += greedy.tolist() == said.tokens
        largest = max(largest, (log_p - torch.tensor(said.log_p)).abs().max().item())
    return same, largest


@torch.inference_mode()
def read(model: nn.Module, said: Completion) -> tuple[Tensor, Tensor]:
    """Return the model's likeliest token at each place of an answer, and the log-probability of the token there.

    Both are (tokens,). The model reads prompt and answer at once: logits (tokens, vocabulary), a row for the next one.
    """
    log_p = model(torch.tensor([said.prompt + said.tokens])).logits[0, len(said.prompt) - 1 : -1].log_softmax(-1)
    return log_p.argmax(-1), log_p.gather(1, torch.tensor(said.tokens, dtype=torch.long)[:, None])[:, 0]


@contextlib.contextmanager
def _stderr_to(log) -> Iterator[None]:
    """Send what a library writes to stderr to a file."""
    sys.stderr.flush()
    kept = os.dup(2)
    os.dup2(log.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _first_error(log) -> str:
    """Return the first error in llama.cpp's log, which another thread writes: the last line says "exiting"."""
    text, patience = "", 100
    while "exiting due to" not in text and patience:
        time.sleep(0.02)
        log.seek(0)
        text, patience = log.read().decode(errors="replace"), patience - 1
    errors = re.findall(r" E (?:srv|cmn)? *\w+: (.+)", text)
    return errors[0] if errors else "it gives no reason"
