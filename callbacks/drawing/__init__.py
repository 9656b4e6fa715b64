"""How callbacks draw: fixed points, reproducible looks at a module, files and loggers."""
