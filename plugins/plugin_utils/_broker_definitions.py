# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""A comparison of a broker's definitions with the wanted state.

Definitions are the format of ``rabbitmqctl export_definitions`` and ``import_definitions``. An import adds and
replaces; it removes nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Iterable, Mapping
from typing import Any

#: The algorithm of password hashes: a salt of 4 bytes, then SHA-256 over salt and password.
HASHING = "rabbit_password_hashing_sha256"
SALT = 4

#: The properties of an exchange that cannot be changed.
KIND_OF_EXCHANGE = ("type", "durable", "auto_delete", "internal")

#: The rights of a user in a virtual host.
RIGHTS = ("configure", "write", "read")


class BrokerPlan:
    """The plan: a text for each change, the problems that an import cannot solve, and the definitions to import."""

    def __init__(self, current: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        self.changes: list[str] = []
        self.problems: list[str] = []
        self.definitions: dict[str, list[dict[str, Any]]] = {}
        self._current = current
        self._vhost = wanted["vhost"]
        if not any(vhost["name"] == self._vhost for vhost in current.get("vhosts", ())):
            self._want("vhosts", {"name": self._vhost}, f"the virtual host {self._vhost}: made")
        for name, user in wanted["users"].items():
            self._user(name, user)
        for name, kind in wanted["exchanges"].items():
            self._exchange(name, kind)
        for name, kind in wanted["queues"].items():
            self._queue(name, kind)
        for binding in wanted["bindings"]:
            self._binding(binding)
        for name, policy in wanted["policies"].items():
            self._policy(name, policy)
        self.absent_users = sorted(set(wanted["absent_users"]) & {user["name"] for user in current.get("users", ())})
        self.changes += [f"the user {name}: removed" for name in self.absent_users]

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as a dictionary for Ansible."""
        return {
            "changes": self.changes,
            "problems": self.problems,
            "definitions": self.definitions,
            "absent_users": self.absent_users,
        }

    def _user(self, name: str, user: Mapping[str, str]) -> None:
        found = next((one for one in self._current.get("users", ()) if one["name"] == name), None)
        if found is None or not has_password(found, user["password"]):
            definition = {
                "name": name,
                "password_hash": password_hash(user["password"]),
                "hashing_algorithm": HASHING,
                "tags": found["tags"] if found is not None else [],
            }
            self._want("users", definition, f"the user {name}: {'made' if found is None else 'its password'}")
        rights = {right: user[right] for right in RIGHTS}
        given = self._own("permissions", user=name)
        if not given or any(given[0].get(right) != rights[right] for right in RIGHTS):
            self._want(
                "permissions", {"user": name, "vhost": self._vhost, **rights}, f"the user {name}: its permissions"
            )

    def _exchange(self, name: str, kind: str) -> None:
        definition = {
            "name": name,
            "vhost": self._vhost,
            "type": kind,
            "durable": True,
            "auto_delete": False,
            "internal": False,
            "arguments": {},
        }
        found = self._own("exchanges", name=name)
        if not found:
            self._want("exchanges", definition, f"the exchange {name}: made")
        # rabbitmqctl does not export whether an exchange is internal; the management plugin does.
        elif any(found[0].get(key, definition[key]) != definition[key] for key in KIND_OF_EXCHANGE):
            self.problems.append(
                f"The exchange {name} exists as {found[0].get('type')}, and must be {kind}, durable, neither"
                " internal nor deleted automatically; delete it when nobody uses it, and run again"
            )

    def _queue(self, name: str, kind: str) -> None:
        found = self._own("queues", name=name)
        if not found:
            definition = {"name": name, "vhost": self._vhost, "durable": True, "auto_delete": False}
            arguments = {} if kind == "classic" else {"x-queue-type": kind}
            self._want("queues", {**definition, "arguments": arguments}, f"the queue {name}: made")
        elif not found[0].get("durable", True) or found[0].get("auto_delete", False):
            self.problems.append(f"The queue {name} is not durable; delete it when it is empty, and run again")

    def _binding(self, wanted: Mapping[str, str]) -> None:
        if not self._own("bindings", destination_type="queue", **wanted):
            definition = {**wanted, "vhost": self._vhost, "destination_type": "queue", "arguments": {}}
            self._want("bindings", definition, f"the queue {wanted['destination']}: bound to {wanted['source']}")

    def _policy(self, name: str, wanted: Mapping[str, Any]) -> None:
        definition = {
            "name": name,
            "vhost": self._vhost,
            "pattern": wanted["pattern"],
            "apply-to": wanted.get("apply_to") or "queues",
            "definition": dict(wanted["definition"]),
            "priority": int(wanted.get("priority") or 0),
        }
        found = self._own("policies", name=name)
        if not found or any(found[0].get(key) != value for key, value in definition.items()):
            self._want("policies", definition, f"the policy {name}: {'replaced' if found else 'made'}")

    def _own(self, kind: str, **keys: str) -> list[Mapping[str, Any]]:
        """Return the definitions of a kind in the virtual host that have these values."""
        listed: Iterable[Mapping[str, Any]] = self._current.get(kind, ())
        return [
            one
            for one in listed
            if one.get("vhost") == self._vhost and all(one.get(key) == value for key, value in keys.items())
        ]

    def _want(self, kind: str, definition: dict[str, Any], change: str) -> None:
        self.definitions.setdefault(kind, []).append(definition)
        self.changes.append(change)


def password_hash(password: str) -> str:
    """Return the hash of a password in RabbitMQ's format. An empty hash, for no password, disables such logins."""
    if not password:
        return ""
    salt = os.urandom(SALT)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def has_password(user: Mapping[str, Any], password: str) -> bool:
    """Return whether a user of the definitions has this password."""
    kept = user.get("password_hash") or ""
    if not password or not kept:
        return not password and not kept
    if user.get("hashing_algorithm") != HASHING:
        return False
    raw = base64.b64decode(kept)
    return hmac.compare_digest(raw[SALT:], hashlib.sha256(raw[:SALT] + password.encode()).digest())
