"""The one exception that means: something that was handed to the kit is wrong."""


class KitError(Exception):
    """Bad input. The message names file, document and field and what was expected; users see it without traceback."""
