"""The LightningModules: how each family of flows is trained."""
