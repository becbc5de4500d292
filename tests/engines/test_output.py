"""When an answer is over, and what of it may be shown while it grows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from verity.engines.output import Output


def write(pieces: list[bytes], max_tokens: int = 100, stops: tuple[str, ...] = ()) -> tuple[Output, str]:
    """Push until it is over; returns the output and all text that was handed out on the way."""
    output, seen = Output(max_tokens, stops), ""
    for number, piece in enumerate(pieces):
        output.push(number, piece, is_end=piece == b"<end>")
        seen += output.fresh()
        if output.finish:
            break
    return output, seen


def test_length() -> None:
    output, seen = write([b"a", b"b", b"c"], max_tokens=2)
    assert (output.finish, output.text, seen, output.tokens) == ("length", "ab", "ab", [0, 1])


def test_end_counts_as_a_token_and_may_have_bytes() -> None:
    output = Output(5, [])
    output.push(1, b"hi", False)
    output.push(2, b"", True)
    assert (output.finish, output.text, output.tokens) == ("end", "hi", [1, 2])


def test_stop_string_across_tokens_is_cut_and_never_shown() -> None:
    output, seen = write([b"One. ", b"Two\n", b"\nThr", b"ee"], stops=("\n\n",))
    assert (output.finish, output.text, seen) == ("stop", "One. Two", "One. Two")


def test_the_earliest_of_several_stops_wins() -> None:
    output, _ = write([b"abcdef"], stops=("e", "cd", "zz"))
    assert output.text == "ab"


def test_a_stop_that_never_comes_is_shown_in_the_end() -> None:
    output, seen = write([b"x", b"\n", b"<end>"], stops=("\n\n",))
    assert output.text == "x\n<end>"
    assert seen == output.text


def test_characters_split_over_tokens_are_shown_whole() -> None:
    pieces = [bytes([b]) for b in "é🌞".encode()]
    output, seen = write(pieces, max_tokens=len(pieces))
    assert seen == output.text == "é🌞"


def test_bytes_that_are_not_utf8_become_replacement_characters() -> None:
    output, seen = write([b"\xf0\x9f", b"a"], max_tokens=2)
    assert seen == output.text == "\ufffda"


@given(
    st.lists(st.binary(max_size=6), max_size=12), st.lists(st.sampled_from(["a", "ab", "\n", "é", "bb"]), max_size=3)
)
def test_what_was_streamed_is_the_text(pieces: list[bytes], stops: list[str]) -> None:
    output, seen = write([*pieces, b"<end>"], max_tokens=len(pieces) + 1, stops=tuple(stops))
    assert output.finish is not None
    assert seen == output.text
    assert not any(stop in output.text for stop in stops) or output.finish != "stop"
