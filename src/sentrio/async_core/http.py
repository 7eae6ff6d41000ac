"""An HTTP client with retries, circuit breakers and deadlines, and downloads, uploads and batches over it."""

from __future__ import annotations

__all__ = (
    "AsyncHTTPClient",
    "CircuitBreaker",
    "CircuitState",
    "DownloadResult",
    "HTTPStatistics",
    "PrivateURL",
    "RetryPolicy",
    "async_batch_requests",
    "async_download",
    "async_upload",
)

from sentrio.async_core._http_batch import async_batch_requests
from sentrio.async_core._http_client import AsyncHTTPClient, HTTPStatistics
from sentrio.async_core._http_download import DownloadResult, async_download
from sentrio.async_core._http_privacy import PrivateURL
from sentrio.async_core._http_upload import async_upload
from sentrio.async_core.circuit import CircuitBreaker, CircuitState
from sentrio.async_core.retry import RetryPolicy
