import os
import signal
from pathlib import Path

import pytest

import pynn


@pytest.fixture(scope="session", autouse=True)
def away_from_the_tree(tmp_path_factory):
    """Child processes import the pynn that this process has, not what lies in the folder where pytest was started."""
    package = Path(pynn.__file__).parent
    search = os.pathsep.join(filter(None, (str(package.parent), os.environ.get("PYTHONPATH"))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", search)
        if "PYNN_DATA" in os.environ:
            patch.setenv("PYNN_DATA", os.path.abspath(os.environ["PYNN_DATA"]))
        patch.chdir(tmp_path_factory.mktemp("cwd"))
        yield


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_arrives():
    """A run in the background of a shell starts with SIGINT ignored, and so would its child processes."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


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
