import csv
import io

from pynn.train import History


def test_columns_and_csv():
    history = History([{"epoch": 1, "loss": 0.1}, {"epoch": 2, "loss": 1 / 3, "val_loss": 2.5}])
    assert history.column("val_loss") == [None, 2.5]
    text = history.to_csv()
    assert text.splitlines()[0] == "epoch,loss,val_loss"
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [float(row["loss"]) for row in rows] == [0.1, 1 / 3]
    assert rows[0]["val_loss"] == ""
