# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Another version of Ollama in files."""

from __future__ import annotations

import shutil
from pathlib import Path

import bump_ollama
import pytest

ROOT = Path(__file__).resolve().parents[3]
AMD64, ARM64 = "a" * 64, "b" * 64
SUMS = f"{AMD64}  ./ollama-linux-amd64.tar.zst\n{ARM64}  ./ollama-linux-arm64.tar.zst\n{'c' * 64}  ./other.tgz\n"


@pytest.fixture
def sums(tmp_path: Path) -> str:
    path = tmp_path / "sha256sum.txt"
    path.write_text(SUMS)
    return str(path)


@pytest.mark.parametrize("arch, checksum", [("amd64", AMD64), ("arm64", ARM64)])
def test_variables_get_version_and_checksum(tmp_path: Path, sums: str, arch: str, checksum: str) -> None:
    path = tmp_path / "fleet.yml"
    path.write_text(f"ollama_server_version: 0.24.0\nollama_server_checksum: sha256:{'0' * 64}   # x\nother: 0.24.0\n")
    assert bump_ollama.main(["0.25.1", "--sums", sums, "--arch", arch, str(path)]) == 0
    wanted = f"ollama_server_version: 0.25.1\nollama_server_checksum: sha256:{checksum}   # x\nother: 0.24.0\n"
    assert path.read_text() == wanted


def test_placeholder_of_a_page_stays() -> None:
    text = "ollama_server_version: 0.24.0\nollama_server_checksum: sha256:...   # of the archive\n"
    assert bump_ollama.bumped(text, "0.25.1", AMD64) == text.replace("0.24.0", "0.25.1")


def test_tutorial_names_the_list_of_checksums_of_its_version() -> None:
    text = (ROOT / "docs/tutorial-one-node.md").read_text()
    assert f"{bump_ollama.RELEASES}/v7.25.1/sha256sum.txt" in bump_ollama.bumped(text, "7.25.1", AMD64)


def test_file_without_the_variable_is_refused(tmp_path: Path, sums: str) -> None:
    path = tmp_path / "fleet.yml"
    path.write_text("ollama_server_version: '{{ wanted }}'\n")
    with pytest.raises(SystemExit, match="no ollama_server_version"):
        bump_ollama.main(["0.25.1", "--sums", sums, str(path)])


def test_archive_without_a_checksum_is_refused() -> None:
    with pytest.raises(SystemExit, match="has 0 lines"):
        bump_ollama.checksum_of(SUMS, "ollama-linux-riscv64.tar.zst")


def test_repository_gets_the_version_in_guides_and_lab(tmp_path: Path, sums: str) -> None:
    names = [*bump_ollama.GUIDES, bump_ollama.PART, bump_ollama.UPGRADE]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    assert bump_ollama.main(["7.25.1", "--sums", sums], tmp_path) == 0
    for name in names:
        assert "7.25.1" in (tmp_path / name).read_text(), name
    assert 'VERSION, NEXT = b"7.25.1", b"7.25.2"' in (tmp_path / bump_ollama.UPGRADE).read_text()
    assert "\nversion=7.25.1\n" in (tmp_path / bump_ollama.PART).read_text()


def test_version_whose_next_patch_is_longer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="longer"):
        bump_ollama.bump_lab(tmp_path, "0.25.9")
