# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every task of the modules at odd servers: the outcome is right, or an error names the cause.

After each run a model of the mirror and of the store says that nothing is lost that somebody needs. A failing example
is printed as the arguments of the test; put it into an ``@example`` to run it again.
"""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from module_in_process import WAYS
from odd_judge import judge
from odd_s3.catalogue import odd_servers
from odd_s3.oddities import Compressed, Element, Header, Http, Instead, Length, Listing, Manner
from odd_tasks import PREFIXES, TASKS

#: Pages of two entries, with nothing that says where the next one begins.
NO_TOKENS = (Manner(name="page_size", value=2), Manner(name="tokens", value="missing"))
DEAF = (*NO_TOKENS, Manner(name="hears_start_after", value=False))


@pytest.mark.parametrize("task", TASKS)
@given(
    oddities=odd_servers,
    way=st.sampled_from(list(WAYS)),
    prefix=st.sampled_from(list(PREFIXES)),
    recorded=st.booleans(),
)
# What was seen of servers, proxies and gateways.
@example(oddities=(Manner(name="space", value="+"),), way="direct", prefix="my models", recorded=True)
@example(oddities=(Manner(name="space", value="+"),), way="sdk", prefix="my models", recorded=True)
@example(oddities=NO_TOKENS, way="direct", prefix="ollama/models", recorded=True)
@example(oddities=DEAF, way="sdk", prefix="ollama/models", recorded=True)
@example(oddities=(), way="direct", prefix="/ollama//models/", recorded=True)
@example(oddities=(Header(name="ETag"),), way="sdk", prefix="ollama/models", recorded=True)
@example(oddities=(Element("listing", name="ETag", inside=True),), way="sdk", prefix="ollama/models", recorded=True)
@example(oddities=(Length(told="chunked"),), way="sdk", prefix="ollama/models", recorded=True)
@example(oddities=(Http("anything", form="interim"),), way="sdk", prefix="ollama/models", recorded=True)
@example(oddities=(Compressed(polite=False),), way="direct", prefix="ollama/models", recorded=True)
@example(oddities=(Instead(),), way="direct", prefix="ollama/models", recorded=True)
@example(oddities=(Instead("manifest", status=404, body="proxy"),), way="sdk", prefix="ollama/models", recorded=True)
@example(oddities=(Instead(status=404, body="proxy"),), way="direct", prefix="ollama/models", recorded=True)
@example(oddities=(Manner(name="own_etags", value=False),), way="direct", prefix="ollama/models", recorded=True)
@example(oddities=(Manner(name="keeps_metadata", value=False),), way="sdk", prefix="ollama/models", recorded=True)
@example(oddities=(Manner(name="wants_checksum", value=True),), way="sdk", prefix="ollama/models", recorded=True)
@example(
    oddities=(Listing("listing", form="one less than counted"),), way="direct", prefix="ollama/models", recorded=True
)
@example(oddities=(Listing("listing", form="strangers"),), way="sdk", prefix="ollama/models", recorded=True)
def test_task_at_an_odd_server_succeeds_or_names_the_reason(odd_server, task, oddities, way, prefix, recorded):
    assert not judge(odd_server, TASKS[task], oddities, way, prefix, recorded=recorded)
