"""The commands by what one wants to do. It imports nothing, so that `--help` answers at once."""

from dataclasses import dataclass

PROG = "python -m lit_mtl"

HELP_FLAGS = ("-h", "--help")

TRAINER_HELP = "--trainer.help"
"""Asks for all flags of Lightning's Trainer."""


@dataclass(frozen=True)
class Command:
    """One subcommand.

    Args:
        purpose: what one wants to do with it: its group in `--help`.
        summary: its line there.
        example: what may stand behind its name. Run one after the other, the examples of all commands
            lead from a folder of files to a model in use; a test does so.
        runner: module that holds its function `run(name, args)`.
    """

    purpose: str
    summary: str
    example: str
    runner: str

    @property
    def takes_trainer_flags(self) -> bool:
        """Whether `--trainer.…` may be given."""
        return self.takes_config or self.runner == _INFER

    @property
    def takes_config(self) -> bool:
        """Whether it is configured like a training run."""
        return self.runner in (_TRAINER, _COMPARE)


_COMPARE = "lit_mtl.commands.compare"
_INFER = "lit_mtl.commands.infer"
_TRAINER = "lit_mtl.commands.train"
_CONFIG = "--config my_folder.yaml"
_BEST = "--ckpt_path lightning_logs/runs/version_0/checkpoints/best.ckpt"

COMMANDS = {
    "init": Command(
        "look at your data",
        "look at files and write a config to begin with",
        "my_folder",
        "lit_mtl.commands.init",
    ),
    "check-data": Command(
        "look at your data",
        "report on the data before any training, as text or --json",
        _CONFIG,
        _TRAINER,
    ),
    "plan": Command(
        "train",
        "show a freezing plan: stages, rates, cost; or --generate gradual",
        _CONFIG,
        _TRAINER,
    ),
    "groups": Command(
        "train", "show data and parameter groups without training", _CONFIG, _TRAINER
    ),
    "fit": Command(
        "train", "train on a config, then validate and test the best checkpoint", _CONFIG, _TRAINER
    ),
    "validate": Command(
        "measure", "measure a checkpoint on the validation split", f"{_CONFIG} {_BEST}", _TRAINER
    ),
    "test": Command(
        "measure", "measure a checkpoint on the test split", f"{_CONFIG} {_BEST}", _TRAINER
    ),
    "compare": Command(
        "measure",
        "does sharing help: all tasks together, each alone, encoder frozen",
        f"{_CONFIG} --seeds 0",
        _COMPARE,
    ),
    "export": Command(
        "use a model",
        "write a checkpoint as a folder for sentence-transformers and ONNX",
        f"{_BEST} --output my_encoder",
        "lit_mtl.commands.export",
    ),
    "predict": Command(
        "use a model",
        "write each task's prediction for sentences",
        '--ckpt_path my_encoder "A fine film."',
        _INFER,
    ),
    "embed": Command(
        "use a model",
        "show or save the embeddings of sentences",
        "--ckpt_path my_encoder --input my_folder/positive.txt --output embeddings.npy",
        _INFER,
    ),
    "completion": Command(
        "your shell",
        "print what completes commands and options in bash, zsh or fish",
        "bash",
        "lit_mtl.commands.completion",
    ),
}
