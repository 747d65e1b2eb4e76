"""Examples -> token ids and labels: chats by the model's own template, the same in training and use, and as in TRL."""

from functools import cache
from pathlib import Path

import pytest
import torch
import trl
from trl.chat_template_utils import get_training_chat_template

from lorautils.basemodel import load_tokenizer
from lorautils.data import IGNORED, Pair, encode
from lorautils.evaluation import evaluate
from lorautils.formats.rows import Chat, Row, Text
from lorautils.formats.tokens import Encoded, encode_rows, render, stop_tokens, tokens

TEMPLATES = Path(trl.__file__).parent / "chat_templates"
STOPS = {"qwen2_5": "<|im_end|>", "llama3": "<|eot_id|>", "gemma": "<end_of_turn>", "phi3": "<|end|>"}
STOPS |= {"qwen3": "<|im_end|>", "qwen3_5_nothink": "<|im_end|>"}


def turns(*texts, system=None):
    spoken = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]
    return ([{"role": "system", "content": system}] if system else []) + spoken


LONG = turns("Hi! 你好", "Good day. 🙂", "And when is noon?", "At twelve,\n\nas ever.", system="Be brief.")
ALONE = LONG[1:]


@cache
def ours():
    return load_tokenizer()


@pytest.fixture
def tokenizer():
    before = {name: getattr(ours(), name) for name in ("chat_template", "eos_token", "name_or_path")}
    yield ours()
    for name, value in before.items():  # a test may set them
        setattr(ours(), name, value)


@cache
def of(name):
    """The course's tokenizer with another model's chat template, and that model's stop token."""
    tokenizer = load_tokenizer()
    tokenizer.chat_template = (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")
    marks = ["<|start_header_id|>", "<|end_header_id|>", "<start_of_turn>", "<|user|>", "<|assistant|>", "<|system|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": [*marks, STOPS[name]]})
    tokenizer.eos_token = STOPS[name]
    return tokenizer


def encoded(tokenizer, chat):
    sequences, refused = encode_rows(tokenizer, [Row("here", chat)])
    assert not refused, refused
    return sequences


def learned(tokenizer, sequence):
    """The texts that carry loss, one a run of labels."""
    runs, before = [], IGNORED
    for label in sequence.labels:
        if label != IGNORED:
            runs = [*runs[:-1], [*runs[-1], label]] if before != IGNORED else [*runs, [label]]
        before = label
    return [tokenizer.decode(run) for run in runs]


def test_loss_is_on_every_answer_and_its_stop_token_and_nowhere_else(tokenizer):
    (sequence,) = encoded(tokenizer, Chat(LONG))
    assert learned(tokenizer, sequence) == ["Good day. 🙂<|im_end|>", "At twelve,\n\nas ever.<|im_end|>"]
    assert all(label in (IGNORED, token) for token, label in zip(sequence.input_ids, sequence.labels, strict=True))
    assert tokenizer.decode(sequence.input_ids) == render(tokenizer, LONG).removesuffix("\n")


def test_answers_that_are_given_and_turns_after_the_last_answer_carry_none(tokenizer):
    more = [*LONG, {"role": "user", "content": "Thanks"}]
    (sequence,) = encoded(tokenizer, Chat(more, given=4))
    assert learned(tokenizer, sequence) == ["At twelve,\n\nas ever.<|im_end|>"]
    assert sequence.labels[-1] == tokenizer.eos_token_id, "what no loss follows is not computed"


@pytest.mark.parametrize("name", STOPS)
def test_a_model_is_asked_with_the_very_tokens_that_stood_before_the_answer(name):
    tokenizer = of(name)
    for sequence in encoded(tokenizer, Chat(ALONE)):
        starts = [
            n for n, label in enumerate(sequence.labels) if label != IGNORED and sequence.labels[n - 1] == IGNORED
        ]
        asked = [tokenizer.apply_chat_template(ALONE[:n], add_generation_prompt=True)["input_ids"] for n in (1, 3)]
        assert all(sequence.input_ids[:start] in asked for start in starts)


@pytest.mark.parametrize("name", STOPS)
def test_the_stop_token_is_the_last_that_is_trained(name):
    tokenizer = of(name)
    answers = [text for sequence in encoded(tokenizer, Chat(ALONE)) for text in learned(tokenizer, sequence)]
    assert [text.endswith(STOPS[name]) and text.count(STOPS[name]) for text in answers] == [1, 1]


@pytest.mark.parametrize("name", ["qwen2_5", "llama3", "gemma", "phi3"])
def test_answers_are_those_that_trl_finds_by_marks_in_the_template(name):
    tokenizer = of(name)
    template = (TEMPLATES / f"{name}_training.jinja").read_text(
        encoding="utf-8"
    )  # the same with {% generation %} marks
    assert "generation %}" not in tokenizer.chat_template
    asked = dict(chat_template=template, return_dict=True, return_assistant_tokens_mask=True)
    theirs = tokenizer.apply_chat_template(ALONE, **asked)
    ids, masks = theirs["input_ids"], theirs["assistant_masks"]
    labels = [token if mask else IGNORED for token, mask in zip(ids, masks, strict=True)]
    found = [text for sequence in encoded(tokenizer, Chat(ALONE)) for text in learned(tokenizer, sequence)]
    marked = [text.strip().partition(STOPS[name]) for text in learned(tokenizer, Encoded(None, ids, labels))]
    # some of TRL's marks hold the newline before an answer, or what follows its stop token, which no model writes
    assert found == [text + stop for text, stop, _ in marked]


MARKED = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def tiny_llama(tokenizer, size=64):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = dict(hidden_size=size, intermediate_size=2 * size, num_hidden_layers=1, num_attention_heads=2)
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id, **shape))


@pytest.mark.parametrize("row", ["messages", "pair", "text"])
def test_losses_are_those_of_trl(tokenizer, tmp_path, row):
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from lorautils.training import batches_of, held_out_loss

    tokenizer.chat_template = MARKED
    given, examples = {
        "messages": ([{"messages": LONG}, {"messages": ALONE}], [Chat(LONG), Chat(ALONE)]),
        "pair": ([{"prompt": "a b", "completion": " c d"}] * 2, [Pair("a b", " c d")] * 2),
        "text": ([{"text": "Noon is at twelve."}, {"text": "你好"}], [Text("Noon is at twelve."), Text("你好")]),
    }[row]
    model = tiny_llama(tokenizer, 16)
    options = dict(report_to="none", use_cpu=True, bf16=False, max_length=None)
    arguments = SFTConfig(str(tmp_path), assistant_only_loss=row == "messages", **options)
    data = Dataset.from_list(given)
    trainer = SFTTrainer(model, arguments, train_dataset=data, eval_dataset=data, processing_class=tokenizer)
    sequences, refused = encode_rows(tokenizer, [Row("here", example) for example in examples])
    assert not refused
    loss = held_out_loss(model, batches_of(tokenizer, [sequence.feature for sequence in sequences]))
    assert trainer.evaluate()["eval_loss"] == pytest.approx(loss, rel=1e-4)


def test_a_template_that_rewrites_earlier_turns_gives_a_sequence_for_each_answer():
    tokenizer = of("qwen3")  # it takes the thoughts of earlier turns away
    sequences = encoded(tokenizer, Chat(ALONE))
    thought = "<think>\n\n</think>\n\n"
    assert [learned(tokenizer, sequence) for sequence in sequences] == [
        [f"{thought}Good day. 🙂<|im_end|>"],
        [f"{thought}At twelve,\n\nas ever.<|im_end|>"],
    ]
    assert get_training_chat_template(tokenizer), "TRL knows it as one that must be changed to be trained"


def test_an_answer_that_merges_with_the_prompt_is_written_as_in_use(tokenizer):
    chat = turns("Hi", "\nHello")  # "\n" ends the prompt, and "\n\n" is one token
    (sequence,) = encoded(tokenizer, Chat(chat))
    asked = tokenizer.apply_chat_template(chat[:1], add_generation_prompt=True)["input_ids"]
    assert sequence.input_ids[: len(asked)] == asked
    assert learned(tokenizer, sequence) == ["\nHello<|im_end|>"]


REFUSED = [  # a template, turns, and what is said
    (None, ALONE, "has no chat template"),
    ("{{ raise_exception('System role not supported') }}", LONG, "System role not supported"),
    ("{% for m in messages %}{{ m.content }}{% endfor %}", ALONE, "without a stop token of the model, '<|im_end|>'"),
    (
        "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<think>{% endif %}",
        ALONE,
        "asks with '<think>', but a finished chat has 'Good day",
    ),
]


@pytest.mark.parametrize(("template", "chat", "message"), REFUSED, ids=[row[2] for row in REFUSED])
def test_what_a_template_cannot_do_is_told_in_one_sentence(tokenizer, template, chat, message):
    tokenizer.chat_template = template
    sequences, refused = encode_rows(tokenizer, [Row("chats.jsonl, line 3", Chat(chat))])
    assert not sequences and len(refused) == 1
    assert refused[0].startswith("chats.jsonl, line 3: ") and message in refused[0]


def test_a_stop_token_in_the_text_of_a_turn_is_refused(tokenizer):
    _, refused = encode_rows(tokenizer, [Row("here", Chat(turns("Hi", "Hello<|im_end|>")))])
    assert "turn 2 holds a stop token" in refused[0]


def test_the_models_own_list_of_stop_tokens_counts(tokenizer, tmp_path):
    from transformers import GenerationConfig

    assert stop_tokens(tokenizer) == {tokenizer.eos_token_id}
    GenerationConfig(eos_token_id=[1, 5]).save_pretrained(tmp_path)
    tokenizer.name_or_path = str(tmp_path)
    assert stop_tokens(tokenizer) == {tokenizer.eos_token_id, 1, 5}
    tokenizer.name_or_path = str(tmp_path / "nowhere")
    assert stop_tokens(tokenizer) == {tokenizer.eos_token_id}


def test_pairs_are_what_they_were_and_get_one_stop_token(tokenizer):
    pair = Pair("<|im_start|>user\nHi<|im_end|>\n", "Hello")
    (sequence,) = encoded(tokenizer, pair)
    assert sequence.feature == encode(tokenizer, [pair])[0]
    assert encode(tokenizer, [Pair("a", "b<|im_end|>")]) == encode(tokenizer, [Pair("a", "b")])
    feature = sequence.feature
    assert encode(tokenizer, [feature, pair])[0] is feature, "what is encoded stays as it is"


def test_a_text_is_learned_from_end_to_end(tokenizer):
    (sequence,) = encoded(tokenizer, Text("Noon."))
    assert learned(tokenizer, sequence) == ["Noon.<|im_end|>"]


def test_a_tokenizer_without_an_end_is_refused(tokenizer):
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match="no end-of-text token"):
        encode_rows(tokenizer, [Row("here", Text("a"))])


def test_a_chat_is_learned_and_answered_as_it_was_trained(tokenizer):
    from lorautils.training import train

    model = tiny_llama(tokenizer, 32)
    sequences = encoded(tokenizer, Chat(ALONE))
    rows = [sequence.feature for sequence in sequences] * 4
    history = train(model, tokenizer, rows, epochs=40, learning_rate=3e-2, progress=False)
    assert history.steps == 40, "a row whose last turn carries no loss is not left out"
    prompts = [render(tokenizer, ALONE[:n], ask=True) for n in (1, 3)]
    assert evaluate(model, tokenizer, prompts) == [ALONE[1]["content"], ALONE[3]["content"]]
    assert tokens(tokenizer, sequences[0].row, stop_tokens(tokenizer))[0].feature == rows[0]
