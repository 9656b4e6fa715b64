"""Lightning data modules for images, tables and toy data."""
