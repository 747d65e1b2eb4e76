"""`lorautils data`: every fault that a training would pass over is found, with its place, and nothing else is."""

import json

import pytest

from lorautils.cli import main
from lorautils.data import Pair
from lorautils.formats import alike, report, rows, tokens
from lorautils.formats.rows import Chat, Row, Text


def chat(*texts, **more):
    return {
        "messages": [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]
    } | more


GOOD = [chat(f"How much is {n} and {n}?", f"{2 * n}.", "Thanks!", f"Glad to help with {n}.") for n in range(40)]


def said(capsys, tmp_path, given, *options):
    """The exit code and the lines of a report on rows."""
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in given), encoding="utf-8")
    code = main(["data", str(path), *options])
    return code, capsys.readouterr().out.replace(f"{path}, ", "")


def test_good_data_are_counted_shown_and_leave_with_zero(capsys, tmp_path):
    code, out = said(capsys, tmp_path, GOOD)
    assert code == 0 and out.endswith("\n0 problems found.\n") and "note " not in out
    assert "examples   40 (40 messages)\n" in out and "sequences  40," in out
    assert "no loss  '<|im_start|>' 'system'" in out
    assert "LOSS     '0' '.' '<|im_end|>'\nno loss  '\\n' '<|im_start|>' 'user'" in out
    assert out.count("LOSS ") == 2


SYSTEM = {"role": "system", "content": "You are the desk."}


def swapped(row):
    return [{**turn, "role": {"user": "assistant", "assistant": "user"}[turn["role"]]} for turn in row["messages"]]


FAULTS = [  # a row that is added to the good ones, and the finding
    (chat("Who?", ""), "rows that cannot be used: 1\n         line 41: turn 2 of messages must be"),
    (chat("Who?", "I<|im_end|>"), "rows that cannot be used: 1\n         line 41: turn 2 holds a stop token"),
    (chat("Who?", "word " * 1100), "sequences over the limit of 1,024 tokens: 1\n         line 41: 1,"),
    (GOOD[7], "rows that repeat another, word for word or nearly so: 1\n         line 8; line 41"),
    (chat("how much is 7 and 7", "14", "thanks", "glad to help  with 7."), "nearly so: 1\n         line 8; line 41"),
    (chat("How much is 7 and 7?", "14.", "Thanks!", "Glad to help with -7."), "a mixture: 1\n         line 8; line 41"),
    (chat("Say <|im_start|>", "No."), "special tokens of the model inside the text of a turn: line 41"),
    (
        chat("Who?", "I.</s>"),
        "marks of a template, which this tokenizer reads as common letters, </s>; take them away: l",
    ),
    (chat("Who?", "I.", "[INST] Why? [/INST]", "So."), "common letters, [/INST], [INST]; take them away: line 41"),
    ({"messages": [SYSTEM, SYSTEM, *chat("Who?", "I.")["messages"]]}, "join them to the first: line 41"),
    ({"messages": [*chat("Who?", "I.")["messages"], SYSTEM]}, "join them to the first: line 41"),
    (
        {"messages": [SYSTEM, *swapped(chat("Who?", "I."))]},
        "line 41: the assistant speaks first: are the roles swapped?",
    ),
]


@pytest.mark.parametrize(("row", "finding"), FAULTS, ids=[finding[:40] for _, finding in FAULTS])
def test_one_fault_of_forty_rows_is_found_with_its_place(capsys, tmp_path, row, finding):
    code, out = said(capsys, tmp_path, [*GOOD, row])
    assert code == 1 and out.endswith("\n1 problem found.\n")
    assert out.count("PROBLEM ") == 1 and finding in out, out


def test_a_line_that_is_not_utf8_hides_no_other_fault(capsys, tmp_path):
    lines = [json.dumps(row).encode() for row in [*GOOD, chat("Who?", ""), chat("Where?", "At the caf.")]]
    (tmp_path / "mine.jsonl").write_bytes(b"\n".join(lines).replace(b"caf", b"caf\xe9"))
    assert main(["data", str(tmp_path / "mine.jsonl")]) == 1
    out = capsys.readouterr().out
    assert "rows that cannot be used: 2" in out and "line 41: turn 2" in out and "line 42: not UTF-8 text" in out


def test_many_rows_of_one_fault_hide_no_other_fault(capsys, tmp_path):
    unread = [{"messages": swapped(chat(f"Who is {n}?", "I."))} for n in range(12)]
    code, out = said(capsys, tmp_path, [*GOOD, *unread, chat("Who?", ""), chat("Who?", "I<|im_end|>")])
    assert code == 1 and "cannot be used: 14" in out and "and 9 more" in out
    assert all(f"line {line}: " in out for line in (41, 53, 54))


NOTES = [
    ([*GOOD, chat("<b>Who</b> is <s>he</s> it? x <| y |> z", "I.")], "0 problems"),
    ([*GOOD, {"messages": [*chat("Who?")["messages"], *chat("You?", "I.")["messages"]]}], "twice in a row: line 41"),
    ([*GOOD, {"messages": [SYSTEM, *chat("Who?", "I.")["messages"]]}], "a system turn, while others have one: 40;"),
    ([*GOOD, chat("Who?", "I.", "And")], "do not end in an answer, so that nothing learns from their end: line 41"),
    ([*GOOD, chat("Who?", "I.", id=3)], "ignored fields: id"),
    ([{"prompt": "a", "completion": " b<|im_end|>"}], "ends these already, and is not added again: line 1"),
    ([{"prompt": "a", "completion": " b"}], "--chat true makes them turns"),
]


@pytest.mark.parametrize(("given", "note"), NOTES, ids=[note for _, note in NOTES])
def test_what_is_no_fault_is_said_and_leaves_with_zero(capsys, tmp_path, given, note):
    code, out = said(capsys, tmp_path, given)
    assert code == 0 and note in out, out


def test_chat_makes_turns_of_strings(capsys, tmp_path):
    code, out = said(
        capsys,
        tmp_path,
        [{"question": "a", "answer": "b"}],
        "--rename=question=prompt,answer=completion",
        "--chat",
        "true",
    )
    assert code == 0 and "LOSS     'b' '<|im_end|>'" in out and "note" not in out


def test_what_cannot_be_read_leaves_with_two_and_one_line(capsys, tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"question": "a", "answer": "b"}')
    for arguments in ([str(path)], [str(tmp_path / "nowhere.csv")], [str(path), "--rename", "question"]):
        assert main(["data", *arguments]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.startswith("lorautils: ") and err.count("\n") == 1


def test_help_names_every_format_and_every_kind_of_file(capsys):
    with pytest.raises(SystemExit):
        main(["data", "--help"])
    out = capsys.readouterr().out
    assert all(f'"{name}"' in out for needed, _ in rows.FORMATS.values() for name in needed)
    assert all(kind in out for kind in ("JSONL", "JSON array", "CSV", "TSV", "Parquet"))


def test_a_long_list_is_cut_and_says_so(capsys, tmp_path):
    code, out = said(capsys, tmp_path, GOOD + GOOD[:9])
    assert code == 1 and "nearly so: 9\n" in out and out.count("\n         line ") == 5 and "and 4 more\n" in out


def test_a_file_that_is_named_twice_repeats_its_rows(capsys, tmp_path):
    code, out = said(capsys, tmp_path, GOOD, str(tmp_path / "mine.jsonl"))
    assert code == 1 and "nearly so: 40\n" in out and "note " not in out


def test_characters_of_several_tokens_are_shown_whole(tokenizer):
    (sequence,) = tokens.encode_rows(tokenizer, [Row("here", Pair("你好", "👩‍🚀 é"))])[0]
    shown = report.shown(tokenizer, sequence, width=30)
    assert "\ufffd" not in shown and "'你'=2 tokens" in shown and max(map(len, shown.splitlines())) <= 30
    (sequence,) = tokens.encode_rows(tokenizer, [Row("here", Text("word " * 500))])[0]
    assert report.shown(tokenizer, sequence).endswith(f"and {len(sequence.input_ids) - report.SHOWN} more tokens")


def test_padding_is_what_the_training_pads(tokenizer):
    given = rows.Data([Row("here", Text("word " * length)) for length in (1, 1, 5, 5)])
    sequences, _ = tokens.encode_rows(tokenizer, given.rows)
    assert "padding    0% of a batch of 2" in report.counts(given, sequences, 2)
    widths = [len(sequence.input_ids) for sequence in sequences]
    share = 1 - sum(widths) / (4 * max(widths))
    assert f"padding    {share:.0%} of a batch of 4" in report.counts(given, sequences, 4)


@pytest.fixture(scope="module")
def tokenizer():
    from lorautils.basemodel import load_tokenizer

    return load_tokenizer()


def test_the_held_out_part_shares_no_prompt_and_is_drawn_by_the_seed(tokenizer):
    examples = [Pair(f"Say {n % 50}{'!' * (n // 50)}", f"{n}") for n in range(150)]
    examples += [Chat(chat(f"Say {n}", "a", "b", str(n))["messages"]) for n in range(25)]
    examples += [Text(f"text {n}") for n in range(25)]
    sequences, _ = tokens.encode_rows(tokenizer, [Row(str(n), example) for n, example in enumerate(examples)])
    train, held = alike.split(sequences, 0.1, seed=0)
    assert sorted(s.row.where for s in train + held) == sorted(s.row.where for s in sequences)
    prompts = [{alike.bare(alike.answers(s.row.example)[-1][0]) for s in part} - {""} for part in (train, held)]
    assert not prompts[0] & prompts[1] and 5 <= len(held) <= 40
    assert alike.split(sequences, 0.1, seed=0) == (train, held) != alike.split(sequences, 0.1, seed=1)
    for few, share in ((sequences[:1] * 4, 0.5), (sequences[:2], 0.6)):
        with pytest.raises(ValueError, match="different prompts, leaves none to train on"):
            alike.split(few, share, seed=0)
