"""A module seen with some of its parts exchanged, without touching the module itself."""

import copy
from collections.abc import Mapping
from typing import Any, TypeVar

from torch import Tensor, nn

AnyModule = TypeVar("AnyModule", bound=nn.Module)


class Given(nn.Module):
    """Gives one tensor, whatever it is called with; stands where that tensor is computed otherwise.

    Args:
        value: the tensor.
    """

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = value

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The tensor."""
        return self.value


def view(module: AnyModule, parts: Mapping[str, nn.Module | None]) -> AnyModule:
    """A module with other parts in some places.

    All else is shared with the module, which does not change and does not know of it: parameters,
    modes, hooks, and what was compiled. So it is made anew for each use.

    Args:
        module: where the parts are.
        parts: what stands in their places, by dotted name. None: nothing does.
    """
    seen = copy.copy(module)
    children: dict[str, nn.Module | None] = dict(module._modules)
    deeper: dict[str, dict[str, nn.Module | None]] = {}
    for path, part in parts.items():
        name, _, rest = path.partition(".")
        if rest:
            deeper.setdefault(name, {})[rest] = part
        else:
            children[name] = part
    for name, inner in deeper.items():
        children[name] = view(module.get_submodule(name), inner)
    seen.__dict__["_modules"] = children
    return seen
