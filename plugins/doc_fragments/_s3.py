# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.

from __future__ import annotations


class ModuleDocFragment:
    """Options of group s3 (plugins/module_utils/_module/groups.py)."""

    DOCUMENTATION = r"""
options:
  bucket:
    description: The bucket that holds the mirror.
    type: str
    required: true
  prefix:
    description:
      - The prefix of all keys of the mirror. Below it are C(manifests/) and C(blobs/), as in a models directory of Ollama.
      - With the empty string, the mirror is at the root of the bucket.
      - Leading and trailing slashes do not count, and several slashes in a row count as one. The parts C(.) and C(..) are not allowed,
        nor are unprintable characters.
    type: str
    default: ollama/models
  endpoint_url:
    description:
      - URL of an S3 server other than AWS, for example C(https://s3.example.com:7070).
      - If not set, E(AWS_ENDPOINT_URL_S3) or E(AWS_ENDPOINT_URL) is used, else AWS.
    type: str
  region:
    description:
      - Region of the bucket.
      - If not set, E(AWS_REGION), E(AWS_DEFAULT_REGION) or the profile is used, else C(us-east-2).
    type: str
  access_key:
    description:
      - Access key. O(access_key) and O(secret_key) must be set together.
      - If neither keys nor O(profile) are set, the SDK finds credentials on the machine where the module runs, in E(AWS_ACCESS_KEY_ID) and the
        variables that belong to it, the default profile, or the role of the instance.
    type: str
  secret_key:
    description: Secret key.
    type: str
  session_token:
    description: Token of temporary credentials.
    type: str
  profile:
    description:
      - A named profile of the SDK's configuration on the machine where the module runs.
      - Excludes O(access_key).
    type: str
  addressing_style:
    description:
      - Whether the bucket's name is in the path of a URL or in the host name.
      - V(auto) means the path if O(endpoint_url) is set, else the host name.
    type: str
    choices: [auto, path, virtual]
    default: auto
  s3_validate_certs:
    description: Whether the certificate of the S3 server must be valid.
    type: bool
    default: true
  s3_ca_path:
    description:
      - File with the certificates of the authorities that may have signed the S3 server's certificate.
      - If not set, E(AWS_CA_BUNDLE) is used.
    type: path
requirements:
  - boto3 >= 1.26 where the module runs
notes:
  - Environment variables and profiles are those of the machine and the user that the module runs as, not the controller's.
"""
