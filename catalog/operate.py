"""`python -m catalog.operate handover`: has the leader hand over to the other catalog.

Law: it asks once and says what came of it; who leads afterwards is what `make status` shows.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from common.auth import Signer
from common.config import ConfigError, Settings, add_config_argument, load_cluster
from common.errors import Problem
from common.peer import Http, Peer, PeerDown, RequestsHttp

HANDOVER_S = 5.0


def hand_over(settings: Settings, http: Http) -> str:
    """Have whoever leads hand over; return who leads then. Raises the `Problem` of the leader, or
    `PeerDown` when no catalog answers.
    """
    signer = Signer("operator", settings.cluster_secret)
    last: Problem | PeerDown = PeerDown("no catalog is configured")
    for name, url in settings.catalogs.items():
        peer = Peer(name, url, http=http, signer=signer, cluster=lambda: "")
        try:
            answer = peer.call("POST", "/replication/handover", document={}, timeout_s=HANDOVER_S)
            return str(answer.json()["leader"])
        except PeerDown as error:
            last = error
        except Problem as problem:
            if problem.code != "not-leader":
                raise
            last = problem
    raise last


def main(argv: Sequence[str] | None = None) -> int:
    """Hand over; return 0 when the other catalog leads, 1 when it did not come to it."""
    parser = argparse.ArgumentParser(prog="python -m catalog.operate", description=__doc__)
    parser.add_argument("command", choices=("handover",))
    add_config_argument(parser)
    given = parser.parse_args(argv)
    try:
        leader = hand_over(load_cluster(given.config), RequestsHttp())
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except Problem as problem:
        print(f"nothing changed: {problem.detail}", file=sys.stderr)
        return 1
    except PeerDown as error:
        print(f"nobody could be asked: {error}; see `make status`", file=sys.stderr)
        return 1
    print(f"{leader} leads now")
    return 0


if __name__ == "__main__":
    sys.exit(main())
