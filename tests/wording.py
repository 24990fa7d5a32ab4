"""Words that several tests expect, and when two texts say the same."""

import re

NOT_SINGLE = "must be a single number"
NOT_SUMMED = "does not sum over inputs"
NOT_WHOLE = "must be a whole number"
NO_COUNT = "must be a whole number, at least 1"
NO_FRACTION = "must lie between 0 and 1"
NO_GENERATOR = "must be a torch.Generator"
NO_ROWS = "must have shape (batch, n_in)"
NO_SHAPE = "must be a weight shape"
NO_TABLE = "is not a table of numbers"
NO_TENSOR = "must be a torch tensor"
NO_VARIANCE = "infinite or undefined variance"
OTHER_STEPS = "needs a network with steps=3"
REJECTED = "the theory is rejected"
UNKNOWN = "unknown; choose one of"

NUMBER = re.compile(r"-?\d+\.?\d*(?:e[-+]?\d+)?")


def same_text(found, shown):
    """True for the same words, with numbers that differ by at most one in the last digit shown."""
    numbers, wanted = ([*map(float, NUMBER.findall(text))] for text in (found, shown))
    digits = [
        10.0 ** -len(text.partition("e")[0].partition(".")[2]) * 10.0 ** int(text.partition("e")[2] or 0)
        for text in NUMBER.findall(shown)
    ]
    words = [NUMBER.sub("#", text).split() for text in (found, shown)]
    return words[0] == words[1] and all(abs(a - b) <= 1.01 * d for a, b, d in zip(numbers, wanted, digits, strict=True))
