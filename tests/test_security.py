"""Nothing from outside is run as code, JupyterLab is closed to others, and adapters are checked before use."""

import ast
import io
import json
import re
import struct
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nbformat
import pyarrow
import pytest
import torch
from jupyter_server.auth import IdentityProvider
from jupyter_server.serverapp import ServerApp
from peft import LoraConfig, get_peft_model
from pyarrow import parquet
from test_basemodel import Trap
from traitlets.config.loader import PyFileConfigLoader
from transformers import LlamaConfig, LlamaForCausalLM

from lorautils import cli, evaluation, lora
from lorautils.cli import blind, checkup, doctor, fresh, runs
from lorautils.export import check, package, server
from lorautils.formats import alike, files, rows
from lorautils.tasks import cron

ROOT = Path(__file__).parent.parent

# --- what would run foreign code ------------------------------------------------------------------------------------

UNPICKLE = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
RUN = {"eval", "exec", "compile", "__import__"}
CALLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "tempfile.mktemp"}
CALLS |= {"yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load", "pandas.read_pickle", "pd.read_pickle"}
SAFE = {"allow_pickle": False, "trust_remote_code": False, "shell": False, "use_safetensors": True, "verify": True}
SAFE |= {"weights_only": True}  # of arguments: the one value that is safe
EXCUSED = {  # they run the solutions that stand in the package, and those with a piece replaced, nothing else
    "lorautils/exercises/engine.py: exec()",
    "lorautils/exercises/nb04.py: exec()",
}


def dangers(source: str) -> Iterator[str]:
    """What in Python code would run code from elsewhere; code in its strings counts, too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from _imports(node)
        elif isinstance(node, ast.Call):
            yield from _call(node)
        elif isinstance(node, ast.Dict):
            named = {key.value: value for key, value in zip(node.keys, node.values, strict=True) if _is_text(key)}
            yield from _arguments(named)
        elif _is_text(node) and "import" in node.value and (inner := _parsed(node.value)):
            yield from dangers(inner)


def _is_text(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _parsed(text: str) -> str | None:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return None
    return text if any(isinstance(node, ast.Import | ast.ImportFrom) for node in tree.body) else None


def _imports(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    module = getattr(node, "module", None) or ""
    names = [f"{module}.{alias.name}".lstrip(".") for alias in node.names]
    for name in names:
        if name.partition(".")[0] in UNPICKLE or name in CALLS | {"torch.load"}:
            yield f"import of {name}"


def _call(node: ast.Call) -> Iterator[str]:
    name = ast.unparse(node.func)
    named = {keyword.arg: keyword.value for keyword in node.keywords}
    if name in RUN | CALLS:
        yield f"{name}()"
    if name == "torch.load" and "weights_only" not in named:
        yield "torch.load() without weights_only=True"
    yield from _arguments(named)


def _arguments(named: dict[str | None, ast.AST]) -> Iterator[str]:
    for name, value in named.items():
        if name in SAFE and not (isinstance(value, ast.Constant) and value.value is SAFE[name]):
            yield f"{name}={ast.unparse(value)}"


BAD = {
    "import pickle": "import of pickle",
    "from joblib import load": "import of joblib.load",
    "from os import system": "import of os.system",
    "from torch import load": "import of torch.load",
    "eval(text)": "eval()",
    "exec(text, {})": "exec()",
    "os.system('ls')": "os.system()",
    "subprocess.run('ls', shell=True)": "shell=True",
    "subprocess.run('ls', shell=flag)": "shell=flag",
    "torch.load(path)": "torch.load() without weights_only=True",
    "torch.load(path, weights_only=False)": "weights_only=False",
    "np.load(path, allow_pickle=True)": "allow_pickle=True",
    "yaml.load(text, Loader=yaml.Loader)": "yaml.load()",
    "load(name, trust_remote_code=True)": "trust_remote_code=True",
    "options = {'trust_remote_code': True}": "trust_remote_code=True",
    "code = 'import pickle'": "import of pickle",
    "pd.read_pickle(path)": "pd.read_pickle()",
}
GOOD = [
    "model.eval()",
    "torch.load(path, weights_only=True)",
    "np.load(path)",
    "yaml.safe_load(text)",
    "load(name, trust_remote_code=False, use_safetensors=True)",
    "subprocess.run(['ls', folder])",
    "re.compile(text)",
    "print('pickle, eval(x)')",
]


@pytest.mark.parametrize(("source", "found"), BAD.items())
def test_the_scan_finds_what_runs_foreign_code(source, found):
    assert list(dangers(source)) == [found]


@pytest.mark.parametrize("source", GOOD)
def test_the_scan_passes_what_does_not(source):
    assert list(dangers(source)) == []


def sources() -> Iterator[tuple[str, str]]:
    """The Python code of the course and where it stands: modules, scripts, and the cells of notebooks."""
    for folder in ("lorautils", "tools", "experiments", "jupyter_config", "docs", "configs"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
    yield "conftest.py", (ROOT / "conftest.py").read_text(encoding="utf-8")
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code":
                yield f"{path.name} {cell.id}", cell.source


def test_no_code_of_the_course_runs_foreign_code():
    scanned = dict(sources())
    assert {"lorautils/basemodel.py", "tools/offline_kit.py", "experiments/common.py"} < scanned.keys()
    assert sum(".ipynb " in where for where in scanned) > 300
    found = {f"{where}: {what}" for where, source in scanned.items() for what in dangers(source)}
    assert found == EXCUSED


def test_weights_come_as_safetensors_alone():
    kinds = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".npy", ".npz", ".h5", ".joblib", ".msgpack"}
    files = [path for name in ("adapters", "experiments", "lorautils") for path in (ROOT / name).rglob("*")]
    assert any(path.suffix == ".safetensors" for path in files)
    assert [path for path in files if path.suffix in kinds] == []


# --- JupyterLab -----------------------------------------------------------------------------------------------------


def test_jupyterlab_listens_to_this_machine_alone_and_asks_for_a_token(monkeypatch):
    monkeypatch.delenv("JUPYTER_TOKEN", raising=False)
    folder = str(ROOT / "jupyter_config")
    config = PyFileConfigLoader("jupyter_lab_config.py", path=folder).load_config()
    server, identity = ServerApp(config=config), IdentityProvider(config=config)
    assert server.ip == "localhost"
    assert not any([server.allow_remote_access, server.allow_root, server.disable_check_xsrf])
    assert server.allow_origin == server.allow_origin_pat == ""
    assert len(identity.token) >= 32 and identity.token_generated
    assert identity.token != IdentityProvider(config=config).token, "each start has its own"
    assert config.LabApp.extension_manager == "readonly"


# Options that open a server to the network, or let it in without a token.
OPEN = re.compile(r"--ip\b|0\.0\.0\.0|allow.root|allow_origin|disable_check_xsrf|\.ip\s*=|\btoken\s*[=:]|--no-token")
STARTERS = ["Makefile", "environment.yml", "postBuild", ".devcontainer/devcontainer.json", "tools/offline_kit.py"]
STARTERS += ["README.md", "docs/doors.md", "docs/teaching.md", "jupyter_config/**/*", ".github/workflows/*.yml"]


def test_no_way_to_start_the_course_opens_it_to_others():
    paths = [path for pattern in STARTERS for path in ROOT.glob(pattern) if path.is_file() and path.suffix != ".pyc"]
    assert len(paths) > len(STARTERS)
    lines = [(path.name, line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
    assert [(name, line) for name, line in lines if OPEN.search(line) and "id-token: write" not in line] == []


@pytest.mark.parametrize("line", ["jupyter lab --ip=*", "c.ServerApp.ip = '*'", "--ServerApp.token=''", "--allow-root"])
def test_an_open_server_would_be_seen(line):
    assert OPEN.search(line)


def test_the_container_has_no_rights_of_its_host():
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    assert not container.keys() & {"privileged", "runArgs", "capAdd", "securityOpt", "mounts", "appPort"}


# --- adapters -------------------------------------------------------------------------------------------------------

SIZES = dict(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2)


def llama(**sizes) -> LlamaForCausalLM:
    torch.manual_seed(0)
    heads = dict(num_attention_heads=4, num_key_value_heads=2)
    return LlamaForCausalLM(LlamaConfig(**SIZES | sizes, **heads)).eval()


def save(folder: Path, base: LlamaForCausalLM) -> Path:
    names = ["q_proj", "down_proj"]
    config = LoraConfig(task_type="CAUSAL_LM", target_modules=names, r=4, init_lora_weights=False)
    get_peft_model(base, config).save_pretrained(folder)
    return folder


@pytest.fixture
def adapter(tmp_path, monkeypatch) -> Path:
    """The folder of an adapter for a small model, which takes the place of the base model."""
    monkeypatch.setattr(evaluation, "load_base_model", lambda name: llama())
    monkeypatch.setattr(evaluation, "load_tokenizer", lambda name: "tokenizer")
    return save(tmp_path / "adapter", llama())


def with_header(change):
    """Spoil the JSON in front of the weights: `change(header, name of the first tensor)`."""

    def spoil(folder: Path) -> None:
        file = folder / lora.WEIGHTS
        data = file.read_bytes()
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        change(header, next(name for name in header if name != "__metadata__"))
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        file.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])

    return spoil


def with_bytes(change):
    def spoil(folder: Path) -> None:
        file = folder / lora.WEIGHTS
        file.write_bytes(change(file.read_bytes()))

    return spoil


def with_config(**fields):
    def spoil(folder: Path) -> None:
        file = folder / lora.CONFIG
        file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | fields), encoding="utf-8")

    return spoil


def for_another(**sizes):
    return lambda folder: save(folder, llama(**sizes))


SPOILED = {  # test_robust_api.py mutates both files and gives each field of the configuration wrong values
    "renamed tensor": with_header(lambda header, name: header.update({f"{name}s": header.pop(name)})),
    "tensor of another layer": with_header(
        lambda header, name: header.update({name.replace(".0.", ".7."): header.pop(name)})
    ),
    "one more tensor": with_header(
        lambda header, name: header.update({f"{name}.more": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}})
    ),
    "transposed shape": with_header(lambda header, name: header[name]["shape"].reverse()),
    "whole numbers": with_header(lambda header, name: header[name].update(dtype="I32")),
    "offsets beyond the file": with_header(lambda header, name: header[name].update(data_offsets=[0, 2**40])),
    "huge shape": with_header(lambda header, name: header[name].update(shape=[2**40, 2**40])),
    "header longer than the file": with_bytes(lambda data: b"\xff" * 8 + data[8:]),
    "empty file": with_bytes(lambda data: b""),
    "cut in the weights": with_bytes(lambda data: data[: len(data) // 2]),
    "not a number": with_bytes(lambda data: data[:-4] + b"\0\0\xc0\x7f"),
    "a wider base": for_another(hidden_size=64),
    "a deeper base": for_another(num_hidden_layers=3),
    "a shallower base": for_another(num_hidden_layers=1),
    "another rank": with_config(r=8),
    "other targets": with_config(target_modules=["q_proj"]),
    "targets that are not there": with_config(target_modules=["c_attn"]),
    "more targets": with_config(target_modules=["q_proj", "down_proj", "up_proj"]),
    "rank as a text": with_config(r="four"),
    "an unknown method": with_config(peft_type="TELEPATHY"),
    "no method": with_config(peft_type=None),
    "configuration cut": lambda folder: (folder / lora.CONFIG).write_text('{"peft_type": "LO'),
    "configuration empty": lambda folder: (folder / lora.CONFIG).write_text(""),
    "configuration as a list": lambda folder: (folder / lora.CONFIG).write_text("[1, 2]"),
    "configuration too deep": lambda folder: (folder / lora.CONFIG).write_text("[" * 100_000),
    "configuration in UTF-16": lambda folder: (folder / lora.CONFIG).write_bytes("{}".encode("utf-16")),
    "no weights": lambda folder: (folder / lora.WEIGHTS).unlink(),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_a_spoiled_adapter_is_refused_by_load_adapter(adapter, spoil):
    evaluation.load_adapter(adapter)  # as it is, it loads
    spoil(adapter)
    with pytest.raises(OSError, match=r"(?s)adapter.*cannot be loaded.*(restore|train)") as caught:
        evaluation.load_adapter(adapter)
    assert str(adapter) in str(caught.value)


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_a_spoiled_adapter_is_refused_by_our_own_load(adapter, spoil):
    lora.load(llama(), adapter)
    spoil(adapter)
    model = llama()
    with pytest.raises((OSError, ValueError)) as caught:
        lora.load(model, adapter)
    assert str(adapter) in str(caught.value) or "target_modules" in str(caught.value)
    assert not any(isinstance(module, lora.LoRALinear) for module in model.modules()), "half-loaded"


def test_an_adapter_that_is_a_pickle_is_not_run(adapter, tmp_path):
    (adapter / lora.WEIGHTS).unlink()
    torch.save(Trap(tmp_path / "sprung"), adapter / "adapter_model.bin")
    for load in (evaluation.load_adapter, lambda folder: lora.load(llama(), folder)):
        with pytest.raises(OSError):
            load(adapter)
    assert not (tmp_path / "sprung").exists()


def test_the_shipped_adapters_are_whole():
    for folder in (cron.ADAPTER, cron.ADAPTER.parent / "orders"):
        with torch.device("meta"):
            model = LlamaForCausalLM(
                LlamaConfig(
                    vocab_size=49152,
                    hidden_size=576,
                    intermediate_size=1536,
                    num_hidden_layers=30,
                    num_attention_heads=9,
                    num_key_value_heads=3,
                )
            )
        plan = lora._plan(model, lora._read_config(folder / lora.CONFIG))
        tensors = lora.load_file(folder / lora.WEIGHTS)
        assert len(tensors) == 2 * len(plan) == 420
        assert all(tensor.isfinite().all() and tensor.any() for tensor in tensors.values())


def test_an_adapter_cannot_bring_a_tokenizer_of_its_own_code(adapter, tmp_path, monkeypatch):
    (adapter / "evil.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\nclass Evil: pass\n", encoding="utf-8")
    said = {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", None]}}
    (adapter / "tokenizer_config.json").write_text(json.dumps(said), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 9))  # somebody who agrees to what a library asks
    found = list(checkup.vocabulary(adapter, {}, llama().config))
    assert not (tmp_path / "sprung").exists()
    assert any("tokenizer" in finding.text for finding in found)


# --- what people bring: rows, settings, a base, a run, a server's answers ---------------------------------------------


def test_a_terminal_obeys_nothing_that_a_file_holds(tmp_path, capsys):
    evil = "\x1b]0;title\x07\x9b31m\u202e\ud800"
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({evil: [{"a": 1}]}), encoding="utf-8")
    assert cli.main(["data", str(path)]) == 2
    cli.notice(evil)
    doctor.report([("base", doctor.note(evil, evil))])
    said = "".join(capsys.readouterr())
    assert said.count(r"\x1b") >= 3 and not cli.CONTROL.search(said)


def tall(path: Path) -> None:
    """Two hundred rows of the same hundred kilobytes, in some kilobytes."""
    texts = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 200, pyarrow.int32()), ["x" * 10**5])
    parquet.write_table(pyarrow.table({"text": texts}), path, compression="zstd")


def test_a_few_kilobytes_do_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "UNPACKED", 10**7)
    tall(tmp_path / "rows.parquet")
    assert (tmp_path / "rows.parquet").stat().st_size < 50_000
    with pytest.raises(ValueError, match="unpacked: save it in parts"):
        rows.read([tmp_path / "rows.parquet"])


def test_a_row_that_would_take_hours_is_refused(tmp_path):
    path = tmp_path / "rows.jsonl"
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    for row in ({"text": "a " * 10**6}, {"messages": turns * 5000}):
        path.write_text(json.dumps(row), encoding="utf-8")
        with pytest.raises(ValueError, match="make several rows of it"):
            rows.read([path])
    dots = "." * 300_000 + "a"
    assert alike.bare(dots) == dots  # in no time, as the length does not count twice


def gguf(tensors: int, values: int, rest: bytes) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, values) + rest + bytes(200)


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


NAME = text(b"general.architecture") + struct.pack("<I", 8)
BOMBS = {
    "2^60 tensors": gguf(2**60, 0, b""),
    "2^60 values": gguf(0, 2**60, b""),
    "an array of 2^60 bytes": gguf(0, 1, text(b"a") + struct.pack("<IIQ", 9, 0, 2**60)),
    "arrays in arrays": gguf(0, 1, text(b"a") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 5000),
    "a text of 2^63 bytes": gguf(0, 1, NAME + struct.pack("<Q", 2**63)),
    "a name that is no UTF-8": gguf(0, 1, NAME + text(b"\xff")),
    "a name for a terminal": gguf(0, 1, NAME + text(b"\x1b[31m" * 10**5)),
    "a text for a number": gguf(
        0, 2, NAME + text(b"llama") + text(b"llama.block_count") + struct.pack("<I", 8) + text(b"x")
    ),
    "nothing": b"",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_base_that_claims_what_it_does_not_hold_is_refused(tmp_path, name):
    (tmp_path / "base.gguf").write_bytes(BOMBS[name])
    pair = {"model.layers.0.self_attn.q_proj": (torch.zeros(32, 4), torch.zeros(4, 32))}
    with pytest.raises(ValueError, match=r"cannot be read as GGUF|is not the base of this adapter") as caught:
        package.check_base(tmp_path / "base.gguf", pair, llama().config)
    assert len(str(caught.value)) < 500 and "\x1b" not in str(caught.value)


DEEP = "[" * 100_000


def test_what_stands_in_a_run_a_key_or_a_copy_is_not_believed(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / runs.NAME).write_text(DEEP, encoding="utf-8")
    with pytest.raises(FileExistsError, match=r"no run\.json"):
        runs.state_of(tmp_path / "run", {}, resume=True)
    (tmp_path / "pairs").write_text('{"better": "A"}\n', encoding="utf-8")
    for key in (DEEP, "{}", "[]", '{"models": ["a", "b"], "same": 0, "A": ["c"]}', '{"models": ["a"], "A": ["a"]}'):
        blind.key_of(tmp_path / "pairs").write_text(key, encoding="utf-8")
        with pytest.raises(ValueError, match="not the key"):
            blind.counted(tmp_path / "pairs")
    course = fresh.NOTEBOOKS / "00_start_here.ipynb"
    for copy in (DEEP, "[]", '{"cells": [{}]}'):
        (tmp_path / course.name).write_text(copy, encoding="utf-8")
        fresh.renew(course, tmp_path, anew=False)
        assert (tmp_path / course.name).read_text(encoding="utf-8") == copy, "it is not ours to overwrite"


class Says(BaseHTTPRequestHandler):
    """A server that answers everything with the same bytes."""

    said = b""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.said)

    do_POST = do_GET

    def log_message(self, *arguments):
        pass


@pytest.fixture
def listening():
    with ThreadingHTTPServer(("127.0.0.1", 0), Says) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listener.server_port}"
        listener.shutdown()


ODD = [b"<html>", b"[1]", b"{}", b"null", b'[{"id": []}]', b'{"data": [{"id": 1}]}', b"\xff", DEEP.encode()]


@pytest.mark.parametrize("said", ODD, ids=lambda said: repr(said[:20]))
def test_a_server_that_says_something_else_is_named(listening, monkeypatch, said):
    monkeypatch.setattr(Says, "said", said)
    for ask in (check.way_of, lambda url: server.complete(url, "a")):
        with pytest.raises((OSError, ValueError), match=r"correct the address|start it with the adapter"):
            ask(listening)


def test_no_proxy_sees_what_is_said_to_this_machine(listening, monkeypatch):
    monkeypatch.setattr(Says, "said", b'"here"')
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody listens
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert server.send(f"{listening}/x", None, "key") == "here"


def test_only_addresses_of_servers_are_opened():
    with pytest.raises(OSError, match="no address of a server"):
        server.send(Path(__file__).as_uri(), None)
