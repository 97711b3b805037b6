import os

import pytest

import pynn


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--slow"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))


@pytest.fixture(scope="session")
def mnist():
    """The real MNIST, from the folder that PYNN_DATA names."""
    if "PYNN_DATA" not in os.environ:
        pytest.skip("needs the files of MNIST: set PYNN_DATA")
    return pynn.datasets.mnist(os.environ["PYNN_DATA"])
