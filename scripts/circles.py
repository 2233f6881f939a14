#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""circles.py [--floors FLOOR,FLOOR...] [--sources FOLDER] [--draw FOLDER] OBJECT...: do these object
files need each other in circles?

Asks nm what each gives and needs. Prints each circle, with the symbols that make it, and fails if
there is one. With --floors an object file belongs to the floor that its name begins with
(token_pool.c.o, from token/pool.c), and may need only its own floor and those before it in the list.
A FLOOR may be several rooms side by side (a|b), which may not need each other. With --sources the
same holds for what the files in FOLDER include from one another.

With --draw it prints a picture of FOLDER, from which the object files come, and looks for nothing:
the floors, or the rooms of the folder, or the levels of its files, the highest first.
"""
import os
import re
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


def included(folder):
    """(file, included file) for each #include of a file below folder, as paths from there."""
    for where, _, names in sorted(os.walk(folder)):
        for name in sorted(names):
            if not name.endswith((".c", ".h")):
                continue
            with open(os.path.join(where, name), encoding="utf-8") as file:
                for other in re.findall(r'^ *# *include *"([^"]+)"', file.read(), re.M):
                    path = os.path.relpath(os.path.join(where, other), folder)
                    if not path.startswith(".."):
                        yield os.path.relpath(os.path.join(where, name), folder), path


class Floors:
    def __init__(self, text):
        self.of = {}
        for number, floor in enumerate(text.split(",")):
            for room in floor.split("|"):
                self.of[room] = number

    def wrong(self, room, other):
        """Why `room` may not need `other`; None if it may."""
        if room not in self.of:
            return "is on no floor"
        if other not in self.of or room == other or self.of[other] < self.of[room]:
            return None
        return "which is " + ("a floor above it" if self.of[other] > self.of[room] else "beside it")


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
    if circles(arrows):
        sys.exit("circles.py: nothing is drawn while there are circles")
    height = heights(arrows)
    room, shown = {}, {}
    for name in arrows:
        first, _, rest = name.partition("_")
        inside = os.path.isfile(os.path.join(folder, first, rest + ".c"))
        room[name] = first + "/" if inside else folder + "/"
        shown[name] = rest if inside else name.removeprefix(".._").replace("_", "/", name.startswith(".._"))
    names = sorted(set(room.values()), key=lambda r: -max(height[n] for n in arrows if room[n] == r))
    if floors:
        names = [f + "/" for f in reversed(floors) if f + "/" in room.values()]
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
    floors, sources, folder, bad = None, None, None, False
    while args and args[0].startswith("--"):
        if args[0] == "--floors":
            floors = Floors(args[1])
        elif args[0] == "--sources":
            sources = args[1]
        else:
            folder = args[1]
        args = args[2:]
    if not args:
        sys.exit("circles.py: no object files")
    gives, needs = read(args)
    arrows = {name: {gives[s] for s in needs[name] if s in gives} - {name} for name in needs}

    if folder:
        draw(folder, floors and list(floors.of), arrows)
        return

    def why(a, b):
        return ", ".join(sorted(s for s in needs[a] if gives.get(s) == b))

    for circle in circles(arrows):
        bad = True
        print("a circle of %d files:" % len(circle))
        for a in circle:
            for b in sorted(arrows[a] & set(circle)):
                print("  %s needs %s of %s" % (a, why(a, b), b))
    wrong = []
    for a in sorted(needs) if floors else []:
        if a.split("_")[0] not in floors.of:
            wrong.append("%s is on no floor" % a)
        for b in sorted(arrows[a]):
            reason = floors.wrong(a.split("_")[0], b.split("_")[0])
            if reason:
                wrong.append("%s needs %s of %s, %s" % (a, why(a, b), b, reason))
    for a, b in included(sources) if sources else []:
        reason = floors.wrong(*(path.split("/")[0].split(".")[0] for path in (a, b)))
        if reason:
            wrong.append("%s includes %s, %s" % (a, b, reason))
    for line in dict.fromkeys(wrong):
        print(line)
    sys.exit(bad or bool(wrong))


main(sys.argv[1:])
