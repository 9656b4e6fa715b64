"""Commands that need a checkpoint and no Trainer: `sample` and `components`."""

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule
from rich.console import Console
from rich.progress import track

from lightning_flows import plots
from lightning_flows.callbacks import ComponentExtraction
from lightning_flows.callbacks.drawing.isolation import evaluation, seeded
from lightning_flows.callbacks.drawing.points import image_scale
from lightning_flows.callbacks.drawing.protocols import require
from lightning_flows.callbacks.drawing.writer import save
from lightning_flows.cli.draws import TABLES, given_by, write_table
from lightning_flows.cli.parsing import (
    FlowParser,
    building,
    stop,
    what_the_user_can_mend,
)
from lightning_flows.cli.scenes import data_of_config, data_of_run, scene_of
from lightning_flows.core.errors import ConfigError, DataError, check_from_zero, check_least
from lightning_flows.modules import FlowModule, load

__all__ = ["COMMANDS", "components", "main", "parser_of", "sample"]


def sample(
    ckpt_path: Path,
    out: Path,
    *,
    n: int = 64,
    temperature: float = 1.0,
    label: int | None = None,
    context: Path | None = None,
    seed: int = 0,
    batch_size: int = 256,
    device: str | None = None,
    overwrite: bool = False,
    trust: Sequence[str] = (),
) -> None:
    """Draw samples from a checkpoint, in the units of its data.

    Args:
        ckpt_path: checkpoint of any family.
        out: file to write: .npz (the array `samples`; with context the arrays `x`, (rows, n,
            *event), and `context`), .csv, .tsv or .parquet (one sample a row, and its context
            behind it), or .png (a grid of images, or points in one to three dimensions).
        n: number of samples, for each row of context where that is given.
        temperature: factor on the standard deviation of the base; 1 is the density itself.
        label: class to draw, where the model is conditioned on one-hot labels.
        context: file of what the model is conditioned on, one row each, in the units of its data:
            .csv, .tsv, .npy, .npz or .parquet. Columns are matched by name with those of the
            training data where the config of the run tells those, else by position.
        seed: starting point of the samples.
        batch_size: samples at a time; each batch has random numbers of its own, so that the same
            samples come again with the same seed and size.
        device: where to compute, such as cpu or cuda:1; CUDA where there is one by default.
        overwrite: whether a file that exists may be replaced.
        trust: names of modules whose classes the checkpoint may name.

    Raises:
        FlowError: an option is out of range, the file exists, or the checkpoint cannot be read.
    """
    check_least(1, n=n, batch_size=batch_size)
    check_least(0, seed=seed)
    check_from_zero(temperature=temperature)
    if out.suffix not in (".npz", ".png", *TABLES):
        raise ConfigError(
            f"{out} is no file that can be written; accepted are .npz, .png, {', '.join(TABLES)}."
        )
    _refuse_existing([out], overwrite)
    module = _on(device, _module_of(ckpt_path, trust))
    shape = module.event_shape
    data = None
    if context is not None or out.suffix in TABLES or (out.suffix == ".png" and len(shape) == 3):
        data = _data_that_names(ckpt_path)
    given = given_by(module, label, context, data)
    pictured = (len(shape) == 3 and shape[0] in (1, 3)) or (len(shape) == 1 and shape[0] <= 3)
    if out.suffix == ".png" and not pictured:
        raise ConfigError(
            f"Samples of shape {shape} cannot be drawn, only images and points in 1 to 3 "
            "dimensions; write them to a .npz file."
        )
    if out.suffix in TABLES and len(shape) != 1:
        raise ConfigError(
            f"Samples of shape {shape} are no rows of a table; write them to a .npz file."
        )
    total = n * given.rows
    batches = []
    with evaluation(module):
        for index, start in enumerate(_progress(range(0, total, batch_size), "samples")):
            stop = min(start + batch_size, total)
            with seeded(module.device, seed, index):
                drawn = given.draw(module, start, stop, n, temperature)
            batches.append(drawn.cpu())
    samples = torch.cat(batches)
    wrong = int((~samples.flatten(1).isfinite().all(1)).sum())
    if wrong:
        sys.stderr.write(f"warning: {wrong} of {total} samples are not finite.\n")
    if out.suffix == ".npz" and given.table is not None and given.context is not None:
        drawn_x = samples.unflatten(0, (given.rows, n))
        save({out: {"x": drawn_x, "context": given.context.cpu()}})
    elif out.suffix == ".npz":
        save({out: {"samples": samples}})
    elif out.suffix in TABLES:
        write_table(out, samples, given.table, n, data)
    elif len(shape) == 3:
        to_image = image_scale(data, samples)
        assert to_image is not None
        save({out: plots.image_grid(to_image(samples))})
    else:
        save({out: plots.scatter(samples)})
    _say([out])


def components(
    ckpt_path: Path,
    out: Path,
    *,
    extraction: ComponentExtraction,
    data: LightningDataModule | None = None,
    config: Path | None = None,
    split: Literal["val", "test", "train"] = "val",
    device: str | None = None,
    overwrite: bool = False,
    trust: Sequence[str] = (),
) -> None:
    """Extract local principal components from a checkpoint, to PNG files and one NPZ file.

    Args:
        ckpt_path: checkpoint of any family.
        out: folder to write to.
        extraction: what to extract and to draw.
        data: data module whose points to look at; that of `config` by default.
        config: file with a section `data`; the config.yaml of the checkpoint's run by default.
        split: which part of the data to take the points from.
        device: where to compute, such as cpu or cuda:1; CUDA where there is one by default.
        overwrite: whether files that exist may be replaced.
        trust: names of modules whose classes the checkpoint and its config may name.

    Raises:
        FlowError: an option is out of range, a file exists, or there is no data to look at.
    """
    files = {name: out / f"{name or 'components'}.png" for name in extraction.figures}
    arrays = out / "components.npz"
    _refuse_existing([*files.values(), arrays], overwrite)
    module = _on(device, _module_of(ckpt_path, trust))
    require(extraction, module, extraction.needs)
    if data is None:
        data = data_of_config(config) if config else data_of_run(ckpt_path)
    if data is None:
        raise DataError(
            f"{ckpt_path} is a checkpoint without data: no config.yaml lies beside it or in the "
            "folder above; name the data by --data CLASS or --config FILE."
        )
    scene = scene_of(module, data, split, extraction.points)
    with evaluation(module):
        results = extraction.share(scene, track=lambda tasks: _progress(tasks, "components"))
        with seeded(module.device, extraction.seed, 0):
            drawing = extraction.draw(scene, [results[index] for index in sorted(results)])
    save({files[name]: figure for name, figure in drawing.figures.items()})
    save({arrays: drawing.arrays})
    _say([*(files[name] for name in drawing.figures), arrays])


TRUST = (
    "module whose classes a checkpoint may name, and which is imported for that; may be given "
    "several times."
)
COMMANDS: dict[str, Callable[..., None]] = {"sample": sample, "components": components}


def parser_of(command: str) -> FlowParser:
    """The parser of a command; its help comes from the docstrings."""
    function = COMMANDS[command]
    summary = (function.__doc__ or "").partition("\n")[0]
    parser = FlowParser(prog=f"lightning-flows {command}", description=summary, allow_abbrev=False)
    parser.add_function_arguments(
        function, as_group=False, skip={"n", "extraction", "overwrite", "trust"}
    )
    if function is sample:
        parser.add_argument("-n", "--n", type=int, default=64, help="number of samples.")
    else:
        parser.add_class_arguments(
            ComponentExtraction, as_group=False, skip={"every_n_epochs", "name"}
        )
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist.")
    parser.add_argument("--trust", action="append", default=[], help=TRUST)
    return parser


def main(args: Sequence[str]) -> None:
    """Parse a command line and run its command.

    Args:
        args: name of the command, and its options.

    Raises:
        SystemExit: bad input, after one sentence on standard error.
    """
    parser = parser_of(args[0])
    try:
        options = vars(parser.instantiate_classes(parser.parse_args(list(args[1:]))))
        if args[0] == "components":
            own = ("ckpt_path", "out", "data", "config", "split", "device", "overwrite", "trust")
            rest = {name: value for name, value in options.items() if name not in own}
            options = {name: options[name] for name in own if name in options}
            options["extraction"] = ComponentExtraction(**rest)
        COMMANDS[args[0]](**options)
    except Exception as error:  # what the user cannot mend goes on
        sentence = what_the_user_can_mend(error)
        if sentence is None:
            raise
        stop(sentence, status=1, cause=error)


def _refuse_existing(files: Iterable[Path], overwrite: bool) -> None:
    existing = [str(path) for path in files if path.exists()]
    if existing and not overwrite:
        verb = "exists" if len(existing) == 1 else f"and {len(existing) - 1} more exist"
        them = "it" if len(existing) == 1 else "them"
        raise ConfigError(f"{existing[0]} {verb} already; --overwrite replaces {them}.")


def _module_of(ckpt_path: Path, trust: Sequence[str]) -> FlowModule:
    """The module that a checkpoint holds."""
    with building(f"The checkpoint {ckpt_path}"):
        module: FlowModule = load(ckpt_path, trust=trust)
    return module


def _on(device: str | None, module: FlowModule) -> FlowModule:
    """The module where it is to compute."""
    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return module.to(torch.device(name))
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"device {name!r} cannot be used: {reason}") from error


def _data_that_names(ckpt_path: Path) -> Any:
    """The data module of the run, for the names and categories of columns, and for images."""
    try:
        return data_of_run(ckpt_path)
    except Exception as error:  # what the user cannot mend goes on
        sentence = what_the_user_can_mend(error)
        if sentence is None:
            raise
        raise DataError(
            f"The data of the run, which names the columns, cannot be read: {sentence} A copy of "
            "the checkpoint without a config.yaml beside it goes by the order of columns."
        ) from error


def _progress(things: Sequence[Any], words: str) -> Iterable[Any]:
    return track(things, words, console=Console(stderr=True))


def _say(files: Iterable[Path]) -> None:
    sys.stdout.write("".join(f"{path}\n" for path in files))
