"""`python -m catalog.operate handover` has the leader hand over to the other catalog;
`python -m catalog.operate promote --node catalog-2` has a catalog go on whose peer is gone for good
(without a backup server only: with one the shop does so by itself).

Law: a catalog is asked once, and what came of it is said; who leads is what `make status` shows.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from catalog.replication import View
from common.auth import Signer
from common.config import ConfigError, Settings, add_config_argument, load_cluster
from common.errors import Problem
from common.peer import Http, Peer, PeerDown, RequestsHttp

ASK_S, HANDOVER_S = 2.0, 5.0
MARGIN_S = 3.0  # beyond the leases that a promotion waits for


class Unchanged(Exception):
    """It did not come to it; the message says why."""


def hand_over(settings: Settings, http: Http) -> str:
    """Have whoever leads hand over; return who leads then. Raises the `Problem` of the leader, or
    `PeerDown` when no catalog answers.
    """
    last: Problem | PeerDown = PeerDown("no catalog is configured")
    for name in settings.catalogs:
        try:
            answer = _peer(settings, http, name).call(
                "POST", "/replication/handover", document={}, timeout_s=HANDOVER_S
            )
            return str(answer.json()["leader"])
        except PeerDown as error:
            last = error
        except Problem as problem:
            if problem.code != "not-leader":
                raise
            last = problem
    raise last


def promote(settings: Settings, http: Http, name: str, given: str | None) -> str:
    """Have a catalog go on alone after its name was confirmed (`given`, or typed); return what to
    do next. Raises `Unchanged`, the catalog's `Problem`, or `PeerDown`.
    """
    if name not in settings.catalogs:
        raise Unchanged(f"{name} is no catalog: {', '.join(settings.catalogs)}")
    gone = next(other for other in settings.catalogs if other != name)
    peer = _peer(settings, http, name)
    view = View.parse(peer.call("POST", "/replication/state", document={}, timeout_s=ASK_S).json())
    if view.record is None:
        raise Unchanged(f"{name} holds no full copy: its disk is empty")
    print(_what_it_means(view, gone), file=sys.stderr)
    if given is None:
        print(f"Type {name} to go on: ", end="", flush=True, file=sys.stderr)
        given = sys.stdin.readline().strip()
    if given != name:
        raise Unchanged("not confirmed")
    waits_s = view.record.lease_s_max + MARGIN_S
    answer = peer.call("POST", "/replication/promotion", document={}, timeout_s=waits_s)
    return (
        f"{name} leads epoch {answer.json()['epoch']} as soon as there are two copies again:"
        f" start {gone} with an empty data folder"
    )


def _what_it_means(view: View, gone: str) -> str:
    """Say, before it is confirmed, what may be lost."""
    assert view.record is not None
    name, epoch = view.node, view.record.epoch
    held = f"{name} holds every entry up to {view.end.seq}"
    if view.prepared:
        held += f", and {view.prepared.seq}, which {gone} may have answered: it will stand"
    if view.record.counts(name, view.disk):
        lost = (
            f"It is a member of epoch {epoch}, the last it knows of: that is all that was ever"
            " answered, unless its disk is an older copy."
        )
    else:
        lost = (
            f"It is NO member of epoch {epoch}, the last it knows of: what was sold after entry"
            f" {view.end.seq} IS LOST. The order servers refuse if they hold such sales, until"
            " their data folders are emptied."
        )
    return (
        f"{held}.\n{lost}\n"
        f"{gone} must be gone: while it runs anywhere, caches may go on showing what it says.\n"
        f"Should its disk ever return, it is refilled from {name}; what only it holds is dropped."
    )


def _peer(settings: Settings, http: Http, name: str) -> Peer:
    signer = Signer("operator", settings.cluster_secret)
    return Peer(name, settings.catalogs[name], http=http, signer=signer, cluster=lambda: "")


def main(argv: Sequence[str] | None = None) -> int:
    """Hand over, or promote; return 0 when it was done, 1 when it did not come to it, 2 when the
    command or the settings are wrong.
    """
    parser = argparse.ArgumentParser(prog="python -m catalog.operate", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    handover = commands.add_parser("handover", help="let the other catalog lead")
    promotion = commands.add_parser("promote", help="let a catalog go on whose peer is lost")
    promotion.add_argument("--node", required=True, help="the catalog that is left")
    promotion.add_argument("--confirm", help="its name once more, instead of typing it")
    for command in (handover, promotion):
        add_config_argument(command)
    given = parser.parse_args(argv)
    try:
        settings, http = load_cluster(given.config), RequestsHttp()
        if given.command == "handover":
            print(f"{hand_over(settings, http)} leads now")
        else:
            print(promote(settings, http, given.node, given.confirm))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except (Unchanged, Problem) as error:
        why = error.detail if isinstance(error, Problem) else error
        print(f"nothing changed: {why}", file=sys.stderr)
        return 1
    except PeerDown as error:
        print(f"nobody could be asked: {error}; see `make status`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
