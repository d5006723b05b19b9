"""The one exception that means: the user can mend this."""


class UserError(ValueError):
    """A mistake of the user's; its message is one line.

    It names the file or option, what was expected, what came, and what to do. The command line prints it and
    ends with status 2; every other exception is a fault of the program, or of a user's own code, and
    keeps its traceback.
    """
