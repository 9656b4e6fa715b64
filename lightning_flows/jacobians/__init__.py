"""Everything that differentiates a map: products, volumes, components."""
