"""Names for parts of the network, as a freezing plan uses them.

| selector | selects |
|---|---|
| `all` | every parameter |
| `backbone` | embeddings and layers |
| `backbone.embeddings` | everything below the first layer |
| `backbone.layers` | all layers |
| `backbone.layers[3]`, `backbone.layers[-1]` | one layer, counted from the bottom or the top |
| `backbone.layers[:8]`, `backbone.layers[-2:]` | several, as in Python, but not beyond what there is |
| `backbone.layers[:2/3]` | a share of them, rounded to whole layers, and so maybe to none |
| `projection`, `heads`, `heads.score` | the projection, all heads, one head |
| `re:…` | parameters in whose name the regular expression is found |
"""

import re
from collections.abc import Iterable, Mapping
from fractions import Fraction

from lit_mtl.errors import ConfigError
from lit_mtl.optim.param_groups import Place

_LAYERS = re.compile(r"backbone\.layers(?:\[(?P<index>[^\]]*)\])?")
_LAYER_PART = re.compile(r"layer_(\d+)")


def select(selectors: Iterable[str], places: Mapping[str, Place]) -> set[str]:
    """Names of the parameters that any of the selectors selects.

    Args:
        selectors: see the table above.
        places: the place of each parameter, by name.

    Raises:
        ConfigError: for a selector that selects nothing, with what exists. A share that is above 0
            and rounds to no layer is none: a plan in shares fits any depth.
    """
    return {name for selector in selectors for name in _select(selector, places)}


def depth_of_backbone(places: Mapping[str, Place]) -> int:
    """Number of layers, L."""
    return len({place.part for place in places.values() if _LAYER_PART.fullmatch(place.part)})


def _select(selector: str, places: Mapping[str, Place]) -> set[str]:
    if selector == "all":
        return set(places)
    if selector.startswith("re:"):
        found = _by_pattern(selector, places)
    else:
        parts = _parts(selector, places)
        found = {name for name, place in places.items() if place.part in parts}
    if not found and not _is_small_share(selector):
        raise ConfigError(f"The selector {selector!r} selects nothing. {_what_exists(places)}")
    return found


def _by_pattern(selector: str, places: Mapping[str, Place]) -> set[str]:
    try:
        pattern = re.compile(selector.removeprefix("re:"))
    except re.error as error:
        raise ConfigError(f"Expected a regular expression in {selector!r}: {error}") from error
    return {name for name in places if pattern.search(name)}


def _parts(selector: str, places: Mapping[str, Place]) -> set[str]:
    layers = [f"layer_{index}" for index in range(depth_of_backbone(places))]
    heads = {place.part for place in places.values() if place.part.startswith("heads.")}
    named = {
        "backbone": {"embeddings", *layers},
        "backbone.embeddings": {"embeddings"},
        "projection": {"projection"},
        "heads": heads,
    }
    if selector in named:
        return named[selector]
    if selector in heads:
        return {selector}
    match = _LAYERS.fullmatch(selector)
    if match is None:
        return set()
    return set(layers if match["index"] is None else _slice(selector, match["index"], layers))


def _slice(selector: str, index: str, layers: list[str]) -> list[str]:
    try:
        if ":" not in index:
            return [layers[int(index)]]
        low, high = (_bound(part.strip(), len(layers)) for part in index.split(":"))
    except IndexError:
        return []
    except (ValueError, ZeroDivisionError) as error:
        raise ConfigError(
            f"Expected an index, a range or a share such as [3], [:8] or [:2/3] in {selector!r}"
        ) from error
    if any(abs(bound or 0) > len(layers) for bound in (low, high)):
        raise ConfigError(
            f"The selector {selector!r} goes beyond the backbone, which has {len(layers)} layers. A share such "
            "as backbone.layers[:2/3] fits any depth"
        )
    return layers[low:high]


def _is_small_share(selector: str) -> bool:
    match = _LAYERS.fullmatch(selector)
    index = (match["index"] if match else None) or ""
    low, _, high = index.partition(":")
    ends = [Fraction(text.strip() or end) for text, end in ((low, 0), (high, 1))]
    low_share, high_share = (1 + end if end < 0 else end for end in ends)
    return "/" in index and low_share < high_share


def _bound(text: str, count: int) -> int | None:
    if not text:
        return None
    if "/" not in text:
        return int(text)
    share = round(abs(Fraction(text)) * count)
    # counted from the end as a number of layers: minus none would be the beginning
    return count - share if text.startswith("-") else share


def _what_exists(places: Mapping[str, Place]) -> str:
    heads = sorted({p.part for p in places.values() if p.part.startswith("heads.")})
    last = depth_of_backbone(places) - 1
    return (
        f"There are backbone, backbone.embeddings, backbone.layers[0] to backbone.layers[{last}], "
        f"projection, heads, {', '.join(heads)}, all, and re:<regular expression>"
    )
