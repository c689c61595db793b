"""cluster.env, secrets.env and the environment -> frozen `Settings`.

Law: whatever is missing or wrong is reported at once, each setting with its name and its place,
before anything starts. The environment goes over secrets.env beside the config file, and that over
the config file.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar
from urllib.parse import urlsplit

from common.envfile import Sources
from common.secretsfile import make_secrets

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "config" / "cluster.env"
SECRETS_NAME, SEED_NAME = "secrets.env", "catalog.csv"

SERVICES = {"frontend": "FRONTENDS", "catalog": "CATALOGS", "order": "ORDERS", "backup": "BACKUP"}
SECRETS = ("CLUSTER_SECRET", "ADMIN_TOKEN")
KEYS = (
    *SERVICES.values(), *SECRETS, "DATA_DIR", "LISTEN", "CACHE_CAPACITY", "CACHE_LEASE_S",
    "OTLP_ENDPOINT", "TRACES_PER_S", "DEMO",
)  # fmt: skip

CATALOGS_NEEDED = 2
TRACES_PER_S, TRACES_PER_S_MAX = 10.0, 1000.0
SECRET_CHARS_MIN = 32
CAPACITY_MAX = 10_000_000
LEASE_S_MIN, LEASE_S_MAX = 0.1, 60.0

_NODE = re.compile(r"([a-z0-9][a-z0-9-]{0,62})=(\S+)")
_HOST_NAME = re.compile(r"[A-Za-z0-9.-]+")
_URL_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*/?")
_SECRET = re.compile(r"[\x21-\x7e]+")  # it travels in a header

Number = TypeVar("Number", int, float)
Nodes = Mapping[str, str]  # name -> URL, in the order of the config file


class ConfigError(Exception):
    """The settings are not usable; `errors` says all that is wrong with them."""

    def __init__(self, errors: Sequence[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = list(errors)


@dataclass(frozen=True)
class Settings:
    """What one node is told: who it is, who the others are, and how to behave."""

    role: str
    node: str
    frontends: Nodes
    catalogs: Nodes  # the first leads a new cluster
    orders: Nodes
    backup: Nodes
    data_dir: Path  # this node's own folder
    cluster_secret: str = field(repr=False)
    admin_token: str = field(repr=False)
    cache_capacity: int
    cache_lease_s: float
    listen_host: str
    listen_port: int
    seed_file: Path | None
    demo: str = ""  # URL of the controller of `make demo`; empty anywhere else
    otlp_endpoint: str = ""  # where spans are exported to; empty: nowhere
    traces_per_s: float = TRACES_PER_S  # reads, and writes, that a frontend traces by itself

    def url_of(self, node: str) -> str:
        """Return a node's URL; raise KeyError for a name the config file does not have."""
        return {**self.frontends, **self.catalogs, **self.orders, **self.backup}[node]


def load(
    role: str, node: str, config: Path | None = None, environ: Mapping[str, str] = os.environ
) -> Settings:
    """Return the settings of a node; raise `ConfigError` with everything that is wrong."""
    path = (config or CONFIG).absolute()
    sources = _sources(path, environ)
    services = _services(sources)
    if node not in services[role]:
        known = ", ".join(services[role]) or "none"
        sources.errors.append(f"--node {node}: no such {role} in {shown(path)} (it has: {known})")
    settings = _settings(sources, services, role, node, path)
    if sources.errors:
        raise ConfigError(sources.errors)
    return settings


def load_cluster(config: Path | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings for a caller that is no node (the importer): `node` is empty."""
    path = config or CONFIG
    sources = _sources(path, environ)
    settings = _settings(sources, _services(sources), "catalog", "", path)
    if sources.errors:
        raise ConfigError(sources.errors)
    return settings


def check(config: Path, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return all that is wrong with the settings of the cluster, whichever node reads them."""
    sources = _sources(config, environ)
    _settings(sources, _services(sources), "catalog", "", config)
    return sources.errors


def _sources(config: Path, environ: Mapping[str, str]) -> Sources:
    secret = config.with_name(SECRETS_NAME)
    paths = [config, secret] if secret.exists() else [config]
    return Sources({shown(path): path for path in paths}, environ, KEYS)


def _settings(
    sources: Sources, services: Mapping[str, Nodes], role: str, node: str, config: Path
) -> Settings:
    own = urlsplit(services[role].get(node, ""))
    seed = config.with_name(SEED_NAME)
    return Settings(
        role=role,
        node=node,
        frontends=services["frontend"],
        catalogs=services["catalog"],
        orders=services["order"],
        backup=services["backup"],
        data_dir=ROOT / sources.needed("DATA_DIR") / node,
        cluster_secret=_secret(sources, "CLUSTER_SECRET"),
        admin_token=_secret(sources, "ADMIN_TOKEN"),
        cache_capacity=_number(sources, "CACHE_CAPACITY", int, 0, CAPACITY_MAX),
        cache_lease_s=_number(sources, "CACHE_LEASE_S", float, LEASE_S_MIN, LEASE_S_MAX),
        listen_host=_listen(sources) or own.hostname or "",
        listen_port=own.port or 0,
        seed_file=seed if seed.is_file() else None,
        demo=_demo(sources),
        otlp_endpoint=_collector(sources),
        traces_per_s=_traces_per_s(sources),
    )


def _services(sources: Sources) -> dict[str, Nodes]:
    """Return role -> its nodes; no name and no URL may stand in two places."""
    pairs = {role: _nodes(sources, key) for role, key in SERVICES.items()}
    everyone = [pair for nodes in pairs.values() for pair in nodes]
    for values in zip(*everyone, strict=True):
        for value in sorted({value for value in values if values.count(value) > 1}):
            sources.errors.append(f"{', '.join(SERVICES.values())}: {value} stands there twice")
    if len(pairs["catalog"]) not in (0, CATALOGS_NEEDED):
        sources.fail("CATALOGS", f"needs exactly {CATALOGS_NEEDED} nodes")
    if len(pairs["backup"]) > 1:
        sources.fail("BACKUP", "needs one node, or none")
    return {role: MappingProxyType(dict(nodes)) for role, nodes in pairs.items()}


def _nodes(sources: Sources, key: str) -> list[tuple[str, str]]:
    """Return (name, URL) of each node in `name=url name=url ..`."""
    written = sources.text(key) if key == "BACKUP" else sources.needed(key)
    nodes = []
    for word in written.split():
        match = _NODE.fullmatch(word)
        if match and _is_node_url(match[2]):
            nodes.append((match[1], match[2]))
        else:
            sources.fail(key, f"{word!r} is not name=http://host:port (names are of a-z, 0-9, -)")
    return nodes


def _is_node_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    return url == f"http://{parts.netloc}" and "@" not in url and bool(port) and _is_host(host)


def _is_host(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return _HOST_NAME.fullmatch(text) is not None
    return True


def _number(
    sources: Sources, key: str, parse: Callable[[str], Number], low: Number, high: Number
) -> Number:
    text = sources.needed(key)
    try:
        number = parse(text)
    except ValueError:
        number = high + 1
    if low <= number <= high:
        return number
    if text:
        kind = "a whole number" if parse is int else "a number"
        sources.fail(key, f"must be {kind}, {low} to {high}, not {text!r}")
    return low


def _secret(sources: Sources, key: str) -> str:
    """Return a secret; a message about it never repeats it."""
    text = sources.text(key)
    if not text:
        sources.fail(key, f"is missing; `python -m common.config init` makes {SECRETS_NAME}")
    elif len(text) < SECRET_CHARS_MIN or not _SECRET.fullmatch(text):
        sources.fail(key, f"needs {SECRET_CHARS_MIN} characters or more, ASCII, no blanks")
    return text


def _traces_per_s(sources: Sources) -> float:
    if not sources.text("TRACES_PER_S"):
        return TRACES_PER_S
    return _number(sources, "TRACES_PER_S", float, 0.0, TRACES_PER_S_MAX)


def _collector(sources: Sources) -> str:
    """Return the URL of a collector of spans, which may have a path; "": there is none."""
    url = sources.text("OTLP_ENDPOINT")
    base, slash, path = url.removeprefix("http://").partition("/")
    fits = url == f"http://{base}{slash}{path}" and _URL_PATH.fullmatch(slash + path)
    if url and not (fits and _is_node_url(f"http://{base}")):
        sources.fail("OTLP_ENDPOINT", f"must be http://host:port, perhaps with a path, not {url!r}")
    return url.rstrip("/")


def _listen(sources: Sources) -> str:
    host = sources.text("LISTEN").removeprefix("[").removesuffix("]")
    if host and not _is_host(host):
        sources.fail("LISTEN", f"must be a host name or an address without a port, not {host!r}")
    return host


def _demo(sources: Sources) -> str:
    url = sources.text("DEMO")
    if url and not _is_node_url(url):
        sources.fail("DEMO", f"must be http://host:port, not {url!r}")
    return url


def shown(path: Path) -> str:
    """Write a path as people know it: from the repository root when it lies inside."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def add_config_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--config FILE`; without it $CONFIG counts, which `make run CONFIG=..` sets."""
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        default=os.environ.get("CONFIG") or CONFIG,
        help="what describes the cluster (default: $CONFIG, else config/cluster.env)",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Make the secrets (`init`), or look the settings over (`check`)."""
    parser = argparse.ArgumentParser(prog="python -m common.config", description=main.__doc__)
    parser.add_argument("command", choices=("init", "check"))
    add_config_argument(parser)
    arguments = parser.parse_args(argv)
    path = arguments.config.absolute()
    if arguments.command == "init":
        secret = path.with_name(SECRETS_NAME)
        print("made" if make_secrets(secret, SECRETS) else "kept", shown(secret))
        return 0
    errors = check(path)
    print("\n".join(errors) or f"{shown(path)}: ok")
    return 2 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
