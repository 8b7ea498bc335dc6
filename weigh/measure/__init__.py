"""What is measured on a model's values: statistics of the weights, the error of rounding, the spectrum of a matrix, and
what differs between two models.

`weights.measure` streams over the tensors of an inventory; `scan` reads one of them; `spectrum` looks at one matrix;
`roundings` lists the codecs whose error is told. `pairs` finds what belongs together in two models, `difference`
compares it, and `relation` says what that means. Nothing here prints, and no whole tensor need be in memory, but for a
spectrum and for a matrix that two runtimes store in different orders.
"""
