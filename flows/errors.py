"""What a person has to mend, as one line that says what is wrong and what to do.

FlowError             a stage failed, or something that it needs cannot be used; another try would not change that
  UnreachableError    a service did not answer; another try may help
  BusyError           another flow is at work in this checkout
"""


class FlowError(Exception):
    """A flow or a command of this package cannot go on, for a reason that another try would not change."""


class UnreachableError(FlowError):
    """A service did not answer."""


class BusyError(FlowError):
    """Another flow is at work in this checkout."""
