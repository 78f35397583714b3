# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create a bucket and upload files that it lacks: fill_bucket.py BUCKET KEY=FILE...

The endpoint and the keys come from the environment (AWS_*). Prints "changed" when there was something to do.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import boto3
import botocore.exceptions


def main() -> None:
    bucket, *pairs = sys.argv[1:]
    s3 = boto3.client("s3")
    try:
        s3.head_bucket(Bucket=bucket)
    except botocore.exceptions.ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
        s3.create_bucket(Bucket=bucket)
        print("changed")
    for pair in pairs:
        key, _mark, path = pair.partition("=")
        digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        try:
            there = s3.head_object(Bucket=bucket, Key=key)["Metadata"].get("sha256")
        except botocore.exceptions.ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                raise
            there = None
        if there != digest:
            s3.upload_file(path, bucket, key, ExtraArgs={"Metadata": {"sha256": digest}})
            print("changed")


if __name__ == "__main__":
    main()
