"""One answer for a patient: control or which subtype, as probabilities that add up, and as a set of classes at a stated coverage.

A change here makes the calls again, which takes seconds. `answer` travels with the registered call. May import `common`,
`names`, `folds`, `bags` and `evaluation`.
"""
