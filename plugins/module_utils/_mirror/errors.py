# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""What can go wrong between us and an S3 mirror. ``error_translation.py`` says which of the SDK's errors is which."""

from __future__ import annotations

from .._ollama.errors import CollectionError


class MirrorError(CollectionError):
    """Anything that an S3 server, or the way to it, may answer; the root of the errors below."""

    code = "mirror_error"


class MirrorSettingsError(MirrorError):
    """The settings cannot be right, whatever the server would say."""

    code = "mirror_settings"


class MirrorUnreachableError(MirrorError):
    """No answer, or an answer cut short, after all tries."""

    code = "mirror_unreachable"


class MirrorTlsError(MirrorError):
    """The server's certificate is not trusted, or TLS could not be agreed upon."""

    code = "mirror_tls"


class MirrorCredentialsError(MirrorError):
    """There are no credentials, or the server does not know them, or they have expired."""

    code = "mirror_credentials"


class MirrorAccessError(MirrorError):
    """The credentials are good, but not for this."""

    code = "mirror_access_denied"


class BucketMissingError(MirrorError):
    """There is no such bucket."""

    code = "mirror_bucket_missing"


class WrongRegionError(MirrorError):
    """The bucket lives in another region than the requests were signed for."""

    code = "mirror_wrong_region"


class ClockSkewError(MirrorError):
    """The clocks differ by more than a signature may (15 minutes on AWS)."""

    code = "mirror_clock_skew"


class MirrorBusyError(MirrorError):
    """The server asked to slow down, or failed by its own account, in all tries."""

    code = "mirror_busy"


class ObjectMissingError(MirrorError):
    """There is no such object."""

    code = "mirror_object_missing"


class ObjectChangedError(MirrorError):
    """An object became another one while it was being read."""

    code = "mirror_object_changed"


class ListError(MirrorError):
    """A list of objects cannot be whole, or is none."""

    code = "mirror_list"


class NotS3Error(MirrorError):
    """Something answers in place of the S3 server, such as a proxy while the server restarts."""

    code = "mirror_not_s3"


class ModelMissingError(MirrorError):
    """The mirror does not have a model."""

    code = "model_missing"


class MirrorIncompleteError(MirrorError):
    """A manifest of the mirror names a blob that the mirror lacks, or has in another size."""

    code = "mirror_incomplete"


class WrongDigestError(MirrorError):
    """Bytes do not have the digest by which they were asked for."""

    code = "digest_mismatch"


#: Errors about which another kind of request finds out nothing more.
OF_THE_CONNECTION = (
    MirrorUnreachableError,
    MirrorTlsError,
    MirrorCredentialsError,
    MirrorSettingsError,
)

#: Errors that concern every object of a bucket that could be listed; the others may concern the one that was asked for.
OF_THE_WHOLE_MIRROR = (
    MirrorUnreachableError,
    MirrorTlsError,
    MirrorCredentialsError,
    WrongRegionError,
    ClockSkewError,
)
