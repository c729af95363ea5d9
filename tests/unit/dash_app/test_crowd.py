"""Which symbols a panel shows when there are too many."""

from dash_app.components import crowd
from dash_app.tree import text_of

NAMES = [f"S{number:03d}" for number in range(100)]


def test_a_few_symbols_are_all_shown_in_the_configured_order():
    assert crowd.telling(NAMES[: crowd.ALL], "S003", lambda name: (-float(name[1:]),)) == NAMES[: crowd.ALL]


def test_of_many_the_one_in_view_comes_first_then_the_highest_rank():
    found = crowd.telling(NAMES, "S003", lambda name: (float(name[1:]),))
    assert found == ["S003", *NAMES[: -crowd.SHOWN : -1]]
    assert len(found) == crowd.SHOWN


def test_equal_ranks_keep_the_configured_order():
    assert crowd.telling(NAMES, "S000", lambda _name: (0.0,)) == NAMES[: crowd.SHOWN]


def test_a_symbol_in_view_that_is_not_known_takes_no_place():
    assert "GONE" not in crowd.telling(NAMES, "GONE", lambda name: (float(name[1:]),))


def test_the_rest_is_named_and_linked_only_if_there_is_one():
    assert crowd.rest(10, 10, "by size", "/volatility", "all") is None
    assert text_of(crowd.rest(100, 10, "by size", "/volatility", "all")) == "10 of 100, by size · all"


def test_kinds_that_do_not_occur_are_left_out():
    assert text_of(crowd.counted([("up", 3, "a"), ("down", 0, "b"), ("no trend", 7, "c")])) == "3 up7 no trend"
