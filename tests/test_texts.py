"""lorautils.texts: each text is the one that figures were measured on."""

import hashlib

import pytest

from lorautils.texts import HASHES, KINDS, read


@pytest.mark.parametrize("kind", HASHES)
def test_the_text_is_the_one_that_the_figures_were_measured_on(kind):
    assert hashlib.sha256(read(kind).encode()).hexdigest() == HASHES[kind]


def test_every_kind_has_a_hash():
    assert set(KINDS) <= set(HASHES)


@pytest.mark.parametrize("kind", ["poetry", "", "prose.txt", "../data"])
def test_an_unknown_kind_is_named_with_what_there_is(kind):
    with pytest.raises(ValueError) as error:
        read(kind)
    assert repr(kind) in str(error.value)
    assert all(name in str(error.value) for name in HASHES)
