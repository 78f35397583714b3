# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make an authority and certificates for hosts of the lab: authority.py DIRECTORY [--renew] NAME[=HOST[,HOST]...]...

The authority is made once (ca.pem, ca.key). A NAME with hosts becomes the certificate of a server, one without that of
a client whose common name is NAME. Each is NAME.pem and NAME.key, made when they are missing, or again with --renew,
with another key. Prints "changed" when there was something to do.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import trustme


def authority(directory: Path) -> trustme.CA:
    """Return the authority of a directory, made first if there is none."""
    certificate, key = directory / "ca.pem", directory / "ca.key"
    if not key.exists():
        made = trustme.CA()
        made.cert_pem.write_to_path(str(certificate))
        made.private_key_pem.write_to_path(str(key))
        key.chmod(0o600)
    return trustme.CA.from_pem(certificate.read_bytes(), key.read_bytes())


def issue(directory: Path, name: str, hosts: list[str]) -> None:
    """Write the certificate and the key of a server or, without hosts, of a client."""
    made = authority(directory).issue_cert(*(hosts or [f"{name}.example.com"]), common_name=name)
    key = directory / f"{name}.key"
    made.cert_chain_pems[0].write_to_path(str(directory / f"{name}.pem"))
    made.private_key_pem.write_to_path(str(key))
    key.chmod(0o600)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--renew", action="store_true")
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    for text in options.names:
        name, _mark, hosts = text.partition("=")
        if options.renew or not (options.directory / f"{name}.key").exists():
            issue(options.directory, name, hosts.split(",") if hosts else [])
            print("changed")


if __name__ == "__main__":
    main()
