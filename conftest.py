"""``--share k/n``: every n-th test from the k-th on. Neighbours tend to take equally long, so that shares do too."""

import argparse

import pytest


def share(text):
    """``3/12`` as two numbers."""
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise argparse.ArgumentTypeError(f"{text} must be k/n with 1 ≤ k ≤ n, such as 3/12")
    return int(part), int(parts)


def pytest_addoption(parser):
    parser.addoption("--share", type=share, default=(1, 1), metavar="K/N", help="only every n-th test, from the k-th on")


@pytest.hookimpl(trylast=True)  # after -m and -k, so that shares are of what would run
def pytest_collection_modifyitems(config, items):
    part, parts = config.getoption("--share")
    others = [item for i, item in enumerate(items) if i % parts != part - 1]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = items[part - 1 :: parts]
