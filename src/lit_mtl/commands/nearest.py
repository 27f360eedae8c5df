"""The option that was perhaps meant, for one that there is not."""

import re
from difflib import get_close_matches

from lit_mtl.commands.options import SHARED, table

_UNKNOWN = re.compile(r"unrecognized arguments: (\S+)|does not accept option '([\w.]+)'")
"""What jsonargparse says of an unknown flag, and of an unknown key of a config file."""


def with_nearest(message: str) -> str:
    """A refusal of an option of a training run, with the one whose name is the most like it.

    Args:
        message: of jsonargparse.
    """
    found = _UNKNOWN.search(message)
    if found is None:
        return message
    flag = (found[1] or f"--{found[2]}").partition("=")[0]
    known = [option.name for option in table()[SHARED]]
    longer = [name for name in known if name.startswith(flag)]
    likely = longer if len(longer) == 1 else get_close_matches(flag, known, n=1)
    if not likely:
        return message
    return f"{message}\nperhaps {likely[0] if found[1] else likely[0][2:]} was meant"
