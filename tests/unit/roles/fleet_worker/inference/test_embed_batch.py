# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each request gets of an answer that several share."""

from __future__ import annotations

from typing import Any

import pytest
from fleet_worker.inference.embed_batch import _Batch, _shares

from .tasks import task_of


@pytest.mark.parametrize("odd", [{"model": [[["x"]]]}, {"total_duration": "9" * 400}, {"x": "\ud800"}])
def test_shared_answer_with_an_odd_field_is_whole_for_each_request(odd: dict[str, Any]) -> None:
    batch = _Batch({"model": "all-minilm"}, [task_of(), task_of()], [["a"], ["b", "c"]])
    result = {"model": "all-minilm", "embeddings": [[1.0], [2.0], [3.0]], "prompt_eval_count": 6, **odd}
    shares = [success.result for _task, success in _shares(batch, result, 0.0, 0.1)]
    assert [share["embeddings"] for share in shares] == [[[1.0]], [[2.0], [3.0]]]
    assert [share["prompt_eval_count"] for share in shares] == [2, 4]
    for share in shares:
        assert share["model"] == "all-minilm"
        assert set(share) <= {"model", "embeddings", "prompt_eval_count", "total_duration", "load_duration"}
        assert share.get("total_duration", 0) == 0
