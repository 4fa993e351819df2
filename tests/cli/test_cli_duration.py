"""Durations as people write them."""

import contextlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fourfold.cli.duration import format_duration, parse_duration
from fourfold.record import UserError

SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("9m", 540),
        ("1.5h", 5400),
        ("1h30m", 5400),
        ("2d", 172_800),
        ("1d2h3m4s", 93_784),
        ("0.5s", 0.5),
    ],
)
def test_examples(text, seconds):
    assert parse_duration(text) == seconds


@settings(derandomize=True, deadline=None)
@given(st.dictionaries(st.sampled_from("dhms"), st.integers(0, 999), min_size=1), st.booleans())
def test_parts_add_up(parts, blank):
    text = "".join(f"{parts[unit]}{unit}" for unit in "dhms" if unit in parts)
    seconds = sum(number * SECONDS[unit] for unit, number in parts.items())
    if seconds:
        assert parse_duration(f" {text} " if blank else text) == seconds
    else:
        with pytest.raises(UserError, match=r"^`--budget` \(='.*'\) must be above 0$"):
            parse_duration(text)


@settings(derandomize=True, deadline=None)
@given(st.floats(1e-3, 1e6).map(lambda number: f"{number:.3f}"), st.sampled_from([*SECONDS]))
def test_one_decimal_number_and_a_unit(number, unit):
    if float(number) > 0:
        assert parse_duration(number + unit) == float(number) * SECONDS[unit]


@pytest.mark.parametrize(
    "text", ["", " ", "x", "m", "9x", "9 m", "-9m", "+9m", "1e3", "nan", "inf", "9m!", "h9", "1,5h", "9M", ".5h", "1..5h"]
)
def test_anything_else_is_one_sentence(text):
    with pytest.raises(
        UserError, match=rf"^`--budget` \(={re.escape(repr(text))}\) must be a duration such as 90s, 9m or 1h30m$"
    ):
        parse_duration(text)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.text("0123456789smhd. -e", max_size=8))
def test_whatever_is_written_gives_seconds_or_one_sentence(text):
    with contextlib.suppress(UserError):
        assert parse_duration(text) > 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1 s"),
        (0.2, "1 s"),
        (1.6, "2 s"),
        (45, "45 s"),
        (90, "2 min"),
        (600, "10 min"),
        (5399, "1 h 30 min"),
        (12_000, "3 h 20 min"),
        (86_400 * 3 + 3600 * 5, "3 days 5 h"),
    ],
)
def test_durations_are_shown_as_people_say_them(seconds, text):
    assert format_duration(seconds) == text
