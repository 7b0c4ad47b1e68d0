"""Import of labelled photos that were collected before the product, or by another one."""
