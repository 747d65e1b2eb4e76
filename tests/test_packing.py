"""Packed rows: every sequence whole and alone in its row, with the losses of unpacked rows, and those of TRL."""

import pytest
import torch
from test_chats import tiny_llama
from test_train_command import FAMILIES, small

from lorautils.basemodel import load_tokenizer
from lorautils.data import IGNORED, Pair, collate, encode
from lorautils.formats import packing
from lorautils.scaling.fused import loss_of_fewer_rows
from lorautils.training import answer_loss, batches_of, held_out_loss, train

FEATURES = [  # ids of a tiny vocabulary; a text has loss on its first token too, which nothing predicts
    {"input_ids": [3 + n] * n + [5, 6, 1], "labels": [IGNORED] * n + [5, 6, 1]} for n in range(1, 8)
] + [{"input_ids": [7, 8, 9, 1], "labels": [7, 8, 9, 1]}]


def test_rows_hold_all_sequences_each_whole_and_little_is_padded():
    rows = packing.packed(FEATURES, 12)
    assert len(rows) == 5 and max(len(row["input_ids"]) for row in rows) <= 12
    parts = [part for row in rows for part in packing.unpacked(row)]
    assert sorted(part["input_ids"] for part in parts) == sorted(feature["input_ids"] for feature in FEATURES)
    assert all(part["labels"][0] == IGNORED for part in parts), "nothing is predicted across a border"
    assert "attention_mask" not in collate(rows, 0)


@pytest.mark.parametrize("family", FAMILIES)
def test_losses_and_gradients_are_those_of_unpacked_rows(family):
    model = small(family).eval()
    rows = collate(packing.packed(FEATURES, 20), 0)
    losses, gradients = [], []
    for batch in (collate(FEATURES, 0), rows):
        losses.append(answer_loss(model, batch))
        gradients.append(torch.autograd.grad(losses[-1], model.get_input_embeddings().weight)[0])
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(loss_of_fewer_rows(model, rows), losses[0], rtol=1e-5, atol=1e-5)


def test_a_model_that_does_not_keep_them_apart_is_refused(monkeypatch):
    model = small("Llama", initializer_range=0.2)
    rows = packing.packed(FEATURES, 20)
    packing.check(model, rows, 0)
    seen = model.forward
    monkeypatch.setattr(model, "forward", lambda position_ids=None, **inputs: seen(**inputs))
    with pytest.raises(ValueError, match=r"does not keep packed examples apart.*: leave packing out"):
        packing.check(model, rows, 0)


def test_losses_are_those_of_trl(tmp_path):
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    tokenizer = load_tokenizer()
    pairs = [("a b", " c d"), ("who?", " nobody at all"), ("one", " two"), ("a longer one, at last", " yes")]
    model = tiny_llama(tokenizer, 16)
    data = Dataset.from_list([{"prompt": prompt, "completion": completion} for prompt, completion in pairs])
    options = dict(report_to="none", use_cpu=True, bf16=False, max_length=16, packing=True, eval_packing=True)
    arguments = SFTConfig(str(tmp_path), **options)
    trainer = SFTTrainer(model, arguments, train_dataset=data, eval_dataset=data, processing_class=tokenizer)
    rows = packing.packed(encode(tokenizer, [Pair(*pair) for pair in pairs]), 16)
    assert len(rows) < len(pairs)
    loss = held_out_loss(model, batches_of(tokenizer, rows))
    assert trainer.evaluate()["eval_loss"] == pytest.approx(loss, rel=1e-4)


def test_packed_rows_are_trained():
    tokenizer = load_tokenizer()
    rows = packing.packed(encode(tokenizer, [Pair(f"{n} ", "pong") for n in range(12)]), 16)
    history = train(tiny_llama(tokenizer, 16), tokenizer, rows, epochs=8, learning_rate=1e-2, progress=False)
    assert history.loss[-1] < history.loss[0] - 0.5
