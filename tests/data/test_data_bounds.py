"""What a file or a server claims decides neither memory nor time: sizes are compared with what is there first."""

import gzip
import http.server
import struct
import tarfile
import threading
import time
import tracemalloc
from contextlib import contextmanager

import pytest

from fake_files import write_mnist
from fourfold import data
from fourfold.data.archives import unpack_archives
from fourfold.data.fetching import _fetch, _GivenUpError
from fourfold.data.idx import read_idx
from fourfold.record import UserError


@contextmanager
def memory_below(most_bytes):
    """Python and numpy may not take more than so much at any time."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most_bytes
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("count", [10**5, 10**6, 10**7, 2**32 - 1])
def test_the_header_of_an_idx_file_takes_no_memory(count, packed, tmp_path):
    content = struct.pack(">4I", 0x0803, count, 28, 28) + bytes(1000)
    path = tmp_path / ("images.gz" if packed else "images")
    path.write_bytes(gzip.compress(content) if packed else content)
    with memory_below(5e6), pytest.raises(UserError, match=r"has only|says that it holds"):
        read_idx(path, (28, 28))


def test_a_file_of_zeros_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path):
    write_mnist(tmp_path / "MNIST/raw")
    with gzip.open(tmp_path / "MNIST/raw/t10k-images-idx3-ubyte.gz", "wb") as stream:
        stream.write(struct.pack(">4I", 0x0803, 400_000, 28, 28))
        for _ in range(40):
            stream.write(bytes(7_840_000))
    with memory_below(3e7), pytest.raises(UserError, match=r"says that it holds 400,000 images; 1 to 200,000 is right"):
        data.load("mnist", tmp_path)


def test_a_name_of_gigabytes_in_a_tar_is_not_read(tmp_path):
    header = tarfile.TarInfo("././@PaxHeader")
    header.type, header.size = tarfile.XHDTYPE, 2**30
    with gzip.open(tmp_path / "cifar-10-python.tar.gz", "wb") as stream:
        stream.write(header.tobuf(tarfile.USTAR_FORMAT))
        for _ in range(64):
            stream.write(bytes(2**20))
    with memory_below(3e7), pytest.raises(UserError, match=r"is cut off or damaged \(a header of 1,073,741,824 bytes\)"):
        unpack_archives("cifar-10", tmp_path)


class Endless(http.server.BaseHTTPRequestHandler):
    """Sends for ever: `pause` seconds after each block."""

    pause, block = 0.0, bytes(2**16)

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(self.block)
                time.sleep(self.pause)
        except OSError:
            pass

    def log_message(self, *_):
        pass


class Dripping(Endless):
    pause, block = 0.05, b"x"


@contextmanager
def serving(handler):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/file"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("handler", "sentence"), [(Endless, r"^more than 1,000,000 bytes$"), (Dripping, r"^not whole after 0\.3 s")]
)
def test_a_server_that_never_ends_is_given_up(handler, sentence, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    start = time.monotonic()
    with serving(handler) as url, pytest.raises(_GivenUpError, match=sentence):
        _fetch(url, str(tmp_path / "part"), False, 10**6, 0.3 if handler is Dripping else 60)
    assert time.monotonic() - start < 20
    assert (tmp_path / "part").stat().st_size < 1.2e6
