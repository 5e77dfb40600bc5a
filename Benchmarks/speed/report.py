"""The figures as tables in Markdown."""
from common import short
from flow import SHAPES
from measure import SCORE_BATCHES, TRAIN_BATCHES
from sides import OURS


def thousands(value):
    return "-" if value is None else short(value / 1000)


def table(head, rows):
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * 2 + "--:|" * (len(head) - 2)]
                     + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def fastest(figures, cells):
    """The highest figure of any peer in any of the cells, and whose it is."""
    found = [(figure[cell], name) for name, figure in figures.items() if name != OURS
             for cell in cells if figure.get(cell)]
    return max(found) if found else (None, "-")


def goal(name, reached, wanted, at_most=False):
    """One line: what was to reach, what was."""
    if reached is None:
        return [name, "-", f"{wanted:g}", "not measured"]
    good = reached <= wanted if at_most else reached >= wanted
    return [name, f"{reached:.3g}", ("at most " if at_most else "at least ") + f"{wanted:g}",
            "reached" if good else "**not reached**"]


class Report:
    def __init__(self, results):
        """`results[shape, threads]` are the figures of a measurement."""
        self.results = results
        self.shapes = [shape for shape in SHAPES if any(key[0] == shape for key in results)]
        self.names = list(next(iter(results.values())))

    def rates(self, op, batches, threads):
        rows = []
        for shape in self.shapes:
            figures = self.results.get((shape, threads))
            if figures is None:
                continue
            for batch in batches:
                cell = f"{op}_{batch}"
                best = max((f[cell] for f in figures.values() if f.get(cell)), default=None)
                rows.append([shape.name, f"{batch:,}"] + [
                    f"**{thousands(figures.get(name, {}).get(cell))}**" if figures.get(name, {}).get(cell) == best
                    else thousands(figures.get(name, {}).get(cell)) for name in self.names])
        return table(["shape", "batch"] + self.names, rows)

    def latencies(self):
        rows = []
        for shape in self.shapes:
            figures = self.results.get((shape, 1))
            if figures:
                rows.append([shape.name, "p50 / p99"] + [
                    f"{figures[name]['p50']:,.1f} / {figures[name]['p99']:,.1f}" for name in self.names])
        return table(["shape", "µs"] + self.names, rows)

    def memory(self):
        rows = []
        for (shape, threads), figures in self.results.items():
            rows.append([shape.name, str(threads)] + [
                f"{figures[name]['peak_bytes'] / 2**20:,.0f}" for name in self.names])
        return table(["shape", "threads"] + self.names, rows)

    def limits(self):
        rows = []
        for shape in self.shapes:
            figures = self.results.get((shape, 1))
            if not figures:
                continue
            ours = figures[OURS]
            score = max(ours[f"score_{b}"] for b in SCORE_BATCHES)
            train = max(ours[f"train_{b}"] for b in TRAIN_BATCHES)
            rows.append([
                shape.name, f"{ours['peak'] / 1e9:.0f}", thousands(ours["peak"] / shape.flops),
                thousands(ours["gemm"]), thousands(score), thousands(ours["peak"] / (3 * shape.flops)),
                thousands(ours["gemmTrain"]), thousands(train)])
        return table(["shape", "FMA peak, GFLOP/s", "score at the peak", "OpenBLAS products alone", "flowguard",
                      "train at the peak", "OpenBLAS products alone", "flowguard"], rows)

    def goals(self):
        lines = []
        at_16, at_best = (5, 3, 2.5, 1.6), (1.8, 1.6, 1.6, 1.4)
        for shape in self.shapes:
            place, one, two = SHAPES.index(shape), self.results.get((shape, 1)), self.results.get((shape, 2))
            if one:
                self.one_core(lines, shape, one, at_16[place], at_best[place], place == 3)
            if one and two:
                for cell, wanted in (("score_4096", 1.8), ("score_65536", 1.8), ("train_2048", 1.7)):
                    lines.append(goal(f"{shape.name}: two cores beside one, {cell.replace('_', ' ')}",
                                      two[OURS][cell] / one[OURS][cell], wanted))
        return table(["goal", "reached", "wanted", ""], lines)

    def one_core(self, lines, shape, figures, at_16, at_best, is_largest):
        ours = figures[OURS]
        for batch in SCORE_BATCHES[2:]:
            lines.append(goal(f"{shape.name}: share of the FMA peak, score {batch}",
                              ours[f"score_{batch}"] * shape.flops / ours["peak"], 0.7))
        peer, who = fastest(figures, ["score_16"])
        lines.append(goal(f"{shape.name}: beside the fastest peer ({who}), score 16",
                          peer and ours["score_16"] / peer, at_16))
        peer, who = fastest(figures, [f"score_{b}" for b in SCORE_BATCHES])
        best = max(ours[f"score_{b}"] for b in SCORE_BATCHES)
        lines.append(goal(f"{shape.name}: best batch beside the fastest peer's ({who})", peer and best / peer, at_best))
        lines.append(goal(f"{shape.name}: score 65536 beside 4096", ours["score_65536"] / ours["score_4096"], 0.98))
        peers = [(f["p50"], name) for name, f in figures.items() if name != OURS and "p50" in f]
        if peers:
            lines.append(goal(f"{shape.name}: one record beside the fastest peer ({min(peers)[1]})",
                              ours["p50"] / min(peers)[0], 0.5 if is_largest else 0.1, at_most=True))
        lines.append(goal(f"{shape.name}: one record, p99 beside p50", ours["p99"] / ours["p50"], 3, at_most=True))
        lines += self.training_goals(shape, figures)
        allocations = max(v for k, v in ours.items() if k.endswith("_allocations"))
        lines.append(goal(f"{shape.name}: allocations a call or step", allocations, 0, at_most=True))

    def training_goals(self, shape, figures):
        ours, ratio = figures[OURS], (2, 1.6, 1.6, 1.3)[SHAPES.index(shape)]
        for batch in TRAIN_BATCHES:
            peer, who = fastest(figures, [f"train_{batch}"])
            yield goal(f"{shape.name}: beside the fastest peer ({who}), train {batch}",
                       peer and ours[f"train_{batch}"] / peer, ratio)
            yield goal(f"{shape.name}: share of the FMA peak, train {batch}",
                       ours[f"train_{batch}"] * 3 * shape.flops / ours["peak"], 0.6)

    def training_text(self, about):
        """Of a run that measured nothing but training steps."""
        parts = [f"{about}\n"]
        for threads in sorted({key[1] for key in self.results}):
            clock = "CPU time" if threads == 1 else "the wall"
            parts += [f"**{threads} thread{'s' * (threads > 1)}**, thousand rows a second by {clock}\n",
                      self.rates("train", TRAIN_BATCHES, threads)]
        goals = [line for shape in self.shapes if (shape, 1) in self.results
                 for line in self.training_goals(shape, self.results[shape, 1])]
        if goals:
            parts.append(table(["goal, one thread", "reached", "wanted", ""], goals))
        return "\n".join(parts)

    def text(self, about):
        parts = [f"{about}\n"]
        for threads in sorted({key[1] for key in self.results}):
            clock = "CPU time" if threads == 1 else "the wall"
            parts += [f"### Scoring, {threads} thread{'s' * (threads > 1)}, thousand rows a second by {clock}\n",
                      self.rates("score", SCORE_BATCHES, threads),
                      f"### Training steps, {threads} thread{'s' * (threads > 1)}, thousand rows a second by {clock}\n",
                      self.rates("train", TRAIN_BATCHES, threads)]
        if any(key[1] == 1 for key in self.results):
            parts += ["### One record, one thread, µs of CPU time\n", self.latencies(),
                      "### Limits, one core, thousand rows a second\n", self.limits()]
        parts += ["### Goals\n", self.goals(), "### Highest memory of the process, MiB\n", self.memory()]
        return "\n".join(parts)
