import pytest

from commandline import train


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """`pynn train` without arguments but the folder."""
    out = tmp_path_factory.mktemp("run") / "new" / "folder"
    return out, train(out)
