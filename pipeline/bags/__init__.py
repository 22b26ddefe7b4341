"""A learner that looks at patients: from the vectors of a patient's images, a bag, to one score.

A change here trains bag models again, which takes seconds. `scoring` travels with registered models. May import `common`,
`machine` and `folds`.
"""
