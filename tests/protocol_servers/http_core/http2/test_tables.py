"""What is remembered of header blocks never changes what they say."""

from __future__ import annotations

from hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st

from trunkline.protocol_servers.http_core.http2.tables import ShortDecoder, ShortEncoder

names = st.sampled_from([b":status", b"date", b"content-length", b"etag", b"x-one", b"x-two"])
values = st.sampled_from([b"", b"200", b"1", b"2", b"value", b"v" * 1500])
lists = st.lists(st.lists(st.tuples(names, values), max_size=6), max_size=30)
sizes = st.lists(st.tuples(st.integers(0, 30), st.sampled_from([0, 100, 1000, 4096])), max_size=3)


@given(lists, sizes)
def test_what_is_encoded_decodes_to_the_same(
    sent: list[list[tuple[bytes, bytes]]], changes: list[tuple[int, int]]
) -> None:
    encoder, decoder = ShortEncoder(), Decoder()
    for number, fields in enumerate(sent):
        for at, size in changes:
            if at == number:
                encoder.header_table_size = size
        assert [tuple(field) for field in decoder.decode(encoder.encode(fields), raw=True)] == fields


@given(lists, sizes)
def test_what_is_decoded_is_what_was_encoded(
    sent: list[list[tuple[bytes, bytes]]], changes: list[tuple[int, int]]
) -> None:
    encoder, decoder = Encoder(), ShortDecoder()
    for number, fields in enumerate(sent):
        for at, size in changes:
            if at == number and size != encoder.header_table_size:  # told twice, this peer would forget to say it
                encoder.header_table_size = size
        for _ in range(3):  # the second time the table has them, the third time they are known
            assert [tuple(field) for field in decoder.decode(encoder.encode(fields), raw=True)] == fields


def test_of_several_sizes_the_smallest_and_the_last_are_told() -> None:
    encoder, decoder, fields = ShortEncoder(), Decoder(), [(b"x-one", b"1")]
    decoder.decode(encoder.encode(fields))
    for size in (1000, 0, 30, 20, 20):
        encoder.header_table_size = size
    block = encoder.encode(fields)
    assert block[:2] == b"\x20\x34"
    assert [tuple(field) for field in decoder.decode(block, raw=True)] == fields
    assert encoder.encode([(b":status", b"200")]) == b"\x88"


def test_a_size_that_comes_back_is_told_with_the_smaller_one_between() -> None:
    encoder, decoder, fields = ShortEncoder(), Decoder(), [(b"x-one", b"1")]
    decoder.decode(encoder.encode(fields))
    encoder.header_table_size = 0
    encoder.header_table_size = 4096
    block = encoder.encode(fields)
    assert block[:4] == b"\x20\x3f\xe1\x1f"
    assert [tuple(field) for field in decoder.decode(block, raw=True)] == fields


def test_what_comes_again_is_looked_up() -> None:
    encoder, decoder, fields = Encoder(), ShortDecoder(), [(b"x-one", b"1"), (b"x-two", b"2")]
    decoder.decode(encoder.encode(fields), raw=True)
    again = encoder.encode(fields)
    assert decoder.decode(again, raw=True) is decoder.decode(again, raw=True)


def test_little_is_remembered() -> None:
    encoder, decoder = ShortEncoder(), ShortDecoder()
    for number in range(1000):
        encoder.encode([(b"x", b"%d" % (number % 200)), (b"content-length", b"%d" % number)])
        decoder.decode(bytes((0x82 + number % 50, 0x82 + number // 50)), raw=True)
    assert max(len(encoder._known), len(decoder._known)) <= 64
