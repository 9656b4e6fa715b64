"""Every system of a batch is solved, however different they are."""

import pytest
import torch

from lightning_flows.objectives.conjugate_gradients import conjugate_gradients

D = 12


def systems(conditions, probes=2, seed=0):
    """Positive definite matrices with these condition numbers, and right-hand sides."""
    generator = torch.Generator().manual_seed(seed)
    options = {"dtype": torch.float64, "generator": generator}
    q = torch.linalg.qr(torch.randn(len(conditions), D, D, **options)).Q
    spread = torch.linspace(0, 1, D, dtype=torch.float64)
    values = torch.stack([float(condition) ** -spread for condition in conditions])
    return q * values[:, None] @ q.mT, torch.randn(probes, len(conditions), D, **options)


class Product:
    """Multiplication with matrices that remembers what it multiplied."""

    def __init__(self, matrices):
        self.matrices, self.seen = matrices, []

    def __call__(self, vectors):
        self.seen.append(vectors)
        return torch.einsum("bij,kbj->kbi", self.matrices, vectors)


def solve(matrices, rhs):
    return torch.linalg.solve(matrices, rhs.permute(1, 2, 0)).permute(2, 0, 1)


@pytest.mark.parametrize("tolerance", [1e-4, 1e-10])
def test_every_badly_conditioned_system_converges(tolerance):
    matrices, rhs = systems([1e4] * 20)
    found = conjugate_gradients(Product(matrices), rhs, tolerance=tolerance)
    residuals = (torch.einsum("bij,kbj->kbi", matrices, found.solution) - rhs).norm(dim=2)
    torch.testing.assert_close(found.residuals, residuals / rhs.norm(dim=2))
    assert found.residuals.max() < 1.01 * tolerance
    error = (found.solution - solve(matrices, rhs)).norm(dim=2)
    assert (error <= 1.01 * tolerance * 1e4 * rhs.norm(dim=2)).all()


def test_easy_systems_do_not_stop_a_hard_one():
    matrices, rhs = systems([1.0] * 200 + [1e4])
    product = Product(matrices)
    found = conjugate_gradients(product, rhs, tolerance=1e-8)
    # a mean over the batch is below the tolerance long before the last of them is
    assert found.residuals.max() < 1e-7
    assert found.iterations >= D
    assert found.iterations == len(product.seen)
    torch.testing.assert_close(found.solution, solve(matrices, rhs), rtol=1e-4, atol=1e-4)


def test_what_has_converged_stays_as_it_is():
    matrices, rhs = systems([1.0, 1e4])
    alone = conjugate_gradients(Product(matrices[:1]), rhs[:, :1], tolerance=1e-6)
    product = Product(matrices)
    beside = conjugate_gradients(product, rhs, tolerance=1e-6)
    assert alone.iterations < beside.iterations
    torch.testing.assert_close(beside.solution[:, :1], alone.solution, rtol=1e-12, atol=1e-12)
    directions = torch.stack(product.seen[2:-1])
    assert (directions[:, :, 0] == directions[0, :, 0]).all()  # the easy one stands still
    assert not (directions[1:, :, 1] == directions[:-1, :, 1]).any()


def test_giving_up_shows_in_the_residuals():
    matrices, rhs = systems([1.0, 1.0, 1e4])
    found = conjugate_gradients(Product(matrices), rhs, tolerance=1e-8, max_iterations=3)
    assert found.residuals[:, :2].max() < 1e-8
    assert found.residuals[:, 2].min() > 1e-7


def test_a_singular_or_poisoned_system_does_not_spoil_the_others():
    matrices, rhs = systems([1e2] * 3)
    matrices[0] = 0
    matrices[1, 0, 0] = torch.nan
    found = conjugate_gradients(Product(matrices), rhs, tolerance=1e-8)
    assert (found.residuals[:, :2] > 1e-7).all()
    torch.testing.assert_close(
        found.solution[:, 2:], solve(matrices[2:], rhs[:, 2:]), rtol=1e-5, atol=1e-5
    )


def test_the_limit_grows_with_the_number_of_unknowns():
    matrices, rhs = systems([1e14] * 3)
    product = Product(matrices)
    found = conjugate_gradients(product, rhs, tolerance=1e-15)
    assert found.iterations == len(product.seen) == 4 * D + 20 + 1  # one for the true residual
