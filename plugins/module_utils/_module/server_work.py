# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""What the modules do that talk to an Ollama server. The module that manages models has a file of its own."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Mapping
from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule

from .._ollama.api_errors import DigestMismatchError, IncompleteResponseError, OllamaError, UploadSourceError
from .._ollama.calls import Call
from .._ollama.client import OllamaClient
from .._ollama.digests import parse_digest
from .._ollama.json_text import read_json
from .._ollama.model_list import ListedModel, listed, matches, parameters_of
from .._ollama.names import ModelName
from .._ollama.options import InvalidOptionError, keep_alive, runner_options
from .._ollama.transport import TlsSettings
from .._ollama.uploads import digest_and_size
from .._ollama.usage import usage_of


def connect(module: AnsibleModule, *, retries: Optional[int] = None) -> OllamaClient:
    """Return a client of the server that the module was given, with the options of group ``server``.

    :param retries: instead of what the options say.
    """
    params = module.params
    return OllamaClient(
        params["host"],
        read_timeout=params["timeout"],
        retries=params["retries"] if retries is None else retries,
        headers={str(name): str(value) for name, value in (params["headers"] or {}).items()},
        tls=TlsSettings(
            validate_certs=params["validate_certs"],
            ca_path=params["ca_path"] or None,
            client_cert=params["client_cert"] or None,
            client_key=params["client_key"] or None,
        ),
    )


# ollama_model_info


def info(module: AnsibleModule) -> dict[str, Any]:
    """Look at a server: its version, its models, those that are loaded."""
    with connect(module) as client:
        version = client.version()["version"]
        running = {model.name: model for model in listed(client.ps())}
        patterns = module.params["name"]
        models = [
            model
            for model in listed(client.tags())
            if not patterns or any(matches(pattern, model.name) for pattern in patterns)
        ]
        described = [described_model(model, running.get(model.name)) for model in models]
        if module.params["details"]:
            for model, entry in zip(models, described):
                entry.update(details_of(client.show(model.shown, verbose=module.params["verbose"])))
    return {
        "changed": False,
        "version": version,
        "models": described,
        "running": [loaded(model) for model in running.values()],
    }


def described_model(model: ListedModel, running: Optional[ListedModel]) -> dict[str, Any]:
    """Return what the results of modules say about a model in the store of a server."""
    details = model.document.get("details") or {}
    return {
        "name": model.shown,
        "full_name": model.name.full,
        "digest": model.digest,
        "size": model.size,
        "modified_at": model.document.get("modified_at"),
        "format": details.get("format") or None,
        "family": details.get("family") or None,
        "parameter_size": details.get("parameter_size") or None,
        "quantization_level": details.get("quantization_level") or None,
        "loaded": running is not None,
    }


def loaded(model: ListedModel) -> dict[str, Any]:
    """Return what the results of modules say about a model in memory."""
    return {
        "name": model.shown,
        "digest": model.digest,
        "size": model.size,
        "size_vram": model.document.get("size_vram") or 0,
        "context_length": model.document.get("context_length"),
        "expires_at": model.document.get("expires_at"),
    }


def details_of(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of an answer to ``show`` that is meant for people and playbooks."""
    return {
        "parent_model": (shown.get("details") or {}).get("parent_model") or None,
        "capabilities": shown.get("capabilities") or [],
        "template": shown.get("template") or "",
        "system": shown.get("system") or "",
        "parameters": parameters_of(shown),
        "messages": shown.get("messages") or [],
        "license": shown.get("license") or "",
        "modelfile": shown.get("modelfile") or "",
        "model_info": shown.get("model_info") or {},
        "requires": shown.get("requires") or None,
    }


# ollama_blob


def blob(module: AnsibleModule) -> dict[str, Any]:
    """Make the server have a file as a blob."""
    path = module.params["path"]
    announced = module.params["digest"]
    expected = parse_digest(announced) if announced else None
    digest, size = digest_and_size(path)
    if expected and expected != digest:
        raise UnexpectedFileError(
            f"The digest of {path} is {digest}, expected was {expected}",
            remedy="The file is another one than meant, or damaged: fetch it again, or correct the digest",
            path=path,
            digest=digest,
            expected=expected,
        )
    with connect(module) as client:
        client.version()  # to whoever answers every HEAD alike, no blob would ever be missing
        if module.check_mode:
            changed = not client.has_blob(digest)
        else:
            try:
                changed = client.push_blob(digest, path)
            except DigestMismatchError as error:
                raise UploadSourceError(
                    f"The file {path} changed while it was uploaded: {error.message}",
                    remedy="Run the task again when nothing writes to the file",
                    path=path,
                ) from error
    there = {"digest": digest, "size": size}
    return {
        "changed": changed,
        "path": path,
        **there,
        "diff": {"before": {} if changed else there, "after": there},
    }


class UnexpectedFileError(OllamaError):
    """A file does not have the digest that the task gives."""

    code = "digest_mismatch"


# ollama_inference


def inference(module: AnsibleModule) -> dict[str, Any]:
    """Ask a model once."""
    params = module.params
    name = ModelName.parse(params["name"]).short
    body = {
        "model": name,
        "options": runner_options(params["options"] or {}) or None,
        "keep_alive": keep_alive(params["keep_alive"]),
        "format": _format(params["format"]),
        "think": params["think"],
        "truncate": params["truncate"],
        **_question(params),
    }
    body = {key: value for key, value in body.items() if value is not None}
    with connect(module) as client:
        if module.check_mode:
            client.show(name)
            return {"changed": False, "model": name}
        call = Call(total_timeout=params["total_timeout"])
        if "input" in body:
            answer = client.embed(call=call, **body)
            return {"changed": False, "model": name, "embeddings": answer["embeddings"], "usage": usage_of(answer)}
        # In a stream, so that the timeout is that of silence and not of the whole answer.
        stream = client.chat_stream if "messages" in body else client.generate_stream
        *_deltas, done = stream(call=call, **body)
    return {"changed": False, "model": name, **_answer(done.data, name, structured="format" in body)}


def _question(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of the body that differs between chat, generate and embed."""
    images = [_image(path) for path in params["images"] or []]
    if params["input"] is not None:
        return {"input": params["input"], "dimensions": params["dimensions"]}
    if params["messages"] is None:
        return {
            "prompt": params["prompt"],
            "suffix": params["suffix"],
            "system": params["system"],
            "raw": params["raw"],
            "images": images or None,
        }
    messages = [
        {**message, "images": [_image(path) for path in message.get("images") or []]} for message in params["messages"]
    ]
    if params["system"]:
        messages.insert(0, {"role": "system", "content": params["system"], "images": []})
    messages[-1]["images"] += images
    return {
        "messages": [{key: value for key, value in message.items() if value} for message in messages],
        "tools": params["tools"],
    }


def _image(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return base64.b64encode(file.read()).decode("ascii")
    except OSError as error:
        raise UploadSourceError(
            f"The image {path} cannot be read: {error.strerror}",
            remedy="Name a file on the machine that runs the task",
            path=path,
        ) from error


def _format(value: Any) -> Any:
    # A schema that went through a template without native types comes as its text.
    if isinstance(value, str) and value not in ("", "json"):
        with contextlib.suppress(ValueError):
            value = read_json(value)
    if value and value != "json" and not isinstance(value, dict):
        raise InvalidOptionError(
            f"The format of the answer is {value!r}",
            remedy="Give json, or a JSON schema as a dictionary",
            option="format",
        )
    return value or None


def _answer(response: Mapping[str, Any], name: str, *, structured: bool) -> dict[str, Any]:
    message = response.get("message")
    part, text_key = (message, "content") if isinstance(message, dict) else (response, "response")
    answer: dict[str, Any] = {
        "text": part.get(text_key) or "",
        "thinking": part.get("thinking"),
        "tool_calls": part.get("tool_calls") or [],
        "done_reason": response.get("done_reason"),
        "usage": usage_of(response),
    }
    # A model that was offered tools may call one instead of answering; its text is empty then, whatever the format.
    if structured and (answer["text"] or not answer["tool_calls"]):
        try:
            answer["data"] = read_json(answer["text"])
        except ValueError as error:
            reason = "it was cut off at its greatest length" if answer["done_reason"] == "length" else str(error)
            failure = IncompleteResponseError(
                f"The answer of {name} is not the JSON that was asked for: {reason}",
                partial=dict(response),
                remedy="Allow a longer answer (options.num_predict, options.num_ctx), or a simpler format",
                name=name,
            )
            failure.result = {"text": answer["text"], "usage": answer["usage"]}
            raise failure from error
    return answer
