# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each rule of the rooms holds for this tree, and finds what breaks it in another."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Optional

import link_rooms
import pytest
import rules

ROOT = Path(__file__).resolve().parents[3]
Rule = Callable[[Path], Sequence[str]]

ALL: tuple[Rule, ...] = (
    rules.rooms_import_in_order,
    rules.packages_are_guarded,
    rules.rooms_raise_and_return,
    rules.daemon_knows_no_ansible,
    rules.daemon_links_rooms,
    rules.no_file_imports_itself,
    rules.packages_import_in_order,
    rules.texts_are_read_within_bounds,
    rules.constructors_take_few_things,
    rules.long_classes_have_a_reason,
    rules.class_names_are_unique,
    rules.modules_have_their_tests,
    rules.one_file_fails_modules,
    rules.no_private_method_is_overridden,
    rules.modules_are_thin,
)

GUARDED = "try:\n    import {0}\nexcept ImportError:\n    {0} = None\n"
MODULE = (
    "from __future__ import annotations\nDOCUMENTATION = ''\nEXAMPLES = ''\nRETURN = ''\n"
    "from x import run\nSPEC: dict = {}\n\ndef main() -> None:\n    run(SPEC)\n\n"
    "if __name__ == '__main__':\n    main()\n"
)
BRANCH = "def f(x):\n    if x:\n        return 1\n"
SOUND = {
    "plugins/module_utils/_ollama/names.py": "import os\n" + GUARDED.format("requests"),
    "plugins/module_utils/_ollama/deep/er.py": "from ..names import os\nfrom . import other\n",
    "plugins/module_utils/_mirror/plans.py": "from .._ollama.names import os\nfrom .._ollama import names\n",
    "plugins/module_utils/_mirror/places.py": "from .plans import os\n" + GUARDED.format("boto3"),
    "plugins/module_utils/_fleet/dialects/plain.py": "from ..._ollama import names\nfrom ..lanes import x\n",
    "plugins/module_utils/_fleet/broker.py": (
        "from typing import TYPE_CHECKING\nfrom .. import _ollama\nif TYPE_CHECKING:\n    import pika\n"
    ),
    "plugins/module_utils/_module/running.py": (
        "from ansible.module_utils.basic import AnsibleModule\nprint()\nAnsibleModule.fail_json\n"
    ),
    "plugins/modules/thing.py": MODULE,
    f"{rules.DAEMON}/cli.py": (
        "import sys\nimport pydantic\nfrom . import lanes\nfrom ._ollama import names\nprint(sys.exit)\n"
    ),
    f"{rules.DAEMON}/lanes.py": "x = 1\n",
    f"{rules.DAEMON}/amqp/consumers.py": "from ..domain import delivery\nfrom .._ollama import names\n",
    f"{rules.DAEMON}/domain/delivery.py": "x = 1\n",
    f"{rules.GATEWAY}/transit/exchange.py": "from ..amqp.link import x\nfrom .._fleet import broker\n",
    f"{rules.GATEWAY}/amqp/link.py": "x = 1\n",
    "plugins/module_utils/_mirror/models/plan.py": "from ..errors import os\n",
    "plugins/module_utils/_mirror/errors.py": "import os\nclass Twin: ...\n",
    f"{rules.DAEMON}/domain/service.py": "class Service: ...\n",
    f"{rules.GATEWAY}/domain/service.py": "class Service: ...\n",
    f"{rules.DAEMON}/domain/sorts.py": BRANCH,
    f"{rules.DAEMON_TESTS}/domain/test_sorts.py": "",
    f"{rules.DAEMON}/domain/verdicts.py": BRANCH,
    "plugins/filter/one.py": "class FilterModule: ...\n",
    "plugins/filter/two.py": "class FilterModule: ...\n",
    "plugins/module_utils/_mirror/long.py": (
        "class A:\n    'A class.\\n\\nThis class is long because of x.'\n" + "    x = 1\n" * 299
    ),
}


def grow(root: Path, files: dict[str, str], links: Optional[dict[str, str]] = None) -> Path:
    """Write a tree, with the daemon's links as they should be, or with other ones, by their path below the daemon."""
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    link_rooms.mend(root)
    for name, target in (links or {}).items():
        link = root / rules.DAEMON / name
        if link.is_symlink():
            link.unlink()
        elif link.is_dir():
            shutil.rmtree(link)
        link.symlink_to(target)
    return root


def name_of(rule: Rule) -> str:
    return rule.__name__


@pytest.mark.parametrize("rule", ALL, ids=name_of)
def test_the_rule_holds_here(rule: Rule) -> None:
    assert rule(ROOT) == []


@pytest.mark.parametrize("rule", ALL, ids=name_of)
def test_the_rule_finds_nothing_in_a_sound_tree(rule: Rule, tmp_path: Path) -> None:
    assert rule(grow(tmp_path, SOUND)) == []


OLLAMA = "plugins/module_utils/_ollama/x.py"
MIRROR = "plugins/module_utils/_mirror/x.py"
MODULES = "plugins/module_utils/_module/x.py"
FLEET = "plugins/module_utils/_fleet/dialects/x.py"
WORKER = f"{rules.DAEMON}/x.py"
NINE_THINGS = "class A:\n    def __init__(self, a, b, c, d, *, e, f, g, h=1, i=2): ..."
LONG_CLASS = "\nclass A:\n    'A class.'\n" + "    x = 1\n" * 299
GATEWAY = f"{rules.GATEWAY}/x.py"


@pytest.mark.parametrize(
    "rule, name, text, offence",
    [
        (rules.rooms_import_in_order, OLLAMA, "import ansible", "_ollama imports ansible"),
        (
            rules.rooms_import_in_order,
            OLLAMA,
            "from ansible.module_utils.urls import x",
            "imports ansible.module_utils",
        ),
        (
            rules.rooms_import_in_order,
            MIRROR,
            "from ansible_collections.legionio.ollama.plugins.module_utils._ollama import names",
            "may import only relatively",
        ),
        (rules.rooms_import_in_order, OLLAMA, "from .._mirror import plans", "_ollama imports _mirror"),
        (rules.rooms_import_in_order, OLLAMA, "from .. import _fleet", "_ollama imports _fleet"),
        (rules.rooms_import_in_order, MIRROR, "from .._fleet.lanes import Lane", "_mirror imports _fleet"),
        (rules.rooms_import_in_order, MIRROR, "def f():\n    from .._module import running", "_mirror imports _module"),
        (rules.rooms_import_in_order, FLEET, "from ..._mirror import plans", "_fleet imports _mirror"),
        (rules.rooms_import_in_order, FLEET, "from ....modules import x", "_fleet imports outside"),
        (rules.rooms_import_in_order, FLEET, "import _ollama.names", "may import only relatively"),
        (rules.packages_are_guarded, OLLAMA, "import requests", "without try / except ImportError"),
        (rules.packages_are_guarded, MIRROR, "from botocore.config import Config", "without try / except ImportError"),
        (rules.packages_are_guarded, FLEET, "def f():\n    import pika", "without try / except ImportError"),
        (
            rules.packages_are_guarded,
            FLEET,
            "try:\n    import pika\nexcept KeyError:\n    pass",
            "without try / except",
        ),
        (
            rules.packages_are_guarded,
            FLEET,
            "try:\n    x = 1\nexcept ImportError:\n    import pika",
            "without try / except ImportError",
        ),
        (rules.packages_are_guarded, OLLAMA, GUARDED.format("boto3"), "_ollama has no use for boto3"),
        (rules.packages_are_guarded, OLLAMA, GUARDED.format("tomllib"), "_ollama has no use for tomllib"),
        (rules.packages_are_guarded, OLLAMA, "import importlib\nimportlib.import_module('requests')", "importlib"),
        (rules.rooms_raise_and_return, OLLAMA, "def f():\n    print('x')", "_ollama uses print()"),
        (rules.rooms_raise_and_return, MIRROR, "import sys\nsys.exit(1)", "_mirror uses sys.exit"),
        (rules.rooms_raise_and_return, MIRROR, "import sys\nsys.stderr.write('x')", "_mirror uses sys.stderr"),
        (rules.rooms_raise_and_return, FLEET, "raise SystemExit(1)", "_fleet uses SystemExit"),
        (rules.rooms_raise_and_return, FLEET, "import os\nos._exit(1)", "_fleet uses os._exit"),
        (rules.daemon_knows_no_ansible, WORKER, "from ._module import running", "the daemon imports _module"),
        (rules.daemon_knows_no_ansible, WORKER, "from . import _module", "the daemon imports _module"),
        (rules.daemon_knows_no_ansible, WORKER, "def f():\n    import ansible.errors", "the daemon imports ansible"),
        (rules.daemon_knows_no_ansible, WORKER, "import _ollama.names", "to be imported relatively"),
        (rules.daemon_knows_no_ansible, GATEWAY, "import ansible.errors", "the daemon imports ansible"),
        (rules.daemon_links_rooms, f"{rules.GATEWAY}/_mirror/x.py", "x = 1", "_mirror is a room that this daemon has"),
        (
            rules.packages_import_in_order,
            f"{rules.GATEWAY}/domain/x.py",
            "from ..amqp.link import x\n",
            "x.py:1: domain imports amqp",
        ),
        (rules.texts_are_read_within_bounds, GATEWAY, "import json\njson.loads('[]')", "json.loads reads without"),
        (
            rules.daemon_links_rooms,
            f"{rules.DAEMON}/names.py",
            SOUND["plugins/module_utils/_ollama/names.py"],
            "is a copy of plugins/module_utils/_ollama/names.py",
        ),
        (
            rules.no_file_imports_itself,
            f"{rules.DAEMON}/lanes.py",
            "def f():\n    from . import cli\n",
            f"{rules.DAEMON}/cli.py -> {rules.DAEMON}/lanes.py -> {rules.DAEMON}/cli.py",
        ),
        (
            rules.no_file_imports_itself,
            "plugins/module_utils/_mirror/plans.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .places import X",
            "places.py -> plugins/module_utils/_mirror/plans.py -> plugins/module_utils/_mirror/places.py",
        ),
        (
            rules.packages_import_in_order,
            f"{rules.DAEMON}/scheduling/scheduler.py",
            "from ..amqp.consumers import x\n",
            "scheduler.py:1: scheduling imports amqp",
        ),
        (
            rules.packages_import_in_order,
            f"{rules.DAEMON}/inference/handler.py",
            "def late():\n    from ..amqp import consumers\n",
            "handler.py:2: inference imports amqp",
        ),
        (
            rules.packages_import_in_order,
            "plugins/module_utils/_mirror/s3/mirror.py",
            "from ..models.plan import Plan\n",
            "mirror.py:1: s3 imports models",
        ),
        (
            rules.packages_import_in_order,
            f"{rules.DAEMON}/odds/ends.py",
            "x = 1\n",
            "odds is a package without a place in the order",
        ),
        (rules.texts_are_read_within_bounds, OLLAMA, "import json\njson.loads('[]')", "json.loads reads without"),
        (rules.texts_are_read_within_bounds, FLEET, "_DECODER.decode('[]')", "DECODER.decode reads without"),
        (rules.texts_are_read_within_bounds, WORKER, "import yaml\nyaml.safe_load('')", "yaml.safe_load reads without"),
        (rules.texts_are_read_within_bounds, MIRROR, "from json import loads", "imported as a whole only"),
        *(
            (rules.constructors_take_few_things, name, NINE_THINGS, "x.py:2: A takes 9 things")
            for name in (MIRROR, MODULES, WORKER, GATEWAY, f"{rules.BLOB_SERVER}/x.py", "plugins/plugin_utils/x.py")
        ),
        *(
            (rules.long_classes_have_a_reason, name, LONG_CLASS, "x.py:2: A has 301 lines and gives no reason")
            for name in (OLLAMA, WORKER, f"{rules.BLOB_SERVER}/x.py")
        ),
        *(
            (rules.class_names_are_unique, name, "class Twin: ...", "is a class of plugins/module_utils/_mirror/errors")
            for name in ("plugins/plugin_utils/x.py", WORKER, GATEWAY, f"{rules.BLOB_SERVER}/x.py")
        ),
        *(
            (
                rules.modules_have_their_tests,
                f"{rules.DAEMON}/domain/x.py",
                text,
                "has a branch and no tests/unit/roles",
            )
            for text in (
                BRANCH,
                "class A:\n    def f(self):\n        for x in y: ...",
                "async def f():\n    while x: ...",
            )
        ),
        (
            rules.modules_have_their_tests,
            f"{rules.DAEMON_TESTS}/domain/test_verdicts.py",
            "",
            "domain/verdicts.py has its test; remove it",
        ),
        (rules.one_file_fails_modules, MODULES, "def f(module):\n    module.fail_json(msg='x')", "x.py:2: fail_json"),
        (
            rules.no_private_method_is_overridden,
            MIRROR,
            "class A:\n    def _f(self): ...\nclass B(A):\n    def _f(self): ...",
            "x.py:3: B overrides _f",
        ),
        (rules.modules_are_thin, "plugins/modules/thing.py", MODULE + "def help(): ...\n", "nothing but documentation"),
        (rules.modules_are_thin, "plugins/modules/thing.py", MODULE + "class A: ...\n", "nothing but documentation"),
        (rules.modules_are_thin, "plugins/modules/thing.py", MODULE + "x = 1\n", "nothing but documentation"),
        (
            rules.modules_are_thin,
            "plugins/modules/thing.py",
            MODULE.replace("run(SPEC)", "run(SPEC)\n" + "    x = 1\n" * 40),
            "main() has",
        ),
        (rules.modules_are_thin, "plugins/modules/thing.py", MODULE.replace("run(SPEC)", "pass"), "one call of run()"),
        (rules.modules_are_thin, "plugins/modules/thing.py", MODULE.replace("RETURN", "RETURNS"), "RETURN is missing"),
        (rules.modules_are_thin, "plugins/modules/thing.py", MODULE.replace("main", "start"), "there is no main()"),
    ],
)
def test_the_rule_finds_what_breaks_it(rule: Rule, name: str, text: str, offence: str, tmp_path: Path) -> None:
    found = rule(grow(tmp_path, {**SOUND, name: text}))
    assert any(offence in line for line in found), found


def test_untested_modules_all_exist_and_have_a_branch() -> None:
    assert set(rules.branching_modules(ROOT)) >= rules.UNTESTED


@pytest.mark.parametrize(
    "links, offence",
    [
        ({"_ollama": "../../../../plugins/module_utils/_ollama"}, "_ollama is a link to a folder"),
        ({"_ollama/names.py": "/somewhere/names.py"}, "_ollama/names.py is an absolute link"),
        ({"_ollama/names.py": "../_mirror/plans.py"}, "_ollama/names.py leads to ../_mirror/plans.py"),
        ({"_ollama/gone.py": "../../../../../plugins/module_utils/_ollama/gone.py"}, "_ollama/gone.py leads nowhere"),
    ],
)
def test_a_wrong_link_is_found(links: dict[str, str], offence: str, tmp_path: Path) -> None:
    found = rules.daemon_links_rooms(grow(tmp_path, SOUND, links))
    assert any(offence in line for line in found), found


def test_a_missing_link_and_a_file_in_a_links_place_are_found(tmp_path: Path) -> None:
    root = grow(tmp_path, SOUND)
    folder = root / rules.DAEMON / "_ollama"
    (folder / "names.py").unlink()
    (folder / "own.py").write_text("x = 1\n")
    assert rules.daemon_links_rooms(root) == [
        f"{rules.DAEMON}/_ollama/names.py is not a link",
        f"{rules.DAEMON}/_ollama/own.py belongs into plugins/module_utils",
    ]


def test_links_are_mended(tmp_path: Path) -> None:
    root = grow(tmp_path, SOUND, {"_mirror": "../../../../plugins/module_utils/_mirror"})
    (root / rules.UTILS / "_ollama/names.py").rename(root / rules.UTILS / "_ollama/naming.py")
    assert link_rooms.differences(root) != ([], [])
    assert f"unlinked {rules.DAEMON}/_ollama/names.py" in link_rooms.mend(root)
    assert link_rooms.differences(root) == ([], [])
    assert rules.daemon_links_rooms(root) == []
    assert f"{rules.DAEMON}/_ollama/naming.py" in link_rooms.unknown_to_git(root)
    subprocess.run(["git", "-C", str(root), "add", "--all"], check=True)
    assert link_rooms.unknown_to_git(root) == []
