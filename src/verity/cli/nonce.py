"""``verity nonce``: ask somebody else's device for an answer that it cannot choose."""

from __future__ import annotations

from typing import Any

import click

from verity.cli.options import given, request_options
from verity.cli.terminal import home_option, json_option, print_json, read_stdin
from verity.errors import UsageError


@click.command()
@click.argument("prompt", default="")
@request_options
@click.option("--clock", metavar="TIME", help="What a template is told that asks for the time (RFC 3339).  [now]")
@click.option("--late", is_flag=True, help="Without a nonce: the device signs its intent first.")
@click.option(
    "--reveal", type=click.Path(), metavar="INTENT", help="Give the nonce for the signed intent in this file."
)
@click.option("--request", type=click.Path(), metavar="FILE", help="With --reveal: the request that was made --late.")
@click.option("--key", metavar="K", help="With --reveal: the key of the device that you expect.")
@click.option("--save", required=True, type=click.Path(dir_okay=False), metavar="FILE", help="Write the request here.")
@home_option
@json_option
def nonce(
    prompt: str,
    late: bool,
    reveal: str | None,
    request: str | None,
    key: str | None,
    save: str,
    home: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Make a request that fixes PROMPT ('-': from stdin), model, parameters and nonce, signed by this device.

    Its owner answers it with `verity ask --request FILE`; you verify with `verity verify --request FILE`. The strongest
    mode takes two steps: --late makes a request without a nonce, which is answered with a signed intent; --reveal then
    gives the nonce for that intent, and for no other.
    """
    from verity.node import Node
    from verity.store import bundles

    with Node(home) as node:
        if reveal is not None:
            if prompt or given(options) or request is None or key is None:
                raise UsageError("--reveal takes --request and --key, and nothing else is asked for", "see --help")
            known = bundles.read_request(request)
            issued = node.issuer.reveal(known, bundles.read_signed_intent(reveal), key)
        else:
            if request is not None or key is not None:
                raise UsageError("--request and --key go with --reveal", "see --help")
            asked = read_stdin() if prompt == "-" else prompt
            issued = node.issuer.issue(asked, late=late, **given(options))
    bundles.save(issued.envelope, save)
    nonce_hex = issued.nonce.hex() if issued.nonce else None
    if as_json:
        print_json({"request": issued.id, "nonce": nonce_hex, "issuer": issued.issuer, "file": save})
    else:
        click.echo(f"request {issued.id} by {issued.issuer[:16]}… in {save}")
        click.echo(f"nonce {nonce_hex or 'not yet: the device signs its intent first'}")
