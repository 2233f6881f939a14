#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""circles.py [--floors NAME,NAME...] OBJECT...: do these object files need each other in circles?

Asks nm what each gives and needs. Prints each circle, with the symbols that make it, and fails if
there is one. With --floors an object file belongs to the floor that its name begins with
(token_pool.c.o), and may need only its own floor and those before it in the list.
"""
import os
import subprocess
import sys


def read(objects):
    gives, needs = {}, {}
    for path in objects:
        name = os.path.basename(path).removesuffix(".o").removesuffix(".c")
        needs[name] = set()
        for line in subprocess.check_output(["nm", path], text=True).splitlines():
            kind, symbol = line.split()[-2:]
            if kind == "U":
                needs[name].add(symbol)
            elif kind.isupper():
                gives[symbol] = name
    return gives, needs


def circles(arrows):
    """The sets of files that reach each other (Tarjan's algorithm)."""
    index, low, stack, found = {}, {}, [], []

    def visit(name):
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in arrows[name]:
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            at = stack.index(name)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for name in sorted(arrows):
        if name not in index:
            visit(name)
    return found


def main(args):
    floors = []
    if args and args[0] == "--floors":
        floors = args[1].split(",")
        args = args[2:]
    if not args:
        sys.exit("circles.py: no object files")
    gives, needs = read(args)
    arrows = {name: {gives[s] for s in needs[name] if s in gives} - {name} for name in needs}
    bad = False

    def why(a, b):
        return ", ".join(sorted(s for s in needs[a] if gives.get(s) == b))

    for circle in circles(arrows):
        bad = True
        print("a circle of %d files:" % len(circle))
        for a in circle:
            for b in sorted(arrows[a] & set(circle)):
                print("  %s needs %s of %s" % (a, why(a, b), b))
    floor = {name: name.split("_")[0] for name in needs}
    for a in sorted(needs) if floors else []:
        if floor[a] not in floors:
            bad = True
            print("%s is on no floor" % a)
            continue
        for b in sorted(arrows[a]):
            if floor[b] in floors and floors.index(floor[b]) > floors.index(floor[a]):
                bad = True
                print("%s needs %s of %s, which is a floor above it" % (a, why(a, b), b))
    sys.exit(bad)


main(sys.argv[1:])
