"""Files from the web: continued where they stopped, verified, never written over."""

import hashlib
import http.client
import os
import shutil
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from lightning.pytorch.utilities import rank_zero_info

from lightning_flows.core.errors import DataError

__all__ = ["fetch", "md5_of", "unpack"]

_TIMEOUT = 60  # seconds without a byte


def fetch(url: str, path: Path, md5: str) -> None:
    """Download a file unless it is there.

    What has arrived stays in `<path>.part` when the connection breaks, and the next call asks for
    the rest alone. The file gets its name once it is whole and verified.

    Args:
        url: where it is.
        path: where it goes; an existing file is left alone.
        md5: its MD5 in hexadecimal digits.

    Raises:
        DataError: no connection, a broken one, or another MD5.
    """
    if path.exists():
        return
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _continue(url, part)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise DataError(
            f"{path} could not be downloaded ({reason}): go online and try again, which goes on "
            f"where it stopped, or put a copy of {url} there."
        ) from error
    came = md5_of(part)
    if came != md5:
        part.unlink()
        raise DataError(
            f"What came from {url} has MD5 {came}; expected is {md5}: it was thrown away, try "
            "again."
        )
    os.replace(part, path)


def md5_of(path: Path) -> str:
    """MD5 of a file in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def unpack(archive: Path, names: Sequence[str], folder: Path) -> None:
    """Take single files out of a .tar.gz archive; files that exist are left alone.

    Args:
        archive: the archive.
        names: the last parts of the paths of the files in it, "power/data.npy" for example.
        folder: where they go, under those names.

    Raises:
        DataError: a damaged archive, or one that lacks a file.
    """
    missing = {name for name in names if not (folder / name).exists()}
    try:
        with tarfile.open(archive, "r:gz") as members:
            for member in members:
                name = next((name for name in missing if _ends_with(member.name, name)), None)
                source = None if name is None else members.extractfile(member)
                if name is None or source is None:
                    continue
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                part = target.with_name(target.name + ".part")
                with part.open("wb") as stream:
                    shutil.copyfileobj(source, stream, 1 << 20)
                os.replace(part, target)
                missing.remove(name)
                if not missing:
                    return
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise DataError(f"{archive} cannot be unpacked: {error}.") from error
    if missing:
        raise DataError(f"{archive} holds no {' and no '.join(sorted(missing))}.")


def _ends_with(path: str, name: str) -> bool:
    return path == name or path.endswith("/" + name)


def _continue(url: str, part: Path) -> None:
    """Append to a part of a file what it lacks."""
    done = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "lightning-flows"} | ({"Range": f"bytes={done}-"} if done else {})
    try:
        response = urlopen(Request(url, headers=headers), timeout=_TIMEOUT)
    except HTTPError as error:
        error.close()
        if done and error.code == 416:  # there is nothing after what has arrived
            return
        raise
    with response:
        continues = response.status == 206
        if continues and not response.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
            raise OSError("the server sent another range than was asked for")
        start = done if continues else 0
        length = response.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        megabytes = "" if total is None else f", {total / 1e6:.0f} MB"
        rank_zero_info(f"{'Continuing' if start else 'Starting'} the download of {url}{megabytes}")
        with part.open("ab" if continues else "wb") as stream:
            shutil.copyfileobj(response, stream, 1 << 20)
    arrived = part.stat().st_size
    if total is not None and arrived < total:
        raise OSError(f"the connection broke after {arrived} of {total} bytes")
