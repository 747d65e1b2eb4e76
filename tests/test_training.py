"""train(), evaluate(), the loss on answer tokens, interrupts, resuming and the user's own data."""

import json
import math
import shutil
import signal
import sys
import threading
from contextlib import contextmanager
from dataclasses import asdict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from lorautils import evaluation, setup, training
from lorautils.basemodel import load_tokenizer
from lorautils.data import IGNORED, Pair, collate, encode, load_pairs
from lorautils.evaluation import evaluate
from lorautils.tasks import cron
from lorautils.tasks.cron import train_examples
from lorautils.training import answer_loss, train

PAIRS = [Pair(f"Cron: minute {m}\n", f"{m} * * * *") for m in range(16)]


@pytest.fixture(scope="session")
def tokenizer():
    return load_tokenizer()


def tiny_llama(seed: int = 0, layers: int = 2) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config)


def tiny_lora(seed: int = 0, dropout: float = 0.0):
    model = tiny_llama(seed)
    torch.manual_seed(seed)
    return get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", lora_dropout=dropout))


def test_labels_cover_the_answer_and_the_stop_token_only(tokenizer):
    pair = Pair("Cron: at noon\n", "0 12 * * *")
    (feature,) = encode(tokenizer, [pair])
    kept = [token for token, label in zip(feature["input_ids"], feature["labels"], strict=True) if label != IGNORED]
    assert tokenizer.decode(kept) == "0 12 * * *<|im_end|>"
    assert tokenizer.decode(feature["input_ids"]) == "Cron: at noon\n0 12 * * *<|im_end|>"


def test_encoding_apart_equals_encoding_the_whole_text(tokenizer):
    for pair in cron.cron_pairs(train_examples(200, seed=3)):
        (feature,) = encode(tokenizer, [pair])
        whole = tokenizer(pair.prompt + pair.completion + tokenizer.eos_token)["input_ids"]
        assert feature["input_ids"] == whole


def test_padding_by_length_keeps_every_stop_token(tokenizer):
    features = encode(tokenizer, [Pair("a\n", "1"), Pair("a much longer prompt than that\n", "2 3 4")])
    batch = collate(features, tokenizer.pad_token_id)
    assert (batch["labels"] == tokenizer.eos_token_id).sum() == 2
    assert batch["attention_mask"].sum() == sum(len(feature["input_ids"]) for feature in features)
    assert ((batch["labels"] == IGNORED) | (batch["attention_mask"] == 1)).all()


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_loss_on_answer_rows_equals_the_loss_of_transformers(tokenizer, architecture):
    model = (
        tiny_llama()
        if architecture == "llama"
        else GPT2LMHeadModel(GPT2Config(vocab_size=49152, n_embd=32, n_layer=2, n_head=2))
    ).eval()
    batch = collate(encode(tokenizer, PAIRS[:5]), tokenizer.pad_token_id)
    expected = model(**batch).loss
    answer_tokens = (batch["labels"] != IGNORED).sum()
    actual = answer_loss(model, batch) / answer_tokens
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)
    wanted = torch.autograd.grad(expected, model.get_input_embeddings().weight)[0]
    given_ = torch.autograd.grad(actual, model.get_input_embeddings().weight)[0]
    torch.testing.assert_close(given_, wanted, rtol=1e-4, atol=1e-6)


def test_the_head_sees_answer_rows_only_and_its_hook_goes_away(tokenizer):
    model, seen = tiny_llama(), []
    batch = collate(encode(tokenizer, PAIRS[:4]), tokenizer.pad_token_id)
    model.lm_head.register_forward_hook(lambda head, inputs, output: seen.append(tuple(output.shape)))
    answer_loss(model, batch)
    model(input_ids=batch["input_ids"])
    assert seen[0] == (1, (batch["labels"] != IGNORED).sum().item(), 49152)
    assert seen[1] == (*batch["input_ids"].shape, 49152)


def test_training_learns_and_is_the_same_twice(tokenizer):
    runs = []
    for _ in range(2):
        setup(0)
        model = tiny_lora(dropout=0.1)
        runs.append(train(model, tokenizer, PAIRS, epochs=10, learning_rate=1e-1, seed=0, progress=False))
    assert runs[0].loss == runs[1].loss
    assert runs[0].steps == runs[0].total_steps == 20
    assert runs[0].loss[-1] < runs[0].loss[0] - 0.05
    assert runs[0].trained_tokens == 10 * sum(len(f["input_ids"]) for f in encode(tokenizer, PAIRS))
    json.dumps(asdict(runs[0]))


HELD_OUT = [Pair(f"Cron: minute {m}\n", f"{m} * * * *") for m in range(16, 24)]


def test_losses_are_the_same_whether_somebody_looks_at_held_out_pairs_or_not(tokenizer):
    runs = {}
    for looks in ({}, {"held_out": HELD_OUT}, {"held_out": HELD_OUT, "held_out_steps": 1, "keep_best": True}):
        setup(0)
        runs[len(looks)] = train(tiny_lora(dropout=0.5), tokenizer, PAIRS, learning_rate=1e-1, progress=False, **looks)
    assert runs[0].loss == runs[1].loss == runs[3].loss
    assert runs[0].held_out == []
    assert [step for step, _ in runs[1].held_out] == [2, 4, 6]  # once an epoch
    assert [step for step, _ in runs[3].held_out] == [1, 2, 3, 4, 5, 6]
    assert dict(runs[1].held_out).items() <= dict(runs[3].held_out).items()


def test_the_held_out_loss_is_the_mean_over_answer_tokens(tokenizer):
    model = tiny_lora(dropout=0.5)
    history = train(model, tokenizer, PAIRS, epochs=1, held_out=HELD_OUT, progress=False)
    batch = collate(encode(tokenizer, HELD_OUT), tokenizer.pad_token_id)
    with torch.no_grad():
        expected = model.eval()(**batch).loss.item()
    assert history.held_out == [(2, pytest.approx(expected, rel=1e-5))]


def test_every_third_step_and_the_last_are_looked_at(tokenizer):
    history = train(tiny_lora(), tokenizer, PAIRS, epochs=4, held_out=HELD_OUT, held_out_steps=3, progress=False)
    assert [step for step, _ in history.held_out] == [3, 6, 8]


@pytest.fixture
def looks(monkeypatch):
    """The trained parameters at each look at held-out pairs; the second look finds the lowest loss."""
    seen = []

    def held_out_loss(model, batches):
        seen.append(trained(model))
        return 1.0 if len(seen) == 2 else 2.0

    monkeypatch.setattr(training, "held_out_loss", held_out_loss)
    return seen


def trained(model):
    return torch.cat([p.detach().clone().flatten() for p in model.parameters() if p.requires_grad])


FAR = {"epochs": 6, "learning_rate": 1e-1, "held_out": HELD_OUT, "held_out_steps": 1, "progress": False}


@pytest.mark.parametrize("keep_best", [False, True])
def test_the_best_state_is_kept_on_request(tokenizer, looks, keep_best):
    model = tiny_lora()
    history = train(model, tokenizer, PAIRS, **FAR, keep_best=keep_best)
    assert [loss for _, loss in history.held_out] == [2.0, 1.0] + [2.0] * 10
    assert not torch.equal(looks[1], looks[-1])
    assert torch.equal(trained(model), looks[1 if keep_best else -1])


def test_a_resumed_run_knows_the_best_state_of_its_first_half(tokenizer, looks, tmp_path):
    train(tiny_lora(), tokenizer, PAIRS, **FAR, keep_best=True, output_dir=tmp_path)
    shutil.rmtree(training.last_checkpoint(tmp_path))
    resumed = tiny_lora()
    history = train(resumed, tokenizer, PAIRS, **FAR, keep_best=True, output_dir=tmp_path, resume=True)
    assert len(looks) == 14 and [step for step, _ in history.held_out] == list(range(1, 13))
    assert torch.equal(trained(resumed), looks[1])
    assert not list(tmp_path.glob("*.part"))


def test_accumulated_batches_are_one_batch(tokenizer):
    pairs = [Pair(pair.prompt, pair.completion * (n % 4 + 1)) for n, pair in enumerate(PAIRS)]  # of unequal lengths
    models, runs = [], []
    for parts in (1, 4):
        models.append(tiny_lora())
        options = {"batch_size": 16 // parts, "gradient_accumulation_steps": parts, "epochs": 3, "learning_rate": 1e-2}
        runs.append(train(models[-1], tokenizer, pairs, progress=False, **options))
    assert [run.steps for run in runs] == [3, 3]
    assert runs[1].loss == pytest.approx(runs[0].loss, rel=1e-5)
    torch.testing.assert_close(trained(models[1]), trained(models[0]), rtol=1e-3, atol=1e-5)


def test_a_run_without_a_lower_loss_ends_early_with_its_best_state(tokenizer, looks, tmp_path):
    model = tiny_lora()
    history = train(model, tokenizer, PAIRS, **FAR, patience=3, output_dir=tmp_path, save_steps=1)
    assert (history.steps, history.total_steps, history.interrupted) == (5, 12, 0)
    assert torch.equal(trained(model), looks[1])
    again = tiny_lora()  # as if the run had been killed before its adapter was saved
    history = train(again, tokenizer, PAIRS, **FAR, patience=3, output_dir=tmp_path, save_steps=1, resume=True)
    assert history.loss == [] and torch.equal(trained(again), looks[1])


def test_a_run_that_is_resumed_remembers_for_how_long_it_has_looked_in_vain(tokenizer, looks, tmp_path):
    train(tiny_lora(), tokenizer, PAIRS, **FAR, patience=3, output_dir=tmp_path, save_steps=1)
    shutil.rmtree(training.last_checkpoint(tmp_path))
    history = train(tiny_lora(), tokenizer, PAIRS, **FAR, patience=3, output_dir=tmp_path, save_steps=1, resume=True)
    assert [step for step, _ in history.held_out] == [1, 2, 3, 4, 5] and history.steps == 5


@pytest.mark.parametrize("options", [{"epochs": 2}, {"epochs": 1.5}])
def test_a_checkpoint_of_the_end_of_an_epoch_knows_what_was_found_there(tokenizer, tmp_path, options):
    options |= {"held_out": HELD_OUT, "keep_best": True, "output_dir": tmp_path, "save_steps": 1, "progress": False}
    history = train(tiny_lora(), tokenizer, PAIRS, **options)
    state = json.loads((training.last_checkpoint(tmp_path) / "trainer_state.json").read_text())
    assert [(e["step"], e["eval_loss"]) for e in state["log_history"] if "eval_loss" in e] == history.held_out
    assert state["best_metric"] == min(loss for _, loss in history.held_out)


def test_a_logger_by_name_sees_both_losses(tokenizer, tmp_path, monkeypatch):
    """A stand-in for tensorboard, of the name under which transformers also looks for it."""
    writer = "class SummaryWriter:\n    seen = []\n    def __init__(self, **_): pass\n"
    writer += "    def __getattr__(self, name): return lambda *given, **_: self.seen.append((name, *given))\n"
    (tmp_path / "tensorboardX.py").write_text(writer)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.setattr("transformers.integrations.integration_utils.is_tensorboard_available", lambda: True)
    options = {"epochs": 1, "held_out": HELD_OUT, "report_to": "tensorboard", "progress": False}
    history = train(tiny_lora(), tokenizer, PAIRS, output_dir=tmp_path / "run", **options)
    seen = {(name, step): value for kind, name, value, step in _four(sys.modules["tensorboardX"].SummaryWriter.seen)}
    assert seen["train/loss", 1] == history.loss[0] and seen["eval/loss", 2] == history.held_out[0][1]


def _four(calls):
    return [call for call in calls if call[0] == "add_scalar"]


def test_a_loss_that_is_no_number_is_shown_as_such(tokenizer):
    @contextmanager
    def broken(model):
        yield lambda model, batch: answer_loss(model, batch) * float("nan")

    history = train(tiny_lora(), tokenizer, PAIRS, epochs=1, loss=broken, progress=False)
    assert len(history.loss) == 2 and all(math.isnan(loss) for loss in history.loss)


def test_a_frozen_adapter_is_saved_whole(tmp_path):
    model = tiny_lora().requires_grad_(False)
    assert training.save_adapter(model, tmp_path)
    saved = load_file(tmp_path / "adapter_model.safetensors")
    assert len(saved) == sum("lora_" in name for name, _ in model.named_parameters())


def test_another_loss_is_one_argument(tokenizer):
    """As docs and notebook 08 say: a context manager that is entered once, and yields the summed loss of a batch."""
    entered = []

    @contextmanager
    def half(model):
        entered.append(model)
        yield lambda model, batch: answer_loss(model, batch) / 2

    model = tiny_lora()
    plain = train(tiny_lora(), tokenizer, PAIRS, epochs=1, learning_rate=0.0, progress=False)
    halved = train(model, tokenizer, PAIRS, epochs=1, learning_rate=0.0, loss=half, progress=False)
    assert entered == [model]
    assert halved.loss == pytest.approx([loss / 2 for loss in plain.loss], rel=1e-5)


def test_every_example_is_trained_on_also_one_that_ends_without_loss(tokenizer):
    seen = []

    @contextmanager
    def noting(model):
        yield lambda model, batch: seen.extend(batch["input_ids"][:, 0].tolist()) or answer_loss(model, batch)

    ends = [IGNORED, 9, IGNORED, 9, 9]  # of a chat, what stands after its last answer
    rows = [{"input_ids": [n, 8, 9], "labels": [IGNORED, 8, end]} for n, end in enumerate(ends, start=10)]
    train(tiny_lora(), tokenizer, rows, epochs=1, batch_size=2, loss=noting, progress=False)
    assert sorted(seen) == [10, 11, 12, 13, 14]


def test_only_what_requires_a_gradient_moves(tokenizer):
    model = tiny_lora()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train(model, tokenizer, PAIRS, epochs=3, learning_rate=1e-2, progress=False)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for name in before if "lora_" in name}


def test_batches_hold_similar_lengths_and_every_example_once():
    lengths = [10 + 7 * i % 50 for i in range(101)]
    sampler = training.LengthSortedSampler(lengths, batch_size=8, seed=0)
    orders = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
        assert sorted(orders[-1]) == list(range(101)) and orders[-1] == list(sampler)
        batches = [[lengths[i] for i in orders[-1][start : start + 8]] for start in range(0, 96, 8)]
        assert max(max(batch) - min(batch) for batch in batches) <= 12
        assert batches != sorted(batches)
    assert orders[0] != orders[1] != orders[2]


def interrupt_after(step: int):
    """Return a callback that sends this process a Ctrl-C at the end of a step."""

    class Interrupt(training.TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == step - 1:
                signal.raise_signal(signal.SIGINT)

    return Interrupt()


@pytest.mark.parametrize("keep_best", [False, True])
def test_interrupt_saves_and_resume_reaches_the_same_losses(tokenizer, tmp_path, monkeypatch, capsys, keep_best):
    def run(folder, **options):
        setup(0)
        model = tiny_lora(dropout=0.1)
        options |= {"epochs": 4, "seed": 0, "held_out": HELD_OUT, "keep_best": keep_best}
        options |= {"output_dir": folder, "progress": False}
        return model, train(model, tokenizer, PAIRS, **options)

    _, whole = run(tmp_path / "whole")
    original = training.AnswerTrainer.__init__

    def with_interrupt(self, *args, **kwargs):
        original(self, *args, **kwargs)
        self.add_callback(interrupt_after(step=3))

    with monkeypatch.context() as patch:
        patch.setattr(training.AnswerTrainer, "__init__", with_interrupt)
        model, stopped = run(tmp_path / "stopped")
    assert stopped.interrupted and stopped.steps == 3 and stopped.total_steps == 8
    assert [step for step, _ in stopped.held_out] == [2], "whoever interrupts shall not wait for one more look"
    said = capsys.readouterr().out
    assert "Stopped after step 3 of 8" in said and "resume=True" in said
    assert ("has the state of its best look" in said) == keep_best
    assert evaluate(model, tokenizer, ["Cron:"], max_new_tokens=2)  # the model is usable
    _, resumed = run(tmp_path / "stopped", resume=True)
    assert resumed.steps == 8 and not resumed.interrupted
    assert stopped.loss + resumed.loss == pytest.approx(whole.loss, rel=1e-6)
    assert resumed.held_out == [(step, pytest.approx(loss)) for step, loss in whole.held_out]


@pytest.fixture
def interruptible():
    """A Python that SIGINT interrupts; one that a shell's `&` started ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_second_interrupt_is_an_ordinary_one(interruptible):
    callback = training._Progress(training.History(), show=False)
    with pytest.raises(KeyboardInterrupt), callback.running():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_training_works_outside_the_main_thread(tokenizer):
    result = []
    worker = threading.Thread(
        target=lambda: result.append(train(tiny_lora(), tokenizer, PAIRS, epochs=1, progress=False))
    )
    worker.start()
    worker.join()
    assert result[0].steps == 2


def test_an_incomplete_checkpoint_is_passed_over(tokenizer, tmp_path):
    train(tiny_lora(), tokenizer, PAIRS, epochs=2, output_dir=tmp_path, progress=False)
    (tmp_path / "checkpoint-9").mkdir()  # a run that was killed while it saved
    assert training.last_checkpoint(tmp_path).name == "checkpoint-4"
    (tmp_path / "checkpoint-9" / "trainer_state.json").write_text('{"epoch": 4')
    assert training.last_checkpoint(tmp_path).name == "checkpoint-4"
    with pytest.raises(OSError, match="no complete checkpoint: start the run without resume"):
        train(tiny_lora(), tokenizer, PAIRS, output_dir=tmp_path / "checkpoint-9", resume=True, progress=False)
    shutil.copytree(tmp_path / "checkpoint-2", tmp_path / "checkpoint-2 copy")  # by hand
    assert training.last_checkpoint(tmp_path).name == "checkpoint-4"


def test_a_second_run_does_not_mix_its_checkpoints_with_those_of_the_first(tokenizer, tmp_path):
    train(tiny_lora(), tokenizer, PAIRS, epochs=1, output_dir=tmp_path, progress=False)
    with pytest.raises(FileExistsError, match="resume=True, or name a new folder"):
        train(tiny_lora(), tokenizer, PAIRS, epochs=2, output_dir=tmp_path, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-2"]


def test_without_a_folder_nothing_is_written(tokenizer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(tiny_lora(), tokenizer, PAIRS, epochs=1, progress=False)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("launched", "devices", "there", "expected"),
    [(1, 0, "cpu", False), (1, 1, "cpu", False), (1, 1, "meta", True), (2, 1, "cpu", False), (2, 2, "cpu", True)],
)
def test_one_process_trains_where_its_model_is_several_where_each_has_a_device(
    monkeypatch, launched, devices, there, expected
):
    monkeypatch.setenv("WORLD_SIZE", str(launched))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(launched))
    monkeypatch.setattr("torch.accelerator.device_count", lambda: devices)
    assert training.uses_accelerator(torch.nn.Linear(2, 2, device=there)) == expected


def test_an_accelerator_that_the_model_is_not_on_is_left_alone(tokenizer, monkeypatch):
    """It ends where the trainer is built: a CUDA build of torch that finds no driver would stop in the first step."""
    monkeypatch.setattr("torch.accelerator.is_available", lambda: True)

    class Built(Exception):
        pass

    def watched(self, *args, **kwargs):
        raise Built(kwargs["args"].use_cpu)

    monkeypatch.setattr(training.AnswerTrainer, "__init__", watched)
    with pytest.raises(Built, match="True"):
        train(tiny_lora(), tokenizer, PAIRS, epochs=1, progress=False)


def test_batched_greedy_answers_equal_those_one_by_one(tokenizer):
    model = tiny_llama(seed=4)
    prompts = ["one", "a longer prompt with more words", "and\nanother", "x" * 40]
    batched = evaluate(model, tokenizer, prompts, max_new_tokens=6, batch_size=3)
    assert batched == [evaluate(model, tokenizer, [p], max_new_tokens=6)[0] for p in prompts]
    assert len(set(batched)) > 1
    assert evaluate(model, tokenizer, []) == []


def test_evaluate_leaves_the_mode_as_it_was(tokenizer):
    model = tiny_llama().train()
    evaluate(model, tokenizer, ["a"], max_new_tokens=1)
    assert model.training


def test_text_loss_is_the_mean_over_predicted_tokens(tokenizer):
    model = tiny_llama()
    loss, tokens = evaluation.text_loss(model, tokenizer, "The quick brown fox.")
    ids = tokenizer("The quick brown fox.", return_tensors="pt")["input_ids"]
    log_p = model(ids).logits.log_softmax(-1)[0, :-1].gather(1, ids[0, 1:, None])
    assert tokens == ids.shape[1] - 1
    assert loss == pytest.approx(-log_p.mean().item(), rel=1e-5)


text = st.text(min_size=1).filter(lambda s: s.strip())


@settings(derandomize=True, deadline=None, max_examples=50)
@given(pairs=st.lists(st.builds(Pair, text, text), min_size=1, max_size=5))
def test_pairs_survive_the_file(pairs, tmp_path_factory):
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    path.write_text("\n".join(json.dumps(pair._asdict(), ensure_ascii=False) for pair in pairs), encoding="utf-8")
    assert load_pairs(path) == pairs
