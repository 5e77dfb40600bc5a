"""What all benchmarks say of the machine, and how their tables come into a document."""
import re
import subprocess
from pathlib import Path


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown processor"


def swift_version():
    printed = subprocess.run(["swift", "--version"], capture_output=True, text=True).stdout
    found = re.search(r"Swift version [\w.-]+", printed)
    return found.group(0) if found else "Swift"


def short(value):
    """A number with three digits, or whole."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def replace_between(text, key, body):
    """The text with what stands between its markers of this key replaced."""
    start, end = f"<!-- {key}: begin -->", f"<!-- {key}: end -->"
    if start not in text:
        return text.rstrip("\n") + f"\n\n{start}\n{body}\n{end}\n"
    before, rest = text.split(start, 1)
    if end not in rest:
        raise ValueError(f"marker '{end}' is missing")
    return before + f"{start}\n{body}\n{end}" + rest.split(end, 1)[1]
