"""The one exception that means: something that was handed to the kit is wrong."""


class KitError(Exception):
    """Bad input. The message names file, document and field and says what was expected; the command line prints it alone."""
