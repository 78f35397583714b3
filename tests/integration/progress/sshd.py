# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An SSH server of our own as a plain process: the one of the lab's host image, on a free loopback port.

It runs in a mount namespace of its own, where it has the user and the folder that it wants to drop its privileges with,
so that nothing has to be installed here or changed.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import services

_NEEDED = ("./usr/sbin/sshd", "./usr/lib/openssh/sftp-server", "./usr/lib/x86_64-linux-gnu/libwrap.so.0.7.6")


@dataclass
class SshServer:
    """An SSH server that accepts one key."""

    port: int
    key: Path
    known_hosts: Path
    process: subprocess.Popen[bytes]

    @property
    def variables(self) -> dict[str, object]:
        """The inventory variables of a host behind the server."""
        return {
            "ansible_connection": "ssh",
            "ansible_host": "127.0.0.1",
            "ansible_port": self.port,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.key),
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={self.known_hosts} -o StrictHostKeyChecking=accept-new",
        }


@contextlib.contextmanager
def ssh_server(folder: Path) -> Iterator[SshServer]:
    """A running SSH server."""
    host = folder / "image"
    host.mkdir()
    with tarfile.open(services.part("node-bookworm") / "image.tar") as image:
        for name in _NEEDED:
            image.extract(name, host, filter="tar")
    libraries = host / "usr/lib/x86_64-linux-gnu"
    (libraries / "libwrap.so.0").symlink_to("libwrap.so.0.7.6")
    for name in ("host_key", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    passwd = Path("/etc/passwd").read_text()
    if "\nsshd:" not in passwd:
        passwd += "sshd:x:64123:65534::/run/sshd:/usr/sbin/nologin\n"
    (folder / "passwd").write_text(passwd)
    (folder / "empty").mkdir()
    port = services.free_port()
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host_key\nAuthorizedKeysFile {folder}/user.pub\n"
        "PidFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\n"
        "PermitRootLogin prohibit-password\n"
        f"StrictModes no\nSubsystem sftp {host}/usr/lib/openssh/sftp-server\nMaxStartups 100\n"
    )
    script = (
        f"mount --bind {folder}/passwd /etc/passwd && "
        f"mkdir -p /run/sshd && mount --bind {folder}/empty /run/sshd && "
        f"{_opened(Path(sys.executable), folder / 'closed')}export LD_LIBRARY_PATH={libraries} && "
        f"exec {host}/usr/sbin/sshd -D -e -f {folder}/sshd_config"
    )
    with (folder / "sshd.log").open("wb") as log:
        process = subprocess.Popen(["unshare", "--mount", "sh", "-c", script], stdout=log, stderr=log)
    server = SshServer(port, folder / "user", folder / "known_hosts", process)
    try:
        _wait_for(server, folder / "sshd.log")
        yield server
    finally:
        process.terminate()
        process.wait()
        with contextlib.suppress(OSError):  # not empty: there is an SSH server here that is none of ours
            os.rmdir("/run/sshd")


def _opened(path: Path, aside: Path) -> str:
    """Commands that let every user walk to a path, in this mount namespace: a home folder is often closed to others."""
    closed = [folder for folder in (*path.parents, *path.resolve().parents) if not folder.stat().st_mode & 0o001]
    if not closed:
        return ""
    home = min(closed, key=lambda folder: len(folder.parts))
    aside.mkdir()
    commands = [f"mount --bind {home} {aside}", f"mount -t tmpfs -o mode=755 tmpfs {home}"]
    for entry in home.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            commands += [f"mkdir '{entry}'", f"mount --bind '{aside / entry.name}' '{entry}'"]
    return "".join(f"{command} && " for command in commands)


def _wait_for(server: SshServer, log: Path) -> None:
    deadline = time.monotonic() + 120
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", server.port), timeout=1):
            return
        assert server.process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
