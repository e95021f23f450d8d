"""Follows the redirects of a video's URL. FFmpeg itself would follow them to any address."""

import http.client
import ipaddress
import socket
import urllib.error
import urllib.request
from urllib.parse import SplitResult, urljoin, urlsplit

from ....files.errors import InputError

MOST_REDIRECTS = 8
DEFAULT_PORTS = {"http": 80, "https": 443}


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Does not follow redirects: urllib then raises each one as an HTTPError."""

    def redirect_request(self, *_) -> None:
        return None


def _port(address: SplitResult) -> int:
    return address.port or DEFAULT_PORTS[address.scheme]


def is_public(host: str, port: int) -> bool:
    """Whether all addresses of a host are on the public internet. A redirect to such a host cannot reach the machine
    that auss runs on, nor the network around it."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return bool(found) and all(ipaddress.ip_address(str(one[4][0]).partition("%")[0]).is_global for one in found)


def may_follow(start: str, target: str) -> bool:
    """Whether a redirect from the user's URL `start` to `target` may be followed. The target must be the same server,
    the same host by https, or a public host."""
    origin, goal = urlsplit(start), urlsplit(target)
    if goal.scheme not in DEFAULT_PORTS or not goal.hostname:
        return False
    if goal.hostname == origin.hostname:
        if _port(goal) == _port(origin) or (goal.scheme == "https" and _port(goal) == DEFAULT_PORTS["https"]):
            return True
    return is_public(goal.hostname, _port(goal))


def address_behind(url: str, timeout: float) -> str:
    """
    Follows the redirects of a URL to the last one. Returns the URL itself if it does not redirect or nobody answers.

    Args:
        url: http or https.
        timeout: seconds to wait for each answer.

    Raises:
        ValueError: a redirect leads to an address that may not be followed, or there are too many redirects.
    """
    opener = urllib.request.build_opener(_NoRedirect)
    address = url
    for _ in range(MOST_REDIRECTS):
        request = urllib.request.Request(address, headers={"Range": "bytes=0-0"})
        try:
            with opener.open(request, timeout=timeout):
                return address
        except urllib.error.HTTPError as error:
            location = error.headers.get("Location")
            error.close()
            if not 300 <= error.code < 400 or not location:
                return address
        except (OSError, ValueError, http.client.HTTPException):
            return address
        target = urljoin(address, location)
        if not may_follow(url, target):
            raise InputError(
                f"video {url} redirects to {target}, which is not followed: it is neither on the same server nor a "
                "public address. Give that address itself if you trust it"
            )
        address = target
    raise InputError(f"video {url} redirects more than {MOST_REDIRECTS} times")


__all__ = ["address_behind", "is_public", "may_follow"]
