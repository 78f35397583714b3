# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look for secrets on a host of the lab as its users would: host_secrets.py VERB CONTAINER NEEDLES ...

rest CONTAINER NEEDLES [USER=PATTERN]...  what each user can read: files, arguments and environments of processes, the
                                          units' properties and the journal. Root must find secrets, each in a file
                                          that root alone may read, and a USER what PATTERN matches, as "secret in
                                          file"; nobody else may find any.
watch CONTAINER NEEDLES COMMAND...        the arguments of every process, as nobody sees them, while a command runs

NEEDLES is a file of secret_search.py. The search itself runs on the host, and gets the texts on its standard input.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import secret_search
import services

#: Runs on the host as the user who looks. Reads {name: [spelling in hexadecimal digits, ...]}.
_LOOK = r"""
import json, os, stat, subprocess, sys
needles = {name: [bytes.fromhex(one) for one in spelled] for name, spelled in json.load(sys.stdin).items()}
searched, found = 0, []
def look(where, content, mode):
    for name, spelled in needles.items():
        if any(one in content for one in spelled):
            found.append([name, where, mode])
def read(path):
    global searched
    try:
        state = os.stat(path, follow_symlinks=False)
        if not stat.S_ISREG(state.st_mode):
            return
        with open(path, "rb") as file:
            content = file.read()
    except OSError:
        return
    searched += 1
    look(path, content, "%o %d" % (stat.S_IMODE(state.st_mode), state.st_uid))
for top, folders, files in os.walk("/"):
    folders[:] = [one for one in folders if os.path.join(top, one) not in ("/proc", "/sys", "/dev")]
    for name in files:
        read(os.path.join(top, name))
own = str(os.getpid())
for pid in os.listdir("/proc"):
    if pid.isdigit() and pid != own:
        for name in ("cmdline", "environ"):
            try:
                with open("/proc/%s/%s" % (pid, name), "rb") as file:
                    look("/proc/%s/%s" % (pid, name), file.read(), "environment" if name == "environ" else "arguments")
            except OSError:
                pass
for command in (["systemctl", "show", "*"], ["journalctl", "--no-pager", "--output=export"]):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    look(" ".join(command), done.stdout, "output")
print(json.dumps({"searched": searched, "found": found}))
"""

#: Runs on the host as nobody until its standard input ends, whose first line is what _LOOK reads.
_WATCH = r"""
import json, os, select, sys
needles = {name: [bytes.fromhex(one) for one in spelled] for name, spelled in json.loads(sys.stdin.readline()).items()}
looks, processes, found = 0, set(), {}
while not select.select([sys.stdin], [], [], 0.005)[0]:
    looks += 1
    for pid in os.listdir("/proc"):
        if pid.isdigit():
            try:
                with open("/proc/%s/cmdline" % pid, "rb") as file:
                    arguments = file.read()
            except OSError:
                continue
            processes.add((pid, arguments))
for _pid, arguments in processes:
    for name, spelled in needles.items():
        if any(one in arguments for one in spelled):
            found[name] = arguments[:60].decode("utf-8", "replace")
print(json.dumps({"looks": looks, "processes": len(processes), "found": found}))
"""

#: Whose secrets a unit's credentials are: systemd gives them to the user of the unit.
_CREDENTIALS = "/run/credentials/"


def _spelled(needles: dict[str, str]) -> str:
    return json.dumps({name: [one.hex() for one in secret_search.spellings(text)] for name, text in needles.items()})


def _inside(container: str, user: str, script: str) -> list[str]:
    return [*services.podman(), "exec", "--interactive", "--user", user, container, "/usr/bin/python3", "-c", script]


def look_as(container: str, user: str, needles: dict[str, str]) -> Any:
    """Return what a user of the host finds: {"searched": files, "found": [[name, where, mode and owner], ...]}."""
    done = subprocess.run(
        _inside(container, user, _LOOK), check=True, input=_spelled(needles), stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout)


def rest(container: str, needles: dict[str, str], allowed: dict[str, str]) -> int:
    wrong = []
    everything = look_as(container, "root", needles)
    for name, where, mode in everything["found"]:
        for_root = mode in ("600 0", "400 0", "environment") or where.startswith(_CREDENTIALS)
        if not for_root and not re.fullmatch(allowed.get("root", "(?!)"), f"{name} in {where}"):
            wrong.append(f"root finds {name} in {where}, mode and owner: {mode}")
    held = sorted({name for name, _where, _mode in everything["found"]})
    print(f"{container}: root reads {everything['searched']} files, and finds {len(held)} secrets: {', '.join(held)}")
    if not held:
        wrong.append("root finds no secret at all, so this search shows nothing")
    for user in {"nobody", *allowed} - {"root"}:
        seen = look_as(container, user, needles)
        strange = [
            f"{user} finds {name} in {where}"
            for name, where, _mode in seen["found"]
            if not re.fullmatch(allowed.get(user, "(?!)"), f"{name} in {where}")
        ]
        print(f"{container}: {user} reads {seen['searched']} files, and finds {len(seen['found'])} secrets, {strange}")
        wrong += strange + ([] if seen["searched"] > 100 else [f"{user} reads next to nothing"])
    print("\n".join(wrong))
    return 1 if wrong else 0


def watch(container: str, needles: dict[str, str], command: list[str]) -> int:
    watcher = subprocess.Popen(
        _inside(container, "nobody", _WATCH), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    if watcher.stdin is None:
        raise RuntimeError("the watcher has no pipe")
    watcher.stdin.write(_spelled(needles) + "\n")
    watcher.stdin.flush()
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    seen = json.loads(watcher.communicate()[0])
    print(
        f"{container}: {seen['looks']} looks at {seen['processes']} processes, secrets seen: {seen['found'] or 'none'}"
    )
    if done.returncode != 0:
        print(done.stdout[-5000:])
    return 1 if seen["found"] or seen["looks"] < 10 or done.returncode != 0 else 0


def main() -> int:
    verb, container, path, *others = sys.argv[1:]
    needles = secret_search.load(Path(path))
    if verb == "watch":
        return watch(container, needles, others)
    return rest(container, needles, dict(one.split("=", 1) for one in others))


if __name__ == "__main__":
    sys.exit(main())
