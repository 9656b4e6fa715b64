"""Draw coefficients and marginal likelihoods of the diabetes data along ‖β‖_p = k.

    lightning-flows fit --config configs/diabetes/lp_path.yaml
    python examples/lp_path.py runs/diabetes-lp_path/version_0/checkpoints/last.ckpt 0 1.2

Each checkpoint comes with the ends of log k; several of them make several rows. Prints, for every
checkpoint, how far the evidence that the flow gives is from that of `LpRegression.evidence`, which
asks no flow.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from lightning_flows import EnergyModule, load
from lightning_flows.metrics import effective_sample_size, log_evidence
from lightning_flows.plots import canvas, save_png
from lightning_flows.targets import LpRegression

LEVELS = 25
DRAWS = 8000
NAMES = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")


@torch.no_grad()
def along(model: EnergyModule, levels: Tensor) -> tuple[Tensor, Tensor]:
    """Coefficients (levels, draws, d) and their log-weights (levels, draws)."""
    x, log_q = model.flow.sample_and_log_prob(DRAWS, levels)
    rows = levels.repeat_interleave(DRAWS, 0)
    log_p = model.target.log_prob(x.flatten(0, 1), rows).reshape(log_q.shape)
    return x, log_p - log_q


def quantiles(x: Tensor, log_weights: Tensor, share: float) -> Tensor:
    """Weighted quantiles of each coefficient: (levels, d)."""
    ordered, places = x.sort(1)
    weights = log_weights.softmax(1)[:, :, None].expand(x.shape).gather(1, places)
    first = (weights.cumsum(1) >= share).int().argmax(1, keepdim=True)
    found: Tensor = ordered.gather(1, first)[:, 0]
    return found


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
        x, log_weights = along(model, levels)
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
        middle = quantiles(x, log_weights, 0.5)
        lower, upper = (quantiles(x, log_weights, share) for share in (0.05, 0.95))
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
