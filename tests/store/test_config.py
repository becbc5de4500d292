"""The owner's decisions: read strictly, and edited without touching what else he wrote."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verity.errors import FormatError, UsageError
from verity.store.config import CONFIG_FILE, MAX_CONFIG, REQUIRE_RELEASE, Config, Models, read_config, write_publishers

ONE, TWO = "ab" * 32, "cd" * 32


@pytest.fixture
def file(home: Path) -> Path:
    return home / CONFIG_FILE


def test_the_example_in_the_documentation_is_one(home: Path, file: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/releases.md").read_text()
    file.write_text(page.split("```toml\n")[1].split("```")[0])
    assert read_config(home).models.require_release
    assert len(read_config(home).models.publishers) == 1


def test_without_a_file_the_defaults_hold(home: Path) -> None:
    assert read_config(home) == Config() == Config(models=Models(require_release=False, publishers=[]))


def test_rules_that_are_elsewhere_and_gone_are_not_no_rules(home: Path, file: Path) -> None:
    file.symlink_to(home / "on-a-disk-that-is-not-mounted")
    with pytest.raises(FormatError, match="cannot be read"):
        read_config(home)


def test_an_argument_goes_before_the_environment_and_that_before_the_file(
    home: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("[models]\nrequire_release = true\n")
    assert read_config(home).models.require_release
    monkeypatch.setenv(REQUIRE_RELEASE, "0")
    assert not read_config(home).models.require_release
    assert read_config(home, require_release=True).models.require_release
    monkeypatch.setenv(REQUIRE_RELEASE, "yes")
    with pytest.raises(UsageError, match="neither 0 nor 1"):
        read_config(home)
    monkeypatch.setenv(REQUIRE_RELEASE, "")
    assert read_config(home).models.require_release


@pytest.mark.parametrize(
    "text",
    [
        "[models]\nrequire_releases = true\n",
        "[model]\nrequire_release = true\n",
        "require_release = true\n",
        "[models]\nrequire_release = 'true'\n",
        "[models]\nrequire_release = 1\n",
        "[models]\npublishers = 'ab'\n",
        "[models]\npublishers = ['ab']\n",
        f"[models]\npublishers = ['{'AB' * 32}']\n",
        "[models]\n[models]\n",
        "[",
    ],
)
def test_what_is_misspelt_is_refused_with_a_hint(home: Path, file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(FormatError) as caught:
        read_config(home)
    assert caught.value.hint or "publisher" in str(caught.value)


def test_what_is_no_text_or_too_large_is_refused(home: Path, file: Path) -> None:
    file.write_bytes(b"\xff")
    with pytest.raises(FormatError, match="UTF-8"):
        read_config(home)
    file.write_bytes(b"#" * (MAX_CONFIG + 1))
    with pytest.raises(FormatError, match="larger"):
        read_config(home)
    file.unlink()
    file.mkdir()
    with pytest.raises(FormatError, match="cannot be read"):
        read_config(home)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# mine\n",
        "[models]\n",
        "# mine\n[models] # yes\nrequire_release = true # really\n",
        f"[models]\npublishers = ['{ONE}'] # the lab\nrequire_release = true\n",
        f"[models]\npublishers = [\n    '{ONE}',  # the lab\n]\n# the end",
    ],
)
def test_publishers_are_written_and_all_else_stays(home: Path, file: Path, text: str) -> None:
    file.write_text(text)
    before = read_config(home)
    for publishers in ([ONE, TWO], [TWO], []):
        write_publishers(home, publishers)
        assert read_config(home).models == Models(before.models.require_release, publishers)
        assert all(f"# {word}" in file.read_text() for word in ("mine", "really", "the end") if f"# {word}" in text)
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["models = {require_release = true}\n", f'"models".publishers = ["{ONE}"]\n'])
def test_what_cannot_be_edited_is_left_as_it_is(home: Path, file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(UsageError, match="cannot be edited") as caught:
        write_publishers(home, [TWO])
    assert TWO in caught.value.hint
    assert file.read_text() == text


@given(st.binary(max_size=300) | st.text().map(str.encode))
def test_no_bytes_are_read_with_another_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    home = tmp_path_factory.getbasetemp() / "any-config"
    home.mkdir(exist_ok=True)
    (home / CONFIG_FILE).write_bytes(data)
    try:
        read_config(home)
    except FormatError:
        return
