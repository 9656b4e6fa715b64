"""`python -m lightning_flows` is the same as `lightning-flows`."""

from lightning_flows.cli.command_line import run

if __name__ == "__main__":
    run()
