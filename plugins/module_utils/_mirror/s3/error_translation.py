# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Translation of the errors of the SDK and of the connection into those of ``errors.py``.

``server_errors.py`` translates the errors in an S3 server's response, and this module all others. A message shows the
text of an exception only if the text cannot contain secrets. For example, http.client repeats a header that it refuses,
which may be the session token.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Optional

from ..._ollama.errors import CollectionError, Detail
from ..._ollama.text import printable
from ..errors import (
    MirrorCredentialsError,
    MirrorError,
    MirrorSettingsError,
    MirrorTlsError,
    MirrorUnreachableError,
    NotS3Error,
)

if TYPE_CHECKING:
    from .settings import S3Settings

#: The most characters of an SDK text in a message.
_WORDS = 500

#: Errors of botocore for missing or unusable credentials. Their texts are not shown, because they may be the output of
#: a user's program. Older versions lack some.
_NO_CREDENTIALS = (
    "CredentialRetrievalError",
    "InfiniteLoopConfigError",
    "LoginError",
    "MetadataRetrievalError",
    "NoAuthTokenError",
    "NoCredentialsError",
    "PartialCredentialsError",
    "RefreshWithMFAUnsupportedError",
    "SSOError",
    "TokenRetrievalError",
    "UnknownCredentialError",
)

#: Files of botocore that parse a response. Any error in them means an unreadable response.
_READERS_OF_ANSWERS = ("eventstream.py", "handlers.py", "httpchecksum.py", "parsers.py", "utils.py")


def translate(error: Exception, settings: S3Settings, doing: str) -> Optional[MirrorError]:
    """Return the typed error for an error of the SDK or the connection; ``None`` for a defect of this collection.

    :param doing: the operation; completes "Could not ...", as in "read s3://models/ollama/models/manifests/...".
    """
    try:
        from botocore import exceptions as sdk
    except ImportError:  # so the error is not one of the SDK
        return None
    from .answers import StrangeAnswer
    from .server_errors import of_answer

    if isinstance(error, StrangeAnswer):
        return error.kind(
            f"Could not {doing}: {settings.where} {error.what}",
            remedy=error.remedy,
            status=error.status,
            endpoint=settings.where,
            bucket=settings.bucket,
        )
    if isinstance(error, sdk.ClientError):
        return of_answer(error.response, settings, doing)
    if isinstance(error, tuple(getattr(sdk, name) for name in _NO_CREDENTIALS if hasattr(sdk, name))):
        return _no_credentials(error, settings, doing)
    if _in_a_reader_of_answers(error, sdk):
        return NotS3Error(
            f"Could not {doing}: the answer of {settings.where} cannot be understood ({type(error).__name__})",
            remedy="A header or an element of the answer breaks the S3 protocol: look for a proxy that changes answers,"
            " or update the S3 server",
            endpoint=settings.where,
            bucket=settings.bucket,
        )
    if isinstance(error, (sdk.ConnectionError, sdk.HTTPClientError, sdk.IncompleteReadError)) or _is_of_the_connection(
        error
    ):
        return _of_connection(error, settings, doing)
    if isinstance(error, (sdk.BotoCoreError, ValueError)):
        return _of_settings(error, settings, doing, sdk)
    return None


class translated:  # noqa: N801 - used like a function
    """Raise typed errors in place of errors of the SDK and the connection.

    This is a class, because a generator takes three times as long, and this code runs for every received piece.
    """

    __slots__ = ("_doing", "_settings")

    def __init__(self, settings: S3Settings, doing: str) -> None:
        self._settings = settings
        self._doing = doing

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: Optional[BaseException], trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, CollectionError):
            typed = translate(error, self._settings, self._doing)
            if typed is not None:
                # A traceback shows the texts of the whole chain: leave out an error that may contain a secret.
                raise typed from (None if isinstance(typed, MirrorSettingsError) else error)


def _is_of_the_connection(error: Exception) -> bool:
    # The collection reads bodies directly from the connection, without the SDK.
    return isinstance(error, OSError) or type(error).__module__.startswith(("http.client", "urllib3."))


def _in_a_reader_of_answers(error: Exception, sdk: Any) -> bool:
    """Return whether the SDK raised an error while it parsed a response.

    :param sdk: the exceptions of botocore.
    """
    if not isinstance(error, (ValueError, TypeError, LookupError, AttributeError, OverflowError, sdk.BotoCoreError)):
        return False
    reading = False
    step = error.__traceback__
    while step is not None:
        folder, file = os.path.split(step.tb_frame.f_code.co_filename)
        if os.path.basename(folder) == "botocore":
            reading = reading or (file == "endpoint.py" and step.tb_frame.f_code.co_name == "_do_get_response")
            if reading and file in _READERS_OF_ANSWERS:
                return True
        step = step.tb_next
    return False


def _no_credentials(error: Exception, settings: S3Settings, doing: str) -> MirrorError:
    facts = getattr(error, "kwargs", {})
    named = [printable(facts[name], 80) for name in ("provider", "cred_var") if isinstance(facts.get(name), str)]
    return MirrorCredentialsError(
        f"Could not {doing}: no usable credentials were found ({', '.join([type(error).__name__, *named])})",
        remedy=f"Check {settings.keys_of}"
        if settings.access_key or settings.profile
        else "Set access_key and secret_key, or profile, or the AWS_* environment where the module runs",
        endpoint=settings.where,
    )


def _of_settings(error: Exception, settings: S3Settings, doing: str, sdk: Any) -> MirrorError:
    text = settings.concealed(str(error), _WORDS)
    if isinstance(error, sdk.ConfigParseError):
        text = f"the SDK's file {printable(getattr(error, 'kwargs', {}).get('path', ''))} cannot be read"
    elif not isinstance(error, sdk.BotoCoreError) and not text.startswith("Invalid endpoint: "):
        text = f"the SDK refuses a setting ({type(error).__name__})"
    return MirrorSettingsError(
        f"Could not {doing}: {text}",
        remedy="Check bucket, prefix, region, profile and endpoint_url, and their values in the AWS_* environment and"
        " in the SDK's files",
    )


def _of_connection(error: Exception, settings: S3Settings, doing: str) -> MirrorError:
    from ..._ollama import diagnosis

    found = diagnosis.causes(error)
    found += [inner for cause in found for inner in diagnosis.causes(_wrapped(cause)) if inner not in found]
    if any(isinstance(cause, ValueError) and _is_of_a_header(cause) for cause in found):
        return MirrorSettingsError(
            f"Could not {doing}: a header cannot be sent, because a credential or the region contains an invalid"
            " character, such as a line feed at the end",
            remedy=f"Check {settings.keys_of}, and region",
        )
    where = settings.where
    place: dict[str, Detail] = {"endpoint": where, "bucket": settings.bucket}
    tls = diagnosis.tls_failure(found)
    if tls is not None:
        return _of_tls(tls, settings, doing)
    foreign = diagnosis.no_http(found)
    if foreign is not None and diagnosis.is_tls_record(foreign):
        return _at_a_tls_port(settings, doing)
    if foreign is not None:
        return NotS3Error(
            f"Could not {doing}: the server at {where} does not speak HTTP ({type(foreign).__name__})",
            remedy="Correct host and port of endpoint_url, or write https:// if the port uses TLS",
            **place,
        )
    if where.startswith("http:") and diagnosis.was_closed(found) and diagnosis.speaks_tls(where):
        return _at_a_tls_port(settings, doing)
    why = diagnosis.reason(found)
    proxy = next((cause for cause in found if type(cause).__name__ in ("ProxyConnectionError", "ProxyError")), None)
    if proxy is not None:
        named = diagnosis.without_credentials(getattr(proxy, "kwargs", {}).get("proxy_url") or _proxy_of(where))
        return MirrorUnreachableError(
            f"Could not {doing}: the proxy {named or 'of the environment'} does not reach {where} ({why})",
            remedy="Correct HTTP_PROXY or HTTPS_PROXY where the module runs, or add the S3 server to NO_PROXY",
            **place,
        )
    return MirrorUnreachableError(
        f"Could not {doing}: {where} does not answer ({why})",
        remedy="Check endpoint_url, that the S3 server runs, and that DNS, firewall and proxy allow the connection",
        **place,
    )


def _at_a_tls_port(settings: S3Settings, doing: str) -> MirrorError:
    return NotS3Error(
        f"Could not {doing}: {settings.where} speaks TLS on this port",
        remedy="Write https:// instead of http:// in endpoint_url",
        endpoint=settings.where,
        bucket=settings.bucket,
    )


def _wrapped(error: BaseException) -> BaseException:
    """Return the original error that botocore wrapped, or the error itself."""
    inner = getattr(error, "kwargs", {}).get("error")
    return inner if isinstance(inner, BaseException) else error


def _is_of_a_header(error: ValueError) -> bool:
    return isinstance(error, UnicodeError) or str(error).startswith(("Invalid header", "Header part"))


def _proxy_of(url: str) -> Optional[str]:
    scheme = url.partition("://")[0]
    names = (f"{scheme}_proxy", f"{scheme}_proxy".upper(), "all_proxy", "ALL_PROXY")
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


def _of_tls(failure: Any, settings: S3Settings, doing: str) -> MirrorError:
    from ..._ollama.diagnosis import TlsFault

    where = settings.where
    what, remedy = {
        TlsFault.NOT_SPOKEN: (
            f"{where} does not speak TLS on this port",
            "Write http:// instead of https:// in endpoint_url, or use the server's TLS port",
        ),
        TlsFault.UNTRUSTED: (
            f"the certificate of {where} is not accepted: {failure.text}",
            "Set s3_ca_path to the authority that signed it, and use a name of the certificate in endpoint_url",
        ),
        TlsFault.CLIENT_CERTIFICATE: (
            f"{where} wants a client certificate: {failure.text}",
            "Use an address of the S3 server without client certificates: the module signs requests, and sends none",
        ),
        TlsFault.OTHER: (
            f"TLS with {where} failed: {failure.text}",
            "Check whether endpoint_url must begin with http:// or https://, and the TLS versions of the server",
        ),
    }[failure.fault]
    return MirrorTlsError(f"Could not {doing}: {what}", remedy=remedy, endpoint=where, bucket=settings.bucket)


def compressed(headers: Mapping[str, str], settings: S3Settings, doing: str) -> MirrorError:
    """Return the error for a compressed response, whose bytes are not those of the object."""
    from ..._ollama.diagnosis import answered_by

    return MirrorError(
        f"Could not {doing}: {settings.where} sent the object compressed (Content-Encoding:"
        f" {printable(headers.get('content-encoding', ''), 80)}){answered_by(headers)}",
        remedy="Turn off compression in the proxy in front of the S3 server, in nginx with gzip off, or set"
        " endpoint_url to the server itself; if the object was stored compressed, publish it again",
        endpoint=settings.where,
        bucket=settings.bucket,
    )


def no_manifest(content: bytes, settings: S3Settings, url: str) -> MirrorError:
    """Return the error for a web page instead of a manifest."""
    from ..._ollama.diagnosis import excerpt

    return NotS3Error(
        f"Could not read {url}: {settings.where} sent {excerpt(content)} instead of a manifest",
        remedy="Set endpoint_url to the S3 API of the server, which may have another port than its web page; check the"
        " rules and the log of a proxy or gateway in between",
        endpoint=settings.where,
        bucket=settings.bucket,
    )
