"""Speed and quality of lightning-flows beside zuko and nflows: `python -m benchmarks`."""
