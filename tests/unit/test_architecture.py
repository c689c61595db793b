"""The floors of the code (docs/ARCHITECTURE.md): who may import whom, and who may start what."""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("frontend", "catalog", "order")
PACKAGES = ("common", *SERVICES)

PURE = (
    "catalog/replication.py",
    "catalog/sessions.py",
    "catalog/membership.py",
    "frontend/cache.py",
    "frontend/balancer.py",
    "frontend/control/waterfall.py",
    "common/trace.py",
)
IMPURE_STDLIB = {"sqlite3", "threading", "time", "random", "socket", "subprocess", "asyncio"}
STARTS_THREADS = {"common/serve.py", "common/tasks.py", "common/lanes.py"}
USES_SOCKETS = {
    "common/serve.py", "common/protocol.py", "common/ordinary.py", "common/connections.py",
    "common/calls.py", "common/exchange.py",
    # `make demo`, a command of its own: are its ports free; its controller's calls
    "common/demo/layout.py", "common/demo/api.py",
}  # fmt: skip
COMMANDS = {"catalog/importer.py", "catalog/loading.py"}  # a command line of its own, no service

# What pure modules import of ours: a value, and one another.
PURE_IMPORTS = {"common.position", "common.trace", "catalog.replication"}

# What a module may call while it is being imported: it makes constants (a file of its own is one).
CONSTANT_CALLS = {
    "Decimal", "MappingProxyType", "NewType", "Path", "TypeVar", "frozenset",
    "getLogger", "len", "max", "min", "range", "compile", "namedtuple", "timedelta", "tuple",
    "items", "keys", "values", "read_text", "resolve", "with_name",
}  # fmt: skip


# Descriptions, which are constants put together by pure functions of these two modules.
DESCRIPTIONS = ("frontend/schemas.py", "frontend/calls.py")


def modules(*packages: str) -> list[str]:
    """Return the modules of packages, as paths from the root."""
    found = (path for package in packages for path in (ROOT / package).rglob("*.py"))
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


@functools.cache
def parsed(module: str) -> ast.Module:
    return ast.parse((ROOT / module).read_text("utf-8"), module)


def imports(module: str) -> Iterator[str]:
    """Yield the dotted name of everything a module imports, wherever in it."""
    for node in ast.walk(parsed(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def tops(module: str) -> set[str]:
    """Return the top-level packages a module imports."""
    return {name.partition(".")[0] for name in imports(module)}


@pytest.mark.parametrize("service", SERVICES)
def test_services_import_only_common_and_themselves(service: str) -> None:
    """They talk to one another by HTTP."""
    others = set(SERVICES) - {service}
    assert not [module for module in modules(service) if tops(module) & others]


def test_common_knows_no_service() -> None:
    """What every service shares depends on none of them."""
    assert not [module for module in modules("common") if tops(module) & set(SERVICES)]


def test_the_product_does_not_import_its_tests() -> None:
    """Fakes stay where they are."""
    assert not [module for module in modules(*PACKAGES) if "tests" in tops(module)]


@pytest.mark.parametrize("module", [path for path in PURE if (ROOT / path).exists()])
def test_pure_modules_import_the_standard_library_only(module: str) -> None:
    """Rules without I/O, time or chance: a lock is handed in."""
    names = {name for name in imports(module) if name.rpartition(".")[0] not in PURE_IMPORTS}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names - IMPURE_STDLIB


def uses(module: str, *names: str) -> bool:
    """Tell whether a module calls one of `owner.name`, or imports it by that name."""
    nodes = (node for node in ast.walk(parsed(module)) if isinstance(node, ast.Call))
    called = {ast.unparse(node.func) for node in nodes}
    return not called.union(imports(module)).isdisjoint(names)


def test_only_the_runner_starts_threads() -> None:
    """A service gets `tasks`, so that the simulator can own every thread of it."""
    threads = ("threading.Thread", "threading.Timer", "concurrent.futures.ThreadPoolExecutor")
    started = {module for module in modules(*PACKAGES) if uses(module, *threads)} - COMMANDS
    assert started <= STARTS_THREADS


def test_only_the_runner_uses_sockets() -> None:
    """Nothing listens that was not configured."""
    servers = {"socket", "socketserver", "uvicorn", "wsgiref"}
    assert {module for module in modules(*PACKAGES) if tops(module) & servers} <= USES_SOCKETS


def test_services_take_time_and_waits_as_arguments() -> None:
    """A clock and `tasks` come from outside: no reading of the system's, no sleep."""
    services = set(modules(*SERVICES)) - COMMANDS
    waits = ("threading.Event", "threading.Condition", "queue.Queue", "queue.SimpleQueue")
    assert not [module for module in services if "time" in tops(module)]
    assert not [module for module in services if uses(module, *waits)]


def test_nothing_opens_sqlite_but_the_database_module() -> None:
    """It knows which connection may see what."""
    opened = {module for module in modules(*PACKAGES) if uses(module, "apsw.Connection")}
    assert opened == {"common/database.py"}
    assert not [module for module in modules(*PACKAGES) if "sqlite3" in tops(module)]


def at_import(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that run when a module is imported, but for definitions and imports."""
    for node in body:
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")) | ast.Import() | ast.ImportFrom():
                continue
            case ast.If(test=ast.Compare(left=ast.Name(id="__name__"))):
                continue
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                continue
            case ast.Expr(value=ast.Constant()):
                continue
            case ast.If():
                yield from at_import(node.body + node.orelse)
            case _:
                yield node


def builders(module: str) -> set[str]:
    """Return the functions that may make a module's constants."""
    owners = DESCRIPTIONS if module in DESCRIPTIONS else ()
    return {
        node.name
        for owner in owners
        for node in parsed(owner).body
        if isinstance(node, ast.FunctionDef)
    }


def makes_a_constant(node: ast.stmt, made_by: set[str]) -> bool:
    """Tell whether a statement binds constants: capital names, to values made by known calls."""
    if not isinstance(node, ast.Assign | ast.AnnAssign):
        return False
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    names = [
        name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)
    ]
    return all(map(is_constant_name, names)) and all(
        ast.unparse(call.func).rpartition(".")[2] in CONSTANT_CALLS | capital_names() | made_by
        for call in calls_now(node)
    )


def calls_now(node: ast.AST) -> Iterator[ast.Call]:
    """Yield the calls in a statement, but for those that a lambda makes later."""
    if isinstance(node, ast.Call):
        yield node
    if not isinstance(node, ast.Lambda):
        for child in ast.iter_child_nodes(node):
            yield from calls_now(child)


def is_constant_name(name: str) -> bool:
    """Capitals, a type's name, or a logger."""
    return name.isupper() or name.lstrip("_")[0].isupper() or name in ("log", "__all__")


@functools.cache
def capital_names() -> set[str]:
    """Return the names of our own frozen dataclasses and tuples: calling one makes a value."""
    return {
        node.name
        for module in modules(*PACKAGES)
        for node in parsed(module).body
        if isinstance(node, ast.ClassDef) and is_value_class(node)
    }


def is_value_class(node: ast.ClassDef) -> bool:
    frozen = any("frozen=True" in ast.unparse(decorator) for decorator in node.decorator_list)
    return frozen or any(ast.unparse(base) == "NamedTuple" for base in node.bases)


MODULES = [module for module in modules(*PACKAGES) if not module.endswith("__main__.py")]


@pytest.mark.parametrize("module", MODULES)
def test_nothing_happens_on_import(module: str) -> None:
    """No state in a module, no call but those that make constants: two nodes fit into a process."""
    made_by = builders(module)
    statements = at_import(parsed(module).body)
    offenders = [node for node in statements if not makes_a_constant(node, made_by)]
    assert not [f"line {node.lineno}: {ast.unparse(node)[:80]}" for node in offenders]


@pytest.mark.parametrize("module", MODULES)
def test_no_function_rebinds_a_global(module: str) -> None:
    """State has an owner, and it is no module."""
    assert not [node for node in ast.walk(parsed(module)) if isinstance(node, ast.Global)]


@pytest.mark.parametrize("module", modules(*PACKAGES))
def test_every_module_says_what_it_owns(module: str) -> None:
    """A docstring opens it."""
    assert ast.get_docstring(parsed(module))
