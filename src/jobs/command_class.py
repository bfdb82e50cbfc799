"""Common behaviour of all commands: refuse empty options, and turn an exit from inside into an error."""

from typing import Any

from typer.core import TyperCommand

from asgard.common.errors import RunError, UsageError
from asgard.common.places import ending_of
from asgard.common.stopping import received

_MAY_BE_EMPTY = frozenset({"quote", "null_value", "delimiter"})


class JobCommand(TyperCommand):
    """One command of Asgard."""

    def invoke(self, ctx: Any) -> Any:
        """Call the command's function.

        Raises:
            UsageError: an option or argument was given as an empty text.
            RunError: code that the function called tried to end the process, e.g. by `sys.exit`.
        """
        for parameter in self.params:
            if parameter.name not in _MAY_BE_EMPTY and _was_given_empty(ctx, parameter.name or ""):
                name = (
                    parameter.opts[0] if parameter.opts[0].startswith("-") else f"Argument {parameter.opts[0].upper()}"
                )
                raise UsageError(
                    f"{name} is an empty text.", hint=f"Leave it out, or give it a value: {ctx.command_path} --help"
                )
        try:
            return super().invoke(ctx)
        except (SystemExit, KeyboardInterrupt) as error:
            if received() is not None:
                raise
            raise RunError(
                f"The command was ended from inside: {ending_of(error)}.",
                hint="Raise an exception that says what is wrong; if there is nothing to do, return.",
            ) from error


def _was_given_empty(ctx: Any, name: str) -> bool:
    value, source = ctx.params.get(name), ctx.get_parameter_source(name)
    texts = value if isinstance(value, (list, tuple)) else (value,)
    return source.name == "COMMANDLINE" and any(isinstance(text, str) and not text.strip() for text in texts)
