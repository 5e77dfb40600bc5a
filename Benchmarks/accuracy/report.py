"""Tables with a goal beside the figure, for a terminal and for Markdown."""
import textwrap
from dataclasses import dataclass, field


@dataclass
class Goal:
    """A claim, what was measured, and whether it holds; None: it was not measured."""
    claim: str
    found: str
    reached: bool | None

    @property
    def word(self):
        return {True: "reached", False: "NOT REACHED", None: "not measured"}[self.reached]


@dataclass
class Section:
    """One item of the benchmark: tables, what was aimed at, and remarks on what fell short."""
    key: str
    title: str
    about: str
    tables: list = field(default_factory=list)  # (caption, head, rows, is detail)
    goals: list = field(default_factory=list)
    notes: list = field(default_factory=list)

    def table(self, caption, head, rows, detail=False):
        self.tables.append((caption, head, [[cell(c) for c in r] for r in rows], detail))

    def goal(self, claim, found, reached):
        self.goals.append(Goal(claim, found, reached))

    def text(self, verbose):
        lines = ["", self.title, "=" * len(self.title), *wrapped(self.about)]
        for caption, head, rows, detail in self.tables:
            if detail and not verbose:
                continue
            lines += ["", *wrapped(caption)] + aligned(head, rows)
        if self.goals:
            lines += [""] + aligned(["goal", "found", ""], [[g.claim, g.found, g.word] for g in self.goals],
                                    left=3)
        return "\n".join(lines + [f"  note: {n}" for n in self.notes]) + "\n"

    def markdown(self):
        lines = [f"## {self.title}", "", *wrapped(self.about), ""]
        if self.goals:
            lines += pipes(["goal", "found", ""], [[g.claim, g.found, g.word] for g in self.goals], left=3)
        for caption, head, rows, _ in self.tables:
            lines += [*wrapped(f"**{caption}**"), ""] + pipes(head, rows)
        for n in self.notes:
            lines += wrapped(f"- {n}", "  ")
        return "\n".join(lines).rstrip("\n") + "\n"


def wrapped(text, indent=""):
    return textwrap.wrap(text, 118, subsequent_indent=indent, break_on_hyphens=False)


def cell(value):
    if isinstance(value, float):
        return f"{value:.2f}"
    return "" if value is None else str(value)


def aligned(head, rows, left=1):
    cells = [head] + rows
    width = [max(len(r[i]) for r in cells) for i in range(len(head))]
    return ["  " + "  ".join(c.ljust(w) if i < left else c.rjust(w)
                             for i, (c, w) in enumerate(zip(r, width))).rstrip() for r in cells]


def pipes(head, rows, left=1):
    rule = ["---" if i < left else "---:" for i in range(len(head))]
    return ["| " + " | ".join(r) + " |" for r in [head, rule] + rows] + [""]
