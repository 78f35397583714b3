# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The work of the modules that talk to a mirror: options in, plan and result out."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule

from .._mirror.models import model_import, model_publish
from .._mirror.models.catalog import Listed, models
from .._mirror.models.model_removal import Removal, carry_out_removal, plan_removal
from .._mirror.models.plan import ADD, KEEP, REMOVE, REPLACE, ModelChange, Plan
from .._mirror.models.single_file import Deposit, Fetch
from .._mirror.s3.layout import refuse_unsafe_parts
from .._mirror.s3.mirror import READERS, Mirror
from .._mirror.state.lock import LockWait, exclusive
from .._mirror.transfer.options import TransferOptions
from .._ollama.digests import parse_digest
from .._ollama.errors import CollectionError
from .._ollama.names import ModelName, spellings
from .._ollama.safe_fs import Ownership
from .._ollama.store import Store, StoreSettings
from .diffs import file_diff, plan_diff
from .groups import s3_settings, store_settings
from .progress import telling

#: Bytes. Below the first, requests cost more than what they bring; above the second, a broken one costs too much.
CHUNK_SIZES = (1024 * 1024, 64 * 1024 * 1024)


#: Bytes a second. Below it servers take the connection for dead; 10 is what "10M" becomes when its unit is forgotten.
LEAST_BANDWIDTH = 64 * 1024


class OptionError(CollectionError):
    """Options that fit their types, but not each other or their meaning."""

    code = "invalid_option"


def import_models(module: AnsibleModule) -> dict[str, Any]:
    """Make models present in a store, or absent from it."""
    params = module.params
    names = transfer_names(params)
    if params["state"] == "absent":
        with Store(store_settings(params)) as store, telling(module):
            return _remove_from_store(module, store, names)
    with Store(store_settings(params)) as store, telling(module) as tally, naming_the_mirror(params):
        mirror = transfer_mirror(params)
        importer = model_import.Importer(
            mirror,
            store,
            names,
            prune=_prune_scope(params),
            verify_always=params["verify"] == "always",
            options=transfer_options(params),
            wait=LockWait(module.warn, params["lock_timeout"]),
            tally=tally,
        )
        plan = importer.plan()
        if module.check_mode or not plan.changed:
            if not module.check_mode:
                importer.remember()
            return {**imported(module, plan, store.path, None), **remarked(module, mirror)}
        try:
            plan = importer.apply()
        except CollectionError as error:
            error.result = partial_import(importer.report)
            raise
        return {**imported(module, plan, store.path, importer.report), **remarked(module, mirror)}


@contextlib.contextmanager
def naming_the_mirror(params: dict[str, Any]) -> Iterator[None]:
    """Say in the details of every failure which server the mirror is on, where they do not say it already."""
    try:
        yield
    except CollectionError as error:
        error.details.setdefault("endpoint", s3_settings(params).where)
        raise


def remarked(module: AnsibleModule, mirror: Mirror) -> dict[str, str]:
    """Warn of what is peculiar about the server of a mirror; return what of it belongs into the result."""
    for remark in mirror.remarks:
        module.warn(remark)
    return {"msg": ". ".join(mirror.remarks)} if mirror.remarks else {}


def transfer_names(params: dict[str, Any]) -> list[ModelName]:
    """Return the models that an import or a sync is about.

    :raises OptionError: for a setting of the transfer that makes no sense.
    """
    names = _names(params)
    _within(params, "concurrency", 1, 64)
    _within(params, "chunk_size", *CHUNK_SIZES)
    return names


def transfer_mirror(params: dict[str, Any]) -> Mirror:
    """Return the mirror, with as many connections as the transfer uses."""
    return Mirror(s3_settings(params), connections=max(params["concurrency"], READERS))


def transfer_options(params: dict[str, Any]) -> TransferOptions:
    """Return how an import or a sync uses the network.

    :raises OptionError: if max_bandwidth is too low.
    """
    return TransferOptions(params["concurrency"], params["chunk_size"], _max_bandwidth(params))


def publish_models(module: AnsibleModule) -> dict[str, Any]:
    """Make models of a store present in the mirror, or absent from the mirror."""
    params = module.params
    names = _names(params)
    mirror = Mirror(s3_settings(params))
    url = mirror.settings.url(mirror.layout.root)
    if params["state"] == "absent":
        with naming_the_mirror(params):
            plan = plan_removal(mirror, names)
            removal = Removal() if module.check_mode else carry_out_removal(mirror, plan)
        return _removed(module, plan, url, removal)
    with Store(StoreSettings(params["models_path"])) as store, telling(module) as tally, naming_the_mirror(params):
        publisher = model_publish.ModelPublisher(
            mirror, store, names, prune=_prune_scope(params), max_bandwidth=_max_bandwidth(params), tally=tally
        )
        plan = publisher.plan()
        if plan.changed and not module.check_mode:
            try:
                publisher.apply(plan)
            except CollectionError as error:
                report = publisher.report
                error.result = {
                    "changed": bool(report.uploaded),
                    "blobs_pushed": len(report.uploaded),
                    "bytes_uploaded": report.bytes_sent,
                }
                raise
    report = publisher.report
    return {
        **_removed(module, plan, url, report.removal),
        **remarked(module, mirror),
        "blobs_pushed": len(plan.of(ADD, REPLACE)),
        "blobs_skipped": sum(not blob.reason for blob in plan.of(KEEP)),
        "bytes_uploaded": plan.bytes_to_transfer,
        "replaced": [{"digest": blob.digest, "reason": blob.reason} for blob in plan.of(REPLACE)],
        "seconds": round(report.seconds, 3),
        "rate": _rate(report.bytes_sent, report.seconds),
    }


def list_models(module: AnsibleModule) -> dict[str, Any]:
    """Return what models a mirror has."""
    mirror = Mirror(s3_settings(module.params))
    with naming_the_mirror(module.params):
        found = models(mirror, module.params["patterns"])
    return {
        "changed": False,
        "models": [_listed(listed) for listed in found if listed.manifest],
        "broken": [{"name": listed.name.short, "problem": listed.problem} for listed in found if not listed.manifest],
    }


def handle_file(module: AnsibleModule) -> dict[str, Any]:
    """Make one object of the bucket present as a file, or one file present in the bucket."""
    params = module.params
    mirror = Mirror(s3_settings(params))
    digest = _checksum(params["checksum"])
    key, path = params["key"].lstrip("/"), params["path"]
    refuse_unsafe_parts("key", key.split("/"))
    url = mirror.settings.url(key)
    transferred = 0
    with telling(module) as tally, naming_the_mirror(params):
        if params["state"] == "published":
            deposit = Deposit(mirror, key, path, digest, tally=tally)
            plan = deposit.plan()
            if plan.changed and not module.check_mode:
                transferred = deposit.apply(plan)
        else:
            fetch = Fetch(mirror, key, path, digest, on_wait=module.warn, tally=tally)
            plan = fetch.plan()
            if plan.changed and not module.check_mode:
                transferred = fetch.apply(plan, _like_existing(path))
    changed = plan.changed
    if params["state"] == "present" and os.path.exists(path):
        changed = module.set_fs_attributes_if_different(module.load_file_common_arguments(params), changed)
    diff = file_diff(url if params["state"] == "published" else path, plan.before, plan.after, plan.size)
    return {
        "changed": changed,
        "key": key,
        "path": path,
        "checksum": plan.after,
        "size": plan.size,
        "bytes_transferred": transferred,
        **remarked(module, mirror),
        **({"diff": diff} if module._diff else {}),
    }


def _names(params: dict[str, Any]) -> list[ModelName]:
    given = [params["name"]] if params["name"] is not None else params["models"]
    return list(dict.fromkeys(ModelName.parse(text) for text in given))


def _within(params: dict[str, Any], option: str, least: int, most: int) -> None:
    if not least <= params[option] <= most:
        raise OptionError(
            f"{option} is {params[option]}, and must be between {least} and {most}", remedy=f"Correct {option}"
        )


def _max_bandwidth(params: dict[str, Any]) -> Optional[int]:
    rate: Optional[int] = params["max_bandwidth"]
    if rate is not None and rate < LEAST_BANDWIDTH:
        raise OptionError(
            f"max_bandwidth is {rate} bytes a second, and must be {LEAST_BANDWIDTH} or more",
            remedy="Correct max_bandwidth, for example 20M for 20 MiB a second",
        )
    return rate


def _prune_scope(params: dict[str, Any]) -> list[str]:
    if not params["prune"]:
        return []
    if not params["models"]:
        raise OptionError(
            "prune would remove every model, since models is empty",
            remedy="List the models that stay, or remove models by name with state=absent",
        )
    scope: list[str] = params["prune_scope"]
    return scope


def _checksum(text: Optional[str]) -> Optional[str]:
    if not text:
        return None
    return parse_digest(text if text.startswith("sha256") else f"sha256:{text}")


def _like_existing(path: str) -> Ownership:
    """Return how a file is that will be replaced, or how a new one is by default."""
    try:
        state = os.stat(path)
    except OSError:
        mask = os.umask(0)
        os.umask(mask)
        return Ownership(None, None, 0o666 & ~mask, None)
    root = os.geteuid() == 0
    return Ownership(
        state.st_uid if root else None, state.st_gid if root else None, stat.S_IMODE(state.st_mode) & 0o777, None
    )


def _remove_from_store(module: AnsibleModule, store: Store, names: list[ModelName]) -> dict[str, Any]:
    present = store.names()
    # Ollama takes all spellings for the same model, and would go on serving one that stays.
    names = [found for name in names for found in spellings(name, present) or [name]]
    plan = plan_removal(store, names)
    removal = Removal()
    if plan.changed:
        store.must_be_writable()
    if plan.changed and not module.check_mode:
        with exclusive(store.workspace, store.ownership, module.warn, within=module.params["lock_timeout"]):
            plan = plan_removal(store, names)
            removal = carry_out_removal(store, plan)
    return _removed(module, plan, store.path, removal)


def _removed(module: AnsibleModule, plan: Plan, where: str, removal: Removal) -> dict[str, Any]:
    blobs = [blob for blob in plan.of(REMOVE) if module.check_mode or blob.digest in removal.digests]
    for warning in removal.warnings:
        module.warn(warning)
    return {
        **_planned(module, plan, where),
        "blobs_removed": len(blobs),
        "bytes_freed": sum(blob.size for blob in blobs),
    }


def _planned(module: AnsibleModule, plan: Plan, where: str) -> dict[str, Any]:
    for warning in plan.warnings:
        module.warn(warning)
    return {
        "changed": plan.changed,
        "models": [_model(model) for model in plan.models],
        **({"diff": plan_diff(plan, where)} if module._diff else {}),
    }


def imported(
    module: AnsibleModule, plan: Plan, where: str, report: Optional[model_import.ImportReport]
) -> dict[str, Any]:
    """Return what an import or a sync did, or without a report would do."""
    done = report or model_import.ImportReport(
        downloaded=[blob.digest for blob in plan.of(ADD, REPLACE)],
        removed=[blob.digest for blob in plan.of(REMOVE)],
        bytes_received=plan.bytes_to_transfer,
    )
    for warning in done.warnings:
        module.warn(warning)
    return {
        **_planned(module, plan, where),
        **_progress(done),
        "blobs_skipped": sum(not blob.reason for blob in plan.of(KEEP)),
        "bytes_freed": sum(blob.size for blob in plan.of(REMOVE) if blob.digest in done.removed),
        "repaired": [{"digest": blob.digest, "reason": blob.reason} for blob in plan.of(REPLACE)],
    }


def partial_import(report: model_import.ImportReport) -> dict[str, Any]:
    """Return what a failed import did."""
    return {
        "changed": bool(report.models or report.downloaded or report.removed),
        **_progress(report),
        "models_completed": [name.short for name in report.models],
        "errors": [{"error": str(error), "error_code": error.code, **error.details} for error in report.failures],
    }


def _progress(report: model_import.ImportReport) -> dict[str, Any]:
    return {
        "blobs_downloaded": len(report.downloaded),
        "blobs_removed": len(report.removed),
        "bytes_downloaded": report.bytes_received,
        "bytes_resumed": report.bytes_resumed,
        "resumed": report.resumed,
        "seconds": round(report.seconds, 3),
        "rate": _rate(report.bytes_received, report.seconds),
    }


def _rate(count: int, seconds: float) -> int:
    return int(count / seconds) if seconds else 0


def _model(model: ModelChange) -> dict[str, Any]:
    return {
        "name": model.name.short,
        "full_name": model.name.full,
        "action": model.action,
        "digest": model.after.digest if model.after else None,
        "previous_digest": model.before,
        "size": model.after.size if model.after else None,
    }


def _listed(listed: Listed) -> dict[str, Any]:
    manifest = listed.manifest
    return {
        "name": listed.name.short,
        "full_name": listed.name.full,
        "digest": manifest.digest if manifest else None,
        "size": manifest.size if manifest else None,
        "modified": listed.modified.isoformat() if listed.modified else None,
        "config": manifest.config.digest if manifest and manifest.config else None,
        "layers": [
            {"media_type": layer.media_type, "digest": layer.digest, "size": layer.size, "name": layer.name}
            for layer in (manifest.layers if manifest else ())
        ],
    }
