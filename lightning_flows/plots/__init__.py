"""Figures from arrays: samples, reconstructions, densities, components, scores.

Every function takes tensors or arrays and returns a `matplotlib.figure.Figure` that belongs to
nobody: no pyplot, no state, no Lightning. `pixels` and `save_png` render one. Images are given as
(n, channels, height, width) or (n, height, width) with values in [0, 1]; values outside are
clipped.
"""

from lightning_flows.plots.canvas import pixels, save_png
from lightning_flows.plots.images import component_images, component_matrix, image_grid, image_pairs
from lightning_flows.plots.manifolds import angles, globe, triangle
from lightning_flows.plots.paths import component_curves, component_strips
from lightning_flows.plots.points import component_arrows, density, error_lines, scatter
from lightning_flows.plots.scores import score_histograms
from lightning_flows.plots.summaries import dimension_histogram, spectrum
from lightning_flows.plots.truncation import truncation

__all__ = [
    "angles",
    "component_arrows",
    "component_curves",
    "component_images",
    "component_matrix",
    "component_strips",
    "density",
    "dimension_histogram",
    "error_lines",
    "globe",
    "image_grid",
    "image_pairs",
    "pixels",
    "save_png",
    "scatter",
    "score_histograms",
    "spectrum",
    "triangle",
    "truncation",
]
