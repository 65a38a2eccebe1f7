"""Which addresses and hosts an untrusted URL may lead to, as tables."""

import pytest
from recon3d_contract.store import HttpsPolicy
from recon3d_contract.store.addresses import allowed


@pytest.mark.parametrize(
    ("address", "public", "with_private"),
    [
        ("93.184.216.34", True, True),
        ("2606:2800:220:1:248:1893:25c8:1946", True, True),
        ("10.1.2.3", False, True),
        ("172.31.255.255", False, True),
        ("192.168.0.1", False, True),
        ("100.64.0.1", False, True),
        ("127.0.0.1", False, True),
        ("::1", False, True),
        ("fd00::1", False, True),
        ("::ffff:10.0.0.1", False, True),
        ("64:ff9b::a00:1", False, True),
        ("64:ff9b::5db8:d822", True, True),
        ("169.254.169.254", False, False),
        ("fe80::1", False, False),
        ("64:ff9b::a9fe:a9fe", False, False),
        ("2002:a9fe:a9fe::1", False, False),
        ("2001:0:1::1", False, False),
        ("0.0.0.0", False, False),
        ("::", False, False),
        ("224.0.0.1", False, False),
        ("ff02::1", False, False),
        ("240.0.0.1", False, False),
        ("255.255.255.255", False, False),
        ("192.0.2.1", False, False),
        ("not an address", False, False),
    ],
)
def test_addresses(address: str, public: bool, with_private: bool) -> None:
    assert (allowed(address, private=False), allowed(address, private=True)) == (public, with_private)


@pytest.mark.parametrize(
    ("entry", "host", "port", "expected"),
    [
        ("a.test", "a.test", 443, True),
        ("a.test", "A.TEST.", 443, True),
        ("a.test", "a.test", 8443, False),
        ("a.test:8443", "a.test", 8443, True),
        ("a.test:8443", "a.test", 443, False),
        ("a.test", "b.a.test", 443, False),
        ("a.test", "evila.test", 443, False),
        ("*.a.test", "b.a.test", 443, True),
        ("*.a.test", "c.b.a.test", 443, True),
        ("*.a.test", "a.test", 443, False),
        ("*.a.test", "evila.test", 443, False),
        ("*", "a.test", 443, False),
    ],
)
def test_host_list(entry: str, host: str, port: int, expected: bool) -> None:
    assert HttpsPolicy(hosts=(entry,)).allows(host, port) is expected
