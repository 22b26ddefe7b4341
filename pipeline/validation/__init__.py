"""What a cohort must satisfy before anything is trained on it: rules, the tables they look at, Great Expectations.

May import `common` and `images`.
"""
