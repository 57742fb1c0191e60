"""Style sheets and scripts, packed for the way where the browser understands that.

Nothing else: a page holds secrets beside what strangers write, and how well such a page can be packed tells of them.
"""

from __future__ import annotations

import gzip
from functools import lru_cache

from flask import Flask, Response, request

TEXTS = ("text/css", "text/javascript", "application/javascript")
KEPT = 32


def install(app: Flask) -> None:
    """Pack what `static` answers with."""

    @app.after_request
    def pack(response: Response) -> Response:
        if request.endpoint != "static" or response.mimetype not in TEXTS:
            return response
        response.vary.add("Accept-Encoding")
        if response.status_code != 200 or "Range" in request.headers or not request.accept_encodings["gzip"]:
            return response
        response.direct_passthrough = False
        response.set_data(_packed(response.get_data()))
        response.headers["Content-Encoding"] = "gzip"
        etag, _ = response.get_etag()
        if etag:
            response.set_etag(f"{etag}-gzip")  # other bytes, another name
        response.headers.remove("Accept-Ranges")
        return response


@lru_cache(KEPT)
def _packed(data: bytes) -> bytes:
    """The same bytes each time, so that they may be kept by who has them."""
    return gzip.compress(data, mtime=0)
