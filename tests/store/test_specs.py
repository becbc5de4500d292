"""Pull specs: any text is read or refused by one error, and what is read can do no harm to pip or the network."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verity.errors import UsageError
from verity.store.catalogue import Entry
from verity.store.specs import Address, LocalFile, Package, file_name, is_loopback, model_name, parse

PIECES = st.lists(
    st.sampled_from(["pypi:", "hf:", "https://", "http://", "HTTP:", "file:", "a", "b.gguf", "/", "..", "-", "--",
                     "==", "1.0", "@", ":", "[::1]", "127.0.0.1", "localhost", ".", "%", "?", "#", "é", " ", "\n",
                     "\0", ";", "\\", "+"]),
    max_size=9,
).map("".join)  # fmt: skip


@given(PIECES | st.text(st.characters(exclude_categories=()), max_size=60))
def test_any_text_is_read_or_refused(spec: str) -> None:
    try:
        source = parse(spec)
    except UsageError:
        return
    if isinstance(source, Package):
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*(==[A-Za-z0-9][A-Za-z0-9.!+_-]*)?", source.requirement)
    elif isinstance(source, Address):
        assert re.match(r"(?i)https://|http://(localhost|127\.|\[::1\]|\[0*:)", source.url), source.url
        assert "@" not in source.url.split("/")[2]
    else:
        assert isinstance(source, LocalFile | Entry)


@given(st.text(st.characters(exclude_categories=()), max_size=60))
def test_any_file_gives_a_name_or_none(file: str) -> None:
    try:
        name = model_name(file)
    except UsageError:
        return
    assert re.fullmatch(r"[a-z0-9._-]{1,100}", name)


@given(PIECES | st.text())
def test_any_host_is_this_computer_or_not(host: str) -> None:
    assert is_loopback(host) in (True, False)


@pytest.mark.parametrize(
    "spec",
    ["pypi:-rfile", "pypi:a;b", "pypi:a b", "pypi:a @ https://e", "hf:a/b", "hf:a/../c.gguf", "hf:-a/b/c",
     "http://example.org/a", "https://u:p@example.org/a",
     "https://", "https://example.org/é", "https://[::1", "ftp://a/b", "PyPI:a", "", "a\nb"],
)  # fmt: skip
def test_what_is_refused(spec: str) -> None:
    with pytest.raises(UsageError):
        parse(spec)


def test_the_name_of_the_file_is_the_address_own() -> None:
    source = parse("https://example.org/a/My%20Model.Q4_1.gguf?key=secret")
    assert isinstance(source, Address)
    assert file_name(source) == "My Model.Q4_1.gguf"
    assert model_name("My Model.Q4_1.gguf") == "my-model.q4_1"
