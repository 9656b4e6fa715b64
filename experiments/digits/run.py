r"""Local components of MNIST digits, of the flow that configs/mnist/components.yaml trains.

Train first, then look:

    lightning-flows fit --config configs/mnist/components.yaml
    LIGHTNING_FLOWS_DATA=data python -m experiments.digits.run \
        --checkpoint runs/mnist-components/version_0/checkpoints/last.ckpt
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.components import accuracy
from benchmarks.timing import Timing, interleave, stopwatch
from experiments.common.command import begin, command_line
from experiments.common.results import Results
from experiments.digits.deformations import deformations, share
from lightning_flows.components import Components, components, traverse
from lightning_flows.datamodules import MNIST
from lightning_flows.jacobians import jacobian
from lightning_flows.metrics import participation_ratio
from lightning_flows.modules import FlowModule, FreeFormModule
from lightning_flows.plots import canvas

__all__ = ["digits_of", "main", "measures", "picture"]

K, LENGTH, RELATIVE = 6, 1.0, 1e-2


def digits_of(x: Tensor, labels: Tensor, n: int) -> dict[int, Tensor]:
    """The first n images of each class: (n, 1, 28, 28)."""
    return {int(label): x[labels == label][:n] for label in labels.unique()}


def extract(module: FlowModule, x: Tensor) -> Components:
    """All components, in gray levels."""
    return components(module.encode, module.decode, x, relative=RELATIVE)


def measures(module: FlowModule, x: Tensor) -> dict[str, Tensor]:
    """Figures of the components of images of one class, each (n,)."""
    found = extract(module, x)
    seven = deformations(module.decode(found.latents).detach())
    widest, narrowest = found.axes[:, :K], found.axes[:, -K:]
    return {
        "participation": participation_ratio(found.scales),
        "dimension": found.dimension,
        "width": found.variances.sum(1).sqrt(),
        "deformation": share(widest, seven).mean(1),
        "another": share(widest.roll(1, 0), seven).mean(1),
        "narrowest": share(narrowest, seven).mean(1),
    }


def time(module: FlowModule, x: Tensor, rounds: int) -> Timing:
    """The widest by products, beside the Jacobian and its SVD."""

    @torch.no_grad()
    def decomposed() -> object:
        return torch.linalg.svd(jacobian(module.decode, module.encode(x)), full_matrices=False)

    candidates = {
        "iterative": stopwatch(
            lambda: components(module.encode, module.decode, x, k=K, method="iterative")
        ),
        "J and SVD": stopwatch(decomposed),
    }
    return interleave(candidates, rounds=rounds, warmup=1)


def picture(module: FlowModule, x: Tensor, path: Path) -> None:
    """A row for each image: it, decoded, and for each component a walk of -s, the axis, +s."""
    found = extract(module, x)
    pixels = [x[:, 0], module.decode(found.latents).detach()[:, 0]]
    names = ["digit", "decoded"]
    for k in range(K):
        path_k = traverse(module.encode, module.decode, x, component=k, length=LENGTH).points
        pixels += [path_k[:, 0, 0], found.axes[:, k, 0], path_k[:, -1, 0]]
        names += ["-s", f"axis {k + 1}", "+s"]
    drawing = canvas.figure(0.56 * len(pixels), 0.6 * len(x), pad=0.01)
    grid = drawing.subplots(len(x), len(pixels), squeeze=False)
    for row, cells in enumerate(grid):
        for column, cell in enumerate(cells):
            image, axis = canvas.array(pixels[column][row]), names[column].startswith("axis")
            limit = abs(image).max() if axis else 255
            low, colors = (-limit, canvas.DIVERGING) if axis else (0, "gray")
            cell.imshow(image, cmap=colors, vmin=low, vmax=limit, interpolation="nearest")
            cell.set_axis_off()
            if row == 0:
                canvas.title(cell, names[column], size=canvas.SMALL - 1)
    canvas.save_png(drawing, path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and draw."""
    parser = command_line(__doc__, "digits", data=True, figure=True, rounds=5, points=100)
    parser.add_argument("--checkpoint", type=Path, required=True)
    options = begin(parser, arguments)
    module = FreeFormModule.load_from_checkpoint(options.checkpoint).eval()
    data = MNIST(str(options.data))
    data.prepare_data()
    test = data.load()["test"]
    x, labels = test["x"], test["label"]
    found = digits_of(x, labels, options.points)
    few = torch.cat([part[:2] for part in found.values()])
    degrees, wrong, count = accuracy(module, few, K)
    ratio = time(module, few, options.rounds).ratio("iterative", "J and SVD")
    facts = {
        "latents": module.latent_shape[0],
        "relative": RELATIVE,
        "components": K,
        "checked": {"points": len(few), "converged": count, "degrees": degrees, "error": wrong},
        "ratio": vars(ratio),
    }
    results = Results.begin(options, "digits", **facts)
    results.command += f" --checkpoint {options.checkpoint}"
    for digit, part in found.items():
        values = {name: each.tolist() for name, each in measures(module, part).items()}
        results.add(options.out, digit=digit, **values)
    picture(module, torch.cat([part[:1] for part in found.values()]), options.figure)


if __name__ == "__main__":
    main()
