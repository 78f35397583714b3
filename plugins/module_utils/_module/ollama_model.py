# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The work of ollama_model: plan the steps to the wanted state, then take them, or report them in check mode."""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Callable, Optional

from ansible.module_utils.basic import AnsibleModule

from .._ollama import model_spec
from .._ollama.api_errors import InvalidRequestError, ModelNotFoundError, OllamaError, UploadSourceError
from .._ollama.byte_counter import ByteCounter
from .._ollama.client import OllamaClient
from .._ollama.errors import CollectionError
from .._ollama.long_calls import LongCalls
from .._ollama.model_list import ListedModel, find, listed, weights_of
from .._ollama.model_spec import ModelSpec
from .._ollama.names import ModelName, spellings
from .._ollama.options import InvalidOptionError, keep_alive, keep_alive_seconds, runner_options
from .._ollama.retry import RetryPolicy
from .._ollama.uploads import digest_and_size
from .ollama_model_info import described_model, loaded
from .progress import reported_progress
from .server_options import connect

#: Options that are allowed in one state only.
_STATE_OF = {"source": "present", "create": "present", "push": "present", "keep_alive": "loaded", "options": "loaded"}
#: The file types that Ollama's converters read (convert/).
_MODEL_FILES = (".gguf", ".safetensors", ".json", ".model", ".txt", ".jinja")
#: Seconds between two checks of a server that is unloading a model.
_LOOK_AGAIN = 0.1
#: Seconds to wait until Ollama lists a model's new expiry time; on an idle machine it takes milliseconds.
_SHOWN_WITHIN = 10.0


@dataclass
class ServerPlan:
    """The state before, the state after, and the steps between them.

    :ivar changed: whether the steps change something, as far as the plan can predict.
    :ivar after: the state after the steps; None for a value that only the server knows.
    """

    before: dict[str, Any]
    after: dict[str, Any]
    steps: list[tuple[str, Callable[[], None]]] = field(default_factory=list)
    changed: bool = False

    def add(self, says: str, step: Callable[[], None], *, changes: bool = True) -> None:
        """Add a step.

        :param says: what the step does, for people.
        """
        self.steps.append((says, step))
        self.changed = self.changed or changes


@dataclass(frozen=True)
class ModelOptions:
    """The options of a task.

    :ivar state: ``present``, ``absent``, ``loaded`` or ``unloaded``.
    :ivar source: the model to copy.
    :ivar spec: the model to create.
    :ivar force: create the model even if the server has an equal one.
    :ivar keep_alive: as Ollama takes it; None leaves the time to the server.
    :ivar retries: how often an interrupted pull is repeated.
    :ivar timeout: seconds to wait until a model is unloaded.
    :ivar stall_timeout: seconds without progress after which a long call ends.
    """

    name: ModelName
    state: str
    pull: str
    source: Optional[ModelName]
    spec: Optional[ModelSpec]
    force: bool
    push: bool
    insecure: bool
    keep_alive: Any
    runner_options: dict[str, Any]
    retries: int
    timeout: float
    stall_timeout: float

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> ModelOptions:
        """Read the parameters of the module.

        :raises CollectionError: for an invalid value, or for an option of another state.
        """
        _require_state(params)
        alive = keep_alive(params["keep_alive"])
        if keep_alive_seconds(alive) == 0:
            raise InvalidOptionError(
                "keep_alive is 0, which unloads the model at once", remedy="Use state=unloaded", option="keep_alive"
            )
        create = params["create"]
        return cls(
            name=ModelName.parse(params["name"]),
            state=params["state"],
            pull=params["pull"],
            source=ModelName.parse(params["source"]) if params["source"] else None,
            spec=_model_spec(create) if create else None,
            force=bool(create and create["force"]),
            push=params["push"],
            insecure=params["insecure"],
            keep_alive=alive,
            runner_options=runner_options(params["options"] or {}),
            retries=params["retries"],
            timeout=params["timeout"],
            stall_timeout=params["stall_timeout"],
        )


def model(module: AnsibleModule) -> dict[str, Any]:
    """Bring a model of a server into the state of the task."""
    options = ModelOptions.from_params(module.params)
    with connect(module) as client, reported_progress() as counter:
        return _ModelTask(options, client, counter, check_mode=module.check_mode).result()


def _require_state(params: Mapping[str, Any]) -> None:
    for option, state in _STATE_OF.items():
        if params[option] and params["state"] != state:
            raise InvalidOptionError(
                f"{option} is given with state={params['state']}",
                remedy=f"Use {option} with state={state}, if necessary in a separate task",
                option=option,
            )


class _ModelTask:
    """One task on one server."""

    def __init__(self, options: ModelOptions, client: OllamaClient, counter: ByteCounter, *, check_mode: bool) -> None:
        self._options = options
        self._check_mode = check_mode
        self._client = client
        self._counter = counter
        self._long = LongCalls(client, stall_timeout=options.stall_timeout, counter=counter)
        self._name = options.name
        self._digests: dict[str, str] = {}
        self._sizes: dict[str, int] = {}
        self._models = listed(client.tags())
        self._found = find(self._models, self._name)
        #: The name in the server's spelling, if it has the model.
        self._shown = self._found.shown if self._found else self._name.short

    def result(self) -> dict[str, Any]:
        """Plan, act unless in check mode, and report."""
        plan = getattr(self, f"_plan_{self._options.state}")()
        digest_before = self._found.digest if self._found else None
        if self._check_mode:
            model = described_model(self._found, self._running()) if self._found else None
            return self._reported(plan, plan.changed, [says for says, _step in plan.steps], digest_before, model)
        done: list[str] = []
        try:
            for says, step in plan.steps:
                step()
                done.append(says)
        except CollectionError as error:
            error.result = {"changed": bool(done) and plan.changed, "actions": done}
            raise
        after = find(listed(self._client.tags()), self._name)
        return self._reported(
            plan,
            self._changed(plan, after),
            done,
            digest_before,
            described_model(after, self._running()) if after else None,
        )

    def _changed(self, plan: ServerPlan, after: Optional[ListedModel]) -> bool:
        if self._options.state != "present" or self._options.push:
            return plan.changed
        return (after.digest if after else None) != (self._found.digest if self._found else None)

    def _reported(
        self,
        plan: ServerPlan,
        changed: bool,
        actions: list[str],
        digest_before: Optional[str],
        model: Optional[dict[str, Any]],
    ) -> dict[str, Any]:
        after = plan.after if self._check_mode else self._seen(plan.after, model)
        result = {
            "changed": changed,
            "name": self._name.short,
            "actions": actions,
            "digest_before": digest_before,
            "digest_after": after.get("digest") if self._check_mode else (model or {}).get("digest"),
            "model": model,
            "diff": {"before": plan.before, "after": after if changed else plan.before},
        }
        if self._options.state == "loaded" and not self._check_mode:
            running = self._running()
            result["running"] = loaded(running) if running else None
        return result

    def _seen(self, planned: Mapping[str, Any], model: Optional[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the state on the server, in the form of the planned state."""
        seen = dict(planned)
        if model and "digest" in planned:
            seen.update({key: model[key] for key in ("name", "digest", "size")})
        if model and self._options.spec:
            seen.update(_parts(self._client.show(model["name"])))
        return seen

    def _running(self) -> Optional[ListedModel]:
        return find(listed(self._client.ps()), self._name)

    def _identity(self, model: Optional[ListedModel]) -> dict[str, Any]:
        return {"name": model.shown, "digest": model.digest, "size": model.size} if model else {}

    # state: present

    def _plan_present(self) -> ServerPlan:
        before = self._identity(self._found)
        plan = ServerPlan(before, {"name": self._shown, "digest": None, "size": None})
        if self._options.spec:
            self._plan_creation(plan, self._options.spec)
        elif self._options.source:
            self._plan_copy(plan, self._options.source)
        elif self._needs_pull(self._found, self._shown):
            plan.add(f"pull {self._shown}", lambda: self._pull(self._shown))
        else:
            plan.after = dict(before)
        if self._options.push:
            plan.add(f"push {self._shown}", lambda: self._long.push(self._shown, insecure=self._options.insecure))
        return plan

    def _needs_pull(self, found: Optional[ListedModel], name: str) -> bool:
        """Return True if the task's policy requires a pull.

        :raises ModelNotFoundError: when the model is missing and the policy forbids a pull.
        """
        if self._options.pull == "always" or (found is None and self._options.pull == "not_present"):
            return True
        if found is None:
            raise ModelNotFoundError(
                f"{self._client.url} does not have the model {name}, and pull=never forbids to pull it",
                status=404,
                server_message="",
                remedy="Import it from the mirror (ollama_s3_import), or allow the pull",
                name=name,
            )
        return False

    def _pull(self, name: str) -> None:
        self._long.pull(name, insecure=self._options.insecure, policy=RetryPolicy(self._options.retries))

    def _plan_copy(self, plan: ServerPlan, source: ModelName) -> None:
        found = find(self._models, source)
        shown = found.shown if found else source.short
        if found is not None and found == self._found:
            raise InvalidOptionError(
                f"{shown} cannot be copied to itself", remedy="Give another name or another source", option="source"
            )
        if self._needs_pull(found, shown):
            plan.add(f"pull {shown}", lambda: self._pull(shown))
            found = None  # the digest after the pull is unknown
        elif self._found and found and self._found.digest == found.digest:
            plan.after = dict(plan.before)
            return
        if found:
            plan.after.update(digest=found.digest, size=found.size)
        plan.add(f"copy {shown} to {self._shown}", lambda: self._client.copy(shown, self._shown))

    def _plan_creation(self, plan: ServerPlan, spec: ModelSpec) -> None:
        origin: Optional[dict[str, Any]] = None
        if spec.origin:
            found = find(self._models, spec.origin)
            shown = found.shown if found else spec.origin.short
            if self._needs_pull(found, shown):
                plan.add(f"pull {shown}", lambda: self._pull(shown))
            else:
                origin = self._client.show(shown)
        compared = spec.origin is None or origin is not None
        if self._found:
            there = self._client.show(self._shown)
            plan.before.update(_parts(there))
            differences = model_spec.differences(spec, there, origin, self._digest_of) if compared else ["origin"]
            if not differences and not self._options.force:
                plan.after = dict(plan.before)
                return
        if compared:
            plan.after.update(
                model_spec.wanted(spec, origin), weights=model_spec.wanted_weights(spec, origin, self._digest_of)
            )
        plan.add(f"create {self._shown}", lambda: self._create(spec))

    def _create(self, spec: ModelSpec) -> None:
        for path in spec.paths:
            digest = self._digest_of(path)
            self._counter.expect(f"{self._shown}, {os.path.basename(path)}", self._sizes[path])
            self._client.push_blob(digest, path, on_bytes=self._counter.add)
        self._long.create(self._shown, spec.request(self._digest_of))

    def _digest_of(self, path: str) -> str:
        if path not in self._digests:
            self._digests[path], self._sizes[path] = digest_and_size(path)
        return self._digests[path]

    # state: absent

    def _plan_absent(self) -> ServerPlan:
        plan = ServerPlan(self._identity(self._found), {})
        # Names may differ only in case. The server accepts any of the spellings, and deletes one model at a time.
        found = spellings(self._name, [model.name for model in self._models])
        for model in self._models:
            if model.name in found:
                plan.add(f"delete {model.shown}", partial(self._client.delete, model.shown))
        return plan

    # state: loaded, unloaded

    def _plan_loaded(self) -> ServerPlan:
        if self._found is None:
            raise ModelNotFoundError(
                f"{self._client.url} cannot load the model {self._shown}, because it does not have it",
                status=404,
                server_message="",
                remedy="Make the model present first (state=present)",
                name=self._shown,
            )
        alive, options = self._options.keep_alive, self._options.runner_options
        seconds = keep_alive_seconds(alive)
        running = self._running()
        forever = None if seconds is None else seconds == float("inf")
        context = options.get("num_ctx")
        same = running is not None and (
            (forever is None or forever == _stays_for_good(running))
            and (context is None or running.document.get("context_length") in (None, context))
        )
        plan = ServerPlan(
            {"loaded": running is not None, **_terms(running)},
            {
                "loaded": True,
                "for_good": bool(forever),
                "context_length": context or _terms(running).get("context_length"),
            },
        )
        if not same or seconds is not None:
            # A load also starts the keep_alive time again, which does not count as a change.
            plan.add(f"load {self._shown}", lambda: self._load_and_look(alive, options), changes=not same)
        return plan

    def _load_and_look(self, alive: Any, options: Mapping[str, Any]) -> None:
        """Load the model, and wait until the list of running models shows the new expiry time.

        Ollama sets the new time after the answer, when its scheduler handles the end of the request
        (server/sched.go), and lists the old time until then.
        """
        self._load(alive, options)
        seconds = keep_alive_seconds(alive)
        deadline = time.monotonic() + _SHOWN_WITHIN
        while seconds is not None and time.monotonic() < deadline:
            running = self._running()
            if running is None or _stays_for_good(running) == (seconds == float("inf")):
                return
            time.sleep(_LOOK_AGAIN)

    def _load(self, alive: Any, options: Mapping[str, Any]) -> None:
        terms: dict[str, Any] = {"model": self._shown, **({"options": dict(options)} if options else {})}
        if alive is not None:
            terms["keep_alive"] = alive
        capabilities = self._client.show(self._shown).get("capabilities") or []
        if "embedding" in capabilities and "completion" not in capabilities:
            self._client.embed(input=[], **terms)
            return
        try:
            self._client.generate(**terms)
        except InvalidRequestError:
            if capabilities:
                raise
            self._client.embed(input=[], **terms)  # Ollama before 0.6.4 reports no capabilities

    def _plan_unloaded(self) -> ServerPlan:
        running = self._running()
        plan = ServerPlan({"loaded": running is not None}, {"loaded": False})
        if running:
            plan.add(f"unload {running.shown}", lambda: self._unload(running.shown))
        return plan

    def _unload(self, name: str) -> None:
        self._client.generate(model=name, keep_alive=0)
        deadline = time.monotonic() + self._options.timeout
        while self._running():
            if time.monotonic() > deadline:
                raise OllamaError(
                    f"{name} is still loaded {self._options.timeout:g} seconds after the request to unload it",
                    remedy="The model still answers requests: end them, or raise timeout",
                    name=name,
                )
            time.sleep(_LOOK_AGAIN)


def _parts(shown: Mapping[str, Any]) -> dict[str, Any]:
    return {**model_spec.present(shown), "weights": sorted(weights_of(shown))}


def _terms(running: Optional[ListedModel]) -> dict[str, Any]:
    if running is None:
        return {}
    return {"for_good": _stays_for_good(running), "context_length": running.document.get("context_length")}


def _stays_for_good(running: ListedModel) -> bool:
    # Ollama stores a negative time as the longest duration of Go, 292 years (server/sched.go).
    year = str(running.document.get("expires_at") or "")[:4]
    return year.isdigit() and int(year) > dt.date.today().year + 100


def _model_spec(create: Mapping[str, Any]) -> ModelSpec:
    files = {str(name): str(path) for name, path in (create["files"] or {}).items()}
    if create["directory"]:
        files = _files_below(create["directory"])
    return ModelSpec(
        origin=ModelName.parse(create["from"]) if create["from"] else None,
        files=files,
        adapters={str(name): str(path) for name, path in (create["adapters"] or {}).items()},
        template=create["template"] or "",
        system=create["system"] or "",
        parameters=runner_options(create["parameters"] or {}),
        messages=create["messages"] or (),
        license=create["license"] or (),
        quantize=create["quantize"] or "",
    )


def _files_below(directory: str) -> dict[str, str]:
    files = {}
    for folder, folders, names in os.walk(directory):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = os.path.join(folder, name)
            if name.endswith(_MODEL_FILES) and not name.startswith("."):
                files[os.path.relpath(path, directory)] = path
    if not files:
        raise UploadSourceError(
            f"The directory {directory} has no model files",
            remedy=f"Name a directory on the machine that runs the task, with files in {', '.join(_MODEL_FILES)}",
            path=directory,
        )
    return files
