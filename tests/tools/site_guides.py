# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put the guides of docs/ beside the reference that antsibull-docs has made, and make one site of both.

The guides stay Markdown, which GitHub and Galaxy show. Their links to other guides stay as they are; links to files of
the repository become links to the repository.

usage: python3 site_guides.py REPOSITORY SITE    (SITE has conf.py, and the reference in rst/)
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path, PurePosixPath

REPOSITORY = "https://github.com/legionio/legionio.ollama/blob/main"

#: The parts of the site, each with its guides, in the order in which people need them.
PARTS = {
    "Begin": ("quickstart", "tutorial-one-node", "tutorial-three-nodes"),
    "Do": ("how-to", "mirror", "fleet", "gateway", "legionio", "progress", "operations"),
    "Look up": (
        *("playbooks", "configuration", "log-events", "errors", "reference"),
        *("wire-protocol", "consistency", "compatibility", "performance"),
    ),
    "Understand": (
        *("guarantees", "architecture", "life-of-a-request", "life-of-a-blob"),
        *("scheduling", "security", "decisions"),
    ),
}

#: Pages of docs/ that the site leaves out: it has an index of its own.
OTHERS = ("index",)

_LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")


def main() -> int:
    root, site = (Path(argument).resolve() for argument in sys.argv[1:])
    docs, pages = root / "docs", site / "rst"
    known = {name for names in PARTS.values() for name in names}
    found = {path.stem for path in docs.glob("*.md")} - set(OTHERS)
    if found != known:
        print(f"site: PARTS and docs/ differ in {', '.join(sorted(found ^ known))}", file=sys.stderr)
        return 1
    (pages / "guides").mkdir()
    for name in sorted(known):
        text = (docs / f"{name}.md").read_text()
        (pages / "guides" / f"{name}.md").write_text(linked(text, docs))
    for picture in (path for path in docs.rglob("*") if path.suffix in (".svg", ".png")):
        target = pages / "guides" / picture.relative_to(docs)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture, target)
    reference = (pages / "index.rst").read_text()
    if "=====" not in (pages / "changelog.rst").read_text():
        # Before the first release it has nothing, not even a title.
        (pages / "changelog.rst").unlink()
        reference = re.sub(r"\.\. _changelog_section.*?    changelog\n", "", reference, flags=re.DOTALL)
    (pages / "reference.rst").write_text(without_empty_lists(reference))
    (pages / "index.rst").write_text(index())
    with (site / "conf.py").open("a") as settings:
        settings.write(SETTINGS)
    return 0


def linked(text: str, docs: Path) -> str:
    """Return a guide with its links as the site needs them."""

    def replaced(found: re.Match[str]) -> str:
        before, target, after = found.groups()
        path = PurePosixPath(target)
        if ":" in target or (
            (docs / target).parent.resolve() == docs and path.suffix == ".md" and path.stem not in OTHERS
        ):
            return found.group()
        if path.suffix in (".svg", ".png") and not target.startswith("../"):
            return found.group()
        inside = (docs / target).resolve().relative_to(docs.parent)
        return f"{before}{REPOSITORY}/{inside}{after}"

    return _LINK.sub(replaced, text)


def without_empty_lists(reference: str) -> str:
    """Return the index of the reference without a list of pages that has no page, which shows as a bare heading."""
    return re.sub(r"\.\. toctree::\n    :maxdepth: 1\n\n(?!\s{4})", "", reference)


def index() -> str:
    """Return the first page of the site."""
    title = "legionio.ollama"
    lines = [
        title,
        "=" * len(title),
        "",
        "Machines become an LLM fleet: models from a private S3 mirror, a hardened worker on each",
        "node, requests and answers through RabbitMQ.",
        "",
        ".. image:: guides/flow.svg",
        "   :alt: Models go from the mirror to the nodes, requests from clients to lanes and workers",
        "",
    ]
    for part, names in PARTS.items():
        lines += [
            ".. toctree::",
            "   :maxdepth: 1",
            f"   :caption: {part}",
            "",
            *(f"   guides/{name}" for name in names),
            "",
        ]
    lines += [".. toctree::", "   :maxdepth: 2", "   :caption: Reference", "", "   reference", ""]
    return "\n".join(lines)


SETTINGS = """
# Of this project:
project = title = html_title = html_short_title = 'legionio.ollama'
copyright = 'the legionio.ollama authors'
extensions += ['myst_parser']
myst_heading_anchors = 4
# The indexes of other projects are not fetched: the site can be built without internet. Labels of Ansible's own
# documentation become links by their names.
intersphinx_mapping = {}
ANSIBLE = 'https://docs.ansible.com/ansible/latest/'
PAGES = {
    'action_plugins': 'plugins/action.html',
    'ansible_configuration_settings': 'reference_appendices/config.html',
    'common_return_values': 'reference_appendices/common_return_values.html',
}


def setup(app):
    import re

    from docutils import nodes

    def link(_app, _environment, node, content):
        target = node.get('reftarget', '')
        plugin = re.fullmatch(r'ansible_collections\\.ansible\\.builtin\\.(\\w+_(?:module|lookup|filter))', target)
        page = PAGES.get(target) or (f'collections/ansible/builtin/{plugin[1]}.html' if plugin else None)
        return page and nodes.reference('', '', content, refuri=ANSIBLE + page, internal=False)

    app.connect('missing-reference', link)
"""

if __name__ == "__main__":
    sys.exit(main())
