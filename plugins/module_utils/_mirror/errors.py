# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The errors of an S3 mirror. ``s3/error_translation.py`` raises them in place of the SDK's errors."""

from __future__ import annotations

from .._ollama.errors import CollectionError


class MirrorError(CollectionError):
    """A failure of an S3 server or of the connection to it; the base of the errors below."""

    code = "mirror_error"


class MirrorSettingsError(MirrorError):
    """The settings are invalid, independent of the server."""

    code = "mirror_settings"


class MirrorUnreachableError(MirrorError):
    """No response, or only a part of one, on every attempt."""

    code = "mirror_unreachable"


class MirrorTlsError(MirrorError):
    """The server's certificate is not trusted, or the TLS handshake failed."""

    code = "mirror_tls"


class MirrorCredentialsError(MirrorError):
    """The credentials are missing, unknown to the server, or expired."""

    code = "mirror_credentials"


class MirrorAccessError(MirrorError):
    """The credentials do not allow the operation."""

    code = "mirror_access_denied"


class BucketMissingError(MirrorError):
    """The bucket does not exist."""

    code = "mirror_bucket_missing"


class WrongRegionError(MirrorError):
    """The requests were signed for another region than the bucket's."""

    code = "mirror_wrong_region"


class ClockSkewError(MirrorError):
    """The clocks differ by more than a signature may (15 minutes on AWS)."""

    code = "mirror_clock_skew"


class MirrorBusyError(MirrorError):
    """The server asked to slow down, or reported an internal failure, on every attempt."""

    code = "mirror_busy"


class ObjectMissingError(MirrorError):
    """The object does not exist."""

    code = "mirror_object_missing"


class ObjectChangedError(MirrorError):
    """An object was replaced during the read."""

    code = "mirror_object_changed"


class ListError(MirrorError):
    """A list of objects is incomplete or invalid."""

    code = "mirror_list"


class NotS3Error(MirrorError):
    """Another server answers in place of the S3 server, such as a proxy while the S3 server restarts."""

    code = "mirror_not_s3"


class ModelMissingError(MirrorError):
    """The mirror does not have a model."""

    code = "model_missing"


class MirrorIncompleteError(MirrorError):
    """A manifest names a blob that the mirror does not have, or has in another size."""

    code = "mirror_incomplete"


class WrongDigestError(MirrorError):
    """Received bytes do not have the expected digest."""

    code = "digest_mismatch"


#: Errors for which another kind of request would fail in the same way.
OF_THE_CONNECTION = (
    MirrorUnreachableError,
    MirrorTlsError,
    MirrorCredentialsError,
    MirrorSettingsError,
)

#: Errors that concern every object of a bucket; all others may concern a single object.
OF_THE_WHOLE_MIRROR = (
    MirrorUnreachableError,
    MirrorTlsError,
    MirrorCredentialsError,
    WrongRegionError,
    ClockSkewError,
)
