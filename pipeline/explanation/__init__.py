"""Why a model says what it says of a patient: which cells carried the score, and which pixels of a cell.

Made anew by `explain` alone; nothing here trains or changes a result. May import `common`, `folds`, `machine`, `images`,
`networks`, `bags`, `encoders`, `evaluation`, `registry`, `demo` and `pages`.
"""
