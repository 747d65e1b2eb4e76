"""The command line, with stand-ins for the model where only the road to it is tested, and a tiny model for training."""

import io
import os
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
import torch
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from lorautils import basemodel, evaluation
from lorautils.cli import doctor, main
from lorautils.cli.ask import THRESHOLD, _reason, _uneven, explanation
from lorautils.tasks import cron

ROOT = Path(__file__).parent.parent
ANSWERS = {
    "every weekday at half past nine": "30 9 * * 1-5",
    "every quarter of an hour": "*/15 * * * *",
    "on 30 February": "0 0 30 2 *",
    "tell me a joke": "why did the",
    "say nothing": "",
    "in two lines": "0 9 * *\n1-5",
    "noon and midnight": "0 12,13 * * *",
    "every 30 seconds": cron.NOT_CRON,
    "perhaps every morning": cron.NOT_CRON,
}
UNSURE = {"noon and midnight": 0.17, "perhaps every morning": 0.17}  # the others: as unsure as goes without a warning


@pytest.fixture
def model(monkeypatch):
    """A stand-in that knows ANSWERS and records what it was asked, batch by batch."""
    batches = []

    def load(adapter=None):
        print("a notice of a library")
        model.adapter = adapter
        return "model", "tokenizer"

    def answer(prompt):
        text = prompt.removeprefix("<|im_start|>user\nCron: ").partition("<|im_end|>")[0]
        return evaluation.Answer(ANSWERS.get(text, "0 0 * * *"), UNSURE.get(text, THRESHOLD))

    def answers(model, tokenizer, prompts):
        print("another notice")
        batches.append(list(prompts))
        return [answer(prompt) for prompt in prompts]

    monkeypatch.setattr(evaluation, "load_adapter", load)
    monkeypatch.setattr(evaluation, "answers_with_probability", answers)
    model = type("Model", (), {"batches": batches, "adapter": None})
    return model


def lines(file, *texts, newline="\n"):
    file.write_text("".join(text + newline for text in texts), encoding="utf-8", newline="")
    return str(file)


# --- ask ----------------------------------------------------------------------------------------------------------


def test_ask_prints_the_expression_alone(model, capsys):
    assert main(["ask", "every weekday at half past nine"]) == 0
    out, err = capsys.readouterr()
    assert out == "30 9 * * 1-5\n"
    assert err == "a notice of a library\nanother notice\n"


@pytest.mark.parametrize(
    ("words", "phrase"),
    [
        (["every", "weekday", "at nine"], "every weekday at nine"),
        (["--explain", "every", "day"], "every day"),
        (["every", "day", "--explain"], "every day"),
        (["--", "--explain", "itself"], "--explain itself"),
        (["--explain", "--", "-", "nightly"], "- nightly"),
    ],
)
def test_a_phrase_needs_no_quotes_and_options_stand_before_or_after_it(model, words, phrase):
    assert main(["ask", *words]) == 0
    assert model.batches == [[cron.cron_prompt(phrase)]]


@pytest.mark.parametrize("phrase", ["tell me a joke", "say nothing"])
def test_an_answer_that_is_not_cron_goes_to_stderr(model, capsys, phrase):
    assert main(["ask", phrase]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert f"{phrase!r}: the answer is not a cron expression: {ANSWERS[phrase]!r}; try other words\n" in err
    assert "learned something else" not in err


def test_an_adapter_of_ones_own_that_knows_no_schedules_is_sent_where_it_can_be_asked(model, capsys):
    assert main(["ask", "tell me a joke", "--adapter", (orders := str(cron.ADAPTER.parent / "orders"))]) == 1
    assert f"lorautils evaluate FILE --adapter {orders}, or lorautils serve {orders}\n" in capsys.readouterr().err


@pytest.mark.parametrize(("phrase", "sure"), [("every 30 seconds", True), ("perhaps every morning", False)])
def test_what_cron_cannot_say_is_not_answered_but_explained(model, capsys, phrase, sure):
    assert main(["ask", phrase]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert f"lorautils: {phrase!r}: cron cannot say this. {_reason(phrase)}" in err
    assert ("probability 0.17" in err) == (not sure), "a refusal can be wrong as well"


def test_an_answer_below_the_threshold_is_given_with_a_warning(model, capsys):
    assert main(["ask", "noon and midnight"]) == 0
    out, err = capsys.readouterr()
    assert out == "0 12,13 * * *\n"
    assert "'noon and midnight': 0 12,13 * * *, but" in err and "probability 0.17" in err and "--explain" in err


SECONDS, STEPS, NTH, LAST = "shortest step", "divide", "count weekdays", "end of a month"
WEEKS, ONCE, SPAN, SEVERAL, EVENTS, NONE = "weeks", "only repeats", "span", "several", "events", "No schedule"
NEVER, OR = "no such time", "by OR"


@pytest.mark.parametrize(
    ("phrase", "reason"),
    [
        ("every 30 seconds", SECONDS),
        ("poll it each 15s", SECONDS),
        ("every second", SECONDS),
        ("every 90 minutes", STEPS),
        ("Every 45 min", STEPS),
        ("every 5 hours", STEPS),
        ("second Tuesday of the month", NTH),
        ("every second Tuesday of the month", NTH),
        ("every second Tuesday", WEEKS),
        ("every other week on Mon", WEEKS),
        ("every 3 weeks", WEEKS),
        ("the last Friday of each month at noon", LAST),
        ("end of the month", LAST),
        ("tomorrow at nine", ONCE),
        ("in 20 minutes", ONCE),
        ("on March 3, 2031", ONCE),
        ("every ten minutes from 8:30 to 17:15", SPAN),
        ("9:15 and 17:40 every day", SEVERAL),
        ("8am on weekdays, 10am at the weekend", SEVERAL),
        ("at sunset", EVENTS),
        ("every day at seven unless it rains", EVENTS),
        ("every Monday at 25:00", NEVER),
        ("on the 32nd at noon", NEVER),
        ("Friday the 13th at midnight", OR),
        ("one week yes and one week no", WEEKS),
        ("hello", NONE),
        ("daily at 2030, from 9 to 5", NONE),
        ("jeden Tag um neun", NONE),
    ],
)
def test_the_reason_names_what_stands_in_the_way(phrase, reason):
    assert reason in _reason(phrase)


def test_no_phrase_of_the_validation_split_is_given_a_reason_that_is_not_its_own():
    reasons = {
        "seconds": {SECONDS},
        "nth weekday": {NTH, LAST},
        "last day": {LAST},
        "every other week": {WEEKS},
        "two schedules": {SEVERAL, SPAN, NONE},
        "other": {STEPS, ONCE, EVENTS, NONE},
        "contradiction": {NEVER, NONE},
    }
    for example in cron.hand_written("validation", "none"):
        assert any(reason in _reason(example.text) for reason in reasons.get(example.family, {NONE})), example


def test_a_file_is_answered_line_by_line_in_one_batch(model, capsys, tmp_path):
    phrases = ["every quarter of an hour", "", "tell me a joke", "  ", "every weekday at half past nine"]
    assert main(["ask", "--file", lines(tmp_path / "phrases.txt", *phrases)]) == 1
    out, err = capsys.readouterr()
    assert out == "*/15 * * * *\n\n\n\n30 9 * * 1-5\n"
    assert err.count("not a cron expression") == err.count("line 3, 'tell me a joke'") == 1
    assert [len(batch) for batch in model.batches] == [3]


@pytest.mark.parametrize("text", ["\ufeffevery quarter of an hour\r\n\r\nnoon", "every quarter of an hour\n\nnoon\n"])
def test_files_of_windows_and_files_without_a_last_newline(model, capsys, tmp_path, text):
    (tmp_path / "phrases.txt").write_text(text, encoding="utf-8", newline="")
    assert main(["ask", "--file", str(tmp_path / "phrases.txt")]) == 0
    assert capsys.readouterr().out == "*/15 * * * *\n\n0 0 * * *\n"


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.lists(st.sampled_from([*ANSWERS, "", " \t", "noon", "naïve\x0bcafé\u2028"]), min_size=1).filter(any))
def test_one_line_out_for_each_line_in(tmp_path_factory, texts):
    file = tmp_path_factory.mktemp("ask") / "phrases.txt"
    with pytest.MonkeyPatch.context() as patch:
        printed = []
        patch.setattr(evaluation, "load_adapter", lambda adapter: (None, None))
        answer = evaluation.Answer("0 0 * * *", 1.0)
        patch.setattr(evaluation, "answers_with_probability", lambda model, tokenizer, prompts: [answer] * len(prompts))
        patch.setattr("builtins.print", lambda *texts, **options: printed.extend(texts or [""]))
        code = main(["ask", "--file", lines(file, *texts)])
    if any(text.strip() for text in texts):
        assert code == 0
        assert printed == ["0 0 * * *" if text.strip() else "" for text in texts]
    else:
        assert code == 2


def test_explain_adds_the_meaning_and_the_next_three_times(model, capsys):
    assert main(["ask", "--explain", "every weekday at half past nine"]) == 0
    expression, meaning, following, sure = capsys.readouterr().out.splitlines()
    assert expression == "30 9 * * 1-5"
    assert meaning.startswith("  At 09:30") and "Friday" in meaning
    times = [datetime.fromisoformat(text) for text in re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d", following)]
    assert len(times) == 3 and datetime.now() < times[0] < times[1] < times[2]
    assert all(croniter.match(expression, time) for time in times)
    assert sure == f"  sure: {THRESHOLD:.2f}"


def test_explain_says_what_is_low_and_needs_no_warning_beside_it(model, capsys):
    assert main(["ask", "--explain", "noon and midnight"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1].startswith("  sure: 0.17, which is low") and "lorautils: " not in err


def test_explained_lines_of_a_file_repeat_their_phrases_with_numbers(model, capsys, tmp_path):
    file = lines(tmp_path / "phrases.txt", "every quarter of an hour", "", "every 30 seconds", "noon and midnight")
    assert main(["ask", "--explain", "--file", file]) == 1
    out, err = capsys.readouterr()
    flush = [line for line in out.splitlines() if not line.startswith("  ")]
    assert flush == [
        "1  every quarter of an hour",
        "*/15 * * * *",
        "",
        "3  every 30 seconds",
        "",
        "4  noon and midnight",
        "0 12,13 * * *",
    ]
    assert err.count("lorautils: line 3, 'every 30 seconds': cron cannot say this") == err.count("lorautils: ") == 1


def test_a_file_may_come_from_standard_input(model, capsys, monkeypatch):
    given = io.TextIOWrapper(io.BytesIO("\ufeffnoon and midnight\r\n\r\nmidnight".encode()))
    monkeypatch.setattr("sys.stdin", given)
    assert main(["ask", "--file", "-"]) == 0
    out, err = capsys.readouterr()
    assert out == "0 12,13 * * *\n\n0 0 * * *\n" and "line 1, 'noon and midnight'" in err


@pytest.mark.parametrize(
    ("expression", "told"),
    [("*/45 * * * *", "each hour: the last gap is 15 minutes"), ("0 */7 * * *", "each day: the last gap is 3 hours")],
)
def test_a_step_that_does_not_divide_is_told(expression, told):
    assert told in _uneven(expression)


@pytest.mark.parametrize("expression", ["*/15 * * * *", "0 */12 * * *", "45 7 * * 1", "0 9-17/2 */2 * *"])
def test_a_step_that_divides_needs_no_words(expression):
    assert _uneven(expression) == ""


def test_explain_a_range_of_one_hour():
    following = explanation("30 9-9 * * 1").splitlines()[-1]
    assert re.findall(r"\d\d:\d\d", following) == ["09:30"] * 3


def test_explain_a_date_that_never_comes(model, capsys):
    assert main(["ask", "--explain", "on 30 February"]) == 0
    assert "  next: never" in capsys.readouterr().out.splitlines()


def test_an_answer_in_two_lines_is_still_one_line(model, capsys):
    assert main(["ask", "in two lines"]) == 0
    assert capsys.readouterr().out == "0 9 * * 1-5\n"


def test_the_adapter_is_passed_on(model):
    assert main(["ask", "noon", "--adapter", str(cron.ADAPTER.parent / "orders")]) == 0
    assert model.adapter == cron.ADAPTER.parent / "orders"


def test_a_phrase_or_a_file_but_not_both_nor_neither(model, capsys):
    assert "'at noon' and --file: give one of them" in error(capsys, "ask", "at", "noon", "--file", "phrases.txt")


# --- errors are one line --------------------------------------------------------------------------------------------


def code(*arguments):
    """The exit code: of a command that ran, or of a command line that was refused."""
    try:
        return main(arguments)
    except SystemExit as end:
        return end.code


def error(capsys, *arguments):
    assert code(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("lorautils: ") and err.count("\n") == 1
    return err


def test_errors_of_ask(capsys, tmp_path):
    assert "there is no phrase to answer: give one" in error(capsys, "ask", "  ")
    assert "nowhere.txt" in error(capsys, "ask", "--file", str(tmp_path / "nowhere.txt"))
    assert f"{tmp_path} cannot be read" in error(capsys, "ask", "--file", str(tmp_path))
    for raw in ("tous les jours à midi".encode("latin-1"), "noon".encode("utf-16"), "noon".encode("utf-16-le"), b"\0"):
        (tmp_path / "other").write_bytes(raw)
        assert "other is not UTF-8 text" in error(capsys, "ask", "--file", str(tmp_path / "other"))
    assert "holds no adapter" in error(capsys, "ask", "noon", "--adapter", str(tmp_path))


def test_what_stdout_has_no_sign_for_is_written_out(monkeypatch, tmp_path):
    path = lines(tmp_path / "pairs.jsonl", '{"prompt": "今日", "completion": "b"}')
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="cp1252"))
    assert main(["data", path]) == 0
    sys.stdout.seek(0)
    assert r"\u4eca" in sys.stdout.read()


def test_errors_of_train(capsys, tmp_path):
    bad = lines(tmp_path / "pairs.jsonl", '{"prompt": "a", "completion": "b"}', '{"prompt": "a"}')
    output = str(tmp_path / "output")
    assert "pairs.jsonl, line 2" in error(capsys, "train", "--data", bad, "--output", output)
    assert "nowhere.jsonl" in error(capsys, "train", "--data", str(tmp_path / "nowhere.jsonl"), "--output", output)
    assert not Path(output).exists(), "a refused run leaves nothing behind"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.md").write_text("# Thesis")
    for resume in ([], ["--resume", "auto"]):
        said = error(capsys, "train", "--output", str(tmp_path / "mine"), *resume)
        assert "holds files, but no run.json that can be read: name a new folder with --output" in said
    assert "invalid choice: 'maybe' (choose from 'auto')" in error(capsys, "train", "--resume", "maybe")
    assert "report_to is trackio, which is not installed: pip install trackio" in error(
        capsys, "train", "--output", output, "--report_to", "trackio"
    )
    assert not Path(output).exists()


@pytest.mark.parametrize(("single", "half"), [(150, 20), (150, 400)])
def test_bf16_is_refused_where_a_probe_finds_it_slow(monkeypatch, capsys, tmp_path, single, half):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("lorautils.measure.gigaflops", lambda dtype, _: single if dtype == torch.float32 else half)
    data = lines(tmp_path / "pairs.jsonl", "{}")  # the next thing that is refused
    said = error(capsys, "train", "--bf16", "true", "--data", data, "--output", str(tmp_path / "output"))
    refused = "this processor makes 20 GFLOP/s in bf16 and 150 in float32: leave it out" in said
    assert refused == (half < single)


def test_an_error_of_the_base_model_is_one_line(monkeypatch, capsys):
    def no_network(progress):
        raise basemodel.BaseModelError("No network", "the package index", "connect")

    monkeypatch.setattr(basemodel, "fetch", no_network)
    assert error(capsys, "fetch") == "lorautils: No network. Expected: the package index. Next: connect.\n"


def test_a_missing_library_points_to_the_doctor(tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('no torch today')")
    done = lorautils("ask", "noon", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "lorautils: no torch today; `lorautils doctor` says what to do"
    assert "Traceback" not in done.stderr


# --- fetch, doctor, train ---------------------------------------------------------------------------------------------


def lorautils(*arguments, **environment):
    command = [sys.executable, "-m", "lorautils", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ | environment)


def test_fetch_prints_the_folder_alone(monkeypatch, capsys, tmp_path):
    def fetch(progress):
        progress("Downloading")
        return tmp_path

    monkeypatch.setattr(basemodel, "fetch", fetch)
    assert main(["fetch"]) == 0
    assert capsys.readouterr() == (f"{tmp_path}\n", "Downloading\n")


@pytest.mark.parametrize(("level", "code"), [("ok", 0), ("note", 0), ("PROBLEM", 1)])
def test_the_doctor_fails_if_there_is_a_problem(monkeypatch, level, code):
    monkeypatch.setattr(doctor, "CHECKS", {"one": lambda: [doctor.Finding(level, "found", "do this")]})
    assert main(["doctor"]) == code


@pytest.fixture
def tiny_model(monkeypatch, tmp_path_factory):
    """A random Llama of one layer over bytes, in place of the base model."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(["<|im_end|>", "<|im_start|>", *alphabet])}
    bytewise = Tokenizer(models.BPE(vocabulary, merges=[]))
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bytewise.decoder = decoders.ByteLevel()
    end = "<|im_end|>"
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytewise, eos_token=end, pad_token=end)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=64,
        intermediate_size=128,
        initializer_range=0.2,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        eos_token_id=0,
    )
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    monkeypatch.setenv("LORAUTILS_MODEL", str(folder))
    return folder


def test_train_on_own_pairs_saves_an_adapter_that_loads(tiny_model, capsys, tmp_path):
    from peft import PeftModel

    pairs = lines(tmp_path / "pairs.jsonl", *['{"prompt": "ping ", "completion": "pong"}'] * 16)
    output = tmp_path / "deep" / "adapter"
    arguments = ["train", "--data", pairs, "--output", str(output), "--epochs", "20", "--learning_rate", "0.02"]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert "adapter 'default', active, not trained yet: r 8, scaling 4, dropout 0.1" in err and "WARNING" not in err
    assert out.startswith("40 steps, last loss ") and out.endswith(f", adapter in {output}\n")
    model = PeftModel.from_pretrained(basemodel.load_base_model(), output)
    assert evaluation.evaluate(model, basemodel.load_tokenizer(), ["ping "]) == ["pong"]


def test_train_on_cron_reports_test_a(tiny_model, capsys, tmp_path):
    assert main(["train", "--examples", "8", "--epochs", "1", "--output", str(tmp_path / "adapter")]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("1 steps, ") and re.fullmatch(r"Test-A: 0 % \(0-6\) exact of 60", second)


# --- the real thing ---------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not cron.ADAPTER.exists(), reason="adapters/cron is not there: the shipped adapter is needed")
def test_ask_the_shipped_adapter():
    done = lorautils("ask", "every weekday at half past nine")
    assert (done.returncode, done.stdout) == (0, "30 9 * * 1-5\n"), done.stderr


def test_the_installed_command():
    done = subprocess.run([Path(sys.executable).parent / "lorautils", "--help"], capture_output=True, text=True)
    commands = ["doctor", "fetch", "fresh", "ask", "data", "train", "evaluate"]
    assert done.returncode == 0 and re.findall(rf"^    ({'|'.join(commands)}) ", done.stdout, re.M) == commands


QUICK = [  # what is typed, and its exit code
    (["--help"], 0),
    (["train", "--help"], 0),
    (["train", "--epochs", "0"], 2),
    (["ask"], 2),
    (["sing"], 2),
    (["ask", "--file", "nowhere.txt"], 2),
    (["ask", "noon", "--adapter", "."], 2),
    (["train", "--data", "nowhere.jsonl"], 2),
    (["data", "nowhere.jsonl"], 2),
]


def test_help_wrong_flags_and_paths_that_are_not_there_are_answered_before_torch_is_loaded(tmp_path):
    script = f"import sys\nfrom lorautils.cli import main\nfor arguments in {[given for given, _ in QUICK]}:\n"
    script += "    try: code = main(arguments)\n    except SystemExit as end: code = end.code\n"
    script += "    print('CODE', code, 'torch' in sys.modules)\n"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    wanted = [f"CODE {code} False" for _, code in QUICK]
    assert [line for line in done.stdout.splitlines() if line.startswith("CODE ")] == wanted
    assert len(done.stderr.splitlines()) == sum(code == 2 for _, code in QUICK), "an error is one line"
