"""Prints one line per test of a JUnit file: its name, a tab, its result."""

import sys
import xml.etree.ElementTree

for case in xml.etree.ElementTree.parse(sys.argv[1]).iter("testcase"):
    parts = [part.tag for part in case if part.tag in ("skipped", "failure", "error")]
    print(case.get("name"), "+".join(parts) or case.get("result", "ok"), sep="\t")
