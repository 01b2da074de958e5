"""`reprise console`: the console's pages in a browser, without exposing anything."""

import time
import webbrowser
from typing import Annotated

import typer
from reprise.cli.output import say, stdout
from reprise.cli.ports import Session

Port = Annotated[
    int, typer.Option("--port", min=0, max=65535, show_default=False, help="On this machine; any that is free if not given.")
]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Only print the address.")]
WATCH_S = 3600.0


def console(context: typer.Context, port: Port = 0, no_browser: NoBrowser = False) -> None:
    """Open the console in a browser, through a port-forward that lasts until Ctrl-C. Prints the address."""
    session: Session = context.obj
    with session.console_address(port) as url:
        stdout().print(url, soft_wrap=True)
        if not no_browser and not webbrowser.open(url):
            say("no browser could be opened: open the address yourself", "yellow")
        token = f"kubectl -n {session.system_namespace} create token NAME --audience reprise-console"
        say(f"Sign in with a token: `{token}` (NAME: a service account that may). Ctrl-C ends it.", "dim")
        try:
            while True:
                time.sleep(WATCH_S)
        except KeyboardInterrupt:
            say("ended", "dim")
