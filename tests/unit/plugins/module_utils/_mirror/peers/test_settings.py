# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of neighbours: which are refused, and with which remedy."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.settings import (
    NeighbourSettingsError,
    neighbour_options,
)
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.signature import SHORTEST_SECRET
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.transfer.options import NeighbourOptions
from cryptography.hazmat.primitives import serialization

SECRET = "s" * SHORTEST_SECRET


def test_options_without_addresses_ignore_the_other_settings(tmp_path):
    assert neighbour_options([], "short", str(tmp_path / "missing")) == NeighbourOptions()


def test_options_of_addresses_have_the_secret_without_white_space():
    addresses = ["gpu-02", "gpu-03:11481", "[fd00::2]:11480"]
    assert neighbour_options(addresses, f" {SECRET}\n") == NeighbourOptions(tuple(addresses), SECRET, None)


@pytest.mark.parametrize("address", ["", "gpu 02", "gpu-02:port", "gpu-02:0", "http://gpu-02", "[fd00::2"])
def test_options_invalid_address_is_refused_by_its_name(address):
    with pytest.raises(NeighbourSettingsError, match="peers: ") as refused:
        neighbour_options(["gpu-01", address], SECRET)
    assert "host:port" in refused.value.remedy


@pytest.mark.parametrize("secret", [None, "", SECRET[:-1], SECRET[:-1] + " "])
def test_options_short_secret_is_refused_and_not_shown(secret):
    with pytest.raises(NeighbourSettingsError, match=f"fewer than {SHORTEST_SECRET}") as refused:
        neighbour_options(["gpu-02"], secret)
    assert not secret or secret.strip() not in str(refused.value)


@pytest.fixture
def files(tmp_path):
    """The paths of an authority, and of a certificate of it with its key in the same file."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("gpu-01").private_key_and_cert_chain_pem.write_to_path(tmp_path / "node.pem")
    return str(tmp_path / "ca.pem"), str(tmp_path / "node.pem")


def test_options_certificates_make_a_context_that_checks_the_server(files):
    ca, node = files
    checked = neighbour_options(["gpu-02"], SECRET, ca).tls
    assert (checked.verify_mode, checked.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert len(checked.get_ca_certs()) == 1, "other authorities count, too"
    assert neighbour_options(["gpu-02"], SECRET, ca, node, node).tls.get_ca_certs() == checked.get_ca_certs()
    assert neighbour_options(["gpu-02"], SECRET, ca, node).tls is not None


@pytest.mark.parametrize("broken", [0, 1, 2])
@pytest.mark.parametrize("content", [None, "", "text"])
def test_options_certificate_that_cannot_be_read_is_refused(files, tmp_path, broken, content):
    ca, node = files
    if content is not None:
        (tmp_path / "broken").write_text(content)
    paths = [ca, node, node]
    paths[broken] = str(tmp_path / "broken")
    with pytest.raises(NeighbourSettingsError, match="cannot be read") as refused:
        neighbour_options(["gpu-02"], SECRET, *paths)
    assert "authorities" in refused.value.remedy


def test_options_encrypted_key_is_refused_without_a_question(files, tmp_path, monkeypatch):
    """OpenSSL would ask the terminal of the worker, which nobody reads."""
    ca, node = files
    key = serialization.load_pem_private_key(Path(node).read_bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (tmp_path / "key.pem").write_bytes(encrypted)
    passwords = []
    load = ssl.SSLContext.load_cert_chain

    def recorded(context, cert, key=None, password=None):
        passwords.append(password)
        assert password is not None, "OpenSSL asks the terminal"
        load(context, cert, key, password)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", recorded)
    with pytest.raises(NeighbourSettingsError, match="cannot be read"):
        neighbour_options(["gpu-02"], SECRET, ca, node, str(tmp_path / "key.pem"))
    assert passwords == [""]
