"""One file per algorithm, or per family made from a table."""
