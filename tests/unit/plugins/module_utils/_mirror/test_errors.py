# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors of the mirror: their codes, and which concern more than one object."""

from __future__ import annotations

from ansible_collections.legionio.ollama.plugins.module_utils._mirror import errors
from ansible_collections.legionio.ollama.plugins.module_utils._mirror.errors import (
    OF_THE_CONNECTION,
    OF_THE_WHOLE_MIRROR,
    ListError,
    MirrorError,
    ObjectMissingError,
)


def test_errors_every_class_has_a_code_of_its_own():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, MirrorError)]
    assert len({kind.code for kind in kinds}) == len(kinds) > 15


def test_errors_of_one_object_do_not_end_a_look_at_many():
    for kind in (ObjectMissingError, ListError):
        assert kind not in OF_THE_CONNECTION
        assert kind not in OF_THE_WHOLE_MIRROR
