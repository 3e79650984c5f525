"""The figures of a study, as PNG and SVG with a caption each: from what its runs have written, without GPU or model.

    python -m studies.figures study/                                     # into study/figures/
    python -m studies.figures study/ --only learning_curves,seeds --format svg --output_dir docs/figures

    sensitivity       distributions of sensitivity by method (the paper's Figure 2)
    data_share        score and spread of sensitivity against the share of training data (Figure 3)
    learning_curves   dev score and training loss by epoch
    seeds             every seed's score
    lambda            score against PATS's λ
    cost              score against the seconds of a run

Each makes a file for every encoder, and every set of varied flags: `seeds_minilm.svg`, `seeds_minilm.png`, and the
caption in `seeds_minilm.txt`. A figure without data is skipped, with a note that says what it needs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from data_utils.atomic import StagedFiles
from data_utils.cli import Parser, path_text
from data_utils.errors import InputError, entry_point
from studies.plots.cost import cost
from studies.plots.data import Collected, FigureData, Names
from studies.plots.drawing import draw
from studies.plots.sensitivity import data_share, distributions
from studies.plots.sources import learning_curves, noise_lambda, seeds
from studies.plots.style import FORMATS, style, write_figure
from studies.study import Outcome, Study

FIGURES: dict[str, Callable[[Sequence[Outcome], Names], Collected]] = {
    "sensitivity": distributions,
    "data_share": data_share,
    "learning_curves": learning_curves,
    "seeds": seeds,
    "lambda": noise_lambda,
    "cost": cost,
}


def write_figures(
    study: Study, names: Sequence[str], folder: Path, formats: Sequence[str]
) -> tuple[list[Path], list[str]]:
    """Write the figures that a study has data for.

    Args:
        study: its runs, whatever became of them.
        names: of `FIGURES`.
        folder: where to; it is made if need be.
        formats: of `FORMATS`.

    Returns:
        The files, captions included, and a line for each figure that is missing, or lacks something.

    Raises:
        InputError: damaged files in the study, matplotlib is not installed, or the folder cannot be written to.
    """
    outcomes, task_names = study.outcomes(), study.suite.labels()
    collected = {
        name: FIGURES[name](outcomes, task_names) for name in names
    }  # damaged files are found before any is written
    written, lines = [], []
    with style():
        for name, found in collected.items():
            for data in found.figures:
                caption = f"{data.caption} {study.changes}".rstrip()
                written += _write(replace(data, caption=caption), folder, formats)
                lines += [f"{data.stem}: {remark}" for remark in data.remarks]
            if not found.figures:
                lines.append(f"skipped: {name} needs {found.needs}")
    return written, lines


def _write(data: FigureData, folder: Path, formats: Sequence[str]) -> list[Path]:
    figure = draw(data)
    paths = [folder / f"{data.stem}.{kind}" for kind in (*formats, "txt")]
    with StagedFiles() as staged:
        for kind, path in zip(formats, paths, strict=False):
            write_figure(figure, staged.path(path), kind, data.caption)
        staged.path(paths[-1]).write_text(data.caption + "\n", encoding="utf-8")
    return paths


def _choices(text: str | None, allowed: Sequence[str], flag: str) -> list[str]:
    """A comma-separated list, all of them by default; InputError for unknown names."""
    if text is None:
        return list(allowed)
    chosen = [part.strip() for part in text.split(",")]
    if unknown := [part for part in chosen if part not in allowed]:
        raise InputError(f"{flag}: unknown {', '.join(map(repr, unknown))}; allowed: {', '.join(allowed)}")
    return list(dict.fromkeys(chosen))


def _parser() -> Parser:
    parser = Parser(
        prog="python -m studies.figures",
        description="Draw a study's figures from what its runs have written.",
        allow_abbrev=False,
    )
    parser.add_argument("study", type=path_text, metavar="STUDY", help="a folder made by studies.sweep")
    parser.add_argument("--output_dir", type=path_text, help="folder of the figures (default: STUDY/figures)")
    parser.add_argument("--only", help=f"comma-separated, of: {', '.join(FIGURES)} (default: all)")
    parser.add_argument("--format", help=f"comma-separated, of: {', '.join(FORMATS)} (default: all)")
    return parser


@entry_point
def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; 0 when done, even without data for a figure; 2 when the study cannot be read."""
    args = _parser().parse_args(argv)
    names = _choices(args.only, list(FIGURES), "--only")
    formats = _choices(args.format, FORMATS, "--format")
    study = Study.load(Path(args.study))
    written, lines = write_figures(study, names, Path(args.output_dir or study.folder / "figures"), formats)
    print("\n".join([*(f"written: {path}" for path in written), *lines]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
