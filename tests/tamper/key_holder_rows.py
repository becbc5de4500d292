"""Attacks by the device's owner, who signs and logs whatever he likes: about tokens, request, randomness and form."""

from __future__ import annotations

import secrets
from typing import Any

import msgspec
import numpy as np
from forger import forge, forge_embedding

import verity
from quantise import quantised
from tamper import BUNDLE, KEY_HOLDER, LIMIT, OWN_NONCE, PROMPT, Result, World, edited, line, row
from verity.engines.pooling import decode_vector, encode_vector
from verity.engines.scripted import ScriptedEngine
from verity.node import Node
from verity.sampling.noise import derive_seed
from verity.statements.bundle import Bundle
from verity.statements.request import IntentName
from verity.store.pull import pull

SAMPLING: dict[str, Any] = {"temperature": 0.9}
NO_CUT = {"accept": {"finishes": ["end", "stop", "length"]}}
OWN = {"require": {"checks": ["seed-origin"]}}


def _real(world: World) -> Node:
    assert world.real is not None
    return world.real


def runner_up(tokens: list[int], rows: list[Any], at: int = 5) -> list[int]:
    """Put the second most likely token in the place of the one that was drawn (or the first, if that was drawn)."""
    order = np.argsort(-rows[at])
    tokens[at] = int(order[1] if order[0] == tokens[at] else order[0])
    return tokens


def system_tokens(engine: Any, system: str) -> list[int]:
    messages = [verity.Message("system", system), verity.Message("user", PROMPT)]
    return list(engine.tokenize(engine.render(messages, None)))


# --- the output -------------------------------------------------------------------------------------------------------


@row("runner-up", KEY_HOLDER, BUNDLE, "puts the runner-up token in one place", "replayed-exact", real=True)
def _(world: World) -> Result:
    return world.verify_real(forge(_real(world), tokens=runner_up))


@row("last-token", KEY_HOLDER, BUNDLE, "changes the last token alone", "replayed-exact", real=True)
def _(world: World) -> Result:
    return world.verify_real(forge(_real(world), tokens=lambda t, rows: runner_up(t, rows, len(t) - 1)))


@row("output-edited-signed", KEY_HOLDER, BUNDLE, "edits the text and keeps the honest tokens", "output")
def _(world: World) -> Result:
    return world.verify(forge(world.node, result=lambda f: f.update({"output/text": "Red light."})))


@row(
    "output-truncated",
    KEY_HOLDER,
    BUNDLE,
    "cuts the output short and says that the model ended it",
    "replayed-exact",
    real=True,
)
def _(world: World) -> Result:
    ended = {"output/finish": "end"}
    return world.verify_real(forge(_real(world), tokens=lambda t, _: t[:9], result=lambda f: f.update(ended)))


@row("output-extended", KEY_HOLDER, BUNDLE, "goes on after the model's end", "replayed-exact", real=True)
def _(world: World) -> Result:
    engine = _real(world).load().engine
    end = next(t for t in range(64) if engine.is_end(t))
    return world.verify_real(forge(_real(world), tokens=lambda t, _: [*t[:4], end, *t[4:8]]))


@row("token-bytes-signed", KEY_HOLDER, BUNDLE, "gives a token other bytes, so that a part shown alone reads otherwise",
     "replayed-exact", real=True)  # fmt: skip
def _(world: World) -> Result:
    return world.verify_real(forge(_real(world), pieces=lambda p: [b"".join(p), *[b""] * (len(p) - 1)]))


@row(
    "cancelled",
    KEY_HOLDER,
    BUNDLE,
    "cuts an unwelcome ending off and calls it cancelled; the policy lists endings",
    "finish",
)
def _(world: World) -> Result:
    return world.verify(forge(world.node, tokens=lambda t, _: t[:9]), policy=NO_CUT)


@row("cancelled-accepted", KEY_HOLDER, BUNDLE, "the same, under a policy that lists none",
     f"{LIMIT}: `cancelled` reads “truncated on the prover's word”")  # fmt: skip
def _(world: World) -> Result:
    return world.verify(forge(world.node, tokens=lambda t, _: t[:9]))


# --- model and request ------------------------------------------------------------------------------------------------


@row(
    "other-weights",
    KEY_HOLDER,
    BUNDLE,
    "answers with an adapter or a fine-tune and hides it",
    "replayed-exact",
    real=True,
)
def _(world: World) -> Result:
    def adapted(tokens: list[int], rows: list[Any]) -> list[int]:
        generator = np.random.default_rng(7)  # a small change to every logit, as other weights make it
        return [int(np.argmax(r + generator.normal(0, 3.0, r.shape))) for r in rows]

    return world.verify_real(forge(_real(world), temperature=0.0, tokens=adapted))


@row("quantisation", KEY_HOLDER, BUNDLE, "answers with 4-bit weights and names the 8-bit file and its numerics",
     "replayed-exact", real=True, slow=True)  # fmt: skip
def _(world: World) -> Result:
    real = _real(world)
    files = quantised(real.blobs.open(real.load().model["blake3"]).path)
    with verity.open(world.folder / "types", threads=1) as node:
        for name in ("Q4_0", "Q8_0"):
            pull(str(files[name]), node.blobs, name=name.lower())
        larger = node.load("q8_0")
        lie = {"model": larger.model, "numerics": msgspec.to_builtins(larger.numerics)}
        honest = verity.verify(forge(node, model="q4_0"), key=node.key.id, home=node.home, threads=1)
        assert honest.passed, str(honest)
        bundle = forge(node, model="q4_0", intent=lambda f: f.update(lie))
        return verity.verify(bundle, key=node.key.id, home=node.home, threads=1)


@row("other-model", KEY_HOLDER, BUNDLE, "answers with another model and says so, where one is expected", "model")
def _(world: World) -> Result:
    return world.verify(forge(world.node), model="ab" * 32)


@row("model-not-released", KEY_HOLDER, BUNDLE, "names a model that nobody released and that the verifier did not name",
     "replayed-exact not made", real=True)  # fmt: skip
def _(world: World) -> Result:
    model = {"name": "mine", "blake3": "ab" * 32, "sha256": "cd" * 32, "size": 1000}
    return world.verify_real(forge(_real(world), intent=lambda f: f.update(model=model)))


@row("two-models", KEY_HOLDER, BUNDLE, "names the BLAKE3 of the expected model and the SHA-256 of another",
     "replayed-exact", real=True)  # fmt: skip
def _(world: World) -> Result:
    return world.verify_real(forge(_real(world), intent=lambda f: f["model"].update(sha256="cd" * 32)))


@row("prompt-signed", KEY_HOLDER, BUNDLE, "names another prompt, with the tokens to match", "replayed-exact", real=True)
def _(world: World) -> Result:
    engine = _real(world).load().engine

    def swap(fields: dict[str, Any]) -> None:
        message = verity.Message("user", "Why is grass green?")
        fields["inputs/0000"]["content"] = message.content
        fields["prompt_tokens"] = engine.tokenize(engine.render([message], None))

    return world.verify_real(forge(_real(world), intent=swap))


@row("system-hidden", KEY_HOLDER, BUNDLE, "puts a system prompt before the user's and does not name it",
     "replayed-exact", real=True)  # fmt: skip
def _(world: World) -> Result:
    tokens = system_tokens(_real(world).load().engine, "Always praise the weather.")
    return world.verify_real(forge(_real(world), intent=lambda f: f.update(prompt_tokens=tokens)))


@row(
    "system-named", KEY_HOLDER, BUNDLE, "names the system prompt that he added, where the prompt is expected", "prompt"
)
def _(world: World) -> Result:
    return world.verify(world.honest(system="Always lie."), prompt=PROMPT)


@row("template", KEY_HOLDER, BUNDLE, "uses a chat template of his own and names its digest", "replayed-exact")
def _(world: World) -> Result:
    return world.verify(forge(world.node, intent=lambda f: f["template"].update(sha256="ab" * 32)))


@row("date", KEY_HOLDER, OWN_NONCE, "tells the template another date than the request's", "request")
def _(world: World) -> Result:
    issued = world.request(clock="2026-01-01T00:00:00Z")
    lie = {"sha256": ScriptedEngine().template_digest, "add_generation_prompt": True, "clock": "1999-12-31T00:00:00Z"}
    return world.verify(forge(world.node, issued=issued, intent=lambda f: f.update(template=lie)), request=issued)


@row("temperature", KEY_HOLDER, BUNDLE, "samples at another temperature than he names", "replayed-exact", real=True)
def _(world: World) -> Result:
    lie = {"sampling/temperature": 0.3}
    return world.verify_real(forge(_real(world), temperature=1.2, intent=lambda f: f.update(lie)))


@row("penalty", KEY_HOLDER, BUNDLE, "samples with a penalty that he does not name", "replayed-exact", real=True)
def _(world: World) -> Result:
    lie = {"sampling/frequency_penalty": 0.0}
    bundle = forge(_real(world), temperature=0.0, max_tokens=48, frequency_penalty=1.5, intent=lambda f: f.update(lie))
    return world.verify_real(bundle)


@row("stop-strings", KEY_HOLDER, BUNDLE, "says that a stop string ended it, which was not asked for", "output")
def _(world: World) -> Result:
    stopped = {"output/finish": "stop"}
    return world.verify(forge(world.node, tokens=lambda t, _: t[:9], result=lambda f: f.update(stopped)))


@row(
    "result-overrides",
    KEY_HOLDER,
    BUNDLE,
    "repeats a parameter in the result, to change it after the fact",
    "disclosure",
)
def _(world: World) -> Result:
    return world.verify(forge(world.node, result=lambda f: f.update({"sampling/temperature": 0.1})))


@row("fields-renamed", KEY_HOLDER, BUNDLE, "commits to one field's value under another's name", "replayed-exact")
def _(world: World) -> Result:
    def swap(fields: dict[str, Any]) -> None:
        fields["model"], fields["numerics"] = fields["numerics"], fields["model"]

    return world.verify(forge(world.node, intent=swap))


@row("critical-field", KEY_HOLDER, BUNDLE, "hides meaning in a critical field that no verifier knows", "receipt")
def _(world: World) -> Result:
    from verity.statements.dsse import seal
    from verity.statements.receipt import INTENT, Predicate, make_statement, read_statement

    bundle = world.honest()
    intent = read_statement(bundle.receipt.intent.payload_bytes(), INTENT)
    predicate: Predicate = msgspec.structs.replace(intent.predicate, critical=["x/opposite"])
    envelope = seal(make_statement(INTENT, predicate, intent.fields_digest()), world.node.key)
    return world.verify(
        msgspec.structs.replace(bundle, receipt=msgspec.structs.replace(bundle.receipt, intent=envelope))
    )


@row("withheld", KEY_HOLDER, BUNDLE, "withholds what would give him away: here the model", "model not made")
def _(world: World) -> Result:
    bundle = forge(world.node)

    def hide(plain: Any) -> None:
        from verity.statements.commitments import Opening, withhold

        entry = line(plain, "model")
        receipt_id = bundle.receipt.intent.payload_bytes().split(b'"id":"')[1][:32].decode()
        hidden = withhold(bytes.fromhex(receipt_id), msgspec.convert(dict(entry), Opening))
        entry.clear()
        entry.update(field="model", commitment=hidden.commitment)

    return world.verify(edited(bundle, hide), model="ab" * 32)


# --- randomness -------------------------------------------------------------------------------------------------------


@row("nonce-ground", KEY_HOLDER, BUNDLE, "draws nonces until he likes the answer", "seed-origin not made")
def _(world: World) -> Result:
    best = max((forge(world.node, nonce=secrets.token_bytes(32), **SAMPLING) for _ in range(4)), key=_length)
    return world.verify(best, policy=OWN)


def _length(bundle: Bundle) -> int:
    disclosure: Any = bundle.disclosure
    return len(disclosure.tokens)


@row("nonce-swapped", KEY_HOLDER, OWN_NONCE, "answers under a nonce of his own", "request")
def _(world: World) -> Result:
    issued = world.request()
    return world.verify(forge(world.node, nonce=b"m" * 32, **SAMPLING), request=issued)


@row("nonce-swapped-named", KEY_HOLDER, OWN_NONCE, "the same, naming the request that he does not answer", "nonce")
def _(world: World) -> Result:
    issued = world.request()
    lie = {"nonce": {"hex": (b"m" * 32).hex(), "chosen_by": "caller"}, "seed": derive_seed(b"m" * 32).hex()}
    return world.verify(forge(world.node, issued=issued, intent=lambda f: f.update(lie)), request=issued)


@row("seed-own", KEY_HOLDER, OWN_NONCE, "names the verifier's nonce and uses another seed", "nonce")
def _(world: World) -> Result:
    issued = world.request()
    return world.verify(forge(world.node, issued=issued, intent=lambda f: f.update(seed="ab" * 32)), request=issued)


@row("parameter-ground", KEY_HOLDER, OWN_NONCE, "with the nonce in hand, tries 0.90001 for 0.9 and the like", "request")
def _(world: World) -> Result:
    issued = world.request()
    return world.verify(forge(world.node, issued=issued, temperature=0.90001), request=issued)


@row("context-ground", KEY_HOLDER, OWN_NONCE, "tries other context sizes", "request")
def _(world: World) -> Result:
    issued = world.request()
    return world.verify(
        forge(world.node, issued=issued, intent=lambda f: f["context"].update(size=8192)), request=issued
    )


@row("member-shadowed", KEY_HOLDER, OWN_NONCE, "shadows a member by a field `context/size`, and uses another size",
     "disclosure")  # fmt: skip
def _(world: World) -> Result:
    issued = world.request()

    def shadow(fields: dict[str, Any]) -> None:
        fields["context"].update(size=8192)
        fields["context/size"] = issued.request.context_size

    return world.verify(forge(world.node, issued=issued, intent=shadow), request=issued)


@row("cut-off-asked", KEY_HOLDER, OWN_NONCE, "answers the request and stops where he likes", "seed-origin not made")
def _(world: World) -> Result:
    issued = world.request()
    return world.verify(forge(world.node, issued=issued, tokens=lambda t, _: t[:9]), request=issued)


@row("issuer-himself", KEY_HOLDER, OWN_NONCE, "issues a request to himself and hands its file to the verifier",
     "request not made")  # fmt: skip
def _(world: World) -> Result:
    from in_process import REPLY

    world.request()  # the verifier has a key
    model = ScriptedEngine(REPLY).model["blake3"]
    issued = world.node.issuer.issue(PROMPT, model=model, max_tokens=24)
    return world.verify(world.node.ask(request=issued).bundle, request=issued)


@row(
    "old-answer",
    KEY_HOLDER,
    OWN_NONCE,
    "hands in a trusted issuer's old request and answer for a fresh nonce",
    "nonce",
)
def _(world: World) -> Result:
    issued = world.request()
    trust = {"trust": {"issuers": [issued.issuer]}}
    return world.verify(forge(world.node, issued=issued), nonce="cd" * 32, policy=trust)


@row("input-added", KEY_HOLDER, OWN_NONCE, "adds a message to those of the request", "request")
def _(world: World) -> Result:
    issued = world.request()
    extra = {"inputs/0001": {"type": "text", "role": "user", "content": " "}}
    return world.verify(forge(world.node, issued=issued, intent=lambda f: f.update(extra)), request=issued)


@row("request-loose", KEY_HOLDER, BUNDLE, "has the verifier's nonce, but no request that fixes the rest",
     "seed-origin not made")  # fmt: skip
def _(world: World) -> Result:
    return world.verify(forge(world.node, temperature=0.90001), nonce=(b"f" * 32).hex(), policy=OWN)


@row("issuer-forged", KEY_HOLDER, BUNDLE, "issues the request to himself; the policy trusts other issuers",
     "seed-origin not made")  # fmt: skip
def _(world: World) -> Result:
    issued = world.node.issuer.issue(PROMPT, model=ScriptedEngine().model["blake3"], max_tokens=24)
    bundle = forge(world.node, issued=_for_reply(world, issued))
    trust = {"trust": {"issuers": ["d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"]}}
    return world.verify(bundle, policy=OWN | trust)


def _for_reply(world: World, issued: Any) -> Any:
    from in_process import REPLY

    request = msgspec.structs.replace(issued.request, model=ScriptedEngine(REPLY).model["blake3"])
    return msgspec.structs.replace(issued, request=request)


@row("retry-hidden", KEY_HOLDER, OWN_NONCE, "runs the request again in secret, hoping for better",
     f"{LIMIT}: but every run gives the same tokens, so nothing is gained")  # fmt: skip
def _(world: World) -> Result:
    issued = world.request()
    one, two = (forge(world.node, issued=issued) for _ in range(2))
    tokens = [[t.id for t in b.disclosure.tokens] for b in (one, two)]  # type: ignore[union-attr]
    assert tokens[0] == tokens[1]
    return world.verify(two, request=issued, policy=OWN)


@row("retry-after-looking", KEY_HOLDER, OWN_NONCE, "signs a second intent after the nonce was revealed for the first",
     "intent-first")  # fmt: skip
def _(world: World) -> Result:
    late = world.request(late=True)
    issued = world.reveal(late, world.node.promise(late))
    return world.verify(forge(world.node, issued=issued, begun=_again(world, issued)), request=issued)


def _again(world: World, issued: Any) -> Any:
    signed = world.node.promise(msgspec.structs.replace(issued, nonce=None, intent=None))
    from verity.statements.receipt import INTENT, read_statement, statement_digest

    payload = signed.intent.payload_bytes()
    name = IntentName(read_statement(payload, INTENT).predicate.id, statement_digest(payload))
    return world.node.recorder.resume(name, issued.envelope)


@row("intent-unseen", KEY_HOLDER, OWN_NONCE, "answers without having shown the intent first, where that is required",
     "intent-first not made")  # fmt: skip
def _(world: World) -> Result:
    issued = world.request()
    answer = world.node.ask(request=issued)
    return world.verify(answer.bundle, request=issued, policy={"require": {"checks": ["intent-first"]}})


# --- who and how ------------------------------------------------------------------------------------------------------


@row("scripted", KEY_HOLDER, BUNDLE, "lets the scripted engine answer: no model ran", "engine")
def _(world: World) -> Result:
    return world.verify(world.honest(), policy={"require": {"checks": ["receipt"]}})


@row("numerics-foreign", KEY_HOLDER, BUNDLE, "claims numerics that the verifier does not have, to escape the replay",
     "replayed-statistical", real=True)  # fmt: skip
def _(world: World) -> Result:
    lie = {"numerics": {"exact": True, "fingerprint": "ab" * 32}}
    return world.verify_real(forge(_real(world), tokens=runner_up, intent=lambda f: f.update(lie)))


@row("numerics-not-accepted", KEY_HOLDER, BUNDLE, "the same, under a policy that lists fingerprints", "numerics")
def _(world: World) -> Result:
    lie = {"numerics": {"exact": True, "fingerprint": "ab" * 32}}
    policy = {"accept": {"numerics": ["cd" * 32]}}
    return world.verify(forge(world.node, intent=lambda f: f.update(lie)), policy=policy)


@row("build-foreign", KEY_HOLDER, BUNDLE, "names another build of the engine, so that a mismatch is no verdict",
     "replayed-exact not made", real=True)  # fmt: skip
def _(world: World) -> Result:
    def both(fields: dict[str, Any]) -> None:
        fields["engine"] = {**fields["engine"], "library": "cd" * 32}
        fields["sampling/temperature"] = 0.1

    return world.verify_real(forge(_real(world), temperature=1.2, intent=both))


@row("answer-copied", KEY_HOLDER, BUNDLE, "signs as his own what another device answered",
     f"{LIMIT}: a receipt says what the model gives, not whose machine ran it")  # fmt: skip
def _(world: World) -> Result:
    with world.other("author") as author:
        theirs: Any = author.ask(PROMPT, nonce=b"f" * 32, max_tokens=24).bundle.disclosure
    copied = forge(world.node, tokens=lambda _t, _r: [t.id for t in theirs.tokens])
    return world.verify(copied)


@row(
    "receipt-copied", KEY_HOLDER, BUNDLE, "signs another device's statements again, place in the log and all", "logged"
)
def _(world: World) -> Result:
    from verity.statements.dsse import seal

    with world.other("author") as author:
        theirs = author.ask(PROMPT, max_tokens=24).bundle
    receipt = msgspec.structs.replace(
        theirs.receipt,
        intent=seal(theirs.receipt.intent.payload_bytes(), world.node.key),
        result=seal(theirs.receipt.result.payload_bytes(), world.node.key),
    )
    return world.verify(msgspec.structs.replace(theirs, receipt=receipt))


@row("back-dated", KEY_HOLDER, BUNDLE, "sets his clock back",
     f"{LIMIT}: times are the device's word")  # fmt: skip
def _(world: World) -> Result:
    old = {"time/started": "2001-01-01T00:00:00Z"}
    return world.verify(forge(world.node, intent=lambda f: f.update(old)))


# --- embeddings -------------------------------------------------------------------------------------------------------

TEXTS = ["Light is scattered.", "Bread is baked."]


def one_bit(fields: dict[str, Any]) -> None:
    first, *others = fields["output/embeddings"]
    vector = decode_vector(first)
    vector.view(np.uint32)[-1] ^= 1
    fields["output/embeddings"] = [encode_vector(vector), *others]


@row("vector-bit", KEY_HOLDER, BUNDLE, "changes the last bit of a number of an embedding", "replayed-exact", real=True)
def _(world: World) -> Result:
    return world.verify_real(forge_embedding(_real(world), TEXTS, result=one_bit))


@row("vectors-swapped", KEY_HOLDER, BUNDLE, "gives two texts each other's vectors", "replayed-exact")
def _(world: World) -> Result:
    return world.verify(forge_embedding(world.node, TEXTS, result=lambda f: f["output/embeddings"].reverse()))


@row("vector-dropped", KEY_HOLDER, BUNDLE, "leaves the vector of a text out", "output")
def _(world: World) -> Result:
    return world.verify(forge_embedding(world.node, TEXTS, result=lambda f: f["output/embeddings"].pop()))


@row("pooling", KEY_HOLDER, BUNDLE, "pools otherwise than the intent says", "replayed-exact")
def _(world: World) -> Result:
    return world.verify(forge_embedding(world.node, TEXTS, intent=lambda f: f.update(pooling="last")))


@row("text-embedded", KEY_HOLDER, BUNDLE, "commits to another text than the one embedded", "replayed-exact")
def _(world: World) -> Result:
    text = {"type": "text", "role": "user", "content": "Bread is toasted."}
    return world.verify(forge_embedding(world.node, TEXTS, intent=lambda f: f.update({"inputs/0001": text})))


@row("embedding-seeded", KEY_HOLDER, BUNDLE, "adds a nonce to an embedding, as if it had been drawn", "disclosure")
def _(world: World) -> Result:
    nonce = {"nonce": {"hex": "ab" * 32, "chosen_by": "caller"}, "seed": derive_seed(b"\xab" * 32).hex()}
    return world.verify(forge_embedding(world.node, TEXTS, intent=lambda f: f.update(nonce)), nonce="ab" * 32)
