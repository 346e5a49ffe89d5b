"""The seal: a header's own checksum inside it, and every change that breaks it."""

import hashlib

import pytest

from llm_compression.weights import seal

HEADER = b"head " + seal.BLANK.encode() + b" and tail"


def sealed(header: bytes) -> bytes:
    """The definition in one line: the digest of the blank header takes the zeros' place."""
    return header.replace(b"0" * 64, hashlib.sha256(header).hexdigest().encode())


def test_a_sealed_header_is_intact():
    assert seal.intact(sealed(HEADER))


def test_the_digest_does_not_depend_on_what_stands_in_its_place():
    assert seal.digest(sealed(HEADER)) == seal.digest(HEADER) == hashlib.sha256(HEADER).hexdigest()


def test_places_are_those_of_the_digits():
    header = sealed(HEADER)
    (place,) = seal.places(header)
    assert header[place : place + 64].decode() == seal.digest(header)
    assert header[place - len(seal.MARK) : place].decode() == seal.MARK


def test_every_bit_of_a_sealed_header_is_covered():
    header = bytearray(sealed(HEADER))
    for place in range(len(header)):
        for bit in range(8):
            header[place] ^= 1 << bit
            assert not seal.intact(bytes(header)), (place, bit)
            header[place] ^= 1 << bit
    assert seal.intact(bytes(header))


@pytest.mark.parametrize("change", [b"x", b"\0", b"0"])
def test_bytes_before_and_behind_break_it(change: bytes):
    assert not seal.intact(change + sealed(HEADER))
    assert not seal.intact(sealed(HEADER) + change)


def test_a_header_without_a_seal_is_not_intact():
    assert not seal.intact(b"no seal here")
    assert seal.places(b"no seal here") == []


def test_two_seals_must_agree():
    twice = HEADER * 2
    assert seal.intact(sealed(twice))
    assert len(seal.places(twice)) == 2
    half = sealed(twice).replace(seal.digest(twice).encode(), b"0" * 64, 1)
    assert not seal.intact(half)
