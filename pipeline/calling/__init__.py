"""One answer for a patient: control or which subtype, by probabilities that add up, and a set of classes at a stated coverage.

A change here makes the calls again, which takes seconds. `answer` travels with the registered call. May import `common`,
`folds`, `bags` and `evaluation`.
"""
