# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Follow the tutorials on bare hosts, as their pages tell them: in order, with their files, commands and prompts.

usage: follow_tutorials.py DIRECTORY HOST=ADDRESS...

Each block of a page is a file that is written, or commands that are run in a terminal. Only what no page can know is
different: PLACES has the texts that a reader replaces, and LAB the variables of hosts without internet. A page that
lost one of the texts, or a step that a function here does between two blocks, fails the run.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Callable, Optional

import boto3
import pexpect
from upgrade_parts import NEXT, VERSION, pack

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ["LEGIONIO_CACHE"])
PAGES = ("docs/tutorial-one-node.md", "docs/tutorial-three-nodes.md")

#: A block: its language and its text. The first line of a file is a comment with its name.
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"^# ([\w./-]+)\n")
RECAP = re.compile(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)", re.MULTILINE)

#: The programs of the S3 server, from the page on the mirror.
MIRROR_PAGE = "docs/mirror.md"
ADMIN = ("admin", "a-long-secret")

#: The password of the vault, and the prompts at which a person types it.
VAULT_PASSWORD = "the password of the vault"
PROMPT = r"[Vv]ault password[^:\n]*: ?$"

#: Hosts without internet, whose kernel allows no user namespaces in containers.
LAB = """
ollama_server_source: mirror
ollama_server_mirror_key: ollama/software/ollama-{{ ollama_server_version }}.tgz
fleet_worker_wheelhouse: %(wheelhouse)s
fleet_gateway_wheelhouse: %(wheelhouse)s
fleet_worker_unit_overrides: &overrides {Service: {PrivateUsers: false}}
fleet_gateway_unit_overrides: *overrides
ollama_models_peers_unit_overrides: *overrides
"""

#: Seconds for one command.
PATIENCE = 1200

#: Seconds between two requests: the nodes share the processors of one machine with the playbooks.
PAUSE = 0.5


class Tutorial:
    """A reader: a folder with the files of the pages, and a terminal.

    :param addresses: the address of each host.
    :ivar places: what a reader replaces in the texts of the pages, with the replacement.
    :ivar checksums: the SHA-256 of Ollama's archive, by version.
    """

    def __init__(self, state: Path, addresses: dict[str, str]) -> None:
        self.addresses = addresses
        self.folder = state / "tutorial"
        self.places: dict[str, str] = {}
        self.checksums: dict[bytes, str] = {}
        self._home = state / "home"
        self._ssh = state / "ssh_config"
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self._home, ignore_errors=True)
        self.folder.mkdir(parents=True)
        (self._home / ".ollama").mkdir(parents=True)
        (self._home / ".ollama/models").symlink_to(CACHE / "store")
        common = (
            f"User admin\nIdentityFile {CACHE}/ssh/id_ed25519\nStrictHostKeyChecking no\nUserKnownHostsFile /dev/null\n"
            "LogLevel ERROR\n"
        )
        hosts = "".join(f"Host {name}\nHostName {address}\n" for name, address in addresses.items())
        self._ssh.write_text(f"{hosts}Host *\n{common}")

    def write(self, name: str, text: str) -> None:
        """Write a file of a page."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.placed(text))

    def placed(self, text: str) -> str:
        """Return a text of a page with what a reader replaces."""
        for old, new in self.places.items():
            text = text.replace(old, new)
        return text

    def type(self, command: str, cwd: Optional[Path] = None) -> str:
        """Run a command in a terminal, answer its prompts, and return what it shows.

        :raises SystemExit: if the command fails.
        """
        begun = time.monotonic()
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTHON"))}
        environment |= {
            "HOME": str(self._home),
            "ANSIBLE_SSH_ARGS": f"-F {self._ssh} -o ControlMaster=auto -o ControlPersist=60s",
            "ANSIBLE_NOCOLOR": "true",
            "EDITOR": f"{sys.executable} {self.folder}/editor.py",
        }
        code, shown = in_terminal(command, cwd or self.folder, environment)
        print(f"  {time.monotonic() - begun:6.0f} s  {command}", flush=True)
        if code != 0:
            raise SystemExit(f"{command} ended with {code}:\n{shown[-6000:]}")
        return shown

    def on(self, host: str, script: str) -> str:
        """Run a script on a host."""
        command = ["ssh", "-F", str(self._ssh), host, script]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"on {host}: {script}: {done.stdout}")
        return done.stdout


def in_terminal(command: str, cwd: Path, environment: dict[str, str]) -> tuple[Optional[int], str]:
    """Run a command in a terminal, and type the password of the vault at each prompt.

    :return: the exit status, None for a command that was too slow, and what the terminal shows.
    """
    shown, code = pexpect.run(
        f"/bin/sh -ec {shlex.quote(command)}",
        timeout=PATIENCE,
        withexitstatus=True,
        events={PROMPT: f"{VAULT_PASSWORD}\n"},
        cwd=str(cwd),
        env=environment,
        encoding="utf-8",
        codec_errors="replace",
    )
    return code, shown.replace("\r\n", "\n")


def blocks(page: str) -> Iterator[tuple[str, str]]:
    """Yield language and text of each block of a page."""
    for language, text in BLOCK.findall((ROOT / page).read_text()):
        yield language, textwrap.dedent(text)


def expect(holds: bool, what: str) -> None:
    if not holds:
        raise SystemExit(f"the page promises something else: {what}")


def start_mirror(tutorial: Tutorial) -> None:
    """Start the small S3 server, create its users, the bucket and the policy, as the page on the mirror says."""
    shown = (ROOT / MIRROR_PAGE).read_text()
    section = shown[shown.index("## A small S3 server for a trial") : shown.index("## Fill it")]
    found = BLOCK.findall(section)
    (server,) = (text for language, text in found if language == "console" and "versitygw --port" in text)
    (users,) = (text for language, text in found if "versitygw admin create-user" in text)
    (policy,) = re.findall(r"^cat > policy.json <<'EOF'\n(.*?)^EOF$", section, re.MULTILINE | re.DOTALL)
    endpoint = f"http://{tutorial.addresses['storage']}:7070"
    # The reader's second terminal begins while the server runs in the first one.
    lines = server.strip().splitlines()
    first = "\n".join([*lines[:-1], f"nohup {lines[-1]} > /srv/s3/log 2>&1 &", "sleep 3"])
    keys = f"export AWS_ENDPOINT_URL={endpoint} AWS_ACCESS_KEY_ID={ADMIN[0]} AWS_SECRET_ACCESS_KEY={ADMIN[1]}"
    tutorial.on("storage", f"sudo sh -ec '{first}'")
    tutorial.on("storage", f"{keys}\n{users}")
    s3 = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=ADMIN[0],
        aws_secret_access_key=ADMIN[1],
    )
    s3.create_bucket(Bucket="models")
    s3.put_bucket_policy(Bucket="models", Policy=policy)
    checksums = {}
    program = (CACHE / "bin/ollama").read_bytes()
    for version in (VERSION, NEXT):
        name = f"ollama-{version.decode()}.tgz"
        checksums[version] = pack(tutorial.folder.parent / name, program.replace(VERSION, version))
        s3.upload_file(str(tutorial.folder.parent / name), "models", f"ollama/software/{name}")
    tutorial.places = {
        "https://s3.example.com": endpoint,
        "sha256:...   #": f"sha256:{checksums[VERSION]}   #",
        "the-secret-key-of-the-user-reader": "reader-secret",
        "the-secret-key-of-the-user-publisher": "publisher-secret",
        # This machine does not know the names of the hosts; the hosts do.
        "broker_host: gpu-01": f"broker_host: {tutorial.addresses['gpu-01']}",
    }
    tutorial.checksums = checksums


def changed(shown: str) -> int:
    """Return the number of changes that a playbook's recap shows.

    :raises SystemExit: without a recap.
    """
    found = RECAP.findall(shown)
    expect(bool(found), f"no recap:\n{shown[-2000:]}")
    return sum(int(count) for _host, count in found)


def follow(tutorial: Tutorial, page: str, between: dict[str, Callable[[Tutorial], None]]) -> str:
    """Write each file and run each command of a page, in order; return everything that was shown.

    :param between: what the page says in words, by a part of the command that it comes before.
    """
    print(page, flush=True)
    everything = ""
    for language, text in blocks(page):
        name = FILE.match(text)
        if language in ("ini", "yaml") and name:
            tutorial.write(name[1], text)
        elif language == "console":
            for command in text.replace("\\\n", " ").strip().splitlines():
                for part in [part for part in between if part in command]:
                    between.pop(part)(tutorial)
                # The pages name the archive relative to the clone, where it does not belong.
                placed = command.replace("build/dist", str(tutorial.folder / "build/dist"))
                shown = tutorial.type(placed, ROOT if "ansible-galaxy collection build" in command else None)
                everything += shown
        elif language == "sh":
            shown = tutorial.on("gpu-01", tutorial.placed(text))
            expect("curl" not in text or '"choices"' in shown, f"the gateway answers with {shown[-500:]}")
    expect(not between, f"no command has {list(between)}")
    return everything


def append_secret(tutorial: Tutorial) -> None:
    """Add a secret in the editor of ansible-vault."""
    tutorial.write(
        "editor.py",
        "import sys\nwith open(sys.argv[1], 'a') as file:\n    file.write('vault_peers_secret: ' + 'ab' * 32)\n",
    )
    expect("ansible-vault edit group_vars/all/vault.yml" in (ROOT / PAGES[1]).read_text(), "no edit of the vault")
    tutorial.type("ansible-vault edit group_vars/all/vault.yml")


def make_key(tutorial: Tutorial) -> None:
    """Make the key of the gateway on a host with a gateway."""
    command = "sudo /opt/legionio/fleet-gateway/current/bin/fleet-gateway keys alice"
    expect(command in " ".join((ROOT / PAGES[1]).read_text().split()), "no command that makes a key")
    shown = tutorial.on("gpu-01", command)
    tutorial.places["sha256:" + 64 * "0"] = re.search(r"sha256:[0-9a-f]{64}", shown)[0]
    tutorial.places["KEY"] = re.search(r"\bflg_\S+", shown)[0]


def set_version(tutorial: Tutorial, version: bytes, former: bytes) -> None:
    """Change version and checksum of Ollama."""
    path = tutorial.folder / "group_vars/all/fleet.yml"
    text = path.read_text().replace(former.decode(), version.decode())
    checksum = tutorial.checksums[version]
    path.write_text(re.sub(r"sha256:[0-9a-f]{64}(?=   # of the archive)", f"sha256:{checksum}", text))


def newer_version(tutorial: Tutorial) -> None:
    """Set the version to upgrade to."""
    set_version(tutorial, NEXT, VERSION)


def see_upgrade(tutorial: Tutorial) -> None:
    """Check that the nodes have the newer version."""
    versions = {tutorial.on(host, "ollama --version") for host in ("gpu-01", "gpu-02", "gpu-03")}
    expect(all(NEXT.decode() in version for version in versions), f"after the upgrade the versions are {versions}")


def older_version(tutorial: Tutorial) -> None:
    """Set the version that the nodes went back to."""
    versions = {tutorial.on(host, "ollama --version") for host in ("gpu-01", "gpu-02", "gpu-03")}
    expect(all(VERSION.decode() in version for version in versions), f"after the rollback the versions are {versions}")
    set_version(tutorial, VERSION, NEXT)


def forget_node(tutorial: Tutorial) -> None:
    """Remove the removed node from the inventory, after a look at the host."""
    left = tutorial.on("gpu-03", "sudo find /opt/legionio /opt/ollama /var/lib/ollama /etc/legionio 2>/dev/null; true")
    expect(not left, f"the removed node has {left}")
    path = tutorial.folder / "hosts.ini"
    path.write_text(re.sub(r"^gpu-03\b.*\n", "", path.read_text(), flags=re.MULTILINE))


class Load(threading.Thread):
    """Requests to the gateway, with a short pause after each, until the end.

    :ivar answered: the number of answers.
    :ivar failures: what came instead of an answer.
    """

    def __init__(self, tutorial: Tutorial) -> None:
        super().__init__(daemon=True)
        self.answered = 0
        self.failures: list[str] = []
        self._over = threading.Event()
        body = {"model": "smollm2:135m", "max_tokens": 8, "messages": [{"role": "user", "content": "Hello?"}]}
        self._request = urllib.request.Request(
            f"http://{tutorial.addresses['hub']}:11435/v1/chat/completions",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {tutorial.places['KEY']}"},
        )

    def run(self) -> None:
        while not self._over.is_set():
            try:
                with urllib.request.urlopen(self._request, timeout=300) as response:
                    json.load(response)["choices"][0]
                self.answered += 1
                self._over.wait(PAUSE)
            except Exception as error:  # noqa: BLE001 - every failure counts
                self.failures.append(repr(error))
                time.sleep(1)

    def end(self) -> None:
        self._over.set()
        self.join(300)
        print(f"  {self.answered} requests were answered meanwhile, {len(self.failures)} failed", flush=True)
        expect(self.answered > 5 and not self.failures, f"requests failed: {self.failures[:3]}")


def main() -> None:
    state, *pairs = sys.argv[1:]
    tutorial = Tutorial(Path(state), dict(pair.split("=") for pair in pairs))
    start_mirror(tutorial)
    tutorial.write("group_vars/all/lab.yml", LAB % {"wheelhouse": (CACHE / "wheelhouse").resolve()})

    shown = follow(tutorial, PAGES[0], {})
    expect(re.search(r"gpu-01: \S", shown) is not None, "no answer of the node")
    again = tutorial.type("ansible-playbook legionio.ollama.provision_fleet -i hosts.ini --ask-vault-pass")
    expect(changed(again) == 0, f"a second run changes something:\n{again[-3000:]}")

    loads: list[Load] = []

    def begin_load(_tutorial: Tutorial) -> None:
        loads.append(Load(tutorial))
        loads[0].start()

    make_key(tutorial)
    follow(
        tutorial,
        PAGES[1],
        {
            "legionio.ollama.publish_models": append_secret,
            "legionio.ollama.drain_fleet": begin_load,
            "legionio.ollama.upgrade_fleet": newer_version,
            "legionio.ollama.rollback_fleet": see_upgrade,
            "legionio.ollama.remove_fleet": older_version,
            "legionio.ollama.provision_fleet -i hosts.ini --ask-vault-pass --diff": forget_node,
        },
    )
    loads[0].end()
    for playbook in ("provision_broker", "provision_fleet", "provision_gateway"):
        again = tutorial.type(f"ansible-playbook legionio.ollama.{playbook} -i hosts.ini --ask-vault-pass")
        expect(changed(again) == 0, f"a second run of {playbook} changes something:\n{again[-3000:]}")
    print("Both tutorials do what their pages say.")


if __name__ == "__main__":
    main()
