"""`python -m common.demo`, which `make demo` runs: a shop to break, and to watch mend itself.

Laws: one demo at a time in a folder; when this process ends, however it does, its nodes end.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

from rich.console import Console

from common.auth import Signer
from common.config import Settings, shown
from common.datalock import Held, LockFile
from common.demo.api import Api, Server
from common.demo.controller import Demo
from common.demo.layout import CONTROLLER, FOLDER, PAGES, PORT, PORTS, Layout
from common.demo.warden import start_warden

FAILED, USAGE = 1, 2
MARK = "demo.pid"  # stands in every folder that is a demo's
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def run(layout: Layout, settings: Settings, console: Console) -> int:
    """Run a demo until a signal; return the exit code."""
    ending = asyncio.Event()
    for number in SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    warden = await start_warden()
    demo = Demo(layout, settings, warden.group, partial(tell, console))
    server = Server(Api(demo, Signer(CONTROLLER, settings.cluster_secret)), layout.controller_port)
    serving = asyncio.create_task(server.serve())
    try:
        await demo.start()
        return await _until(ending, demo, layout, console)
    finally:
        console.print("ending ..", style="dim")
        await demo.close()
        server.should_exit = True
        await serving
        await warden.end()


async def _until(ending: asyncio.Event, demo: Demo, layout: Layout, console: Console) -> int:
    opening = asyncio.create_task(demo.open())
    waiting = asyncio.create_task(ending.wait())
    await asyncio.wait((opening, waiting), return_when=asyncio.FIRST_COMPLETED)
    if not opening.done():
        opening.cancel()
        return 0
    if opening.exception() is not None:
        console.print(f"the shop did not open; see {shown(layout.logs)}", style="bold red")
        return FAILED
    greet(layout, console)
    await waiting
    return 0


def greet(layout: Layout, console: Console) -> None:
    """Say where everything is; never the token itself."""
    shop = f"http://127.0.0.1:{layout.node_port(PAGES[0])}"
    console.print()
    console.print("  [bold]The shop[/]          ", shop)
    console.print("  [bold]Break it[/]          ", f"{shop}/ops/faults")
    console.print("  [bold]Password there[/]    ", "ADMIN_TOKEN in", shown(layout.secrets))
    console.print("  [bold]What the nodes say[/]", shown(layout.logs))
    console.print("  Ctrl-C ends it all.\n", style="dim")


def tell(console: Console, words: str) -> None:
    """Print what has happened, with the time of day."""
    console.print(f"{datetime.now():%H:%M:%S}", words, highlight=False)


def is_ours(folder: Path) -> bool:
    """Tell whether a demo may have a folder for itself: it replaces what is in there."""
    return not folder.exists() or (folder / MARK).is_file() or not any(folder.iterdir())


def main(argv: Sequence[str] | None = None, console: Console | None = None) -> int:
    """Run a shop of six real processes that can be broken from its control room."""
    parser = argparse.ArgumentParser(prog="python -m common.demo", description=main.__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where it keeps its files")
    parser.add_argument("--port", type=int, default=PORT, help=f"the first of {PORTS} ports")
    parser.add_argument("--no-backup", action="store_true", help="without the backup server")
    given = parser.parse_args(argv)
    layout = Layout(given.folder.absolute(), given.port, backup=not given.no_backup)
    if not is_ours(layout.folder):
        print(f"{shown(layout.folder)} holds something else than a demo", file=sys.stderr)
        return USAGE
    lock = LockFile(layout.folder / MARK)
    try:
        lock.acquire()
    except Held as held:
        print(f"a demo runs already, as process {held.pid}", file=sys.stderr)
        return FAILED
    if taken := layout.taken_ports():
        print(f"port {taken[0]} is in use; --port names another first one", file=sys.stderr)
        return USAGE
    return asyncio.run(run(layout, layout.prepare(), console or Console(soft_wrap=True)))


if __name__ == "__main__":
    sys.exit(main())
