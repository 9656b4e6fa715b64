import hashlib
import http.server
import tarfile
import threading

import pytest

from lightning_flows.core.errors import DataError
from lightning_flows.datamodules.readers.download import fetch, unpack

CONTENT = bytes(range(256)) * 40
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT, in ranges, or broken off after `sends` bytes."""

    sends = None
    ranges = True
    shift = 0
    asked: list

    def do_GET(self):
        asked = self.headers.get("Range")
        self.asked.append(asked)
        start = int(asked.split("=")[1].rstrip("-")) if asked and self.ranges else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            first = start + self.shift
            self.send_header("Content-Range", f"bytes {first}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start:][: self.sends])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    handler = type("Handler", (Server,), {"asked": []})
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        handler.url = f"http://127.0.0.1:{running.server_port}/data.tar.gz"
        yield handler
        running.shutdown()
        thread.join()


def test_a_file_arrives_whole_and_is_asked_for_once(tmp_path, server):
    path = tmp_path / "new" / "x"
    fetch(server.url, path, MD5)
    assert path.read_bytes() == CONTENT
    assert [file.name for file in path.parent.iterdir()] == ["x"]
    path.write_bytes(b"mine")
    fetch(server.url, path, MD5)
    assert path.read_bytes() == b"mine"
    assert server.asked == [None]


def test_a_broken_download_goes_on_where_it_stopped(tmp_path, server):
    path = tmp_path / "x"
    server.sends = 4000
    with pytest.raises(DataError, match=r"broke after 4000 of 10240 bytes\): go online"):
        fetch(server.url, path, MD5)
    assert not path.exists()
    assert (tmp_path / "x.part").read_bytes() == CONTENT[:4000]
    server.sends = None
    fetch(server.url, path, MD5)
    assert path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=4000-"]


def test_a_part_that_is_whole_already_is_taken(tmp_path, server):
    (tmp_path / "x.part").write_bytes(CONTENT)
    fetch(server.url, tmp_path / "x", MD5)
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_a_server_without_ranges_starts_again(tmp_path, server):
    (tmp_path / "x.part").write_bytes(CONTENT[:10])
    server.ranges = False
    fetch(server.url, tmp_path / "x", MD5)
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_wrong_bytes_never_get_the_name(tmp_path, server):
    with pytest.raises(DataError, match=f"has MD5 {MD5}; expected is 0: it was thrown away"):
        fetch(server.url, tmp_path / "x", "0")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "x.part").write_bytes(CONTENT[:10])
    server.shift = 5
    with pytest.raises(DataError, match="another range than was asked for"):
        fetch(server.url, tmp_path / "x", MD5)
    assert (tmp_path / "x.part").read_bytes() == CONTENT[:10]


def test_offline_is_one_sentence_that_says_what_to_do(tmp_path):
    path = tmp_path / "x"
    url = "http://127.0.0.1:9/x"  # the discard port: nobody listens
    with pytest.raises(DataError) as caught:
        fetch(url, path, MD5)
    message = str(caught.value)
    assert message.startswith(f"{path} could not be downloaded (")
    assert message.endswith(f"or put a copy of {url} there.")
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def archive(tmp_path):
    (tmp_path / "data" / "a").mkdir(parents=True)
    for name in ("data/a/one", "data/a/two", "data/a/extra_one"):
        (tmp_path / name).write_text(name)
    path = tmp_path / "x.tar.gz"
    with tarfile.open(path, "w:gz") as members:
        members.add(tmp_path / "data" / "a" / "extra_one", "data/a/extra_one")
        members.add(tmp_path / "data" / "a", "./data/a")
    return path


def test_single_files_are_unpacked_and_existing_ones_left_alone(tmp_path, archive):
    folder = tmp_path / "out"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "two").write_text("mine")
    unpack(archive, ["a/one", "a/two"], folder)
    assert (folder / "a" / "one").read_text() == "data/a/one"
    assert (folder / "a" / "two").read_text() == "mine"
    assert sorted(file.name for file in (folder / "a").iterdir()) == ["one", "two"]


def test_archives_that_lack_a_file_or_are_damaged(tmp_path, archive):
    with pytest.raises(DataError, match=r"x\.tar\.gz holds no a/none"):
        unpack(archive, ["a/one", "a/none"], tmp_path / "out")
    archive.write_bytes(archive.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"x\.tar\.gz cannot be unpacked"):
        unpack(archive, ["a/none"], tmp_path / "out")
    archive.write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"x\.tar\.gz cannot be unpacked"):
        unpack(archive, ["a/none"], tmp_path / "out")
