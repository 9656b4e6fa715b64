"""How data modules read: files, tables and what is checked in them."""
