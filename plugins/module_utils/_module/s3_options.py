# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The options that the modules of the mirror share, with checks of their values."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule

from .._mirror.s3.mirror import READERS, Mirror
from .._mirror.s3.settings import S3Settings
from .._mirror.transfer.options import TransferOptions
from .._ollama.errors import CollectionError
from .._ollama.names import ModelName
from .groups import s3_settings
from .peer_options import neighbours

#: The fewest and the most bytes. With fewer, requests cost too much; with more, each failed request costs too much.
CHUNK_SIZES = (1024 * 1024, 64 * 1024 * 1024)

#: Bytes a second. With less, servers close the connection as dead. It also catches a missing unit: 10 instead of 10M.
LEAST_BANDWIDTH = 64 * 1024


class OptionError(CollectionError):
    """An option, or a combination of options, has an invalid value."""

    code = "invalid_option"


@dataclass(frozen=True)
class DeclaredModels:
    """The models of a task, and their mirror.

    :ivar names: the models, each once.
    :ivar absent: whether the task removes them.
    :ivar prune_scope: patterns of the other models that the task may remove.
    :ivar mirror: the settings of the mirror.
    """

    names: list[ModelName]
    absent: bool
    prune_scope: list[str]
    mirror: S3Settings

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> DeclaredModels:
        """Read the parameters of a module, which need not have ``state`` and ``prune``.

        :raises CollectionError: for an invalid value.
        """
        absent = params.get("state") == "absent"
        scope = [] if absent or not params.get("prune") else prune_scope(params)
        return cls(model_names(params), absent, scope, s3_settings(params))


def model_names(params: Mapping[str, Any]) -> list[ModelName]:
    """Return the models that a task names, each once.

    :raises InvalidNameError: if a name is invalid.
    """
    given = [params["name"]] if params["name"] is not None else params["models"]
    return list(dict.fromkeys(ModelName.parse(text) for text in given))


def prune_scope(params: Mapping[str, Any]) -> list[str]:
    """Return the patterns of the models that a task with ``prune`` may remove.

    :raises OptionError: if pruning would leave no model.
    """
    if not params["models"]:
        raise OptionError(
            "prune would remove every model, because models is empty",
            remedy="List the models that stay, or remove models by name with state=absent",
        )
    scope: list[str] = params["prune_scope"]
    return scope


def transfer_options(params: Mapping[str, Any]) -> TransferOptions:
    """Return the network options of an import or a sync.

    :raises OptionError: if a value is out of its range.
    """
    _require_within(params, "concurrency", 1, 64)
    _require_within(params, "chunk_size", *CHUNK_SIZES)
    return TransferOptions(params["concurrency"], params["chunk_size"], max_bandwidth(params), neighbours(params))


def max_bandwidth(params: Mapping[str, Any]) -> Optional[int]:
    """Return the bytes a second that a task may use; None for no limit.

    :raises OptionError: if the limit is too low for a server to keep the connection.
    """
    rate: Optional[int] = params["max_bandwidth"]
    if rate is not None and rate < LEAST_BANDWIDTH:
        raise OptionError(
            f"max_bandwidth is {rate} bytes a second, and must be {LEAST_BANDWIDTH} or more",
            remedy="Correct max_bandwidth, for example 20M for 20 MiB a second",
        )
    return rate


def mirror_of(settings: S3Settings, transfer: TransferOptions) -> Mirror:
    """Return a mirror with as many connections as a transfer uses."""
    return Mirror(settings, connections=max(transfer.concurrency, READERS))


@contextlib.contextmanager
def endpoint_in_failures(settings: S3Settings) -> Iterator[None]:
    """Add the server of the mirror to the details of a failure that does not name it."""
    try:
        yield
    except CollectionError as error:
        error.details.setdefault("endpoint", settings.where)
        raise


def server_remarks(module: AnsibleModule, mirror: Mirror) -> dict[str, str]:
    """Warn of the peculiarities of a mirror's server; return them for the result."""
    for remark in mirror.remarks:
        module.warn(remark)
    return {"msg": ". ".join(mirror.remarks)} if mirror.remarks else {}


def _require_within(params: Mapping[str, Any], option: str, least: int, most: int) -> None:
    if not least <= params[option] <= most:
        raise OptionError(
            f"{option} is {params[option]}, and must be between {least} and {most}", remedy=f"Correct {option}"
        )
