# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the playbooks with each tag alone, and with each variable changed and changed back.

usage: every_tag.py VERB INVENTORY...

bare         each tag on a node that has nothing, in check mode and without; each gets a fresh node
provisioned  the same on a node that has everything: nothing may change
variables    each variable of the roles with another value, then as it was, and once more: nothing may change then.
             A quick run takes some of them by chance, a deep one (TEST_DEPTH=deep) all.

Tags are those that Ansible lists for the playbooks, which must be those of the roles' pages. Variables and other values
for them come from the roles' argument specs, so that a new one is in it by itself.

EVERY_TAG_ONLY names some tags, or some variables, instead of all.

A run has succeeded, or has refused: with changed=0 and the word that nothing was changed, or with a message that says
what is missing. A message of Ansible's own, such as that something is undefined, is a defect.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import yaml
from depth import rounds

ROOT = Path(__file__).resolve().parents[2]
CREATE = ROOT / "extensions/molecule/shared/create.yml"
NODE = "node1"

#: Each playbook, the roles whose tags it has, and what its hosts are called here.
PLAYBOOKS: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "legionio.ollama.provision_fleet": (("ollama_server", "ollama_models", "fleet_worker"), {}),
    "legionio.ollama.provision_broker": (("fleet_broker",), {"legionio_brokers": "hubs"}),
}

#: Tags of a playbook that belong to no role.
OWN_TAGS = {"always", "verify_fleet"}

#: What a defect looks like, whatever else a message says.
DEFECT = re.compile(
    r"is undefined|Traceback|has no attribute|MODULE FAILURE|Unexpected|Unable to look up|No such file or directory"
    r"|object of type|Error while resolving|Finalization of task args"
)

#: Why a variable stays as it is.
LEFT = {
    r".*_(user|group|name|node|root|home|release|models_path|path|owner)": "moves the installation",
    r".*_(password|secret|access_key|secret_key|session_token|username)": "the lab knows one value alone",
    r".*_broker_(tls|ca_path|client_cert|client_key|vhost|addresses)|.*_tls.*": "the scenario tls",
    r".*_(source|mirror_key|file|url|version|checksum|find_links|index_url|python|wheelhouse|packages|host)"
    r"|.*_(bucket|prefix)|.*_s3_.*|.*_updates_(region|addressing_style)": "another place, which the lab does not have",
    r"fleet_broker_(cluster|config|certificate_users|install|port|erlang_cookie|policies)": "another broker",
    r"ollama_models_(names|prune)|fleet_worker_(lanes|updates_models|cluster_secret|tokens|decrypt)": "needs others",
    r".*_start_timeout": "is short here",
    r"fleet_worker_(legacy_reply|updates)_exchange": "an exchange that the broker of the lab does not have",
    r".*_signature_(policy|rules|keys)|.*_broadcast_(policy|keys)": "the scenario peers",
    r".*_peers|.*_peers_(hosts|addresses|models|cert|key)": "the scenario peers",
}

#: Other values of variables whose kind does not tell one.
OTHER: dict[str, Any] = {
    "fleet_worker_exchanges": ["llm.request", "llm.fleet"],
    "fleet_worker_model_concurrency": {"all-minilm:latest": 1},
    "fleet_worker_protocol_versions": [2, 3],
    "fleet_worker_protocol_instances": ["*"],
    "fleet_worker_metrics_listen": "127.0.0.1:9470",
    "fleet_worker_memory_max": "1G",
    "fleet_worker_updates_memory_max": "1G",
    "fleet_worker_config": {"ollama": {"patience": 7}},
    "fleet_worker_unit_overrides": {"Service": {"PrivateUsers": False, "Nice": 1}},
    "fleet_worker_updates_unit_overrides": {"Service": {"PrivateUsers": False, "Nice": 11}},
    "fleet_worker_auto_lanes_allow": ["all*"],
    "fleet_worker_auto_lanes_deny": ["none*"],
    "fleet_worker_auto_lanes_styles": ["model", "shared"],
    "fleet_worker_auto_lanes_settings": {"deadline": 60},
    "fleet_worker_ollama_headers": {"X-Drill": "another"},
    "fleet_worker_token_issuer": "another-issuer",
    "fleet_worker_token_audience": "another-audience",
    "fleet_worker_updates_peers_max_download_bandwidth": "40M",
    "ollama_models_peers_listen": "127.0.0.1",
    "ollama_models_peers_max_upload_bandwidth": "40M",
    "ollama_models_peers_max_download_bandwidth": "40M",
    "ollama_models_peers_unit_overrides": {"Service": {"Nice": 1}},
    "ollama_server_environment": {"OLLAMA_NUM_PARALLEL": "2"},
    "ollama_server_unit_overrides": {"Service": {"Nice": 1}},
    "ollama_server_device_groups": ["video"],
    "ollama_server_models_mode": "0750",
    "ollama_server_link": "/usr/local/bin/another-ollama",
}


@dataclass
class Run:
    """One run of a playbook."""

    code: int
    output: str
    seconds: float

    @property
    def changed(self) -> int:
        return sum(int(number) for number in re.findall(r"\bchanged=(\d+)", self.output))

    @property
    def message(self) -> str:
        """What it failed with, on one line."""
        found = re.findall(
            r"^\[ERROR\]: (.*?)(?:\nOrigin:|\n\n|\Z)|^fatal: (.*)$", self.output, re.MULTILINE | re.DOTALL
        )
        return " ".join(" ".join(next((one for one in pair if one), "") for pair in found).split())[:600]

    def verdict(self) -> str:
        """Say how it ended: succeeded, refused, failed with a reason, or a defect."""
        if self.code == 0:
            return f"changed={self.changed}"
        if DEFECT.search(self.message) or not self.message:
            return "DEFECT"
        return "refused" if self.changed == 0 else "failed"


def plain(text: str) -> str:
    """Return a text without colours, which Molecule makes Ansible print."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


class Drill:
    """Runs playbooks against the hosts of an inventory."""

    def __init__(self, inventory: list[str]) -> None:
        self._inventory = [f"--inventory={one}" for one in inventory]
        self.runs = 0
        self.wrong: list[str] = []

    def begin(self, playbook: str, *options: str, variables: Optional[dict[str, Any]] = None) -> subprocess.Popen[str]:
        """Start a run of a playbook; its output and its errors come from one pipe."""
        known = {**PLAYBOOKS.get(playbook, ((), {}))[1], **(variables or {})}
        command = ["ansible-playbook", playbook, *self._inventory, *options, f"--extra-vars={json.dumps(known)}"]
        self.runs += 1
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def play(self, playbook: str, *options: str, variables: Optional[dict[str, Any]] = None) -> Run:
        """Run a playbook to its end."""
        began = time.monotonic()
        with self.begin(playbook, *options, variables=variables) as process:
            output, _errors = process.communicate()
        return Run(process.returncode, plain(output), time.monotonic() - began)

    def tags_of(self, playbook: str) -> list[str]:
        """Return the tags that Ansible lists; they must be those of the roles' pages."""
        listed = self.play(playbook, "--list-tags").output
        found = {tag.strip() for line in re.findall(r"TASK TAGS: \[(.*)\]", listed) for tag in line.split(",")}
        documented = set().union(*(documented_tags(role) for role in PLAYBOOKS[playbook][0]))
        if found - OWN_TAGS != documented:
            self.wrong.append(f"{playbook} has {sorted(found)}, and the pages of its roles name {sorted(documented)}")
        chosen = os.environ.get("EVERY_TAG_ONLY", "").split()
        return sorted(tag for tag in found - {"always"} if not chosen or tag in chosen)

    def say(self, what: str, run: Run, fault: str = "") -> None:
        print(f"{what}: {run.verdict()} in {run.seconds:.0f} s {run.message if run.code else ''}".rstrip(), flush=True)
        if fault:
            self.wrong.append(f"{what}: {fault}: {run.message or run.output[-1500:]}")


def documented_tags(role: str) -> set[str]:
    """Return the tags that the page of a role names."""
    page = (ROOT / "roles" / role / "README.md").read_text()
    (section,) = re.findall(r"^## Tags\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    return {name for name in re.findall(r"`(\w+)`", section) if name.startswith(role)}


def try_bare(drill: Drill) -> None:
    """Each tag on a node that has nothing."""
    from services import podman

    container = f"legionio-tags-{NODE}"
    for tag in drill.tags_of("legionio.ollama.provision_fleet"):
        subprocess.run(
            [*podman(), "rm", "--force", "--ignore", "--time", "0", container], check=True, stdout=sys.stderr
        )
        made = drill.play(str(CREATE))
        if made.code != 0:
            raise RuntimeError(made.output)
        for mode in ("--check", "--diff"):
            run = drill.play("legionio.ollama.provision_fleet", f"--tags={tag}", mode)
            fault = run.verdict() == "DEFECT" or (mode == "--check" and run.code != 0 and run.changed > 0)
            drill.say(f"bare {tag} {mode}", run, "is no answer" if fault else "")
        if run.code == 0:
            again = drill.play("legionio.ollama.provision_fleet", f"--tags={tag}")
            drill.say(f"bare {tag} again", again, "changed something again" if again.code or again.changed else "")


def try_provisioned(drill: Drill) -> None:
    """Each tag on a host that has everything."""
    for playbook in PLAYBOOKS:
        for tag in drill.tags_of(playbook):
            for mode in ("--check", "--diff"):
                run = drill.play(playbook, f"--tags={tag}", mode)
                fault = run.code != 0 or run.changed > 0
                drill.say(f"provisioned {tag} {mode}", run, "is not changed=0" if fault else "")


def other_value(name: str, spec: dict[str, Any], current: Any) -> Any:
    """Return a value that the variable does not have, or None where there is none to try."""
    if any(re.fullmatch(pattern, name) for pattern in LEFT):
        return None
    if name in OTHER:
        return OTHER[name]
    if spec.get("choices"):
        return next(one for one in spec["choices"] if one != current)
    if spec["type"] == "bool":
        return not current
    if spec["type"] == "int":
        return int(current) + 1
    raise LookupError(f"every_tag.py knows no other value of {name}: name one in OTHER, or why there is none in LEFT")


def variables_of(role: str) -> dict[str, dict[str, Any]]:
    """Return the specification of each variable of a role."""
    specs = yaml.safe_load((ROOT / "roles" / role / "meta/argument_specs.yml").read_text())
    found: dict[str, dict[str, Any]] = specs["argument_specs"]["main"]["options"]
    return found


def try_variables(drill: Drill, inventory: list[str]) -> None:
    """Each variable changed, and changed back."""
    asked = ["ansible-inventory", *(f"--inventory={one}" for one in inventory), "--host", NODE]
    known = json.loads(subprocess.run(asked, check=True, stdout=subprocess.PIPE, text=True).stdout)
    planned = []
    for role in PLAYBOOKS["legionio.ollama.provision_fleet"][0]:
        for name, spec in variables_of(role).items():
            value = other_value(name, spec, known.get(name, spec.get("default")))
            if value is not None:
                planned.append((role, name, value))
    only = os.environ.get("EVERY_TAG_ONLY", "").split()
    planned = [one for one in planned if not only or one[1] in only]
    seed = random.randrange(10000)
    chosen = random.Random(seed).sample(planned, min(rounds(4, len(planned)), len(planned)))
    print(f"{len(chosen)} of {len(planned)} variables, seed {seed}", flush=True)
    for role, name, value in chosen:
        options = {name: value}
        if name.startswith("fleet_worker_auto_lanes_"):
            options["fleet_worker_auto_lanes"] = True
        playbook, tags = "legionio.ollama.provision_fleet", f"--tags={role}"
        run = drill.play(playbook, tags, variables=options)
        drill.say(f"{name}={json.dumps(value)}", run, "failed" if run.code else "")
        if run.code == 0:
            back = drill.play(playbook, tags)
            drill.say(f"{name} back", back, "failed" if back.code else "")
        again = drill.play(playbook, tags)
        drill.say(f"{name} again", again, "changed something again" if again.code or again.changed else "")


def main() -> int:
    verb, *inventory = sys.argv[1:]
    drill = Drill(inventory)
    if verb == "bare":
        try_bare(drill)
    elif verb == "provisioned":
        try_provisioned(drill)
    else:
        try_variables(drill, inventory)
    print(f"{verb}: {drill.runs} runs, {len(drill.wrong)} wrong")
    for text in drill.wrong:
        print("WRONG", text)
    return 1 if drill.wrong or not drill.runs else 0


if __name__ == "__main__":
    sys.exit(main())
