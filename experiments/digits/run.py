r"""Local components of MNIST digits, from a checkpoint of configs/mnist/components.yaml.

Train first, then look:

    lightning-flows fit --config configs/mnist/components.yaml
    python -m benchmarks.mnist_components --ckpt_path runs/mnist-components/.../last.ckpt \
        --data data --out docs/results.md --figure docs/images/mnist-components.png
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.components import accuracy
from benchmarks.deformations import deformations, share
from benchmarks.experiment import begin, command_line
from benchmarks.intervals import spread
from benchmarks.report import write_section
from benchmarks.timing import Timing, interleave, stopwatch
from lightning_flows.components import Components, components, traverse
from lightning_flows.datamodules import MNIST
from lightning_flows.jacobians import jacobian
from lightning_flows.metrics import participation_ratio
from lightning_flows.modules import FlowModule, FreeFormModule
from lightning_flows.plots import canvas

__all__ = ["digits_of", "main", "picture", "table"]

K, LENGTH, RELATIVE = 6, 1.0, 1e-2


def digits_of(x: Tensor, labels: Tensor, n: int) -> dict[int, Tensor]:
    """The first n images of each class: (n, 1, 28, 28)."""
    return {int(label): x[labels == label][:n] for label in labels.unique()}


def extract(module: FlowModule, x: Tensor) -> Components:
    """All components, in gray levels."""
    return components(module.encode, module.decode, x, relative=RELATIVE)


def table(module: FlowModule, digits: dict[int, Tensor], timing: Timing) -> str:
    """Markdown: local dimensions by digit, top-k beside SVD."""
    found = {digit: extract(module, x) for digit, x in digits.items()}
    n = len(digits[1])
    lines = [
        "## Components of MNIST",
        "",
        f"A free-form injective flow of {found[1].scales.shape[1]} latents "
        f"(`configs/mnist/components.yaml`), {n} test images of each digit, components in gray "
        "levels. Participation ratio (Σλ)²/Σλ²; dimension: directions with λ above "
        f"{RELATIVE:.0%} of the largest; width: √Σλ. Deformation: squared length of the {K} widest "
        "axes within the span of seven deformations of the decoded image (shifts, size, rotation, "
        "two stretches, thickness of strokes), as a share of the whole; beside it the same of the "
        "axes of another image of the class, and of the narrowest axes. Mean ± standard error.",
        "",
        "| digit | participation ratio | dimension | width, gray levels | deformation "
        "| of another image | narrowest axes |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for digit, part in found.items():
        seven = deformations(module.decode(part.latents).detach())
        widest, narrowest = part.axes[:, :K], part.axes[:, -K:]
        measures = (
            participation_ratio(part.scales),
            part.dimension,
            part.variances.sum(1).sqrt(),
            share(widest, seven).mean(1),
            share(widest.roll(1, 0), seven).mean(1),
            share(narrowest, seven).mean(1),
        )
        cells = " | ".join(spread(values.tolist()) for values in measures)
        lines.append(f"| {digit} | {cells} |")
    ratios = {digit: participation_ratio(found[digit].scales) for digit in (1, 8)}
    lower = (ratios[1][:, None] < ratios[8]).float().mean().item()
    few = torch.cat([x[:2] for x in digits.values()])
    degrees, wrong, count = accuracy(module, few, K)
    ratio = timing.ratio("iterative", "J and SVD")
    lines += [
        "",
        f"Of all pairs of a one and an eight, the one has the lower participation ratio in "
        f"{lower:.1%}.",
        "",
        f"The {K} widest without the Jacobian, beside a float64 SVD of the whole one: "
        f"{count} of {len(few)} points converged; there the largest principal angle is "
        f"{degrees:.2g}° and the largest relative error of a scale {wrong:.2g}. Time, beside "
        f"Jacobian and SVD: {ratio.median:.2g} ({ratio.low:.2g}-{ratio.high:.2g}); with so few "
        "latents the whole Jacobian is what one should use.",
    ]
    return "\n".join(lines) + "\n"


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
    parser = command_line(__doc__, "data", "out", "figure", rounds=5)
    parser.add_argument("--ckpt_path", type=Path, required=True)
    parser.add_argument("--points", type=int, default=100, help="of each digit")
    options = begin(parser, arguments)
    module = FreeFormModule.load_from_checkpoint(options.ckpt_path).eval()
    data = MNIST(str(options.data))
    data.prepare_data()
    x, labels = data.load()["test"]
    digits = digits_of(x, labels, options.points)
    timing = time(module, torch.cat([part[:2] for part in digits.values()]), options.rounds)
    text = table(module, digits, timing)
    print(text)
    write_section(options.out, "components of MNIST", text)
    if options.figure:
        picture(module, torch.cat([part[:1] for part in digits.values()]), options.figure)


if __name__ == "__main__":
    main()
