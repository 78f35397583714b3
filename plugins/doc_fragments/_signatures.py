# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.

from __future__ import annotations


class ModuleDocFragment:
    """Options of group signatures (plugins/module_utils/_module/groups.py)."""

    DOCUMENTATION = r"""
options:
  signature_policy:
    description:
      - The treatment of a model of the mirror that is not signed, is signed with a key that is not in O(signature_keys), or was changed after it was
        signed.
      - V(off) checks no signatures. V(warn) warns. V(enforce) fails before the module fetches anything of the model, even if the model is there already.
      - Signatures need the package cryptography for the interpreter that runs the module.
    type: str
    choices: ["off", warn, enforce]
    default: "off"
  signature_rules:
    description:
      - Other policies for some models. The first rule that matches a model applies to it, and O(signature_policy) to all other models.
    type: list
    elements: dict
    default: []
    suboptions:
      models:
        description: Pattern of model names, for example V(llama3*) or V(hf.co/*).
        type: str
        required: true
      policy:
        description: As O(signature_policy).
        type: str
        choices: ["off", warn, enforce]
        required: true
  signature_keys:
    description:
      - Public keys in PEM, each a text that begins with C(-----BEGIN PUBLIC KEY-----). A signature of any of these keys is accepted.
      - The curve of a key is P-256, P-384 or P-521.
    type: list
    elements: str
    default: []
  allow_rollback:
    description:
      - Whether to accept a model that was signed earlier than the model that was last imported under its name. Otherwise the module fails or warns,
        according to the policy, because anybody who can write to the bucket could bring an old version back.
    type: bool
    default: false
"""
