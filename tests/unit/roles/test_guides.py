# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inventories, variables and command lines of the documents, as Ansible and the roles read them."""

from __future__ import annotations

import re
import shlex
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from ansible.cli.playbook import PlaybookCLI
from ansible.cli.vault import VaultCLI
from ansible.inventory.manager import InventoryManager
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.parsing.dataloader import DataLoader
from ansible.vars.manager import VariableManager
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fleet_gateway.settings.keys import hash_of
from sound_values import CHECKSUM, SOUND

ROOT = Path(__file__).resolve().parents[3]

#: A block whose first line is a comment with the name of a file.
FILE = re.compile(r"^( *)```(?:ini|yaml)\n *# ([\w./-]+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
CONSOLE = re.compile(r"^( *)```console\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)

#: The roles of a group's hosts.
ROLES = {
    "fleet": ("ollama_server", "ollama_models", "fleet_worker"),
    "fleet_brokers": ("fleet_broker",),
    "gateways": ("fleet_gateway",),
}


class Guide(NamedTuple):
    """A page, the page whose files it changes, and a host that it has the reader add."""

    page: str
    before: str = ""
    added: str = ""


GUIDES = [
    Guide("README.md"),
    Guide("docs/tutorial-one-node.md"),
    Guide("docs/tutorial-three-nodes.md", before="docs/tutorial-one-node.md"),
    Guide("docs/how-to.md", before="docs/tutorial-three-nodes.md", added="gpu-04"),
]


class Inventory:
    """The files of a guide, read by Ansible."""

    def __init__(self, folder: Path) -> None:
        loader = DataLoader()
        loader.set_basedir(str(folder))
        self.folder = folder
        self.manager = InventoryManager(loader, sources=[str(folder / "hosts.ini")])
        self._variables = VariableManager(loader, self.manager)

    def variables(self, host: str) -> dict[str, Any]:
        """Return the variables that the files give a host."""
        everything = self._variables.get_vars(host=self.manager.get_host(host))
        ours = ("ollama_", "fleet_", "verify_", "publish_", "vault_")
        given = {name: value for name, value in everything.items() if name.startswith(ours)}
        # A page may leave it to its reader to write the file of secrets.
        secrets = re.findall(r"\bvault_\w+", "".join(path.read_text() for path in self.folder.rglob("*.yml")))
        return {**dict.fromkeys(secrets, "SECRET" * 6), **given}


def write_files(folder: Path, page: str) -> None:
    """Write the files that a page shows."""
    for _indent, name, text in FILE.findall((ROOT / page).read_text()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).replace("sha256:...", CHECKSUM))


def commands(page: str, program: str) -> Iterator[list[str]]:
    """Yield the arguments of each command of a program that a page shows."""
    for _indent, text in CONSOLE.findall((ROOT / page).read_text()):
        for line in text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == [program]:
                yield words


@pytest.fixture(params=GUIDES, ids=lambda guide: guide.page)
def guide(request: pytest.FixtureRequest) -> Guide:
    wanted: Guide = request.param
    return wanted


@pytest.fixture
def inventory(guide: Guide, tmp_path: Path) -> Inventory:
    pages = [guide.page]
    while before := next((one.before for one in GUIDES if one.page == pages[0]), ""):
        pages.insert(0, before)
    for page in pages:
        write_files(tmp_path, page)
    if guide.added:
        with (tmp_path / "hosts.ini").open("a") as hosts:  # its last group is the fleet
            hosts.write(f"{guide.added}\n")
    return Inventory(tmp_path)


def test_roles_take_the_variables_of_each_host(inventory: Inventory, evaluate: Any) -> None:
    groups = inventory.manager.get_groups_dict()
    checked = 0
    for group, roles in ROLES.items():
        for host in groups.get(group, []):
            given = inventory.variables(host)
            for role in roles:
                assert evaluate(role, f"__{role}_problems", host=host, groups=groups, **given) == [], (host, role)
                checked += 1
    assert checked >= 4


def test_variables_exist_and_have_their_types(inventory: Inventory, evaluate: Any) -> None:
    specs = options_of_roles()
    groups = inventory.manager.get_groups_dict()
    for host in groups["all"]:
        given = inventory.variables(host)
        for role, options in specs.items():
            names = [name for name in given if name.startswith(f"{role}_")]
            assert set(names) <= set(options), host
            values = {name: evaluate(role, name, host=host, groups=groups, **given) for name in names}
            chosen = {name: options[name] for name in names}
            assert ArgumentSpecValidator(chosen).validate(values).error_messages == [], host


def test_commands_name_playbooks_and_hosts_that_exist(guide: Guide, inventory: Inventory) -> None:
    seen = 0
    for words in commands(guide.page, "ansible-playbook"):
        command = PlaybookCLI(words)
        command.init_parser()
        options = command.parser.parse_args(words[1:])
        (playbook,) = options.args
        ours = playbook.startswith("legionio.ollama.")
        path = ROOT / f"playbooks/{playbook.rpartition('.')[2]}.yml" if ours else inventory.folder / playbook
        pattern = yaml.safe_load(path.read_text())[0]["hosts"]
        default = re.search(r"default\('(\w+)'\)", pattern)
        inventory.manager.subset(options.subset)
        assert inventory.manager.get_hosts(default[1] if default else pattern), words
        assert options.inventory == ["hosts.ini"], words
        seen += 1
    assert seen >= 2


def test_vault_commands_name_files_of_the_guide(guide: Guide, inventory: Inventory) -> None:
    for words in commands(guide.page, "ansible-vault"):
        command = VaultCLI(words)
        command.init_parser()
        options = command.parser.parse_args(words[1:])
        assert all((inventory.folder / name).exists() for name in options.args), words


# Snippets of all pages

PAGES = [*sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("roles/*/README.md"))]
SNIPPET = re.compile(r"^ *```ya?ml\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
# In a block of commands, or in backquotes.
COMMAND = re.compile(r"(?:^ *|`)(ansible-playbook legionio\.[^\n`]*)", re.MULTILINE)


def options_of_roles() -> dict[str, dict[str, Any]]:
    """The declared options of each role."""
    return {
        path.parent.parent.name: yaml.safe_load(path.read_text())["argument_specs"]["main"]["options"]
        for path in ROOT.glob("roles/*/meta/argument_specs.yml")
    }


def variables_in(loaded: Any) -> dict[str, Any]:
    """Return the variables that a snippet gives: itself, or those of the roles of its plays."""
    if isinstance(loaded, dict):
        return dict(loaded)
    roles = [role for play in loaded if "roles" in play for role in play["roles"]]
    return {name: value for role in roles for name, value in role["vars"].items()}


def snippets() -> Iterator[Any]:
    """Yield each snippet of a page that gives variables to roles."""
    names = {name for options in options_of_roles().values() for name in options}
    for page in PAGES:
        text = page.read_text()
        for found in SNIPPET.finditer(text):
            written = textwrap.dedent(found[1])
            if names & set(variables_in(yaml.safe_load(written))):
                line = text.count("\n", 0, found.start()) + 1
                yield pytest.param(written, id=f"{page.relative_to(ROOT)}:{line}")


@pytest.fixture(scope="module")
def public_key() -> str:
    """A key as ``openssl ec -pubout`` writes it."""
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.mark.parametrize("written", list(snippets()))
def test_roles_take_the_variables_of_each_snippet(written: str, evaluate: Any, tmp_path: Path, public_key: str) -> None:
    path = tmp_path / "snippet.yml"
    path.write_text(written.replace("sha256:...", CHECKSUM))
    (tmp_path / "signing.pub").write_text(public_key)
    # A playbook of the collection lies in another folder than the inventory, and Ansible looks for files beside it.
    playbooks = tmp_path / "collection/playbooks"
    playbooks.mkdir(parents=True)
    loader = DataLoader()
    given = variables_in(loader.load_from_file(str(path), trusted_as_template=True))
    secrets = dict.fromkeys(re.findall(r"\bvault_\w+", written), "SECRET" * 6)
    for role, options in options_of_roles().items():
        names = [name for name in given if name in options]
        if not names:
            continue
        sound = {name: value for known in SOUND.values() for name, value in known.items()}
        everything = {**sound, **secrets, **given, "inventory_dir": str(tmp_path)}
        assert evaluate(role, f"__{role}_problems", folder=playbooks, **everything) == [], role
        values = {name: evaluate(role, name, folder=playbooks, **everything) for name in names}
        chosen = {name: options[name] for name in names}
        assert ArgumentSpecValidator(chosen).validate(values).error_messages == [], role


def test_commands_of_all_pages_can_be_given() -> None:
    known = {name for options in options_of_roles().values() for name in options}
    known.update(re.findall(r"\b\w+\b", "".join(path.read_text() for path in ROOT.glob("playbooks/*.yml"))))
    seen = 0
    for page in PAGES:
        for written in COMMAND.findall(page.read_text()):
            words = shlex.split(written, comments=True)
            command = PlaybookCLI(words)
            command.init_parser()
            options = command.parser.parse_args(words[1:])
            assert options.inventory, (page.name, written)
            for playbook in options.args:
                assert (ROOT / f"playbooks/{playbook.rpartition('.')[2]}.yml").exists(), (page.name, written)
            for extra in options.extra_vars:
                assert extra.startswith("{") or extra.partition("=")[0] in known, (page.name, written)
            seen += 1
    assert seen > 20


def test_wheelhouse_recipe_has_the_packages_of_all_roles() -> None:
    text = (ROOT / "roles/fleet_worker/README.md").read_text()
    named = [ROOT / "roles" / name for name in re.findall(r"\b(?:\w+/)+requirements[\w-]*\.txt", text) if "/" in name]
    there = {pin for path in named if path.exists() for pin in pins(path)}
    for path in ROOT.glob("roles/*/files/requirements*.txt"):
        assert pins(path) <= there, path


def pins(requirements: Path) -> set[str]:
    """Return the packages of a file, each with its version."""
    return set(re.findall(r"^\w[\w.-]*==\S+", requirements.read_text(), re.MULTILINE))


def test_handmade_key_has_the_hash_that_the_gateway_computes() -> None:
    page = (ROOT / "docs/gateway.md").read_text()
    (recipe,) = re.findall(r"^```sh\n(key=.*?)^```$", page, re.MULTILINE | re.DOTALL)
    shown = subprocess.run(["/bin/sh", "-ec", recipe], check=True, stdout=subprocess.PIPE, text=True).stdout
    key, hashed = re.findall(r"^key: +(flg_[0-9a-f]{64})\nhash: +(sha256:[0-9a-f]{64})$", shown, re.MULTILINE)[0]
    assert hashed == hash_of(key)
