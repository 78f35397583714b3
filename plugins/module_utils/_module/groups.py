# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The option groups that modules share, and their translation into settings.

A name belongs to one group, so that groups can be merged and ``module_defaults: group/legionio.ollama.<group>`` works.
The fragment of the same name in plugins/doc_fragments documents a group.

Credentials have no environment fallback here on purpose: without these options, the SDK reads environment, profile and
instance role itself, and keeps the parts of one credential together. A fallback for each option could mix a key of the
play with a session token of the environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import env_fallback

from .._mirror.s3.settings import S3Settings
from .._mirror.signing.policy import MODES, OFF, SignaturePolicy, SignatureRule
from .._ollama.store import StoreSettings
from .argspec import ArgumentSpec
from .broker_options import WITHIN_URL

S3 = ArgumentSpec(
    {
        "bucket": {"type": "str", "required": True},
        "prefix": {"type": "str", "default": "ollama/models"},
        "endpoint_url": {
            "type": "str",
            "fallback": (env_fallback, ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]),
        },
        "region": {"type": "str", "fallback": (env_fallback, ["AWS_REGION", "AWS_DEFAULT_REGION"])},
        "access_key": {"type": "str", "no_log": False},
        "secret_key": {"type": "str", "no_log": True},
        "session_token": {"type": "str", "no_log": True},
        "profile": {"type": "str"},
        "addressing_style": {"type": "str", "choices": ["auto", "path", "virtual"], "default": "auto"},
        "s3_validate_certs": {"type": "bool", "default": True},
        "s3_ca_path": {"type": "path", "fallback": (env_fallback, ["AWS_CA_BUNDLE"])},
    },
    mutually_exclusive=[["profile", "access_key"]],
    required_together=[["access_key", "secret_key"]],
    required_by={"session_token": ["access_key"]},
)

SERVER = ArgumentSpec(
    {
        "host": {
            "type": "str",
            "default": "http://127.0.0.1:11434",
            "fallback": (env_fallback, ["OLLAMA_HOST"]),
        },
        "timeout": {"type": "float", "default": 300},
        "retries": {"type": "int", "default": 2},
        "headers": {"type": "dict", "no_log": True},
        "validate_certs": {"type": "bool", "default": True},
        "ca_path": {"type": "path"},
        "client_cert": {"type": "path"},
        "client_key": {"type": "path", "no_log": False},
    },
    required_by={"client_key": ["client_cert"]},
)

STORE = ArgumentSpec(
    {
        "models_path": {
            "type": "path",
            "default": "~/.ollama/models",
            "fallback": (env_fallback, ["OLLAMA_MODELS"]),
        },
        "owner": {"type": "str"},
        "group": {"type": "str"},
        "mode": {"type": "raw"},
    },
)

SIGNATURES = ArgumentSpec(
    {
        "signature_policy": {"type": "str", "choices": list(MODES), "default": OFF},
        "signature_rules": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "models": {"type": "str", "required": True},
                "policy": {"type": "str", "choices": list(MODES), "required": True},
            },
        },
        "signature_keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
        "allow_rollback": {"type": "bool", "default": False},
    },
)

PROGRESS = ArgumentSpec(
    {
        "progress": {"type": "bool", "default": True},
        "progress_interval": {"type": "float", "default": 10},
    },
)

BROKER = ArgumentSpec(
    {
        "broker_url": {"type": "str", "no_log": True},
        "broker_host": {"type": "list", "elements": "str"},
        "broker_port": {"type": "int"},
        "broker_vhost": {"type": "str"},
        "broker_username": {"type": "str"},
        "broker_password": {"type": "str", "no_log": True},
        "broker_tls": {"type": "bool"},
        "broker_validate_certs": {"type": "bool", "default": True},
        "broker_ca_path": {"type": "path"},
        "broker_client_cert": {"type": "path"},
        "broker_client_key": {"type": "path", "no_log": False},
    },
    mutually_exclusive=[["broker_url", name] for name in WITHIN_URL],
    required_together=[["broker_username", "broker_password"]],
    required_one_of=[["broker_url", "broker_host"]],
    required_by={"broker_client_key": ["broker_client_cert"]},
)


def s3_settings(params: Mapping[str, Any]) -> S3Settings:
    """Return the settings of the mirror from a module's parameters."""
    return S3Settings(
        bucket=params["bucket"],
        prefix=params["prefix"],
        endpoint_url=params["endpoint_url"] or None,
        region=params["region"] or None,
        access_key=params["access_key"] or None,
        secret_key=params["secret_key"] or None,
        session_token=params["session_token"] or None,
        profile=params["profile"] or None,
        addressing_style=params["addressing_style"],
        validate_certs=params["s3_validate_certs"],
        ca_path=params["s3_ca_path"] or None,
    )


def store_settings(params: Mapping[str, Any]) -> StoreSettings:
    """Return the settings of the store from a module's parameters."""
    return StoreSettings(
        path=params["models_path"],
        owner=params["owner"] or None,
        group=params["group"] or None,
        mode=params["mode"],
    )


def signature_policy(params: Mapping[str, Any]) -> SignaturePolicy:
    """Return the policy for signatures of models.

    :raises CollectionError: for an invalid pattern, key or policy.
    """
    return SignaturePolicy.parse(
        params["signature_policy"],
        tuple(SignatureRule(rule["models"], rule["policy"]) for rule in params["signature_rules"]),
        params["signature_keys"],
        allow_rollback=params["allow_rollback"],
    )
