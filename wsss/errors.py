"""The one exception that a user is meant to read."""


class WsssError(Exception):
    """Something the user can fix: the message names the file, the id and the fix. Stages print it and exit with 2."""

    exit_code = 2
