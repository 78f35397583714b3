# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Imports from neighbours: real blob servers on loopback, a real S3 server, and the module as Ansible starts it."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

import mirror_lab
import pytest
import trustme
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.peers.signature import RequestSigner
from blob_servers import SECRET, free_port, serving
from mirror_lab import Model, assert_sound, leftovers

LARGE = os.urandom(12 * 1024 * 1024)


@pytest.fixture
def model(run, tmp_path):
    """A model in the mirror, published by the module, and in a store."""
    made = Model("llama3:8b", [LARGE, b"template"]).store(tmp_path / "first")
    published = run("ollama_s3_publish", name="llama3:8b", models_path=tmp_path / "first")
    assert published.result["piece_lists"] == 1
    return made


@pytest.fixture
def bring(run, path):
    def call(*peers, **changes):
        return run(
            "ollama_s3_import", name="llama3:8b", models_path=path, peers=list(peers), peers_secret=SECRET, **changes
        )

    return call


def test_publish_again_without_lists_adds_them_once(run, model, mirror, tmp_path):
    key = mirror.layout.pieces_key(mirror_lab.digest_of(LARGE))
    assert mirror.state(key) is not None
    mirror.remove(key)
    assert run("ollama_s3_publish", "--check", name="llama3:8b", models_path=tmp_path / "first").changed
    assert mirror.state(key) is None
    assert run("ollama_s3_publish", name="llama3:8b", models_path=tmp_path / "first").changed
    assert mirror.state(key) is not None
    assert not run("ollama_s3_publish", name="llama3:8b", models_path=tmp_path / "first").changed


def test_import_neighbour_has_all_reads_no_large_blob_from_the_mirror(bring, model, mirror, path, tmp_path):
    with serving(tmp_path / "first") as address:
        done = bring(address)
    assert done.changed
    assert done.result["bytes_from_peers"] == len(LARGE)
    assert done.result["peers"] == [{"peer": address, "bytes": len(LARGE), "state": "good", "problem": None}]
    assert done.result["bytes_downloaded"] == model.size
    assert_sound(path, model)
    assert leftovers(path) == []
    again = bring(address)
    assert not again.changed
    assert again.result["bytes_from_peers"] == 0


def test_import_without_neighbours_reads_the_mirror(bring, model, path):
    gone = f"127.0.0.1:{free_port()}"
    done = bring(gone)
    assert done.result["bytes_from_peers"] == 0
    assert done.result["bytes_downloaded"] == model.size
    assert_sound(path, model)


def test_import_neighbour_with_wrong_bytes_is_named_and_avoided(bring, model, path, tmp_path):
    liar = tmp_path / "liar"
    shutil.copytree(tmp_path / "first", liar)
    blob = model.blob_path(liar, mirror_lab.digest_of(LARGE))
    wrong = bytearray(LARGE)
    for at in range(0, len(wrong), 1024 * 1024):
        wrong[at] ^= 1
    blob.write_bytes(wrong)
    with serving(liar) as lying, serving(tmp_path / "first") as honest:
        done = bring(lying, honest)
    states = {peer["peer"]: peer["state"] for peer in done.result["peers"]}
    assert states == {lying: "lied", honest: "good"}
    assert lying in str(done.result["warnings"])
    assert_sound(path, model)


def test_import_list_of_other_bytes_falls_back_to_the_mirror(bring, model, mirror, path, tmp_path):
    key = mirror.layout.pieces_key(mirror_lab.digest_of(LARGE))
    document = json.loads(mirror.read(key, 1 << 20))
    document["pieces"] = "00" * 32 + document["pieces"][64:]
    mirror.write(key, json.dumps(document).encode(), mirror_lab.digest_of(b""))
    done = bring(f"127.0.0.1:{free_port()}")
    assert "mirror alone" in str(done.result["warnings"])
    assert_sound(path, model)


def test_import_mirror_without_lists_says_so(bring, model, mirror, path, tmp_path):
    mirror.remove(mirror.layout.pieces_key(mirror_lab.digest_of(LARGE)))
    with serving(tmp_path / "first") as address:
        done = bring(address)
    assert done.result["bytes_from_peers"] == 0
    assert "ollama_s3_publish" in str(done.result["warnings"])
    assert_sound(path, model)


def test_import_after_an_interruption_continues_with_its_pieces(bring, model, settings, path, tmp_path):
    slow = {"peers": [f"127.0.0.1:{free_port()}"], "peers_secret": SECRET, "max_bandwidth": 4 * 1024 * 1024}
    given = mirror_lab.options(settings) | {"name": "llama3:8b", "models_path": path, **slow}
    process = mirror_lab.start_module("ollama_s3_import", given)
    marks = path / ".legionio-ollama" / f"sha256-{mirror_lab.digest_of(LARGE)[7:]}.pieces"
    deadline = time.monotonic() + 60
    while not (marks.exists() and marks.read_bytes()[4096:].count(b"1") >= 3):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.communicate()
    with serving(tmp_path / "first") as address:
        done = bring(address)
    assert done.result["bytes_resumed"] >= 3 * 1024 * 1024
    assert done.result["bytes_downloaded"] < model.size
    assert_sound(path, model)


def test_import_two_at_once_read_the_mirror_once(settings, model, tmp_path):
    """Both begin with nothing, and hand on what they have got so far."""
    stores = [tmp_path / "a", tmp_path / "b"]
    for store in stores:
        store.mkdir()
    with serving(stores[0]) as first, serving(stores[1]) as second:
        given = mirror_lab.options(settings) | {"name": "llama3:8b", "peers_secret": SECRET, "peers": [first, second]}
        slow = {"max_bandwidth": 3 * 1024 * 1024}
        processes = [
            mirror_lab.start_module("ollama_s3_import", given | slow | {"models_path": store}) for store in stores
        ]
        results = [mirror_lab.finish_module(process).result for process in processes]
    for store in stores:
        assert_sound(store, model)
    from_mirror = sum(result["bytes_downloaded"] - result["bytes_from_peers"] for result in results)
    # On a busy machine one of them may begin when the other one is nearly done, and then gives it nothing.
    assert any(result["bytes_from_peers"] > 0 for result in results)
    assert from_mirror < 1.75 * len(LARGE)


def asked(address, target, secret=SECRET, **headers):
    """Return the status of a request."""
    signed = RequestSigner(secret).signed(target, {"host": address, **headers})
    request = urllib.request.Request(f"http://{address}{target}", headers=signed)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            answer.read()
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_server_refuses_strangers_and_blobs_that_are_not_shared(model, tmp_path):
    other = Model("secret:1b", [os.urandom(5 * 1024 * 1024)]).store(tmp_path / "first")
    shared, hidden = (f"/v1/blobs/sha256-{mirror_lab.digest_of(one.layers[0])[7:]}" for one in (model, other))
    (tmp_path / "first" / "blobs" / f"sha256-{'0' * 64}").write_bytes(b"no manifest names it")
    with serving(tmp_path / "first", models=["llama3*"]) as address:
        assert asked(address, shared, range="bytes=0-99") == 206
        assert asked(address, f"{shared}/pieces") == 200
        assert asked(address, shared, secret="x" * 32, range="bytes=0-99") == 401
        assert asked(address, f"{shared}/pieces", secret="x" * 32) == 401
        assert asked(address, hidden, range="bytes=0-99") == 404
        assert asked(address, f"{hidden}/pieces") == 404
        assert asked(address, f"/v1/blobs/sha256-{'0' * 64}", range="bytes=0-9") == 404
        assert asked(address, f"{shared}/../../manifests") == 404
        assert asked(address, shared, range=f"bytes=0-{len(LARGE)}") == 416
        assert asked(address, shared) == 416
        assert asked(address, shared, range="bytes=9-0") == 416


def test_import_peers_without_secret_is_refused(run, model, path):
    done = run("ollama_s3_import", name="llama3:8b", models_path=path, peers=["127.0.0.1"])
    assert done.result["failed"]
    assert done.result["error_code"] == "peers"
    assert "openssl rand" in done.result["msg"]


def test_import_over_tls_needs_certificates_of_both_sides(bring, model, path, tmp_path):
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name, issuer in (("node", authority), ("stranger", stranger)):
        issued = issuer.issue_cert("127.0.0.1")
        issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / f"{name}.pem")
    node, ca = str(tmp_path / "node.pem"), str(tmp_path / "ca.pem")
    with serving(tmp_path / "first", tls={"ca": ca, "cert": node, "key": node}) as address:
        refused = bring(address, peers_ca_path=ca, peers_client_cert=tmp_path / "stranger.pem")
        assert refused.result["bytes_from_peers"] == 0
        assert_sound(path, model)
        shutil.rmtree(path)
        done = bring(address, peers_ca_path=ca, peers_client_cert=node)
    assert done.result["bytes_from_peers"] == len(LARGE)
    assert_sound(path, model)


class Metrics(BaseHTTPRequestHandler):
    """The metrics of a worker."""

    in_flight = 1

    def do_GET(self):
        body = (
            f'fleet_worker_in_flight{{lane="a"}} {self.in_flight}.0\nfleet_worker_in_flight{{lane="b"}} 0.0\n'.encode()
        )
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments):
        pass


def test_server_of_a_busy_worker_sends_nothing_until_it_is_idle(model, tmp_path, monkeypatch):
    metrics = HTTPServer(("127.0.0.1", 0), Metrics)
    threading.Thread(target=metrics.serve_forever, daemon=True).start()
    target = f"/v1/blobs/sha256-{mirror_lab.digest_of(LARGE)[7:]}"
    try:
        with serving(tmp_path / "first", busy_metrics=f"127.0.0.1:{metrics.server_port}") as address:
            assert asked(address, target, range="bytes=0-9") == 503
            assert asked(address, f"{target}/pieces") == 200
            monkeypatch.setattr(Metrics, "in_flight", 0)
            time.sleep(0.6)
            assert asked(address, target, range="bytes=0-9") == 206
    finally:
        metrics.shutdown()


def test_server_limits_are_kept(model, tmp_path):
    """At 1 MiB a second, 3 MiB take at least 2.5 seconds, and a second reader gets the status 503."""
    target = f"/v1/blobs/sha256-{mirror_lab.digest_of(LARGE)[7:]}"
    with serving(tmp_path / "first", max_uploads=1, max_upload_rate=1024 * 1024) as address:
        start = time.monotonic()
        statuses = []
        slow = threading.Thread(target=lambda: statuses.append(asked(address, target, range="bytes=0-3145727")))
        slow.start()
        time.sleep(1.0)
        assert asked(address, target, range="bytes=0-9") == 503
        slow.join()
    assert statuses == [206]
    assert time.monotonic() - start > 2.4
