"""The command line."""

from lightning_flows.cli.command_line import FlowCLI, main, run

__all__ = ["FlowCLI", "main", "run"]
