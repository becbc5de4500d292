"""The commands that write something durable, each as a scenario: what there is before, the command, and what its effect
is. An effect is there wholly or not at all; ``done`` looks at it, and fails when it is there by half."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import networks
import releasing
from crasher import Crasher
from device_state import OPEN, PROMISED, assert_bundle, holds_bytes, look, open_node, receipts_in, state_of
from version_1 import make_version_1, version_of

from verity.backup import restore
from verity.engines.scripted import ScriptedEngine
from verity.identity.device_key import DeviceKey
from verity.identity.recovery_key import load_recovery_key
from verity.log.checkpoint import open_checkpoint
from verity.log.published import PublishedHeads
from verity.store.bundles import read_bundle, read_request, read_signed_intent
from verity.store.config import read_config
from verity.store.database import Database
from verity.store.release_folders import check_files, open_release
from verity.store.releases import Releases
from verity.store.schema import MIGRATIONS
from verity.verify.key_events import check_event

MODEL = b"GGUF" + b"".join(n.to_bytes(4, "big") for n in range(300_000))
PROMPT = "Tell me of the quick brown fox"
ASK = ("--model", "scripted", "--max-tokens", "3")
SCRIPT = ScriptedEngine().model["blake3"]


class World(NamedTuple):
    """A folder with a device's home and files beside it; ``facts`` are what the preparation found out."""

    folder: Path
    facts: dict[str, Any]

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def file(self, name: str) -> Path:
        return self.folder / name

    def copy_to(self, folder: Path) -> World:
        shutil.copytree(self.folder, folder)
        return World(folder, self.facts)


@dataclass(frozen=True)
class Scenario:
    """``ask_between``: after the crash the next answer is asked for before the command is given again. ``instead``:
    what the hint says to do when the command is refused because it had its effect already."""

    name: str
    does: str
    prepare: Callable[[World, Crasher], None]
    arguments: Callable[[World], list[str]]
    done: Callable[[World], bool]
    ask_between: bool = True
    slow: bool = False
    instead: Callable[[World], list[str]] | None = None


# --- what there is before ---------------------------------------------------------------------------------------------


def nothing(world: World, crasher: Crasher) -> None:
    """No home."""


def device(world: World, crasher: Crasher) -> None:
    """A device with its numerics declared and one answer, whose bundle was saved."""
    with open_node(world.home) as node:
        answer = node.ask(PROMPT, temperature=0.0, max_tokens=6)
        answer.save(world.file("kept.verity.json"))
        world.facts.update(receipt=answer.receipt, checkpoint=node.log.checkpoint(), key=node.key.id)


def orphan(world: World, crasher: Crasher) -> None:
    """… and an intent whose process died."""
    device(world, crasher)
    died = crasher.run("ask", "Why?", *ASK, home=world.home, point="recorder.begin/commit/after")
    assert died.code == 137
    world.facts["orphans"] = receipts_in(world.home, OPEN)


def _given(*steps: Callable[[World], list[str]]) -> Callable[[World, Crasher], None]:
    """A device to which these commands were given."""
    return _after(device, *steps)


def _after(
    before: Callable[[World, Crasher], None], *steps: Callable[[World], list[str]]
) -> Callable[[World, Crasher], None]:
    def prepare(world: World, crasher: Crasher) -> None:
        before(world, crasher)
        for step in steps:
            ended = crasher.run(*step(world), home=world.home)
            assert ended.code == 0, ended.stderr
        world.facts["promised"] = receipts_in(world.home, PROMISED)

    return prepare


def with_model(world: World, crasher: Crasher) -> None:
    """A device and a model file beside it, and in a package."""
    device(world, crasher)
    world.file("small-model.gguf").write_bytes(MODEL)
    info = "small_model-1.0.dist-info"
    with zipfile.ZipFile(world.file("small_model-1.0-py3-none-any.whl"), "w") as wheel:
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: small_model\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
        wheel.writestr("small_model/small-model.gguf", MODEL)


def with_network(world: World, crasher: Crasher) -> None:
    """A device that has a network, its numerics declared, and inputs for it."""
    device(world, crasher)
    with open_node(world.home) as node:
        networks.store(node, networks.policy(), world.folder)
        node.network("policy")
    world.file("inputs.json").write_text('{"obs": [[1, 2, 3, 4, 5, 6, 7, 8]]}')


def with_session(world: World, crasher: Crasher) -> None:
    """A device with the receipt of a session, whose bundle was saved."""
    with_network(world, crasher)
    ended = crasher.run(*_infer(world), home=world.home)
    assert ended.code == 0, ended.stderr
    world.facts["session"] = ended.said["receipt"]
    world.file("new.verity.json").rename(world.file("session.verity.json"))


def single_key(world: World, crasher: Crasher) -> None:
    """A device whose log's present head may become another key's."""
    device(world, crasher)
    del world.facts["checkpoint"]


def with_lost_key(world: World, crasher: Crasher) -> None:
    """A device that knows the recovery key of another, which was lost."""
    device(world, crasher)
    lost, recovery = world.file("lost"), world.file("recovery.key")
    named = crasher.run("device", "recovery-key", "--out", recovery, "--json", home=lost)
    assert named.code == 0, named.stderr
    shown = crasher.run("device", "--json", home=lost)
    world.facts["lost"] = shown.said["key"]
    shutil.rmtree(lost)


def with_release(world: World, crasher: Crasher) -> None:
    """A device that knows a publisher, and a release of his beside it."""
    device(world, crasher)
    private, public = releasing.key_files(world.folder)
    world.facts["publisher"] = releasing.SIGNER.public.id
    releasing.publish(world.file("release"), {"small.gguf": MODEL, "about/CARD": b"small"})
    revoke = ["revoke", str(world.file("release")), "--key", str(private), *_why(world)]
    for step in (["trust", str(public)], revoke):
        ended = crasher.run("release", *step, home=world.home)
        assert ended.code == 0, ended.stderr


def with_publisher(world: World, crasher: Crasher) -> None:
    """A device, and a publisher's keys and files beside it."""
    device(world, crasher)
    releasing.key_files(world.folder)
    world.facts["publisher"] = releasing.SIGNER.public.id
    releasing.write(world.file("files"), {"small.gguf": MODEL, "about/CARD": b"small"})


def version_1(world: World, crasher: Crasher) -> None:
    """A device of schema 1, with an intent whose process died."""
    orphan(world, crasher)
    make_version_1(world.home)


# --- the commands -----------------------------------------------------------------------------------------------------


def _ask(world: World) -> list[str]:
    return ["ask", "Why?", *ASK, "--save", str(world.file("new.verity.json")), "--json"]


def _embed(world: World) -> list[str]:
    save = str(world.file("new.verity.json"))
    return ["embed", "one text", "another", "--model", "scripted", "--save", save, "--json"]


def _infer(world: World) -> list[str]:
    given, save = str(world.file("inputs.json")), str(world.file("new.verity.json"))
    return ["infer", "policy", "--input", given, "--input", given, "--save", save, "--json"]


def _issue(world: World) -> list[str]:
    late = ["--late", "--save", str(world.file("late.request.json"))]
    return ["nonce", "Why?", "--model", SCRIPT, "--max-tokens", "3", *late, "--json"]


def _promise(world: World) -> list[str]:
    request, save = world.file("late.request.json"), world.file("new.intent.json")
    return ["ask", "--request", str(request), "--model", "scripted", "--save", str(save), "--json"]


def _reveal(world: World) -> list[str]:
    intent, request = str(world.file("new.intent.json")), str(world.file("late.request.json"))
    save = str(world.file("full.request.json"))
    return ["nonce", "--reveal", intent, "--request", request, "--key", world.facts["key"], "--save", save, "--json"]


def _resume(world: World) -> list[str]:
    request, save = world.file("full.request.json"), world.file("new.verity.json")
    return ["ask", "--request", str(request), "--model", "scripted", "--save", str(save), "--json"]


def _export(world: World) -> list[str]:
    return ["export", world.facts["promised"][0], "--everything", "--save", str(world.file("new.verity.json"))]


def _forget(world: World) -> list[str]:
    return ["forget", world.facts["receipt"], "--yes", "--json"]


def _forget_session(world: World) -> list[str]:
    return ["forget", world.facts["session"], "--yes", "--json"]


def _backup(world: World) -> list[str]:
    world.file("elsewhere").mkdir(exist_ok=True)
    return ["backup", str(world.file("elsewhere") / "new.backup"), "--json"]


def _backup_encrypted(world: World) -> list[str]:
    world.file("passphrase").write_text("correct horse")
    return [*_backup(world), "--passphrase-file", str(world.file("passphrase"))]


def _other_name(backup: list[str]) -> list[str]:
    """The same backup once more: what is there is never overwritten."""
    return [backup[0], backup[1] + "-2", *backup[2:]]


def _rotate(world: World) -> list[str]:
    return ["device", "rotate", "--out", str(world.file("new.key-event.json")), "--json"]


def _name_recovery(world: World) -> list[str]:
    return ["device", "recovery-key", "--out", str(world.file("new-recovery.key")), "--json"]


def _revoke(world: World) -> list[str]:
    return ["device", "revoke", "--since", "2026-01-01T00:00:00Z", "--reason", "lost", "--yes", "--json"]


def _know(world: World) -> list[str]:
    return ["device", "know", str(world.file("recovery.key.key-event.json")), "--json"]


def _recover(world: World) -> list[str]:
    recovery = str(world.file("recovery.key"))
    return ["device", "recover", "--key", world.facts["lost"], "--recovery", recovery, "--json"]


def _why(world: World) -> list[str]:
    return ["--reason", "a test", "--out", str(world.file("x.revocation.json"))]


def _sign(world: World) -> list[str]:
    said = ["--licence", "MIT", "--publisher", "Lab", "--key", str(world.file("publisher.pem"))]
    return ["release", "sign", "small", str(world.file("files")), *said, "--out", str(world.file("release")), "--json"]


def _trust(world: World) -> list[str]:
    return ["release", "trust", str(world.file("publisher.pub.pem")), "--json"]


def _add(name: str) -> Callable[[World], list[str]]:
    return lambda world: ["release", "add", str(world.file(name)), "--json"]


def _restore(world: World) -> list[str]:
    return ["restore", str(world.file("elsewhere") / "new.backup"), "--home", str(world.file("restored")), "--json"]


# --- their effects ----------------------------------------------------------------------------------------------------


def _saved(world: World) -> bool:
    path = world.file("new.verity.json")
    if path.exists():
        assert_bundle(read_bundle(path), world.home)
    return path.exists()


def _request_saved(name: str) -> Callable[[World], bool]:
    def done(world: World) -> bool:
        path = world.file(name)
        return path.exists() and read_request(path).issuer == world.facts["key"]

    return done


def _promised(world: World) -> bool:
    path = world.file("new.intent.json")
    if path.exists():
        with open_node(world.home) as node:
            intent = node.issuer._checked(read_signed_intent(path), node.key.id)
            assert node.exporter.receipts.get(intent.id).state == PROMISED
    return path.exists()


def _pulled(world: World) -> bool:
    with open_node(world.home) as node:
        for model in node.blobs.models():
            assert node.blobs.check(model.blake3).sha256 == hashlib.sha256(MODEL).hexdigest()
            return True
    return False


def _forgotten(world: World) -> bool:
    """Its row says so, and the prompt stands in no file any more. Before, it is whole."""
    if state_of(world.home, world.facts["receipt"]) != "forgotten":
        assert_bundle(read_bundle(world.file("kept.verity.json")), world.home)
        return False
    return holds_bytes(world.home, PROMPT.encode()) == []


def _steps_forgotten(world: World) -> bool:
    """Its secret is destroyed, and with it what opens its steps, whether the file is gone yet or not."""
    with open_node(world.home) as node:
        if node.exporter.receipts.get(world.facts["session"]).forgotten_at is not None:
            return True
    assert_bundle(read_bundle(world.file("session.verity.json")), world.home)
    return False


def _compacted(world: World) -> bool:
    with open_node(world.home) as node:
        kept = node.exporter.receipts.get(world.facts["receipt"])
        assert kept.result_position is not None
        envelopes = [node.log.entry(p).envelope for p in (kept.intent_position, kept.result_position)]
    assert envelopes[0] is envelopes[1] is None or None not in envelopes
    return envelopes[0] is None


def _published(world: World) -> bool:
    """A published head is one that the log's key signed, with all of the log that there was."""
    with open_node(world.home) as node:
        with Database.open(world.home) as database:
            found = PublishedHeads(database).latest(0)
        assert found is None or open_checkpoint(found.checkpoint, node.key.public).size == found.size
    return found is not None


def _backed_up(passphrase: str | None = None) -> Callable[[World], bool]:
    def done(world: World) -> bool:
        path = world.file("elsewhere") / "new.backup"
        if path.exists():
            with tempfile.TemporaryDirectory() as folder:
                restore(path, Path(folder) / "home", passphrase)
                look(Path(folder) / "home")
                assert_bundle(read_bundle(world.file("kept.verity.json")), Path(folder) / "home")
        if passphrase is not None:  # what stands beside an encrypted backup must not be the key and the prompts
            assert holds_bytes(world.file("elsewhere"), b"PRIVATE KEY") == []
            assert holds_bytes(world.file("elsewhere"), PROMPT.encode()) == []
        return path.exists()

    return done


def _rotated(world: World) -> bool:
    """The key is another, and both logs are whole: whoever opens the device finishes what was begun."""
    with open_node(world.home) as node:
        if node.key.id == world.facts["key"]:
            assert (node.log.epoch, node.keyring.events()) == (0, [])
            return False
        assert not (world.home / "device.key.next").exists()
        assert node.key.id == DeviceKey.load(world.home).id
        assert node.log_of(0).check() == []
        succession = check_event(node.keyring.file().events[0]).event
        assert succession.key == world.facts["key"]
    return True


def _recovery_named(world: World) -> bool:
    with open_node(world.home) as node:
        named = node.keyring.standing().recovery
        if named is not None:
            assert named == load_recovery_key(world.file("new-recovery.key")).id
            assert [check_event(event).event.key for event in node.keyring.file().events] == [node.key.id]
    return named is not None


def _revoked(world: World) -> bool:
    with open_node(world.home) as node:
        return node.keyring.standing().revocation is not None


def _known(world: World) -> bool:
    with open_node(world.home) as node:
        return node.keyring.standing(world.facts["lost"]).recovery is not None


def _recovered(world: World) -> bool:
    with open_node(world.home) as node:
        successor = node.keyring.standing(world.facts["lost"]).successor
        assert successor in (None, node.key.id)
    return successor is not None


def _restored(world: World) -> bool:
    home = world.file("restored")
    if not home.exists():
        return False
    with open_node(home) as node:
        assert node.key.id == world.facts["key"]
        assert node.log.epoch > 0
    look(home)
    assert_bundle(read_bundle(world.file("kept.verity.json")), home)
    return True


def _signed(world: World) -> bool:
    if not world.file("release").exists():
        return False
    check_files(open_release(world.file("release"), releasing.SIGNER.public))
    return True


def _trusted(world: World) -> bool:
    """A publisher is trusted whose key is here."""
    with open_node(world.home) as node:
        known = [publisher.id for publisher in Releases(node.blobs.database).publishers()]
    trusted = read_config(world.home).models.publishers
    assert set(trusted) <= set(known)
    return trusted == [world.facts["publisher"]]


def _added(world: World) -> bool:
    """The release with all its files and its model's name, or neither."""
    with open_node(world.home) as node:
        releases = Releases(node.blobs.database)
        found, models = releases.all(), node.blobs.models()
        assert [release.name for release in found] == [model.name for model in models]
        for release in found:
            for path, digest in releases.kept(release).blobs:
                sha256 = next(file.sha256 for file in release.files if file.path == path)
                assert node.blobs.check(digest).sha256 == sha256
        return bool(found)


def _release_revoked(world: World) -> bool:
    with open_node(world.home) as node, node.blobs.database.snapshot() as connection:
        rows = connection.execute("SELECT publisher, reason FROM revocations").fetchall()
    return rows == [(world.facts["publisher"], "a test")]


def _migrated(world: World) -> bool:
    version = version_of(world.home)
    assert version in (1, len(MIGRATIONS))
    return version == len(MIGRATIONS)


_URL = "url"
SCENARIOS = (
    Scenario("first-ask", "the first `ask` of a new device: home, key, database, numerics", nothing, _ask, _saved),
    Scenario("ask", "`ask --save`", device, _ask, _saved),
    Scenario("ask-orphan", "`ask --save` that first closes the intent of a process that died", orphan, _ask, _saved),
    Scenario("embed", "`embed --save`", device, _embed, _saved),
    Scenario("infer", "`infer --save`", with_network, _infer, _saved),
    Scenario("issue", "`nonce --late`", device, _issue, _request_saved("late.request.json")),
    Scenario("promise", "`ask --request` for a request without its nonce", _given(_issue), _promise, _promised),
    Scenario("reveal", "`nonce --reveal`", _given(_issue, _promise), _reveal, _request_saved("full.request.json")),
    Scenario(
        "resume", "`ask --request` with the late nonce", _given(_issue, _promise, _reveal), _resume, _saved,
        instead=_export,
    ),
    Scenario("pull", "`pull FILE`", with_model, lambda w: ["pull", str(w.file("small-model.gguf")), "--json"], _pulled),
    Scenario("download", "`pull https://…`", device, lambda w: ["pull", w.facts[_URL], "--json"], _pulled),
    Scenario(
        "package", "`pull pypi:…`", with_model, lambda _: ["pull", "pypi:small-model==1.0", "--json"], _pulled,
        slow=True,
    ),
    Scenario(
        "release-sign", "`release sign`", with_publisher, _sign, _signed, slow=True,
        instead=lambda w: ["release", "verify", str(w.file("release")), "--key", str(w.file("publisher.pub.pem"))],
    ),
    Scenario("release-trust", "`release trust`", with_publisher, _trust, _trusted, slow=True),
    Scenario("release-add", "`release add FOLDER`", with_release, _add("release"), _added, slow=True),
    Scenario("revocation", "`release add FILE`", with_release, _add("x.revocation.json"), _release_revoked, slow=True),
    Scenario("forget", "`forget`", device, _forget, _forgotten),
    Scenario("forget-steps", "`forget` of a session", with_session, _forget_session, _steps_forgotten),
    Scenario("compact", "`log compact`", _given(_forget), lambda _: ["log", "compact", "--json"], _compacted),
    Scenario("publish", "`log publish`", device, lambda _: ["log", "publish", "--json"], _published),
    Scenario("backup", "`backup`", device, _backup, _backed_up(), instead=lambda world: _other_name(_backup(world))),
    Scenario(
        "encrypted", "`backup` with a passphrase", device, _backup_encrypted, _backed_up("correct horse"), slow=True,
        instead=lambda world: _other_name(_backup_encrypted(world)),
    ),
    Scenario("restore", "`restore`", _given(_backup), _restore, _restored, ask_between=False),
    Scenario("rotate", "`device rotate --out`", single_key, _rotate, _rotated),
    Scenario("recovery-key", "`device recovery-key`", device, _name_recovery, _recovery_named),
    Scenario("revoke", "`device revoke`", device, _revoke, _revoked),
    Scenario("know", "`device know`", with_lost_key, _know, _known),
    Scenario("recover", "`device recover`", _after(with_lost_key, _know), _recover, _recovered),
    Scenario(
        "migrate", "the first command after an update, from schema 1", version_1,
        lambda _: ["log", "check", "--json"], _migrated,
    ),
)  # fmt: skip
