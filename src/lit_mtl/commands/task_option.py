"""The option `tasks`: what a later declaration of tasks keeps of an earlier one."""

from collections.abc import Mapping
from typing import Any

import yaml
from jsonargparse._typehints import ActionTypeHint
from jsonargparse._util import NestedArg

from lit_mtl.errors import ConfigError

_DECLARES = ("kind", "class_path")
"""What makes an entry a task by itself: a user's word for it, and that of a saved config."""


class TaskOption(ActionTypeHint):
    """Tasks that are declared with their `kind` are all tasks that there are; without, fields are changed.

    Jsonargparse merges what it reads with what it has read before, the defaults included: a task would
    keep the range of another one of the same name, and could not be of another kind. And it takes a
    mapping for all tasks, so that one field in a config file would remove the tasks that it does not name.
    """

    def _check_type(
        self, value: Any, append: bool = False, cfg: Any = None, mode: str | None = None
    ) -> Any:
        earlier = cfg.get(self.dest) if cfg else None
        if isinstance(earlier, dict):
            changed = _read(value)
            _refuse_unknown(changed, earlier)
            cfg = {self.dest: _without_redeclared(earlier, changed)}
            whole = isinstance(value, NestedArg) or any(map(_is_declared, changed.values()))
            if changed and not whole:
                value = {**earlier, **changed}
        return super()._check_type(value, append=append, cfg=cfg, mode=mode)  # type: ignore[no-untyped-call]


def _is_declared(task: Any) -> bool:
    return isinstance(task, Mapping) and any(key in task for key in _DECLARES)


def _without_redeclared(earlier: dict[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """The earlier tasks less those that are new ones in what is read now."""
    return {name: task for name, task in earlier.items() if not _is_declared(changed.get(name))}


def _refuse_unknown(changed: Mapping[str, Any], earlier: Mapping[str, Any]) -> None:
    """A misspelt name must not become a task of its own, which nothing feeds.

    Raises:
        ConfigError: with the tasks that there are.
    """
    for name, task in changed.items():
        if isinstance(task, Mapping) and not _is_declared(task) and name not in earlier:
            raise ConfigError(
                f"There is no task {name!r} to change; there are {', '.join(earlier) or 'none'}. A new one is "
                "declared with its `kind`"
            )


def _read(value: Any) -> dict[str, Any]:
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
