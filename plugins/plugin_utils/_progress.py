# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The controller's half of live progress: runs a module, and shows its progress meanwhile.

The module runs in the foreground, so forks, check mode, timeouts and failures work as without this plugin. A thread
reads the module's progress file (plugins/module_utils/_module/progress.py) over a second connection, and prints one
line in each interval. An error of the thread only ends the progress lines. With C(async) there are no lines, because
the task ends on the controller before the work begins.
"""

from __future__ import annotations

import contextlib
import contextvars
import copy
import os
import secrets
import threading
from collections.abc import Iterator
from typing import Any, Optional

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import connection_loader
from ansible.utils.display import Display
from ansible.utils.vars import merge_hash

from ..module_utils._mirror.support.format import in_bytes
from ..module_utils._module.progress import FILES_VARIABLE, SIZE, decoded

#: Seconds until the first read, and between reads while there is nothing to show. Most tasks end before the first.
FIRST_LOOK = 2.0
#: Seconds between two lines: the default of the option, and its minimum.
INTERVAL = 10.0
SHORTEST_INTERVAL = 1.0

display = Display()


class ProgressAction(ActionBase):  # type: ignore[misc]
    """Runs the module of the same name, and shows its progress."""

    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: object = None, task_vars: Optional[dict[str, Any]] = None) -> dict[str, Any]:
        """Run the module. Return its result, with the last progress if the module itself could not add it."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        wrap_async = self._task.async_val and not getattr(self._connection, "has_native_async", False)
        arguments = dict(self._task.args)
        watch = None
        if not wrap_async:
            with contextlib.suppress(Exception):  # for example, an unusual connection plugin
                watch = self._watch(arguments, task_vars or {})
        if watch:
            watch.start()
        try:
            with self._in_environment({FILES_VARIABLE: os.pathsep.join(watch.paths)} if watch else {}):
                done = self._execute_module(module_args=arguments, task_vars=task_vars, wrap_async=wrap_async)
        except BaseException:  # the connection broke, or the task took too long
            if watch:
                watch.stop(say="it was interrupted")
            raise
        if watch:
            watch.stop()
            self._settle(done, watch)
        result = merge_hash(result, done)
        if not wrap_async:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        return result

    def _watch(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> Optional[ProgressWatch]:
        """Return the watch of this task; None if the task must not show progress."""
        try:
            wanted = boolean(arguments.get("progress", True))
            interval = float(arguments.get("progress_interval", INTERVAL))
        except (TypeError, ValueError):
            return None  # the module reports the invalid option
        if not wanted or self._task.no_log or getattr(self._connection._shell, "_IS_WINDOWS", False):
            return None
        host = str(task_vars["inventory_hostname"])
        if self._task.delegate_to:
            host += f" -> {self._task.delegate_to}"
        folders = self.get_shell_option("system_tmpdirs", default=["/var/tmp", "/tmp"])  # noqa: S108
        name = f".legionio-ollama-{secrets.token_hex(16)}"
        paths = [f"{folder}/{name}" for folder in folders if os.pathsep not in folder]
        return ProgressWatch(self, host, paths, max(interval, SHORTEST_INTERVAL))

    @contextlib.contextmanager
    def _in_environment(self, variables: dict[str, str]) -> Iterator[None]:
        """Add variables to the module's environment. A task cannot set them as options."""
        before = self._task.environment
        listed = before if isinstance(before, list) else [before]
        self._task.environment = [*listed, variables]
        try:
            yield
        finally:
            self._task.environment = before

    def _settle(self, done: dict[str, Any], watch: ProgressWatch) -> None:
        """Finish the module's own work if the module could not finish it."""
        if "invocation" in done:
            return
        # The module was killed, or its output is not readable.
        if watch.last:
            done.setdefault("progress", watch.last)
        with contextlib.suppress(Exception):
            self._low_level_execute_command("rm -f " + watch.quoted)

    def twin(self) -> ProgressAction:
        """Return a copy of this action with another connection, and with the same options and privileges."""
        first, twin = self._connection, copy.copy(self)
        twin._play_context = copy.copy(self._play_context)
        second = connection_loader.get(first.ansible_name or first._load_name, twin._play_context, new_stdin=None)
        # The values themselves, because resolving the options again could give other values.
        second._options = dict(first._options)
        # Both keep state between calls, such as the prompt that they expect.
        second._shell = copy.copy(first._shell)
        second.set_become_plugin(copy.copy(first.become))
        twin._connection = second
        return twin

    def read(self, quoted: list[str]) -> str:
        """Return the start of the first file that exists; an empty text without a file.

        Other users of the target can see the environment of a command, and so the names. The files of other users are
        not read.
        """
        command = " || ".join(f"{{ [ -O {path} ] && head -c {SIZE} {path} 2>/dev/null; }}" for path in quoted)
        return str(self._low_level_execute_command(command).get("stdout", ""))


class ProgressWatch:
    """The thread that shows the progress of one task on one host."""

    def __init__(self, action: ProgressAction, host: str, paths: list[str], interval: float) -> None:
        self.paths = paths
        self.last: dict[str, Any] = {}
        self._action = action
        self._host = host
        self._interval = interval
        self._over = threading.Event()
        # Display passes lines to the main process through a queue with a lock that all workers share. A thread that
        # dies with the lock would stop all workers, and a worker does not wait for this thread. So stop() waits until
        # the thread is outside of Display.
        self._showing = threading.Lock()

    def start(self) -> None:
        """Start the thread."""
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(self._work,), name="progress", daemon=True).start()

    def stop(self, say: str = "") -> None:
        """Show no more progress. With ``say``, show the last progress once more, with this remark."""
        with self._showing:
            self._over.set()
        if say and self.last:
            display.display(f"{line(self._host, self.last)}; {say}", stderr=True)

    @property
    def quoted(self) -> str:
        return " ".join(self._quoted())

    def _quoted(self) -> list[str]:
        return [self._action._connection._shell.quote(path) for path in self.paths]

    def _work(self) -> None:
        try:
            pause = FIRST_LOOK
            twin: Optional[ProgressAction] = None
            while not self._over.wait(pause):
                twin = twin or self._action.twin()
                state = decoded(twin.read(self._quoted()))
                pause = self._interval if state and self._show(state) else min(FIRST_LOOK, self._interval)
            if twin:
                twin._connection.close()
        except Exception as error:  # noqa: BLE001 - the task goes on without progress, after any error
            with self._showing:
                if not self._over.is_set():
                    display.vvv(f"No more progress can be shown: {error}", host=self._host)

    def _show(self, state: dict[str, Any]) -> bool:
        """Show a line; return whether there was one to show."""
        text = line(self._host, state)
        with self._showing:
            if text and not self._over.is_set():
                self.last = state
                # The error stream, because it is not buffered in a pipe, and programs read results from the other one.
                display.display(text, stderr=True)
        return bool(text)


def line(host: str, state: dict[str, Any]) -> str:
    """Return the line for a state, as the target sent it; empty without progress."""
    what, step = printable(state.get("model")), printable(state.get("step"))
    done, total, rate = (number(state.get(key)) for key in ("bytes", "bytes_total", "rate"))
    parts = []
    if step:
        parts.append(step)
    elif total:
        parts.append(f"{in_bytes(done)} of {in_bytes(total)} ({min(100, 100 * done // total)} %)")
        if done < total:
            if rate or done:
                parts.append(f"{in_bytes(rate)}/s" if rate else "nothing moves")
            if rate and state.get("seconds_left") is not None:
                parts.append(f"{duration(number(state['seconds_left']))} left")
        near = number(state.get("bytes_from_peers"))
        if near:
            parts.append(f"{in_bytes(near)} from neighbours")
    return f"progress: [{host}] {what}: {', '.join(parts)}" if parts else ""


def printable(value: object) -> str:
    """Return a text without control characters for a terminal."""
    return "".join(character for character in str(value or "") if character.isprintable())


def number(value: object) -> int:
    """Return a count; 0 for any other value."""
    return max(0, value) if isinstance(value, int) else 0


def duration(seconds: int) -> str:
    """Return a time in at most two units."""
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds // 60 % 60} min"
