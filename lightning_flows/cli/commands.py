"""Commands that need a checkpoint and no Trainer: `sample` and `components`."""

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule
from rich.console import Console
from rich.progress import track
from torch import Tensor

from lightning_flows import plots
from lightning_flows.callbacks import ComponentExtraction
from lightning_flows.callbacks.drawing.isolation import evaluation, seeded
from lightning_flows.callbacks.drawing.points import image_scale
from lightning_flows.callbacks.drawing.protocols import context_shape, require
from lightning_flows.callbacks.drawing.writer import save
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
    seed: int = 0,
    batch_size: int = 256,
    device: str | None = None,
    overwrite: bool = False,
    trust: Sequence[str] = (),
) -> None:
    """Draw samples from a checkpoint, in the units of its data.

    Args:
        ckpt_path: checkpoint of any family.
        out: file to write: .npz (the array `samples`), or .png (a grid of images, or points in one
            to three dimensions).
        n: number of samples.
        temperature: factor on the standard deviation of the base; 1 is the density itself.
        label: class to draw, where the model is conditioned on one-hot labels.
        seed: starting point of the samples.
        batch_size: samples at a time; each batch has random numbers of its own, so that the same
            samples come again with the same seed and size.
        device: where to compute, such as cpu or cuda:1; CUDA where there is one unless given.
        overwrite: whether a file that exists may be replaced.
        trust: names of modules whose classes the checkpoint may name.

    Raises:
        FlowError: an option is out of range, the file exists, or the checkpoint cannot be read.
    """
    check_least(1, n=n, batch_size=batch_size)
    check_least(0, seed=seed)
    check_from_zero(temperature=temperature)
    if out.suffix not in (".npz", ".png"):
        raise ConfigError(f"{out} is no file that can be written; accepted are .npz and .png.")
    _refuse_existing([out], overwrite)
    module = _on(device, _module_of(ckpt_path, trust))
    context = _one_hot(module, label)
    shape = module.event_shape
    pictured = (len(shape) == 3 and shape[0] in (1, 3)) or (len(shape) == 1 and shape[0] <= 3)
    if out.suffix == ".png" and not pictured:
        raise ConfigError(
            f"Samples of shape {shape} cannot be drawn, only images and points in 1 to 3 "
            "dimensions; write them to a .npz file."
        )
    batches = []
    with evaluation(module):
        for index, start in enumerate(_progress(range(0, n, batch_size), "samples")):
            with seeded(module.device, seed, index):
                drawn = module.sample(min(batch_size, n - start), context, temperature)
            batches.append((drawn if context is None else drawn[0]).cpu())
    samples = torch.cat(batches)
    wrong = int((~samples.flatten(1).isfinite().all(1)).sum())
    if wrong:
        sys.stderr.write(f"warning: {wrong} of {n} samples are not finite.\n")
    if out.suffix == ".npz":
        save({out: {"samples": samples}})
    elif len(shape) == 3:
        to_image = image_scale(data_of_run(ckpt_path), samples)
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
        data: data module whose points to look at; that of `config` unless given.
        config: file with a section `data`; the config.yaml of the checkpoint's run unless given.
        split: which part of the data to take the points from.
        device: where to compute, such as cpu or cuda:1; CUDA where there is one unless given.
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
    except Exception as error:
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


def _one_hot(module: FlowModule, label: int | None) -> Tensor | None:
    shape = context_shape(module)
    if shape is None:
        if label is not None:
            raise ConfigError("label was given, but the model is not conditioned on anything.")
        return None
    if label is None or len(shape) != 1 or not 0 <= label < shape[0]:
        raise ConfigError(
            f"The model is conditioned on context of shape {tuple(shape)} and label is {label}; "
            "accepted are labels of one-hot context, from 0 up to its length."
        )
    return torch.nn.functional.one_hot(torch.tensor([label]), shape[0]).to(
        module.device, torch.get_default_dtype()
    )


def _progress(things: Sequence[Any], words: str) -> Iterable[Any]:
    return track(things, words, console=Console(stderr=True))


def _say(files: Iterable[Path]) -> None:
    sys.stdout.write("".join(f"{path}\n" for path in files))
