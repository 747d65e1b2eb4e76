"""`lorautils check-server`: llama.cpp passes, and servers with a fault are found out."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from peft import PeftModel
from test_cli import code, error
from test_export import save_adapter, save_tiny
from transformers import AutoModelForCausalLM, AutoTokenizer

from lorautils import evaluation
from lorautils.export import check as check_server
from lorautils.export import gguf, package, server

PROMPTS = ["Every day at 10.", "noon\n", "It is 7 o'clock.", "in an hour"]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A tiny model, its adapter, what PEFT answers with it and without, and the file of the prompts."""
    folder = tmp_path_factory.mktemp("served")
    model = save_tiny(folder / "model")
    adapter = save_adapter(folder / "adapter", model)
    tokenizer = AutoTokenizer.from_pretrained(model)
    both = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), adapter).eval()
    answers = {"adapter": evaluation.evaluate(both, tokenizer, PROMPTS, max_new_tokens=24)}
    with both.disable_adapter():
        answers["base"] = evaluation.evaluate(both, tokenizer, PROMPTS, max_new_tokens=24)
    prompts = folder / "prompts.txt"
    prompts.write_text("".join(prompt.replace("\n", "\\n") + "\n" for prompt in PROMPTS), encoding="utf-8-sig")
    return SimpleNamespace(folder=folder, model=model, adapter=adapter, answers=answers, prompts=prompts)


class Fake(ThreadingHTTPServer):
    """A server of named models, as vLLM is one, that answers from a list; `fault` picks whose answer goes out."""

    daemon_threads = True

    def __init__(self, served, fault):
        super().__init__(("127.0.0.1", 0), Answer)
        self.served, self.fault, self.waiting, self.lock = served, fault, [], threading.Lock()

    def answer(self, prompt: str, name: str) -> str:
        with self.lock:
            self.waiting.append(name)
        time.sleep(0.1)  # the batch fills
        with self.lock:
            batch = list(self.waiting)
        text = self.served.answers[self.fault(name, batch)][PROMPTS.index(prompt)]
        time.sleep(0.1)  # the others look at the same batch
        with self.lock:
            self.waiting.remove(name)
        return text

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server_port}"

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class Answer(BaseHTTPRequestHandler):
    """The three addresses of the fake."""

    def do_GET(self):
        models = [{"id": "base", "parent": None}, {"id": "adapter", "parent": "base"}]
        self.say(*((200, {"data": models}) if self.path == "/v1/models" else (404, {"error": "Not Found"})))

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.say(200, {"choices": [{"text": self.server.answer(body["prompt"], body["model"])}]})

    def say(self, status, answer):
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        """Say nothing on stderr."""


def check(served, url, *more):
    return code("check-server", url, "--adapter", str(served.adapter), "--file", str(served.prompts), *more)


def last_slot(name, batch):
    """The fault that was seen: base and adapter in one batch, and the base's requests get the adapter."""
    return "adapter" if "adapter" in batch else name


@pytest.mark.parametrize(
    ("fault", "exit_code", "says"),
    [
        (lambda name, batch: name, 0, "side by side: base 4 of 4, adapter 4 of 4"),
        (last_slot, 1, "FAULT: side by side with others, "),
        (lambda name, batch: "base" if "base" in batch else name, 1, "requests for the adapter are answered by it"),
        (
            lambda name, batch: "base",
            1,
            "FAULT: the adapter answers 0 of 4 requests for it: the server does not use it",
        ),
        (lambda name, batch: "adapter", 1, "FAULT: the base answers 0 of 4 requests for it: an adapter is on for all"),
    ],
    ids=["right", "last slot", "adapter lost", "never used", "always on"],
)
def test_a_fake_server(served, capsys, fault, exit_code, says):
    with Fake(served, fault) as url:
        assert check(served, f"{url}/v1/") == exit_code
    said = capsys.readouterr().out
    assert says in said
    assert ("FAULT" in said) == bool(exit_code)
    if fault is last_slot:
        assert "alone:        base 4 of 4, adapter 4 of 4" in said, "one by one, nothing shows"


def test_a_wrong_key_is_told_where_a_server_hides_its_adapters_alone(served, capsys, monkeypatch):
    def get(request):
        key = request.headers["Authorization"] == "Bearer ключ".encode().decode("latin-1")  # as curl sends it
        hidden = (200, [{"id": 0}]) if key else (401, {"error": "Invalid API Key"})
        request.say(*(hidden if request.path == "/lora-adapters" else (200, {"data": [{"id": "base"}]})))

    monkeypatch.setattr(Answer, "do_GET", get)
    with Fake(served, None) as url:
        assert check_server.way_of(url, "ключ").adapter == {"lora": [{"id": 0, "scale": 1}]}
        assert "Invalid API Key" in (said := error(capsys, "check-server", url, "--key", "wrong"))
        assert "--key" in said


def test_llama_cpp_passes_and_a_wrong_alpha_does_not(served, capsys):
    pytest.importorskip("xllamacpp", reason="there is no wheel of xllamacpp for this machine")
    folder = served.folder
    factors, alpha, config = package.checked(served.adapter, str(served.model), None)
    gguf.write_adapter(folder / "right.gguf", factors, alpha, config)
    gguf.write_adapter(folder / "wrong.gguf", factors, alpha / 2, config)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(served.model), AutoTokenizer.from_pretrained(served.model)
    gguf.write_model(folder / "base.gguf", model, tokenizer, "F32")
    adapters = [folder / "right.gguf", folder / "wrong.gguf"]
    with server.running(folder / "base.gguf", adapters, key="mine", slots=8, context=256) as url:
        assert check(served, url, "--key", "mine") == 0
        assert "PEFT's: 4 of 4" in capsys.readouterr().out
        assert check(served, url, "--key", "mine", "--name", "1") == 1
        assert "FAULT" in capsys.readouterr().out
        place = ["--adapter", str(served.adapter), "--file", str(served.prompts)]
        assert "['0', '1'], 5 was expected" in error(
            capsys, "check-server", url, *place, "--key", "mine", "--name", "5"
        )
        assert "401" in error(capsys, "check-server", url, *place, "--key", "wrong")
    assert "start the server" in error(capsys, "check-server", url, *place)
