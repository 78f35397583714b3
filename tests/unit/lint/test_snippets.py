# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documents that tell users to write what does not exist are found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import snippets

MODULE = '''
DOCUMENTATION = """
module: web
options:
  port: {description: Port., aliases: [number]}
extends_documentation_fragment: [legionio.ollama._host, legionio.ollama._host.more]
"""
'''
FRAGMENT = """
class ModuleDocFragment:
    DOCUMENTATION = "options: {host: {description: Host.}}"
    MORE = "attributes: {}"
"""
SPECS = "argument_specs: {main: {options: {web_port: {type: int}}}}"


def planted(plant: Callable[[dict[str, str]], Path], text: str) -> Path:
    return plant(
        {
            "plugins/modules/web.py": MODULE,
            "plugins/doc_fragments/_host.py": FRAGMENT,
            "roles/web/meta/argument_specs.yml": SPECS,
            "docs/guide.md": f"# Guide\n\n```yaml\n{text}\n```\n",
        }
    )


@pytest.mark.parametrize(
    "text",
    [
        "- name: A\n  legionio.ollama.web: {port: 1, number: 1, host: a}",
        "fleet:\n  vars:\n    web_port: 80\n    other_port: 1",
        "- legionio.ollama.web:\n- debug: {msg: hello}",
    ],
)
def test_existing_name_passes(plant: Callable[[dict[str, str]], Path], text: str) -> None:
    assert list(snippets.offences(planted(plant, text))) == []


@pytest.mark.parametrize(
    "text, offence",
    [
        ("- legionio.ollama.wob: {port: 1}", "there is no module legionio.ollama.wob"),
        ("- block:\n  - legionio.ollama.web: {prot: 1}", "legionio.ollama.web has no option prot"),
        ("fleet:\n  vars:\n    web_prot: 80", "the role web has no variable web_prot"),
        ("a: [", "not YAML"),
    ],
)
def test_missing_name_is_found(plant: Callable[[dict[str, str]], Path], text: str, offence: str) -> None:
    (found,) = snippets.offences(planted(plant, text))
    assert found.startswith(f"docs/guide.md:3: {offence}")


def test_snippet_in_a_step_of_a_list_is_read(plant: Callable[[dict[str, str]], Path]) -> None:
    root = planted(plant, "")
    step = "1. Do it:\n\n   ```yaml\n   - legionio.ollama.web:\n       prot: 1\n   ```\n"
    (root / "docs/guide.md").write_text(f"# Guide\n\n{step}")
    assert list(snippets.offences(root)) == ["docs/guide.md:5: legionio.ollama.web has no option prot"]
