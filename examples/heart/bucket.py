"""Fills the example's bucket and fetches its result: `uv run --with minio python bucket.py put|get [FOLDER]`.

ENDPOINT, ACCESS_KEY and SECRET_KEY say where, and by which right.
"""

# ruff: noqa: T201 - it talks to a person

import os
import sys
import urllib.parse
import zipfile
from pathlib import Path

from minio import Minio

BUCKET = "heart"
DATA = "heart/unlabeled"
RESULT = "scores/scores.zip"


def put(client: Minio, folder: Path) -> None:
    """The CSV files of the folder go into the bucket; an earlier result goes away."""
    if not client.bucket_exists(bucket_name=BUCKET):
        client.make_bucket(bucket_name=BUCKET)
    client.remove_object(bucket_name=BUCKET, object_name=RESULT)
    for path in sorted(folder.glob("*.csv")):
        client.fput_object(bucket_name=BUCKET, object_name=f"{DATA}/{path.name}", file_path=str(path))
        print(f"{path.stat().st_size:8} bytes  s3://{BUCKET}/{DATA}/{path.name}")


def get(client: Minio, folder: Path) -> None:
    """The zip of the result goes into the folder, and is listed."""
    target = folder / Path(RESULT).name
    client.fget_object(bucket_name=BUCKET, object_name=RESULT, file_path=str(target))
    with zipfile.ZipFile(target) as archive:
        broken = archive.testzip()
        if broken:
            sys.exit(f"{target}: {broken} is damaged")
        for entry in archive.infolist():
            print(f"{entry.file_size:8} bytes  {entry.filename}")
    print(f"{target.stat().st_size:8} bytes  s3://{BUCKET}/{RESULT}")


def main() -> None:
    """Entry point."""
    command, *folder = sys.argv[1:]
    address = urllib.parse.urlsplit(os.environ["ENDPOINT"])
    client = Minio(
        address.netloc,
        access_key=os.environ["ACCESS_KEY"],
        secret_key=os.environ["SECRET_KEY"],
        secure=address.scheme == "https",
    )
    {"put": put, "get": get}[command](client, Path(*folder))


if __name__ == "__main__":
    main()
