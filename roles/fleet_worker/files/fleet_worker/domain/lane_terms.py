# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of a lane for its requests, which override the wishes of requesters.

All requesters of a lane share the model in memory. So a single requester must not decide how long Ollama keeps the
model and how Ollama loads it, and the worker refuses options that would take the node's memory from all others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Optional, Union

from .._fleet.dialects.reading import refused
from .._fleet.lanes import Lane
from .._fleet.messages import Request
from .._ollama.numbers import finite
from .._ollama.option_ranges import RUNNER_OPTIONS, RefusedFieldError, allowed
from .._ollama.options import InvalidOptionError, keep_alive, keep_alive_seconds

KeepAlive = Union[str, int, float, None]

#: The least and the most seconds for which a requester may keep a model, if the lane does not decide. Five minutes is
#: Ollama's default: less would take the model from other requesters, and for ever would take their memory.
SHORTEST = 300.0
LONGEST = 3600.0

#: The most characters of a time such as ``1h30m``.
_MAX_TIME = 32


@dataclass(frozen=True)
class LaneTerms:
    """The settings of a lane for its requests.

    :ivar keep_alive: the value for each request; None leaves the choice to the requester, within limits.
    :ivar option_ranges: the name, least and largest value of each option with an unusual range.
    """

    keep_alive: KeepAlive = None
    option_ranges: tuple[tuple[str, float, float], ...] = ()

    def applied_to(self, request: Request, lane: Lane, *, runner_options: bool) -> Request:
        """Return the request with the settings applied, or with a failure.

        :param runner_options: whether requesters may set options that make Ollama reload a model.
        """
        if request.failure is not None:
            return request
        arguments, ignored = dict(request.arguments), list(request.ignored)
        try:
            self._apply_options(arguments, ignored, lane, runner_options)
            self._apply_keep_alive(arguments, ignored)
        except RefusedFieldError as error:
            return replace(request, arguments={}, failure=refused(error))
        return replace(request, arguments={"model": lane.model, **arguments}, ignored=tuple(ignored))

    def _apply_options(self, arguments: dict[str, Any], ignored: list[str], lane: Lane, runner_options: bool) -> None:
        wanted: Mapping[str, Any] = arguments.get("options") or {}
        own = {} if lane.context_window is None else {"num_ctx": lane.context_window}
        if not wanted and not own:
            return
        ranges = {name: (least, most) for name, least, most in self.option_ranges}
        options, left_out = allowed(wanted, ranges, own if runner_options else RUNNER_OPTIONS)
        ignored += [f"options.{name}" for name in left_out if name not in own or wanted[name] != own[name]]
        arguments["options"] = {**options, **own}

    def _apply_keep_alive(self, arguments: dict[str, Any], ignored: list[str]) -> None:
        wanted = arguments.pop("keep_alive", None)
        passed = _within_bounds(wanted) if self.keep_alive is None else self.keep_alive
        if passed is not None:
            arguments["keep_alive"] = passed
        if wanted is not None and (passed is None or (self.keep_alive is not None and wanted != passed)):
            ignored.append("keep_alive")


#: The settings of a lane without configured settings.
USUAL = LaneTerms()


def _within_bounds(wanted: Any) -> KeepAlive:
    """Return a requester's ``keep_alive``; None if it is too short or too long."""
    seconds: Optional[float] = None
    if isinstance(wanted, str) and len(wanted) <= _MAX_TIME:
        try:
            wanted = keep_alive(wanted)
            seconds = keep_alive_seconds(wanted)
        except InvalidOptionError:
            seconds = None
    elif wanted is None:
        return None
    else:
        seconds = finite(wanted)
    if seconds is None:
        raise RefusedFieldError("keep_alive", "must be a number of seconds, or a time such as 10m or 1h30m")
    kept: KeepAlive = wanted
    return kept if SHORTEST <= seconds <= LONGEST else None
