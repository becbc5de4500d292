"""The reference implementation of OpenSSF Model Signing verifies our releases, and we verify what it signs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from gguf import tiny
from releasing import OTHER, SIGNER, key_files, model_signing, publish, write

from verity.errors import FormatError, SignatureError
from verity.statements.manifests import SIGNATURE_FILE
from verity.statements.publishers import read_public
from verity.store.blobs import Blobs
from verity.store.importing import add_release, export_release
from verity.store.release_folders import check_files, open_release

FILES = {"small.gguf": tiny(), "a/b": b"1", "a.b": b"2", "a-b/c": b"3", "ä/🌞 x": b"4", "empty": b"", ".hidden": b"5"}


def accepts(folder: Path, public: Path, signature: Path | None = None) -> bool:
    said = model_signing(
        "verify", "key", folder, "--public_key", public, "--signature", signature or folder / SIGNATURE_FILE
    )
    assert "Traceback" not in said.stderr
    return said.returncode == 0


def test_it_verifies_ours_and_what_we_hand_out_again(blobs: Blobs, tmp_path: Path) -> None:
    publish(tmp_path / "ours", FILES)
    _, public = key_files(tmp_path)
    assert accepts(tmp_path / "ours", public)
    known = add_release(blobs, tmp_path / "ours", SIGNER.public)
    export_release(blobs, known, tmp_path / "again")
    assert accepts(tmp_path / "again", public)
    _, other = key_files(tmp_path, OTHER)
    assert not accepts(tmp_path / "ours", other)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "tamper",
    [
        lambda folder: _flip(folder / "small.gguf"),
        lambda folder: _flip(folder / "release.json"),
        lambda folder: _flip(folder / SIGNATURE_FILE),
        lambda folder: (folder / "empty").unlink(),
        lambda folder: (folder / "more").write_bytes(b""),
        lambda folder: (folder / "link").symlink_to("empty"),
    ],
    ids=["a file", "what is said", "the signature", "a file less", "a file more", "a link"],
)
def test_what_was_tampered_with_is_refused_by_both(tamper: Callable[[Path], object], tmp_path: Path) -> None:
    publish(tmp_path / "ours", FILES)
    _, public = key_files(tmp_path)
    tamper(tmp_path / "ours")
    with pytest.raises((FormatError, SignatureError)):
        check_files(open_release(tmp_path / "ours", SIGNER.public))
    said = model_signing(
        "verify", "key", tmp_path / "ours", "--public_key", public, "--signature", tmp_path / "ours/model.sig"
    )
    assert said.returncode != 0


def test_we_verify_and_add_what_it_signs(blobs: Blobs, tmp_path: Path) -> None:
    folder = write(tmp_path / "Their Model", {**FILES, ".git/config": b""})
    private, public = key_files(tmp_path)
    signed = model_signing("sign", "key", folder, "--private_key", private, "--signature", folder / SIGNATURE_FILE)
    assert signed.returncode == 0, signed.stderr
    opened = open_release(folder, read_public(public.read_bytes()))
    check_files(opened)
    assert (opened.release, opened.unsigned, opened.manifest.name) == (None, [".git/config"], "Their Model")
    known = add_release(blobs, folder, SIGNER.public)
    assert (known.name, known.kind, known.version) == ("their-model", "model", "")
    export_release(blobs, known, tmp_path / "again")
    assert accepts(tmp_path / "again", public)
    _flip(folder / "small.gguf")
    with pytest.raises(FormatError, match=r"small\.gguf"):
        check_files(open_release(folder, SIGNER.public))


def test_a_signature_of_one_file_beside_it(blobs: Blobs, tmp_path: Path) -> None:
    folder = write(tmp_path / "files", {"small.gguf": tiny(), "unrelated": b""})
    private, public = key_files(tmp_path)
    signature = folder / "small.sig"
    model_signing("sign", "key", folder / "small.gguf", "--private_key", private, "--signature", signature)
    assert accepts(folder / "small.gguf", public, signature)
    check_files(open_release(signature, SIGNER.public))
    known = add_release(blobs, signature, SIGNER.public, name="alone")
    assert [file.path for file in known.files] == ["small.gguf"]
    assert blobs.resolve("alone")[1].sha256 == known.files[0].sha256


@pytest.mark.parametrize("curve", ["SECP384R1", pytest.param("SECP521R1", marks=pytest.mark.slow)])
def test_keys_on_larger_curves_go_both_ways(curve: str, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec

    from verity.statements.publishers import PublisherSigner

    signer = PublisherSigner(ec.generate_private_key(getattr(ec, curve)()))
    publish(tmp_path / "ours", {"a": b"1"}, signer)
    private, public = key_files(tmp_path, signer)
    assert accepts(tmp_path / "ours", public)
    model_signing(
        "sign", "key", tmp_path / "ours", "--private_key", private, "--signature", tmp_path / "ours/model.sig"
    )
    check_files(open_release(tmp_path / "ours", signer.public))


def test_what_is_not_its_default_is_refused_with_the_reason(tmp_path: Path) -> None:
    """Its library writes other forms than its command."""
    import subprocess

    from releasing import MODEL_SIGNING

    folder = write(tmp_path / "m", {"a": b"1"})
    private, _ = key_files(tmp_path)
    model_signing("--version")
    for how in ('use_file_serialization(hashing_algorithm="blake2")', "use_shard_serialization()"):
        program = (
            "import sys, model_signing as m\n"
            f"h = m.hashing.Config().{how}\n"
            "m.signing.Config().use_elliptic_key_signer(private_key=sys.argv[1])"
            ".set_hashing_config(h).sign(sys.argv[2], sys.argv[3])\n"
        )
        command: list[str | Path] = [MODEL_SIGNING / "bin/python", "-c", program]
        command += [private, folder, tmp_path / "m.sig"]
        subprocess.run(command, check=True, capture_output=True)
        with pytest.raises(FormatError, match="which Verity does not check") as caught:
            open_release(folder, SIGNER.public, tmp_path / "m.sig")
        assert "SHA-256" in caught.value.hint
