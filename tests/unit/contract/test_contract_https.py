"""The HTTPS reader against a real TLS server: lists, redirects, addresses, rebinding, sizes, time."""

import hashlib
import http.server
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from contract_server import Served, make_certificate, serve
from recon3d_contract.errors import Recon3dError
from recon3d_contract.store import HttpsFetcher, HttpsPolicy, InputReader, parse_reference

DATA = bytes(range(256)) * 1000
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"), ["files.test", "other.test"])


@pytest.fixture
def served(pems: tuple[Path, Path]) -> Iterator[Served]:
    with serve(pems[1]) as running:
        running.file("/a.zip", DATA)
        yield running


@pytest.fixture
def policy(served: Served, pems: tuple[Path, Path]) -> HttpsPolicy:
    return HttpsPolicy(hosts=(f"files.test:{served.port}",), private_addresses=True, io_seconds=5, ca_file=str(pems[0]))


class Names:
    """A resolver whose answers change with each question, as those of an attacker's server do."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers) or [["127.0.0.1"]]
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


def fetch(
    served: Served,
    policy: HttpsPolicy,
    tmp_path: Path,
    path: str = "/a.zip",
    *,
    names: Names | None = None,
    **options: str,
) -> bytes:
    host = options.get("host", f"files.test:{served.port}")
    reference = f"https://{host}{path}#sha256={options.get('sha256', SHA)}"
    reader = InputReader(https=HttpsFetcher(policy, names or Names()))
    try:
        return reader.read(reference, tmp_path).read_bytes()
    except Recon3dError:
        assert not list(tmp_path.iterdir()), "a failed fetch leaves nothing"
        raise


def refused(code: str, *args: object, **options: object) -> Recon3dError:
    with pytest.raises(Recon3dError) as error:
        fetch(*args, **options)  # type: ignore[arg-type]
    assert error.value.code == code, error.value.message
    return error.value


def test_fetches_and_verifies(served: Served, policy: HttpsPolicy, tmp_path: Path) -> None:
    assert fetch(served, policy, tmp_path, "/a.zip") == DATA
    assert served.asked == [(f"files.test:{served.port}", "/a.zip")]


def test_follows_redirects_within_the_list(served: Served, policy: HttpsPolicy, tmp_path: Path) -> None:
    served.redirect("/1", "/2?x=1", 301)
    served.redirect("/2?x=1", f"https://other.test:{served.port}/a.zip", 307)
    names = Names()
    both = replace(policy, hosts=(*policy.hosts, f"*.test:{served.port}"))
    assert fetch(served, both, tmp_path, "/1", names=names) == DATA
    assert names.asked == ["files.test", "files.test", "other.test"]


@pytest.mark.parametrize(
    "target",
    [
        "https://169.254.169.254/latest/meta-data/",
        "http://files.test/a.zip",
        "https://evil.test/a.zip",
        "https://files.test/a.zip",  # another port
        "https://user@files.test/a.zip",
        "file:///etc/passwd",
        "https://[::1",
    ],
)
def test_redirects_out_of_the_list(target: str, served: Served, policy: HttpsPolicy, tmp_path: Path) -> None:
    served.redirect("/away", target)
    names = Names()
    refused("INPUT_NOT_ALLOWED", served, policy, tmp_path, "/away", names=names)
    assert names.asked == ["files.test"], "the target's name is not even looked up"


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "fe80::1%eth0", "::ffff:169.254.169.254", "0.0.0.0", "224.0.0.1"]
)
def test_a_listed_host_with_a_forbidden_address(
    address: str, served: Served, policy: HttpsPolicy, tmp_path: Path
) -> None:
    error = refused("INPUT_NOT_ALLOWED", served, policy, tmp_path, names=Names([address]))
    assert address not in f"{error.message}{error.details}"
    refused("INPUT_NOT_ALLOWED", served, policy, tmp_path, names=Names(["127.0.0.1", address]))
    assert not served.asked


def test_private_addresses_need_permission(served: Served, policy: HttpsPolicy, tmp_path: Path) -> None:
    refused("INPUT_NOT_ALLOWED", served, replace(policy, private_addresses=False), tmp_path)
    assert not served.asked


def test_rebinding_between_redirects_is_caught(served: Served, policy: HttpsPolicy, tmp_path: Path) -> None:
    served.redirect("/1", "/a.zip")
    names = Names(["127.0.0.1"], ["169.254.169.254"])
    refused("INPUT_NOT_ALLOWED", served, policy, tmp_path, "/1", names=names)
    assert [path for _, path in served.asked] == ["/1"]


def test_rebinding_after_the_check_changes_nothing(served: Served, policy: HttpsPolicy, tmp_path: Path) -> None:
    """The name is asked once; the connection goes to that answer. `files.test` does not exist for the system."""
    names = Names(["127.0.0.1"], ["169.254.169.254"])
    assert fetch(served, policy, tmp_path, names=names) == DATA
    assert names.asked == ["files.test"]


def test_tries_the_next_address(served: Served, policy: HttpsPolicy, tmp_path: Path) -> None:
    assert fetch(served, policy, tmp_path, names=Names(["::1", "127.0.0.2", "127.0.0.1"])) == DATA


def test_hosts_not_listed(served: Served, policy: HttpsPolicy, tmp_path: Path) -> None:
    error = refused("INPUT_NOT_ALLOWED", served, replace(policy, hosts=()), tmp_path)
    assert error.details == {"host": "files.test", "port": served.port}
    refused("INPUT_NOT_ALLOWED", served, replace(policy, hosts=("files.test",)), tmp_path)


def test_wrong_certificate(served: Served, policy: HttpsPolicy, tmp_path: Path) -> None:
    listed = replace(policy, hosts=(f"third.test:{served.port}",))
    error = refused("INPUT_UNREACHABLE", served, listed, tmp_path, host=f"third.test:{served.port}")
    assert "certificate" in error.message
    assert "certificate" in refused("INPUT_UNREACHABLE", served, replace(policy, ca_file=None), tmp_path).message


def test_wrong_checksum(served: Served, policy: HttpsPolicy, tmp_path: Path) -> None:
    error = refused("CHECKSUM_MISMATCH", served, policy, tmp_path, sha256="0" * 64)
    assert error.details == {"expected": "0" * 64, "found": SHA}


def test_declared_size(served: Served, policy: HttpsPolicy, tmp_path: Path) -> None:
    refused("UPLOAD_TOO_LARGE", served, replace(policy, limit_bytes=len(DATA) - 1), tmp_path)
    assert fetch(served, replace(policy, limit_bytes=len(DATA)), tmp_path) == DATA


def test_streamed_size(served: Served, policy: HttpsPolicy, tmp_path: Path) -> None:
    def endless(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while True:
            request.wfile.write(bytes(10_000))

    served.routes["/endless"] = endless
    refused("UPLOAD_TOO_LARGE", served, replace(policy, limit_bytes=100_000), tmp_path, "/endless")


def test_compressed_answers_are_refused(served: Served, policy: HttpsPolicy, tmp_path: Path) -> None:
    def packed(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Encoding", "gzip")
        request.send_header("Content-Length", "0")
        request.end_headers()

    served.routes["/gz"] = packed
    assert "encoding" in refused("INPUT_UNREACHABLE", served, policy, tmp_path, "/gz").message


def test_cut_connection(served: Served, policy: HttpsPolicy, tmp_path: Path) -> None:
    def cut(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "1000")
        request.end_headers()
        request.wfile.write(b"only this")

    served.routes["/cut"] = cut
    assert "too early" in refused("INPUT_UNREACHABLE", served, policy, tmp_path, "/cut").message


@pytest.mark.parametrize("place", ["header", "body"])
def test_a_trickle_ends_at_the_deadline(place: str, served: Served, policy: HttpsPolicy, tmp_path: Path) -> None:
    """Each wait is short, so only the deadline for the whole can end it."""

    def trickle(request: http.server.BaseHTTPRequestHandler) -> None:
        if place == "body":
            request.send_response(200)
            request.send_header("Content-Length", "100000")
            request.end_headers()
        for _ in range(200):
            request.wfile.write(b"H")
            request.wfile.flush()
            time.sleep(0.05)

    served.routes["/slow"] = trickle
    begun = time.monotonic()
    error = refused("INPUT_UNREACHABLE", served, replace(policy, total_seconds=0.6), tmp_path, "/slow")
    assert time.monotonic() - begun < 3
    assert "took too long" in error.message


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (404, "INPUT_NOT_FOUND"),
        (403, "INPUT_NOT_FOUND"),
        (503, "INPUT_UNREACHABLE"),
        (429, "INPUT_UNREACHABLE"),
        (206, "INPUT_UNREACHABLE"),
    ],
)
def test_statuses(status: int, code: str, served: Served, policy: HttpsPolicy, tmp_path: Path) -> None:
    served.status("/x", status)
    assert refused(code, served, policy, tmp_path, "/x").details["status"] == status


def test_too_many_redirects(served: Served, policy: HttpsPolicy, tmp_path: Path) -> None:
    served.redirect("/loop", "/loop")
    refused("INPUT_UNREACHABLE", served, policy, tmp_path, "/loop")
    assert len(served.asked) == policy.max_redirects + 1


def test_nothing_listens(served: Served, policy: HttpsPolicy, tmp_path: Path) -> None:
    refused("INPUT_UNREACHABLE", served, policy, tmp_path, names=Names(["127.0.0.2"]))


def test_the_system_resolver_says_that_a_name_is_not_known(tmp_path: Path) -> None:
    reader = InputReader(https=HttpsPolicy(hosts=("no-such-host.invalid",)))
    with pytest.raises(Recon3dError) as error:
        reader.read(parse_reference(f"https://no-such-host.invalid/x.zip#sha256={SHA}"), tmp_path)
    assert error.value.code == "INPUT_UNREACHABLE"


def test_numbers_that_the_system_reads_as_loopback(tmp_path: Path) -> None:
    for host in ("2130706433", "0x7f.1", "127.1", "localhost"):
        reader = InputReader(https=HttpsPolicy(hosts=(host,), io_seconds=1))
        with pytest.raises(Recon3dError) as error:
            reader.read(f"https://{host}/x.zip#sha256={SHA}", tmp_path)
        assert error.value.code == "INPUT_NOT_ALLOWED"
