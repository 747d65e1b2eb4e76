"""lorautils.texts: each text is the one that figures were measured on, is long enough, and repeats nothing."""

import hashlib
import subprocess
import sys
from collections import Counter

import pytest

from lorautils.basemodel import load_tokenizer
from lorautils.texts import HASHES, KINDS, read


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer()


@pytest.fixture(scope="module")
def tokens(tokenizer):
    return {kind: len(tokenizer(read(kind), add_special_tokens=False)["input_ids"]) for kind in KINDS}


def units(text: str) -> Counter:
    """The paragraphs of a text and its lines of more than 60 characters, each with how often it occurs."""
    paragraphs = [part.strip() for part in text.split("\n\n")]
    long_lines = [line.strip() for line in text.split("\n") if len(line.strip()) > 60]
    # A paragraph of one long line is a unit of either kind: it counts once.
    return Counter(paragraphs) | Counter(long_lines)


@pytest.mark.parametrize("kind", HASHES)
def test_the_text_is_the_one_that_the_figures_were_measured_on(kind):
    assert hashlib.sha256(read(kind).encode()).hexdigest() == HASHES[kind]


def test_every_kind_has_a_hash():
    assert set(KINDS) <= set(HASHES)


@pytest.mark.parametrize("kind", HASHES)
def test_lines_end_with_a_line_feed_and_the_text_with_one(kind):
    text = read(kind)
    assert text.endswith("\n") and not text.endswith("\n\n")
    assert not [line for line in text.split("\n") if line != line.rstrip()]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_enough_tokens(kind, tokens):
    assert tokens[kind] >= 5_000


def test_all_four_together_have_about_25_000_tokens(tokens):
    assert 22_000 <= sum(tokens.values()) <= 28_000


@pytest.mark.parametrize("kind", HASHES)
def test_no_special_tokens(kind, tokenizer):
    text = read(kind)
    assert "<|" not in text
    special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    assert special  # the tokenizer does name some
    assert not [token for token in special if token in text]


@pytest.mark.parametrize("kind", HASHES)
def test_no_paragraph_or_long_line_occurs_twice_in_a_text(kind):
    assert not [unit for unit, times in units(read(kind)).items() if times > 1]


def test_no_paragraph_or_long_line_occurs_in_two_texts():
    texts = Counter(unit for kind in HASHES for unit in units(read(kind)))
    assert not [unit for unit, number in texts.items() if number > 1]


@pytest.mark.parametrize("kind", ["poetry", "", "prose.txt", "../data"])
def test_an_unknown_kind_is_named_with_what_there_is(kind):
    with pytest.raises(ValueError) as error:
        read(kind)
    assert repr(kind) in str(error.value)
    assert all(name in str(error.value) for name in HASHES)


def test_reading_does_not_import_torch():
    code = "import sys; from lorautils.texts import read; read('prose'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
