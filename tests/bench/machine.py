# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine that the benchmarks run on."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

#: Bytes that are hashed to learn how fast one core does it, from buffers that stay in its cache.
_HASHED = 1024 * 1024 * 1024
_BLOCK = 256 * 1024


def description(where: Path) -> list[str]:
    """Return what the numbers depend on, one fact a line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return [
        f"{os.cpu_count()} cores: {_processor()}",
        f"{memory:.0f} GiB of memory",
        f"{_system()}, Linux {platform.release()}, Python {platform.python_version()}, {_openssl()}",
        f"{_file_system(where)} for servers, stores and downloads alike",
        "caches dropped before each run of the mirror's" if _forgetful() else "caches not dropped before runs",
    ]


def load() -> float:
    """Return how many processes wanted to run in the last minute, on average."""
    return os.getloadavg()[0]


#: Whether caches stay, so that a quick look disturbs nobody else.
keep_caches = False


def _forgetful() -> bool:
    return os.geteuid() == 0 and not keep_caches


def forget() -> None:
    """Flush dirty pages to the disk, and drop the caches, if that is allowed."""
    if not keep_caches:
        os.sync()
    if _forgetful():
        with contextlib.suppress(OSError):
            Path("/proc/sys/vm/drop_caches").write_text("3")


def warm(*places: Path) -> None:
    """Read files into the cache."""
    for file in _files(places):
        with file.open("rb", buffering=0) as opened:
            view = memoryview(bytearray(1 << 20))
            while opened.readinto(view):
                pass


def _files(places: tuple[Path, ...]) -> Iterator[Path]:
    for place in places:
        yield from (path for path in place.rglob("*") if path.is_file())


#: Where files are memory.
_MEMORY = "/dev/shm"

#: Bytes written at a time.
_PIECE = 1 << 20


def can_make_disks() -> bool:
    """Whether file systems may be mounted here, and memory can be had as a file."""
    return os.geteuid() == 0 and os.path.ismount(_MEMORY)


@contextlib.contextmanager
def disk_of_memory(size: int) -> Iterator[Path]:
    """A file system (ext4) on a disk that is memory; directories for temporary files are made there meanwhile.

    :param size: in bytes.
    """
    mount = Path(tempfile.mkdtemp(prefix="legionio-disk-"))
    usual, mounted = tempfile.tempdir, False
    with tempfile.NamedTemporaryFile(dir=_MEMORY, prefix="legionio-disk-", buffering=0) as image:
        try:
            # Written as a whole, so that no run is the first to ask the system for the memory.
            for _piece in range(size // _PIECE):
                image.write(bytes(_PIECE))
            _do("mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", image.name)
            _do("mount", "-o", "loop,nodiscard", image.name, str(mount))
            mounted = True
            tempfile.tempdir = str(mount)
            yield mount
        finally:
            tempfile.tempdir = usual
            if mounted:
                _do("umount", str(mount))
            mount.rmdir()


def _do(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def sha256_rate() -> float:
    """Return how many bytes a second one core hashes with SHA-256."""
    block = os.urandom(_BLOCK)
    seen = hashlib.sha256()
    start = time.perf_counter()
    for _block in range(_HASHED // _BLOCK):
        seen.update(block)
    return _HASHED / (time.perf_counter() - start)


def processor_seconds(pid: int) -> float:
    """Return the seconds of processor time that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _system() -> str:
    release = platform.freedesktop_os_release() if hasattr(platform, "freedesktop_os_release") else {}
    return str(release.get("PRETTY_NAME", "unknown system"))


def _openssl() -> str:
    import ssl

    return " ".join(ssl.OPENSSL_VERSION.split()[:2])


def _file_system(where: Path) -> str:
    command = ["findmnt", "--noheadings", "--output", "FSTYPE", "--target", where]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
