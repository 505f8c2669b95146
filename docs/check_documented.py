#!/usr/bin/env python3
"""Names every public declaration without a comment: check_documented.py XML_FOLDER, which Doxygen has written.

A type has a comment, and so has a function, a constant or an alias. A comment speaks for the declarations that follow it up
to the next blank line, a kernel's for the arguments right above it, and a class's for its constructors. Without one go members of structs and values of enums, whose names
and defaults speak, accessors (const, without parameters), what is defaulted, deleted or overridden, destructors and
comparisons. A header begins with a comment.

Exits 1 where something is missing, with a line for each: FILE:LINE: what.
"""
import functools
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


@functools.cache
def lines(file):
    return Path(file).read_text(encoding="utf-8").splitlines()


def commented(file, line, end):
    """Whether the paragraph that holds the lines (counted from 1) has a comment: above them, or behind the whole type."""
    behind = lines(file)[end:end + 1]
    if end > line and behind and behind[0].strip().startswith("///"):
        return True
    within = False  # a type that the paragraph holds too
    for text in reversed(lines(file)[:line - 1]):
        text = text.strip()
        if text.startswith("///"):
            return True
        if text == "};":
            within = True
        elif within:
            within = not text.startswith(("struct", "class"))
        elif not text or text.endswith(":") or text.startswith(("struct", "class", "namespace", "#")):
            return False
    return False


def text_of(element, *names):
    return "".join("".join(part.itertext()) for name in names for part in element.findall(name)).strip()


def speaks(member):
    """Whether a function's name and form say all."""
    name = member.findtext("name")
    arguments = member.findtext("argsstring") or ""
    accessor = member.get("const") == "yes" and member.find("param") is None
    return (accessor or name.startswith("~") or name.startswith("operator==") or "=delete" in arguments or
            "=default" in arguments or member.find("reimplements") is not None)


def members_missing(compound):
    owner = compound.findtext("compoundname").split("::")[-1].split("<")[0].strip()
    for member in compound.iter("memberdef"):
        if member.get("prot") != "public" or text_of(member, "briefdescription", "detaileddescription"):
            continue
        kind = member.get("kind")
        of_type = compound.get("kind") in ("class", "struct")
        if kind in ("friend", "define") or of_type and kind == "variable":
            continue
        if kind == "function" and (speaks(member) or of_type and member.findtext("name") == owner):
            continue
        if (member.findtext("definition") or "").startswith("template "):
            continue  # an instantiation
        what = member.findtext("definition") or f"{kind} {member.findtext('name')}"
        yield member.find("location"), what + (member.findtext("argsstring") or "")


def place_of(location):
    line = int(location.get("line", 1))
    return location.get("file"), line, max(line, int(location.get("bodyend", -1)))


def missing(file):
    """(file, first line, last line, what) of a file of Doxygen's XML."""
    for compound in ElementTree.parse(file).getroot().iter("compounddef"):
        if compound.get("prot", "public") != "public":
            continue
        kind = compound.get("kind")
        location = compound.find("location")
        bare = not text_of(compound, "briefdescription", "detaileddescription")
        if bare and kind in ("class", "struct", "file"):
            yield place_of(location) + (f"{kind} {compound.findtext('compoundname')}",)
        if kind in ("class", "struct", "namespace"):
            for place, what in members_missing(compound):
                yield place_of(place) + (what,)


def main():
    if len(sys.argv) != 2:
        print("usage: check_documented.py XML_FOLDER", file=sys.stderr)
        return 2
    files = sorted(Path(sys.argv[1]).glob("*.xml"))
    found = {place for file in files if file.name != "index.xml" for place in missing(file)}
    found = sorted(place for place in found if place[3].startswith("file ") or not commented(*place[:3]))
    for file, line, _, what in found:
        print(f"{file}:{line}: {what} has no comment", file=sys.stderr)
    if not files:
        print(f"{sys.argv[1]} holds no XML of Doxygen", file=sys.stderr)
    return 1 if found or not files else 0


if __name__ == "__main__":
    sys.exit(main())
