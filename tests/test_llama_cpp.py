"""llama.cpp computes what PEFT computes: the shipped adapters on the real base, tiny models, and faults that show.

Greedy answers agree under many faults. So the log-probability of every token of an answer is compared, in nats.
"""

import contextlib
import json
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from types import SimpleNamespace

import pytest
import torch
from peft import PeftModel
from test_cli import error
from test_export import save_adapter, save_tiny
from transformers import AutoModelForCausalLM, AutoTokenizer

from experiments import serving
from lorautils import ROOT, basemodel, evaluation
from lorautils.cli import check_server, main, serve
from lorautils.export import gguf, package
from lorautils.tasks import cron, orders

pytest.importorskip("xllamacpp", reason="there is no wheel of xllamacpp for this machine")

from lorautils.export import server

PHRASES = [cron.cron_prompt(case.text) for case in cron.test_c()[:20]]
BASE = {0: 0.0}  # no adapter: llama.cpp takes an empty list for none given


@pytest.fixture(scope="module")
def peft():
    """The base model with both adapters of the course, and the tokenizer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("LORAUTILS_MODEL", raising=False)
        model, tokenizer = evaluation.load_adapter(ROOT / "adapters" / "cron")
    model.load_adapter(ROOT / "adapters" / "orders", "orders")
    return model, tokenizer


@pytest.fixture(scope="module")
def files(peft, tmp_path_factory):
    """The base in float32 and float16, both adapters, and cron with one mistake each."""
    folder = tmp_path_factory.mktemp("gguf")
    model, tokenizer = peft
    factors, alpha = package.read(ROOT / "adapters" / "cron")
    config, adapters = model.config, {}

    def write(name, factors=factors, alpha=alpha):
        adapters[name] = folder / f"{name}.gguf"
        gguf.write_adapter(adapters[name], factors, alpha, config)

    base = basemodel.load_base_model()
    for kind in ("F32", "F16"):
        gguf.write_model(folder / f"{kind}.gguf", base, tokenizer, kind)
    write("cron")
    write("orders", *package.read(ROOT / "adapters" / "orders"))
    write("alpha lost", alpha=next(b.shape[1] for b, _ in factors.values()))  # read as a scale of 1
    write("q and k left out", {name: pair for name, pair in factors.items() if name[-6:] not in ("q_proj", "k_proj")})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gguf, "neighbours", lambda rows, heads: rows)
        write("rows of q and k not reordered")
    return SimpleNamespace(folder=folder, adapters=adapters)


def ask(url, requests):
    """The completions of (prompt, scales), eight at a time."""
    return server.complete_all(url, requests, at_once=8)


@pytest.fixture(scope="module")
def float32(files):
    """A server of the base in float32; adapter n is the nth of the files."""
    paths = list(files.adapters.values())
    with server.running(files.folder / "F32.gguf", paths, slots=8, context=512, exact=True) as url:
        yield url


# The shipped adapters ------------------------------------------------------------------------------------------------


def test_twenty_phrases_in_float32(float32, peft):
    model, tokenizer = peft
    said = ask(float32, [(phrase, {0: 1.0}) for phrase in PHRASES])
    assert [answer.prompt for answer in said] == [tokenizer(phrase)["input_ids"] for phrase in PHRASES]
    same, difference = server.compare(model, said)
    assert same == 20
    assert difference < 1e-3
    exact = sum(answer.text == case.cron for answer, case in zip(said, cron.test_c(), strict=False))
    assert exact >= 5, "the adapter's own answers, of which the base has none: it is on"


def test_ten_phrases_in_float16(files, peft):
    with server.running(files.folder / "F16.gguf", [files.adapters["cron"]], active=0, slots=8, context=512) as url:
        same, difference = server.compare(peft[0], ask(url, [(phrase,) for phrase in PHRASES[:10]]))
    assert same >= 9
    assert difference < 0.05


@pytest.mark.parametrize("fault", ["alpha lost", "q and k left out", "rows of q and k not reordered"])
def test_a_mistake_of_the_writer_shows(float32, files, peft, fault):
    scales = {list(files.adapters).index(fault): 1.0}
    _, difference = server.compare(peft[0], ask(float32, [(phrase, scales) for phrase in PHRASES[:8]]))
    assert difference > 3e-3, "three times what parity allows"


def test_a_prompt_without_its_last_newline_shows(float32, peft):
    model, tokenizer = peft
    said = server.complete(float32, PHRASES[0].removesuffix("\n"), {0: 1.0})
    whole = tokenizer(PHRASES[0])["input_ids"]
    assert said.prompt != whole
    assert server.compare(model, [said._replace(prompt=whole)])[1] > 0.05


def test_two_adapters_and_the_base_in_one_batch(float32, peft):
    model, _ = peft
    order = orders.order_prompt(orders.train_examples(1)[0].text)
    kinds = {"cron": {0: 1.0}, "base": BASE, "orders": {1: 1.0}}
    requests = [(prompt, scales) for prompt in (PHRASES[0], PHRASES[2], order) for scales in kinds.values()]
    said = ask(float32, requests)
    answers = {name: said[number::3] for number, name in enumerate(kinds)}
    assert server.compare(model, answers["cron"])[1] < 1e-3
    with model.disable_adapter():
        assert server.compare(model, answers["base"])[1] < 1e-3
    model.set_adapter("orders")
    try:
        assert server.compare(model, answers["orders"])[1] < 1e-3
    finally:
        model.set_adapter("default")
    assert server.compare(model, answers["base"])[1] > 1, "the base answers otherwise"


def test_a_scale_of_a_half(float32, peft):
    model, _ = peft
    layers = [module for module in model.modules() if hasattr(module, "set_scale")]
    for layer in layers:
        layer.set_scale("default", 0.5)
    try:
        assert server.compare(model, ask(float32, [(phrase, {0: 0.5}) for phrase in PHRASES[:3]]))[1] < 1e-3
    finally:
        for layer in layers:
            layer.set_scale("default", 1)


# Tiny models ---------------------------------------------------------------------------------------------------------

TEXTS = ["Every day at 10:45, it's 7 o'clock.", "  two  spaces\n\nand 123 lines\n", "<|im_start|>AB<|im_end|>"]
ROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 100000.0}}


def difference(folder, kind, alter=lambda path, model, tokenizer: gguf.write_model(path, model, tokenizer, "F32")):
    """The largest difference between PEFT and llama.cpp for a tiny model of a kind, whose base `alter` writes."""
    tiny = save_tiny(folder / "model", kind, **ROPE)
    adapter = save_adapter(folder / "adapter", tiny)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny), AutoTokenizer.from_pretrained(tiny)
    alter(folder / "base.gguf", model, tokenizer)
    gguf.write_adapter(folder / "adapter.gguf", *package.checked(adapter, str(tiny), None))
    both = PeftModel.from_pretrained(model, adapter)
    with server.running(folder / "base.gguf", [folder / "adapter.gguf"], active=0, context=256, exact=True) as url:
        said = ask(url, [(text,) for text in TEXTS])
    assert [answer.prompt for answer in said] == [tokenizer(text)["input_ids"] for text in TEXTS]
    return server.compare(both.eval(), said)[1]


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_a_tiny_model_and_its_adapter(tmp_path, kind):
    assert difference(tmp_path, kind) < 1e-3


def test_a_lost_rope_base_shows(tmp_path):
    def lost(path, model, tokenizer):
        model.config.rope_parameters["rope_theta"] = 10000.0
        gguf.write_model(path, model, tokenizer, "F32")

    assert difference(tmp_path, "llama", lost) > 0.05


def test_rows_that_are_reordered_for_qwen2_show(tmp_path, monkeypatch):
    order = gguf.reordered
    llama = SimpleNamespace(model_type="llama", num_attention_heads=4, num_key_value_heads=2)
    monkeypatch.setattr(gguf, "reordered", lambda rows, module, config: order(rows, module, llama))
    assert difference(tmp_path, "qwen2") > 0.05


def test_an_adapter_in_two_bands_is_their_sum(tmp_path):
    """Two of four components each, with the alpha that keeps alpha / r, are two adapters that add up to the whole."""
    tiny = save_tiny(tmp_path / "model")
    factors, alpha, config = package.checked(save_adapter(tmp_path / "adapter", tiny), str(tiny), None)
    for number, part in enumerate((slice(0, 2), slice(2, 4))):
        band = {name: (b[:, part], a[part]) for name, (b, a) in factors.items()}
        gguf.write_adapter(tmp_path / f"{number}.gguf", band, alpha / 2, config)
    model = AutoModelForCausalLM.from_pretrained(tiny)
    gguf.write_model(tmp_path / "base.gguf", model, AutoTokenizer.from_pretrained(tiny), "F32")
    both = PeftModel.from_pretrained(model, tmp_path / "adapter").eval()
    with server.running(tmp_path / "base.gguf", [tmp_path / "0.gguf", tmp_path / "1.gguf"], exact=True) as url:
        assert server.compare(both, [server.complete(url, TEXTS[0], {0: 1, 1: 1})])[1] < 1e-3
        assert server.compare(both, [server.complete(url, TEXTS[0], {0: 1})])[1] > 0.05


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    """The rows of experiments.serving for a tiny model."""
    folder = tmp_path_factory.mktemp("ledger")
    tiny, adapter = save_tiny(folder / "model", **ROPE), folder / "adapter"
    save_adapter(adapter, tiny)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LORAUTILS_MODEL", str(tiny))
        parts = (serving.ledger, serving.packed_by_peft, serving.off_its_grid, serving.mistakes)
        return {row["name"]: row for part in parts for row in part(adapter, folder, cron.test_c()[:2])}


def test_the_ledger_of_experiments_serving(ledger):
    assert ledger["PEFT"]["difference"] == 0 and ledger["PEFT"]["same"] == 2
    exact = ["merged, PEFT", *(f"llama.cpp F32, {way}" for way in ("adapter beside", "merged", "base alone"))]
    for name in (*exact, "llama.cpp F32, adapter beside, off its grid"):  # renumbered channels say the same
        assert ledger[name]["difference"] < 1e-3, name
    packed = [name for name in ledger if "NF4" in name or "Q4_1" in name]
    for name in (*packed, *(name for name in ledger if name.startswith("fault"))):
        assert ledger[name]["difference"] > 3e-3, name
    assert len(packed) == 8


# The command ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A tiny model with two adapters, one of them as GGUF already, and its base as GGUF."""
    folder = tmp_path_factory.mktemp("tiny")
    model = save_tiny(folder / "model")
    first = save_adapter(folder / "first", model)
    second = save_adapter(folder / "second", model, lora_alpha=20)
    gguf.write_adapter(folder / "second.gguf", *package.checked(second, str(model), None))
    loaded, tokenizer = AutoModelForCausalLM.from_pretrained(model), AutoTokenizer.from_pretrained(model)
    gguf.write_model(folder / "base.gguf", loaded, tokenizer, "F32")
    return SimpleNamespace(folder=folder, model=model, first=first, second=folder / "second.gguf")


class Serving:
    """`lorautils serve` in a process, up to the lines that it prints when it is ready."""

    def __init__(self, *arguments):
        command = [sys.executable, "-m", "lorautils", "serve", "--port", "0", *map(str, arguments)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        timer = threading.Timer(120, self.process.kill)
        timer.start()
        self.said = ""
        while "the base:\n" not in self.said and (line := self.process.stdout.readline()):
            self.said += line
        self.said += self.process.stdout.readline()
        timer.cancel()
        self.url = re.search(r"Address: (http://127.0.0.1:\d+)/v1\n", self.said)[1]
        self.key = re.search(r"Key: (\S+)\n", self.said)[1]

    def end(self, how=signal.SIGINT) -> tuple[int, str]:
        self.process.send_signal(how)
        timer = threading.Timer(60, self.process.kill)
        timer.start()
        _, err = self.process.communicate()
        timer.cancel()
        return self.process.returncode, err


def run(curl: str) -> dict:
    """Send what a printed line of curl would send."""
    url, authorization, kind, body = re.fullmatch(r"curl (\S+) -H '(.+?)' -H '(.+?)' -d '(.+)'", curl).groups()
    headers = dict(header.split(": ", 1) for header in (authorization, kind))
    with urllib.request.urlopen(urllib.request.Request(url, body.encode(), headers), timeout=60) as answer:
        return json.load(answer)


def test_serve_prints_lines_that_work_and_ends_with_ctrl_c(tiny, tmp_path):
    serving = Serving(tiny.first, tiny.second, "--type", "F32")
    try:
        lines = dict(re.findall(r"^(.+):\n(curl .+)$", serving.said, re.MULTILINE))
        assert list(lines) == ["first, number 0", "second, number 1", "the base"]
        line = re.search(r"lorautils (check-server .+) FOLDER", serving.said)[1].split()
        asked = check_server.parser().parse_args([*line[1:], str(tiny.first)])
        assert (asked.url, asked.key) == (serving.url, serving.key), "the printed check asks this server"
        texts = {name: run(line)["choices"][0]["text"] for name, line in lines.items()}
        assert len(set(texts.values())) == 3, "base and adapters answer differently"
        with pytest.raises(OSError, match=r"401.*Next: give its key with --key"):
            server.complete(serving.url, "x", key="wrong")
        assert server.complete(serving.url, "x", key=serving.key).tokens
        model = AutoModelForCausalLM.from_pretrained(tiny.model)
        said = server.complete(serving.url, TEXTS[0], key=serving.key)
        assert server.compare(model, [said])[1] < 0.05, "with several adapters, the base answers by itself"
    finally:
        code, err = serving.end()
    assert code == 0 and err.endswith("The server has ended.\n") and "Traceback" not in err


def test_one_adapter_answers_by_itself_and_its_files_are_removed_by_a_terminated_server(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    serving = Serving(tiny.first, "--key", "mine", "--type", "F32")
    try:
        assert serving.key == "mine" and "first answers" in serving.said
        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny.model), tiny.first).eval()
        assert server.compare(model, [server.complete(serving.url, TEXTS[0], key="mine")])[1] < 0.05
        assert list(tmp_path.glob("lorautils-serve-*"))
    finally:
        assert serving.end(signal.SIGTERM)[0] == 0
    assert not list(tmp_path.glob("lorautils-serve-*"))


def broken(tiny, name: str) -> list[str]:
    """The arguments of a server that cannot start."""
    folder, base = tiny.folder, str(tiny.folder / "base.gguf")
    cut = folder / "cut.gguf"
    if name == "cut adapter":
        cut.write_bytes(tiny.second.read_bytes()[:-2000])
    if name == "cut base":
        cut.write_bytes((folder / "base.gguf").read_bytes()[:-2000])
    if name == "another model's adapter":
        factors, alpha = package.read(tiny.first)
        wide = {module: (torch.ones(7, 4), a) for module, (_, a) in factors.items() if module.endswith("up_proj")}
        gguf.write_adapter(cut, wide, alpha, AutoModelForCausalLM.from_pretrained(tiny.model).config)
    return {
        "no base": ["--base", str(folder / "none.gguf")],
        "no adapter": [str(folder / "none.gguf"), "--base", base],
        "cut adapter": [str(cut), "--base", base],
        "cut base": ["--base", str(cut)],
        "another model's adapter": [str(cut), "--base", base],
        "a model as adapter": [base, "--base", base],
        "an adapter as model": ["--base", str(tiny.second)],
        "a text": ["--base", str(tiny.model / "config.json")],
        "a folder": ["--base", str(tiny.model)],
        "two of one name": [str(tiny.first), str(tiny.first), "--base", base],
        "no folder": [str(folder / "nowhere"), "--base", base],
    }[name]


@pytest.mark.parametrize(
    ("name", "reason", "remedy"),
    [
        ("no base", "No such file", "correct the name"),
        ("no adapter", "No such file", "correct the name"),
        ("cut adapter", "not within the file bounds", "the file is damaged"),
        ("cut base", "not within the file bounds", "the file is damaged"),
        ("another model's adapter", "incorrect shape", "name the base that the adapter was trained on"),
        ("a model as adapter", "expect general.type to be 'adapter'", "this file holds a model"),
        ("an adapter as model", "key not found", "this file holds no model"),
        ("a text", "invalid magic", "or no GGUF: name one"),
        ("a folder", "failed to read magic", "or no GGUF: name one"),
        ("two of one name", "have the same name", "rename"),
        ("no folder", "holds no adapter", "name the folder"),
    ],
)
def test_a_server_that_cannot_start_gives_the_reason(tiny, capsys, name, reason, remedy):
    arguments = broken(tiny, name)
    capsys.readouterr()
    said = error(capsys, "serve", *arguments, "--port", "0")
    assert reason in said and remedy in said


def test_a_busy_port(tiny, capsys):
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = str(busy.getsockname()[1])
        said = error(capsys, "serve", "--base", str(tiny.folder / "base.gguf"), "--port", port)
    assert f"port: {port}" in said and "name another one with --port" in said


def test_a_port_that_cannot_be(capsys):
    assert "65536" in error(capsys, "serve", "--port", "70000")


def test_a_server_that_is_gone(tiny):
    with server.running(tiny.folder / "base.gguf") as url:
        assert server.complete(url, "x").tokens
    with pytest.raises(OSError, match=r"does not answer.*start the server"):
        server.complete(url, "x")


def test_without_xllamacpp_the_command_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    assert '".[serve]"' in error(capsys, "serve")


def test_a_key_that_serve_makes_is_one_that_check_server_takes(monkeypatch, capsys):
    monkeypatch.setattr(secrets, "token_bytes", lambda size: b"\xf8" * size)  # in base 64 a dash comes first
    monkeypatch.setattr(serve, "_files", lambda *_: ("base.gguf", {}))
    monkeypatch.setattr(serve, "_wait", lambda: None)
    monkeypatch.setattr(server, "running", lambda *_, **__: contextlib.nullcontext("http://127.0.0.1:1"))
    assert main(["serve"]) == 0
    key = re.search(r"Key: (\S+)\n", capsys.readouterr().out)[1]
    assert check_server.parser().parse_args(["http://127.0.0.1:1", "--key", key]).key == key


def test_adapters_of_two_bases_are_not_served_together(tiny, tmp_path, capsys):
    other = save_adapter(tmp_path / "adapter", save_tiny(tmp_path / "model"))
    assert "several bases" in error(capsys, "serve", str(tiny.first), str(other))
