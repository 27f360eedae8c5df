"""A small source distribution of the form that the rated corpora come in."""

import hashlib
import io
import tarfile
from pathlib import Path

LICENCE = b"The MIT License"


def build_archive(path: Path, texts: dict[str, bytes]) -> str:
    """Write an archive with the given ground truth files; return its SHA-256."""
    inner = _tar({f"hutto_ICWSM_2014/{name}": content for name, content in texts.items()})
    folder = "vaderSentiment-3.3.2"
    outer = {
        f"{folder}/LICENSE.txt": LICENCE,
        f"{folder}/additional_resources/hutto_ICWSM_2014.tar.gz": inner,
    }
    content = _tar(outer)
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def _tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()
