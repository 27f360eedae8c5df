"""`export`: a checkpoint as a folder that other tools load."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from lit_mtl.artifact.base_alignment import Alignment
from lit_mtl.artifact.card import Evidence
from lit_mtl.artifact.export import export
from lit_mtl.artifact.hub import push_to_hub
from lit_mtl.commands.quiet import silence_upstream_notes
from lit_mtl.data.inputs import Input


def run(name: str, args: Sequence[str]) -> None:
    """Run the command.

    Args:
        name: the command.
        args: what stands behind it.
    """
    silence_upstream_notes()
    options = parser(name).parse_args(args)
    int8 = None if options.int8 is None else (options.int8.name, _texts(options.int8))
    evidence = export(
        options.ckpt_path,
        options.output,
        overwrite=options.overwrite,
        onnx=options.onnx,
        int8_texts=int8,
        base_share=options.base_share,
        align_texts=None if options.align_to_base is None else _texts(options.align_to_base),
    )
    print(f"exported to {options.output}")
    print(described(evidence))
    if options.push_to_hub is not None:
        where = push_to_hub(options.output, options.push_to_hub, private=not options.public)
        print(f"uploaded to {where}")


def _texts(path: Path) -> list[str]:
    return [text for each in Input(path=path).windows() for text in each.texts if text]


def described(evidence: Evidence) -> str:
    """What the export knows of the run, and what it lacks; and what it has changed."""
    return "\n".join(filter(None, [_known(evidence), _aligned(evidence.alignment)]))


def _aligned(found: Alignment | None) -> str:
    if found is None:
        return ""
    return (
        f"aligned to the base on {found.sentences:,} sentences: on {found.measured:,} others the similarity of "
        f"pairs follows the base's with a rank correlation of {found.kept_similarity:.4f}, "
        f"{found.kept_similarity_before:.4f} before; outputs of heads changed by {found.largest_change:.1e} "
        "at most"
    )


def _known(evidence: Evidence) -> str:
    if evidence.base_share:
        return (
            f"the backbone is {evidence.base_share:g} of the pre-trained weights; uncalibrated and "
            "without metrics: those of the run are of the trained weights alone"
        )
    lines = []
    if not evidence.results:
        lines.append(
            "the model card has no metrics: no results.json of this checkpoint lies in its run"
        )
    if evidence.calibration is None:
        lines.append(
            "uncalibrated: no calibration.json of this checkpoint lies in its run; "
            "fit writes one for the checkpoint that it measures at its end, best.ckpt"
        )
    else:
        for task, found in evidence.calibration.report.items():
            lines.append(f"{task}: {found['note'] or 'calibrated'}")
    return "\n".join(lines)


def parser(name: str) -> argparse.ArgumentParser:
    """What the command accepts.

    Args:
        name: the command.
    """
    parser = argparse.ArgumentParser(prog=f"python -m lit_mtl {name}", allow_abbrev=False)
    parser.add_argument("--ckpt_path", type=Path, required=True, help="a checkpoint of fit")
    parser.add_argument("--output", type=Path, required=True, help="the folder to write")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace an export that stands there"
    )
    parser.add_argument(
        "--onnx", action="store_true", help="add one ONNX graph with all heads (extra `onnx`)"
    )
    parser.add_argument(
        "--int8",
        type=Path,
        metavar="FILE",
        help="add an int8 graph too; its loss of quality is measured on this file's sentences",
    )
    parser.add_argument(
        "--base_share",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of the pre-trained weights in the backbone, from 0 to 1 (WiSE-FT); above 0 the export "
        "is uncalibrated",
    )
    parser.add_argument(
        "--align_to_base",
        type=Path,
        metavar="FILE",
        help="change projection and heads so that cosines follow those in the pre-trained model, as far as "
        "a linear map fitted to this file's sentences can; predictions stay",
    )
    parser.add_argument("--push_to_hub", metavar="OWNER/NAME", help="upload to the model hub")
    parser.add_argument("--public", action="store_true", help="make a new repository public")
    return parser
