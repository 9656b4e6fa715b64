"""Draw coefficients and marginal likelihoods of the diabetes data along ‖β‖_p = k.

    lightning-flows fit --config configs/diabetes/lp_path.yaml
    python examples/lp_path.py runs/diabetes-lp_path/version_0/checkpoints/last.ckpt 0 1.2

Each checkpoint comes with the ends of log k; several of them make several rows. Prints, for every
checkpoint, how far the evidence that the flow gives is from that of `LpRegression.evidence`, which
asks no flow.
"""

import argparse
import math
from pathlib import Path

import torch
from torch import Tensor

from lightning_flows import EnergyModule, load
from lightning_flows.metrics import effective_sample_size, log_evidence
from lightning_flows.plots import canvas, save_png
from lightning_flows.targets import LpRegression

LEVELS = 25
DRAWS = 1500  # at each level
NAMES = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")


@torch.no_grad()
def along(model: EnergyModule, levels: Tensor) -> tuple[Tensor, Tensor]:
    """Directions v = β / k, (draws, d), and their log-weights at each level, (levels, draws).

    Draws of all levels are pooled: a direction found at one level may have mass at another, and all
    are weighted by the mixture of the flow's densities over levels.
    """
    x, _ = model.flow.sample_and_log_prob(DRAWS, levels)
    v = (x / levels.exp()[:, :, None]).flatten(0, 1)
    logs, targets = [], []
    for level in levels:
        rows = level.expand(len(v), 1)
        area = (v.shape[1] - 1) * level  # of the level set, relative to that of level 1
        logs.append(model.flow.log_prob(level.exp() * v, rows) + area)
        targets.append(model.target.log_prob(level.exp() * v, rows) + area)
    mixture = torch.stack(logs).logsumexp(0) - math.log(len(levels))
    return v, torch.stack(targets) - mixture


def quantiles(v: Tensor, log_weights: Tensor, share: float) -> Tensor:
    """Weighted quantiles of each entry at each level: (levels, d)."""
    ordered, places = v.sort(0)
    rows = []
    for weights in log_weights.softmax(1):
        first = (weights[places].cumsum(0) >= share).int().argmax(0, keepdim=True)
        rows.append(ordered.gather(0, first)[0])
    return torch.stack(rows)


def main() -> None:
    """Compare and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", help="checkpoint, low, high; and so on")
    parser.add_argument("--out", type=Path, default=Path("docs/images/lp-paths.png"))
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    rows = [options.runs[i : i + 3] for i in range(0, len(options.runs), 3)]
    figure = canvas.figure(9.0, 3.0 * len(rows))
    axes = figure.subplots(len(rows), 2, squeeze=False, width_ratios=(3, 2))
    for (path, low, high), (left, right) in zip(rows, axes, strict=True):
        model = load(path)
        target = model.target
        assert isinstance(model, EnergyModule)
        assert isinstance(target, LpRegression)
        levels = torch.linspace(float(low), float(high), LEVELS)[:, None]
        v, log_weights = along(model, levels)
        value, error = log_evidence(log_weights)
        exact, exact_error = target.evidence(levels)
        inner = slice(LEVELS // 20, LEVELS - LEVELS // 20)
        apart = (value - exact).abs()[inner]
        k = levels[:, 0].exp()
        best = int(value.argmax())
        size = effective_sample_size(log_weights, fraction=True)
        print(
            f"p = {target.p:g}: largest difference {apart.max():.3f}, mean {apart.mean():.3f} nats "
            f"(standard errors {error[inner].max():.3f}, {exact_error[inner].max():.3f}); "
            f"k* = {k[best]:.2f} with {value[best]:.2f}; ess {size.min():.3f} to {size.max():.3f}"
        )
        lower, middle, upper = (
            k[:, None] * quantiles(v, log_weights, share) for share in (0.05, 0.5, 0.95)
        )
        for i, name in enumerate(NAMES):
            (line,) = left.plot(k, middle[:, i], linewidth=1.2, label=name)
            left.fill_between(k, lower[:, i], upper[:, i], color=line.get_color(), alpha=0.15, lw=0)
        for axis in (left, right):
            axis.axvline(float(k[best]), color="gray", linewidth=0.8, linestyle=":")
            axis.set_xscale("log")
            axis.set_xlabel("k")
            axis.xaxis.set_major_formatter("{x:g}")
            axis.xaxis.set_minor_formatter("{x:g}")
            axis.tick_params(which="both", labelsize=8)
        left.set_ylabel("coefficient")
        left.set_title(f"p = {target.p:g}: medians and 90% bands", fontsize=10)
        right.plot(k, exact, color="black", linewidth=1.0, label="without a flow")
        right.plot(k, value, "o", markersize=3, label="weights of the flow")
        right.set_ylabel("log marginal likelihood (nats)")
        right.set_title("evidence of each level", fontsize=10)
        right.legend(fontsize=8)
    axes[0][0].legend(fontsize=7, ncols=2)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    save_png(figure, options.out)


if __name__ == "__main__":
    main()
