# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every module of the mirror, with and without TLS, with both addressing styles, the oldest and the newest SDK."""

from __future__ import annotations

import subprocess
import sys
import uuid
from pathlib import Path

import pytest
import services
import trustme
from mirror_lab import Model, assert_sound, run_module

DOMAIN = "s3.lab.test"
TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The files of the authority, and of the server's certificate and key."""
    where = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert(DOMAIN, f"*.{DOMAIN}")
    authority.cert_pem.write_to_path(where / "ca.pem")
    issued.cert_chain_pems[0].write_to_path(where / "cert.pem")
    issued.private_key_pem.write_to_path(where / "key.pem")
    return where


@pytest.fixture(scope="module")
def tls_server(files):
    certificate = ("--cert", str(files / "cert.pem"), "--key", str(files / "key.pem"))
    with services.s3_server(options=certificate) as server:
        yield server


@pytest.fixture(scope="module")
def virtual_server(files):
    certificate = ("--cert", str(files / "cert.pem"), "--key", str(files / "key.pem"))
    with services.s3_server(options=(*certificate, "--virtual-domain", DOMAIN)) as server:
        yield server


@pytest.fixture(scope="module")
def plain_server():
    with services.s3_server(options=("--virtual-domain", DOMAIN)) as server:
        yield server


def interpreter(sdk):
    """The modules' environment, if it is not the environment of the tests."""
    if sdk == "newest":
        return sys.executable
    made = subprocess.run(
        [TOOLS / "venv.sh", TOOLS.parent / "requirements-oldest-sdk.txt"], check=True, capture_output=True, text=True
    )
    return f"{made.stdout.strip()}/bin/python"


# The newest SDK and buckets named in the path are what all other tests have, though without TLS.
@pytest.mark.parametrize(
    "sdk, kind, style",
    [
        ("newest", "virtual_server", "virtual"),
        ("oldest", "virtual_server", "virtual"),
        ("oldest", "tls_server", "path"),
        ("newest", "plain_server", "virtual"),
    ],
)
def test_model_is_published_listed_and_imported_over_each_endpoint(sdk, kind, style, files, request, tmp_path):
    server = request.getfixturevalue(kind)
    encrypted = kind != "plain_server"
    bucket = f"test-{uuid.uuid4().hex[:12]}"
    (server.root / bucket).mkdir()
    # Names of the test's own, seen by what it starts and by nothing else on the machine.
    hosts = tmp_path / "hosts"
    hosts.write_text(f"127.0.0.1 localhost {DOMAIN} {bucket}.{DOMAIN}\n")
    wrapper = ("unshare", "--mount", "sh", "-c", f'mount --bind {hosts} /etc/hosts && exec "$@"', "sh")
    given = {
        "bucket": bucket,
        "endpoint_url": f"{'https' if encrypted else 'http'}://{DOMAIN}:{server.port}",
        "region": server.region,
        "access_key": server.access_key,
        "secret_key": server.secret_key,
        **({"s3_ca_path": str(files / "ca.pem")} if encrypted else {}),
        "addressing_style": style,
    }
    flags = [f"-eansible_python_interpreter={interpreter(sdk)}"]

    def run(module, **arguments):
        texts = {name: str(value) if isinstance(value, Path) else value for name, value in arguments.items()}
        outcome = run_module(f"ollama_s3_{module}", {**given, **texts}, *flags, wrapper=wrapper)
        assert "s3_ca_path" in arguments or not outcome.failed, outcome.result
        return outcome

    model = Model("llama3:8b", [b"weights" * 3_000_000, b"template", b""]).store(tmp_path / "models")
    assert run("publish", name="llama3:8b", models_path=tmp_path / "models").changed
    assert not run("publish", name="llama3:8b", models_path=tmp_path / "models").changed
    assert [entry["name"] for entry in run("info").result["models"]] == ["llama3:8b"]
    assert run("import", name="llama3:8b", models_path=tmp_path / "other").changed
    assert_sound(tmp_path / "other", model)
    with services.ollama_server(tmp_path / "served") as ollama:
        assert run("sync", name="llama3:8b", models_path=tmp_path / "served", host=ollama.url).changed
    assert_sound(tmp_path / "served", model)
    (tmp_path / "file").write_bytes(b"content")
    assert run("file", key="a/file", path=tmp_path / "file", state="published").changed
    assert run("file", key="a/file", path=tmp_path / "fetched").changed
    assert run("publish", name="llama3:8b", state="absent").result["blobs_removed"] == 4

    if not encrypted:
        return
    stranger = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(stranger)
    refused = run("info", s3_ca_path=stranger)
    assert refused.failed
    assert refused.result["error_code"] == "mirror_tls"
    assert "s3_ca_path" in refused.result["msg"]
