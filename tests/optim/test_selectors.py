import pytest

from lit_mtl.errors import ConfigError
from lit_mtl.optim.param_groups import Place
from lit_mtl.optim.selectors import depth_of_backbone, select

LAYERS = 12
PLACES = {
    "emb.weight": Place("embeddings", LAYERS + 1),
    **{
        f"layer.{n}.{kind}": Place(f"layer_{n}", LAYERS - n) for n in range(LAYERS) for kind in "wb"
    },
    "projection.w": Place("projection", 0),
    "heads.score.w": Place("heads.score", 0),
    "heads.scores.w": Place("heads.scores", 0),
}


def layers(*numbers: int) -> set[str]:
    return {f"layer.{number}.{kind}" for number in numbers for kind in "wb"}


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("all", set(PLACES)),
        ("backbone", {"emb.weight"} | layers(*range(12))),
        ("backbone.embeddings", {"emb.weight"}),
        ("backbone.layers", layers(*range(12))),
        ("backbone.layers[0]", layers(0)),
        ("backbone.layers[1]", layers(1)),
        ("backbone.layers[-1]", layers(11)),
        ("backbone.layers[:8]", layers(*range(8))),
        ("backbone.layers[8:]", layers(8, 9, 10, 11)),
        ("backbone.layers[-2:]", layers(10, 11)),
        ("backbone.layers[2:4]", layers(2, 3)),
        ("backbone.layers[:2/3]", layers(*range(8))),
        ("backbone.layers[1/2:3/4]", layers(6, 7, 8)),
        ("projection", {"projection.w"}),
        ("heads", {"heads.score.w", "heads.scores.w"}),
        ("heads.score", {"heads.score.w"}),
        (r"re:layer\.1\d*\.b", {"layer.1.b", "layer.10.b", "layer.11.b"}),
    ],
)
def test_a_selector_selects_what_it_says(selector: str, expected: set[str]) -> None:
    assert select([selector], PLACES) == expected


def test_several_selectors_add_up_and_none_selects_nothing() -> None:
    assert select(["projection", "backbone.layers[0]"], PLACES) == {"projection.w"} | layers(0)
    assert select([], PLACES) == set()


@pytest.mark.parametrize("depth", range(1, 13))
def test_a_share_is_rounded_to_whole_layers(depth: int) -> None:
    places = {f"l.{n}": Place(f"layer_{n}", depth - n) for n in range(depth)}
    assert depth_of_backbone(places) == depth
    for share in (2 / 3, 1 / 12, 11 / 12):
        twelfths, count = round(share * 12), round(share * depth)
        lowest, highest = (
            {f"l.{n}" for n in numbers} for numbers in (range(count), range(depth - count, depth))
        )
        assert select([f"backbone.layers[:{twelfths}/12]"], places) == lowest
        assert select([f"backbone.layers[-{twelfths}/12:]"], places) == highest
        assert select([f"backbone.layers[:-{twelfths}/12]"], places) == set(places) - highest


@pytest.mark.parametrize(
    "selector",
    [
        "query",
        "backbone.layer[:8]",
        "heads.mood",
        "backbone.layers[12]",
        "backbone.layers[5:5]",
        "backbone.layers[1/2:1/2]",
        "backbone.layers[:0/3]",
        "re:xyz",
    ],
)
def test_what_selects_nothing_is_refused_with_what_exists(selector: str) -> None:
    with pytest.raises(
        ConfigError, match=r"nothing\. There are .*layers\[11\].*heads\.score, heads"
    ):
        select([selector], PLACES)


@pytest.mark.parametrize(
    "selector",
    ["backbone.layers[a]", "backbone.layers[1:2:3]", "backbone.layers[:1/0]", "re:("],
)
def test_what_cannot_be_read_is_refused(selector: str) -> None:
    with pytest.raises(ConfigError, match="Expected a"):
        select([selector], PLACES)


@pytest.mark.parametrize("index", [":13", "-13:", "13:", "2:-13", ":3/2"])
def test_a_range_beyond_the_backbone_is_refused_with_its_depth(index: str) -> None:
    with pytest.raises(ConfigError, match="beyond the backbone, which has 12 layers"):
        select([f"backbone.layers[{index}]"], PLACES)


def test_a_range_may_end_where_the_backbone_does() -> None:
    assert select(["backbone.layers[:12]"], PLACES) == select(["backbone.layers[-12:]"], PLACES)
