"""Ways to get a score and a label for each sentence of the four rated corpora, for `human_ratings.py`."""

import argparse
import csv
import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
import yaml

from lit_mtl.artifact.base_alignment import LEAST_SENTENCES, align_to_base
from lit_mtl.artifact.base_share import towards_base
from lit_mtl.artifact.bundle import TrainedModel, load_checkpoint
from lit_mtl.callbacks.pair_similarity import pairs_spearman
from lit_mtl.checkpoints import SPEC_KEY, read_checkpoint
from lit_mtl.commands.lightning_cli import LitMTLCLI
from lit_mtl.commands.results import RESULTS_FILE
from lit_mtl.commands.train import configured, read_data
from lit_mtl.data.corpus import Corpus
from lit_mtl.data.scored_pairs import read_scored_pairs
from lit_mtl.data.splits import SPLITS, Split
from lit_mtl.optim.linear_fit import fit_linear
from lit_mtl.tasks.classification import Classification
from training_sides import Job, Prepared, predicted, trainer_best

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs" / "human_ratings.yaml"

TOGETHER = "together"
RATINGS = "rating distributions"
INGREDIENTS: dict[str, list[str]] = {
    TOGETHER: [],
    f"together + {RATINGS}": [],
    "together + learned weights": ["--model.loss_balancing=uncertainty"],
    "together + UPGrad": ["--model.loss_balancing=upgrad"],
    "together + averaging": ["--averaging.decay=0.995"],
    "together + fitted start": ["--projection_init.method=pca", "--head_init.method=fitted"],
    "together + even mixing": ["--data.mixing=temperature", "--data.mixing_temperature=2"],
    "together + twice the rate": ["--model.lr=2e-4"],
    "together + protection 1": ["--protection.weight=1"],
    "together + protection 8": ["--protection.weight=8"],
}
RECIPE = f"together + {RATINGS}"
"""The config as it is."""

PROTECTED = {
    f"{RECIPE} + protection {weight:g}": [f"--protection.weight={weight:g}"]
    for weight in (0.25, 0.5, 1.0, 4.0)
}

LONGER = {f"{RECIPE} + twice the epochs": ["--trainer.max_epochs=6"]}

TOGETHER_WITH = {**INGREDIENTS, **PROTECTED, **LONGER}
"""Options of `fit` by side."""

SHARED = {
    f"{side} + base share {share:g}": (side, share)
    for side, share in ((f"{RECIPE} + protection 0.25", 0.1),)
}
"""Another side, and the share of the base's weights in its backbone."""

ALIGNED_ON = 5000
"""Training sentences, drawn once, on which the embedding is aligned to the base."""

TRAINER = "Trainer, each alone"
TRAINER_LONGER = "Trainer, each alone, twice the epochs"
FROZEN = "frozen, linear"
VADER = "VADER"

_BEST = Path("checkpoints", "best.ckpt")

Found = dict[str, dict[str, Any]]
"""For each corpus: `seconds`, the `scores` of its test sentences, and `positive` for those with a label."""


class Rated:
    """The corpora as the config splits them."""

    def __init__(self, options: Sequence[str]) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            config = write_settings(Path(scratch) / "settings.yaml", TOGETHER)
            self.cli: LitMTLCLI = configured("fit", [f"--config={config}", *options])
        read_data(self.cli)
        corpus = self.cli.datamodule.corpus
        assert corpus is not None
        self.corpus: Corpus = corpus
        self.names = list(dict.fromkeys(name.rpartition("_")[0] for name in corpus.tasks))

    def rows(self, name: str, split: Split) -> Iterator[dict[str, Any]]:
        """The sentences of a corpus: number in the split, text, score, and 1 for positive, 0 or None."""
        dataset = self.corpus.splits[split].with_format(None)
        columns = (
            dataset["text"],
            dataset[f"target.{name}_score"],
            dataset[f"target.{name}_sentiment"],
        )
        for number, (text, score, label) in enumerate(zip(*columns, strict=True)):
            if score is not None:
                yield {"number": number, "text": text, "score": score, "positive": label}

    def targets(self) -> Found:
        """What people say."""
        return {
            name: {
                "seconds": 0.0,
                **self._agreement(name),
                "scores": [row["score"] for row in self.rows(name, "test")],
                "positive": [
                    row["positive"]
                    for row in self.rows(name, "test")
                    if row["positive"] is not None
                ],
            }
            for name in self.names
        }

    def _agreement(self, name: str) -> dict[str, float]:
        """How well one person, and anything at all, can agree with the mean of the test sentences' ratings.

        `one person` is r of one rating of each sentence with the mean of its others, the mean over as
        many ratings as every sentence has. `ceiling` is the root of the reliability of the mean: r of the
        means of two halves, 100 times drawn, by Spearman and Brown for all ratings.
        """
        source = self.cli.config.data.sources[name]
        with Path(source.path or f"data/{name}", "scores.tsv").open(encoding="utf-8") as file:
            rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            ratings = {
                row["text"]: [int(each) for each in row["ratings"].split("|") if each]
                for row in rows
            }
        known = [ratings[row["text"]] for row in self.rows(name, "test") if ratings[row["text"]]]
        singles, drawn = [], np.random.default_rng(0)
        for place in range(min(map(len, known))):
            others = [fmean(each[:place] + each[place + 1 :]) for each in known]
            singles.append(float(np.corrcoef([each[place] for each in known], others)[0, 1]))
        halves = []
        for _ in range(100):
            mixed = [drawn.permutation(each) for each in known]
            means = [(each[::2].mean(), each[1::2].mean()) for each in mixed]
            halves.append(float(np.corrcoef(np.array(means).T)[0, 1]))
        agreement = fmean(halves)
        return {"one person": fmean(singles), "ceiling": math.sqrt(2 * agreement / (1 + agreement))}


def settings() -> dict[str, Any]:
    """What must be the same for two recorded runs to be compared."""
    config = yaml.safe_load(CONFIG.read_text())
    return {
        "backbone": config["model"]["backbone"],
        "lr": config["model"]["lr"],
        "batch_size": config["data"]["batch_size"],
        "epochs": config["trainer"]["max_epochs"],
    }


def _labelled(rows: Sequence[dict[str, Any]], values: Iterable[Any]) -> list[Any]:
    """Values of the sentences that have a label."""
    pairs = zip(rows, values, strict=True)
    return [value for row, value in pairs if row["positive"] is not None]


def vader(rated: Rated, options: argparse.Namespace, seed: int) -> Found:
    """The rules of Hutto & Gilbert (2014); needs `pip install vaderSentiment==3.3.2`."""
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyzer = SentimentIntensityAnalyzer()
    found = {}
    for name in rated.names:
        begun = time.perf_counter()
        rows = list(rated.rows(name, "test"))
        scores = [analyzer.polarity_scores(row["text"])["compound"] for row in rows]
        positive = _labelled(rows, (int(score > 0) for score in scores))
        seconds = time.perf_counter() - begun
        found[name] = {"seconds": seconds, "scores": scores, "positive": positive}
    return found


def together(rated: Rated, options: argparse.Namespace, seed: int) -> Found:
    """Train all at once, by `fit`; a run that was interrupted goes on."""
    folder = trained(options, options.side, seed)
    return measured(rated, folder, load_checkpoint(folder / _BEST), pairs_file(options))


def trained(options: argparse.Namespace, side: str, seed: int) -> Path:
    """The folder of a finished run."""
    fold = f"-fold_{options.fold}" if options.split else ""
    name = f"{side}-seed_{seed}{fold}".replace(" ", "_")
    folder: Path = options.runs / name
    if (folder / RESULTS_FILE).exists():
        return folder
    config = write_settings(folder / "settings.yaml", side)
    words = [sys.executable, "-m", "lit_mtl", "fit", f"--config={config}", *options.fit]
    words += [*options.split, *TOGETHER_WITH[side], f"--seed_everything={seed}"]
    words += ["--dashboards.enabled=false", f"--pairs.path={pairs_file(options)}"]
    words += [f"--trainer.logger.init_args.save_dir={options.runs}", "--ckpt_path=auto"]
    words += ["--trainer.logger.init_args.name=", f"--trainer.logger.init_args.version={name}"]
    subprocess.run(words, check=True, env=_environment(options), stdout=subprocess.DEVNULL)
    return folder


def with_base_share(rated: Rated, options: argparse.Namespace, seed: int) -> Found:
    """The model of another side with some of the base's weights; it is not calibrated."""
    side, share = SHARED[options.side]
    folder = trained(options, side, seed)
    model, spec = load_checkpoint(folder / _BEST), read_checkpoint(folder / _BEST)[SPEC_KEY]
    weights = towards_base(model.network.state_dict(), spec, share=share)
    model.network.load_state_dict(weights)
    found = measured(rated, folder, model, pairs_file(options))
    pairs = pairs_spearman(model.embed, read_scored_pairs(pairs_file(options)))
    return {
        corpus: {
            key: value for key, value in values.items() if key not in ("calibration", "stated")
        }
        | {"pairs": pairs}
        for corpus, values in found.items()
    }


def write_settings(path: Path, side: str) -> Path:
    """Write the config; unless the side says otherwise, the score heads have one number and not its ratings."""
    settings: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
    if RATINGS not in side:
        for source in settings["data"]["sources"].values():
            source["tasks"] = {
                task: "score" if column == "ratings" else column
                for task, column in source["tasks"].items()
            }
        for name, task in settings["tasks"].items():
            if name.endswith("_score"):
                task["kind"] = "regression"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(settings))
    return path


def measured(rated: Rated, folder: Path, model: TrainedModel, pairs: Path) -> Found:
    """What the model of a run predicts for the test sentences; and pairs, also when aligned."""
    results = json.loads((folder / RESULTS_FILE).read_text())
    shared = {
        "seconds": results["training_seconds"] / len(rated.names),
        "pairs": results["embedding"]["pairs_spearman"],
        "pairs before": results["embedding"]["pairs_spearman_before"],
    }
    found = {}
    for corpus in rated.names:
        rows = list(rated.rows(corpus, "test"))
        texts = [row["text"] for row in rows]
        said = model.predict(texts)
        tasks = ("sentiment", "score")
        found[corpus] = {
            **shared,
            "scores": [round(each[f"{corpus}_score"]["score"], 4) for each in said],
            "positive": _labelled(
                rows, (int(each[f"{corpus}_sentiment"]["label"] == "positive") for each in said)
            ),
            "stated": {
                when: _labelled(rows, stated) for when, stated in _stated(model, corpus, texts)
            },
            "calibration": {
                task: results["calibration"][f"{corpus}_{task}"]["test"] for task in tasks
            },
        }
    aligned = aligned_pairs(rated, deepcopy(model), pairs)
    return {corpus: {**values, "pairs aligned": aligned} for corpus, values in found.items()}


def _stated(
    model: TrainedModel, corpus: str, texts: Sequence[str]
) -> Iterator[tuple[str, list[float]]]:
    """Of each sentence the probability of its likelier label, before and after calibration."""
    task = model.network.tasks[f"{corpus}_sentiment"]
    assert isinstance(task, Classification)
    output = model.run(texts).heads[f"{corpus}_sentiment"]
    for when, own in (("before", replace(task, temperature=1.0)), ("after", task)):
        yield when, _rounded(own.predict(output).amax(dim=-1))


def aligned_pairs(rated: Rated, model: TrainedModel, pairs: Path) -> float | None:
    """The ranking of pairs by the embedding aligned to the base; None for too few sentences."""
    texts = rated.corpus.splits["train"].with_format(None)["text"][:]
    drawn = torch.randperm(len(texts), generator=torch.Generator().manual_seed(0))[:ALIGNED_ON]
    if len(drawn) < LEAST_SENTENCES:
        return None
    backbone = rated.cli.config.model.backbone
    align_to_base(model, [texts[row] for row in drawn.tolist()], base=backbone)
    return pairs_spearman(model.embed, read_scored_pairs(pairs))


def pairs_file(options: argparse.Namespace) -> Path:
    """All pairs of the 50 news texts of Lee, Pincombe & Welsh (2005), which a wheel of gensim carries."""
    path: Path = options.pairs
    if path.exists():
        return path
    with tempfile.TemporaryDirectory() as scratch:
        words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "gensim==4.4.0"]
        subprocess.run([*words, "--only-binary=:all:", "-d", scratch], check=True)
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            texts, said = (
                archive.read(f"gensim/test/test_data/{name}").decode("latin-1").strip().split("\n")
                for name in ("lee.cor", "similarities0-1.txt")
            )
    table = [line.split() for line in said]
    lines = [
        f"{texts[one].strip()}\t{texts[other].strip()}\t{table[one][other]}"
        for one, other in itertools.combinations(range(len(texts)), 2)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["sentence1\tsentence2\tscore", *lines, ""]), encoding="utf-8")
    return path


def _rounded(values: torch.Tensor) -> list[float]:
    return [round(value, 4) for value in values.tolist()]


def trainer_alone(rated: Rated, options: argparse.Namespace, seed: int) -> Found:
    """Hugging Face's Trainer on each corpus, one after the other."""
    epochs = rated.cli.config.trainer.max_epochs * (2 if options.side == TRAINER_LONGER else 1)
    return {name: _trained_alone(rated, name, seed, epochs=epochs) for name in rated.names}


def _trained_alone(rated: Rated, name: str, seed: int, *, epochs: int) -> dict[str, Any]:
    labels = ("negative", "positive")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        path = folder / "rows.jsonl"
        with path.open("w", encoding="utf-8") as file:
            for split in SPLITS:
                for row in rated.rows(name, split):
                    label = row["positive"]
                    line = {"text": row["text"], "score": row["score"], "split": split}
                    line["sentiment"] = None if label is None else labels[label]
                    file.write(json.dumps(line) + "\n")
        job = Job(
            rows=path,
            backbone=rated.cli.config.model.backbone,
            frozen=[],
            epochs=epochs,
            scratch=folder,
            seed=seed,
        )
        prepared = Prepared(job)
        begun = time.perf_counter()
        trainer_best(prepared)
        seconds = time.perf_counter() - begun
        scores, positive = predicted(prepared, "test")
        place = {text: number for number, text in enumerate(prepared.splits["test"]["text"])}
    own = list(rated.rows(name, "test"))
    chosen = [place[row["text"]] for row in own]
    return {
        "seconds": seconds,
        "scores": _rounded(scores[chosen]),
        "positive": _labelled(own, positive[chosen].tolist()),
    }


def frozen_linear(rated: Rated, options: argparse.Namespace, seed: int) -> Found:
    """Heads fitted to the mean of the backbone's last layer; of three penalties the best on validation."""
    begun = time.perf_counter()
    network = rated.cli.model
    network.build(rated.cli.datamodule.tasks)
    encoder = network.network.eval().encoder
    vectors: dict[str, torch.Tensor] = {}
    for split in SPLITS:
        size = (len(rated.corpus.splits[split]), encoder.backbone.hidden_size)
        found = torch.empty(size, dtype=torch.float64)
        for start in range(0, size[0], 64):
            batch = rated.cli.datamodule.batch_of(split, range(start, min(start + 64, size[0])))
            with torch.no_grad():
                pooled = encoder.prefix(
                    batch["input_ids"], batch["attention_mask"], layers=encoder.backbone.num_layers
                )
            found[batch["row_id"]] = pooled.double()
        vectors[split] = found
    shared = {
        "seconds": (time.perf_counter() - begun) / len(rated.names),
        "pairs": base_pairs(rated, pairs_file(options)),
    }
    return {name: {**shared, **_fitted(rated, name, vectors)} for name in rated.names}


def base_pairs(rated: Rated, pairs: Path) -> float:
    """The ranking of pairs by the backbone's pooled vectors before any training."""
    module = rated.cli.model
    base = TrainedModel(module.network, module.tokenizer)
    return pairs_spearman(base.pooled, read_scored_pairs(pairs))


def _fitted(rated: Rated, name: str, vectors: dict[str, torch.Tensor]) -> dict[str, Any]:
    rows = {split: list(rated.rows(name, split)) for split in SPLITS}
    said = {}
    for key, task in (("scores", f"{name}_score"), ("positive", f"{name}_sentiment")):
        fitted = rated.corpus.tasks[task]
        column = "score" if key == "scores" else "positive"
        known = {
            split: [row for row in found if row[column] is not None]
            for split, found in rows.items()
        }
        inputs = {
            split: vectors[split][[row["number"] for row in found]]
            for split, found in known.items()
        }
        target = {
            split: torch.tensor([row[column] for row in found], dtype=fitted.target_dtype)
            for split, found in known.items()
        }
        best: tuple[float, torch.Tensor] | None = None
        for l2 in (0.01, 0.1, 1.0):
            head = fit_linear(
                inputs["train"],
                lambda output, fitted=fitted, target=target: fitted.row_loss(  # type: ignore[misc]
                    output,
                    target["train"].to(output.dtype if output.shape[1] == 1 else torch.int64),
                ),
                outputs=fitted.output_dim,
                l2=l2,
            )
            outputs = {
                split: inputs[split] @ head.weight.T + head.bias for split in ("val", "test")
            }
            metric = fitted.metrics(outputs["val"].float(), target["val"])[fitted.primary_metric]
            assert metric is not None
            if best is None or metric > best[0]:
                best = (metric, outputs["test"].float())
        assert best is not None
        output = best[1]
        said[key] = (
            output.argmax(dim=1).tolist()
            if key == "positive"
            else _rounded(fitted.predict(output).flatten())
        )
    return said


SIDES: dict[str, Callable[[Rated, argparse.Namespace, int], Found]] = {
    **dict.fromkeys(TOGETHER_WITH, together),
    **dict.fromkeys(SHARED, with_base_share),
    TRAINER: trainer_alone,
    TRAINER_LONGER: trainer_alone,
    FROZEN: frozen_linear,
    VADER: vader,
}


UNSEEDED = (FROZEN, VADER)
"""They draw nothing."""


def _environment(options: argparse.Namespace) -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": str(options.threads)}
