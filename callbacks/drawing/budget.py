"""Number of Jacobian products that pictures of components take, and a budget for it."""

from dataclasses import dataclass

from lightning_flows.components.extract import LARGE, OVERSAMPLING
from lightning_flows.core.errors import ConfigError

__all__ = ["STEPS", "Plan", "plan"]

STEPS = 4  # of a walk, in each direction
SHOWN = 6  # components, where k is not given
ITERATIONS = 10  # that the iterative method is expected to need


@dataclass(frozen=True)
class Plan:
    """What a budget pays for.

    Args:
        k: number of components.
        full: whether whole Jacobians are built.
        points: number of points to look at.
        walks: number of points to walk from, along each component.
        cost: Jacobian products that one extraction at one point is expected to take.
    """

    k: int
    full: bool
    points: int
    walks: int
    cost: int

    @property
    def walk_cost(self) -> int:
        """Jacobian products of a walk along one component; it extracts twice in a step."""
        return (4 * STEPS - 1) * self.cost


def plan(
    size: int,
    *,
    k: int | None,
    method: str | None,
    through: str,
    points: int,
    walks: int,
    budget: int,
) -> tuple[Plan, str]:
    """Cut walks, and then points, to a budget; at least one point is left.

    Args:
        size: number of latents.
        k: number of components; 6, or as many as there are latents, where it is None.
        method: "full", "iterative" or None, as `components.components` takes it.
        through: as well.
        points: number of points that are wanted.
        walks: number of points to walk from that are wanted.
        budget: most Jacobian products.

    Returns:
        The plan, and a sentence about what was cut; an empty one where nothing was.

    Raises:
        ConfigError: k is more than there are latents.
    """
    count = min(SHOWN, size) if k is None else k
    if count > size:
        raise ConfigError(f"k is {k}; the latents have {size} dimensions, and no more components.")
    large = through == "decode" and size >= LARGE * count
    full = not large if method is None else method == "full"
    cost = size if full else 2 * min(count + OVERSAMPLING, size) * ITERATIONS
    whole = Plan(count, full, points, walks, cost)
    few = max(1, min(points, budget // cost))
    rest = max(0, budget - few * cost)
    cut = Plan(count, full, few, min(walks, few, rest // (count * whole.walk_cost)), cost)
    if cut == whole:
        return whole, ""
    return cut, (
        f"the budget of {budget} Jacobian products allows {cut.points} of {points} points, at "
        f"{cost} products each, and walks from {cut.walks} of {walks}, at "
        f"{count * whole.walk_cost} each."
    )
