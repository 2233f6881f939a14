#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""circles.py [--floors NAME,NAME...] [--draw FOLDER] OBJECT...: do these object files need each other
in circles?

Asks nm what each gives and needs. Prints each circle, with the symbols that make it, and fails if
there is one. With --floors an object file belongs to the floor that its name begins with
(token_pool.c.o), and may need only its own floor and those before it in the list.

With --draw it prints a picture of FOLDER, from which the object files come, and looks for nothing:
the floors, or the rooms of the folder, or the levels of its files, the highest first.
"""
import os
import subprocess
import sys
import textwrap


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


def heights(arrows):
    """How many files stand one upon the other below each file. There are no circles."""
    height = {}

    def visit(name):
        if name not in height:
            height[name] = max([visit(other) + 1 for other in arrows[name]], default=0)
        return height[name]

    for name in arrows:
        visit(name)
    return height


def draw(folder, floors, arrows):
    """One row for each floor, room or level: its name, its files, what it needs of the others."""
    height = heights(arrows)
    room, shown = {}, {}
    for name in arrows:
        first, _, rest = name.partition("_")
        inside = os.path.isfile(os.path.join(folder, first, rest + ".c"))
        room[name] = first + "/" if inside else folder + "/"
        shown[name] = rest if inside else name.removeprefix(".._").replace("_", "/", name.startswith(".._"))
    names = sorted(set(room.values()), key=lambda r: -max(height[n] for n in arrows if room[n] == r))
    if floors:
        names = [f + "/" for f in reversed(floors)]
    if len(names) == 1:
        room = {name: str(height[name]) for name in arrows}
        names = sorted(set(room.values()), key=lambda r: -int(r))
    rows = []
    for r in names:
        files = sorted(shown[n] for n in arrows if room[n] == r)
        needs = [o for o in names if o != r and any(room[b] == o for a in arrows if room[a] == r for b in arrows[a])]
        rows.append((r, textwrap.wrap(" ".join(files), 66), textwrap.wrap(" ".join(needs), 30)))
    if names[0].isdigit():
        for _, files, _ in rows:
            print("\n    ".join(files))
        return
    left = max(len(r) for r in names)
    line = "+" + "-" * (left + 2) + "+" + "-" * 68 + "+"
    print("%-*s needs" % (left + 73, folder + "/"))
    for r, files, needs in rows:
        print(line)
        for i in range(max(len(files), len(needs))):
            cells = [part[i] if i < len(part) else "" for part in ([r], files, needs)]
            print(("| %-*s | %-66s | %s" % (left, *cells)).rstrip())
    print(line)


def main(args):
    floors, folder = [], None
    while args and args[0] in ("--floors", "--draw"):
        if args[0] == "--floors":
            floors = args[1].split(",")
        else:
            folder = args[1]
        args = args[2:]
    if not args:
        sys.exit("circles.py: no object files")
    gives, needs = read(args)
    arrows = {name: {gives[s] for s in needs[name] if s in gives} - {name} for name in needs}
    if folder:
        draw(folder, floors, arrows)
        return
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
