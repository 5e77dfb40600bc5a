"""Categories and missing values of a detector's file: what fills gaps, codes, context, and ln P of the codes."""

import numpy as np

SLOTS = 32


def filled(values, header, quantiles):
    """Puts the median, or the stream's last value, into each gap."""
    policies = header["options"].get("missing") or {"standard": "reject", "columns": {}}
    whole = values.copy()
    for j, name in enumerate(header["schema"]["features"]):
        median = quantiles[j][quantiles.shape[1] // 2]
        policy = policies["columns"].get(name, policies["standard"])
        last = median
        for row in range(len(whole)):
            if np.isnan(whole[row, j]):
                whole[row, j] = last if policy == "previous" else median
            last = whole[row, j]
    return whole


def codes(header, gaps, categories):
    """The level of each discrete column in each row; its number of levels for a value that is none."""
    schema, columns = header["schema"], header.get("discrete", [])
    found = np.zeros((len(gaps), len(columns)), dtype=int)
    for i, column in enumerate(columns):
        place = {level: code for code, level in enumerate(column["levels"])}
        for row in range(len(gaps)):
            if column["kind"] == "category":
                value = categories[row][schema["categories"].index(column["name"])]
            else:
                value = None if gaps[row, schema["features"].index(column["name"])] else "present"
            found[row, i] = place.get(value, len(place))
    return found


def slot_count(column):
    return min(len(column["levels"]), SLOTS)


def context(header, codes):
    """A one in the slot's place; nothing for the most frequent level; one place for whether a value is there."""
    blocks = []
    for i, column in enumerate(header.get("discrete", [])):
        width = 1 if column["kind"] == "presence" else slot_count(column)
        places = np.minimum(codes[:, i], width)
        blocks.append(np.eye(width + 1)[places][:, 1:])
    return blocks


def law(counts, rows, distinct):
    """Ristad's probabilities of the counted levels, and what is left for all others."""
    whole = rows**2 + rows + 2 * distinct
    seen = np.where(counts > 0, (counts + 1) * (rows + 1 - distinct) / whole, 0)
    return seen, 1 - seen.sum()


def log_probability(header, codes):
    """ln P(categories, pattern of missing values) of each row, along the forest."""
    columns = header.get("discrete", [])
    total = np.zeros(len(codes))
    penalty = header["constant_penalty_nats"]
    for i, column in enumerate(columns):
        counts = np.array(column["counts"], dtype=float)
        seen, rest = law(counts, column["row_count"], column["distinct_count"])
        marginal = np.append(seen, rest)
        table = [marginal]
        slots = np.zeros(len(codes), dtype=int)
        if column.get("parent") is not None:
            parent = columns[column["parent"]]
            slots = np.minimum(codes[:, column["parent"]], slot_count(parent))
            table = [marginal] * (slot_count(parent) + 1)
            for slot in range(len(table)):
                within = np.zeros(len(counts))
                for pair in column["pairs"]:
                    if pair["slot"] == slot:
                        within[pair["level"]] = pair["count"]
                if within.sum() > 0:
                    seen, left = law(within, within.sum(), (within > 0).sum())
                    seen = np.append(seen, 0)
                    unshared = np.where(seen > 0, 0, marginal)
                    table[slot] = seen + left * unshared / unshared.sum()
        total += np.log(np.array(table)[slots, codes[:, i]])
        # A closed set of values pays for a new one as a constant feature does for a change.
        is_closed = column["distinct_count"] == len(counts) and rest * column["row_count"] < 1
        if is_closed:
            total -= penalty * (codes[:, i] == len(counts))
    return total
