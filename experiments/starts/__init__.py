"""Whether bounded objectives recover from starts that are chosen against them."""
