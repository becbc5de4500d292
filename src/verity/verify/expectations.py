"""Steps 1, 9 to 12 and 14 to 16: what the receipt says, held against what is known and expected."""

from __future__ import annotations

from typing import Any

from verity.engines import ENGINES, SCRIPTED
from verity.sampling.noise import derive_seed, read_nonce
from verity.statements.adapters import AdapterUse
from verity.statements.receipt import KINDS, Statement, table_of
from verity.statements.request import Issued
from verity.statements.strict import canonical
from verity.verify.claims import Fields, Nonce
from verity.verify.policy import Expected, Policy
from verity.verify.replay import ModelName
from verity.verify.report import Check


def known(intent: Statement, result: Statement) -> Check:
    """Step 1. An unknown kind or critical field fails closed."""
    fields = table_of(intent.predicate.kind).names
    for statement in (intent, result):
        if statement.predicate.kind not in KINDS:
            return Check("receipt", "failed", f"The receipt is of an unknown kind, {statement.predicate.kind!r}.")
        unknown = sorted(set(statement.predicate.critical) - fields)
        if unknown:
            return Check(
                "receipt", "failed", f"The receipt has a critical field {unknown[0]!r} unknown to this version."
            )
    return Check("receipt", "passed", "Intent and result are well-formed, and nothing critical in them is unknown.")


def engine(fields: Fields) -> Check:
    """Step 9."""
    said = fields.read("engine", dict[str, Any])
    name = said.get("name")
    if name == SCRIPTED:
        return Check("engine", "failed", "The scripted engine wrote this: a fake for tests. No model ran.", said)
    if name not in ENGINES:
        return Check(
            "engine", "not made", f"The receipt names an engine that this version does not know, {name!r}.", said
        )
    return Check("engine", "passed", f"The receipt names the engine {name} ({said.get('version')}).", said)


def model(fields: Fields, policy: Policy, expected: Expected) -> Check:
    """Step 10. A model that an adapter changed is another, unless the adapter is named as well."""
    said = fields.read("model", ModelName)
    evidence: dict[str, Any] = {"name": said.name, "blake3": said.blake3, "sha256": said.sha256}
    wanted = [digests for digests in (policy.models, [expected.model] if expected.model else []) if digests]
    if not wanted and not expected.adapters:
        sentence = f"The receipt names {said.name} ({said.blake3[:16]}…); say which model you expect with --model."
        return Check("model", "not made", sentence, evidence)
    if not all({said.blake3, said.sha256} & set(digests) for digests in wanted):
        sentence = f"The model is {said.name} ({said.blake3[:16]}…), not the expected one."
        return Check("model", "failed", sentence, evidence)
    adapters = fields.adapters()
    if not adapters and not expected.adapters:
        return Check("model", "passed", f"The receipt names the expected model, {said.name}.", evidence)
    evidence["adapters"] = [{"name": a.name, "blake3": a.blake3, "scale": a.scale} for a in adapters]
    named = ", ".join(f"{a.name} ({a.blake3[:16]}…)" for a in adapters) or "none"
    if not _adapters_named(adapters, policy, expected):
        sentence = (
            f"The model was changed by other adapters than you name: {named}; name them with --adapter, in order."
        )
        return Check("model", "failed", sentence, evidence)
    return Check(
        "model", "passed", f"The receipt names the model {said.name} and adapters as expected: {named}.", evidence
    )


def _adapters_named(adapters: list[AdapterUse], policy: Policy, expected: Expected) -> bool:
    """Either the caller names all of them in order, or the policy each."""
    if expected.adapters:
        wanted = expected.adapters
        return len(wanted) == len(adapters) and all(
            digest in (a.blake3, a.sha256) for digest, a in zip(wanted, adapters, strict=True)
        )
    return all({a.blake3, a.sha256} & set(policy.models) for a in adapters)


def prompt(fields: Fields, expected: Expected) -> Check:
    """Step 11. The prompt and, if one is named, the system message must be all that the model was given."""
    if expected.prompt is None and expected.system is None:
        return Check("prompt", "not made", "No prompt was given to compare with.")
    messages = [(m.role, m.content) for m in fields.messages()]
    wanted = [("system", expected.system)] if expected.system is not None else []
    if expected.prompt is None:
        found = messages[:1] == wanted
        sentence = "is the one given; the others were not compared" if found else "is another than the one given"
        return Check("prompt", "passed" if found else "failed", f"The system message {sentence}.")
    wanted.append(("user", expected.prompt))
    if messages == wanted:
        return Check("prompt", "passed", "The prompt is the one given, and there is no other message.")
    if messages[-1:] == wanted[-1:]:
        sentence = f"The prompt is the one given, but {len(messages) - 1} other messages stand before it"
        return Check("prompt", "failed", f"{sentence}; name a system message with --system.")
    return Check("prompt", "failed", "The receipt is for another prompt than the one given.")


def request(fields: Fields, known: Issued | None, carried: Issued | None) -> Check:
    """Step 12. Every field that the request fixes must stand in the receipt as the request has it.

    ``known`` is by the caller, or by an issuer whom the policy trusts; ``carried`` is by anybody.
    """
    name = "request"
    if known is None:
        if carried is None:
            return Check(name, "not made", "No request was given to compare with.")
        unknown = f"The request is by {carried.issuer[:16]}…, neither you nor an issuer whom the policy lists."
        return Check(name, "not made", unknown, {"issuer": carried.issuer})
    if fields.value("request") != known.name:
        return Check(name, "failed", "The receipt does not say that it answers this request.")
    for pin, value in known.request.pins().items():
        if not same(fields.member(pin), value):
            return Check(name, "failed", f"The receipt has another {pin} than the request.", {"field": pin})
    if len(fields.inputs()) != len(known.request.messages):
        return Check(name, "failed", "The receipt has other messages beside those of the request.")
    if fields.template() is None:
        return Check(name, "failed", "The prompt was put to the model without its template.")
    if fields.member("template/clock") not in (None, known.request.clock):
        return Check(name, "failed", "The template was told another time than the request's.")
    sentence = f"The receipt answers the request of the issuer {known.issuer[:16]}…, in every field that it fixes."
    return Check(name, "passed", sentence, {"issuer": known.issuer, "id": known.id})


def nonce(fields: Fields, expected: set[str]) -> Check:
    """Step 14. All that are expected (hex), the caller's and the request's, must be the one.

    Raises UsageError for a nonce of the wrong form.
    """
    said = fields.read("nonce", Nonce)
    choice = fields.choice()
    seed = derive_seed(read_nonce(said.hex), choice.index).hex()
    if seed != fields.read("seed", str):
        return Check("nonce", "failed", "The seed does not follow from the nonce.")
    answers = f" This is answer {choice.index} of {choice.of} to one request." if choice.of > 1 else ""
    if not expected:
        return Check("nonce", "passed", f"The seed follows from the nonce in the disclosure.{answers}")
    if {said.hex} != expected:
        return Check("nonce", "failed", "The nonce is not the one given.")
    return Check("nonce", "passed", f"The seed follows from the nonce that was given.{answers}")


def pinned(fields: Fields, policy: Policy) -> Check:
    """Step 15. Raises Withheld for a pinned field that was not disclosed."""
    if not policy.pin:
        return Check("pinned", "not made", "The policy pins no field.")
    for field, value in policy.pin.items():
        said = fields.member(field)
        if not same(said, value):
            sentence = f"The receipt has {field} = {said!r}, and the policy pins it to {value!r}."
            return Check("pinned", "failed", sentence, {"field": field})
    return Check("pinned", "passed", f"All {len(policy.pin)} pinned fields have their values.")


def same(said: Any, wanted: Any) -> bool:
    """Whether two values are equal as JSON, leaving out what is null. An empty table stands for null."""
    if wanted == {} and said is None:
        return True
    return canonical(_without_nulls(said)) == canonical(_without_nulls(wanted))


def _without_nulls(value: Any) -> Any:
    """TOML has no null: a pinned table leaves out the members that are null in the receipt."""
    if isinstance(value, dict):
        return {name: member for name, member in value.items() if member is not None}
    return value


def numerics(fields: Fields, policy: Policy) -> Check:
    """Step 16. The fingerprint is the device's claim until a replay under it has passed."""
    said = fields.read("numerics", dict[str, Any])
    if not policy.accept.numerics:
        return Check("numerics", "not made", "The policy does not say which numerics it accepts.", said)
    if said.get("fingerprint") not in policy.accept.numerics:
        return Check("numerics", "failed", "The receipt claims numerics that the policy does not accept.", said)
    return Check("numerics", "passed", "The receipt claims numerics that the policy accepts.", said)


def finish(fields: Fields, policy: Policy) -> Check:
    """Step 16, second half. How an answer may end: ``cancelled`` and its like are the device's word."""
    said = fields.read("output/finish", str)
    if not policy.accept.finishes:
        return Check("finish", "not made", f"The policy does not say how an answer may end; this one ended by {said}.")
    if said not in policy.accept.finishes:
        return Check("finish", "failed", f"The answer ended by {said!r}, which the policy does not accept.")
    return Check("finish", "passed", f"The answer ended by {said}, which the policy accepts.")
