# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.legionio.ollama.plugins.module_utils._ollama.errors import (
    CollectionError,
    MissingDependencyError,
)


def test_a_message_ends_each_sentence_once() -> None:
    assert str(CollectionError("It broke", remedy="Mend it")) == "It broke. Mend it."
    assert str(CollectionError("It broke.", remedy="Mend it.")) == "It broke. Mend it."
    assert str(CollectionError("It broke")) == "It broke."


def test_details_stay_beside_the_message() -> None:
    error = MissingDependencyError("boto3", "talk to the S3 mirror")
    assert error.details == {"package": "boto3"}
    assert error.code == "missing_dependency"
    assert "boto3" in str(error) and "talk to the S3 mirror" in str(error)
