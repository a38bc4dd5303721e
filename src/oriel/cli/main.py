"""The command `oriel`: the only place that renders errors to people and exits."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from oriel.cli.output import DONE, FAILED, INTERRUPTED, WRONG_USAGE, Output, record
from oriel.model.errors import OrielError

if TYPE_CHECKING:
    from typer import TyperException

__all__ = ["main", "run"]


def run(arguments: Sequence[str]) -> int:
    """Run one command; its exit status. Nothing escapes but what the interpreter itself raises."""
    words = arguments[: arguments.index("--")] if "--" in arguments else arguments
    output = Output(json="--json" in words)
    try:
        return _invoke(list(arguments), output)
    except OrielError as error:
        return output.error(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has gone; nothing more may be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except ExceptionGroup as group:
        # Tasks side by side fail together; an error of ours among them is what people can act on.
        ours, others = group.split(OrielError)
        return output.error(record(group) if others or ours is None else _first(ours))
    except Exception as error:  # the boundary: a traceback is for the log, not for people
        return output.error(record(error))


def _invoke(arguments: list[str], output: Output) -> int:
    import typer

    from oriel.cli.commands import app_for

    try:
        status = app_for(arguments[0] if arguments else "")(
            arguments, prog_name="oriel", standalone_mode=False
        )
    except typer.TyperException as error:
        _usage(error, output)
        return WRONG_USAGE
    except typer.Abort as error:
        raise KeyboardInterrupt from error
    return status if isinstance(status, int) else DONE


def _first(group: BaseExceptionGroup[OrielError]) -> OrielError:
    leaf: BaseException = group
    while isinstance(leaf, BaseExceptionGroup):
        leaf = leaf.exceptions[0]
    assert isinstance(leaf, OrielError)  # noqa: S101 - for mypy: the group was split by it
    return leaf


def _usage(error: TyperException, output: Output) -> None:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "oriel"
    message = error.format_message()
    if "\n" in message:  # no command given: the help is the answer
        print(message, file=sys.stderr)
        return
    hint = f"{command} --help tells its arguments and options"
    output.error(OrielError(message[:1].lower() + message[1:].rstrip("."), hint=hint, code="usage"))


def main() -> None:
    """Entry of the console script."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
