"""The option `tasks`: what a later declaration of a task keeps of an earlier one."""

from typing import Any

import yaml
from jsonargparse._typehints import ActionTypeHint
from jsonargparse._util import NestedArg


class TaskOption(ActionTypeHint):
    """A task that is declared with its `kind` is a new one; without, fields are changed.

    Jsonargparse merges what it reads with what it has read before, the defaults included: a task would
    keep the range of another one of the same name, and could not be of another kind.
    """

    def _check_type(
        self, value: Any, append: bool = False, cfg: Any = None, mode: str | None = None
    ) -> Any:
        earlier = cfg.get(self.dest) if cfg else None
        if isinstance(earlier, dict):
            cfg = {self.dest: _without_redeclared(earlier, value)}
        return super()._check_type(value, append=append, cfg=cfg, mode=mode)  # type: ignore[no-untyped-call]


def _without_redeclared(earlier: dict[str, Any], value: Any) -> dict[str, Any]:
    """The earlier tasks less those that are new ones in what is read now."""
    declared = _declared(value)
    return {
        name: task
        for name, task in earlier.items()
        if not isinstance(new := declared.get(name), dict) or "kind" not in new
    }


def _declared(value: Any) -> dict[str, Any]:
    """What is read as plain values: a mapping, the text of one, or a single task or field of one."""
    if isinstance(value, NestedArg):
        name, _, field = value.key.partition(".")
        return {name: {field: value.val} if field else _plain(value.val)}
    found = _plain(value)
    return found if isinstance(found, dict) else {}


def _plain(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:  # the parser says what is wrong
        return None
