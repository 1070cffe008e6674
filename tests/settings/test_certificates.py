"""When certificates expire."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import trustme
from cryptography import x509

from bridge.settings.files import expiries

AUTHORITY = trustme.CA()
NOW = datetime.now(UTC).replace(microsecond=0)


def issued(days: int) -> trustme.LeafCert:
    """A certificate that expires in so many days; after 2049 its time is written in another form."""
    return AUTHORITY.issue_cert("localhost", not_after=NOW + timedelta(days=days))


@pytest.mark.parametrize("days", [-1, 1, 400, 30_000])
def test_the_certificate_before_its_chain_counts(days: int) -> None:
    """In both forms of a time, and with the private key in the same file."""
    expected = (NOW + timedelta(days=days)).timestamp()
    pem = issued(days).private_key_and_cert_chain_pem.bytes()
    assert expiries({("http", "cert_file"): pem}) == {"http.cert_file": pytest.approx(expected, abs=1)}


def test_of_several_authorities_the_last_one_counts() -> None:
    """A bundle has old ones on purpose."""
    other = trustme.CA()
    moments = [x509.load_pem_x509_certificate(each.cert_pem.bytes()).not_valid_after_utc for each in (AUTHORITY, other)]
    bundle = AUTHORITY.cert_pem.bytes() + issued(1).cert_chain_pems[0].bytes() + other.cert_pem.bytes()
    found = expiries({("kafka", "ssl_ca_file"): bundle})
    assert found == {"kafka.ssl_ca_file": max(moments).timestamp()}


@pytest.mark.parametrize("content", [b"", b"\xff", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_other_contents_have_no_time(content: bytes) -> None:
    """Neither do keys and tokens."""
    assert expiries({("http", "cert_file"): content}) == {}
    pem = issued(1).private_key_and_cert_chain_pem.bytes()
    assert expiries({("http", "key_file"): pem, ("servers", "local", "token_file"): pem}) == {}
