"""What is the same for everybody, packed for the way where the browser understands that: style sheets, scripts, and
pages as they are kept for all.

No other page: it holds secrets beside what strangers write, and how well such a page can be packed tells of them.
"""

from __future__ import annotations

import gzip
from functools import lru_cache

from flask import Flask, Response, request

TEXTS = ("text/css", "text/javascript", "application/javascript")
KEPT = 128


def install(app: Flask) -> None:
    """Pack the texts that `static` answers with."""

    @app.after_request
    def pack_static(response: Response) -> Response:
        return pack(response) if request.endpoint == "static" and response.mimetype in TEXTS else response


def pack(response: Response) -> Response:
    """The same response, packed if it is a whole one and the browser can unpack it. It must hold no secret."""
    response.vary.add("Accept-Encoding")
    if response.status_code != 200 or "Range" in request.headers or not request.accept_encodings["gzip"]:
        return response
    response.direct_passthrough = False
    response.set_data(_packed(response.get_data()))
    response.headers["Content-Encoding"] = "gzip"
    etag, weak = response.get_etag()
    if etag and not weak:
        response.set_etag(f"{etag}-gzip")  # other bytes, another name
    response.headers.remove("Accept-Ranges")
    return response


@lru_cache(KEPT)
def _packed(data: bytes) -> bytes:
    """The same bytes each time, so that they may be kept by who has them."""
    return gzip.compress(data, mtime=0)
