from pathlib import Path

import pytest

from lit_mtl.commands.train import configured
from lit_mtl.tasks import Classification, Multilabel, Ordinal, Regression, Task
from tests.conftest import EXAMPLE_FILES, Run

LEVELS = "tasks: {score: {kind: ordinal, low: 1, high: 5}}"

THREE = "tasks: {a: {kind: multilabel}, b: {kind: regression}, c: {kind: ordinal, low: 1, high: 5}}"


@pytest.mark.parametrize(
    ("files", "words", "tasks"),
    [
        ([LEVELS], [], {"score": Ordinal(low=1, high=5)}),
        (["tasks: {sentiment: {kind: multilabel}}"], [], {"sentiment": Multilabel()}),
        # nothing of the default's range
        (["tasks: {score: {kind: regression}}"], [], {"score": Regression()}),
        # without a kind a field of the default is changed
        (
            ["tasks: {score: {weight: 2}, sentiment: {}}"],
            [],
            {"score": Regression(low=-4, high=4, weight=2.0), "sentiment": Classification()},
        ),
        (
            [LEVELS, "tasks: {score: {kind: regression, weight: 2}}"],
            [],
            {"score": Regression(weight=2)},
        ),
        ([LEVELS, "tasks: {score: {high: 7}}"], [], {"score": Ordinal(low=1, high=7)}),
        # nor does it remove the tasks that it does not name
        (
            ["tasks: {score: {high: 9}}"],
            [],
            {"sentiment": Classification(), "score": Regression(low=-4, high=9)},
        ),
        (
            [THREE, "tasks: {b: {weight: 3}}"],
            ["--tasks", "{c: {low: 0}, a: {weight: 2}}"],
            {"a": Multilabel(weight=2), "b": Regression(weight=3), "c": Ordinal(low=0, high=5)},
        ),
        # what is declared is all there is; of what is named beside it fields are changed
        (
            [THREE],
            ["--tasks", "{b: {low: 0}, d: {kind: regression}}"],
            {"b": Regression(low=0), "d": Regression()},
        ),
        ([LEVELS], ["--tasks", "{score: {kind: regression}}"], {"score": Regression()}),
        ([LEVELS], ["--tasks.score.high=4"], {"score": Ordinal(low=1, high=4)}),
        ([LEVELS], ["--tasks.score", "{kind: regression}"], {"score": Regression()}),
        (
            [],
            ["--tasks.score.kind=ordinal", "--tasks.score.low=1"],
            {"sentiment": Classification(), "score": Ordinal(low=1)},
        ),
        (
            [LEVELS],
            ["--tasks.more.kind=regression"],
            {"score": Ordinal(low=1, high=5), "more": Regression()},
        ),
    ],
)
def test_a_task_with_a_kind_is_a_new_one_and_without_fields_are_changed(
    files: list[str], words: list[str], tasks: dict[str, Task], tiny_bert: Path, tmp_path: Path
) -> None:
    configs = []
    for number, text in enumerate(files):
        path = tmp_path / f"{number}.yaml"
        path.write_text(text)
        configs.append(f"--config={path}")
    always = [f"--data.path={EXAMPLE_FILES}", f"--model.backbone={tiny_bert}"]
    found = configured("plan", [*always, *configs, *words]).datamodule.declared_tasks
    assert found == tasks


@pytest.mark.parametrize(
    "words",
    [
        ["--tasks.scor.low=1"],
        ["--tasks.scor", "{low: 1}"],
        ["--tasks", "{scor: {low: 1}}"],
        ["--tasks", "{sentiment: {kind: classification}, scor: {low: 1}}"],
        ["--config=tasks.yaml"],
    ],
)
def test_a_misspelt_task_is_refused_with_those_that_there_are(
    words: list[str], lit_mtl: Run, capsys: pytest.CaptureFixture[str], tiny_bert: Path
) -> None:
    Path("tasks.yaml").write_text("tasks: {scor: {}}")
    source = f"{{mine: {{path: {EXAMPLE_FILES}, tasks: {{sentiment: label, score: score}}}}}}"
    given = ["--model.backbone", tiny_bert, "--data.sources", source]
    assert lit_mtl("groups", *given, *words) == 2
    message = "There is no task 'scor' to change; there are sentiment, score. A new one is"
    assert message in capsys.readouterr().err


def test_what_init_writes_runs_whatever_its_columns_are_called(
    tiny_bert: Path, tmp_path: Path, lit_mtl: Run
) -> None:
    rows = [f"a film number {n},{n % 5 + 1},{n / 30 - 1:.3f}" for n in range(60)]
    Path("films.csv").write_text("\n".join(["text,score,sentiment", *rows]) + "\n")
    assert lit_mtl("init", "films.csv", "--output", "own.yaml", "--backbone", tiny_bert) == 0
    text = Path("own.yaml").read_text()
    assert "score: {kind: ordinal" in text
    assert "sentiment: {kind: regression" in text
    assert lit_mtl("check-data", "--config", "own.yaml") == 0
