"""When an answer is compressed."""

import gzip

import pytest

from dash_app import packing


@pytest.mark.parametrize("header", ["gzip", "gzip, deflate, br", "br;q=1.0, gzip;q=0.8", "*", "GZIP"])
def test_a_caller_who_takes_gzip_gets_it(header):
    assert packing.accepted(header)


@pytest.mark.parametrize("header", ["", "identity", "br", "gzip;q=0", "gzip; q=0.0", "x-gzipped"])
def test_a_caller_who_does_not_take_gzip_gets_the_plain_answer(header):
    assert not packing.accepted(header)


def test_packing_loses_nothing_and_is_the_same_every_time():
    body = b'{"a": 1}' * 1000
    assert gzip.decompress(packing.packed(body)) == body
    assert packing.packed(body) == packing.packed(body)
