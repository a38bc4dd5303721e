"""Join control groups, then become the program: `python -I -S enter.py CGROUP_PROCS... -- ARGV...`.

A process can only be born inside a group on version 2; on hosts with version 1 it has to move itself,
before it has children or memory. Standard library only, and as little of that as possible: it runs on
the way to every machine.
"""

import os
import sys


def main() -> None:
    end = sys.argv.index("--")
    for file in sys.argv[1:end]:
        fd = os.open(file, os.O_WRONLY)
        os.write(fd, b"0")  # 0: the writer itself
        os.close(fd)
    argv = sys.argv[end + 1 :]
    os.execvp(argv[0], argv)  # noqa: S606 - the argument list was made by Cgroup.command


main()
