"""Hostile checkpoints, configs and models, through every command: nothing of them is executed.

Each of them would write a marker file. A control shows that the marker does appear where the same
file is loaded without care.
"""

import json
import os
import pickle
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lit_mtl.artifact.folder import write_manifest
from lit_mtl.checkpoints import SPEC_KEY, manifest_of, write_checkpoint
from lit_mtl.command_table import COMMANDS as CLI_COMMANDS
from tests.conftest import ROOT, Run
from tests.runs import run_folder

COMMANDS = ("fit", "validate", "test", "predict", "embed", "export")


class Payload:
    """Writes the marker when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mknod, (str(self.marker),)


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A path, and a module `hostile_module` on the import path that would create it."""
    path = tmp_path / "marker"
    code = f"import os\nos.mknod({str(path)!r})\nclass X:\n    pass\n"
    (tmp_path / "hostile_module.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "hostile_module", raising=False)
    return path


@pytest.fixture
def trained(lit_mtl: Run, fit_arguments: list[str]) -> Path:
    assert lit_mtl("fit", *fit_arguments) == 0
    return run_folder(Path()) / "checkpoints" / "step_10.ckpt"


def through(lit_mtl: Run, command: str, fit_arguments: list[str], path: Path) -> int:
    """Give a checkpoint to a command."""
    if command in ("embed", "predict"):
        return lit_mtl(command, "--ckpt_path", path, "A sentence.")
    if command == "export":
        return lit_mtl("export", "--ckpt_path", path, "--output", "exported")
    words = fit_arguments
    if command != "fit":
        words = [word for word in words if "max_epochs" not in word]
    return lit_mtl(command, *words, "--ckpt_path", path)


def test_the_payloads_would_work(marker: Path) -> None:
    pickle.loads(pickle.dumps(Payload(marker)))
    assert marker.exists()
    marker.unlink()
    __import__("hostile_module")
    assert marker.exists()


@pytest.mark.parametrize("with_manifest", [True, False])
def test_a_hostile_pickle_is_refused_by_every_command(
    with_manifest: bool,
    lit_mtl: Run,
    fit_arguments: list[str],
    trained: Path,
    marker: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where the environment asks torch to load whatever comes."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    content = torch.load(trained, weights_only=True)
    for key in ("state_dict", "callbacks", "hostile"):
        path = trained.parent / "step_11.ckpt"
        write_checkpoint(content | {key: Payload(marker)}, path, {"best": None})
        if not with_manifest:
            manifest_of(path).unlink()
        for command in COMMANDS:
            capsys.readouterr()
            assert through(lit_mtl, command, fit_arguments, path) == 74
            assert "step_11.ckpt: not a readable checkpoint" in capsys.readouterr().err
            assert not marker.exists()


def test_names_of_classes_in_a_checkpoint_are_never_imported(
    lit_mtl: Run, fit_arguments: list[str], trained: Path, marker: Path, tmp_path: Path
) -> None:
    """`LightningCLI` would hand a checkpoint's hyper-parameters to the parser, which imports."""
    hostile = {"class_path": "hostile_module.X", "init_args": {}}
    content = torch.load(trained, weights_only=True) | {
        "hyper_parameters": {
            "_class_path": "hostile_module.X",
            "_instantiator": "hostile_module.X",
            "lr": hostile,
            "model": hostile,
        },
        "datamodule_hyper_parameters": {"_class_path": "hostile_module.X"},
        "hparams_name": "hostile_module.X",
    }
    path = tmp_path / "named.ckpt"
    write_checkpoint(content, path)
    for command in COMMANDS:
        through(lit_mtl, command, fit_arguments, path)
        assert not marker.exists()


def spoiled(content: dict[str, Any], entry: str, values: Any) -> dict[str, Any]:
    """A checkpoint with other values in its description of the model; None drops an entry."""
    spec = dict(content[SPEC_KEY])
    if values is None:
        del spec[entry]
    elif entry == "backbone_config" and isinstance(values, dict):
        spec[entry] = json.dumps(json.loads(spec[entry]) | values)
    else:
        spec[entry] = {**spec[entry], **values} if isinstance(values, dict) and values else values
    return content | {SPEC_KEY: spec}


KERNELS = [
    ("backbone_config", {"attn_implementation": "evil/kernel"}),
    ("backbone_config", {"_attn_implementation": "evil/kernel"}),
    ("backbone_config", {"attn_implementation": "flash_attention_2"}),
    ("backbone_config", {"quantization_config": {"quant_method": "fp8"}}),
]
"""For each of them transformers may fetch compiled code from the hub and load it."""

SPOILED = [
    *KERNELS,
    ("architecture", {"_target_": "hostile_module.X"}),
    ("architecture", {"embedding_dim": "big"}),
    ("backbone_config", {"model_type": "hostile_module"}),
    ("backbone_config", "{"),
    ("backbone_config", None),
    ("tasks", {"score": {"kind": "hostile_module.X"}}),
    ("tasks", {"score": {"kind": "regression", "low": 0, "high": 1, "class_path": "x"}}),
    ("tasks", None),
    ("tokenizer", {}),
    ("tokenizer", None),
    ("tokenizer", "words"),
    ("tokenizer", {"tokenizer.json": "words"}),
    ("tokenizer", {"tokenizer.json": torch.zeros(3, dtype=torch.uint8)}),
    ("format", 99),
]


@pytest.mark.slow
def test_the_description_of_the_model_has_a_closed_form(
    lit_mtl: Run,
    fit_arguments: list[str],
    trained: Path,
    marker: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What is not known in it is refused with one line, never imported, fetched or passed over."""
    content = torch.load(trained, weights_only=True)
    path = tmp_path / "spoiled.ckpt"
    for number, (entry, values) in enumerate(SPOILED):
        torch.save(spoiled(content, entry, values), path)
        for command in COMMANDS if number == 0 else ("embed", "test"):
            capsys.readouterr()
            case = (command, entry, values)
            assert through(lit_mtl, command, fit_arguments, path) == 2, case
            assert len(capsys.readouterr().err.strip().splitlines()[-1]) < 400, case
            assert not marker.exists()
    for name in ("more", next(iter(content["state_dict"]))):
        weights = {**content["state_dict"], name: torch.zeros(1)}
        torch.save(content | {"state_dict": weights}, path)
        for command in ("embed", "test"):
            capsys.readouterr()
            assert through(lit_mtl, command, fit_arguments, path) == 2
            assert name.removeprefix("_network.") in capsys.readouterr().err


@pytest.mark.parametrize(
    "config",
    [
        {"trainer": {"callbacks": [{"class_path": "hostile_module.X"}]}},
        {"trainer": {"logger": {"class_path": "hostile_module.X"}}},
        {"trainer": {"strategy": {"class_path": "hostile_module.X"}}},
        {"trainer": {"plugins": [{"class_path": "hostile_module.X"}]}},
        {"trainer": {"profiler": {"class_path": "hostile_module.X"}}},
        {"tasks": {"x": {"class_path": "hostile_module.X"}}},
        {"model": {"class_path": "hostile_module.X"}},
        {"data": {"class_path": "hostile_module.X"}},
        {"freezing": {"stages": [{"class_path": "hostile_module.X"}]}},
        {"trainer": {"callbacks": [{"class_path": "os.system"}]}},
    ],
)
@pytest.mark.parametrize(
    "command", [name for name, known in CLI_COMMANDS.items() if known.takes_config]
)
def test_a_config_can_only_name_what_is_allowed(
    config: dict[str, Any], command: str, lit_mtl: Run, marker: Path
) -> None:
    Path("hostile.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(SystemExit, match="2"):
        lit_mtl(command, "--config=hostile.yaml")
    assert not marker.exists()


@pytest.mark.parametrize("command", ["fit", "groups", "plan"])
def test_yaml_tags_make_no_objects(command: str, lit_mtl: Run, marker: Path) -> None:
    tag = f"!!python/object/apply:os.mknod ['{marker}']"
    Path("hostile.yaml").write_text(f"data: {{path: {tag}}}\n")
    with pytest.raises(SystemExit, match="2"):
        lit_mtl(command, "--config=hostile.yaml")
    assert not marker.exists()


def hostile_folder(tiny_bert: Path, folder: Path, marker: Path, kind: str) -> Path:
    """A model's folder with code of its own, or with pickled weights."""
    shutil.copytree(tiny_bert, folder)
    code = f"import os\nos.mknod({str(marker)!r})\nclass X:\n    pass\n"
    (folder / "evil.py").write_text(code)
    config = json.loads((folder / "config.json").read_text())
    mapped = dict.fromkeys(("AutoConfig", "AutoModel", "AutoTokenizer"), "evil.X")
    if kind == "pickled weights":
        (folder / "model.safetensors").unlink()
        torch.save({"x": Payload(marker)}, folder / "pytorch_model.bin")
    elif kind == "tokenizer":
        path = folder / "tokenizer_config.json"
        values = json.loads(path.read_text())
        values |= {"auto_map": {"AutoTokenizer": ["evil.X", "evil.X"]}, "tokenizer_class": "X"}
        path.write_text(json.dumps(values))
    elif kind == "kernel":
        config["attn_implementation"] = "evil/kernel"
    else:
        config["auto_map"] = mapped
        if kind == "unknown family":
            config["model_type"] = "evil"
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("command", ["fit", "groups", "plan", "check-data"])
@pytest.mark.parametrize(
    "kind", ["known family", "unknown family", "pickled weights", "tokenizer", "kernel"]
)
def test_code_and_pickles_beside_a_model_are_not_run(
    kind: str,
    command: str,
    lit_mtl: Run,
    fit_arguments: list[str],
    tiny_bert: Path,
    marker: Path,
    tmp_path: Path,
) -> None:
    folder = hostile_folder(tiny_bert, tmp_path / "model", marker, kind)
    code = lit_mtl(command, *fit_arguments, f"--model.backbone={folder}")
    assert not marker.exists()
    if kind == "unknown family" or (kind == "pickled weights" and command != "check-data"):
        assert code == 66
    if kind == "kernel":
        assert code == 2


def test_checkpoints_are_local_files(
    lit_mtl: Run, fit_arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for command in COMMANDS:
        for path in ("https://127.0.0.1:9/x.ckpt", "file:///etc/passwd", "last", "hpc"):
            assert through(lit_mtl, command, fit_arguments, Path(path)) == 66
            assert "expected a checkpoint file, found none" in capsys.readouterr().err


def test_control_characters_of_the_data_do_not_reach_the_terminal(
    lit_mtl: Run, fit_arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "evil\x1b[2J.tsv"
    table.write_text("text\tscore\nfine\t\x1b]0;owned\x07\n")
    assert lit_mtl("groups", *fit_arguments, f"--data.path={table}") == 65
    message = capsys.readouterr().err
    assert "\\x1b[2J.tsv:2" in message
    assert not set(message) & {"\x1b", "\x07"}
    table.write_text("text\tscore\n" + "".join(f"\x1b[31m film {n}\t{n % 3}\n" for n in range(40)))
    (tmp_path / "data").mkdir()
    table.rename(tmp_path / "data" / "evil\x1b[2J.tsv")
    (tmp_path / "data" / "unused\x1b[2J.csv").write_text("remark\n")
    words = [*fit_arguments, f"--data.path={tmp_path / 'data'}"]
    for command in ("groups", "check-data"):
        assert lit_mtl(command, *words) == 0
        printed = capsys.readouterr().out
        assert "\\x1b" in printed
        assert "\x1b" not in printed


def test_control_characters_of_a_sentence_are_shown_escaped(
    lit_mtl: Run, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert lit_mtl("embed", "--ckpt_path", trained, "\x1b]0;owned\x07 film") == 0
    printed = capsys.readouterr().out
    assert "\\x1b]0;owned\\x07 film" in printed
    assert not set(printed) & {"\x1b", "\x07"}


def test_one_place_alone_reads_pickles_and_no_shell_is_used() -> None:
    """`checkpoints.read_tensors` is the only caller of `torch.load`, without the unsafe mode."""
    unsafe = re.compile(
        r"torch\.load\(|pickle|shell=True|os\.system|weights_only=False|(?<!\.)\b(?:eval|exec)\("
    )
    found = [
        (path.name, line.strip())
        for path in sorted((ROOT / "src").rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if unsafe.search(line)
    ]
    load = 'return torch.load(path, map_location="cpu", weights_only=True)'
    assert found == [("checkpoints.py", load)]


def test_nothing_is_left_in_the_environment() -> None:
    assert "LIT_MTL_FIRST_PROCESS" not in os.environ


def resigned(folder: Path) -> None:
    """Give a changed folder sums that fit, as an attacker would."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    (folder / "manifest.json").unlink()
    facts = {key: manifest[key] for key in ("tokenizer", "architecture")}
    write_manifest(folder, facts)


def hostile_config(folder: Path, marker: Path) -> int:
    """Code named in the backbone's config, beside it in the folder, with sums that fit."""
    config = json.loads((folder / "config.json").read_bytes())
    config["auto_map"] = dict.fromkeys(("AutoConfig", "AutoModel"), "hostile_module.X")
    (folder / "config.json").write_text(json.dumps(config))
    shutil.copy(marker.parent / "hostile_module.py", folder)
    resigned(folder)
    return 0  # a family that is known is built without it


def hostile_tokenizer(folder: Path, marker: Path) -> int:
    """The same in the tokenizer's config."""
    config = json.loads((folder / "tokenizer_config.json").read_bytes())
    config["auto_map"] = {"AutoTokenizer": ["hostile_module.X", "hostile_module.X"]}
    config["tokenizer_class"] = "X"
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    shutil.copy(marker.parent / "hostile_module.py", folder)
    resigned(folder)
    return -1  # refused, or read as the tokenizer file that it is


def renamed_pickle(folder: Path, marker: Path) -> int:
    for name in ("model.safetensors", "heads.safetensors"):
        (folder / name).write_bytes(pickle.dumps(Payload(marker)))
    resigned(folder)
    return 74


def pickle_beside(folder: Path, marker: Path) -> int:
    """Files that libraries would pick up by their names."""
    for name in ("pytorch_model.bin", "adapter_model.bin", "training_args.bin"):
        (folder / name).write_bytes(pickle.dumps(Payload(marker)))
    (folder / "adapter_config.json").write_text('{"auto_mapping": {"base_model_class": "X"}}')
    return 0


def other_sums(folder: Path, marker: Path) -> int:
    path = folder / "tasks.json"
    path.write_text(path.read_text().replace("positive", "negative!"))
    return 74


def traversal(folder: Path, marker: Path) -> int:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["files"]["../marker.json"] = {"bytes": 1, "sha256": "0"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return 74


def link_outside(folder: Path, marker: Path) -> int:
    (folder / "tasks.json").rename(folder.parent / "tasks.json")
    (folder / "tasks.json").symlink_to(folder.parent / "tasks.json")
    return 74


HOSTILE_FOLDERS = [
    hostile_config,
    hostile_tokenizer,
    renamed_pickle,
    pickle_beside,
    other_sums,
    traversal,
    link_outside,
]


@pytest.mark.parametrize("make", HOSTILE_FOLDERS)
def test_a_hostile_export_runs_nothing(
    make: Callable[[Path, Path], int],
    lit_mtl: Run,
    exported: Path,
    marker: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = shutil.copytree(exported, tmp_path / "it")
    expected = make(folder, marker)
    for command in ("embed", "predict"):
        code = lit_mtl(command, "--ckpt_path", folder, "A sentence.")
        assert not marker.exists()
        assert code == expected or expected == -1
        message = capsys.readouterr().err
        assert "Traceback" not in message
        assert message.count("\n") == (1 if code else 0)
