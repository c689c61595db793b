"""The settings: three places, one order among them, every error at once."""

from __future__ import annotations

import contextlib
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.config import CONFIG, KEYS, ROOT, ConfigError, Settings, check, load, main
from common.secretsfile import make_secrets

SECRET = "0123456789abcdef0123456789abcdef"
PLAIN = {
    "FRONTENDS": "frontend-1=http://127.0.0.1:8000 frontend-2=http://[::1]:8001",
    "CATALOGS": "catalog-1=http://10.0.0.1:8101 catalog-2=http://vm2.example:8102",
    "ORDERS": "order-1=http://127.0.0.1:8201",
    "BACKUP": "",
    "DATA_DIR": "data",
    "CLUSTER_SECRET": SECRET,
    "ADMIN_TOKEN": SECRET,
    "CACHE_CAPACITY": "1024",
    "CACHE_LEASE_S": "2",
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A folder's cluster.env that holds PLAIN."""
    path = tmp_path / "cluster.env"
    write(path, PLAIN)
    return path


def write(path: Path, values: dict[str, str]) -> None:
    path.write_text("".join(f'{key}="{value}"\n' for key, value in values.items()), "utf-8")


def read(config: Path, node: str = "catalog-1", **environ: str) -> Settings:
    return load(node.rsplit("-", 1)[0], node, config, environ)


def errors(config: Path, node: str = "catalog-1", **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(config, node, **environ)
    return caught.value.errors


def test_a_node_learns_who_it_is_and_who_the_others_are(config: Path) -> None:
    """Every field of the settings comes out of the file."""
    settings = read(config)
    assert (settings.role, settings.node) == ("catalog", "catalog-1")
    assert list(settings.catalogs) == ["catalog-1", "catalog-2"]
    assert settings.url_of("catalog-2") == "http://vm2.example:8102"
    assert settings.url_of("frontend-2") == "http://[::1]:8001"
    assert dict(settings.orders) == {"order-1": "http://127.0.0.1:8201"}
    assert dict(settings.backup) == {}
    assert (settings.listen_host, settings.listen_port) == ("10.0.0.1", 8101)
    assert (settings.cache_capacity, settings.cache_lease_s) == (1024, 2.0)
    assert settings.cluster_secret == settings.admin_token == SECRET


def test_the_config_file_of_the_repository_lacks_only_the_secrets() -> None:
    """A fresh checkout needs nothing but `init`."""
    secrets = {"CLUSTER_SECRET": SECRET, "ADMIN_TOKEN": SECRET}
    assert check(CONFIG, secrets) == []
    assert load("frontend", "frontend-1", environ=secrets).listen_port == 8000


def test_the_environment_goes_over_the_secrets_and_those_over_the_file(config: Path) -> None:
    """The order of the three places."""
    write(config.with_name("secrets.env"), {"CLUSTER_SECRET": "s" * 32, "ADMIN_TOKEN": "s" * 32})
    settings = read(config, CLUSTER_SECRET="e" * 32, CACHE_CAPACITY="0")
    assert settings.cluster_secret == "e" * 32
    assert settings.admin_token == "s" * 32
    assert settings.cache_capacity == 0


def test_everything_that_is_wrong_is_said_at_once(config: Path) -> None:
    """One start shows every error, each with its name and its place."""
    write(config, PLAIN | {"CACHE_LEASE_S": "61", "ADMIN_TOKEN": "short", "DATA_DIR": ""})
    found = errors(config, "catalog-9", CACHE_CAPACITY="many")
    names = ("--node catalog-9", "DATA_DIR", "ADMIN_TOKEN", "CACHE_CAPACITY", "CACHE_LEASE_S")
    assert [next(name for name in names if line.startswith(name)) for line in found] == list(names)
    assert all(str(config) in line for line in found if not line.startswith("CACHE_CAPACITY"))
    assert "(the environment)" in next(line for line in found if line.startswith("CACHE_CAPACITY"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("FRONTENDS", ""),
        ("FRONTENDS", "frontend-1"),
        ("FRONTENDS", "frontend-1=http://127.0.0.1"),
        ("FRONTENDS", "frontend-1=https://127.0.0.1:8000"),
        ("FRONTENDS", "frontend-1=http://127.0.0.1:8000/shop"),
        ("FRONTENDS", "frontend-1=http://me@127.0.0.1:8000"),
        ("FRONTENDS", "frontend-1=http://127.0.0.1:0"),
        ("FRONTENDS", "frontend-1=http://127.0.0.1:65536"),
        ("FRONTENDS", "frontend-1=http://[::1:8000"),
        ("FRONTENDS", "Frontend_1=http://127.0.0.1:8000"),
        ("FRONTENDS", "a=http://h:1 a=http://h:2"),
        ("FRONTENDS", "a=http://h:1 b=http://h:1"),
        ("FRONTENDS", "catalog-1=http://127.0.0.1:8000"),
        ("CATALOGS", "catalog-1=http://127.0.0.1:8101"),
        ("CATALOGS", "catalog-1=http://h:1 b=http://h:2 c=http://h:3"),
        ("BACKUP", "backup"),
        ("BACKUP", "backup=http://h:1 other=http://h:2"),
        ("BACKUP", "catalog-1=http://127.0.0.1:8301"),
        ("BACKUP", "backup=http://10.0.0.1:8101"),
        ("CACHE_CAPACITY", "-1"),
        ("CACHE_CAPACITY", "1.5"),
        ("CACHE_CAPACITY", "10000001"),
        ("CACHE_LEASE_S", "0.09"),
        ("CACHE_LEASE_S", "nan"),
        ("CLUSTER_SECRET", "x" * 31),
        ("CLUSTER_SECRET", "x" * 40 + " y"),
        ("ADMIN_TOKEN", "ü" * 40),
        ("LISTEN", "0.0.0.0:80"),
        ("LISTEN", "two hosts"),
    ],
)
def test_a_wrong_value_is_named(config: Path, key: str, value: str) -> None:
    """Each setting refuses what it cannot mean."""
    found = errors(config, **{key: value})
    assert any(key in line for line in found), found


def test_a_secret_is_never_repeated(config: Path) -> None:
    """Neither an error nor the settings' repr shows one."""
    assert "hunter2" not in "".join(errors(config, ADMIN_TOKEN="hunter2"))
    assert SECRET not in repr(read(config))


def test_a_missing_secret_says_how_to_make_it(config: Path) -> None:
    """Whoever starts a node by hand learns about `init`."""
    write(config, PLAIN | {"CLUSTER_SECRET": ""})
    assert "python -m common.config init" in "".join(errors(config))


def test_an_unknown_setting_is_an_error(config: Path) -> None:
    """A misspelled key would else be a setting that does nothing."""
    write(config, PLAIN | {"CACHE_CAPACTIY": "1"})
    assert f"CACHE_CAPACTIY ({config}): no such setting" in errors(config)


def test_a_line_that_is_no_setting_is_reported_with_its_number(config: Path) -> None:
    """Blank lines and comments count as lines."""
    config.write_text("# first\n\n" + config.read_text() + "\nDATA_DIR\nDATA_DIR='x\n", "utf-8")
    last = 2 + len(PLAIN) + 2
    assert f"{config}, line {last}: is not of the form KEY=value" in errors(config)
    assert f"{config}, line {last + 1}: is not of the form KEY=value" in errors(config)


def test_a_setting_given_twice_in_a_file_is_an_error(config: Path) -> None:
    """Nobody has to guess which of the two counts."""
    config.write_text(config.read_text() + "CACHE_LEASE_S=3\n", "utf-8")
    assert f"CACHE_LEASE_S ({config}, line {len(PLAIN) + 1}): is set twice" in errors(config)


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    """A missing file, and one that is not text."""
    config = tmp_path / "cluster.env"
    if content is not None:
        config.write_bytes(content)
    assert f"{config}: cannot be read" in errors(config)[0]


def test_a_backup_server_is_one_node_or_none(config: Path) -> None:
    """With a name and an address like any other node; a second one would be a fourth voter."""
    one = "backup=http://127.0.0.1:8301"
    settings = read(config, "backup", BACKUP=one)
    assert (settings.role, settings.node, settings.listen_port) == ("backup", "backup", 8301)
    assert dict(settings.backup) == {"backup": "http://127.0.0.1:8301"}
    assert settings.url_of("backup") == "http://127.0.0.1:8301"
    found = errors(config, BACKUP=f"{one} b=http://127.0.0.1:8302")
    assert found == ["BACKUP (the environment): needs one node, or none"]


def test_a_node_of_another_service_is_unknown(config: Path) -> None:
    """`python -m order --node catalog-1` is a mistake, and the message lists the orders."""
    with pytest.raises(ConfigError, match=r"no such order in .*it has: order-1"):
        load("order", "catalog-1", config, {})


def test_relative_folders_count_from_the_repository_root(config: Path, tmp_path: Path) -> None:
    """Wherever a node is started, it finds its data again; each node has a folder of its own."""
    assert read(config).data_dir == ROOT / "data" / "catalog-1"
    assert read(config, DATA_DIR=str(tmp_path)).data_dir == tmp_path / "catalog-1"


@pytest.mark.parametrize(("listen", "host"), [("0.0.0.0", "0.0.0.0"), ("[::]", "::"), ("::", "::")])
def test_listen_overrides_the_host_but_not_the_port(config: Path, listen: str, host: str) -> None:
    """On a VM the others call an address that the node itself need not bind."""
    settings = read(config, LISTEN=listen)
    assert (settings.listen_host, settings.listen_port) == (host, 8101)


def test_the_seed_is_the_catalog_beside_the_config_file(config: Path) -> None:
    """No seed, no path."""
    assert read(config).seed_file is None
    config.with_name("catalog.csv").touch()
    assert read(config).seed_file == config.with_name("catalog.csv")


@given(key=st.sampled_from(KEYS), value=st.text().filter(lambda text: "\0" not in text))
def test_no_value_breaks_the_reader(key: str, value: str) -> None:
    """Whatever stands in the environment: settings, or a ConfigError, and nothing else."""
    secrets = {"CLUSTER_SECRET": SECRET, "ADMIN_TOKEN": SECRET}
    with contextlib.suppress(ConfigError):
        load("catalog", "catalog-1", CONFIG, secrets | {key: value})


def test_init_makes_secrets_that_only_the_owner_reads(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`init` prints where they are and never what they are."""
    write(config, PLAIN | {"CLUSTER_SECRET": "", "ADMIN_TOKEN": ""})
    path = config.with_name("secrets.env")
    assert main(["init", "--config", str(config)]) == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    settings = read(config)
    assert settings.cluster_secret != settings.admin_token
    assert capsys.readouterr().out == f"made {path}\n"


def test_init_never_overwrites(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A cluster would lose its nodes with its secret."""
    path = config.with_name("secrets.env")
    path.write_text("CLUSTER_SECRET=mine\n")
    assert main(["init", "--config", str(config)]) == 0
    assert path.read_text() == "CLUSTER_SECRET=mine\n"
    assert capsys.readouterr().out == f"kept {path}\n"


def test_making_secrets_leaves_nothing_else_behind(tmp_path: Path) -> None:
    """The draft is gone, whether it was needed or not."""
    assert make_secrets(tmp_path / "secrets.env", ["KEY"])
    assert not make_secrets(tmp_path / "secrets.env", ["KEY"])
    assert [path.name for path in tmp_path.iterdir()] == ["secrets.env"]


def test_check_prints_every_error_and_fails(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same words as at a start, without starting anything."""
    write(config, PLAIN | {"CACHE_LEASE_S": "0", "CACHE_CAPACITY": "x"})
    assert main(["check", "--config", str(config)]) == 2
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize(("url", "kept"), [
    ("", ""), ("http://collector:4318", "http://collector:4318"),
    ("http://10.0.0.1:4318/otlp/", "http://10.0.0.1:4318/otlp"),
    ("http://[::1]:4318", "http://[::1]:4318"),
])  # fmt: skip
def test_a_collector_has_an_address_and_perhaps_a_path(config: Path, url: str, kept: str) -> None:
    """Or there is none."""
    write(config, PLAIN | {"OTLP_ENDPOINT": url})
    assert load("frontend", "frontend-1", config, {}).otlp_endpoint == kept


@pytest.mark.parametrize("url", [
    "collector:4318", "https://collector:4318", "http://collector", "http://a:1/x?y=1",
    "http://a:1/ x", "http://user@a:1", "http://http://a:1", "http://a:1//x", "nonsense",
])  # fmt: skip
def test_an_address_that_is_none_is_reported(config: Path, url: str) -> None:
    """Before anything starts."""
    write(config, PLAIN | {"OTLP_ENDPOINT": url})
    assert any("OTLP_ENDPOINT" in error for error in errors(config))


@pytest.mark.parametrize(("told", "kept"), [("0", 0.0), ("2.5", 2.5), ("", 10.0), ("1000", 1000.0)])
def test_how_much_is_traced_may_be_left_out(config: Path, told: str, kept: float) -> None:
    """An older file needs no change."""
    assert load("frontend", "frontend-1", config, {}).traces_per_s == 10.0
    write(config, PLAIN | {"TRACES_PER_S": told})
    assert load("frontend", "frontend-1", config, {}).traces_per_s == kept
    write(config, PLAIN | {"TRACES_PER_S": "1001"})
    assert any("TRACES_PER_S" in error for error in errors(config))
