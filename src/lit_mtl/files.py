"""Files that appear complete or not at all."""

import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside the final name, sync, and rename; folders on the way are made.

    A crash or a full disk leaves the old file, if there was one, and never half of the new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(partial, 0o644)  # mkstemp's files are private
        Path(partial).replace(path)
    finally:
        Path(partial).unlink(missing_ok=True)
