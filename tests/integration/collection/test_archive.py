# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The archive that users install works, also when everything but meta, plugins, roles and playbooks is deleted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import rules

ROOT = Path(__file__).resolve().parents[3]
NEEDED = {"meta", "playbooks", "plugins", "roles"}

RUN_DAEMON = (
    "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); runpy.run_module('fleet_worker', run_name='__main__')"
)


def run(*command: str, collections: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **{name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "ANSIBLE_COLLECTIONS_PATH"}},
        "ANSIBLE_COLLECTIONS_PATH": str(collections),
        "ANSIBLE_HOME": str(collections / "home"),
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
    }
    return subprocess.run(
        command,
        check=False,
        env=environment,
        cwd=collections,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive as `make build` makes it."""
    folder = tmp_path_factory.mktemp("archive")
    result = subprocess.run(
        ["ansible-galaxy", "collection", "build", "--output-path", str(folder), str(ROOT)],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert result.returncode == 0, result.stdout
    (built,) = folder.glob("*.tar.gz")
    return built


@pytest.fixture(scope="module")
def installed(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of collections with the archive installed by ansible-galaxy; to be read only."""
    collections = tmp_path_factory.mktemp("collections")
    result = run(
        *("ansible-galaxy", "collection", "install", "--offline", "--collections-path", str(collections), str(archive)),
        collections=collections,
    )
    assert result.returncode == 0, result.stdout
    return collections


@pytest.fixture(scope="module")
def stripped(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with nothing left but what a collection may need at run time."""
    collections = tmp_path_factory.mktemp("stripped")
    shutil.copytree(installed, collections, symlinks=True, dirs_exist_ok=True)
    for path in home(collections).iterdir():
        if path.name not in NEEDED:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert {path.name for path in home(collections).iterdir()} <= NEEDED
    return collections


def home(collections: Path) -> Path:
    return collections / "ansible_collections/legionio/ollama"


Doctor = Callable[[Path], list[str]]


def undocumented_plugins(collections: Path) -> list[str]:
    """Plugins whose documentation ansible-doc cannot show."""
    found: list[str] = []
    for kind, folder in (("module", "modules"), ("filter", "filter"), ("lookup", "lookup")):
        names = sorted(
            f"legionio.ollama.{path.stem}"
            for path in (home(collections) / "plugins" / folder).glob("*.py")
            if path.stem != "__init__"
        )
        if not names:
            continue
        result = run("ansible-doc", "--type", kind, "--json", *names, collections=collections)
        shown = json.loads(result.stdout[result.stdout.index("{") :]) if result.returncode == 0 else {}
        found.extend(f"{kind} {name}: {result.stdout[-500:]}" for name in names if not shown.get(name, {}).get("doc"))
    return found


def undocumented_roles(collections: Path) -> list[str]:
    found = []
    for path in sorted((home(collections) / "roles").iterdir()):
        result = run("ansible-doc", "--type", "role", "--json", f"legionio.ollama.{path.name}", collections=collections)
        if result.returncode or f"legionio.ollama.{path.name}" not in result.stdout:
            found.append(f"role {path.name}: {result.stdout[-500:]}")
    return found


def playbooks_that_do_not_parse(collections: Path) -> list[str]:
    found = []
    for path in sorted((home(collections) / "playbooks").glob("*.yml")):
        result = run(
            *("ansible-playbook", "--syntax-check", "-i", "localhost,", f"legionio.ollama.{path.stem}"),
            collections=collections,
        )
        if result.returncode:
            found.append(f"playbook {path.name}: {result.stdout[-500:]}")
    return found


def daemon_that_does_not_start(collections: Path) -> list[str]:
    """The daemon says its version from the role's files alone; isolated, so that nothing of Ansible's path helps."""
    files = home(collections) / rules.DAEMON
    result = run(sys.executable, "-I", "-B", "-c", RUN_DAEMON, str(files.parent), "version", collections=collections)
    return [] if result.returncode == 0 and result.stdout.strip() else [f"daemon: {result.stdout[-500:]}"]


DOCTORS: tuple[Doctor, ...] = (
    undocumented_plugins,
    undocumented_roles,
    playbooks_that_do_not_parse,
    daemon_that_does_not_start,
)


@pytest.mark.parametrize("doctor", DOCTORS, ids=lambda doctor: doctor.__name__)
def test_files_for_the_run_time_suffice(doctor: Doctor, stripped: Path) -> None:
    assert doctor(stripped) == []


@pytest.mark.parametrize(
    "doctor, broken",
    [
        (undocumented_plugins, "plugins/doc_fragments"),
        (undocumented_roles, "roles/fleet_worker/meta/argument_specs.yml"),
        (playbooks_that_do_not_parse, "roles/ollama_server"),
        (daemon_that_does_not_start, "plugins/module_utils/_ollama"),
    ],
)
def test_missing_file_is_found(doctor: Doctor, broken: str, stripped: Path, tmp_path: Path) -> None:
    shutil.copytree(stripped, tmp_path, symlinks=True, dirs_exist_ok=True)
    path = home(tmp_path) / broken
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert doctor(tmp_path) != []


def test_there_is_something_to_test(stripped: Path) -> None:
    assert list((home(stripped) / "plugins/modules").glob("*.py"))
    assert (home(stripped) / "playbooks/provision_fleet.yml").exists()


def test_the_shared_rooms_survive_the_installation(installed: Path) -> None:
    for room in rules.MAY_IMPORT:
        source = sorted(path.name for path in (ROOT / rules.UTILS / room).glob("*.py"))
        for folder in (rules.UTILS, rules.DAEMON):
            assert sorted(path.name for path in (home(installed) / folder / room).glob("*.py")) == source


def test_the_archive_holds_no_tests_and_no_machinery(archive: Path) -> None:
    with tarfile.open(archive) as tar:
        tops = {name.split("/")[0] for name in tar.getnames()}
    assert NEEDED | {"LICENSE", "README.md"} <= tops
    assert tops.isdisjoint({".ci", ".git", ".gitignore", "Makefile", "build", "pyproject.toml", "tests"})
