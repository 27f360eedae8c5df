from pathlib import Path

import pytest

from lit_mtl.commands.nearest import with_nearest
from tests.conftest import Run

CASES = [
    (["--model.lrr", "1"], "unrecognized arguments: --model.lrr 1\nperhaps --model.lr was meant"),
    (["--data.batchsize=8"], "--data.batchsize=8\nperhaps --data.batch_size was meant"),
    # no abbreviation of it: another option may begin so later
    (["--model.emb=64"], "--model.emb=64\nperhaps --model.embedding_dim was meant"),
    (["--config=wrong.yaml"], "'model.poolin'\nperhaps model.pooling was meant"),
    (["--xyzzy"], "error: unrecognized arguments: --xyzzy"),
]


@pytest.mark.parametrize(("words", "expected"), CASES, ids=lambda case: case[0])
def test_an_unknown_option_is_refused_with_the_nearest_one(
    words: list[str], expected: str, lit_mtl: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("wrong.yaml").write_text("model: {poolin: cls}\n")
    with pytest.raises(SystemExit) as ended:
        lit_mtl("fit", *words)
    assert ended.value.code == 2
    assert capsys.readouterr().err.strip().endswith(expected)


def test_other_refusals_stay_as_they_are() -> None:
    assert with_nearest("expected a number for --model.lrr") == "expected a number for --model.lrr"
