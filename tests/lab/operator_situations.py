# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a fleet of two nodes into situations that operators meet seldom, and run the playbooks there.

usage: operator_situations.py INVENTORY...

Each function that SITUATIONS names is one situation. It starts with a provisioned fleet, and leaves one. After a change
of a variable, the next run with the same value must change nothing, and so must the run after the value is back.

OPERATOR_SITUATIONS names some situations, instead of all. The first one provisions the bare hosts.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Optional

from every_tag import Drill, Run, plain
from services import podman
from upgrade_parts import NEXT, VERSION, pack

ROOT = Path(__file__).resolve().parents[2]
SCENARIO = ROOT / "extensions/molecule/situations"
PREPARE, BROADCAST = str(ROOT / "extensions/molecule/shared/publish.yml"), str(SCENARIO / "broadcast.yml")
PROVISION = "legionio.ollama.provision_fleet"

#: Which nodes a playbook runs on. One node is enough for most situations.
FIRST, SECOND, BOTH = "--limit=node1", "--limit=node2", "--limit=node1,node2"

#: Roles in a play of one's own, for what provision_fleet does not offer.
OWN_PLAY = """
- hosts: {hosts}
  become: true
  serial: {serial}
  vars: {variables}
  roles: {roles}
"""

#: A second Ollama of a host, which no role sets up.
SECOND_OLLAMA = """
[Unit]
Description=A second Ollama
[Service]
User=ollama
Environment=HOME=/var/lib/ollama OLLAMA_HOST=127.0.0.1:11500 OLLAMA_MODELS=/var/lib/ollama/models
ExecStart=/opt/ollama/current/bin/ollama serve
[Install]
WantedBy=multi-user.target
"""


class Fleet:
    """The hosts of the scenario, and the playbooks that are run on them."""

    def __init__(self, inventory: list[str]) -> None:
        self.drill = Drill(inventory)

    def run(self, what: str, *options: str, playbook: str = PROVISION, **variables: Any) -> Run:
        """Run a playbook on the first node, or on those that the options name, and print how it ended."""
        limited = any(option.startswith("--limit") for option in options) or playbook in (PREPARE, BROADCAST)
        run = self.drill.play(playbook, *options, *([] if limited else [FIRST]), variables=variables)
        self.drill.say(f"  {what}", run, "a defect" if run.verdict() == "DEFECT" else "")
        return run

    def changes(self, what: str, *options: str, playbook: str = PROVISION, **variables: Any) -> Run:
        """Run a playbook twice: the first run must change something, and the second one nothing."""
        run = self.run(what, *options, playbook=playbook, **variables)
        expect(run.code == 0 and run.changed > 0, f"{what} changed nothing or failed", run)
        self.changes_nothing(f"{what}, again", *options, playbook=playbook, **variables)
        return run

    def changes_nothing(self, what: str, *options: str, playbook: str = PROVISION, **variables: Any) -> None:
        run = self.run(what, *options, playbook=playbook, **variables)
        expect(run.code == 0 and run.changed == 0, f"{what} changed something or failed", run)

    def refuses(self, what: str, words: str, *options: str, playbook: str = PROVISION, **variables: Any) -> Run:
        """Run a playbook that must fail with these words in its message."""
        run = self.run(what, *options, playbook=playbook, **variables)
        expect(run.code != 0 and words in " ".join(run.output.split()), f"{what} did not fail with '{words}'", run)
        return run


def own_play(directory: Path, *roles: str, hosts: str = "fleet", serial: int = 10, **variables: Any) -> str:
    """Write a playbook with roles of the collection; return its path."""
    path = directory / "own_play.yml"
    names = json.dumps([f"legionio.ollama.{role}" for role in roles])
    path.write_text(OWN_PLAY.format(hosts=hosts, serial=serial, roles=names, variables=json.dumps(variables)))
    return str(path)


def expect(holds: bool, what: str, run: Optional[Run] = None) -> None:
    """End the situation with an explanation unless something holds."""
    if not holds:
        raise AssertionError(what if run is None else f"{what}: {run.message}\n{run.output[-4000:]}")


def on(host: str, script: str, *, stdin: str = "", check: bool = True) -> str:
    """Run a shell script as root on a host; return what it printed."""
    command = [*podman(), "exec", "--interactive", f"legionio-situations-{host}", "sh", "-ec", script]
    done = subprocess.run(command, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if check and done.returncode != 0:
        raise AssertionError(f"on {host}: {script}: {done.stdout}{done.stderr}")
    return done.stdout.strip()


def bare_hosts_with_strategy_free(fleet: Fleet, directory: Path) -> None:
    """Bare hosts, each at its own speed; the second one with an interpreter in a virtual environment."""
    on("node2", "apt-get -qq install python3-venv > /dev/null; python3 -m venv /srv/python")
    inventory = directory / "interpreter.ini"
    inventory.write_text("[fleet]\nnode2 ansible_python_interpreter=/srv/python/bin/python\n")
    venv = (SECOND, f"--inventory={inventory}")
    os.environ["ANSIBLE_STRATEGY"] = "free"
    try:
        fleet.refuses("an interpreter without boto3", "/srv/python/bin/python", *venv)
        on("node2", "rm -r /srv/python; python3 -m venv --system-site-packages /srv/python")
        fleet.changes("an interpreter in a venv", *venv)
        fleet.changes("strategy free", BOTH)
    finally:
        del os.environ["ANSIBLE_STRATEGY"]


def serial_batches(fleet: Fleet, directory: Path) -> None:
    """The roles in a play of one's own, one host after the other."""
    play = own_play(directory, "ollama_server", "ollama_models", "fleet_worker", serial=1)
    fleet.changes_nothing("serial: 1", BOTH, playbook=play)
    fleet.changes("serial: 1 with another value", BOTH, playbook=play, fleet_worker_drain_timeout=200)
    fleet.changes("the value of the inventory", BOTH)


def become_by_su(fleet: Fleet, _directory: Path) -> None:
    """Root by su and root's password, instead of sudo."""
    on("node1", "chpasswd", stdin="root:a password\n")
    su = {"ansible_become_method": "su", "ansible_become_password": "a password", "ansible_pipelining": False}
    fleet.changes_nothing("su", **su)
    fleet.changes("su with another value", fleet_worker_drain_timeout=200, **su)
    fleet.changes("sudo again")


def start_at_a_task(fleet: Fleet, _directory: Path) -> None:
    """--start-at-task at the beginning of each role, and in the middle of one."""
    for task in ("Install Ollama", "Import the models", "Make the declared models present", "Configure the worker"):
        fleet.changes_nothing(f"from '{task}'", f"--start-at-task={task}")
    fleet.changes(
        "from 'Write the unit' with another value", "--start-at-task=Write the unit", fleet_worker_watchdog=90
    )
    fleet.changes("the value of the inventory")


def unreachable_host(fleet: Fleet, _directory: Path) -> None:
    """A host that can no longer be reached in the middle of a run; the other one is provisioned."""
    other = {"fleet_worker_drain_timeout": 200, "ollama_server_environment": {"OLLAMA_KEEP_ALIVE": "7m"}}
    process = fleet.drill.begin(PROVISION, variables=other)
    output = ""
    for line in process.stdout or ():
        output += line
        if "TASK" in line and "Write the environment" in line:
            on("node2", "systemctl stop ssh.socket ssh.service; pkill -x sshd || pkill sshd", check=False)
            break
    rest, _errors = process.communicate()
    run = Run(process.returncode, plain(output + rest), 0.0)
    on("node2", "systemctl start ssh.service")
    expect(run.code != 0 and "node2" in run.output and "unreachable=1" in run.output, "node2 was not missed", run)
    expect("OLLAMA_KEEP_ALIVE=7m" in on("node1", "cat /etc/ollama/server.env").replace('"', ""), "node1 waited", run)
    fleet.changes("the next run", BOTH, **other)
    fleet.changes("the values of the inventory", BOTH)


def rotated_s3_keys(fleet: Fleet, _directory: Path) -> None:
    """The mirror takes another key, then the fleet gets it, and the mirror takes the old one again."""
    new = {"lab_s3_secret_key": "another" * 5}
    expect(fleet.run("the mirror has a new key", playbook=PREPARE, **new).code == 0, "the hub was not prepared")
    on("node1", "ollama rm all-minilm:latest")
    run = fleet.refuses("the fleet with the old key", "error_code")
    expect("secret" in run.message.lower() or "key" in run.message.lower(), "the message names no key", run)
    fleet.changes("the fleet with the new key", **new)
    on("node1", "ollama rm all-minilm:latest")
    run = fleet.run("an update with the new key", playbook=BROADCAST, **new)
    expect(run.changed == 1 and "all-minilm" in on("node1", "ollama list"), "the updates did not import the model", run)
    expect(fleet.run("the mirror has its old key", playbook=PREPARE).code == 0, "the hub was not prepared")
    fleet.changes("the fleet with its old key")


def moved_models_path(fleet: Fleet, _directory: Path) -> None:
    """The models in another directory, and back."""
    fleet.changes("another directory", ollama_server_models_path="/srv/models")
    expect("/srv/models" in on("node1", "cat /etc/ollama/server.env"), "Ollama does not use the directory")
    expect("smollm2:135m" in on("node1", "ollama list"), "the directory has no models")
    expect(on("node1", "ls /srv/models") == "blobs\nmanifests", f"other files: {on('node1', 'ls -a /srv/models')}")
    fleet.changes("the directory of the inventory")


def changed_worker_root(fleet: Fleet, _directory: Path) -> None:
    """The worker in another root, and back. The role leaves the old root to the operator."""
    fleet.changes("another root", fleet_worker_root="/opt/moved/worker")
    running = on("node1", "tr '\\0' ' ' < /proc/$(systemctl show -p MainPID --value fleet-worker)/cmdline")
    expect("/opt/moved/worker/" in running, f"the worker runs as {running}")
    fleet.changes("the root of the inventory")
    on("node1", "rm -r /opt/moved")


def changed_lanes(fleet: Fleet, _directory: Path) -> None:
    """Another list of lanes and another limit, and back. The worker reloads; its process stays."""
    run = "systemctl show --property=InvocationID --value fleet-worker"
    before = on("node1", run)
    lanes, limit = [{"type": "chat", "model": "smollm2:135m"}], {"smollm2:135m": 1}
    fleet.changes("one lane, and a limit", fleet_worker_lanes=lanes, fleet_worker_model_concurrency=limit)
    expect(on("node1", run) == before, "the worker was restarted, and a reload is enough")
    reloads = f"journalctl --unit fleet-worker _SYSTEMD_INVOCATION_ID={before} --grep 'event=reloaded' --output cat"
    expect(len(on("node1", reloads).splitlines()) == 1, "the worker has not reloaded once")
    fleet.changes("the lanes of the inventory")
    expect(on("node1", run) == before, "the worker was restarted on the way back")
    expect(len(on("node1", reloads).splitlines()) == 2, "the worker has not reloaded twice")


def full_disk_and_downgrade(fleet: Fleet, directory: Path) -> None:
    """A newer Ollama that finds no room, then finds room, and the way back to the older one."""
    cache = Path(os.environ["LEGIONIO_CACHE"])
    archive = directory / f"ollama-{NEXT.decode()}.tgz"
    checksum = pack(archive, (cache / "bin/ollama").read_bytes().replace(VERSION, NEXT))
    newer = {
        "ollama_server_source": "controller",
        "ollama_server_file": str(archive),
        "ollama_server_version": NEXT.decode(),
        "ollama_server_checksum": f"sha256:{checksum}",
    }
    releases = "/opt/ollama/releases"
    started = on("node1", "systemctl show -p ActiveEnterTimestampMonotonic ollama")
    on(
        "node1",
        f"cp -a {releases} /srv/copy; size=$(($(du -sm /srv/copy | cut -f1) + 9));"
        f" mount -t tmpfs -o size=${{size}}M,mode=755 tmpfs {releases};"
        f" cp -a /srv/copy/. {releases}/; rm -r /srv/copy",
    )
    try:
        run = fleet.refuses("no room for a newer Ollama", "/releases is full", **newer)
        expect("Traceback" not in run.output, "a traceback", run)
        left = on("node1", f"find {releases} -mindepth 1 -maxdepth 1 -name '.*' -o -name '{NEXT.decode()}-*'")
        expect(not left, f"left behind: {left}")
        expect(on("node1", "systemctl show -p ActiveEnterTimestampMonotonic ollama") == started, "Ollama was restarted")
    finally:
        on("node1", f"umount {releases}")
    fleet.changes("a newer Ollama", **newer)
    expect(NEXT.decode() in on("node1", "curl -s 127.0.0.1:11434/api/version"), "the newer Ollama does not run")
    fleet.changes("the older Ollama")
    expect(VERSION.decode() in on("node1", "curl -s 127.0.0.1:11434/api/version"), "the older Ollama does not run")


def two_ollamas(fleet: Fleet, directory: Path) -> None:
    """A second Ollama on a host, with a worker of its own that is set up and removed."""
    on(
        "node1",
        "cat > /etc/systemd/system/ollama-second.service; systemctl enable --now -q ollama-second",
        stdin=SECOND_OLLAMA,
    )
    second = {
        "fleet_worker_name": "second",
        "fleet_worker_node": "node1-second",
        "fleet_worker_ollama_host": "http://127.0.0.1:11500",
        "fleet_worker_metrics_listen": "127.0.0.1:9470",
        "fleet_worker_lanes": [{"type": "embed", "model": "all-minilm:latest"}],
        "fleet_worker_updates": False,
        # Its requirements are those of the first worker and some more, in the same root.
        "fleet_worker_cluster_secret": "a secret of the cluster" * 2,
        "fleet_worker_decrypt": True,
    }
    play = own_play(directory, "fleet_worker", hosts="node1", **second)
    check = fleet.run("a second worker in check mode", "--check", "--diff", playbook=play)
    expect(check.code == 0 and check.changed > 0, "the check mode failed", check)
    expect(on("node1", "systemctl is-active second || true") == "inactive", "the check mode changed the host")
    fleet.changes("a second worker", playbook=play)
    expect(
        on("node1", "systemctl is-active second fleet-worker fleet-worker-updates").split() == ["active"] * 3, "units"
    )
    fleet.changes("the first worker with the environment of both")
    fleet.changes_nothing("the second worker beside it", playbook=play)
    remove = {"fleet_worker_name": "second", "fleet_worker_updates": False}
    fleet.changes("the second worker is removed", playbook="legionio.ollama.remove_fleet", **remove)
    expect(not on("node1", "ls -d /etc/systemd/system/second* /etc/legionio/second* || true"), "something is left")
    on("node1", "systemctl disable --now -q ollama-second; rm /etc/systemd/system/ollama-second.service")
    fleet.changes("the first worker with its own environment")


SITUATIONS: tuple[Callable[[Fleet, Path], None], ...] = (
    bare_hosts_with_strategy_free,
    serial_batches,
    become_by_su,
    start_at_a_task,
    unreachable_host,
    rotated_s3_keys,
    moved_models_path,
    changed_worker_root,
    changed_lanes,
    full_disk_and_downgrade,
    two_ollamas,
)


def main() -> int:
    fleet = Fleet(sys.argv[1:])
    only = os.environ.get("OPERATOR_SITUATIONS", "").split()
    failed = []
    for situation in SITUATIONS:
        if only and situation.__name__ not in only:
            continue
        began = time.monotonic()
        print(f"{situation.__name__}: {situation.__doc__}", flush=True)
        with tempfile.TemporaryDirectory(prefix="situation-") as directory:
            try:
                situation(fleet, Path(directory))
                outcome = "as expected"
            except (AssertionError, OSError) as error:
                outcome = f"FAILED: {error}"
                failed.append(situation.__name__)
                # The next situation needs a fleet that is provisioned.
                fleet.run("the fleet is repaired", BOTH)
        print(f"{situation.__name__}: {outcome} ({time.monotonic() - began:.0f} s)", flush=True)
    print(f"{fleet.drill.runs} runs of playbooks, {len(failed)} situations failed: {' '.join(failed)}")
    return 1 if failed or not fleet.drill.runs else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main())
