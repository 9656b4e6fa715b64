"""Pickles of strangers are not executed, be they checkpoints, remote, or data."""

import http.server
import io
import pickle
import threading
import zipfile
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import lightning_flows
from lightning_flows import DensityModule, cli
from lightning_flows.core.errors import CheckpointError, ConfigError, DataError
from lightning_flows.datamodules import Arrays
from strangers import PAYLOADS, SMALL, checkpoint, pickled, quiet, toy, unharmed

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning and jsonargparse


@pytest.mark.parametrize("form", ["plain", "legacy", "zip"])
@pytest.mark.parametrize("payload", PAYLOADS)
def test_pickles_are_not_executed(payload, form):
    Path("x.ckpt").write_bytes(pickled(payload, form))
    reads = [
        lightning_flows.load,
        DensityModule.load_from_checkpoint,
        lambda path: DensityModule.load_from_checkpoint(io.BytesIO(Path(path).read_bytes())),
        lambda path: quiet().test(DensityModule(SMALL, 2), toy(), ckpt_path=path),
    ]
    for read in reads[: 3 if form != "zip" or payload != "eval" else 4]:
        with pytest.raises(Exception, match=r"Python objects|eights_only|damaged"):
            read("x.ckpt")
    for read in reads[:3]:
        with pytest.raises(CheckpointError) as caught:
            read("x.ckpt")
        assert "weights_only" not in str(caught.value)
    with pytest.raises(CheckpointError, match="which would let the checkpoint run code"):
        DensityModule.load_from_checkpoint("x.ckpt", weights_only=False)
    unharmed()


def test_members_of_an_archive_that_lead_out_of_it_are_not_written(content):
    path = Path(checkpoint(content))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../executed", "x")
        archive.writestr("/tmp/../executed", "x")
    with suppress(CheckpointError):
        lightning_flows.load(path)
    assert not Path("run/../executed").exists()
    unharmed()


@pytest.fixture
def address(here, monkeypatch):
    """Serves the present folder."""
    monkeypatch.setenv("TORCH_HOME", str(here / "hub"))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=here))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_remote_checkpoints_are_read_as_plain_data(address, content, here, capsys):
    Path("bad.ckpt").write_bytes(pickled("open", "zip"))
    bad, good = f"{address}/bad.ckpt", f"{address}/run/good.ckpt"
    checkpoint(content, path="run/good.ckpt")
    model = DensityModule(SMALL, 2)
    reads = [
        lightning_flows.load,
        DensityModule.load_from_checkpoint,
        lambda path: quiet().fit(model, toy(), ckpt_path=path),
        lambda path: quiet().validate(model, toy(), ckpt_path=path),
        lambda path: quiet().test(model, toy(), ckpt_path=path),
        lambda path: quiet().predict(model, toy(), ckpt_path=path),
    ]
    for read in reads:
        with pytest.raises(CheckpointError, match="holds Python objects") as caught:
            read(bad)
        assert "weights_only" not in str(caught.value)
    args = ["--model=DensityModule", "--model.flow=RealNVP", "--data=Toy", "--trainer.logger=false"]
    for command in ("fit", "test"):
        with pytest.raises(SystemExit):
            cli.main([command, *args, f"--ckpt_path={bad}"])
        assert "holds Python objects" in capsys.readouterr().err
    assert lightning_flows.load(good).event_shape == (2,)
    unharmed()


def write_npz(path):
    with zipfile.ZipFile(path, "w") as archive:
        stored = io.BytesIO()
        np.save(stored, np.array([PAYLOADS["open"]], dtype=object), allow_pickle=True)
        archive.writestr("data.npy", stored.getvalue())
        archive.writestr("../executed", b"x")


def write_parquet(path):
    import pandas as pd

    pd.DataFrame({"a": [pickle.dumps(PAYLOADS["open"])] * 9}).to_parquet(path)


WRITERS = {
    "npy": lambda p: np.save(p, np.array([PAYLOADS["open"]] * 9, dtype=object), allow_pickle=True),
    "pickle.npy": lambda p: p.write_bytes(pickle.dumps(PAYLOADS["open"])),
    "npz": write_npz,
    "parquet": write_parquet,
    "csv": lambda p: p.write_text("a,b\n" + "=cmd|'touch executed'!A0,__import__('os')\n" * 9),
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_data_is_not_executed(suffix):
    path = Path(f"x.{suffix}")
    WRITERS[suffix](path)
    with pytest.raises((DataError, ConfigError)):
        Arrays(str(path), key="data" if suffix == "npz" else None, validation=0.0, test=0.0).setup()
    unharmed()
