# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules that keep the rooms of the code apart, each as a function from a tree to the offences in it.

The rooms are the packages of `plugins/module_utils`, the modules, and the daemons: the worker in
`roles/fleet_worker/files`, and the gateway in `roles/fleet_gateway/files`. The rules read source text; they import
nothing of it. `test_rooms.py` holds each rule against this tree, and against a broken one.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Union

UTILS = "plugins/module_utils"
DAEMON = "roles/fleet_worker/files/fleet_worker"
GATEWAY = "roles/fleet_gateway/files/fleet_gateway"

# Which rooms a room may look into, and which packages it may use when they are there.
MAY_IMPORT: dict[str, set[str]] = {
    "_http": {"_http"},
    "_ollama": {"_ollama"},
    "_mirror": {"_http", "_mirror", "_ollama"},
    "_fleet": {"_fleet", "_ollama"},
}
MAY_USE: dict[str, set[str]] = {
    "_http": set(),
    "_ollama": {"requests", "urllib3"},
    "_mirror": {"boto3", "botocore", "cryptography", "s3transfer", "urllib3"},
    "_fleet": {"cryptography", "jwt", "pika"},
}
BLOB_SERVER = "roles/ollama_models/files/blob_server"
# All folders with code of the product, without the roles' other files.
CODE = ("plugins", "extensions", DAEMON, GATEWAY, BLOB_SERVER)
# The rooms that each daemon has.
DAEMON_ROOMS: dict[str, set[str]] = {DAEMON: set(MAY_IMPORT), GATEWAY: set(MAY_IMPORT) - {"_mirror"}}
# The packages of a daemon, and of the mirror, that each package may import. A file at the top that many packages
# import, such as `errors`, has a row like a package. A file without a row may import everything, and no package may
# import it.
DAEMON_PACKAGES: dict[str, set[str]] = {
    "exit_codes": set(),
    "logs": set(),
    "domain": {"logs"},
    "runtime": {"logs"},
    "observe": {"domain", "logs", "runtime"},
    "settings": {"domain"},
    "scheduling": {"domain"},
    "amqp": {"domain", "logs", "runtime"},
    "inference": {"domain", "logs", "observe", "runtime"},
    "worker": {"amqp", "domain", "inference", "logs", "observe", "runtime", "scheduling"},
    "updates": {"amqp", "domain", "exit_codes", "logs", "observe", "runtime", "settings"},
    "process": {"amqp", "domain", "exit_codes", "inference", "logs", "observe", "runtime", "settings", "worker"},
}
GATEWAY_PACKAGES: dict[str, set[str]] = {
    "exit_codes": set(),
    "logs": set(),
    "runtime": {"logs"},
    "observe": set(),
    "settings": set(),
    "domain": {"settings"},
    "amqp": {"logs"},
    "transit": {"amqp", "domain", "logs", "runtime", "settings"},
    "http": {"domain", "logs", "observe", "runtime", "settings", "transit"},
    "process": {"amqp", "domain", "exit_codes", "http", "logs", "observe", "runtime", "settings", "transit"},
}
MIRROR_PACKAGES: dict[str, set[str]] = {
    "errors": set(),
    "retry": {"errors"},
    "support": set(),
    "s3": {"errors", "retry"},
    "signing": {"errors"},
    "state": set(),
    "transfer": {"errors", "retry", "s3"},
    "peers": {"errors", "retry", "transfer"},
    "models": {"errors", "peers", "retry", "s3", "signing", "state", "support", "transfer"},
}
# Standard with the Python that runs this, and not yet with the oldest target, 3.9.
STANDARD = set(sys.stdlib_module_names) - {"tomllib"}

# A module is an argument spec and a call. Statements of main(), in lines; design says "about fifteen".
LONGEST_MAIN = 30
# The file that turns errors into results of modules.
FAILING = f"{UTILS}/_module/running.py"
# Parameters of a constructor, at most, besides self.
MOST_THINGS = 8
# Classes whose names Ansible demands.
ANSIBLE_NAMES = {"ActionModule", "FilterModule", "InventoryModule", "LookupModule", "ModuleDocFragment"}
# Lines of a class, at most, unless its docstring gives the reason with these words.
LONGEST_CLASS = 300
REASON = "This class is long because"
# The tests of the worker, in the folders of its modules.
DAEMON_TESTS = "tests/unit/roles/fleet_worker"
# The modules of the worker with a branch and without a test file of their own. This list only shrinks.
UNTESTED = {
    "cli.py",
    "domain/verdicts.py",
    "observe/counts.py",
    "observe/status.py",
    "scheduling/consumers.py",
    "scheduling/lanes.py",
    "settings/broker.py",
    "settings/protocol.py",
    "settings/sections.py",
    "updates/broadcast_record.py",
    "updates/config.py",
}


def python_files(folder: Path) -> Iterator[Path]:
    """The Python files of a folder; what links lead to is not in it."""
    for path, folders, files in os.walk(folder, followlinks=False):
        folders.sort()
        yield from (Path(path) / name for name in sorted(files) if name.endswith(".py"))


@functools.cache
def parse_text(text: str) -> ast.Module:
    """Return the tree of a file's text. Ten rules read each file."""
    return ast.parse(text)


def parse(path: Path) -> ast.Module:
    return parse_text(path.read_text())


def imports(tree: ast.AST) -> Iterator[tuple[Union[ast.Import, ast.ImportFrom], str, int]]:
    """Every import: the statement, the dotted name (of `from a import b`: a), and how many dots precede it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name, 0
        elif isinstance(node, ast.ImportFrom):
            yield node, node.module or "", node.level


def guarded(tree: ast.Module) -> set[int]:
    """The ids of all statements that may fail to import, or that no interpreter runs."""
    safe: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Try) and any(catches_import_error(handler) for handler in node.handlers):
            for statement in node.body:
                safe.update(id(inner) for inner in ast.walk(statement))
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for statement in node.body:
                safe.update(id(inner) for inner in ast.walk(statement))
    return safe


def catches_import_error(handler: ast.ExceptHandler) -> bool:
    return handler.type is not None and "ImportError" in {
        node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)
    }


def rooms_import_in_order(root: Path) -> list[str]:
    """A shared room imports relatively, only itself and the rooms below it, and never anything of Ansible."""
    found = []
    for room, allowed in MAY_IMPORT.items():
        base = root / UTILS
        for path in python_files(base / room):
            # The package that a single dot means: a module's folder, and a package's own.
            package = path.parent.relative_to(base).parts
            for node, name, level in imports(parse(path)):
                place = f"{path.relative_to(root)}:{node.lineno}"
                if level == 0:
                    if name.split(".")[0] in {"ansible", "ansible_collections", *MAY_IMPORT, "_module"}:
                        found.append(f"{place}: {room} imports {name}, and it may import only relatively")
                    continue
                target = (*package[: len(package) - level + 1], *name.split("."))
                if level > len(package):
                    # Two rooms up is plugins/module_utils itself: the first name is the room.
                    target = tuple(name.split(".")) if level == len(package) + 1 else ("outside",)
                reached = {target[0]} if target[0] else {alias.name for alias in node.names}
                if not reached <= allowed:
                    found.append(f"{place}: {room} imports {', '.join(sorted(reached - allowed))}")
    return found


def packages_are_guarded(root: Path) -> list[str]:
    """What is not standard is imported where a failure is caught, and belongs to the room."""
    found = []
    for room, allowed in MAY_USE.items():
        for path in python_files(root / UTILS / room):
            tree = parse(path)
            safe = guarded(tree)
            for node, name, level in imports(tree):
                top = name.split(".")[0]
                if level or top in STANDARD or top in {"ansible", "ansible_collections"}:
                    continue
                place = f"{path.relative_to(root)}:{node.lineno}"
                if top not in allowed:
                    found.append(f"{place}: {room} has no use for {top}")
                if id(node) not in safe:
                    found.append(f"{place}: {top} is imported without try / except ImportError")
            found.extend(
                f"{path.relative_to(root)}:{node.lineno}: Ansible cannot see what importlib imports"
                for node in ast.walk(tree)
                if isinstance(node, ast.Name) and node.id in {"importlib", "__import__"}
            )
    return found


def rooms_raise_and_return(root: Path) -> list[str]:
    """A shared room talks by results and errors: it never prints, reads the terminal or ends the process."""
    calls = {"print", "exit", "quit", "input", "breakpoint"}
    attributes = {
        ("sys", "exit"),
        ("sys", "stdout"),
        ("sys", "stderr"),
        ("sys", "stdin"),
        ("os", "_exit"),
        ("os", "abort"),
    }
    found = []
    for room in MAY_IMPORT:
        for path in python_files(root / UTILS / room):
            for node in ast.walk(parse(path)):
                word = ""
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in calls:
                    word = f"{node.func.id}()"
                elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    if (node.value.id, node.attr) in attributes:
                        word = f"{node.value.id}.{node.attr}"
                elif isinstance(node, ast.Name) and node.id == "SystemExit":
                    word = "SystemExit"
                if word:
                    found.append(f"{path.relative_to(root)}:{getattr(node, 'lineno', 0)}: {room} uses {word}")
    return found


def daemon_knows_no_ansible(root: Path) -> list[str]:
    """A daemon runs where no Ansible is, so it imports neither Ansible nor the room that knows AnsibleModule."""
    found = []
    for path in (path for daemon in DAEMON_ROOMS for path in python_files(root / daemon)):
        if path.is_symlink():
            continue  # a file of a shared room, which has rules of its own
        for node, name, level in imports(parse(path)):
            parts = set(name.split(".")) | ({alias.name for alias in node.names} if not name else set())
            place = f"{path.relative_to(root)}:{node.lineno}"
            if "_module" in parts:
                found.append(f"{place}: the daemon imports _module")
            if level == 0 and parts & {"ansible", "ansible_collections"}:
                found.append(f"{place}: the daemon imports {name}")
            if level == 0 and name.split(".")[0] in MAY_IMPORT:
                found.append(f"{place}: {name} is a package of the daemon, to be imported relatively")
    return found


def daemon_links_rooms(root: Path) -> list[str]:
    """Each daemon has each file of its shared rooms as a relative link: one set of files, no copy in git.

    To files, not to folders: ansible-test allows no other links.
    """
    found = []
    for daemon, rooms in DAEMON_ROOMS.items():
        if not (root / daemon).is_dir():
            found.append(f"{daemon} does not exist")
            continue
        for room in MAY_IMPORT:
            if room in rooms:
                found += wrong_links(root, daemon, room)
            elif (root / daemon / room).exists():
                found.append(f"{daemon}/{room} is a room that this daemon has no use for")
    return found + copies_of_rooms(root)


def wrong_links(root: Path, daemon: str, room: str) -> list[str]:
    """What is wrong with the links of a daemon to a room."""
    found = []
    if (root / daemon / room).is_symlink():
        found.append(f"{daemon}/{room} is a link to a folder")
    for original in python_files(root / UTILS / room):
        link = root / daemon / original.relative_to(root / UTILS)
        name = link.relative_to(root)
        if not link.is_symlink():
            found.append(f"{name} is not a link")
        elif Path(os.readlink(link)).is_absolute():
            found.append(f"{name} is an absolute link")
        elif link.resolve() != original.resolve():
            found.append(f"{name} leads to {os.readlink(link)}")
    for path in python_files(root / daemon / room):
        if not path.exists():
            found.append(f"{path.relative_to(root)} leads nowhere")
        elif not path.is_symlink():
            found.append(f"{path.relative_to(root)} belongs into {UTILS}")
    return found


def copies_of_rooms(root: Path) -> list[str]:
    """Files known to git with the content of a shared file. Empty ones are not copies."""
    listed = subprocess.run(
        [
            "git",
            "-c",
            "safe.directory=*",
            "-C",
            str(root),
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ],
        check=True,
        stdout=subprocess.PIPE,
    ).stdout.decode()
    seen: dict[str, str] = {}
    found = []
    # The originals first, so that the copy is the one reported.
    for name in sorted(set(listed.split("\0")) - {""}, key=lambda name: (not name.startswith(UTILS), name)):
        path = root / name
        if path.is_symlink() or not path.is_file() or path.suffix != ".py" or not path.stat().st_size:
            continue
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        original = seen.setdefault(digest, name)
        if original != name and original.startswith(UTILS):
            found.append(f"{name} is a copy of {original}")
    return found


def own_imports(room: Path) -> Iterator[tuple[Path, int, Path]]:
    """Yield each import of a room's file by another one: who imports, on which line, and which file or folder.

    An import inside a function, or for the type checker alone, counts like any other.
    """
    for path in python_files(room):
        if path.is_symlink():
            continue
        for node, name, level in imports(parse(path)):
            if not level:
                continue
            start = path.parents[level - 1]
            target = start.joinpath(*name.split(".")) if name else start
            for alias in node.names:
                found = next((place for place in places(target, alias.name) if place.exists()), None)
                if found is not None and room in found.parents and not found.is_symlink():
                    yield path, node.lineno, found


def places(target: Path, name: str) -> tuple[Path, ...]:
    """The files that `from target import name` may mean, the likeliest first."""
    return target / f"{name}.py", target / name / "__init__.py", target.with_suffix(".py"), target / "__init__.py"


def no_file_imports_itself(root: Path) -> list[str]:
    """No file imports itself by way of others: that works until somebody imports the files in another order."""
    found = []
    for room in (*(f"{UTILS}/{name}" for name in (*MAY_IMPORT, "_module")), *DAEMON_ROOMS):
        arrows: dict[Path, set[Path]] = {}
        for path, _line, target in own_imports(root / room):
            # A package is imported before its files; that is not a circle.
            if target.name != "__init__.py":
                arrows.setdefault(path, set()).add(target)
        for start in sorted(arrows):
            way = way_back(start, arrows)
            if way and start == min(way):
                found.append(" -> ".join(str(path.relative_to(root)) for path in (*way, start)))
    return found


def packages_import_in_order(root: Path) -> list[str]:
    """A package of a daemon or of the mirror imports only itself and those that it stands on.

    So the worker's scheduling knows no I/O, its amqp no policy and no Ollama, its inference no broker; only its worker
    knows all three. In the gateway the domain knows neither broker nor HTTP; they meet in transit.
    """
    found = []
    for room, table in (
        (root / DAEMON, DAEMON_PACKAGES),
        (root / GATEWAY, GATEWAY_PACKAGES),
        (root / UTILS / "_mirror", MIRROR_PACKAGES),
    ):
        for path, line, target in own_imports(room):
            here, there = (each.relative_to(room).parts[0].removesuffix(".py") for each in (path, target))
            allowed = table.get(here)
            if here != there and there != "__init__" and allowed is not None and there not in allowed:
                found.append(f"{path.relative_to(root)}:{line}: {here} imports {there}")
        present = {path.relative_to(room).parts[0] for path in python_files(room) if path.parent != room}
        found.extend(
            f"{room.relative_to(root)}/{name} is a package without a place in the order"
            for name in sorted(present - set(table) - set(MAY_IMPORT))
        )
    return found


def way_back(start: Path, arrows: dict[Path, set[Path]]) -> list[Path]:
    """Return the shortest way from a file by its imports back to it, without the end; nothing if there is none."""
    ways = [[start]]
    seen: set[Path] = set()
    while ways:
        way = ways.pop(0)
        for target in sorted(arrows.get(way[-1], set())):
            if target == start:
                return way
            if target not in seen:
                seen.add(target)
                ways.append([*way, target])
    return []


#: Who may call Python's parsers, which call themselves for each level, and what else may be done by them.
BOUNDED_READERS: dict[str, set[tuple[str, str]]] = {
    "json_text.py": {("json", "load"), ("json", "loads"), ("decoder", "decode"), ("DECODER", "decode")},
    "yaml_document.py": {("yaml", "load"), ("yaml", "safe_load")},
    "model_list.py": {("ast", "literal_eval")},  # one quoted text
}


def texts_are_read_within_bounds(root: Path) -> list[str]:
    """JSON, YAML and Python from outside reach a parser in one file each, which bounds their levels."""
    forbidden = set().union(*BOUNDED_READERS.values())
    found = []
    for folder in ("plugins", *DAEMON_ROOMS):
        for path in python_files(root / folder):
            if path.is_symlink():
                continue
            for node in ast.walk(parse(path)):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    use = (node.value.id.lstrip("_"), node.attr)
                    if use in forbidden - BOUNDED_READERS.get(path.name, set()):
                        found.append(f"{path.relative_to(root)}:{node.lineno}: {'.'.join(use)} reads without bounds")
                elif isinstance(node, ast.ImportFrom) and node.module in {"json", "yaml"}:
                    found.append(f"{path.relative_to(root)}:{node.lineno}: {node.module} is imported as a whole only")
    return found


def constructors_take_few_things(root: Path) -> list[str]:
    """A constructor takes at most eight things; more belong into a value."""
    found = []
    for path, kind in own_classes(root):
        for method in methods(kind):
            given = method.args
            count = len(given.posonlyargs) + len(given.args) - 1 + len(given.kwonlyargs)
            if method.name == "__init__" and count > MOST_THINGS:
                found.append(f"{path.relative_to(root)}:{method.lineno}: {kind.name} takes {count} things")
    return found


def long_classes_have_a_reason(root: Path) -> list[str]:
    """The docstring of a class of more than 300 lines says why the class is long."""
    found = []
    for path, kind in own_classes(root):
        lines = (kind.end_lineno or kind.lineno) - kind.lineno + 1
        if lines > LONGEST_CLASS and REASON not in " ".join((ast.get_docstring(kind) or "").split()):
            found.append(f"{path.relative_to(root)}:{kind.lineno}: {kind.name} has {lines} lines and gives no reason")
    return found


def class_names_are_unique(root: Path) -> list[str]:
    """A class name stands once in the plugins together with each daemon, so that it means one thing to a reader.

    Worker and gateway are two programs. A part that both have, such as Service, Config, Metrics or BrokerSession, has
    one name in both.
    """
    found = []
    for daemon in (DAEMON, GATEWAY, BLOB_SERVER):
        seen: dict[str, Path] = {}
        for path, kind in own_classes(root, ("plugins", daemon)):
            place = path.relative_to(root)
            if kind.name in seen and kind.name not in ANSIBLE_NAMES:
                found.append(f"{place}:{kind.lineno}: {kind.name} is a class of {seen[kind.name]}, too")
            seen.setdefault(kind.name, place)
    return sorted(set(found))


def own_classes(root: Path, folders: Sequence[str] = CODE) -> Iterator[tuple[Path, ast.ClassDef]]:
    """Yield each class of the product with its file; a link's classes belong to the file that it leads to."""
    for folder in folders:
        for path in python_files(root / folder):
            if not path.is_symlink():
                yield from ((path, kind) for kind in classes(parse(path)))


def modules_have_their_tests(root: Path) -> list[str]:
    """A module of the worker with a branch has a test file of its own, in the same folder of the tests."""
    found = []
    for name in branching_modules(root):
        test = f"{DAEMON_TESTS}/{Path(name).with_name(f'test_{Path(name).name}').as_posix()}"
        is_tested = (root / test).exists()
        if name in UNTESTED and is_tested:
            found.append(f"{name} has its test; remove it from UNTESTED")
        elif name not in UNTESTED and not is_tested:
            found.append(f"{DAEMON}/{name} has a branch and no {test}")
    return found


def branching_modules(root: Path) -> list[str]:
    """The modules of the worker with an `if`, a loop or a `try` in a function, without links to other rooms."""
    return [
        path.relative_to(root / DAEMON).as_posix()
        for path in python_files(root / DAEMON)
        if not path.is_symlink() and any(branches(node) for node in ast.walk(parse(path)))
    ]


def branches(node: ast.AST) -> bool:
    """Whether a node is a function with a branch."""
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and any(
        isinstance(part, (ast.If, ast.For, ast.While, ast.Try)) for part in ast.walk(node)
    )


def one_file_fails_modules(root: Path) -> list[str]:
    """Only one file of `_module` calls `fail_json`, so all failures of modules have one form."""
    found = []
    for folder in (UTILS, "plugins/modules"):
        for path in python_files(root / folder):
            if path.relative_to(root).as_posix() != FAILING:
                found += [
                    f"{path.relative_to(root)}:{node.lineno}: fail_json belongs into {FAILING}"
                    for node in ast.walk(parse(path))
                    if isinstance(node, ast.Attribute) and node.attr == "fail_json"
                ]
    return found


def no_private_method_is_overridden(root: Path) -> list[str]:
    """A class does not override a private method of another class: what differs is handed over as a part.

    Bases are known by their names alone.
    """
    kinds: dict[str, list[tuple[str, ast.ClassDef]]] = {}
    for room in (UTILS, *DAEMON_ROOMS):
        for path in python_files(root / room):
            if not path.is_symlink():
                for kind in classes(parse(path)):
                    kinds.setdefault(kind.name, []).append((f"{path.relative_to(root)}:{kind.lineno}", kind))
    found = []
    for name, places_of_name in kinds.items():
        for place, kind in places_of_name:
            bases = [base.id for base in kind.bases if isinstance(base, ast.Name)]
            inherited = {one for base in bases for _place, above in kinds.get(base, ()) for one in private(above)}
            found += [f"{place}: {name} overrides {method}" for method in sorted(private(kind) & inherited)]
    return found


def classes(tree: ast.Module) -> list[ast.ClassDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]


def methods(kind: ast.ClassDef) -> list[ast.FunctionDef]:
    return [node for node in kind.body if isinstance(node, ast.FunctionDef)]


def private(kind: ast.ClassDef) -> set[str]:
    """The names of a class's private methods; those with two underscores are Python's."""
    return {method.name for method in methods(kind) if re.match(r"_[^_]", method.name)}


def modules_are_thin(root: Path) -> list[str]:
    """A module is its documentation, constants, and a short main() that makes one call of `run`."""
    found: list[str] = []
    for path in python_files(root / "plugins/modules"):
        name = str(path.relative_to(root))
        tree = parse(path)
        texts = {target.id for node in tree.body if isinstance(node, ast.Assign) for target in named(node)}
        found.extend(
            f"{name}: {text} is missing" for text in ("DOCUMENTATION", "EXAMPLES", "RETURN") if text not in texts
        )
        mains = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "main"]
        if not mains:
            found.append(f"{name}: there is no main()")
        found.extend(
            f"{name}:{node.lineno}: a module holds nothing but documentation, constants and main()"
            for node in tree.body
            if not thin(node)
        )
        for main in mains:
            lines = (main.end_lineno or main.lineno) - main.lineno + 1
            if lines > LONGEST_MAIN:
                found.append(
                    f"{name}:{main.lineno}: main() has {lines} lines; {LONGEST_MAIN} are enough for a spec and a call"
                )
            called = [node.func for node in ast.walk(main) if isinstance(node, ast.Call)]
            if sum(isinstance(func, ast.Name) and func.id == "run" for func in called) != 1:
                found.append(f"{name}:{main.lineno}: main() does not make one call of run()")
    return found


def named(node: ast.Assign) -> list[ast.Name]:
    return [target for target in node.targets if isinstance(target, ast.Name)]


def thin(node: ast.stmt) -> bool:
    """Whether a statement may stand in a module beside its main()."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return True
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    if isinstance(node, ast.Assign):
        return all(name.id.isupper() for name in named(node)) and len(named(node)) == len(node.targets)
    if isinstance(node, ast.AnnAssign):
        return isinstance(node.target, ast.Name) and node.target.id.isupper()
    if isinstance(node, ast.FunctionDef):
        return node.name == "main"
    return isinstance(node, ast.If) and "__name__" in ast.dump(node.test)
