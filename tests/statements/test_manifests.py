"""Signed manifests, what publishers say, revocations: published vectors, round trips, flips, the class of refusals."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from releasing import OTHER, SIGNER, about

from verity import errors
from verity.errors import FormatError, SignatureError, VerityError
from verity.statements.manifests import (
    MAX_FILES,
    MAX_SIGNATURE,
    File,
    check_paths,
    hint_of,
    is_safe,
    read_manifest,
    root_of,
    sign_manifest,
)
from verity.statements.publishers import MAX_PEM, new_signer, read_der, read_public, read_signer
from verity.statements.release import MAX_METADATA, Release, decode_release
from verity.statements.revocation import MAX_REVOCATION, publisher_of, read_revocation, revoke
from verity.statements.strict import canonical

ROOT = Path(__file__).parents[2]
VECTORS: dict[str, Any] = json.loads((ROOT / "spec/vectors/release.json").read_text())
KEYS = {name: read_public(key["pem"].encode()) for name, key in VECTORS["keys"].items()}
FILES = [File("LICENSE", "ab" * 32), File("m.gguf", "cd" * 32)]
NOW = "2026-11-27T12:00:00Z"


def test_the_vectors_are_made_again_byte_for_byte_by_a_script_that_shares_no_code(tmp_path: Path) -> None:
    program = Path(__file__).with_name("make_release_vectors.py")
    subprocess.run([sys.executable, "-I", program, tmp_path], check=True)
    assert (tmp_path / "release.json").read_bytes() == (ROOT / "spec/vectors/release.json").read_bytes()
    modules = set(re.findall(r"^(?:from|import) ([\w]+)", program.read_text(), re.MULTILINE))
    assert modules <= {*sys.stdlib_module_names, "cryptography"}


def by_description(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", VECTORS[name], ids=lambda case: case["desc"])


def refused(case: Any) -> Any:
    """The very class, and none below or above it."""
    return pytest.raises(getattr(errors, case["error"]), match=r".")


@by_description("cases")
def test_a_signature_file_is_read_as_the_vectors_say(case: Any) -> None:
    data, key = msgspec.json.encode(case["bundle"]), KEYS[case["key"]]
    if case["error"] is not None:
        with refused(case) as caught:
            read_manifest(data, key)
        assert type(caught.value).__name__ == case["error"]
        return
    manifest = read_manifest(data, key)
    assert manifest.root == root_of(manifest.files)
    if case["desc"] == "a single file":
        assert [file.path for file in manifest.files] == ["m.gguf"]
    elif "order" not in case["desc"]:
        assert manifest.root == VECTORS["root"]
        assert [f._asdict() for f in manifest.files] == [
            {"path": each["name"], "sha256": each["digest"]} for each in VECTORS["resources"]
        ]


@by_description("metadata_cases")
def test_what_a_publisher_says_is_read_as_the_vectors_say(case: Any) -> None:
    data = msgspec.json.encode(case["json"])
    if case["error"] is None:
        assert decode_release(data).encode() == canonical(case["json"])
        return
    with refused(case):
        decode_release(data)


@by_description("revocation_cases")
def test_a_revocation_is_read_as_the_vectors_say(case: Any) -> None:
    data, key = msgspec.json.encode(case["envelope"]), KEYS[case["key"]]
    if case["error"] is not None:
        with refused(case) as caught:
            read_revocation(data, key)
        assert type(caught.value).__name__ == case["error"]
        return
    revocation = read_revocation(data, key)
    assert publisher_of(data) == key.id
    assert (revocation.root, revocation.name) == (VECTORS["root"], "calm")
    assert revocation.revoked._asdict() == {"reason": VECTORS["revoked"]["reason"], "at": "2026-12-01T00:00:00Z"}


def test_the_payload_and_the_names_of_keys_are_the_published_ones() -> None:
    files = [File(each["name"], each["digest"]) for each in VECTORS["resources"]]
    payload = json.loads(sign_manifest("calm", files[::-1], SIGNER))["dsseEnvelope"]["payload"]
    from base64 import b64decode

    assert b64decode(payload).decode() == VECTORS["payload"]
    assert Release(**VECTORS["release"]).format == "verity-release/1"
    assert decode_release(VECTORS["release_json"].encode()).encode().decode() == VECTORS["release_json"]
    for name, key in KEYS.items():
        assert key.id == VECTORS["keys"][name]["publisher"]
        assert read_der(key.der).id == key.id


# --- round trips and flips --------------------------------------------------------------------------------------------


def test_what_was_signed_is_read_again_under_its_key_alone() -> None:
    data = sign_manifest("m", FILES, SIGNER)
    manifest = read_manifest(data, SIGNER.public)
    assert (manifest.name, manifest.files, manifest.root) == ("m", FILES, root_of(FILES))
    assert hint_of(data) == SIGNER.public.hint
    with pytest.raises(SignatureError):
        read_manifest(data, OTHER.public)
    assert manifest.ignores(".git/config")
    assert not manifest.ignores(".gitx")
    with pytest.raises(FormatError):
        sign_manifest("m", [File("../m", "ab" * 32)], SIGNER)


SIGNED = sign_manifest("m", FILES, SIGNER)
REVOKED = revoke("ab" * 32, "m", "why", NOW, SIGNER)


@pytest.mark.parametrize("paths", [["a/b", "a"], ["a", "a b", "a!", "a/b"], ["x", "A/b/c", "a/B"], ["a/b/c/d", "a"]])
def test_no_path_is_a_file_and_a_folder(paths: list[str]) -> None:
    with pytest.raises(FormatError, match="both a file and a folder"):
        check_paths(paths)
    check_paths(["a b", "a!", "a/b", "a/c", "ab"])


def test_deep_paths_take_little_memory() -> None:
    paths = [f"{number:03}/" + "a/" * 500 + "b" for number in range(300)]
    tracemalloc.start()
    try:
        check_paths(paths)
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


@given(st.integers(0, len(SIGNED) - 1), st.integers(1, 255))
def test_no_byte_of_a_signature_file_can_be_changed(place: int, flip: int) -> None:
    changed = bytearray(SIGNED)
    changed[place] ^= flip
    with pytest.raises((FormatError, SignatureError)):
        read_manifest(bytes(changed), SIGNER.public)


@given(st.integers(0, len(REVOKED) - 1), st.integers(1, 255))
def test_no_byte_of_a_revocation_can_be_changed(place: int, flip: int) -> None:
    changed = bytearray(REVOKED)
    changed[place] ^= flip
    with pytest.raises((FormatError, SignatureError)):
        read_revocation(bytes(changed), SIGNER.public)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)
    )
)
def test_no_json_is_read_with_another_error(value: Any) -> None:
    data = json.dumps(value).encode()
    for read in (
        lambda: read_manifest(data, SIGNER.public),
        lambda: read_revocation(data, SIGNER.public),
        lambda: decode_release(data),
    ):
        with pytest.raises(VerityError) as caught:
            read()
        assert type(caught.value) is FormatError


@given(st.binary(max_size=200) | st.text().map(str.encode))
def test_no_bytes_are_read_with_another_error(data: bytes) -> None:
    for read in (read_public, read_der, read_signer, decode_release, hint_of, publisher_of):
        with pytest.raises(FormatError):
            read(data)


@given(st.lists(st.text(min_size=1, max_size=40), max_size=6))
def test_paths_that_are_accepted_lead_into_the_folder_and_never_to_one_place(paths: list[str]) -> None:
    try:
        check_paths(paths)
    except FormatError:
        return
    folder = Path("/release")
    places = {(folder / path).as_posix() for path in paths}
    assert len(places) == len({place.casefold() for place in places}) == len(paths)
    assert all(place.startswith("/release/") and "/../" not in f"{place}/" for place in places)


@pytest.mark.parametrize("path", ["a", "a/b.c", "ä/🌞", "a b", "a:b", "..a", "a..", ".a"])
def test_paths_that_are_harmless_are_safe(path: str) -> None:
    assert is_safe(path)


# --- limits and keys --------------------------------------------------------------------------------------------------


def test_what_is_too_large_is_refused_before_it_is_read() -> None:
    for limit, read in (
        (MAX_SIGNATURE, hint_of),
        (MAX_METADATA, decode_release),
        (MAX_REVOCATION, publisher_of),
        (MAX_PEM, read_public),
    ):
        with pytest.raises(FormatError, match="larger than"):
            read(b" " * (limit + 1))
    with pytest.raises(FormatError, match=f"{MAX_FILES:,} files"):
        sign_manifest("m", [File(f"{n}", "ab" * 32) for n in range(MAX_FILES + 1)], SIGNER)


def test_keys_of_other_kinds_and_with_a_passphrase_are_refused() -> None:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        PublicFormat,
    )

    other = ec.generate_private_key(ec.SECP256K1())
    public = other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(FormatError, match="kind of key"):
        read_public(public)
    large = rsa.generate_private_key(65537, 2048)
    with pytest.raises(FormatError, match="kind of key"):
        read_public(large.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    locked = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    with pytest.raises(FormatError, match="without a passphrase"):
        read_signer(locked)
    with pytest.raises(FormatError):
        read_signer(SIGNER.public.pem)
    again = read_signer(SIGNER.pem())
    assert again.public.id == SIGNER.public.id != new_signer().public.id


def test_a_revocation_needs_a_reason_that_can_be_shown() -> None:
    for reason in ("", "a\x1b[2J", "a" * 2001):
        with pytest.raises(FormatError):
            revoke("ab" * 32, "m", reason, NOW, SIGNER)


def test_what_is_said_of_a_release_may_not_be_huge() -> None:
    many = [{"name": "a", "metric": "b", "value": 1, "of": "c"}] * 1001
    with pytest.raises(FormatError, match="evaluations"):
        decode_release(canonical({**msgspec.to_builtins(about()), "evaluations": many}))
