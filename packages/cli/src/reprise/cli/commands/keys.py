"""`reprise keys`: the key-encryption keys, under which every other key is wrapped."""

import base64
import os
import time
from datetime import UTC, datetime
from typing import Annotated

import typer
from reprise.cli.options import wait_option
from reprise.cli.output import TABLE, Output, nameless, print_data, say, stdout, table
from reprise.cli.ports import ClusterError, KeySecret, Session
from reprise.cli.progress import waiting
from reprise.cli.rendering import Cell
from reprise.cli.rotation import late, next_step
from reprise.contracts.humane import plural, seconds, together

app = typer.Typer(no_args_is_help=True, help="The key-encryption keys of the checkpoints.")
POLL_S = 2.0
ROUNDS = 20
"""Rewrapping ends when it finds nothing more; each round finds what was written during the one before."""

Timeout = Annotated[float, wait_option("How long to wait until every node has the new key.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


def rotate(context: typer.Context, timeout: Timeout = 600, dry_run: DryRun = False, output: Output = TABLE) -> None:
    """Replace the active key-encryption key. No checkpoint is written again. Interrupted, it goes on where it was."""
    nameless(output)
    session: Session = context.obj
    secret = session.key_secret()
    before, active = "", ""
    if secret is not None:
        before = secret.read().active
        if dry_run:
            _plan(secret, before)
            return
        active = _replaced(secret, timeout)
    elif dry_run:
        say("would wrap every key under the active key of REPRISE_KEK_DIR")
        return
    changed = _rewrapped(session)
    if secret is not None:
        secret.finish()
    if output.is_data:
        print_data({"active": active, "before": before, "rewrapped": changed}, output)
        return
    if output.wide and changed:
        stdout().print(table(["OBJECT"], [[Cell(name)] for name in changed]))
    say(f"{plural(len(changed), 'key')} wrapped anew; all are wrapped under {active or 'the active key'} now.", "green")
    if before and before != active:
        say(f"Nothing in the store needs {before} any more. Keep a copy of it as long as you keep backups of the store; then")
        patch = f'[{{"op": "remove", "path": "/data/{before}"}}]'
        say(f"kubectl -n {session.system_namespace} patch secret reprise-keys --type=json -p '{patch}'", "dim")


def _plan(secret: KeySecret, before: str) -> None:
    wanted, pods = secret.pending(), secret.pods()
    say(f"active now: {before}" + (f"; {wanted} is being brought in" if wanted else ""))
    for line in (
        *([] if wanted else ["a new key would be made and added to the Secret; the old one stays"]),
        f"it would become the active one once it has reached {together(sorted(pods)) or 'every pod that mounts the Secret'}",
        "every other key would then be wrapped under it; no checkpoint is written again",
    ):
        say(f"  - {line}")


def _replaced(secret: KeySecret, timeout_s: float) -> str:
    """The new active key's id. Raises ClusterError: some pod does not have it in time; nothing is worse than before."""
    end, told = time.monotonic() + timeout_s, ""
    while True:
        wanted, pods = secret.pending(), secret.pods()
        step = next_step(secret.read(), wanted, pods)
        if step == "rewrap":
            return wanted
        if step == "add":
            wanted = f"k{datetime.now(UTC):%Y%m%dt%H%M%S}"
            secret.add(wanted, base64.b64encode(os.urandom(32)))
            say(f"added key {wanted}")
        elif step == "switch":
            secret.switch(wanted)
            say(f"{wanted} is the active key")
        elif time.monotonic() > end:
            behind = late(wanted, pods, active=step == "wait for the switch")
            raise ClusterError(
                f"after {seconds(timeout_s)} it has not reached {together(behind)}", subject=f"key {wanted}",
                remedy="see that these pods run, and run this again: it goes on from here; every node can still read everything",
            )  # fmt: skip
        else:
            if step != told:
                say(
                    f"waiting until {plural(len(pods), 'pod')} of Reprise {'have it' if step == 'wait for the key' else 'see it'}"
                )
            told = step
            with waiting("the kubelets bring it within two minutes"):
                time.sleep(POLL_S)


def _rewrapped(session: Session) -> list[str]:
    changed: list[str] = []
    with session.repository(keys=True) as repository, waiting("wrapping every key under the active one"):
        for _ in range(ROUNDS):
            found = repository.rewrap_keys()
            changed += found
            if not found:
                break
    return list(dict.fromkeys(changed))
