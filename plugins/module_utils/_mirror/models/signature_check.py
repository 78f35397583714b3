# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The check of models' signatures by a policy, before an import changes anything."""

from __future__ import annotations

from collections.abc import Iterable

from ..._ollama.manifests import Manifest
from ..._ollama.names import ModelName
from ..._ollama.store import Store
from ..errors import OF_THE_CONNECTION, MirrorError
from ..s3.mirror import Mirror
from ..signing.bundle import MAX_SIGNATURE, ModelSignature, SignatureError, verify
from ..signing.policy import ENFORCE, OFF, SignaturePolicy
from ..state.signed_models import read_signed, write_signed


class ModelUnsignedError(SignatureError):
    """A model has no signature, but the policy requires one."""

    code = "model_unsigned"


class ModelRollbackError(SignatureError):
    """The signature of a model is older than that of the model that was last imported under its name."""

    code = "model_rollback"


class SignatureCheck:
    """Checks the signatures of some models of a mirror for one store. Safe for use by several threads.

    :ivar warnings: the errors of models with the mode warn.
    """

    def __init__(self, mirror: Mirror, store: Store, policy: SignaturePolicy) -> None:
        self._mirror = mirror
        self._store = store
        self._policy = policy
        self.forget()

    def forget(self) -> None:
        """Forget all checks, and read the records of the store again."""
        self._known = read_signed(self._store.find_workspace()) if self._policy.demands else {}
        self._found: dict[ModelName, ModelSignature] = {}
        self.warnings: list[str] = []

    def check(self, name: ModelName, manifest: Manifest) -> None:
        """Check the signature of a model in the mode of its rule.

        :raises SignatureError: if the mode is enforce, and the signature is missing, invalid or too old.
        :raises MirrorError: if the mode is enforce, and the signature cannot be read, or if the mirror is unreachable.
        """
        rule = self._policy.rule_of(name)
        if rule.mode == OFF:
            return
        try:
            self._found[name] = self._verified(name, manifest)
        except OF_THE_CONNECTION:
            raise
        except MirrorError as error:
            if isinstance(error, SignatureError):
                error.message = f"The policy {rule.mode} of {rule.pattern} does not let {name} pass: {error.message}"
                error.details.update(name=name.full, digest=manifest.digest, policy=f"{rule.pattern}: {rule.mode}")
            if rule.mode == ENFORCE:
                raise
            self.warnings.append(str(error))

    def _verified(self, name: ModelName, manifest: Manifest) -> ModelSignature:
        content = self._mirror.signature(name, manifest.digest, MAX_SIGNATURE + 1)
        if content is None:
            url = self._mirror.settings.url(self._mirror.layout.signature_key(name, manifest.digest))
            raise ModelUnsignedError(
                f"it has no signature at {url} (known keys: {self._policy.keys})",
                remedy="Publish it again with signing_key",
            )
        found = verify(content, name, manifest, self._policy.keys)
        digest, moment = self._known.get(name.key, ("", 0.0))
        if found.moment < moment and digest != manifest.digest and not self._policy.allow_rollback:
            raise ModelRollbackError(
                f"it was signed at {found.at}, but the last imported model of this name, {digest}, was signed at"
                f" {ModelSignature(digest, '', moment).at}",
                remedy="Publish it again, which signs it again, or set allow_rollback",
                previous_digest=digest,
            )
        return found

    @property
    def found(self) -> dict[ModelName, ModelSignature]:
        """The verified signatures, by model."""
        return dict(self._found)

    def remember(self, names: Iterable[ModelName]) -> None:
        """Record when some models were signed. Must be called when the store has the models, or all their blobs.

        :param names: the names of the models in any spelling.
        :raises DirectoryError: if the records cannot be written.
        """
        keys = {name.key for name in names}
        signed = {name: (found.digest, found.moment) for name, found in self._found.items() if name.key in keys}
        if signed and self._store.exists:
            write_signed(
                self._store.workspace, signed, self._store.ownership, allow_rollback=self._policy.allow_rollback
            )
